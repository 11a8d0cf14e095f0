//! Tasks: submit, list, read, wait, result, log.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension, Json,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use sentinel_queue::{
    NewTask, Task, TaskId,
    lease::MAX_CALL,
    list::{Cursor, Filter, Listed},
    queue::{self, SubmitError},
    request,
    task::{Definition, Progression, TaskState, When},
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    App,
    auth::Caller,
    body,
    page::{self, Asked},
    problem::{Code, Problem},
    query::Query,
    segment::Segment,
    server::{Closing, closes},
    spans::InTrace,
    wire::{Accepted, AcceptedBatch, KnownTask, Stats, TaskBrief, TaskList, TaskView, kind},
};

/// The longest that a client may wait for a task in one request.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// A client that waits is told of the end; this often its task is looked at all the same.
const LOOK: Duration = Duration::from_secs(2);

/// Submit a task.
#[utoipa::path(
    post, path = "/submit-task", operation_id = "submit_task", tag = "tasks", request_body = crate::wire::NewTask,
    params(
        ("Idempotency-Key" = Option<kind::KeyHeader>, Header, description = "As the field `idempotency_key`; between quotes or not."),
        ("traceparent" = Option<kind::TraceParent>, Header, description = "The trace that the task becomes part of; one that does not read as such is none."),
    ),
    responses(
        (status = 200, description = "The store has it.", body = Accepted),
    )
)]
pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    caller: Caller,
    request: Request,
) -> Result<Json<Accepted>, Problem> {
    let (task, accepted) = submit_one(&app, &caller, request).await?;
    view(&app, &task, accepted).await.map(Json)
}

/// Submit a task and get it back whole.
#[utoipa::path(
    post, path = "/v1/tasks", operation_id = "create_task", tag = "tasks", request_body = crate::wire::NewTask,
    params(
        ("Idempotency-Key" = Option<kind::KeyHeader>, Header, description = "As the field `idempotency_key`; between quotes or not."),
        ("traceparent" = Option<kind::TraceParent>, Header, description = "The trace that the task becomes part of; one that does not read as such is none."),
    ),
    responses(
        (status = 200, description = "The task was there before, by its idempotency key. One that is not kept any more is answered as by `/submit-task`.", body = KnownTask, headers(("Location" = String, description = "Where the task is read."))),
        (status = 201, description = "The store has it.", body = TaskView, headers(("Location" = String, description = "Where the task is read."))),
    )
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (task, accepted) = submit_one(&app, &caller, request).await?;
    if accepted.removed.is_some() {
        return Ok(Json(view(&app, &task, accepted).await?).into_response());
    }
    let location = format!("/v1/tasks/{}", accepted.id);
    let known = if accepted.deduplicated { None } else { state_of(&task, accepted) };
    let mut view = TaskView::from(match known {
        Some(state) => Task {
            definition: Definition { id: task.id, spec: task.spec, created_at: accepted.at },
            progression: Progression { due: due(task.when, accepted), ..Progression::default() },
            state,
            history: Vec::new(),
        },
        None => find(&app, &caller, accepted.id).await?,
    });
    view.deduplicated = accepted.deduplicated;
    let status = if accepted.deduplicated { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, [(header::LOCATION, location)], Json(view)).into_response())
}

/// Submit tasks, all of them or none.
#[utoipa::path(
    post, path = "/v1/tasks/batch", operation_id = "create_tasks", tag = "tasks", request_body = crate::wire::NewBatch,
    params(("traceparent" = Option<kind::TraceParent>, Header, description = "The trace that the tasks become part of; one that does not read as such is none.")),
    responses(
        (status = 201, description = "The store has them.", body = AcceptedBatch),
    )
)]
pub(crate) async fn batch(
    State(app): State<Arc<App>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let bytes = body::read(&head.headers, body, body::BATCH_BODY).await?;
    let mut tasks = request::batch(&bytes, &caller.namespace)?;
    for (index, task) in tasks.iter().enumerate() {
        require(&app, &caller, task).await.map_err(|problem| problem.in_batch(index))?;
    }
    require_parents(&app, &caller, &tasks).await?;
    let place = head.extensions.get::<InTrace>();
    InTrace::enter(place, &mut tasks);
    let accepted = app.queue.submit(&tasks).await.map_err(Problem::of_batch)?;
    InTrace::accepted(place, &tasks, &accepted);
    let tasks = answers(&app, &tasks, &accepted).await?;
    Ok((StatusCode::CREATED, Json(AcceptedBatch { tasks })).into_response())
}

/// Submits the task that is the request's body.
async fn submit_one(
    app: &App,
    caller: &Caller,
    request: Request,
) -> Result<(NewTask, queue::Accepted), Problem> {
    let (head, body) = request.into_parts();
    let place = head.extensions.get::<InTrace>();
    let mut task = one_task(app, caller, &head, body).await?;
    InTrace::enter(place, std::slice::from_mut(&mut task));
    let accepted = app.queue.submit(std::slice::from_ref(&task)).await?;
    InTrace::accepted(place, std::slice::from_ref(&task), &accepted);
    let accepted = accepted.into_iter().next().expect("each task is answered");
    Ok((task, accepted))
}

async fn one_task(app: &App, caller: &Caller, head: &Parts, body: Body) -> Result<NewTask, Problem> {
    let bytes = body::read(&head.headers, body, body::TASK_BODY).await?;
    let mut task = request::new_task(&bytes, &caller.namespace)?;
    if let Some(key) = idempotency_key(&head.headers)? {
        if task.spec.idempotency_key.as_ref().is_some_and(|other| *other != key) {
            let rule = "is not the idempotency_key in the body: give one of them";
            return Err(Problem::field("Idempotency-Key", &rule));
        }
        task.spec.idempotency_key = Some(key);
    }
    require(app, caller, &task).await?;
    require_parents(app, caller, std::slice::from_ref(&task)).await?;
    Ok(task)
}

/// Refuses a task that may not be submitted, or not by this caller.
async fn require(app: &App, caller: &Caller, task: &NewTask) -> Result<(), Problem> {
    caller.require_job(&task.spec.job).map_err(|problem| problem.about("/payload/job"))?;
    caller.require_queue(&task.spec.queue).map_err(|problem| problem.about("/queue"))?;
    app.advertised.require(&task.spec.job, task.spec.payload.as_str()).await
}

/// Refuses tasks that wait for some that this caller does not see: what those gave, these may read.
/// That they are of the same namespace is for the store to say.
async fn require_parents(app: &App, caller: &Caller, tasks: &[NewTask]) -> Result<(), Problem> {
    if caller.grant().jobs.is_none() && caller.grant().queues.is_none() {
        return Ok(());
    }
    let own: HashSet<TaskId> = tasks.iter().map(|task| task.id).collect();
    for (index, task) in tasks.iter().enumerate() {
        let parents: Vec<TaskId> = task.spec.after.iter().copied().filter(|id| !own.contains(id)).collect();
        let known = app.queue.briefs(&parents).await?;
        let seen: HashSet<TaskId> = known
            .iter()
            .filter(|parent| caller.sees(&parent.definition.spec))
            .map(|parent| parent.definition.id)
            .collect();
        if let Some(&parent) = parents.iter().find(|parent| !seen.contains(parent)) {
            let problem = Problem::from(SubmitError::NoParent { index, parent });
            return Err(if tasks.len() == 1 { problem } else { problem.in_batch(index) });
        }
    }
    Ok(())
}

/// The `Idempotency-Key` header; its draft standard puts the key between quotes, many clients do not.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<sentinel_queue::IdempotencyKey>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::field("Idempotency-Key", &"is there twice"));
    }
    let text = value.to_str().unwrap_or_default();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    text.parse().map(Some).map_err(|error| Problem::field("Idempotency-Key", &error))
}

/// Where a task is that was just accepted, if that is sure without a look.
fn state_of(task: &NewTask, accepted: queue::Accepted) -> Option<TaskState> {
    if !task.spec.after.is_empty() {
        return None;
    }
    let waits = due(task.when, accepted).is_some_and(|due| due > accepted.at);
    Some(if waits { TaskState::Scheduled } else { TaskState::Queued })
}

fn due(when: Option<When>, accepted: queue::Accepted) -> Option<sentinel_queue::Millis> {
    when.map(|when| match when {
        When::At(at) => at,
        When::After(delay) => {
            sentinel_queue::Millis(accepted.at.0 + u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
        }
    })
}

async fn view(app: &App, task: &NewTask, accepted: queue::Accepted) -> Result<Accepted, Problem> {
    let answers = answers(app, std::slice::from_ref(task), &[accepted]).await?;
    Ok(answers.into_iter().next().expect("each task is answered"))
}

/// What a submit is answered. Where tasks are that were there before, or that wait for others, is
/// looked up for all of them at once.
async fn answers(
    app: &App,
    tasks: &[NewTask],
    accepted: &[queue::Accepted],
) -> Result<Vec<Accepted>, Problem> {
    let sure = |task: &NewTask, accepted: &queue::Accepted| {
        let known = if accepted.deduplicated { None } else { state_of(task, *accepted) };
        accepted.removed.or(known.map(|state| state.status()))
    };
    let statuses: Vec<_> = tasks.iter().zip(accepted).map(|(task, accepted)| sure(task, accepted)).collect();
    let unsure = accepted.iter().zip(&statuses).filter(|(_, status)| status.is_none());
    let unsure: Vec<TaskId> = unsure.map(|(accepted, _)| accepted.id).collect();
    let mut found = HashMap::new();
    for ids in unsure.chunks(MAX_CALL) {
        let briefs = app.queue.briefs(ids).await?;
        found.extend(briefs.into_iter().map(|task| (task.definition.id, task.state.status())));
    }
    let answers = accepted.iter().zip(statuses).map(|(accepted, status)| {
        let queue::Accepted { id, deduplicated, .. } = *accepted;
        let status = status.or_else(|| found.get(&id).copied()).ok_or_else(|| unknown(&id.to_string()))?;
        Ok(Accepted { task_id: id.to_string(), status, deduplicated })
    });
    answers.collect()
}

/// How many tasks are held in each state.
#[utoipa::path(
    get, path = "/stats", operation_id = "get_stats", tag = "tasks",
    responses(
        (status = 200, description = "The counts.", body = Stats),
    )
)]
pub(crate) async fn stats(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Stats>, Problem> {
    Ok(Json(app.queue.counts(&caller.namespace).await?.into()))
}

/// How a task is read.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Reading {
    /// Wait for the task's end, at most this long: up to 60s.
    #[param(value_type = Option<kind::Duration>)]
    wait: Option<String>,
}

/// Read a task.
#[utoipa::path(
    get, path = "/v1/tasks/{id}", operation_id = "get_task", tag = "tasks",
    params(("id" = kind::TaskId, Path, description = "The task's id."), Reading),
    responses(
        (status = 200, description = "The task, ended or when the wait was over.", body = TaskView),
    )
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(id): Segment,
    Query(reading): Query<Reading>,
    closing: Option<Extension<Closing>>,
) -> Result<Json<TaskView>, Problem> {
    let wait = match &reading.wait {
        None => Duration::ZERO,
        Some(text) => request::span_of(text, Duration::ZERO, LONGEST_WAIT)
            .map_err(|rule| Problem::field("wait", &rule))?,
    };
    let id = parse(&id)?;
    if wait.is_zero() {
        return Ok(Json(find(&app, &caller, id).await?.into()));
    }
    let closing = closing.map(|Extension(closing)| closing);
    let until = Instant::now() + wait;
    // First heard, then read: an end in between is not missed.
    let watcher = app.watchers.watch(id);
    app.watchers.register(&watcher).await?;
    loop {
        let mut notified = std::pin::pin!(watcher.notified());
        notified.as_mut().enable();
        let task = find(&app, &caller, id).await?;
        let left = until.saturating_duration_since(Instant::now());
        let is_closing = closing.as_ref().is_some_and(Closing::is_closing);
        if task.state.status().is_final() || left.is_zero() || is_closing {
            return Ok(Json(task.into()));
        }
        tokio::select! {
            () = notified => {}
            () = tokio::time::sleep(LOOK.min(left)) => {}
            () = closes(closing.as_ref()) => {}
        }
    }
}

/// Which tasks are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// One or more states, with commas between.
    #[param(value_type = Option<Vec<kind::Status>>, style = Form, explode = false, min_items = 1)]
    status: Option<String>,
    /// This queue.
    #[param(value_type = Option<kind::QueueName>)]
    queue: Option<String>,
    /// This job.
    #[param(value_type = Option<kind::JobName>)]
    job: Option<String>,
    /// This tag among theirs.
    #[param(value_type = Option<kind::Tag>)]
    tag: Option<String>,
    /// Accepted then or later.
    #[param(value_type = Option<kind::Time>)]
    since: Option<String>,
    /// Accepted earlier.
    #[param(value_type = Option<kind::Time>)]
    until: Option<String>,
    /// How many tasks at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 50)]
    limit: Option<String>,
    /// Where the list before ended: its `next_cursor`.
    cursor: Option<String>,
}

/// List tasks.
#[utoipa::path(
    get, path = "/v1/tasks", operation_id = "list_tasks", tag = "tasks", params(Listing),
    responses(
        (status = 200, description = "Tasks by state; those that ended newest first, those that wait in the order of their queue. A request looks at 1000 tasks at most, however many there are.", body = TaskList),
    )
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(listing): Query<Listing>,
) -> Result<Json<TaskList>, Problem> {
    let statuses = match &listing.status {
        None => Vec::new(),
        Some(words) => words
            .split(',')
            .map(|word| word.parse().map_err(|error| Problem::field("status", &error)))
            .collect::<Result<_, _>>()?,
    };
    let instant = |name, text: &Option<String>| {
        let at = text.as_deref().map(request::instant_of).transpose();
        at.map_err(|rule| Problem::field(name, &rule))
    };
    let filter = Filter {
        namespace: caller.namespace.clone(),
        statuses,
        queue: parameter("queue", listing.queue.as_deref())?,
        job: parameter("job", listing.job.as_deref())?,
        tag: parameter("tag", listing.tag.as_deref())?,
        since: instant("since", &listing.since)?,
        before: instant("until", &listing.until)?,
    };
    let asked = Asked { limit: listing.limit, cursor: None };
    let limit = asked.limit()?;
    let cursor = listing.cursor.as_deref().map(page::read_cursor).transpose()?;
    let slice = app.queue.list(&filter, limit, cursor.as_ref()).await?;
    Ok(Json(TaskList {
        tasks: slice
            .tasks
            .into_iter()
            .filter(|task| caller.sees(&task.definition.spec))
            .map(TaskBrief::from)
            .collect(),
        next_cursor: slice.next.map(|next: Cursor| page::write_cursor(&next)),
    }))
}

fn parameter<T: std::str::FromStr<Err: ToString>>(
    name: &str,
    text: Option<&str>,
) -> Result<Option<T>, Problem> {
    text.map(str::parse).transpose().map_err(|error| Problem::field(name, &error))
}

/// Which attempt's log is read.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogOf {
    /// The attempt, from 1; by default the last that ended.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 4_294_967_295_u32)]
    attempt: Option<String>,
}

/// Read what an attempt printed.
#[utoipa::path(
    get, path = "/v1/tasks/{id}/logs", operation_id = "get_log", tag = "tasks",
    params(("id" = kind::TaskId, Path, description = "The task's id."), LogOf),
    responses(
        (status = 200, description = "What the guest wrote to stdout and stderr, cut at 64 KiB; of the last hundred attempts.", body = String, content_type = "text/plain"),
    )
)]
pub(crate) async fn logs(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(id): Segment,
    Query(asked): Query<LogOf>,
) -> Result<Response, Problem> {
    log_of(&app, &caller, &id, asked.attempt.as_deref()).await
}

/// What an attempt of a caller's task printed; by default the last one that ended.
pub(crate) async fn log_of(
    app: &App,
    caller: &Caller,
    id: &str,
    attempt: Option<&str>,
) -> Result<Response, Problem> {
    let id = parse(id)?;
    let task = find(app, caller, id).await?;
    let attempt = match attempt.map(str::parse) {
        Some(Ok(attempt)) if attempt >= 1 => attempt,
        Some(_) => return Err(Problem::field("attempt", &"must be an integer from 1")),
        None => match &task.state {
            TaskState::Completed { ended, .. }
            | TaskState::Failed { ended, .. }
            | TaskState::Cancelled { ended, .. } => ended.attempt,
            _ => task.progression.ended,
        },
    };
    let log = app.queue.log(id, attempt).await?;
    let log = log.ok_or_else(|| {
        Problem::of(Code::NoLog, format!("attempt {attempt} has printed nothing, or has not ended"))
    })?;
    let headers =
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    Ok((headers, log).into_response())
}

/// Read a task's result, byte for byte as the job gave it.
#[utoipa::path(
    get, path = "/v1/tasks/{id}/result", operation_id = "get_result", tag = "tasks",
    params(("id" = kind::TaskId, Path, description = "The task's id.")),
    responses(
        (status = 200, description = "The result, JSON of the job's choice.", body = serde_json::Value, content_type = "application/json"),
    )
)]
pub(crate) async fn result(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Response, Problem> {
    let task = find(&app, &caller, parse(&id)?).await?;
    let status = task.state.status();
    match task.state {
        TaskState::Completed { result, .. } => {
            Ok(([(header::CONTENT_TYPE, "application/json")], result).into_response())
        }
        TaskState::Failed { error, .. } => Err(Problem::of(
            Code::Failed,
            format!("the task is FAILED: {}: {}", error.kind, error.report.message),
        )),
        TaskState::Cancelled { error, .. } => {
            Err(Problem::of(Code::Cancelled, format!("the task is CANCELLED: {}", error.report.message)))
        }
        _ => Err(Problem::of(Code::NotFinished, format!("the task is {status}"))),
    }
}

/// What is no id is no task's id.
pub(crate) fn parse(id: &str) -> Result<TaskId, Problem> {
    id.parse().map_err(|_| unknown(id))
}

/// A task, if there is one for this caller.
pub(crate) async fn find(app: &App, caller: &Caller, id: TaskId) -> Result<Task, Problem> {
    let found = app.queue.get(id).await?.filter(|task| caller.sees(&task.definition.spec));
    found.ok_or_else(|| unknown(&id.to_string()))
}

/// A task in brief, if there is one for this caller.
pub(crate) async fn brief(app: &App, caller: &Caller, id: TaskId) -> Result<Listed, Problem> {
    let found = app.queue.briefs(&[id]).await?.pop().filter(|task| caller.sees(&task.definition.spec));
    found.ok_or_else(|| unknown(&id.to_string()))
}

pub(crate) fn unknown(id: &str) -> Problem {
    let shown: String = id.chars().take(64).collect();
    Problem::of(Code::UnknownTask, format!("no task has the id {shown:?}"))
}
