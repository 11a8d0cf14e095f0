//! The attempts of a task on a line of time: when each began and ended, how, and where.

use sentinel_queue::{
    Millis, Task,
    task::{Ended, Event, TaskError, TaskState},
};

use super::{
    frame::{Frame, Link},
    parts, words,
};

/// So many attempts are shown, the newest.
pub(super) const SHOWN: usize = 50;

/// The width of the drawing, in its own units.
const WIDTH: f64 = 1000.0;

/// What is shown at least, so that it is seen.
const LEAST: f64 = 4.0;

/// So much of a reason is shown.
const REASON: usize = 300;

/// The whole of a task's time.
pub(super) struct Timeline {
    pub(super) rows: Vec<Row>,
    /// How many older ones are not shown.
    pub(super) hidden: usize,
    /// How long all of it took so far.
    pub(super) whole: String,
}

/// An attempt, or what happened between attempts.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) outcome: &'static str,
    pub(super) class: &'static str,
    /// Where the bar begins and how long it is, in thousandths of the whole.
    pub(super) from: String,
    pub(super) length: String,
    pub(super) began: Option<parts::Moment>,
    pub(super) ended: Option<parts::Moment>,
    pub(super) took: String,
    pub(super) cpu: String,
    pub(super) memory: String,
    pub(super) worker: String,
    pub(super) digest: String,
    pub(super) kind: Option<parts::Kind>,
    pub(super) reason: String,
    /// Its log, if it may have one.
    pub(super) log: Option<Link>,
}

/// What there is to know of one row.
struct Part {
    name: String,
    outcome: &'static str,
    class: &'static str,
    began: Millis,
    /// None: it has not ended.
    ended: Option<Millis>,
    how: Option<Ended>,
    error: Option<TaskError>,
}

impl Timeline {
    pub(super) fn of(frame: &Frame, task: &Task, now: Millis) -> Self {
        let accepted = task.definition.created_at;
        let mut parts: Vec<Part> = task.history.iter().map(|event| part(event, accepted)).collect();
        parts.extend(last(task));
        let end = parts.iter().map(|part| part.ended.unwrap_or(now)).max().unwrap_or(now);
        let end = if task.state.status().is_final() { end } else { now.max(end) };
        let whole = end.0.saturating_sub(accepted.0).max(1);
        let hidden = parts.len().saturating_sub(SHOWN);
        let link = |number: u32| frame.task(&task.definition.id).with("attempt", number);
        let rows = parts.into_iter().skip(hidden);
        let rows = rows.map(|part| {
            let log = part.how.as_ref().filter(|how| how.attempt > 0 && how.started_at.is_some());
            let log = log.map(|how| link(how.attempt));
            Row::of(part, accepted, whole, now, log)
        });
        Self { rows: rows.collect(), hidden, whole: words::span_of(whole) }
    }
}

fn part(event: &Event, accepted: Millis) -> Part {
    match event {
        Event::Attempt { ended, outcome, error } => {
            let (outcome, class) = word(outcome);
            attempt(ended, outcome, class, error.clone(), accepted)
        }
        Event::End { at, status, error } => Part {
            name: "End".into(),
            outcome: status.as_str(),
            class: parts::class(*status),
            began: *at,
            ended: Some(*at),
            how: None,
            error: error.clone(),
        },
        Event::Redriven { at } => Part {
            name: "Redriven".into(),
            outcome: "by an operator",
            class: "queued",
            began: *at,
            ended: Some(*at),
            how: None,
            error: None,
        },
    }
}

fn attempt(
    ended: &Ended,
    outcome: &'static str,
    class: &'static str,
    error: Option<TaskError>,
    accepted: Millis,
) -> Part {
    Part {
        name: format!("Attempt {}", ended.attempt),
        outcome,
        class,
        began: ended.started_at.unwrap_or(accepted),
        ended: Some(ended.finished_at),
        how: Some(ended.clone()),
        error,
    }
}

/// What runs now, or how it ended.
fn last(task: &Task) -> Option<Part> {
    let status = task.state.status();
    let (ended, error) = match &task.state {
        TaskState::InProgress { worker, started_at, .. } => {
            let number = task.progression.attempt();
            let how = Ended {
                attempt: number,
                worker: Some(worker.clone()),
                started_at: None,
                finished_at: *started_at,
                usage: None,
                plugin_digest: None,
            };
            return Some(Part {
                name: format!("Attempt {number}"),
                outcome: status.as_str(),
                class: parts::class(status),
                began: *started_at,
                ended: None,
                how: Some(how),
                error: None,
            });
        }
        TaskState::Completed { ended, .. } => (ended, None),
        TaskState::Failed { ended, error } | TaskState::Cancelled { ended, error } => {
            (ended, Some(error.clone()))
        }
        TaskState::Queued | TaskState::Scheduled | TaskState::Blocked => return None,
    };
    let is_told = task
        .history
        .iter()
        .any(|event| matches!(event, Event::Attempt { ended: told, .. } if told.attempt == ended.attempt));
    if ended.started_at.is_some() && !is_told {
        let accepted = task.definition.created_at;
        return Some(attempt(ended, status.as_str(), parts::class(status), error, accepted));
    }
    Some(part(&Event::End { at: ended.finished_at, status, error }, ended.finished_at))
}

/// How an attempt ended, as pages say it, and its colour.
fn word(outcome: &str) -> (&'static str, &'static str) {
    match outcome {
        "COMPLETED" => ("COMPLETED", "completed"),
        "CANCELLED" => ("CANCELLED", "cancelled"),
        "LOST" => ("LOST", "lost"),
        _ => ("FAILED", "failed"),
    }
}

impl Row {
    fn of(part: Part, accepted: Millis, whole: u64, now: Millis, log: Option<Link>) -> Self {
        let moment = |at| parts::Moment { at, now };
        let end = part.ended.unwrap_or(now);
        let (from, length) =
            place(part.began.0.saturating_sub(accepted.0), end.0.saturating_sub(part.began.0), whole);
        let usage = part.how.as_ref().and_then(|how| how.usage);
        let is_moment = part.ended == Some(part.began) && part.how.is_none();
        let reason = part.error.as_ref().map_or("", |error| error.report.message.as_str());
        Self {
            from: format!("{from:.1}"),
            length: format!("{length:.1}"),
            began: (!is_moment).then(|| moment(part.began)),
            ended: part.ended.map(moment),
            took: if is_moment { String::new() } else { words::span_of(end.0.saturating_sub(part.began.0)) },
            cpu: usage.map(|usage| words::micros(usage.cpu_us)).unwrap_or_default(),
            memory: usage.map(|usage| words::size(usage.peak_memory_bytes)).unwrap_or_default(),
            worker: part.how.as_ref().and_then(|how| how.worker.clone()).unwrap_or_default(),
            digest: part.how.and_then(|how| how.plugin_digest).unwrap_or_default(),
            kind: part.error.as_ref().map(|error| parts::Kind { kind: error.kind }),
            reason: words::short(&words::visible(reason), REASON),
            name: part.name,
            outcome: part.outcome,
            class: part.class,
            log,
        }
    }
}

/// Where a bar begins and how long it is.
#[expect(clippy::cast_precision_loss, reason = "it is drawn")]
fn place(before: u64, long: u64, whole: u64) -> (f64, f64) {
    let scale = WIDTH / whole as f64;
    let length = (long as f64 * scale).clamp(LEAST, WIDTH);
    ((before as f64 * scale).clamp(0.0, WIDTH - length), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_stays_within_the_whole_and_is_seen() {
        assert_eq!(place(0, 100, 100), (0.0, 1000.0));
        assert_eq!(place(100, 0, 100), (996.0, 4.0));
        assert_eq!(place(50, 25, 100), (500.0, 250.0));
        assert_eq!(place(0, 500, 100), (0.0, 1000.0));
    }
}
