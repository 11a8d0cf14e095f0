//! One task: why it failed, first; then what happened to it, what it used, was given and gave.

use std::sync::Arc;

use askama::Template;
use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use sentinel_queue::{
    ErrorKind, Millis, Status, Task, TaskId, duration,
    task::{Ended, TaskError, TaskState, Usage},
};
use serde::Deserialize;

use super::{
    attempts::Timeline,
    family::{self, Family},
    frame::{Frame, Link},
    parts, pretty, reasons, show as page, words,
};
use crate::{
    App,
    auth::Caller,
    events,
    problem::{Code, Problem},
    query::Query,
    segment::Segment,
    server::Closing,
    tasks,
    wire::TaskView,
    workers::{self, JobLimits},
};

/// So much of a payload or a result is shown; all of it is a link away.
const JSON: usize = 16 * 1024;

/// So much of a log is shown, its end; all of it is a link away.
const LOG: usize = 16 * 1024;

/// So many of a log's last lines stand beside the reason of a failure.
const LAST_LINES: usize = 12;

/// What stands behind the `?`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Chosen {
    /// The attempt whose log is shown; by default the last that ended.
    attempt: String,
}

#[derive(Template)]
#[template(path = "task.html")]
struct TaskPage {
    frame: Frame,
    /// Where to hear of news, until there are none.
    live: Option<Link>,
    badge: parts::Badge,
    id: String,
    job: String,
    job_link: Link,
    queue_link: Link,
    progress: Option<(u8, String)>,
    reason: Option<Reason>,
    facts: Vec<Fact>,
    tags: Vec<(String, Link)>,
    timeline: Timeline,
    meters: Vec<Meter>,
    payload: Shown,
    result: Option<Shown>,
    log: Log,
    actions: Vec<(&'static str, Link)>,
    json: Link,
    family: Option<Family>,
}

/// Why a task, or its last attempt, failed.
struct Reason {
    title: &'static str,
    class: &'static str,
    kind: parts::Kind,
    /// What the kind means, and what follows.
    meaning: &'static str,
    message: String,
    detail: Option<String>,
    backtrace: Option<String>,
    last_lines: Option<String>,
}

/// Something to know.
struct Fact {
    name: &'static str,
    value: String,
    moment: Option<parts::Moment>,
    link: Option<Link>,
}

/// How much was used of what may be.
struct Meter {
    name: &'static str,
    used: String,
    limit: Option<String>,
    /// In a hundred.
    percent: Option<u64>,
    class: &'static str,
}

/// JSON as it is shown.
struct Shown {
    text: String,
    is_all: bool,
    size: String,
    raw: Link,
}

/// What an attempt printed.
struct Log {
    attempt: u32,
    text: Option<String>,
    is_all: bool,
    raw: Link,
    /// The attempts whose logs may be chosen: number, whether it is this one, where.
    others: Vec<(u32, bool, Link)>,
}

/// The page.
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    frame: Frame,
    Segment(id): Segment,
    Query(chosen): Query<Chosen>,
) -> Result<Response, Problem> {
    let task = tasks::find(&app, &caller, tasks::parse(&id)?).await?;
    let limits = limits(&app, &task).await?;
    let attempt =
        chosen.attempt.parse().ok().filter(|attempt| *attempt >= 1).unwrap_or_else(|| last_attempt(&task));
    let log = app.queue.log(task.definition.id, attempt).await?;
    let log = log.map(|log| String::from_utf8_lossy(&log).into_owned());
    let family = family::of(&app, &caller, &frame, &task).await?;
    Ok(page(&TaskPage::of(frame, &task, limits, (attempt, log), family)))
}

/// All there is to know, as the API says it.
pub(crate) async fn json(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<TaskView>, Problem> {
    tasks::find(&app, &caller, tasks::parse(&id)?).await.map(|task| Json(task.into()))
}

/// The payload, byte for byte.
pub(crate) async fn payload(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Response, Problem> {
    let task = tasks::find(&app, &caller, tasks::parse(&id)?).await?;
    let json = [(axum::http::header::CONTENT_TYPE, "application/json")];
    Ok((json, task.definition.spec.payload.as_str().to_owned()).into_response())
}

/// What an attempt printed, byte for byte.
pub(crate) async fn log(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(id): Segment,
    Query(chosen): Query<Chosen>,
) -> Result<Response, Problem> {
    let attempt = Some(chosen.attempt.as_str()).filter(|attempt| !attempt.is_empty());
    tasks::log_of(&app, &caller, &id, attempt).await
}

/// Tells an open page of the task's changes.
pub(crate) async fn follow(
    app: State<Arc<App>>,
    caller: Caller,
    id: Segment,
    closing: Option<Extension<Closing>>,
) -> Result<Response, Problem> {
    events::task(app, caller, id, closing).await
}

/// What an attempt may use, if a live worker says so.
async fn limits(app: &App, task: &Task) -> Result<Option<JobLimits>, Problem> {
    let job = task.definition.spec.job.as_str();
    let mut limits = None;
    for worker in app.queue.workers().await? {
        limits = workers::info(&worker)
            .jobs
            .into_iter()
            .find(|own| own.name == job)
            .map(|own| own.limits)
            .or(limits);
    }
    Ok(limits)
}

/// The attempt that ended last.
fn last_attempt(task: &Task) -> u32 {
    ended(task).map_or(task.progression.ended, |ended| ended.attempt)
}

fn ended(task: &Task) -> Option<&Ended> {
    match &task.state {
        TaskState::Completed { ended, .. }
        | TaskState::Failed { ended, .. }
        | TaskState::Cancelled { ended, .. } => Some(ended),
        _ => None,
    }
}

impl TaskPage {
    fn of(
        frame: Frame,
        task: &Task,
        limits: Option<JobLimits>,
        (attempt, log): (u32, Option<String>),
        family: Option<Family>,
    ) -> Self {
        let now = words::now();
        let spec = &task.definition.spec;
        let id = task.definition.id;
        let status = task.state.status();
        let here = |part: &str| frame.link(&format!("/tasks/{id}/{part}"));
        let result = match &task.state {
            TaskState::Completed { result, .. } => {
                Some(Shown::of(&String::from_utf8_lossy(result), here("result")))
            }
            _ => None,
        };
        let progress = match &task.state {
            TaskState::InProgress { progress: Some(progress), .. } => {
                Some((progress.percent, words::visible(&progress.message)))
            }
            _ => None,
        };
        let log = Log::of(&frame, task, attempt, log);
        Self {
            live: (!status.is_final()).then(|| here("live")),
            badge: parts::Badge { status },
            id: id.to_string(),
            job: spec.job.to_string(),
            job_link: frame.job(&spec.job),
            queue_link: frame.queue(&spec.queue),
            reason: reason(task, &log),
            facts: facts(&frame, task, now),
            tags: spec
                .tags
                .iter()
                .map(|tag| (tag.to_string(), frame.link("/tasks").with("tag", tag)))
                .collect(),
            timeline: Timeline::of(&frame, task, now),
            meters: meters(task, limits),
            payload: Shown::of(spec.payload.as_str(), here("payload")),
            actions: actions(&frame, task),
            json: here("json"),
            family,
            result,
            progress,
            log,
            frame,
        }
    }
}

/// What can be done to a task in its state, by who may.
fn actions(frame: &Frame, task: &Task) -> Vec<(&'static str, Link)> {
    if !frame.may_operate() {
        return Vec::new();
    }
    let id = task.definition.id;
    let link = |what: &str| frame.link(&format!("/tasks/{id}/{what}"));
    let (redrive, reschedule, cancel) =
        (("Redrive…", link("redrive")), ("Reschedule…", link("reschedule")), ("Cancel…", link("cancel")));
    match task.state.status() {
        Status::Failed | Status::Cancelled => vec![redrive],
        Status::Queued | Status::Scheduled | Status::Blocked => vec![reschedule, cancel],
        Status::InProgress => vec![cancel],
        Status::Completed => Vec::new(),
    }
}

fn reason(task: &Task, log: &Log) -> Option<Reason> {
    let (title, class, error) = match &task.state {
        TaskState::Failed { error, .. } => ("Why it failed", "failed", error.clone()),
        TaskState::Cancelled { error, .. } => ("Why it was cancelled", "cancelled", error.clone()),
        TaskState::Completed { .. } => return None,
        _ => ("Why the last attempt failed", "blocked", task.last_error()?),
    };
    let TaskError { kind, report } = error;
    // What a job printed last is where one looks next.
    let lines = log.text.as_deref().filter(|_| kind != ErrorKind::Cancelled && kind != ErrorKind::Expired);
    Some(Reason {
        title,
        class,
        kind: parts::Kind { kind },
        meaning: reasons::meaning(kind),
        message: words::visible(&report.message),
        detail: report.detail.map(|detail| words::visible(&detail)),
        backtrace: report.backtrace.map(|backtrace| words::visible(&backtrace)),
        last_lines: lines.map(|text| last_lines(text, LAST_LINES)).filter(|lines| !lines.is_empty()),
    })
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn facts(frame: &Frame, task: &Task, now: Millis) -> Vec<Fact> {
    let spec = &task.definition.spec;
    let plain = |name, value: String| Fact { name, value, moment: None, link: None };
    let moment =
        |name, at| Fact { name, value: String::new(), moment: Some(parts::Moment { at, now }), link: None };
    let attempt = ended(task).map_or(task.progression.attempt(), |ended| ended.attempt);
    let of = format!("{attempt} of {}", task.progression.last_attempt(&spec.policy).max(attempt));
    let mut facts = vec![
        Fact {
            name: "Queue",
            value: spec.queue.to_string(),
            moment: None,
            link: Some(frame.queue(&spec.queue)),
        },
        plain("Priority", spec.priority.get().to_string()),
        plain("Attempt", if task.state.status().is_final() { attempt.to_string() } else { of }),
        moment("Accepted", task.definition.created_at),
    ];
    if let (Status::Scheduled | Status::Blocked, Some(due)) = (task.state.status(), task.progression.due) {
        facts.push(moment("Due", due));
    }
    if let Some(at) = spec.expires_at {
        facts.push(moment("Expires", at));
    }
    if let TaskState::InProgress { worker, started_at, .. } = &task.state {
        facts.push(moment("Started", *started_at));
        facts.push(plain("Worker", worker.clone()));
    }
    if let Some(ended) = ended(task) {
        facts.extend(ended.started_at.map(|at| moment("Started", at)));
        facts.push(moment("Ended", ended.finished_at));
        facts.extend(ended.worker.clone().map(|worker| plain("Worker", worker)));
        facts.extend(ended.plugin_digest.clone().map(|digest| plain("Plugin", digest)));
    }
    facts.extend(spec.concurrency_key.as_ref().map(|key| plain("Concurrency key", key.to_string())));
    facts.extend(spec.idempotency_key.as_ref().map(|key| plain("Idempotency key", key.to_string())));
    facts.extend(spec.policy.timeout.map(|timeout| plain("Timeout", duration::format(timeout))));
    facts
}

/// What the last attempt that ended used, beside what it might.
fn meters(task: &Task, limits: Option<JobLimits>) -> Vec<Meter> {
    let usage = ended(task).and_then(|ended| ended.usage).or_else(|| {
        task.history.iter().rev().find_map(|event| match event {
            sentinel_queue::task::Event::Attempt { ended, .. } => ended.usage,
            _ => None,
        })
    });
    let Some(Usage { cpu_us, wall_us, wait_us, peak_memory_bytes, transfer_bytes }) = usage else {
        return Vec::new();
    };
    let own =
        task.definition.spec.policy.timeout.map(|own| u64::try_from(own.as_micros()).unwrap_or(u64::MAX));
    let time = own.or(limits.map(|limits| limits.timeout_ms * 1000)).filter(|time| *time > 0);
    let memory = limits.map(|limits| limits.memory_bytes).filter(|memory| *memory > 0);
    vec![
        Meter::of("CPU time", cpu_us, time, words::micros),
        Meter::of("Time from start to end", wall_us, time, words::micros),
        Meter::of("of that, waiting for the host", wait_us, None, words::micros),
        Meter::of("Most memory", peak_memory_bytes, memory, words::size),
        Meter::of("In and out", transfer_bytes, None, words::size),
    ]
}

impl Meter {
    fn of(name: &'static str, used: u64, limit: Option<u64>, told: fn(u64) -> String) -> Self {
        let percent = limit.map(|limit| (used.saturating_mul(100) / limit.max(1)).min(100));
        let class = match percent {
            Some(90..) => "failed",
            Some(70..) => "blocked",
            _ => "completed",
        };
        Self { name, used: told(used), limit: limit.map(told), percent, class }
    }
}

impl Shown {
    fn of(json: &str, raw: Link) -> Self {
        let (text, is_all) = pretty::pretty(json, JSON);
        Self { text: words::visible(&text), is_all, size: words::size(json.len() as u64), raw }
    }
}

impl Log {
    fn of(frame: &Frame, task: &Task, attempt: u32, text: Option<String>) -> Self {
        let id = task.definition.id;
        let link = |number: u32| frame.task(&id).with("attempt", number);
        let last = last_attempt(task);
        let first = last.saturating_sub(9).max(1);
        let others = (first..=last).rev().map(|number| (number, number == attempt, link(number)));
        let from = text.as_ref().map_or(0, |text| text.len().saturating_sub(LOG));
        let is_all = from == 0;
        let text = text.map(|text| words::visible(&text[text.ceil_char_boundary(from)..]));
        Self {
            attempt,
            is_all,
            text,
            raw: frame.link(&format!("/tasks/{id}/log")).with("attempt", attempt),
            others: others.collect(),
        }
    }
}

/// Refuses what is no task of the caller's, before a page asks whether to do something to it.
pub(super) async fn require(app: &App, caller: &Caller, id: &str) -> Result<(TaskId, Status), Problem> {
    let task = tasks::brief(app, caller, tasks::parse(id)?).await?;
    Ok((task.definition.id, task.state.status()))
}

/// Says that a task is in a state in which something cannot be done.
pub(super) fn wrong_state(status: Status, rule: &str) -> Problem {
    Problem::of(Code::WrongState, format!("the task is {status}: {rule}"))
}
