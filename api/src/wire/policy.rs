//! What a task asks for, wherever that can be said: on a queue, a schedule, the task.

use sentinel_queue::{Backoff, Policy, duration, retry::BackoffKind};
use serde::Serialize;
use utoipa::ToSchema;

use super::kind;

/// What a task asks for; what is left out is decided elsewhere.
#[derive(Serialize, ToSchema)]
pub(crate) struct PolicyView {
    /// How long an attempt may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<kind::Duration>)]
    timeout: Option<String>,
    /// How often it is tried at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    max_attempts: Option<u32>,
    /// How long it waits between tries.
    #[serde(skip_serializing_if = "Option::is_none")]
    backoff: Option<BackoffView>,
}

/// What tasks ask for.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "documents a request")]
pub(super) struct NewPolicy {
    /// How long an attempt may take: from 1ms to 24h.
    timeout: Option<kind::Duration>,
    /// How often a task is tried at most.
    #[schema(minimum = 1, maximum = 1000)]
    max_attempts: Option<u32>,
    /// How long it waits between tries.
    backoff: Option<NewBackoff>,
}

impl From<Policy> for PolicyView {
    fn from(policy: Policy) -> Self {
        Self {
            timeout: policy.timeout.map(duration::format),
            max_attempts: policy.max_attempts,
            backoff: policy.backoff.map(Into::into),
        }
    }
}

/// How long a task is to wait between tries; what is left out has its default.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "documents a request")]
pub(super) struct NewBackoff {
    /// How the wait grows.
    #[schema(default = "exponential")]
    kind: Option<kind::BackoffKind>,
    /// The first wait: up to 24h.
    #[schema(default = "1s")]
    base: Option<kind::Duration>,
    /// No wait is longer: up to 24h.
    #[schema(default = "10m")]
    max: Option<kind::Duration>,
    /// Whether a wait is drawn from its upper half.
    #[schema(default = true)]
    jitter: Option<bool>,
}

/// How long a task waits between tries.
#[derive(Serialize, ToSchema)]
pub(crate) struct BackoffView {
    /// How the wait grows.
    #[schema(value_type = kind::BackoffKind)]
    kind: &'static str,
    /// The first wait.
    #[schema(value_type = kind::Duration)]
    base: String,
    /// No wait is longer.
    #[schema(value_type = kind::Duration)]
    max: String,
    /// Whether a wait is drawn from its upper half.
    jitter: bool,
}

impl From<Backoff> for BackoffView {
    fn from(backoff: Backoff) -> Self {
        let kind = match backoff.kind {
            BackoffKind::Exponential => "exponential",
            BackoffKind::Linear => "linear",
            BackoffKind::Fixed => "fixed",
        };
        let (base, max) = (duration::format(backoff.base), duration::format(backoff.max));
        Self { kind, base, max, jitter: backoff.jitter }
    }
}
