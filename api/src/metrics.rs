//! `/metrics`: the numbers of this server, and those of the cluster as the store tells them, so that one
//! server that is scraped tells of all.
//!
//! The cluster's numbers are of the caller's namespace, as everything else is, and of the queues and jobs
//! that their key is for. They are read from the store once a second at most, however often they are asked
//! for. Every label has a bounded number of values.

mod exposition;
mod server;
mod snapshot;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{extract::State, http::header, response::IntoResponse};
use sentinel_queue::{Namespace, Queue};

pub use self::server::Metrics;
pub(crate) use self::server::{Ending, Refusal};
use self::{exposition::Exposition, snapshot::Snapshot};
use crate::{App, auth::Caller};

/// What `OpenMetrics` text is called.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// For so long what was read is told again.
const FRESH: Duration = Duration::from_secs(1);

/// How long a scrape waits for the store: a server whose store is away has numbers of its own.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was read last of each namespace.
pub(crate) struct Scrapes {
    queue: Queue,
    slots: Mutex<HashMap<Namespace, Slot>>,
}

/// What was read last, and when; none of it if the store was away. Whoever reads holds the lock.
type Slot = Arc<tokio::sync::Mutex<Option<(Instant, Option<Arc<Snapshot>>)>>>;

impl Scrapes {
    pub(crate) fn new(queue: Queue) -> Self {
        Self { queue, slots: Mutex::default() }
    }

    /// The numbers of a namespace; none: the store is away.
    async fn of(&self, namespace: &Namespace) -> Option<Arc<Snapshot>> {
        let slot = self.slot(namespace);
        let mut slot = slot.lock().await;
        if let Some((at, snapshot)) = &*slot
            && at.elapsed() < FRESH
        {
            return snapshot.clone();
        }
        let snapshot = match tokio::time::timeout(PATIENCE, Snapshot::read(&self.queue, namespace)).await {
            Ok(Ok(snapshot)) => Some(Arc::new(snapshot)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "numbers could not be read");
                None
            }
            Err(_) => None,
        };
        *slot = Some((Instant::now(), snapshot.clone()));
        snapshot
    }

    /// Where a namespace's numbers are. Those that nobody has asked for lately are forgotten.
    fn slot(&self, namespace: &Namespace) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| {
            let old =
                slot.try_lock().is_ok_and(|read| read.as_ref().is_none_or(|(at, _)| at.elapsed() > FRESH));
            Arc::strong_count(slot) > 1 || !old
        });
        Arc::clone(slots.entry(namespace.clone()).or_default())
    }
}

/// The numbers of this server and of the cluster, for Prometheus.
///
/// Those of tasks are of one namespace, and of the queues and jobs that the key is for. They are at most a
/// second old, besides what processes have not told yet.
#[utoipa::path(
    get, path = "/metrics", operation_id = "get_metrics", tag = "health",
    responses((status = 200, description = "`OpenMetrics` text.", body = String, content_type = "application/openmetrics-text"))
)]
pub(crate) async fn read(State(app): State<Arc<App>>, caller: Caller) -> impl IntoResponse {
    let snapshot = app.scrapes.of(&caller.namespace).await;
    let exposition = Exposition { snapshot, calls: app.queue.calls(), caller };
    ([(header::CONTENT_TYPE, OPENMETRICS)], exposition.text(&app.config.metrics))
}
