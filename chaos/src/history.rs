//! What clients asked for and were told, and what was done to the cluster, in order.
//!
//! It owns the run's log: in memory for the checker, and line by line in a file, so that a run
//! that failed can be looked at. It judges nothing.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};

/// What a task is to do, which says how it must end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(crate) enum Act {
    /// Returns its payload.
    Echo,
    /// Returns `"ok"` after a while, which it sleeps.
    Sleep { ms: u64 },
    /// Returns `"ok"` after a while, which it computes.
    Spin { ms: u64 },
    /// Is to be tried again until this attempt, whose number it returns.
    OkFrom { attempt: u64 },
    /// Fails, and is to be tried again.
    Retryable,
    /// Fails for good.
    Permanent,
    /// Traps.
    Trap,
    /// Returns what is not JSON.
    ReturnNotJson,
    /// Loops until its time is over.
    Loop,
}

impl Act {
    /// The kind of error with which the task FAILS; none if it completes.
    pub(crate) fn failure(&self) -> Option<&'static str> {
        match self {
            Self::Echo | Self::Sleep { .. } | Self::Spin { .. } | Self::OkFrom { .. } => None,
            Self::Retryable => Some("retryable"),
            Self::Permanent => Some("permanent"),
            Self::Trap => Some("trap"),
            Self::ReturnNotJson => Some("bad_output"),
            Self::Loop => Some("timeout"),
        }
    }

    /// Whether its failure is tried again.
    pub(crate) fn is_retried(&self) -> bool {
        matches!(self, Self::Retryable | Self::Trap | Self::Loop | Self::OkFrom { .. })
    }
}

/// When a task with parents may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AfterPolicy {
    /// Once all of them are COMPLETED.
    Completed,
    /// Once all of them have ended.
    Always,
}

/// A task that a client wants.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Wish {
    /// Names it before it has an id: part of its payload, and its idempotency key if it has one.
    pub(crate) mark: String,
    pub(crate) act: Act,
    pub(crate) queue: &'static str,
    pub(crate) priority: i64,
    pub(crate) max_attempts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delay_ms: Option<u64>,
    /// The marks of its parents.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) after: Vec<String>,
    pub(crate) after_policy: AfterPolicy,
    /// By when it must have started, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<u64>,
    /// It never runs beside another of its queue with the same one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) concurrency_key: Option<&'static str>,
    /// Whether it carries an idempotency key.
    pub(crate) keyed: bool,
}

impl Wish {
    /// One that asks for nothing but its act.
    pub(crate) fn plain(mark: &str, act: Act) -> Self {
        Self {
            mark: mark.to_owned(),
            act,
            queue: "default",
            priority: 0,
            max_attempts: 3,
            delay_ms: None,
            after: Vec::new(),
            after_policy: AfterPolicy::Completed,
            expires_at: None,
            concurrency_key: None,
            keyed: false,
        }
    }

    /// Its payload.
    pub(crate) fn payload(&self) -> Value {
        let mut payload = json!(self.act);
        payload["job"] = json!("hostile");
        payload["mark"] = json!(self.mark);
        payload
    }
}

/// What is done to a task that is there; the names are those of the API's paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Steer {
    Cancel,
    Redrive,
    Reschedule,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Steered {
    /// 200.
    Done,
    /// 409: the task's state does not allow it.
    WrongState,
    /// Nobody knows.
    Unknown,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum What {
    /// A task is about to be submitted.
    Wished(Wish),
    /// The store has it.
    Accepted { mark: String, id: String, deduplicated: bool },
    /// Nobody knows whether the store has it.
    Unknown { mark: String, why: String },
    /// It was never sent, for want of a server.
    NotSent { mark: String },
    /// A task was cancelled or redriven, or not.
    Steered { id: String, steer: Steer, outcome: Steered },
    /// A client read a task that had ended.
    Observed { id: String, status: String, attempt: u64, finished_at: u64 },
    /// The API answered what it never should.
    Unexpected { request: String, answer: String },
    /// A fault began or ended.
    Fault { fault: String },
    /// A process did what it never should.
    Misbehaved { process: String, what: String },
}

impl What {
    /// Whether it is about this task.
    pub(crate) fn is_about(&self, task_id: Option<&str>, task_mark: Option<&str>) -> bool {
        match self {
            Self::Wished(Wish { mark, .. }) | Self::Unknown { mark, .. } | Self::NotSent { mark } => {
                Some(mark.as_str()) == task_mark
            }
            Self::Accepted { mark, id, .. } => {
                Some(mark.as_str()) == task_mark || Some(id.as_str()) == task_id
            }
            Self::Steered { id, .. } | Self::Observed { id, .. } => Some(id.as_str()) == task_id,
            Self::Unexpected { request, .. } => {
                let quoted = task_mark.map(|mark| format!("{mark:?}"));
                task_id.is_some_and(|id| request.contains(id))
                    || quoted.is_some_and(|mark| request.contains(&mark))
            }
            Self::Fault { .. } | Self::Misbehaved { .. } => false,
        }
    }
}

/// Something that happened, and when.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Event {
    /// Milliseconds since 1970, like the store's.
    pub(crate) at: u64,
    #[serde(flatten)]
    pub(crate) what: What,
}

/// The log of a run; all threads write to it.
pub(crate) struct History(Mutex<Log>);

struct Log {
    events: Vec<Event>,
    file: BufWriter<File>,
}

impl History {
    /// A new one, kept in this file too.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        Ok(Self(Mutex::new(Log { events: Vec::new(), file: BufWriter::new(file) })))
    }

    /// Takes note.
    pub(crate) fn note(&self, what: What) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that times only grow.
        let event = Event { at: now(), what };
        if let Err(error) = write_line(&mut log.file, &event) {
            eprintln!("the history could not be written: {error:#}");
        }
        log.events.push(event);
    }

    pub(crate) fn fault(&self, fault: impl Into<String>) {
        self.note(What::Fault { fault: fault.into() });
    }

    /// All that was noted so far.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = log.file.flush() {
            eprintln!("the history could not be written: {error}");
        }
        log.events.clone()
    }
}

fn write_line(file: &mut impl Write, event: &Event) -> Result<()> {
    serde_json::to_writer(&mut *file, event)?;
    Ok(file.write_all(b"\n")?)
}

/// This machine's clock, which is the store's as well.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
