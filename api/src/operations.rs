//! Operations on many tasks: start, look.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use sentinel_queue::{
    list::Filter,
    request,
    steer::{Operation, OperationKind},
};

use crate::{
    App,
    auth::Caller,
    body,
    problem::{Code, Problem},
    segment::Segment,
    wire::OperationView,
};

/// Cancel or redrive all tasks that have something in common.
#[utoipa::path(
    post, path = "/v1/operations", operation_id = "start_operation", tag = "operations", request_body = crate::wire::NewOperation,
    responses(
        (status = 202, description = "It has begun; workers and API servers carry it on, whoever of them may die. Tasks that are accepted later are not meant.", body = OperationView, headers(("Location" = String, description = "Where the operation is read."))),
    )
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let bytes = body::read(&head.headers, body, body::SMALL_BODY).await?;
    let (kind, filter, dry_run) = request::operation(&bytes, &caller.namespace)?;
    caller.require_filter(&filter)?;
    start(&app, &caller, kind, &filter, dry_run).await
}

/// Starts an operation and answers with it.
pub(crate) async fn start(
    app: &App,
    caller: &Caller,
    kind: OperationKind,
    filter: &Filter,
    dry_run: bool,
) -> Result<Response, Problem> {
    let id = app.queue.start_operation(kind, filter, dry_run).await?;
    let location = format!("/v1/operations/{id}");
    let operation = find(app, caller, &id).await?;
    let view = OperationView::of(id, &operation);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(view)).into_response())
}

/// Look at an operation.
#[utoipa::path(
    get, path = "/v1/operations/{id}", operation_id = "get_operation", tag = "operations", params(("id" = String, Path, description = "The operation's id.")),
    responses(
        (status = 200, description = "How far it has come. It is remembered for a day after its end.", body = OperationView),
    )
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<OperationView>, Problem> {
    let operation = find(&app, &caller, &id).await?;
    Ok(Json(OperationView::of(id, &operation)))
}

/// An operation, if there is one for this caller.
pub(crate) async fn find(app: &App, caller: &Caller, id: &str) -> Result<Operation, Problem> {
    let found = app.queue.operation(id).await?;
    found.filter(|found| found.namespace == caller.namespace).ok_or_else(|| {
        let shown: String = id.chars().take(64).collect();
        Problem::of(Code::UnknownOperation, format!("no operation has the id {shown:?}"))
    })
}
