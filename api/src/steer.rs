//! What is done to one task: cancel, redrive, reschedule.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
};
use sentinel_queue::{Priority, TaskId, request, steer::Steered, task::When};

use crate::{
    App,
    auth::Caller,
    body,
    problem::{Code, Problem},
    segment::Segment,
    tasks,
    wire::{TaskView, kind},
};

/// What can be done in which states.
pub(crate) const CANCELLABLE: &str = "only a task that has not ended can be cancelled";
pub(crate) const REDRIVABLE: &str = "only a task that FAILED or was CANCELLED can be redriven";
pub(crate) const RESCHEDULABLE: &str = "only a task that is QUEUED, SCHEDULED or BLOCKED can be rescheduled";

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
    let id = cancel_one(&app, &caller, &id).await?;
    tasks::find(&app, &caller, id).await.map(|task| Json(task.into()))
}

/// Cancels a task of the caller's.
pub(crate) async fn cancel_one(app: &App, caller: &Caller, id: &str) -> Result<TaskId, Problem> {
    let id = tasks::brief(app, caller, tasks::parse(id)?).await?.definition.id;
    done(id, app.queue.cancel(id).await?, CANCELLABLE)
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
    let id = redrive_one(&app, &caller, &id).await?;
    tasks::find(&app, &caller, id).await.map(|task| Json(task.into()))
}

/// Gives a task of the caller's another life.
pub(crate) async fn redrive_one(app: &App, caller: &Caller, id: &str) -> Result<TaskId, Problem> {
    let id = tasks::brief(app, caller, tasks::parse(id)?).await?.definition.id;
    done(id, app.queue.redrive(id).await?, REDRIVABLE)
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
    tasks::brief(&app, &caller, tasks::parse(&id)?).await?;
    let (head, body) = request.into_parts();
    let bytes = body::read(&head.headers, body, body::SMALL_BODY).await?;
    let (when, priority) = request::reschedule(&bytes)?;
    let id = reschedule_one(&app, &caller, &id, when, priority).await?;
    tasks::find(&app, &caller, id).await.map(|task| Json(task.into()))
}

/// Changes when a task of the caller's is due, its priority, or both.
pub(crate) async fn reschedule_one(
    app: &App,
    caller: &Caller,
    id: &str,
    when: Option<When>,
    priority: Option<Priority>,
) -> Result<TaskId, Problem> {
    let id = tasks::brief(app, caller, tasks::parse(id)?).await?.definition.id;
    done(id, app.queue.reschedule(id, when, priority).await?, RESCHEDULABLE)
}

fn done(id: TaskId, steered: Steered, rule: &str) -> Result<TaskId, Problem> {
    match steered {
        Steered::Done => Ok(id),
        Steered::Unknown => Err(tasks::unknown(&id.to_string())),
        Steered::WrongState(status) => {
            Err(Problem::of(Code::WrongState, format!("the task is {status}: {rule}")))
        }
    }
}
