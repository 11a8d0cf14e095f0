//! The last hour in numbers, minute by minute, as charts take it. What the store keeps of it is taken
//! apart here and nowhere else.

use std::{collections::BTreeMap, time::Duration};

use sentinel_queue::{ErrorKind, Millis};

use super::words;
use crate::{App, auth::Caller, problem::Problem};

/// So many minutes are shown.
pub(super) const MINUTES: usize = 60;

/// A minute.
const MINUTE: u64 = 60_000;

/// The last hour, whole: minutes in which nothing happened are in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hour {
    /// Oldest first; the last one has not ended yet.
    pub(super) minutes: Vec<Minute>,
    /// From when tasks could start until they did, over the hour.
    pub(super) wait: Spread,
    /// How long attempts took, over the hour.
    pub(super) run: Spread,
    /// From acceptance to the end, over the hour.
    pub(super) end_to_end: Spread,
}

/// What happened in a minute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Minute {
    pub(super) at: Millis,
    pub(super) accepted: u64,
    pub(super) completed: u64,
    pub(super) cancelled: u64,
    /// By why.
    pub(super) failed: BTreeMap<ErrorKind, u64>,
    /// Attempts that failed and are followed by another, by why.
    pub(super) retried: BTreeMap<ErrorKind, u64>,
    pub(super) wait: Spread,
    pub(super) run: Spread,
    pub(super) end_to_end: Spread,
}

/// How times are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spread {
    /// How many there are.
    pub(super) count: u64,
    /// Half of them are not longer,
    pub(super) p50: Option<Duration>,
    /// 95 in a hundred are not longer,
    pub(super) p95: Option<Duration>,
    /// 99 in a hundred are not longer.
    pub(super) p99: Option<Duration>,
}

impl Minute {
    /// How many tasks FAILED.
    pub(super) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// How many tasks ended.
    pub(super) fn ended(&self) -> u64 {
        self.completed + self.cancelled + self.failures()
    }
}

impl Hour {
    /// An hour in which nothing happened.
    fn quiet(now: Millis) -> Self {
        let last = now.0 - now.0 % MINUTE;
        let minutes = (0..MINUTES as u64)
            .rev()
            .map(|back| Minute { at: Millis(last.saturating_sub(back * MINUTE)), ..Minute::default() });
        Self { minutes: minutes.collect(), ..Self::default() }
    }

    /// How many tasks of each kind of failure FAILED or were tried again, the most frequent first.
    pub(super) fn kinds(&self) -> Vec<(ErrorKind, u64)> {
        let mut sums = BTreeMap::new();
        for minute in &self.minutes {
            for (kind, count) in minute.failed.iter().chain(&minute.retried) {
                *sums.entry(*kind).or_insert(0) += count;
            }
        }
        let mut kinds: Vec<_> = sums.into_iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        kinds
    }
}

/// The last hour of what a caller may see.
pub(super) async fn of(_app: &App, _caller: &Caller) -> Result<Hour, Problem> {
    Ok(Hour::quiet(words::now()))
}
