//! Tasks: as they come in, as they are shown and as they are listed.

use std::collections::BTreeMap;

use sentinel_queue::{
    Millis, Spec, Status, Task, duration,
    list::Listed,
    queue::Counts,
    task::{AfterPolicy, Definition, Ended, Event, Progress, TaskError, TaskState, Usage},
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Ref, RefOr, Schema, schema::AnyOfBuilder},
};

use super::{
    kind,
    policy::{BackoffView, NewBackoff},
    raw, time,
};

/// A task to be accepted.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(
    example = json!({ "payload": { "job": "example-task", "name": "Ada" }, "priority": 5 })
)]
#[expect(dead_code, reason = "documents a request")]
pub(crate) struct NewTask {
    /// What the job is given.
    payload: kind::Payload,
    /// The queue to wait in.
    #[schema(default = "default")]
    queue: Option<kind::QueueName>,
    /// Higher runs first within a queue; first come, first served within a priority.
    #[schema(default = 0, minimum = -1000, maximum = 1000, example = 5)]
    priority: Option<i32>,
    /// When it is due; not together with `delay`.
    run_at: Option<kind::Time>,
    /// How long after its acceptance it is due: up to 3650d.
    delay: Option<kind::Duration>,
    /// If it has not started by then, it is FAILED `expired`.
    expires_at: Option<kind::Time>,
    /// How long an attempt may take: from 1ms to 24h.
    timeout: Option<kind::Duration>,
    /// How often the task is tried at most.
    #[schema(default = 3, minimum = 1, maximum = 1000)]
    max_attempts: Option<u32>,
    /// How long it waits between tries.
    backoff: Option<NewBackoff>,
    /// A second submit with the same key, queue and payload within 24 hours, or while the task is
    /// kept, makes no second task. As the `Idempotency-Key` header, too.
    idempotency_key: Option<kind::IdempotencyKey>,
    /// Of the tasks of a queue with the same key, so many run at once as the queue says (`per_key`,
    /// by default 1).
    concurrency_key: Option<kind::ConcurrencyKey>,
    /// Words to find it by: at most 10 different ones, of 240 characters with a comma between each two.
    tags: Option<Vec<kind::Tag>>,
    /// The tasks that must have ended before it runs.
    #[schema(max_items = 100)]
    after: Option<Vec<kind::Parent>>,
    /// What happens if one of these does not complete: `completed` (the task is CANCELLED) or
    /// `always` (it runs all the same).
    #[schema(default = "completed")]
    after_policy: Option<kind::AfterPolicy>,
}

/// Tasks to be accepted, all of them or none.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(
    example = json!({ "tasks": [
        { "payload": { "job": "example-task", "name": "Ada" } },
        { "payload": { "job": "example-task", "name": "Bob" }, "after": ["#0"] },
    ] })
)]
#[expect(dead_code, reason = "documents a request")]
pub(crate) struct NewBatch {
    /// In the order in which they arrive.
    #[schema(min_items = 1, max_items = 1000)]
    tasks: Vec<NewTask>,
}

/// What a waiting task is to change: at least one of these, and not both `run_at` and `delay`.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "delay": "5m", "priority": 10 }))]
#[expect(dead_code, reason = "documents a request")]
pub(crate) struct Reschedule {
    /// When it is due.
    run_at: Option<kind::Time>,
    /// How long from now it is due: up to 3650d.
    delay: Option<kind::Duration>,
    /// Its new priority.
    #[schema(minimum = -1000, maximum = 1000)]
    priority: Option<i32>,
}

/// The documented answer to a submit: exactly these two, and `deduplicated` when it is so.
#[derive(Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// The task's id.
    #[schema(value_type = kind::TaskId)]
    pub(crate) task_id: String,
    /// Where the task is.
    #[schema(value_type = kind::Status)]
    pub(crate) status: Status,
    /// The task was there before, by its idempotency key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) deduplicated: bool,
}

/// What a second submit is answered: the task, or what is left to tell of it.
pub(crate) struct KnownTask;

impl PartialSchema for KnownTask {
    fn schema() -> RefOr<Schema> {
        let either = [TaskView::name(), Accepted::name()].map(Ref::from_schema_name);
        let [task, accepted] = either;
        AnyOfBuilder::new().item(task).item(accepted).into()
    }
}

impl ToSchema for KnownTask {}

/// A batch that was accepted.
#[derive(Serialize, ToSchema)]
pub(crate) struct AcceptedBatch {
    /// In the order of the request.
    #[schema(min_items = 1, max_items = 1000)]
    pub(crate) tasks: Vec<Accepted>,
}

/// The documented statistics: exactly these two.
#[derive(Serialize, ToSchema)]
pub(crate) struct Stats {
    /// How many tasks are QUEUED.
    queue_size: u64,
    /// How many tasks are held in each state; always all seven.
    #[schema(value_type = StatusCounts)]
    status_counts: BTreeMap<&'static str, u64>,
}

/// How many tasks are held in each state.
#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
#[expect(dead_code, reason = "documents an answer")]
struct StatusCounts {
    queued: u64,
    scheduled: u64,
    blocked: u64,
    in_progress: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
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
    #[serde(flatten)]
    brief: TaskBrief,
    /// As submitted, byte for byte.
    #[schema(value_type = kind::Payload)]
    payload: Box<RawValue>,
    /// How long an attempt may take, if the task says so itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<kind::Duration>)]
    timeout: Option<String>,
    /// How often it is tried at most, if the task says so itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    max_attempts: Option<u32>,
    /// How long it waits between tries, if the task says so itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    backoff: Option<BackoffView>,
    /// The tasks that must have ended before it runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<kind::TaskId>, max_items = 100)]
    after: Vec<String>,
    /// What happens if one of these does not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<kind::AfterPolicy>)]
    after_policy: Option<&'static str>,
    /// The task whose job submitted it, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<kind::TaskId>)]
    parent_id: Option<String>,
    /// The trace that it is part of (W3C Trace Context), if whoever submitted it traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<kind::TraceId>)]
    trace_id: Option<String>,
    /// What the job returned, byte for byte; of COMPLETED tasks alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = serde_json::Value, required = false)]
    result: Option<Box<RawValue>>,
    /// How the last attempt failed that was followed by another.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<ErrorView>,
    /// The task was there before, by its idempotency key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) deduplicated: bool,
    /// What happened to it, oldest first: the attempts that ended (the last hundred), redrives, and
    /// the end.
    history: Vec<EventView>,
}

/// A task as it is listed: without its payload, its result and its history.
#[derive(Serialize, ToSchema)]
pub(crate) struct TaskBrief {
    /// The task's id.
    #[schema(value_type = kind::TaskId)]
    task_id: String,
    /// The job that runs it.
    #[schema(value_type = kind::JobName)]
    job: String,
    /// The queue it waits in.
    #[schema(value_type = kind::QueueName)]
    queue: String,
    /// Higher runs first.
    #[schema(minimum = -1000, maximum = 1000)]
    priority: i32,
    /// Where it is.
    #[schema(value_type = kind::Status)]
    pub(crate) status: Status,
    /// The attempt that runs, is next, or was the last; from 1, and 0 if a task ended without any.
    attempt: u32,
    /// When it was accepted.
    #[schema(value_type = kind::Time)]
    created_at: String,
    /// When it is due, if it is SCHEDULED.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<kind::Time>)]
    run_at: Option<String>,
    /// When it expires if it has not started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<kind::Time>)]
    expires_at: Option<String>,
    /// When the attempt was claimed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<kind::Time>)]
    started_at: Option<String>,
    /// When the task ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<kind::Time>)]
    finished_at: Option<String>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<kind::Tag>, max_items = 10)]
    tags: Vec<String>,
    /// What it shares with tasks that must not run at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<kind::ConcurrencyKey>)]
    concurrency_key: Option<String>,
    /// By which a second submit is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<kind::IdempotencyKey>)]
    idempotency_key: Option<String>,
    /// Why the task FAILED or was CANCELLED.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorView>,
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
    #[schema(value_type = Option<kind::Digest>)]
    plugin_digest: Option<String>,
}

/// A slice of a list of tasks.
#[derive(Serialize, ToSchema)]
pub(crate) struct TaskList {
    /// The tasks; fewer than asked for, even none, does not mean that there are no more.
    pub(crate) tasks: Vec<TaskBrief>,
    /// Where the list goes on; null at its end.
    #[schema(required = true)]
    pub(crate) next_cursor: Option<String>,
}

/// Something that happened to a task.
#[derive(Serialize, ToSchema)]
struct EventView {
    /// What.
    #[schema(value_type = kind::EventKind)]
    event: &'static str,
    /// When.
    #[schema(value_type = kind::Time)]
    at: String,
    /// The attempt's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    attempt: Option<u32>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<kind::Outcome>)]
    outcome: Option<String>,
    /// When the attempt was claimed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<kind::Time>)]
    started_at: Option<String>,
    /// The worker that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
    /// How it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorView>,
    /// What it used.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageView>,
    /// SHA-256 of the plugin that ran it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<kind::Digest>)]
    plugin_digest: Option<String>,
}

/// How an attempt failed.
#[derive(Serialize, ToSchema)]
struct ErrorView {
    /// Its named kind.
    #[schema(value_type = kind::ErrorKind)]
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
        let last_error = task.last_error().map(Into::into);
        let Task { definition, progression, state, history } = task;
        let mut history: Vec<_> = history.into_iter().map(EventView::from).collect();
        history.extend(EventView::end(&state, &history));
        let Spec { payload, policy, after, after_policy, lineage, trace, .. } = &definition.spec;
        Self {
            payload: raw(payload.as_str()),
            timeout: policy.timeout.map(duration::format),
            max_attempts: policy.max_attempts,
            backoff: policy.backoff.map(Into::into),
            after: after.iter().map(ToString::to_string).collect(),
            after_policy: (!after.is_empty()).then_some(match after_policy {
                AfterPolicy::Completed => "completed",
                AfterPolicy::Always => "always",
            }),
            parent_id: lineage.map(|lineage| lineage.parent.to_string()),
            trace_id: trace.as_ref().map(|context| context.trace_id()),
            result: match &state {
                TaskState::Completed { result, .. } => Some(raw(&String::from_utf8_lossy(result))),
                _ => None,
            },
            last_error,
            deduplicated: false,
            history,
            brief: Listed { definition, progression, state }.into(),
        }
    }
}

impl From<Listed> for TaskBrief {
    fn from(task: Listed) -> Self {
        let Listed { definition: Definition { id, spec, created_at }, progression, state } = task;
        let mut view = Self {
            task_id: id.to_string(),
            job: spec.job.to_string(),
            queue: spec.queue.to_string(),
            priority: spec.priority.get(),
            status: state.status(),
            attempt: progression.attempt(),
            created_at: time(created_at),
            run_at: None,
            expires_at: spec.expires_at.map(time),
            started_at: None,
            finished_at: None,
            tags: spec.tags.iter().map(ToString::to_string).collect(),
            concurrency_key: spec.concurrency_key.as_ref().map(ToString::to_string),
            idempotency_key: spec.idempotency_key.as_ref().map(ToString::to_string),
            error: None,
            progress: None,
            usage: None,
            worker: None,
            plugin_digest: None,
        };
        match state {
            TaskState::Queued => {}
            TaskState::Scheduled | TaskState::Blocked => view.run_at = progression.due.map(time),
            TaskState::InProgress { worker, started_at, progress } => {
                view.worker = Some(worker);
                view.started_at = Some(time(started_at));
                view.progress = progress.map(Into::into);
            }
            TaskState::Completed { ended, .. } => view.end(ended),
            TaskState::Failed { ended, error } | TaskState::Cancelled { ended, error } => {
                view.error = Some(error.into());
                view.end(ended);
            }
        }
        view
    }
}

impl TaskBrief {
    fn end(&mut self, ended: Ended) {
        self.attempt = ended.attempt;
        self.worker = ended.worker;
        self.started_at = ended.started_at.map(time);
        self.finished_at = Some(time(ended.finished_at));
        self.usage = ended.usage.map(Into::into);
        self.plugin_digest = ended.plugin_digest;
    }
}

impl EventView {
    fn plain(event: &'static str, at: Millis) -> Self {
        Self {
            event,
            at: time(at),
            attempt: None,
            outcome: None,
            started_at: None,
            worker: None,
            error: None,
            usage: None,
            plugin_digest: None,
        }
    }

    fn attempt(ended: Ended, outcome: String, error: Option<TaskError>) -> Self {
        Self {
            attempt: Some(ended.attempt),
            outcome: Some(outcome),
            started_at: ended.started_at.map(time),
            worker: ended.worker,
            error: error.map(Into::into),
            usage: ended.usage.map(Into::into),
            plugin_digest: ended.plugin_digest,
            ..Self::plain("attempt", ended.finished_at)
        }
    }

    /// The end of a task: an attempt, unless that is told of already or there was none.
    fn end(state: &TaskState, told: &[Self]) -> Option<Self> {
        let (ended, error) = match state {
            TaskState::Completed { ended, .. } => (ended, None),
            TaskState::Failed { ended, error } | TaskState::Cancelled { ended, error } => {
                (ended, Some(error))
            }
            _ => return None,
        };
        let outcome = state.status().to_string();
        let is_told = told.iter().any(|event| event.attempt == Some(ended.attempt));
        Some(if ended.started_at.is_some() && !is_told {
            Self::attempt(ended.clone(), outcome, error.cloned())
        } else {
            Self {
                outcome: Some(outcome),
                error: error.cloned().map(Into::into),
                ..Self::plain("ended", ended.finished_at)
            }
        })
    }
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        match event {
            Event::Attempt { ended, outcome, error } => Self::attempt(ended, outcome, error),
            Event::End { at, status, error } => Self {
                outcome: Some(status.to_string()),
                error: error.map(Into::into),
                ..Self::plain("ended", at)
            },
            Event::Redriven { at } => Self::plain("redriven", at),
        }
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
