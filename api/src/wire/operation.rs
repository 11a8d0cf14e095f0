//! Operations on many tasks.

use sentinel_queue::steer::Operation;
use serde::Serialize;
use utoipa::ToSchema;

use super::{kind, time};

/// An operation on many tasks.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(
    example = json!({ "kind": "redrive", "filter": { "queue": "default", "status": "FAILED" }, "dry_run": true })
)]
#[expect(dead_code, reason = "documents a request")]
pub(crate) struct NewOperation {
    /// `cancel`: those that have not ended. `redrive`: those that FAILED or were CANCELLED.
    kind: NewOperationKind,
    /// Which tasks: `{}` means all.
    filter: OperationFilter,
    /// Only counts them.
    #[schema(default = false)]
    dry_run: Option<bool>,
}

/// What can be done to many tasks.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "documents a request")]
enum NewOperationKind {
    Cancel,
    Redrive,
}

/// Which tasks are meant: those that have all of this.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "documents a request")]
struct OperationFilter {
    /// This state; one in which this can be done.
    status: Option<kind::Status>,
    /// This queue.
    queue: Option<kind::QueueName>,
    /// This job.
    job: Option<kind::JobName>,
    /// This tag among theirs.
    tag: Option<kind::Tag>,
    /// Accepted then or later.
    since: Option<kind::Time>,
    /// Accepted earlier.
    until: Option<kind::Time>,
}

/// How far an operation has come.
#[derive(Serialize, ToSchema)]
pub(crate) struct OperationView {
    /// Its id.
    operation_id: String,
    /// What it does.
    #[schema(value_type = kind::OperationKind)]
    kind: &'static str,
    /// Whether it only counts.
    dry_run: bool,
    /// Whether it is done.
    #[schema(value_type = kind::OperationState)]
    state: &'static str,
    /// When it was asked for.
    #[schema(value_type = kind::Time)]
    created_at: String,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<kind::Time>)]
    finished_at: Option<String>,
    /// How many tasks it looked at.
    looked_at: u64,
    /// How many of them had what was asked for.
    matched: u64,
    /// On how many of them it was done.
    done: u64,
}

impl OperationView {
    pub(crate) fn of(id: String, operation: &Operation) -> Self {
        Self {
            operation_id: id,
            kind: operation.kind.as_str(),
            dry_run: operation.dry_run,
            state: if operation.finished_at.is_some() { "done" } else { "running" },
            created_at: time(operation.created_at),
            finished_at: operation.finished_at.map(time),
            looked_at: operation.looked_at,
            matched: operation.matched,
            done: operation.done,
        }
    }
}
