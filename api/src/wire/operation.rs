//! Operations on many tasks.

use sentinel_queue::steer::Operation;
use serde::Serialize;
use utoipa::ToSchema;

use super::time;

/// An operation on many tasks.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents a request")]
pub(crate) struct NewOperation {
    /// `cancel` (those that have not ended) or `redrive` (those that FAILED or were CANCELLED).
    #[schema(example = "redrive")]
    kind: String,
    /// Which tasks: `{}` means all.
    filter: OperationFilter,
    /// Only counts them.
    #[schema(default = false)]
    dry_run: Option<bool>,
}

/// Which tasks are meant: those that have all of this.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents a request")]
struct OperationFilter {
    /// This state.
    status: Option<String>,
    /// This queue.
    queue: Option<String>,
    /// This job.
    job: Option<String>,
    /// This tag among theirs.
    tag: Option<String>,
    /// Accepted then or later.
    #[schema(format = "date-time")]
    since: Option<String>,
    /// Accepted earlier.
    #[schema(format = "date-time")]
    until: Option<String>,
}

/// How far an operation has come.
#[derive(Serialize, ToSchema)]
pub(crate) struct OperationView {
    /// Its id.
    operation_id: String,
    /// `cancel`, `redrive` or `purge`.
    #[schema(example = "redrive")]
    kind: &'static str,
    /// Whether it only counts.
    dry_run: bool,
    /// `running` or `done`.
    #[schema(example = "done")]
    state: &'static str,
    /// When it was asked for.
    created_at: String,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
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
