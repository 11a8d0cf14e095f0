//! Sentinel's HTTP API: what clients, operators and browsers talk to.
//!
//! It knows the queue and HTTP; it runs no WebAssembly and knows no worker but by what the store
//! says of it. Wire types live in `wire.rs` and are converted; errors become
//! `application/problem+json` in `problem.rs`.

#![forbid(unsafe_code)]

mod actions;
mod advertised;
mod auth;
mod body;
mod dashboard;
mod ends;
mod events;
mod health;
mod host;
mod jobs;
mod keys;
mod layers;
mod metrics;
mod openapi;
mod operations;
mod origin;
mod page;
mod problem;
mod query;
mod queues;
mod routes;
mod schedules;
mod segment;
mod server;
mod spans;
mod steer;
mod tasks;
mod tls;
mod watch;
mod wire;
mod workers;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, middleware};
use sentinel_queue::{Namespace, Queue};
use sentinel_trace::Traces;
use tokio::sync::Semaphore;

use self::{
    advertised::Advertised, auth::Keyring, ends::Ends, events::LISTENERS, metrics::Scrapes, problem::Problem,
    routes::Needs, watch::Watchers,
};
pub use self::{
    auth::Auth,
    metrics::Metrics,
    origin::{NoOrigin, Origin},
    problem::Code,
    server::{Limits, Server, serve},
    tls::{Tls, TlsError},
};

/// How the API answers.
#[derive(Clone, Debug, Default)]
pub struct ApiConfig {
    /// Who may call it.
    pub auth: Auth,
    /// Names by which it may be called, besides those of this machine's loopback.
    pub allowed_hosts: Vec<String>,
    /// Origins whose pages may call it, besides its own.
    pub allowed_origins: Vec<Origin>,
    /// Whether it is reached by TLS alone.
    pub has_tls: bool,
    /// What it counts.
    pub metrics: Metrics,
    /// Who is told of requests that submit tasks.
    pub traces: Traces,
}

/// What all handlers share.
struct App {
    queue: Queue,
    config: ApiConfig,
    needs: Needs,
    keyring: Keyring,
    advertised: Advertised,
    watchers: Watchers,
    ends: Mutex<HashMap<Namespace, Ends>>,
    scrapes: Scrapes,
    hours: dashboard::Hours,
    /// Places for clients that listen.
    listeners: Arc<Semaphore>,
}

impl App {
    fn new(queue: Queue, config: ApiConfig, needs: Needs) -> Self {
        Self {
            keyring: Keyring::new(queue.clone(), config.auth),
            advertised: Advertised::new(queue.clone()),
            watchers: Watchers::new(queue.clone()),
            ends: Mutex::default(),
            scrapes: Scrapes::new(queue.clone()),
            hours: dashboard::Hours::default(),
            listeners: Arc::new(Semaphore::new(LISTENERS)),
            queue,
            config,
            needs,
        }
    }

    /// The ends of the tasks of a namespace. Those of whom nobody hears are forgotten.
    fn ends(&self, namespace: &Namespace) -> Ends {
        let mut all = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known, ends| known == namespace || ends.are_heard());
        all.entry(namespace.clone())
            .or_insert_with(|| Ends::new(self.queue.clone(), namespace.clone()))
            .clone()
    }
}

/// The whole API over a queue.
pub fn router(queue: Queue, config: ApiConfig) -> Router {
    let (routes, needs, _document) = routes::table();
    let app = Arc::new(App::new(queue, config, needs));
    let routes = routes
        .fallback(|| async { Problem::of(Code::NotFound, "there is nothing at this address: see /docs") })
        .method_not_allowed_fallback(|| async {
            Problem::of(Code::MethodNotAllowed, "this address does not take this method: see /docs")
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&app), auth::check))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), host::check))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), dashboard::as_pages))
        .with_state(Arc::clone(&app));
    layers::around(routes, &app.config)
}
