//! Telling watchers how far an attempt has come.

use std::fmt;

/// Reports that the attempt is `percent` (0 to 100) done, and what it is at.
///
/// Reports are cheap, and coalesced on their way: the newest one counts. Outside of a worker, as
/// in a native test, a report goes nowhere.
pub fn report(percent: u8, message: impl fmt::Display) {
    send(percent.min(100), &message.to_string());
}

#[cfg(target_family = "wasm")]
use crate::bindings::sentinel::job::progress::report as send;

#[cfg(not(target_family = "wasm"))]
fn send(_percent: u8, _message: &str) {}
