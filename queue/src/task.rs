//! A task: as it is submitted, and as it is read back.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    names::{JobName, Millis, Namespace, Priority, QueueName, TaskId},
    payload::Payload,
    retry::Backoff,
    state::{ErrorKind, Status},
};

/// How often a task is tried when it does not say.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 3;

/// How many workers a task may lose before it is FAILED `worker_lost`.
pub const DEFAULT_MAX_LOST: u32 = 3;

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
    /// How often the task is tried at most.
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts.unwrap_or(DEFAULT_MAX_ATTEMPTS)
    }

    /// How long it waits between tries.
    pub fn backoff(&self) -> Backoff {
        self.backoff.unwrap_or_default()
    }
}

/// A task to be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTask {
    /// Made by whoever submits, so that the submit can be sent again.
    pub id: TaskId,
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
}

/// What never changes of an accepted task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The task's identity.
    pub id: TaskId,
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
    /// When it was accepted.
    pub created_at: Millis,
}

/// How its attempts went so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progression {
    /// Attempts that ended by failure, lost lease or conflict.
    pub ended: u32,
    /// Of these, failures.
    pub failures: u32,
    /// Of these, lost leases.
    pub lost: u32,
    /// When it is tried next, if it waits for that.
    pub due: Option<Millis>,
    /// How the last one failed; it stays when a later one succeeds.
    pub last_error: Option<TaskError>,
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
    /// Ended by request.
    Cancelled {
        /// How it ended.
        ended: Ended,
    },
}

/// The attempt that ended a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its number, from 1.
    pub attempt: u32,
    /// The worker's instance.
    pub worker: String,
    /// When it was claimed.
    pub started_at: Millis,
    /// When it was settled.
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
