//! A task: as it is submitted, and as it is read back.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    names::{ConcurrencyKey, IdempotencyKey, JobName, Millis, Namespace, Priority, QueueName, Tags, TaskId},
    payload::Payload,
    retry::Backoff,
    state::{ErrorKind, Status},
    trace::TraceContext,
};

/// How often a task is tried when it does not say.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 3;

/// How many workers a task may lose before it is FAILED `worker_lost`. The last of them must be
/// seen to die: before that attempt all others were lost, and it runs apart ([`must_run_apart`]).
///
/// [`must_run_apart`]: crate::lease::Claimed::must_run_apart
pub const MAX_LOST: u32 = 3;

/// How many tasks a task may wait for.
pub const MAX_PARENTS: usize = 100;

/// What a task asks for itself; what it leaves out is decided where it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// How long an attempt may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How often it is tried at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// How long it waits between tries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
}

impl Policy {
    /// This, and what it leaves out from another.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        Self {
            timeout: self.timeout.or(other.timeout),
            max_attempts: self.max_attempts.or(other.max_attempts),
            backoff: self.backoff.or(other.backoff),
        }
    }

    /// How often the task is tried at most.
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts.unwrap_or(DEFAULT_MAX_ATTEMPTS)
    }

    /// How long it waits between tries.
    pub fn backoff(&self) -> Backoff {
        self.backoff.unwrap_or_default()
    }
}

/// What a task is: what was asked for when it was submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Whose it is.
    pub namespace: Namespace,
    /// Where it waits.
    pub queue: QueueName,
    /// How urgent it is there.
    pub priority: Priority,
    /// What runs it.
    pub job: JobName,
    /// What that is given.
    pub payload: Payload,
    /// What it asks for itself.
    pub policy: Policy,
    /// When it is FAILED `expired` if it has not started.
    pub expires_at: Option<Millis>,
    /// Of tasks with the same one in a queue, so many run at once as the queue says.
    pub concurrency_key: Option<ConcurrencyKey>,
    /// A second submit with the same one makes no second task.
    pub idempotency_key: Option<IdempotencyKey>,
    /// Words to find it by.
    pub tags: Tags,
    /// The tasks that must have ended before it runs, at most [`MAX_PARENTS`].
    pub after: Vec<TaskId>,
    /// What happens if one of these does not complete.
    pub after_policy: AfterPolicy,
    /// The task whose attempt submitted it, if one did.
    pub lineage: Option<Lineage>,
    /// Where it stands in the trace of whoever submitted it, if that is known.
    pub trace: Option<Box<TraceContext>>,
}

impl Spec {
    /// A plain task: default queue, priority and namespace, nothing asked for.
    pub fn new(job: JobName, payload: Payload) -> Self {
        Self {
            namespace: Namespace::default(),
            queue: QueueName::default(),
            priority: Priority::default(),
            job,
            payload,
            policy: Policy::default(),
            expires_at: None,
            concurrency_key: None,
            idempotency_key: None,
            tags: Tags::default(),
            after: Vec::new(),
            after_policy: AfterPolicy::default(),
            lineage: None,
            trace: None,
        }
    }
}

/// From whom a task descends that another task's attempt submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The task that submitted it.
    pub parent: TaskId,
    /// The first of the family, which nobody's attempt submitted.
    pub root: TaskId,
    /// How many generations lie between that and this, from 1.
    pub depth: u32,
}

/// What becomes of a task when one that it waits for does not complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AfterPolicy {
    /// It is CANCELLED.
    #[default]
    Completed,
    /// It runs all the same.
    Always,
}

/// When a task is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At a point in time.
    At(Millis),
    /// So long after the store has it.
    After(Duration),
}

/// A task to be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTask {
    /// Made by whoever submits, so that the submit can be sent again.
    pub id: TaskId,
    /// What it is.
    pub spec: Spec,
    /// When it is due, if not at once.
    pub when: Option<When>,
}

impl NewTask {
    /// A task with a new id, due at once.
    pub fn new(spec: Spec) -> Self {
        Self { id: TaskId::random(), spec, when: None }
    }
}

/// What never changes of an accepted task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The task's identity.
    pub id: TaskId,
    /// What it is. Its priority is the present one.
    pub spec: Spec,
    /// When it was accepted.
    pub created_at: Millis,
}

/// How its attempts went so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progression {
    /// Attempts that ended by failure, lost lease or conflict.
    pub ended: u32,
    /// Of these, failures that count against `max_attempts`.
    pub failures: u32,
    /// Of these, lost leases that count against the task.
    pub lost: u32,
    /// Of these, lost leases that do not.
    pub spared: u32,
    /// When it is or was due, if it had to wait for that.
    pub due: Option<Millis>,
    /// Its priority, if that was changed.
    pub priority: Option<Priority>,
    /// The kind of its last error.
    pub last_kind: Option<ErrorKind>,
}

impl Progression {
    /// The number of the attempt that runs or is next, from 1.
    pub fn attempt(&self) -> u32 {
        self.ended + 1
    }

    /// The number of the last attempt that the task may have, as things stand.
    pub fn last_attempt(&self, policy: &Policy) -> u32 {
        let failures_left = policy.max_attempts().saturating_sub(self.failures).max(1);
        self.attempt() + failures_left - 1
    }
}

/// How an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskError {
    /// The named kind.
    pub kind: ErrorKind,
    /// What happened, for people.
    pub report: ErrorReport,
}

/// The part of an error that is for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// What happened, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// A finer kind, such as `wall` or `cpu` of a timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Where the guest was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backtrace: Option<String>,
}

/// What an attempt used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time, in microseconds.
    pub cpu_us: u64,
    /// Time from start to end, in microseconds.
    pub wall_us: u64,
    /// Of that, time spent waiting for the host, in microseconds.
    pub wait_us: u64,
    /// The most linear memory at one time, in bytes.
    pub peak_memory_bytes: u64,
    /// Bytes that crossed the boundary between guest and host.
    pub transfer_bytes: u64,
}

/// What is kept of the attempt that ended a task, besides its result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptReport {
    /// What it used.
    #[serde(default)]
    pub usage: Usage,
    /// SHA-256 of the code that ran it, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_digest: Option<String>,
    /// How it failed, if it did.
    #[serde(default)]
    pub error: ErrorReport,
}

/// How far a running attempt says it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// 0 to 100.
    pub percent: u8,
    /// For people.
    pub message: String,
}

/// A task as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// What never changes.
    pub definition: Definition,
    /// How its attempts went.
    pub progression: Progression,
    /// Where it is.
    pub state: TaskState,
    /// What came before its present or last attempt, oldest first; of many attempts the last
    /// hundred.
    pub history: Vec<Event>,
}

impl Task {
    /// Why it FAILED or was CANCELLED.
    pub fn error(&self) -> Option<&TaskError> {
        match &self.state {
            TaskState::Failed { error, .. } | TaskState::Cancelled { error, .. } => Some(error),
            _ => None,
        }
    }

    /// What kept the task from ending so far: how its last attempt failed that was followed by
    /// another, or that no worker has its job.
    pub fn last_error(&self) -> Option<TaskError> {
        if self.progression.last_kind == Some(ErrorKind::UnknownJob) {
            let message = "no worker that came upon it had its job".into();
            let report = ErrorReport { message, ..ErrorReport::default() };
            return Some(TaskError { kind: ErrorKind::UnknownJob, report });
        }
        self.history.iter().rev().find_map(|event| match event {
            Event::Attempt { error, .. } => error.clone(),
            _ => None,
        })
    }
}

/// Something that happened to a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An attempt ended, and the task went on.
    Attempt {
        /// The attempt.
        ended: Ended,
        /// `FAILED`, `CANCELLED` or `LOST`.
        outcome: String,
        /// How it failed.
        error: Option<TaskError>,
    },
    /// The task ended, before it was redriven, without an attempt of its own for that.
    End {
        /// When.
        at: Millis,
        /// How.
        status: Status,
        /// Why.
        error: Option<TaskError>,
    },
    /// An operator gave it another life.
    Redriven {
        /// When.
        at: Millis,
    },
}

impl Event {
    /// When it happened.
    pub fn at(&self) -> Millis {
        match self {
            Self::Attempt { ended, .. } => ended.finished_at,
            Self::End { at, .. } | Self::Redriven { at } => *at,
        }
    }
}

/// Where a task is, and what is known of it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Ready.
    Queued,
    /// Waits for its time ([`Progression::due`]).
    Scheduled,
    /// Waits for other tasks.
    Blocked,
    /// A worker runs it.
    InProgress {
        /// The worker's instance.
        worker: String,
        /// When it was claimed.
        started_at: Millis,
        /// How far the job says it has come.
        progress: Option<Progress>,
    },
    /// Ended with a result.
    Completed {
        /// How it ended.
        ended: Ended,
        /// JSON, byte for byte as the job gave it.
        result: Bytes,
    },
    /// Ended with an error.
    Failed {
        /// How it ended.
        ended: Ended,
        /// Why.
        error: TaskError,
    },
    /// Ended by request, or because of another task.
    Cancelled {
        /// How it ended.
        ended: Ended,
        /// Why.
        error: TaskError,
    },
}

/// The end of a task, or of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The number of the last attempt, from 1; 0 if there was none.
    pub attempt: u32,
    /// The worker's instance, if a worker ran it.
    pub worker: Option<String>,
    /// When it was claimed, if it was.
    pub started_at: Option<Millis>,
    /// When it ended.
    pub finished_at: Millis,
    /// What it used; none when nobody could tell.
    pub usage: Option<Usage>,
    /// SHA-256 of the code that ran it.
    pub plugin_digest: Option<String>,
}

impl TaskState {
    /// The word for it.
    pub fn status(&self) -> Status {
        match self {
            Self::Queued => Status::Queued,
            Self::Scheduled => Status::Scheduled,
            Self::Blocked => Status::Blocked,
            Self::InProgress { .. } => Status::InProgress,
            Self::Completed { .. } => Status::Completed,
            Self::Failed { .. } => Status::Failed,
            Self::Cancelled { .. } => Status::Cancelled,
        }
    }
}
