//! Sentinel's HTTP API: what clients, operators and browsers talk to.
//!
//! It knows the queue and HTTP; it runs no WebAssembly and knows no worker but by what the store
//! says of it. Wire types live in `wire.rs` and are converted; errors become
//! `application/problem+json` in `problem.rs`.

#![forbid(unsafe_code)]

mod advertised;
mod body;
mod ends;
mod events;
mod health;
mod host;
mod jobs;
mod layers;
mod metrics;
mod openapi;
mod operations;
mod origin;
mod page;
mod problem;
mod queues;
mod schedules;
mod segment;
mod server;
mod steer;
mod tasks;
mod tls;
mod watch;
mod wire;
mod workers;

use std::sync::Arc;

use axum::{Router, middleware, response::Redirect, routing::get};
use sentinel_queue::{Namespace, Queue};
use tokio::sync::Semaphore;
use utoipa_swagger_ui::SwaggerUi;

use self::{advertised::Advertised, ends::Ends, events::LISTENERS, problem::Problem, watch::Watchers};
pub use self::{
    metrics::Metrics,
    origin::{NoOrigin, Origin},
    problem::Code,
    server::{Limits, Server, serve},
    tls::{Tls, TlsError},
};

/// How the API answers.
#[derive(Clone, Debug, Default)]
pub struct ApiConfig {
    /// Names by which it may be called, besides those of this machine's loopback.
    pub allowed_hosts: Vec<String>,
    /// Origins whose pages may call it, besides its own.
    pub allowed_origins: Vec<Origin>,
    /// Whether it is reached by TLS alone.
    pub has_tls: bool,
    /// What it counts.
    pub metrics: Metrics,
}

/// What all handlers share.
struct App {
    queue: Queue,
    config: ApiConfig,
    /// Whose tasks these are, until there are tenants.
    namespace: Namespace,
    advertised: Advertised,
    watchers: Watchers,
    ends: Ends,
    /// Places for clients that listen.
    listeners: Arc<Semaphore>,
}

/// The whole API over a queue.
pub fn router(queue: Queue, config: ApiConfig) -> Router {
    let advertised = Advertised::new(queue.clone());
    let watchers = Watchers::new(queue.clone());
    let listeners = Arc::new(Semaphore::new(LISTENERS));
    let namespace = Namespace::default();
    let ends = Ends::new(queue.clone(), namespace.clone());
    let app =
        Arc::new(App { queue, config: config.clone(), namespace, advertised, watchers, ends, listeners });
    let (routes, document) = openapi::routes().split_for_parts();
    let routes = routes
        .merge(SwaggerUi::new("/docs").url("/openapi.json", document))
        .route("/", get(|| async { Redirect::temporary("/docs") }))
        .fallback(|| async { Problem::of(Code::NotFound, "there is nothing at this address: see /docs") })
        .method_not_allowed_fallback(|| async {
            Problem::of(Code::MethodNotAllowed, "this address does not take this method: see /docs")
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&app), host::check))
        .with_state(app);
    layers::around(routes, &config)
}
