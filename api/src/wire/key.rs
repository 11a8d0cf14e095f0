//! Keys.

use sentinel_queue::{
    duration,
    keys::{KeyInfo, RequestRate},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{kind, time};

/// A key, without what is secret of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyView {
    /// Its id, with which the key begins.
    #[schema(value_type = kind::KeyId)]
    pub(crate) key_id: String,
    /// What people call it.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// What it may ask for.
    #[schema(value_type = Vec<kind::ScopeWord>, min_items = 1)]
    scopes: Vec<&'static str>,
    /// The one namespace that it is for; null: any, by the header `Sentinel-Namespace`.
    #[schema(value_type = Option<kind::Namespace>, required = true)]
    namespace: Option<String>,
    /// The jobs that it is for; null: all.
    #[schema(value_type = Option<Vec<kind::JobName>>, required = true)]
    jobs: Option<Vec<String>>,
    /// The queues that it is for; null: all.
    #[schema(value_type = Option<Vec<kind::QueueName>>, required = true)]
    queues: Option<Vec<String>>,
    /// How often it may ask; null: as often as it can.
    #[schema(required = true)]
    rate: Option<RequestRateView>,
    /// When it was made.
    #[schema(value_type = kind::Time)]
    created_at: String,
    /// When it stops being valid.
    #[schema(value_type = Option<kind::Time>, required = true)]
    expires_at: Option<String>,
    /// When it was revoked.
    #[schema(value_type = Option<kind::Time>, required = true)]
    revoked_at: Option<String>,
}

/// How often a key may ask.
#[derive(Serialize, ToSchema)]
pub(crate) struct RequestRateView {
    /// So many requests at once, if none came before,
    #[schema(minimum = 1, maximum = 1_000_000)]
    requests: u32,
    /// and as many again in each such span.
    #[schema(value_type = kind::Duration)]
    per: String,
}

/// What a new key may do; what is left out does not bound it.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(
    example = json!({
        "name": "ci", "scopes": ["submit", "read"], "namespace": "default", "jobs": ["example-task"],
        "rate": { "requests": 100, "per": "1s" }, "expires_at": "2030-01-31T12:00:00Z",
    })
)]
#[expect(dead_code, reason = "documents a request")]
pub(crate) struct NewKey {
    /// What people call it: without control characters.
    #[schema(min_length = 1, max_length = 64, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$", example = "ci")]
    name: String,
    /// What it may ask for.
    #[schema(min_items = 1)]
    scopes: Vec<kind::ScopeWord>,
    /// The one namespace that it is for; any, by the header `Sentinel-Namespace`, if it is left out.
    namespace: Option<kind::Namespace>,
    /// The jobs that it is for: of others it can submit and see no tasks.
    #[schema(min_items = 1, max_items = 100)]
    jobs: Option<Vec<kind::JobName>>,
    /// The queues that it is for: of others it can submit and see no tasks.
    #[schema(min_items = 1, max_items = 100)]
    queues: Option<Vec<kind::QueueName>>,
    /// How often it may ask, counted for all servers together.
    rate: Option<NewRequestRate>,
    /// When it stops being valid.
    expires_at: Option<kind::Time>,
}

/// How often a key may ask.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "documents a request")]
struct NewRequestRate {
    /// So many requests at once, if none came before,
    #[schema(minimum = 1, maximum = 1_000_000)]
    requests: u32,
    /// and as many again in each such span: from 1s to 24h.
    per: kind::Duration,
}

impl From<KeyInfo> for KeyView {
    fn from(key: KeyInfo) -> Self {
        let KeyInfo { id, name, hash: _, grant, created_at, expires_at, revoked_at } = key;
        let rate = |RequestRate { requests, per }| RequestRateView { requests, per: duration::format(per) };
        Self {
            key_id: id.to_string(),
            name,
            scopes: grant.scopes.iter().map(|scope| scope.as_str()).collect(),
            namespace: grant.namespace.map(|namespace| namespace.to_string()),
            jobs: grant.jobs.map(|jobs| jobs.iter().map(ToString::to_string).collect()),
            queues: grant.queues.map(|queues| queues.iter().map(ToString::to_string).collect()),
            rate: grant.rate.map(rate),
            created_at: time(created_at),
            expires_at: expires_at.map(time),
            revoked_at: revoked_at.map(time),
        }
    }
}
