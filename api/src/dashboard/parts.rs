//! The small parts of pages that come again and again.

use askama::{Template, filters::HtmlSafe};
use sentinel_queue::{ErrorKind, Millis, Status};

use super::words;
use crate::wire;

/// The state of a task: a word, and a sign for whoever does not see the colour.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<span class="badge {{ self.class() }}"><span class="sign" aria-hidden="true">{{ self.sign() }}</span>{{ status }}</span>"#
)]
pub(crate) struct Badge {
    pub(crate) status: Status,
}

impl HtmlSafe for Badge {}

impl Badge {
    fn class(&self) -> &'static str {
        class(self.status)
    }

    fn sign(&self) -> &'static str {
        match self.status {
            Status::Queued => "≡",
            Status::Scheduled => "◷",
            Status::Blocked => "◇",
            Status::InProgress => "▶",
            Status::Completed => "✓",
            Status::Failed => "✕",
            Status::Cancelled => "⊘",
        }
    }
}

/// By which the style sheet knows a state.
pub(crate) fn class(status: Status) -> &'static str {
    match status {
        Status::Queued => "queued",
        Status::Scheduled => "scheduled",
        Status::Blocked => "blocked",
        Status::InProgress => "running",
        Status::Completed => "completed",
        Status::Failed => "failed",
        Status::Cancelled => "cancelled",
    }
}

/// Why an attempt failed, in a word.
#[derive(Template)]
#[template(ext = "html", source = r#"<span class="kind">{{ kind }}</span>"#)]
pub(crate) struct Kind {
    pub(crate) kind: ErrorKind,
}

impl HtmlSafe for Kind {}

/// A point in time: how far it is from now, and exactly for whoever points at it.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<time datetime="{{ self.exact() }}" title="{{ self.exact() }}">{{ self.rough() }}</time>"#
)]
pub(crate) struct Moment {
    pub(crate) at: Millis,
    pub(crate) now: Millis,
}

impl HtmlSafe for Moment {}

impl Moment {
    fn exact(&self) -> String {
        wire::time(self.at)
    }

    fn rough(&self) -> String {
        words::from_now(self.at, self.now)
    }
}
