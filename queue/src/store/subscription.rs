//! What is said on a channel, as one listener hears it.
//!
//! It is for hints: each is heard at most once, and whoever listens reads the truth after a
//! [`Heard::Gap`]. How messages get here is each home's own.

use std::fmt;

use bytes::Bytes;
use tokio::sync::broadcast::{self, error::RecvError};

/// How many messages wait for a listener at most; the oldest give way.
pub(super) const WAITING: usize = 1024;

/// What is heard on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message.
    Message(Bytes),
    /// From here on everything is heard, until the next gap. What was said before may not have
    /// been.
    Gap,
}

/// A listener on one channel, until it is dropped.
///
/// Invariant: the first that is heard is a gap, and it is not heard before the subscription is
/// in force; no message is missed without a gap being heard where it would have been.
pub struct Subscription {
    gap: bool,
    // Gone before the end is told, so that whoever is told does not count it.
    heard: broadcast::Receiver<Heard>,
    _end: End,
}

impl Subscription {
    /// A subscription that hears what comes through `heard`, and a gap first if that is still to
    /// be said; `end` is called when it is dropped.
    pub(super) fn new(
        gap: bool,
        heard: broadcast::Receiver<Heard>,
        end: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self { gap, heard, _end: End(Box::new(end)) }
    }

    /// The next that is heard; it waits for that for as long as it takes, for ever if the store
    /// is gone.
    ///
    /// Nothing is lost if the wait is given up.
    pub async fn next(&mut self) -> Heard {
        if std::mem::take(&mut self.gap) {
            return Heard::Gap;
        }
        match self.heard.recv().await {
            Ok(heard) => heard,
            Err(RecvError::Lagged(_)) => Heard::Gap,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

/// What is done when a subscription is dropped.
struct End(Box<dyn Fn() + Send + Sync>);

impl Drop for End {
    fn drop(&mut self) {
        (self.0)();
    }
}
