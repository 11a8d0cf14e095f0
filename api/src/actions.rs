//! What operators did: each change is written down before it is made, and how it went afterwards.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json,
    extract::{ConnectInfo, MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sentinel_queue::actions::{ActionInfo, NewAction};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    App,
    auth::Caller,
    layers::RequestId,
    page::Asked,
    problem::Problem,
    query::Query,
    wire::{kind, time},
};

/// What an operator did.
#[derive(Serialize, ToSchema)]
struct ActionView {
    /// Its number: each has a higher one than those before.
    number: u64,
    /// When it was asked for.
    #[schema(value_type = kind::Time)]
    at: String,
    /// The key by which it was asked for; null where none is needed.
    #[schema(value_type = Option<kind::KeyId>, required = true)]
    key_id: Option<String>,
    /// What that is called, or `anybody`.
    who: String,
    /// Whose tasks it was about.
    #[schema(value_type = Option<kind::Namespace>, required = true)]
    namespace: Option<String>,
    /// The method and the route.
    #[schema(example = "POST /v1/queues/{queue}/pause")]
    what: String,
    /// The path, as it was asked for.
    #[schema(example = "/v1/queues/default/pause")]
    target: String,
    /// The request's id, by which the log tells of it.
    request_id: String,
    /// The address that it came from.
    from: String,
    /// The status that was answered; null if the server stopped before it answered.
    #[schema(required = true, minimum = 100, maximum = 599)]
    status: Option<u16>,
}

/// What operators did.
#[derive(Serialize, ToSchema)]
pub(crate) struct ActionList {
    /// The newest first; the newest 10,000 are kept.
    actions: Vec<ActionView>,
    /// Where the list goes on; null at its end.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// List what operators did.
#[utoipa::path(
    get, path = "/v1/actions", operation_id = "list_actions", tag = "keys", params(Asked),
    responses(
        (status = 200, description = "Every request for a change but submits, the newest first; of one namespace, for a key that is bound to it.", body = ActionList),
    )
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(asked): Query<Asked>,
) -> Result<Json<ActionList>, Problem> {
    let limit = asked.limit()?;
    let before = asked
        .cursor
        .as_deref()
        .map(|cursor| cursor.parse().map_err(|_| Problem::field("cursor", &"is none that was given out")));
    let found = app.queue.actions(caller.grant().namespace.as_ref(), before.transpose()?, limit).await?;
    Ok(Json(ActionList {
        actions: found.actions.into_iter().map(view).collect(),
        next_cursor: found.next.map(|next| next.to_string()),
    }))
}

fn view(ActionInfo { number, at, action, status }: ActionInfo) -> ActionView {
    ActionView {
        number,
        at: time(at),
        key_id: action.key.map(|key| key.to_string()),
        who: action.who,
        namespace: action.namespace.map(|namespace| namespace.to_string()),
        what: action.what,
        target: action.target,
        request_id: action.request_id,
        from: action.from,
        status,
    }
}

/// Makes a change that is written down.
pub(crate) async fn recorded(
    app: &App,
    caller: &Caller,
    path: Option<&MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let request_id = request.extensions().get::<RequestId>().map(RequestId::as_str);
    let action = NewAction {
        key: caller.key.as_ref().map(|key| key.id.clone()),
        who: caller.name().to_owned(),
        namespace: Some(caller.namespace.clone()),
        what: format!("{} {}", request.method(), path.map_or("", MatchedPath::as_str)),
        target: request.uri().path().to_owned(),
        request_id: request_id.unwrap_or_default().to_owned(),
        from: peer.map(|ConnectInfo(peer)| peer.ip().to_canonical().to_string()).unwrap_or_default(),
    };
    let number = match app.queue.begin_action(&action).await {
        Ok(number) => number,
        Err(error) => return Problem::from(error).into_response(),
    };
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let NewAction { who, what, target, .. } = action;
    tracing::info!(action = number, who, what, target, status, "an operator did something");
    if let Err(error) = app.queue.end_action(number, status).await {
        tracing::warn!(action = number, status, %error, "how it went could not be written down");
    }
    response
}
