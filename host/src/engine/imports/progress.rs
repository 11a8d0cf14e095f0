//! `sentinel:job/progress`: how far an attempt has come.
//!
//! Owns the latest report of an attempt. Does not know who looks at it. Invariant: a million
//! reports cost no more room than one, and whoever looks sees the latest.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use serde::{Deserialize, Serialize};

use crate::engine::{
    bindings::sentinel::job::{progress, types},
    calls::CallKind,
    host::Host,
    secret::Cut,
    verdict::clipped,
};

/// What is kept of a message.
const MESSAGE_BYTES: usize = 1 << 10;

/// A report of progress.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// 0 to 100.
    pub percent: u8,
    /// At most 1 KiB.
    pub message: String,
}

/// The latest report, written by the guest or on behalf of one that runs in another process, and
/// read by the control side.
#[derive(Debug, Default)]
pub struct ProgressCell {
    is_news: AtomicBool,
    latest: Mutex<Progress>,
}

impl ProgressCell {
    /// A cell without a report.
    pub fn new() -> Self {
        Self::default()
    }

    /// The latest report, if there has been one since the last call.
    pub fn take_news(&self) -> Option<Progress> {
        // Cleared first: a report that comes in between is seen now, and once more.
        self.is_news.swap(false, Ordering::AcqRel).then(|| self.lock().clone())
    }

    pub(crate) fn put(&self, report: Progress) {
        *self.lock() = report;
        self.is_news.store(true, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl types::Host for Host {}

impl progress::Host for Host {
    fn report(&mut self, percent: u8, message: String) {
        self.effects.calls.begin(|| CallKind::Progress).done();
        self.count_imported(message.len());
        let message = self.grants.secrets.redacted(message, Cut::Nowhere);
        let message = if message.len() > MESSAGE_BYTES { clipped(&message, MESSAGE_BYTES) } else { message };
        self.progress.put(Progress { percent: percent.min(100), message });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_report_is_news_and_only_once() {
        let cell = ProgressCell::new();
        assert_eq!(cell.take_news(), None);
        for percent in 1..=3 {
            cell.put(Progress { percent, message: String::new() });
        }
        assert_eq!(cell.take_news().map(|news| news.percent), Some(3));
        assert_eq!(cell.take_news(), None);
    }
}
