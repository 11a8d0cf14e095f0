//! What is printed: a line at a time, to somebody who may have gone.

use std::{fmt, io::Write};

use anyhow::{Context, Result};
use serde_json::Value;

/// Whoever read our standard output has heard enough, as `head` does.
#[derive(Debug)]
pub(crate) struct ReaderGone;

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads standard output")
    }
}

impl std::error::Error for ReaderGone {}

/// Prints a line on standard output.
pub(super) fn line(text: impl fmt::Display) -> Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        printed => printed.context("standard output"),
    }
}

/// A field as a cell: text without quotes, nothing for nothing, lists with commas.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => printable(text),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Text that a job or a client chose must not steer the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// The same on one line.
pub(super) fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// An error of a task in a few words; nothing if there is none.
pub(super) fn error(task: &Value) -> String {
    let error = &task["error"];
    if error.is_null() {
        return String::new();
    }
    let message = error["message"].as_str().unwrap_or_default();
    let short: String = message.lines().next().unwrap_or_default().chars().take(100).collect();
    on_one_line(&format!("{}: {short}", error["kind"].as_str().unwrap_or_default()))
}
