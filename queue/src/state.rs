//! The states of a task and the ways in which an attempt can end: what may follow what.
//!
//! ```text
//! submit → QUEUED ⇄ IN_PROGRESS → COMPLETED | FAILED | CANCELLED
//!            ↑           ↓
//!            └─ SCHEDULED (waits for its time, or for its next attempt)
//! BLOCKED → QUEUED | CANCELLED
//! ```

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::names::Invalid;

macro_rules! words {
    (
        $(#[$doc:meta])* $name:ident, $what:literal, $rule:literal,
        { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),* $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant),*
        }

        impl $name {
            /// All there are.
            pub const ALL: &[$name] = &[$($name::$variant),*];

            /// The word for it, in the store and in the API.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),*
                }
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(Invalid::new($what, text, $rule)),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words!(
    /// Where a task is in its life.
    Status, "status", "is not a task status",
    {
        /// Ready; leaves by a claim.
        Queued = "QUEUED",
        /// Waits for its time; leaves when it is due.
        Scheduled = "SCHEDULED",
        /// Waits for other tasks; leaves when they have ended.
        Blocked = "BLOCKED",
        /// A worker holds its lease; leaves by a settlement, a release or the lease's end.
        InProgress = "IN_PROGRESS",
        /// Ended with a result.
        Completed = "COMPLETED",
        /// Ended with an error: the dead-letter queue. Leaves only by an explicit redrive.
        Failed = "FAILED",
        /// Ended by request. Leaves only by an explicit redrive.
        Cancelled = "CANCELLED",
    }
);

impl Status {
    /// Whether a task stays there until somebody redrives it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

words!(
    /// Why an attempt failed.
    ErrorKind, "error kind", "is not an error kind",
    {
        /// The job asked for another try.
        Retryable = "retryable",
        /// The guest trapped.
        Trap = "trap",
        /// The attempt took too long: detail `wall` or `cpu`.
        Timeout = "timeout",
        /// The guest asked for more memory or larger tables than it may have.
        MemoryLimit = "memory_limit",
        /// The guest recursed too deep.
        StackOverflow = "stack_overflow",
        /// The guest asked too much of the host.
        HostLimit = "host_limit",
        /// The plugin could not be loaded.
        LoadError = "load_error",
        /// What the attempt had read was changed by another.
        Conflict = "conflict",
        /// No worker has the job.
        UnknownJob = "unknown_job",
        /// The worker died, or lost its lease.
        WorkerLost = "worker_lost",
        /// The job says that trying again is useless.
        Permanent = "permanent",
        /// The result is not what the contract asks for.
        BadOutput = "bad_output",
        /// The result is larger than it may be.
        OutputLimit = "output_limit",
        /// The attempt asked for more effects than it may have.
        EffectLimit = "effect_limit",
        /// The task was not started in time.
        Expired = "expired",
        /// The task was cancelled.
        Cancelled = "cancelled",
    }
);

/// What happens to a task whose attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Tried again with the task's back-off; counts against `max_attempts`.
    Retried,
    /// Tried again on a budget of its own.
    RetriedApart,
    /// FAILED at once.
    Final,
}

impl ErrorKind {
    /// What follows from it.
    pub fn consequence(self) -> Consequence {
        match self {
            Self::Retryable
            | Self::Trap
            | Self::Timeout
            | Self::MemoryLimit
            | Self::StackOverflow
            | Self::HostLimit
            | Self::LoadError => Consequence::Retried,
            Self::Conflict | Self::UnknownJob | Self::WorkerLost => Consequence::RetriedApart,
            Self::Permanent
            | Self::BadOutput
            | Self::OutputLimit
            | Self::EffectLimit
            | Self::Expired
            | Self::Cancelled => Consequence::Final,
        }
    }
}
