//! Is the server there, and can it be used?

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{App, problem::Problem, wire::kind};

/// The server is there.
#[derive(Serialize, ToSchema)]
pub(crate) struct Alive {
    /// `ok`.
    #[schema(value_type = kind::Health)]
    status: &'static str,
}

/// The server can be used.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ready {
    /// `ok`.
    #[schema(value_type = kind::Health)]
    status: &'static str,
    /// What an accepted task survives.
    #[schema(value_type = kind::Durability)]
    durability: &'static str,
}

/// Is the process there?
#[utoipa::path(get, path = "/healthz", operation_id = "get_health", tag = "health", responses((status = 200, description = "It is.", body = Alive)))]
pub(crate) async fn alive() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// Can it be used: does the store take writes, and may it hold tasks?
#[utoipa::path(
    get, path = "/readyz", operation_id = "get_readiness", tag = "health",
    responses(
        (status = 200, description = "It can.", body = Ready),
    )
)]
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Result<Json<Ready>, Problem> {
    let durability = app.queue.check().await?;
    app.queue.probe().await?;
    Ok(Json(Ready { status: "ok", durability: durability.as_str() }))
}
