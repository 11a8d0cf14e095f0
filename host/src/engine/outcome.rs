//! How an attempt ended, and what it used.
//!
//! Owns the vocabulary of the engine's answers. Does not know what becomes of a task: whether a
//! fault is retried is the queue's business. Invariant: [`Outcome::Failed`] is the job's own
//! fault; what the host or an operator did has outcomes of its own.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{calls::HostCalls, effects::Effects, log::Log};

/// Everything there is to say about a finished attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// What it wrote to stdout and stderr.
    pub log: Log,
    /// What it did through Sentinel, if anything, to be committed if it completed.
    pub effects: Option<Box<Effects>>,
    /// What it asked of the host, if that is told of.
    pub calls: Option<Box<HostCalls>>,
}

impl Report {
    /// Of an attempt of which nothing more is known.
    pub fn of(outcome: Outcome) -> Self {
        Self { outcome, usage: Usage::default(), log: Log::default(), effects: None, calls: None }
    }

    /// Of an attempt at which this host itself failed: a defect of ours. It counts as a failure,
    /// so that a task that causes it each time has an end.
    pub fn host_failed() -> Self {
        let message = "the host failed while it ran this job; its log says more".into();
        Self::of(Outcome::Failed(Failure { fault: Fault::HostLimit, message, backtrace: None }))
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The job returned this JSON text, kept byte for byte.
    Completed(String),
    /// The job failed, on purpose or by misbehaving.
    Failed(Failure),
    /// It was cancelled.
    Cancelled,
    /// The host stopped it, for reasons of the host: not the job's fault.
    Stopped,
    /// This machine had no room for it: not the job's fault. Says what was short.
    Pressure(String),
}

/// A failure of the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind.
    pub fault: Fault,
    /// For people, at most 8 KiB; of a crash it carries the last of stderr.
    pub message: String,
    /// The guest's stack, with the names of functions where the component has them.
    pub backtrace: Option<String>,
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// The job asks to be tried again, or exited with a code other than zero.
    Retryable,
    /// The job asks to be tried again, no earlier than after this.
    RetryAfter(Duration),
    /// The job asks not to be tried again, or called what it has not been granted.
    Permanent,
    /// It trapped; a panic is one.
    Trap,
    /// It ran out of time.
    Timeout(Clock),
    /// It was refused memory or table elements, and gave up.
    MemoryLimit,
    /// It recursed too deeply.
    StackOverflow,
    /// It took too much from the host: handles, bytes in one call.
    HostLimit,
    /// Its result is too large.
    OutputLimit,
    /// Its result is not JSON, or there is none.
    BadOutput,
    /// It did more through Sentinel than it may.
    EffectLimit,
    /// It was admitted, and yet cannot be instantiated.
    LoadError,
}

/// Which time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Clock {
    /// Time on the wall.
    Wall,
    /// Time on the CPU.
    Cpu,
}

/// What an attempt used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time of the guest and of the host working for it.
    pub cpu: Duration,
    /// From the first poll to the end.
    pub wall: Duration,
    /// Time spent waiting in host calls. What is left of `wall` without `cpu` and this is
    /// waiting for a turn.
    pub wait: Duration,
    /// The most linear memory it held, summed over its memories.
    pub peak_memory_bytes: u64,
    /// Payload, result, log and progress messages: the bytes that crossed the boundary.
    pub transfer_bytes: u64,
}
