//! What is done to one task: cancel, redrive, reschedule.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
};
use sentinel_queue::{TaskId, request, steer::Steered};

use crate::{
    App,
    auth::Caller,
    body,
    problem::{Code, Problem},
    segment::Segment,
    tasks,
    wire::{TaskView, kind},
};

/// Cancel a task.
#[utoipa::path(
    post, path = "/v1/tasks/{id}/cancel", operation_id = "cancel_task", tag = "tasks",
    params(("id" = kind::TaskId, Path, description = "The task's id.")),
    responses(
        (status = 200, description = "The task, CANCELLED. If it ran, its guest is stopped and commits nothing.", body = TaskView),
    )
)]
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<TaskView>, Problem> {
    let id = tasks::parse(&id)?;
    tasks::brief(&app, &caller, id).await?;
    let steered = app.queue.cancel(id).await?;
    answer(&app, &caller, id, steered, "only a task that has not ended can be cancelled").await
}

/// Give a task that FAILED or was CANCELLED another life.
#[utoipa::path(
    post, path = "/v1/tasks/{id}/redrive", operation_id = "redrive_task", tag = "tasks",
    params(("id" = kind::TaskId, Path, description = "The task's id.")),
    responses(
        (status = 200, description = "The task, QUEUED again with fresh budgets and without expiry; its history tells of both lives.", body = TaskView),
    )
)]
pub(crate) async fn redrive(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<TaskView>, Problem> {
    let id = tasks::parse(&id)?;
    tasks::brief(&app, &caller, id).await?;
    let steered = app.queue.redrive(id).await?;
    answer(&app, &caller, id, steered, "only a task that FAILED or was CANCELLED can be redriven").await
}

/// Change when a waiting task is due, its priority, or both.
#[utoipa::path(
    post, path = "/v1/tasks/{id}/reschedule", operation_id = "reschedule_task", tag = "tasks",
    params(("id" = kind::TaskId, Path, description = "The task's id.")), request_body = crate::wire::Reschedule,
    responses(
        (status = 200, description = "The task.", body = TaskView),
    )
)]
pub(crate) async fn reschedule(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(id): Segment,
    request: Request,
) -> Result<Json<TaskView>, Problem> {
    let id = tasks::parse(&id)?;
    tasks::brief(&app, &caller, id).await?;
    let (head, body) = request.into_parts();
    let bytes = body::read(&head.headers, body, body::SMALL_BODY).await?;
    let (when, priority) = request::reschedule(&bytes)?;
    let steered = app.queue.reschedule(id, when, priority).await?;
    answer(&app, &caller, id, steered, "only a task that is QUEUED, SCHEDULED or BLOCKED can be rescheduled")
        .await
}

async fn answer(
    app: &App,
    caller: &Caller,
    id: TaskId,
    steered: Steered,
    rule: &str,
) -> Result<Json<TaskView>, Problem> {
    match steered {
        Steered::Done => Ok(Json(tasks::find(app, caller, id).await?.into())),
        Steered::Unknown => Err(tasks::unknown(&id.to_string())),
        Steered::WrongState(status) => {
            Err(Problem::of(Code::WrongState, format!("the task is {status}: {rule}")))
        }
    }
}
