//! Queues and their settings.

use sentinel_queue::{duration, queue::QueueInfo};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    kind,
    policy::{NewPolicy, PolicyView},
};

/// A queue.
#[derive(Serialize, ToSchema)]
pub(crate) struct QueueView {
    /// Its name.
    #[schema(value_type = kind::QueueName)]
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
    #[schema(minimum = 1, maximum = 1_000_000)]
    concurrency: Option<u32>,
    /// At most so many attempts at once for each concurrency key.
    #[schema(minimum = 1, maximum = 1_000_000)]
    per_key: u32,
    /// The waiting time that is worth one point of priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<kind::Duration>)]
    aging: Option<String>,
    /// What its tasks ask for when neither they nor their job say.
    defaults: PolicyView,
}

/// At most so many starts in any span.
#[derive(Serialize, ToSchema)]
pub(crate) struct RateView {
    /// How many.
    #[schema(minimum = 1, maximum = 1_000_000)]
    starts: u32,
    /// In how long.
    #[schema(value_type = kind::Duration)]
    per: String,
}

/// The settings of a queue; what is left out has its default.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(
    example = json!({
        "rate": { "starts": 100, "per": "1m" }, "concurrency": 8, "per_key": 1,
        "defaults": { "timeout": "30s", "max_attempts": 5, "backoff": { "kind": "fixed", "base": "5s" } },
    })
)]
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
    /// The waiting time that is worth one point of priority: from 1ms to 24h. By default priority
    /// always comes first. Cannot change while tasks are QUEUED in the queue.
    aging: Option<kind::Duration>,
    /// What its tasks ask for when neither they nor their job say.
    defaults: Option<NewPolicy>,
}

/// At most so many starts in any span.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "documents a request")]
struct NewRate {
    /// How many.
    #[schema(minimum = 1, maximum = 1_000_000)]
    starts: u32,
    /// In how long: from 1s to 24h.
    per: kind::Duration,
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
