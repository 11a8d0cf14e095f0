//! Keys.

use sentinel_queue::{
    duration,
    keys::{KeyInfo, RequestRate},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::time;

/// A key, without what is secret of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyView {
    /// Its id, with which the key begins.
    #[schema(pattern = "^[0-9a-f]{12}$", example = "4f1d09a3c2b7")]
    pub(crate) key_id: String,
    /// What people call it.
    name: String,
    /// What it may ask for: `submit`, `read`, `operate`, `admin`.
    scopes: Vec<&'static str>,
    /// The one namespace that it is for; null: any, by the header `Sentinel-Namespace`.
    namespace: Option<String>,
    /// The jobs that it is for; null: all.
    jobs: Option<Vec<String>>,
    /// The queues that it is for; null: all.
    queues: Option<Vec<String>>,
    /// How often it may ask; null: as often as it can.
    rate: Option<RequestRateView>,
    /// When it was made.
    created_at: String,
    /// When it stops being valid.
    expires_at: Option<String>,
    /// When it was revoked.
    revoked_at: Option<String>,
}

/// How often a key may ask.
#[derive(Serialize, ToSchema)]
pub(crate) struct RequestRateView {
    /// So many requests at once, if none came before,
    #[schema(minimum = 1, maximum = 1_000_000)]
    requests: u32,
    /// and as many again in each such span: a duration from 1s to 24h.
    #[schema(example = "1s")]
    per: String,
}

/// What a new key may do; what is left out does not bound it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents a request")]
pub(crate) struct NewKey {
    /// What people call it: 1 to 64 characters.
    #[schema(min_length = 1, max_length = 64, example = "ci")]
    name: String,
    /// What it may ask for; `admin` includes the others.
    #[schema(min_items = 1)]
    scopes: Vec<ScopeWord>,
    /// The one namespace that it is for; any, by the header `Sentinel-Namespace`, if it is left out.
    #[schema(pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")]
    namespace: Option<String>,
    /// The jobs that it is for: of others it can submit and see no tasks.
    #[schema(min_items = 1, max_items = 100)]
    jobs: Option<Vec<String>>,
    /// The queues that it is for: of others it can submit and see no tasks.
    #[schema(min_items = 1, max_items = 100)]
    queues: Option<Vec<String>>,
    /// How often it may ask, counted for all servers together.
    rate: Option<NewRequestRate>,
    /// When it stops being valid: RFC 3339.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

/// What a key may ask for.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "documents a request")]
pub(crate) enum ScopeWord {
    Submit,
    Read,
    Operate,
    Admin,
}

/// How often a key may ask.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents a request")]
struct NewRequestRate {
    /// So many requests at once, if none came before,
    #[schema(minimum = 1, maximum = 1_000_000)]
    requests: u32,
    /// and as many again in each such span: a duration from 1s to 24h.
    #[schema(example = "1s")]
    per: String,
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
