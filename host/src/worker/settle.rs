//! What becomes of a task when its attempt has ended: pure.

use std::time::Duration;

use bytes::Bytes;
use sentinel_queue::{
    ErrorKind,
    lease::{Claimed, Settlement, Verdict},
    state::Consequence,
    task::{AttemptReport, ErrorReport, TaskError, Usage},
};

use crate::engine::{Clock, Fault, Outcome, Report};

/// The longest wait that a job may ask for.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// What the store is told of an attempt.
pub(super) enum Done {
    /// It ended.
    Settle(Box<Settlement>),
    /// It was stopped through no fault of its own: the task is given back.
    Release,
    /// The store knows already: there is nothing to tell.
    Forget,
}

/// Judges a report of the engine.
pub(super) fn judge(task: &Claimed, digest: String, report: Report, chance: f64) -> Done {
    let verdict = match report.outcome {
        Outcome::Completed(result) => Verdict::Complete(Bytes::from(result)),
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
    Done::Settle(Box::new(Settlement::of(task, verdict, report_kept, report.log.text.into())))
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
