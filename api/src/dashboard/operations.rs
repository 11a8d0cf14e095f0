//! What is done to many tasks at once: first they are counted, then it is done, and one sees how far it is.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use sentinel_queue::steer::{Operation, OperationKind};
use serde::Deserialize;

use super::{
    filter::{Asked, Filter},
    form::Sent,
    frame::{Frame, Link},
    show as page, words,
};
use crate::{App, auth::Caller, operations, problem::Problem, query::Query, segment::Segment};

/// What a form asks for.
#[derive(Debug, Deserialize)]
pub(crate) struct New {
    kind: String,
    #[serde(default)]
    dry_run: bool,
    #[serde(flatten)]
    asked: Asked,
}

/// Starts an operation, or the count before it.
pub(crate) async fn start(
    State(app): State<Arc<App>>,
    caller: Caller,
    frame: Frame,
    Sent(new): Sent<New>,
) -> Result<Response, Problem> {
    let kind = kind(&new.kind)?;
    let filter = new.asked.check()?;
    let queue_filter = filter.of(&caller, &[]);
    caller.require_filter(&queue_filter)?;
    let id = app.queue.start_operation(kind, &queue_filter, new.dry_run).await?;
    // The store does not tell what an operation is about: the address of its page does.
    let link = filter.link(&frame, &format!("/operations/{id}")).with("kind", kind.as_str());
    Ok(Redirect::to(link.as_str()).into_response())
}

/// What can be done from here: queues are purged on their own pages.
fn kind(word: &str) -> Result<OperationKind, Problem> {
    let known =
        [OperationKind::Cancel, OperationKind::Redrive].into_iter().find(|kind| kind.as_str() == word);
    known.ok_or_else(|| Problem::field("kind", &"must be cancel or redrive"))
}

#[derive(Template)]
#[template(path = "operation.html")]
struct OperationPage {
    frame: Frame,
    title: String,
    operation: Operation,
    /// What it is about, if its address says so.
    about: Option<Filter>,
    looked_at: String,
    matched: String,
    done: String,
    /// What to send to do what was counted.
    deed: Option<Deed>,
    tasks: Link,
}

/// What a count is for.
struct Deed {
    button: String,
    is_harmful: bool,
    fields: Vec<(&'static str, String)>,
    action: Link,
}

/// How far an operation is.
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    frame: Frame,
    Segment(id): Segment,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let operation = operations::find(&app, &caller, &id).await?;
    let filter = asked.check()?;
    let matched = words::counted(operation.matched, "task", "tasks");
    let is_counted = operation.dry_run && operation.finished_at.is_some() && operation.matched > 0;
    let word = match operation.kind {
        OperationKind::Cancel => "Cancel",
        OperationKind::Redrive => "Redrive",
        OperationKind::Purge => "Purge",
    };
    // A purge has no count before it.
    let deed = (is_counted && frame.may_operate() && operation.kind != OperationKind::Purge).then(|| Deed {
        button: format!("{word} {matched}"),
        is_harmful: operation.kind == OperationKind::Cancel,
        fields: filter.fields(),
        action: frame.link("/operations"),
    });
    let about = (operation.kind != OperationKind::Purge).then_some(filter);
    let tasks = about.clone().unwrap_or_default().link(&frame, "/tasks");
    Ok(page(&OperationPage {
        title: if operation.dry_run { format!("{word}: how many?") } else { word.to_owned() },
        looked_at: words::counted(operation.looked_at, "task", "tasks"),
        done: words::number(operation.done),
        matched,
        about,
        deed,
        tasks,
        operation,
        frame,
    }))
}
