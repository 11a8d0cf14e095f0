//! Schedules: list, look, set, delete, pause, resume.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use sentinel_queue::{ScheduleName, request};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    App,
    auth::Caller,
    body,
    page::{Asked, Page},
    problem::{Code, Problem},
    segment::Segment,
    wire::{ScheduleView, kind},
};

/// All schedules.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScheduleList {
    /// By name.
    schedules: Vec<ScheduleView>,
    /// Where the list goes on; null at its end.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// List the schedules.
#[utoipa::path(
    get, path = "/v1/schedules", operation_id = "list_schedules", tag = "schedules", params(Asked),
    responses(
        (status = 200, description = "The schedules, without the payloads of their tasks.", body = ScheduleList),
    )
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    page: Page,
) -> Result<Json<ScheduleList>, Problem> {
    // One more than wanted tells whether there are more.
    let (now, found) = app.queue.schedules(&caller.namespace, page.after(), page.limit() + 1).await?;
    let (found, next_cursor) = page.of(found, |info| info.schedule.name.as_str());
    let seen = found.into_iter().filter(|info| caller.sees(&info.schedule.task));
    let schedules = seen.map(|info| ScheduleView::of(info, now)).collect();
    Ok(Json(ScheduleList { schedules, next_cursor }))
}

/// Look at a schedule.
#[utoipa::path(
    get, path = "/v1/schedules/{name}", operation_id = "get_schedule", tag = "schedules", params(("name" = kind::ScheduleName, Path, description = "The schedule's name.")),
    responses(
        (status = 200, description = "The schedule.", body = ScheduleView),
    )
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<Json<ScheduleView>, Problem> {
    find(&app, &caller, &parse(&name)?).await.map(Json)
}

/// A schedule, if there is one for this caller.
async fn find(app: &App, caller: &Caller, name: &ScheduleName) -> Result<ScheduleView, Problem> {
    let (now, found) = app.queue.schedule(&caller.namespace, name).await?;
    let found = found.filter(|info| caller.sees(&info.schedule.task));
    found.map(|info| ScheduleView::of(info, now)).ok_or_else(|| unknown(name))
}

/// Set a schedule; it is made if it is not there.
///
/// The same again changes nothing. Another `cron` or `timezone` counts from now on.
#[utoipa::path(
    put, path = "/v1/schedules/{name}", operation_id = "set_schedule", tag = "schedules", params(("name" = kind::ScheduleName, Path, description = "The schedule's name.")),
    request_body = crate::wire::NewSchedule,
    responses(
        (status = 200, description = "The schedule, set.", body = ScheduleView),
        (status = 201, description = "The schedule, made.", body = ScheduleView, headers(("Location" = String, description = "Where the schedule is read."))),
    )
)]
pub(crate) async fn set(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let name = parse(&name)?;
    let (head, body) = request.into_parts();
    let bytes = body::read(&head.headers, body, body::TASK_BODY).await?;
    let (schedule, paused) = request::schedule(&bytes, &caller.namespace, name)?;
    let name = &schedule.name;
    caller.require_job(&schedule.task.job).map_err(|problem| problem.about("/task/payload/job"))?;
    caller.require_queue(&schedule.task.queue).map_err(|problem| problem.about("/task/queue"))?;
    let known = app.advertised.require(&schedule.task.job, schedule.task.payload.as_str()).await;
    known.map_err(|problem| problem.within("/task"))?;
    let (_, old) = app.queue.schedule(&caller.namespace, name).await?;
    if old.is_some_and(|old| !caller.sees(&old.schedule.task)) {
        let detail = format!("there is a schedule {name} of a job or queue that this key is not for");
        return Err(Problem::of(Code::Forbidden, detail));
    }
    let made = app.queue.put_schedule(&schedule, paused).await?;
    let view = Json(find(&app, &caller, name).await?);
    if made {
        let location = format!("/v1/schedules/{name}");
        return Ok((StatusCode::CREATED, [(header::LOCATION, location)], view).into_response());
    }
    Ok(view.into_response())
}

/// Delete a schedule; its tasks stay.
#[utoipa::path(
    delete, path = "/v1/schedules/{name}", operation_id = "delete_schedule", tag = "schedules", params(("name" = kind::ScheduleName, Path, description = "The schedule's name.")),
    responses(
        (status = 204, description = "It is gone."),
    )
)]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<StatusCode, Problem> {
    let name = parse(&name)?;
    find(&app, &caller, &name).await?;
    if !app.queue.delete_schedule(&caller.namespace, &name).await? {
        return Err(unknown(&name));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Pause a schedule: it has no ticks.
#[utoipa::path(
    post, path = "/v1/schedules/{name}/pause", operation_id = "pause_schedule", tag = "schedules", params(("name" = kind::ScheduleName, Path, description = "The schedule's name.")),
    responses(
        (status = 200, description = "The schedule, paused.", body = ScheduleView),
    )
)]
pub(crate) async fn pause(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<Json<ScheduleView>, Problem> {
    let name = parse(&name)?;
    find(&app, &caller, &name).await?;
    if !app.queue.pause_schedule(&caller.namespace, &name).await? {
        return Err(unknown(&name));
    }
    find(&app, &caller, &name).await.map(Json)
}

/// Resume a schedule: it goes on from now.
#[utoipa::path(
    post, path = "/v1/schedules/{name}/resume", operation_id = "resume_schedule", tag = "schedules", params(("name" = kind::ScheduleName, Path, description = "The schedule's name.")),
    responses(
        (status = 200, description = "The schedule, with ticks.", body = ScheduleView),
    )
)]
pub(crate) async fn resume(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<Json<ScheduleView>, Problem> {
    let name = parse(&name)?;
    find(&app, &caller, &name).await?;
    if !app.queue.resume_schedule(&caller.namespace, &name).await? {
        return Err(unknown(&name));
    }
    find(&app, &caller, &name).await.map(Json)
}

fn parse(name: &str) -> Result<ScheduleName, Problem> {
    name.parse().map_err(|error| Problem::field("name", &error))
}

fn unknown(name: &ScheduleName) -> Problem {
    Problem::of(Code::UnknownSchedule, format!("there is no schedule {name}"))
}
