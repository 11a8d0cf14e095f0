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
    App, body,
    page::{Asked, Page},
    problem::{Code, Problem},
    segment::Segment,
    wire::ScheduleView,
};

/// All schedules.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScheduleList {
    /// By name.
    schedules: Vec<ScheduleView>,
    /// Where the list goes on; null at its end.
    next_cursor: Option<String>,
}

/// List the schedules.
#[utoipa::path(
    get, path = "/v1/schedules", tag = "schedules", params(Asked),
    responses(
        (status = 200, description = "The schedules, without the payloads of their tasks.", body = ScheduleList),
        (status = 503, description = "The store is away.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list(State(app): State<Arc<App>>, page: Page) -> Result<Json<ScheduleList>, Problem> {
    // One more than wanted tells whether there are more.
    let (now, found) = app.queue.schedules(&app.namespace, page.after(), page.limit() + 1).await?;
    let views = found.into_iter().map(|info| ScheduleView::of(info, now)).collect();
    let (schedules, next_cursor) = page.of(views, |view| &view.name);
    Ok(Json(ScheduleList { schedules, next_cursor }))
}

/// Look at a schedule.
#[utoipa::path(
    get, path = "/v1/schedules/{name}", tag = "schedules", params(("name" = String, Path, description = "The schedule's name.")),
    responses(
        (status = 200, description = "The schedule.", body = ScheduleView),
        (status = "4XX", description = "There is none.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store is away.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Segment(name): Segment,
) -> Result<Json<ScheduleView>, Problem> {
    find(&app, &parse(&name)?).await.map(Json)
}

async fn find(app: &App, name: &ScheduleName) -> Result<ScheduleView, Problem> {
    let (now, found) = app.queue.schedule(&app.namespace, name).await?;
    found.map(|info| ScheduleView::of(info, now)).ok_or_else(|| unknown(name))
}

/// Set a schedule; it is made if it is not there.
///
/// The same again changes nothing. Another `cron` or `timezone` counts from now on.
#[utoipa::path(
    put, path = "/v1/schedules/{name}", tag = "schedules", params(("name" = String, Path, description = "The schedule's name: matches `[a-z0-9][a-z0-9._-]{0,54}`.")),
    request_body = crate::wire::NewSchedule,
    responses(
        (status = 200, description = "The schedule, set.", body = ScheduleView),
        (status = 201, description = "The schedule, made.", body = ScheduleView, headers(("Location" = String, description = "Where the schedule is read."))),
        (status = "4XX", description = "A field is not acceptable; of a cron expression the error says where.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store is away.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn set(
    State(app): State<Arc<App>>,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let name = parse(&name)?;
    let (head, body) = request.into_parts();
    let bytes = body::read(&head.headers, body, body::TASK_BODY).await?;
    let (schedule, paused) = request::schedule(&bytes, &app.namespace, name)?;
    let name = &schedule.name;
    let known = app.advertised.require(&schedule.task.job, schedule.task.payload.as_str()).await;
    known.map_err(|problem| problem.within("/task"))?;
    let made = app.queue.put_schedule(&schedule, paused).await?;
    let view = Json(find(&app, name).await?);
    if made {
        let location = format!("/v1/schedules/{name}");
        return Ok((StatusCode::CREATED, [(header::LOCATION, location)], view).into_response());
    }
    Ok(view.into_response())
}

/// Delete a schedule; its tasks stay.
#[utoipa::path(
    delete, path = "/v1/schedules/{name}", tag = "schedules", params(("name" = String, Path, description = "The schedule's name.")),
    responses(
        (status = 204, description = "It is gone."),
        (status = "4XX", description = "There is none.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store is away.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Segment(name): Segment,
) -> Result<StatusCode, Problem> {
    let name = parse(&name)?;
    if !app.queue.delete_schedule(&app.namespace, &name).await? {
        return Err(unknown(&name));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Pause a schedule: it has no ticks.
#[utoipa::path(
    post, path = "/v1/schedules/{name}/pause", tag = "schedules", params(("name" = String, Path, description = "The schedule's name.")),
    responses(
        (status = 200, description = "The schedule, paused.", body = ScheduleView),
        (status = "4XX", description = "There is none.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store is away.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn pause(
    State(app): State<Arc<App>>,
    Segment(name): Segment,
) -> Result<Json<ScheduleView>, Problem> {
    let name = parse(&name)?;
    if !app.queue.pause_schedule(&app.namespace, &name).await? {
        return Err(unknown(&name));
    }
    find(&app, &name).await.map(Json)
}

/// Resume a schedule: it goes on from now.
#[utoipa::path(
    post, path = "/v1/schedules/{name}/resume", tag = "schedules", params(("name" = String, Path, description = "The schedule's name.")),
    responses(
        (status = 200, description = "The schedule, with ticks.", body = ScheduleView),
        (status = "4XX", description = "There is none.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store is away.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn resume(
    State(app): State<Arc<App>>,
    Segment(name): Segment,
) -> Result<Json<ScheduleView>, Problem> {
    let name = parse(&name)?;
    if !app.queue.resume_schedule(&app.namespace, &name).await? {
        return Err(unknown(&name));
    }
    find(&app, &name).await.map(Json)
}

fn parse(name: &str) -> Result<ScheduleName, Problem> {
    name.parse().map_err(|error| Problem::field("name", &error))
}

fn unknown(name: &ScheduleName) -> Problem {
    Problem::of(Code::UnknownSchedule, format!("there is no schedule {name}"))
}
