//! Queues: list, look, set, pause, resume, purge.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    response::Response,
};
use sentinel_queue::{QueueName, list::Filter, request, steer::OperationKind};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    App,
    auth::Caller,
    body, operations,
    page::{Asked, Page},
    problem::{Code, Problem},
    segment::Segment,
    wire::{OperationView, QueueView, kind},
};

/// All queues.
#[derive(Serialize, ToSchema)]
pub(crate) struct QueueList {
    /// By name.
    queues: Vec<QueueView>,
    /// Where the list goes on; null at its end.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// List the queues.
#[utoipa::path(
    get, path = "/v1/queues", operation_id = "list_queues", tag = "queues", params(Asked),
    responses(
        (status = 200, description = "All queues that tasks were ever submitted to.", body = QueueList),
    )
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    page: Page,
) -> Result<Json<QueueList>, Problem> {
    let queues = app.queue.queues(&caller.namespace).await?;
    let queues = queues.into_iter().filter(|queue| caller.require_queue(&queue.name).is_ok());
    let queues = queues.map(QueueView::from).collect();
    let (queues, next_cursor) = page.of(queues, |queue| &queue.name);
    Ok(Json(QueueList { queues, next_cursor }))
}

/// Look at a queue.
#[utoipa::path(
    get, path = "/v1/queues/{queue}", operation_id = "get_queue", tag = "queues", params(("queue" = kind::QueueName, Path, description = "The queue's name.")),
    responses(
        (status = 200, description = "The queue.", body = QueueView),
    )
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(queue): Segment,
) -> Result<Json<QueueView>, Problem> {
    find(&app, &caller, &parse(&queue)?).await.map(Json)
}

async fn find(app: &App, caller: &Caller, name: &QueueName) -> Result<QueueView, Problem> {
    caller.require_queue(name)?;
    let found = app.queue.queue(&caller.namespace, name).await?;
    found.map(Into::into).ok_or_else(|| {
        Problem::of(
            Code::UnknownQueue,
            format!("no task was ever submitted to a queue {name}, and nobody set it"),
        )
    })
}

/// Set a queue; it is made if it is not there.
#[utoipa::path(
    put, path = "/v1/queues/{queue}", operation_id = "set_queue", tag = "queues", params(("queue" = kind::QueueName, Path, description = "The queue's name.")),
    request_body = crate::wire::QueueSettings,
    responses(
        (status = 200, description = "The queue, set.", body = QueueView),
    )
)]
pub(crate) async fn set(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(queue): Segment,
    request: Request,
) -> Result<Json<QueueView>, Problem> {
    let name = parse(&queue)?;
    caller.require_whole(&name)?;
    let (head, body) = request.into_parts();
    let bytes = body::read(&head.headers, body, body::SMALL_BODY).await?;
    let settings = request::queue_settings(&bytes)?;
    if !app.queue.set_queue(&caller.namespace, &name, &settings).await? {
        let detail = format!(
            "aging cannot change while tasks are QUEUED in {name}, since their places were given by the old \
             one: pause it, wait until it is empty, or purge it"
        );
        return Err(Problem::of(Code::NotEmpty, detail));
    }
    find(&app, &caller, &name).await.map(Json)
}

/// Purge a queue: remove the tasks that wait in it.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/purge", operation_id = "purge_queue", tag = "queues", params(("queue" = kind::QueueName, Path, description = "The queue's name.")),
    responses(
        (status = 202, description = "The operation that removes the QUEUED, SCHEDULED and BLOCKED tasks of the queue; one that others wait for is CANCELLED instead.", body = OperationView, headers(("Location" = String, description = "Where the operation is read."))),
    )
)]
pub(crate) async fn purge(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(queue): Segment,
) -> Result<Response, Problem> {
    let name = parse(&queue)?;
    caller.require_whole(&name)?;
    find(&app, &caller, &name).await?;
    let filter = Filter { namespace: caller.namespace.clone(), queue: Some(name), ..Filter::default() };
    operations::start(&app, &caller, OperationKind::Purge, &filter, false).await
}

/// Pause a queue: it accepts tasks and hands out none.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/pause", operation_id = "pause_queue", tag = "queues", params(("queue" = kind::QueueName, Path, description = "The queue's name.")),
    responses(
        (status = 200, description = "The queue, paused.", body = QueueView),
    )
)]
pub(crate) async fn pause(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(queue): Segment,
) -> Result<Json<QueueView>, Problem> {
    let name = parse(&queue)?;
    caller.require_whole(&name)?;
    app.queue.pause(&caller.namespace, &name).await?;
    find(&app, &caller, &name).await.map(Json)
}

/// Resume a queue.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/resume", operation_id = "resume_queue", tag = "queues", params(("queue" = kind::QueueName, Path, description = "The queue's name.")),
    responses(
        (status = 200, description = "The queue, running.", body = QueueView),
    )
)]
pub(crate) async fn resume(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(queue): Segment,
) -> Result<Json<QueueView>, Problem> {
    let name = parse(&queue)?;
    caller.require_whole(&name)?;
    app.queue.resume(&caller.namespace, &name).await?;
    find(&app, &caller, &name).await.map(Json)
}

fn parse(queue: &str) -> Result<QueueName, Problem> {
    queue.parse().map_err(|error| Problem::field("queue", &error))
}
