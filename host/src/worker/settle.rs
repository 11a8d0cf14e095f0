//! What becomes of a task when its attempt has ended: pure.

use std::time::Duration;

use bytes::Bytes;
use sentinel_queue::{
    ErrorKind,
    effects::Effects,
    lease::{Claimed, Settlement, Verdict},
    state::Consequence,
    task::{AttemptReport, ErrorReport, TaskError, Usage},
};

use super::durable::Family;
use crate::engine::{Clock, Fault, Outcome, Report};

/// The longest wait that a job may ask for.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// How long a task waits at least and at most when it had read what another changed.
const SHORTEST_CONFLICT: Duration = Duration::from_millis(10);
const LONGEST_CONFLICT: Duration = Duration::from_millis(500);

/// What the store is told of an attempt.
pub(super) enum Done {
    /// It ended.
    Settle(Box<Settlement>),
    /// It was stopped through no fault of its own: the task is given back.
    Release,
    /// The store knows already: there is nothing to tell.
    Forget,
}

impl Done {
    /// How it ended, in a word for the log.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Settle(settlement) => match &settlement.verdict {
                Verdict::Complete(_) => "completed",
                Verdict::Fail(error) | Verdict::Retry(error, _) | Verdict::Elsewhere(error, _) => {
                    error.kind.as_str()
                }
            },
            Self::Release => "released",
            Self::Forget => "cancelled",
        }
    }
}

/// Judges a report of the engine.
pub(super) fn judge(task: &Claimed, digest: String, report: Report, chance: f64) -> Done {
    let mut effects = effects(task, report.effects, chance);
    let verdict = match report.outcome {
        Outcome::Completed(result) => match &effects {
            Ok(_) => Verdict::Complete(Bytes::from(result)),
            Err(message) => {
                let report = ErrorReport { message: message.clone(), ..ErrorReport::default() };
                Verdict::Fail(TaskError { kind: ErrorKind::EffectLimit, report })
            }
        },
        Outcome::Failed(failure) => {
            let error = TaskError {
                kind: kind_of(failure.fault),
                report: ErrorReport {
                    message: failure.message,
                    detail: detail_of(failure.fault).map(str::to_owned),
                    backtrace: failure.backtrace,
                },
            };
            let asked = match failure.fault {
                Fault::RetryAfter(wait) => Some(wait),
                _ => None,
            };
            failed(task, error, asked, chance)
        }
        Outcome::Cancelled => return Done::Forget,
        Outcome::Stopped | Outcome::Pressure(_) => return Done::Release,
    };
    let usage = Usage {
        cpu_us: micros(report.usage.cpu),
        wall_us: micros(report.usage.wall),
        wait_us: micros(report.usage.wait),
        peak_memory_bytes: report.usage.peak_memory_bytes,
        transfer_bytes: report.usage.transfer_bytes,
    };
    let report_kept = AttemptReport { usage, plugin_digest: Some(digest), error: ErrorReport::default() };
    let mut settlement = Settlement::of(task, verdict, report_kept, report.log.text.into());
    if let Ok(effects) = &mut effects {
        settlement.effects = std::mem::take(effects);
    }
    if !matches!(settlement.verdict, Verdict::Complete(_)) {
        // It may have failed because of what it had read.
        settlement.effects.writes.clear();
        settlement.effects.children.clear();
    }
    Done::Settle(Box::new(settlement))
}

/// What an attempt did, and what follows if it read what another changed.
fn effects(
    task: &Claimed,
    done: Option<Box<crate::engine::Effects>>,
    chance: f64,
) -> Result<Effects, String> {
    let Some(done) = done else { return Ok(Effects::default()) };
    let policy = &task.definition.spec.policy;
    let is_last = task.progression.attempt() >= task.progression.last_attempt(policy);
    let waits = Effects {
        conflict_wait: LONGEST_CONFLICT.mul_f64(chance).max(SHORTEST_CONFLICT),
        failure_wait: (!is_last).then(|| policy.backoff().wait(task.progression.failures + 1, chance)),
        ..Effects::default()
    };
    let Effects { reads, writes, children, has_checkpoint, .. } =
        Family::of(&task.definition).effects(*done)?;
    Ok(Effects { reads, writes, children, has_checkpoint, ..waits })
}

/// Judges a task whose attempt ended with the process that made it, and nothing else: that
/// convicts.
pub(super) fn died(task: &Claimed, digest: String, death: &str) -> Settlement {
    let message = format!("the process that ran it alone died: {death}");
    let report = ErrorReport { message, ..ErrorReport::default() };
    let verdict = Verdict::Fail(TaskError { kind: ErrorKind::WorkerLost, report });
    let kept = AttemptReport { plugin_digest: Some(digest), ..AttemptReport::default() };
    Settlement::of(task, verdict, kept, Bytes::new())
}

/// Judges a task whose job this worker does not have: another may.
pub(super) fn unknown_job(task: &Claimed, chance: f64) -> Settlement {
    let message = format!("no plugin of this worker is named {:?}", task.definition.spec.job.as_str());
    let error =
        TaskError { kind: ErrorKind::UnknownJob, report: ErrorReport { message, ..ErrorReport::default() } };
    let wait = Duration::from_millis(100) + Duration::from_millis(400).mul_f64(chance);
    Settlement::of(task, Verdict::Elsewhere(error, wait), AttemptReport::default(), Bytes::new())
}

fn failed(task: &Claimed, error: TaskError, retry_after: Option<Duration>, chance: f64) -> Verdict {
    let policy = &task.definition.spec.policy;
    let last = task.progression.attempt() >= task.progression.last_attempt(policy);
    if error.kind.consequence() == Consequence::Final || last {
        return Verdict::Fail(error);
    }
    let wait = retry_after.unwrap_or_else(|| policy.backoff().wait(task.progression.failures + 1, chance));
    Verdict::Retry(error, wait.min(LONGEST_WAIT))
}

/// The queue's word for the engine's.
fn kind_of(fault: Fault) -> ErrorKind {
    match fault {
        Fault::Retryable | Fault::RetryAfter(_) => ErrorKind::Retryable,
        Fault::Permanent => ErrorKind::Permanent,
        Fault::Trap => ErrorKind::Trap,
        Fault::Timeout(_) => ErrorKind::Timeout,
        Fault::MemoryLimit => ErrorKind::MemoryLimit,
        Fault::StackOverflow => ErrorKind::StackOverflow,
        Fault::HostLimit => ErrorKind::HostLimit,
        Fault::OutputLimit => ErrorKind::OutputLimit,
        Fault::BadOutput => ErrorKind::BadOutput,
        Fault::EffectLimit => ErrorKind::EffectLimit,
        Fault::LoadError => ErrorKind::LoadError,
    }
}

/// The finer kind, where there is one.
fn detail_of(fault: Fault) -> Option<&'static str> {
    match fault {
        Fault::Timeout(Clock::Wall) => Some("wall"),
        Fault::Timeout(Clock::Cpu) => Some("cpu"),
        _ => None,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
