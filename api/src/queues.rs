//! Queues: list, look, pause, resume.

use std::sync::Arc;

use axum::{Json, extract::State};
use sentinel_queue::QueueName;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    App,
    page::{Asked, Page},
    problem::{Code, Problem},
    segment::Segment,
    wire::QueueView,
};

/// All queues.
#[derive(Serialize, ToSchema)]
pub(crate) struct QueueList {
    /// By name.
    queues: Vec<QueueView>,
    /// Where the list goes on; null at its end.
    next_cursor: Option<String>,
}

/// List the queues.
#[utoipa::path(
    get, path = "/v1/queues", tag = "queues", params(Asked),
    responses(
        (status = 200, description = "All queues that tasks were ever submitted to.", body = QueueList),
        (status = 503, description = "The store is away.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list(State(app): State<Arc<App>>, page: Page) -> Result<Json<QueueList>, Problem> {
    let queues = app.queue.queues(&app.namespace).await?.into_iter().map(QueueView::from).collect();
    let (queues, next_cursor) = page.of(queues, |queue| &queue.name);
    Ok(Json(QueueList { queues, next_cursor }))
}

/// Look at a queue.
#[utoipa::path(
    get, path = "/v1/queues/{queue}", tag = "queues", params(("queue" = String, Path, description = "The queue's name.")),
    responses(
        (status = 200, description = "The queue.", body = QueueView),
        (status = "4XX", description = "There is none.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store is away.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Segment(queue): Segment,
) -> Result<Json<QueueView>, Problem> {
    let name = parse(&queue)?;
    let mut queues = app.queue.queues(&app.namespace).await?.into_iter();
    let found = queues.find(|queue| queue.name == name).map(|queue| Json(queue.into()));
    found.ok_or_else(|| {
        Problem::of(Code::UnknownQueue, format!("no task was ever submitted to a queue {name}"))
    })
}

/// Pause a queue: it accepts tasks and hands out none.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/pause", tag = "queues", params(("queue" = String, Path, description = "The queue's name.")),
    responses(
        (status = 200, description = "The queue, paused.", body = QueueView),
        (status = "4XX", description = "That is no queue's name.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store is away.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn pause(
    State(app): State<Arc<App>>,
    Segment(queue): Segment,
) -> Result<Json<QueueView>, Problem> {
    let name = parse(&queue)?;
    let depth = app.queue.pause(&app.namespace, &name).await?;
    Ok(Json(QueueView { name: name.to_string(), paused: true, depth }))
}

/// Resume a queue.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/resume", tag = "queues", params(("queue" = String, Path, description = "The queue's name.")),
    responses(
        (status = 200, description = "The queue, running.", body = QueueView),
        (status = "4XX", description = "That is no queue's name.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store is away.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn resume(
    State(app): State<Arc<App>>,
    Segment(queue): Segment,
) -> Result<Json<QueueView>, Problem> {
    let name = parse(&queue)?;
    let depth = app.queue.resume(&app.namespace, &name).await?;
    Ok(Json(QueueView { name: name.to_string(), paused: false, depth }))
}

fn parse(queue: &str) -> Result<QueueName, Problem> {
    queue.parse().map_err(|error| Problem::field("queue", &error))
}
