//! What an operator sets for a queue.

use std::time::Duration;

use crate::task::Policy;

/// A queue's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// At most so many starts in any such span; none: no limit.
    pub rate: Option<Rate>,
    /// At most so many attempts at once, on all workers; none: no limit.
    pub concurrency: Option<u32>,
    /// At most so many attempts at once for each concurrency key.
    pub per_key: u32,
    /// The waiting time that is worth one point of priority; none: priority always comes first.
    pub aging: Option<Duration>,
    /// What its tasks ask for when neither they nor their job say.
    pub defaults: Policy,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { rate: None, concurrency: None, per_key: 1, aging: None, defaults: Policy::default() }
    }
}

impl QueueSettings {
    /// One point of priority outweighs any time.
    pub(crate) const STRICT_WEIGHT: u64 = 1 << 41;
}

/// How often something may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At most so many times,
    pub starts: u32,
    /// in any span of this length.
    pub per: Duration,
}
