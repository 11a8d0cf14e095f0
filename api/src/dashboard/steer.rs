//! What is done to one task by hand: a page that asks, and a form that does it.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use bytes::Bytes;
use sentinel_queue::{Status, TaskId, request};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    confirm::Confirm,
    form::Sent,
    frame::{Frame, Link},
    show as page, task,
};
use crate::{App, auth::Caller, problem::Problem, segment::Segment, steer};

/// Asks whether to cancel.
pub(crate) async fn ask_cancel(
    State(app): State<Arc<App>>,
    caller: Caller,
    frame: Frame,
    Segment(id): Segment,
) -> Result<Response, Problem> {
    let (id, status) = task::require(&app, &caller, &id).await?;
    if status.is_final() {
        return Err(task::wrong_state(status, steer::CANCELLABLE));
    }
    let what = match status {
        Status::InProgress => {
            "It runs now: its job is stopped, and nothing that it did through Sentinel is kept."
        }
        _ => "It has not started: it never will.",
    };
    let lines = vec![
        format!("The task {id} is {status}. {what}"),
        "Tasks that wait for it and need its result are cancelled, too.".to_owned(),
    ];
    Ok(ask(frame, id, "cancel", "Cancel this task?", lines, "Cancel the task", true))
}

/// Cancels.
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    caller: Caller,
    frame: Frame,
    Segment(id): Segment,
    Sent(()): Sent<()>,
) -> Result<Response, Problem> {
    let id = steer::cancel_one(&app, &caller, &id).await?;
    Ok(done(&frame, id, "cancelled"))
}

/// Asks whether to give the task another life.
pub(crate) async fn ask_redrive(
    State(app): State<Arc<App>>,
    caller: Caller,
    frame: Frame,
    Segment(id): Segment,
) -> Result<Response, Problem> {
    let (id, status) = task::require(&app, &caller, &id).await?;
    if !matches!(status, Status::Failed | Status::Cancelled) {
        return Err(task::wrong_state(status, steer::REDRIVABLE));
    }
    let lines = vec![
        format!("The task {id} is {status}. It will be QUEUED again, with fresh budgets and without expiry."),
        "Its history keeps how it ended. Tasks that were cancelled because of it stay so.".to_owned(),
    ];
    Ok(ask(frame, id, "redrive", "Redrive this task?", lines, "Redrive the task", false))
}

/// Gives the task another life.
pub(crate) async fn redrive(
    State(app): State<Arc<App>>,
    caller: Caller,
    frame: Frame,
    Segment(id): Segment,
    Sent(()): Sent<()>,
) -> Result<Response, Problem> {
    let id = steer::redrive_one(&app, &caller, &id).await?;
    Ok(done(&frame, id, "redriven"))
}

#[derive(askama::Template)]
#[template(path = "reschedule.html")]
struct Reschedule {
    frame: Frame,
    id: TaskId,
    status: Status,
    action: Link,
    back: Link,
}

/// Asks for when, and how urgent.
pub(crate) async fn ask_reschedule(
    State(app): State<Arc<App>>,
    caller: Caller,
    frame: Frame,
    Segment(id): Segment,
) -> Result<Response, Problem> {
    let (id, status) = task::require(&app, &caller, &id).await?;
    if !matches!(status, Status::Queued | Status::Scheduled | Status::Blocked) {
        return Err(task::wrong_state(status, steer::RESCHEDULABLE));
    }
    let (action, back) = (frame.link(&format!("/tasks/{id}/reschedule")), frame.task(&id));
    Ok(page(&Reschedule { frame, id, status, action, back }))
}

/// What the form sends; what is left empty stays as it is.
#[derive(Deserialize)]
pub(crate) struct Changes {
    #[serde(default)]
    delay: String,
    #[serde(default)]
    run_at: String,
    #[serde(default)]
    priority: String,
}

/// Changes when the task is due, and how urgent it is.
pub(crate) async fn reschedule(
    State(app): State<Arc<App>>,
    caller: Caller,
    frame: Frame,
    Segment(id): Segment,
    Sent(changes): Sent<Changes>,
) -> Result<Response, Problem> {
    // The API's own fields, and so its own rules.
    let mut fields = Map::new();
    for (name, text) in [("delay", &changes.delay), ("run_at", &changes.run_at)] {
        if !text.trim().is_empty() {
            fields.insert(name.to_owned(), text.trim().into());
        }
    }
    if !changes.priority.trim().is_empty() {
        let number = changes
            .priority
            .trim()
            .parse::<i64>()
            .map_or_else(|_| changes.priority.clone().into(), Value::from);
        fields.insert("priority".to_owned(), number);
    }
    let (when, priority) = request::reschedule(&Bytes::from(Value::Object(fields).to_string()))?;
    let id = steer::reschedule_one(&app, &caller, &id, when, priority).await?;
    Ok(done(&frame, id, "rescheduled"))
}

fn ask(
    frame: Frame,
    id: TaskId,
    what: &str,
    title: &str,
    lines: Vec<String>,
    button: &'static str,
    is_harmful: bool,
) -> Response {
    page(&Confirm {
        title: title.to_owned(),
        lines,
        action: frame.link(&format!("/tasks/{id}/{what}")),
        fields: Vec::new(),
        button,
        is_harmful,
        back: frame.task(&id),
        frame,
    })
}

/// Back to the task, which says what was done.
fn done(frame: &Frame, id: TaskId, what: &str) -> Response {
    Redirect::to(frame.task(&id).with("done", what).as_str()).into_response()
}
