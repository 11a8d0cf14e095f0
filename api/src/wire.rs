//! What goes over the wire: shapes for clients, made of the queue's own types.

use sentinel_queue::{
    Backoff, Millis, Status, Task, duration,
    queue::{Counts, QueueInfo},
    retry::BackoffKind,
    task::{Ended, Progress, TaskError, TaskState, Usage},
};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A task to be accepted. This is its description; `fields.rs` takes it apart and knows the ranges.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents a request")]
pub(crate) struct NewTask {
    /// Any JSON object with a string `job`: kept and given back byte for byte. At most 1 MiB,
    /// nested at most 128 deep, no key twice.
    #[schema(value_type = Object, example = json!({"job": "example-task"}))]
    payload: serde_json::Value,
    /// The queue to wait in; matches `[a-z0-9][a-z0-9._-]{0,63}`.
    #[schema(default = "default", pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")]
    queue: Option<String>,
    /// Higher runs first within a queue; first come, first served within a priority.
    #[schema(default = 0, minimum = -1000, maximum = 1000, example = 5)]
    priority: Option<i32>,
    /// How long an attempt may take: a duration from 1ms to 24h.
    #[schema(example = "30s")]
    timeout: Option<String>,
    /// How often the task is tried at most.
    #[schema(default = 3, minimum = 1, maximum = 1000)]
    max_attempts: Option<u32>,
    /// How long it waits between tries.
    backoff: Option<NewBackoff>,
}

/// How long a task is to wait between tries; what is left out has its default.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents a request")]
struct NewBackoff {
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

/// The documented answer to a submit: exactly these two.
#[derive(Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// The task's UUID.
    #[schema(format = "uuid")]
    pub(crate) task_id: String,
    /// Where the task is.
    #[schema(value_type = String, example = "QUEUED")]
    pub(crate) status: Status,
}

/// The documented statistics: exactly these two.
#[derive(Serialize, ToSchema)]
pub(crate) struct Stats {
    /// How many tasks are QUEUED.
    queue_size: u64,
    /// How many tasks are held in each state; always all seven.
    #[schema(example = json!({"QUEUED": 0, "SCHEDULED": 0, "BLOCKED": 0, "IN_PROGRESS": 0, "COMPLETED": 1, "FAILED": 0, "CANCELLED": 0}))]
    status_counts: BTreeMap<&'static str, u64>,
}

impl From<Counts> for Stats {
    fn from(counts: Counts) -> Self {
        let status_counts = Status::ALL.iter().map(|&status| (status.as_str(), counts.of(status))).collect();
        Self { queue_size: counts.of(Status::Queued), status_counts }
    }
}

/// A task. Times are RFC 3339, UTC, with three decimals, by the store's clock. What is not known
/// is left out.
#[derive(Serialize, ToSchema)]
pub(crate) struct TaskView {
    /// The task's UUID.
    #[schema(format = "uuid")]
    task_id: String,
    /// The job that runs it.
    job: String,
    /// The queue it waits in.
    queue: String,
    /// -1000 to 1000, higher first.
    priority: i32,
    /// `QUEUED`, `SCHEDULED`, `BLOCKED`, `IN_PROGRESS`, `COMPLETED`, `FAILED` or `CANCELLED`.
    #[schema(value_type = String, example = "COMPLETED")]
    status: Status,
    /// As submitted, byte for byte.
    #[schema(value_type = Object)]
    payload: Box<RawValue>,
    /// How long an attempt may take, if the task says so itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
    /// How often it is tried at most.
    max_attempts: u32,
    /// How long it waits between tries.
    backoff: BackoffView,
    /// The attempt that runs, is next, or ended the task; from 1.
    attempt: u32,
    /// When it was accepted.
    created_at: String,
    /// When it is due, if it is SCHEDULED.
    #[serde(skip_serializing_if = "Option::is_none")]
    run_at: Option<String>,
    /// When the attempt was claimed.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    /// When the task ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<String>,
    /// What the job returned, byte for byte; of COMPLETED tasks alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    result: Option<Box<RawValue>>,
    /// Why the task FAILED.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorView>,
    /// How the last attempt failed that was followed by another.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<ErrorView>,
    /// How far a running attempt says it has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<ProgressView>,
    /// What the attempt that ended the task used.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageView>,
    /// The worker that runs or ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
    /// SHA-256 of the plugin that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin_digest: Option<String>,
}

/// How an attempt failed.
#[derive(Serialize, ToSchema)]
struct ErrorView {
    /// The named kind, such as `trap` or `timeout`.
    #[schema(example = "timeout")]
    kind: &'static str,
    /// What happened, for people.
    message: String,
    /// A finer kind, such as `wall` or `cpu`.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// Where the guest was.
    #[serde(skip_serializing_if = "Option::is_none")]
    backtrace: Option<String>,
}

/// How far an attempt says it has come.
#[derive(Serialize, ToSchema)]
struct ProgressView {
    /// 0 to 100.
    #[schema(maximum = 100)]
    percent: u8,
    /// For people.
    message: String,
}

/// What an attempt used.
#[derive(Serialize, ToSchema)]
struct UsageView {
    /// CPU time, in milliseconds.
    cpu_ms: f64,
    /// Time from start to end, in milliseconds.
    wall_ms: f64,
    /// Of that, waiting for the host, in milliseconds.
    wait_ms: f64,
    /// The most linear memory at one time.
    peak_memory_bytes: u64,
    /// What crossed the boundary between guest and host.
    transfer_bytes: u64,
}

impl From<Task> for TaskView {
    fn from(task: Task) -> Self {
        let Task { definition, progression, state } = task;
        let mut view = Self {
            task_id: definition.id.to_string(),
            job: definition.job.to_string(),
            queue: definition.queue.to_string(),
            priority: definition.priority.get(),
            status: state.status(),
            payload: raw(definition.payload.as_str()),
            timeout: definition.policy.timeout.map(duration::format),
            max_attempts: definition.policy.max_attempts(),
            backoff: definition.policy.backoff().into(),
            attempt: progression.attempt(),
            created_at: time(definition.created_at),
            run_at: None,
            started_at: None,
            finished_at: None,
            result: None,
            error: None,
            last_error: progression.last_error.map(Into::into),
            progress: None,
            usage: None,
            worker: None,
            plugin_digest: None,
        };
        match state {
            TaskState::Queued | TaskState::Blocked => {}
            TaskState::Scheduled => view.run_at = progression.due.map(time),
            TaskState::InProgress { worker, started_at, progress } => {
                view.worker = Some(worker);
                view.started_at = Some(time(started_at));
                view.progress = progress.map(Into::into);
            }
            TaskState::Completed { ended, result } => {
                view.result = Some(raw(&String::from_utf8_lossy(&result)));
                view.end(ended);
            }
            TaskState::Failed { ended, error } => {
                view.error = Some(error.into());
                view.end(ended);
            }
            TaskState::Cancelled { ended } => view.end(ended),
        }
        view
    }
}

impl TaskView {
    fn end(&mut self, ended: Ended) {
        self.attempt = ended.attempt;
        self.worker = Some(ended.worker);
        self.started_at = Some(time(ended.started_at));
        self.finished_at = Some(time(ended.finished_at));
        self.usage = ended.usage.map(Into::into);
        self.plugin_digest = ended.plugin_digest;
    }
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

impl From<TaskError> for ErrorView {
    fn from(error: TaskError) -> Self {
        let report = error.report;
        Self {
            kind: error.kind.as_str(),
            message: report.message,
            detail: report.detail,
            backtrace: report.backtrace,
        }
    }
}

impl From<Progress> for ProgressView {
    fn from(progress: Progress) -> Self {
        Self { percent: progress.percent, message: progress.message }
    }
}

impl From<Usage> for UsageView {
    #[expect(clippy::cast_precision_loss, reason = "no attempt lasts 285 years")]
    fn from(usage: Usage) -> Self {
        let millis = |micros: u64| micros as f64 / 1000.0;
        Self {
            cpu_ms: millis(usage.cpu_us),
            wall_ms: millis(usage.wall_us),
            wait_ms: millis(usage.wait_us),
            peak_memory_bytes: usage.peak_memory_bytes,
            transfer_bytes: usage.transfer_bytes,
        }
    }
}

/// A queue.
#[derive(Serialize, ToSchema)]
pub(crate) struct QueueView {
    /// Its name.
    pub(crate) name: String,
    /// Whether it hands out nothing.
    pub(crate) paused: bool,
    /// How many tasks are ready in it.
    pub(crate) depth: u64,
}

impl From<QueueInfo> for QueueView {
    fn from(queue: QueueInfo) -> Self {
        Self { name: queue.name.to_string(), paused: queue.paused, depth: queue.depth }
    }
}

/// A time as clients see it.
pub(crate) fn time(at: Millis) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    format!("{at:.3}")
}

/// JSON that was checked when it was accepted, as it is.
fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_exactly_three_decimals() {
        assert_eq!(time(Millis(1_800_000_000_000)), "2027-01-15T08:00:00.000Z");
        assert_eq!(time(Millis(1_800_000_000_120)), "2027-01-15T08:00:00.120Z");
    }
}
