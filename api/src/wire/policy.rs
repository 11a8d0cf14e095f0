//! What a task asks for, wherever that can be said: on a queue, a schedule, the task.

use sentinel_queue::{Backoff, Policy, duration, retry::BackoffKind};
use serde::Serialize;
use utoipa::ToSchema;

/// What a task asks for; what is left out is decided elsewhere.
#[derive(Serialize, ToSchema)]
pub(crate) struct PolicyView {
    /// How long an attempt may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
    /// How often it is tried at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    /// How long it waits between tries.
    #[serde(skip_serializing_if = "Option::is_none")]
    backoff: Option<BackoffView>,
}

/// What tasks ask for.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents a request")]
pub(super) struct NewPolicy {
    /// How long an attempt may take: a duration from 1ms to 24h.
    timeout: Option<String>,
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
#[expect(dead_code, reason = "documents a request")]
pub(super) struct NewBackoff {
    /// How the wait grows: `exponential`, `linear` or `fixed`.
    #[schema(nullable = false, default = "exponential")]
    kind: Option<String>,
    /// The first wait, a duration up to 24h.
    #[schema(nullable = false, default = "1s")]
    base: Option<String>,
    /// No wait is longer; a duration up to 24h.
    #[schema(nullable = false, default = "10m")]
    max: Option<String>,
    /// Whether a wait is drawn from its upper half.
    #[schema(nullable = false, default = true)]
    jitter: Option<bool>,
}

/// How long a task waits between tries.
#[derive(Serialize, ToSchema)]
pub(crate) struct BackoffView {
    /// How the wait grows: `exponential`, `linear` or `fixed`.
    #[schema(example = "exponential")]
    kind: &'static str,
    /// The first wait, a duration.
    #[schema(example = "1s")]
    base: String,
    /// No wait is longer, a duration.
    #[schema(example = "10m")]
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
