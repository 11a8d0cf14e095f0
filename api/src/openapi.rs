//! The `OpenAPI` document and the routes, which are one declaration.

use std::sync::Arc;

use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    App, events, health, jobs, metrics, operations, problem::Code, queues, schedules, steer, tasks, workers,
};

/// What the document says besides its routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sentinel",
        description = "Runs tasks as sandboxed WebAssembly components. Errors are \
                       `application/problem+json` with a stable `code`.",
    ),
    components(schemas(Code))
)]
struct Document;

/// All routes that are documented.
pub(crate) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(tasks::submit))
        .routes(routes!(tasks::stats))
        .routes(routes!(tasks::create, tasks::list))
        .routes(routes!(tasks::batch))
        .routes(routes!(tasks::get))
        .routes(routes!(tasks::result))
        .routes(routes!(tasks::logs))
        .routes(routes!(events::task))
        .routes(routes!(events::ends))
        .routes(routes!(steer::cancel))
        .routes(routes!(steer::redrive))
        .routes(routes!(steer::reschedule))
        .routes(routes!(operations::create))
        .routes(routes!(operations::get))
        .routes(routes!(queues::list))
        .routes(routes!(queues::get, queues::set))
        .routes(routes!(queues::purge))
        .routes(routes!(queues::pause))
        .routes(routes!(queues::resume))
        .routes(routes!(schedules::list))
        .routes(routes!(schedules::get, schedules::set, schedules::delete))
        .routes(routes!(schedules::pause))
        .routes(routes!(schedules::resume))
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::get))
        .routes(routes!(workers::list))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::read))
}
