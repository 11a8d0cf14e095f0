//! Queues and their settings.

use sentinel_queue::{duration, queue::QueueInfo};
use serde::Serialize;
use utoipa::ToSchema;

use super::policy::{NewPolicy, PolicyView};

/// A queue.
#[derive(Serialize, ToSchema)]
pub(crate) struct QueueView {
    /// Its name.
    pub(crate) name: String,
    /// Whether it hands out nothing.
    paused: bool,
    /// How many tasks are QUEUED in it.
    depth: u64,
    /// How many of these wait for their concurrency key.
    parked: u64,
    /// How many run, if that is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<u64>,
    /// At most so many starts in any such span.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<RateView>,
    /// At most so many attempts at once, on all workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<u32>,
    /// At most so many attempts at once for each concurrency key.
    per_key: u32,
    /// The waiting time that is worth one point of priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    aging: Option<String>,
    /// What its tasks ask for when neither they nor their job say.
    defaults: PolicyView,
}

/// At most so many starts in any span.
#[derive(Serialize, ToSchema)]
pub(crate) struct RateView {
    /// How many, 1 to 1000000.
    #[schema(minimum = 1, maximum = 1_000_000)]
    starts: u32,
    /// In how long: a duration from 1s to 24h.
    #[schema(example = "1m")]
    per: String,
}

/// The settings of a queue; what is left out has its default.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents a request")]
pub(crate) struct QueueSettings {
    /// At most so many starts in any such span; none by default.
    rate: Option<NewRate>,
    /// At most so many attempts at once, on all workers; unlimited by default.
    #[schema(minimum = 1, maximum = 1_000_000)]
    concurrency: Option<u32>,
    /// At most so many attempts at once for each concurrency key.
    #[schema(minimum = 1, maximum = 1_000_000, default = 1)]
    per_key: Option<u32>,
    /// The waiting time that is worth one point of priority: a duration from 1ms to 24h. By default
    /// priority always comes first. Cannot change while tasks are QUEUED in the queue.
    aging: Option<String>,
    /// What its tasks ask for when neither they nor their job say.
    defaults: Option<NewPolicy>,
}

/// At most so many starts in any span.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents a request")]
struct NewRate {
    /// How many.
    #[schema(minimum = 1, maximum = 1_000_000)]
    starts: u32,
    /// In how long: a duration from 1s to 24h.
    #[schema(example = "1m")]
    per: String,
}

impl From<QueueInfo> for QueueView {
    fn from(queue: QueueInfo) -> Self {
        let QueueInfo { name, settings, paused, depth, parked, running } = queue;
        Self {
            name: name.to_string(),
            paused,
            depth,
            parked,
            running,
            rate: settings.rate.map(|rate| RateView { starts: rate.starts, per: duration::format(rate.per) }),
            concurrency: settings.concurrency,
            per_key: settings.per_key,
            aging: settings.aging.map(duration::format),
            defaults: settings.defaults.into(),
        }
    }
}
