//! Tasks: submit, read, wait, result.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension, Json,
    body::Body,
    extract::{Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use sentinel_queue::{
    NewTask, Task, TaskId,
    task::{Definition, Progression, TaskState},
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    App, body, fields,
    problem::{Code, Problem},
    segment::Segment,
    server::Closing,
    wire::{Accepted, Stats, TaskView},
};

/// The longest that a client may wait for a task in one request.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// While a client waits, its task is looked at this often, ever less.
const LOOK: Duration = Duration::from_millis(25);
const LOOK_SELDOM: Duration = Duration::from_millis(250);

/// Submit a task.
#[utoipa::path(
    post, path = "/submit-task", tag = "tasks", request_body = crate::wire::NewTask,
    responses(
        (status = 200, description = "The store has it.", body = Accepted),
        (status = "4XX", description = "It was not accepted.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store is away.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn submit(State(app): State<Arc<App>>, request: Request) -> Result<Json<Accepted>, Problem> {
    let task = accept(&app, request).await?;
    Ok(Json(Accepted { task_id: task.definition.id.to_string(), status: task.state.status() }))
}

/// Submit a task and get it back whole.
#[utoipa::path(
    post, path = "/v1/tasks", tag = "tasks", request_body = crate::wire::NewTask,
    responses(
        (status = 201, description = "The store has it.", body = TaskView, headers(("Location" = String, description = "Where the task is read."))),
        (status = "4XX", description = "It was not accepted.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store is away.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn create(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let task = accept(&app, request).await?;
    let location = format!("/v1/tasks/{}", task.definition.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(TaskView::from(task))).into_response())
}

async fn accept(app: &App, request: Request) -> Result<Task, Problem> {
    let (head, body) = request.into_parts();
    // Whoever sends it counts on it: not to know it must be said.
    if head.headers.contains_key("idempotency-key") {
        return Err(Problem::field("Idempotency-Key", &"is not supported yet: leave the header out"));
    }
    let task = new_task(app, &head.headers, body).await?;
    app.advertised.require(&task.job).await?;
    let accepted = app.queue.submit(std::slice::from_ref(&task)).await?;
    let created_at = accepted.into_iter().next().unwrap_or_default();
    let NewTask { id, namespace, queue, priority, job, payload, policy } = task;
    Ok(Task {
        definition: Definition { id, namespace, queue, priority, job, payload, policy, created_at },
        progression: Progression::default(),
        state: TaskState::Queued,
    })
}

async fn new_task(app: &App, headers: &HeaderMap, body: Body) -> Result<NewTask, Problem> {
    let bytes = body::read(headers, body, body::TASK_BODY).await?;
    fields::new_task(&bytes, &app.namespace)
}

/// How many tasks are held in each state.
#[utoipa::path(
    get, path = "/stats", tag = "tasks",
    responses(
        (status = 200, description = "The counts.", body = Stats),
        (status = 503, description = "The store is away.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn stats(State(app): State<Arc<App>>) -> Result<Json<Stats>, Problem> {
    Ok(Json(app.queue.counts(&app.namespace).await?.into()))
}

/// How a task is read.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Reading {
    /// Wait for the task's end, at most this long: a duration up to 60s.
    #[param(example = "30s")]
    wait: Option<String>,
}

/// Read a task.
#[utoipa::path(
    get, path = "/v1/tasks/{id}", tag = "tasks",
    params(("id" = String, Path, description = "The task's UUID."), Reading),
    responses(
        (status = 200, description = "The task, ended or when the wait was over.", body = TaskView),
        (status = "4XX", description = "There is none, or the wait is not a duration.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store is away.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Segment(id): Segment,
    reading: Result<Query<Reading>, axum::extract::rejection::QueryRejection>,
    closing: Option<Extension<Closing>>,
) -> Result<Json<TaskView>, Problem> {
    let Query(reading) = reading.map_err(|error| Problem::field("query", &error.body_text()))?;
    let wait = match &reading.wait {
        None => Duration::ZERO,
        Some(text) => fields::span_of(text, Duration::ZERO, LONGEST_WAIT)
            .map_err(|rule| Problem::field("wait", &rule))?,
    };
    let until = Instant::now() + wait;
    let mut pause = LOOK;
    loop {
        let task = find(&app, &id).await?;
        let left = until.saturating_duration_since(Instant::now());
        let closes = closing.as_ref().is_some_and(|Extension(closing)| closing.is_closing());
        if task.state.status().is_final() || left.is_zero() || closes {
            return Ok(Json(task.into()));
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 3 / 2).min(LOOK_SELDOM);
    }
}

/// Read a task's result, byte for byte as the job gave it.
#[utoipa::path(
    get, path = "/v1/tasks/{id}/result", tag = "tasks",
    params(("id" = String, Path, description = "The task's UUID.")),
    responses(
        (status = 200, description = "The result, JSON of the job's choice.", content_type = "application/json"),
        (status = "4XX", description = "There is no such task, or it has no result: `not_finished`, `failed`, `cancelled`.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store is away.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn result(State(app): State<Arc<App>>, Segment(id): Segment) -> Result<Response, Problem> {
    let task = find(&app, &id).await?;
    let status = task.state.status();
    match task.state {
        TaskState::Completed { result, .. } => {
            Ok(([(header::CONTENT_TYPE, "application/json")], result).into_response())
        }
        TaskState::Failed { error, .. } => Err(Problem::of(
            Code::Failed,
            format!("the task is FAILED: {}: {}", error.kind, error.report.message),
        )),
        TaskState::Cancelled { .. } => Err(Problem::of(Code::Cancelled, "the task is CANCELLED")),
        _ => Err(Problem::of(Code::NotFinished, format!("the task is {status}"))),
    }
}

async fn find(app: &App, id: &str) -> Result<Task, Problem> {
    let unknown = || {
        let shown: String = id.chars().take(64).collect();
        Problem::of(Code::UnknownTask, format!("no task has the id {shown:?}"))
    };
    // What is no id is no task's id.
    let id: TaskId = id.parse().map_err(|_| unknown())?;
    app.queue.get(id).await?.ok_or_else(unknown)
}
