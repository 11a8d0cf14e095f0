//! Tasks: found by what they have in common, or by their id.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use sentinel_queue::{
    Millis, Status, TaskId,
    list::{Listed, Slice},
    queue::Counts,
    task::{Progression, TaskState},
};
use serde::Deserialize;

use super::{
    filter::{Asked, Filter},
    frame::{Frame, Link},
    parts, show as page, words,
};
use crate::{
    App,
    auth::Caller,
    page::{read_cursor, write_cursor},
    problem::{Code, Problem},
    query::Query,
};

/// So many tasks are on a page.
const PAGE: usize = 50;

/// So much of a reason is shown.
const REASON: usize = 140;

/// The states in the order in which a list of all of them goes: what runs and what went wrong first.
const ORDER: [Status; 7] = [
    Status::InProgress,
    Status::Failed,
    Status::Queued,
    Status::Scheduled,
    Status::Blocked,
    Status::Cancelled,
    Status::Completed,
];

/// What stands behind the `?`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Listing {
    #[serde(flatten)]
    asked: Asked,
    cursor: String,
    /// What was typed into the search: an id, or a word to filter by.
    q: String,
}

#[derive(Template)]
#[template(path = "tasks.html")]
struct Tasks {
    frame: Frame,
    /// Where to hear of news: on the first page alone, since behind a cursor nothing is new.
    live: Option<Link>,
    tabs: Vec<Tab>,
    asked: Asked,
    /// What is wrong with what was asked for.
    wrong: Option<String>,
    rows: Vec<Row>,
    next: Option<Link>,
    first: Option<Link>,
    /// What can be done to all that was asked for.
    bulk: Vec<(&'static str, &'static str)>,
    fields: Vec<(&'static str, String)>,
    what: String,
}

/// A state to choose.
struct Tab {
    name: &'static str,
    count: Option<String>,
    is_chosen: bool,
    link: Link,
}

/// A task.
pub(super) struct Row {
    badge: parts::Badge,
    job: String,
    short: String,
    queue: String,
    priority: i32,
    attempt: u32,
    accepted: parts::Moment,
    /// When it ended, started or is due.
    when: Option<(&'static str, parts::Moment)>,
    took: String,
    kind: Option<parts::Kind>,
    reason: String,
    link: Link,
}

/// The list.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    frame: Frame,
    Query(listing): Query<Listing>,
) -> Result<Response, Problem> {
    let typed = listing.q.trim();
    if !typed.is_empty() {
        let found = search(&app, &caller, &frame, typed).await?;
        return Ok(Redirect::to(found.as_str()).into_response());
    }
    let counts = app.queue.counts(&caller.namespace).await?;
    let (filter, wrong) = match listing.asked.check() {
        Ok(filter) => (filter, None),
        Err(problem) => (Filter::default(), Some(problem.detail().to_owned())),
    };
    let cursor = Some(&listing.cursor).filter(|cursor| !cursor.is_empty());
    let slice = if wrong.is_some() {
        Slice::default()
    } else {
        let cursor = cursor.map(|cursor| read_cursor(cursor)).transpose()?;
        app.queue.list(&filter.of(&caller, &ORDER), PAGE, cursor.as_ref()).await?
    };
    let now = words::now();
    let seen = slice.tasks.into_iter().filter(|task| caller.sees(&task.definition.spec));
    let tasks = Tasks {
        live: cursor.is_none().then(|| frame.link("/live")),
        tabs: tabs(&frame, &filter, &counts),
        rows: seen.map(|task| Row::of(&frame, task, now)).collect(),
        next: slice.next.map(|next| filter.link(&frame, "/tasks").with("cursor", write_cursor(&next))),
        first: cursor.map(|_| filter.link(&frame, "/tasks")),
        bulk: if frame.may_operate() && wrong.is_none() { bulk(&filter) } else { Vec::new() },
        fields: filter.fields(),
        what: filter.words(),
        asked: listing.asked,
        wrong,
        frame,
    };
    let mut response = page(&tasks);
    if tasks.wrong.is_some() {
        *response.status_mut() = Code::InvalidField.status();
    }
    Ok(response)
}

/// Where what was typed leads: a task's id to that, the name of a job or queue to its tasks, any other
/// word to those with that tag.
async fn search(app: &App, caller: &Caller, frame: &Frame, typed: &str) -> Result<Link, Problem> {
    if let Ok(id) = typed.to_ascii_lowercase().parse::<TaskId>() {
        return Ok(frame.task(&id));
    }
    let tasks = frame.link("/tasks");
    if app.queue.jobs().await?.iter().any(|job| job.name.as_str() == typed && caller.is_for(typed)) {
        return Ok(tasks.with("job", typed));
    }
    if let Ok(name) = typed.parse()
        && app.queue.queue(&caller.namespace, &name).await?.is_some()
    {
        return Ok(tasks.with("queue", name));
    }
    Ok(tasks.with("tag", typed))
}

fn tabs(frame: &Frame, filter: &Filter, counts: &Counts) -> Vec<Tab> {
    let of = |status: Option<Status>| Tab {
        name: status.map_or("All", Status::as_str),
        // How many have something else in common, too, nobody has counted.
        count: (!filter.is_narrow())
            .then(|| words::number(status.map_or(counts.held(), |status| counts.of(status)))),
        is_chosen: filter.status == status,
        link: Filter { status, ..filter.clone() }.link(frame, "/tasks"),
    };
    std::iter::once(None).chain(ORDER.map(Some)).map(of).collect()
}

/// What can be done to all tasks in such a state.
fn bulk(filter: &Filter) -> Vec<(&'static str, &'static str)> {
    match filter.status {
        None => vec![("cancel", "Cancel all these…"), ("redrive", "Redrive all these…")],
        Some(Status::Failed | Status::Cancelled) => vec![("redrive", "Redrive all these…")],
        Some(Status::Completed) => Vec::new(),
        Some(_) => vec![("cancel", "Cancel all these…")],
    }
}

impl Row {
    pub(super) fn of(frame: &Frame, task: Listed, now: Millis) -> Self {
        let Listed { definition, progression, state } = task;
        let moment = |at| parts::Moment { at, now };
        let id = definition.id.to_string();
        let mut row = Self {
            badge: parts::Badge { status: state.status() },
            job: definition.spec.job.to_string(),
            short: id[id.len() - 12..].to_owned(),
            queue: definition.spec.queue.to_string(),
            priority: definition.spec.priority.get(),
            attempt: progression.attempt(),
            accepted: moment(definition.created_at),
            when: None,
            took: String::new(),
            kind: progression.last_kind.map(|kind| parts::Kind { kind }),
            reason: String::new(),
            link: frame.task(&definition.id),
        };
        row.fill(&state, &progression, now);
        row
    }

    fn fill(&mut self, state: &TaskState, progression: &Progression, now: Millis) {
        let moment = |at| parts::Moment { at, now };
        let ended = match state {
            TaskState::Queued => return,
            TaskState::Scheduled | TaskState::Blocked => {
                self.when = progression.due.map(|due| ("due", moment(due)));
                return;
            }
            TaskState::InProgress { started_at, .. } => {
                self.when = Some(("started", moment(*started_at)));
                self.took = words::span_of(now.0.saturating_sub(started_at.0));
                return;
            }
            TaskState::Completed { ended, .. } => {
                self.kind = None;
                ended
            }
            TaskState::Failed { ended, error } | TaskState::Cancelled { ended, error } => {
                let first = error.report.message.lines().next().unwrap_or_default();
                self.reason = words::short(&words::visible(first), REASON);
                self.kind = Some(parts::Kind { kind: error.kind });
                ended
            }
        };
        self.attempt = ended.attempt;
        self.when = Some(("ended", moment(ended.finished_at)));
        if let Some(started) = ended.started_at {
            self.took = words::span_of(ended.finished_at.0.saturating_sub(started.0));
        }
    }
}
