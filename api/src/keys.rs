//! Keys: make, list, look, revoke.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use sentinel_queue::{
    Millis, Namespace,
    keys::{ApiKey, KeyId, KeyInfo},
    request::{self, NewKey},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    App,
    auth::Caller,
    body,
    page::{Asked, Page},
    problem::{Code, Problem},
    segment::Segment,
    wire::{KeyView, kind},
};

/// A key that was just made.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeKey {
    /// The key itself, which is told this once: the server keeps a hash of it.
    #[schema(example = "sentinel_4f1d09a3c2b7_…")]
    key: String,
    #[serde(flatten)]
    view: KeyView,
}

/// All keys.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyList {
    /// By id; the last thousand that were revoked among them.
    keys: Vec<KeyView>,
    /// Where the list goes on; null at its end.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// Make a key.
///
/// A key that is bound to a namespace makes keys for that alone, and none makes a key that may do more
/// than itself.
#[utoipa::path(
    post, path = "/v1/keys", operation_id = "create_key", tag = "keys", request_body = crate::wire::NewKey,
    responses(
        (status = 201, description = "The key.", body = MadeKey, headers(("Location" = String, description = "Where it is looked at."))),
    )
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let bytes = body::read(&head.headers, body, body::SMALL_BODY).await?;
    let NewKey { name, mut grant, expires_at } = request::new_key(&bytes)?;
    match (&caller.grant().namespace, &grant.namespace) {
        (Some(bound), None) => grant.namespace = Some(bound.clone()),
        (Some(bound), Some(other)) if bound != other => {
            let detail = format!("this key makes keys for the namespace {bound} alone");
            return Err(Problem::of(Code::Forbidden, detail).about("/namespace"));
        }
        _ => {}
    }
    caller.require_within(&grant)?;
    let key = ApiKey::generate();
    let mut info = KeyInfo {
        id: key.id().clone(),
        name,
        hash: key.hash(),
        grant,
        created_at: Millis::default(),
        expires_at,
        revoked_at: None,
    };
    info.created_at = app.queue.add_key(&info).await?.ok_or_else(|| {
        Problem::of(Code::TooManyKeys, "there are 10,000 keys: revoke those that nobody uses")
    })?;
    app.keyring.refresh().await?;
    let location = format!("/v1/keys/{}", info.id);
    let made = MadeKey { key: key.expose().to_owned(), view: info.into() };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(made)).into_response())
}

/// List the keys.
#[utoipa::path(
    get, path = "/v1/keys", operation_id = "list_keys", tag = "keys", params(Asked),
    responses(
        (status = 200, description = "The keys, without what is secret of them.", body = KeyList),
    )
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    page: Page,
) -> Result<Json<KeyList>, Problem> {
    let keys = app.queue.keys(None).await?.keys.unwrap_or_default();
    let keys = keys.into_iter().filter(|key| is_theirs(&caller, key)).map(KeyView::from).collect();
    let (keys, next_cursor) = page.of(keys, |key| &key.key_id);
    Ok(Json(KeyList { keys, next_cursor }))
}

/// Look at a key.
#[utoipa::path(
    get, path = "/v1/keys/{id}", operation_id = "get_key", tag = "keys", params(("id" = kind::KeyId, Path, description = "The key's id.")),
    responses(
        (status = 200, description = "The key, without what is secret of it.", body = KeyView),
    )
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<KeyView>, Problem> {
    find(&app, &caller, &id).await.map(|key| Json(key.into()))
}

/// Revoke a key: within a second no server takes it any more.
#[utoipa::path(
    delete, path = "/v1/keys/{id}", operation_id = "revoke_key", tag = "keys", params(("id" = kind::KeyId, Path, description = "The key's id.")),
    responses(
        (status = 200, description = "The key, revoked; also if it was before.", body = KeyView),
    )
)]
pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(id): Segment,
) -> Result<Json<KeyView>, Problem> {
    let mut key = find(&app, &caller, &id).await?;
    key.revoked_at = app.queue.revoke_key(&key.id).await?;
    app.keyring.refresh().await?;
    Ok(Json(key.into()))
}

async fn find(app: &App, caller: &Caller, id: &str) -> Result<KeyInfo, Problem> {
    let wanted = id.parse::<KeyId>().ok();
    let keys = app.queue.keys(None).await?.keys.unwrap_or_default();
    let found = keys.into_iter().find(|key| Some(&key.id) == wanted.as_ref() && is_theirs(caller, key));
    found.ok_or_else(|| {
        let shown: String = id.chars().take(64).collect();
        Problem::of(Code::UnknownKey, format!("no key has the id {shown:?}"))
    })
}

/// Whether a key is one for them to see: whoever is bound to a namespace sees that one's.
fn is_theirs(caller: &Caller, key: &KeyInfo) -> bool {
    let bound: Option<&Namespace> = caller.grant().namespace.as_ref();
    bound.is_none_or(|bound| key.grant.namespace.as_ref() == Some(bound))
}
