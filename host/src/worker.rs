//! The worker: claims tasks, runs them in the engine, settles them. The only place where the queue
//! and the engine meet.
//!
//! Two runtimes: the caller's is *control* (claims, renewals, settlements, deadlines); *guests* has
//! one thread per core and runs nothing but guests, so that none of them can hold up a renewal.

mod admit;
mod apart;
mod asked;
mod attempt;
mod bounds;
mod durable;
mod grants;
mod heartbeat;
mod leases;
mod library;
mod manifest;
mod memory;
mod parents;
mod plugins;
mod publish;
mod settle;
mod strict;
mod terms;
mod turns;
mod watcher;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::{NonZeroU32, NonZeroUsize},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use sentinel_queue::{
    JobName, Queue,
    lease::{Instance, Order, Served},
    steer::Retention,
    sweeper::sweep_for_ever,
};
use serde::Serialize;
use tokio::runtime::Runtime;

use self::{leases::Leases, turns::Turns};
use crate::{engine::Deadlines, guests};

pub use self::{
    admit::{Admitter, Refused},
    apart::Apart,
    asked::AskedLimits,
    bounds::AdmissionBounds,
    durable::new_child,
    grants::{Grant, GrantTable, Granted},
    library::{Library, plugins_in},
    manifest::Manifest,
    memory::{MemoryBudget, SLOT_RESERVE, default_slots, detect_budget},
    plugins::{Job, Plugins, Refusal},
    strict::Wrong,
};

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// How many attempts run at once.
    pub slots: NonZeroU32,
    /// How much memory their guests may have in all, in bytes.
    pub memory_bytes: u64,
    /// Which queues it serves.
    pub served: Served,
    /// How long it lets attempts finish when it is told to stop.
    pub grace: Duration,
    /// What is kept of finished tasks.
    pub retention: Retention,
    /// How the process is started that makes a dangerous attempt.
    pub apart: Apart,
    /// Which jobs a job may submit, besides itself.
    pub submits: BTreeMap<JobName, BTreeSet<JobName>>,
}

impl WorkerConfig {
    fn may_submit(&self, job: &JobName) -> BTreeSet<JobName> {
        self.submits.get(job).cloned().unwrap_or_default()
    }
}

/// A worker that has not started yet.
pub struct Worker {
    shared: Arc<Shared>,
    guests: Runtime,
}

/// What the worker's parts share.
struct Shared {
    queue: Queue,
    instance: Instance,
    config: WorkerConfig,
    plugins: Library,
    memory: Arc<MemoryBudget>,
    leases: Leases,
    deadlines: Deadlines,
    guests: tokio::runtime::Handle,
    lease_ms: AtomicU64,
    draining: AtomicBool,
    started_at: SystemTime,
}

impl Worker {
    /// A worker over a queue, with the plugins it can run; an error if its slots do not fit in its
    /// memory. How much a slot reserves depends on the plugins that are there now. Called on the
    /// control runtime.
    pub fn new(queue: Queue, plugins: Library, config: WorkerConfig) -> std::io::Result<Self> {
        let now = plugins.current();
        let limits = now.iter().map(|job| job.plugin.limits().memory_bytes);
        let memory = Arc::new(MemoryBudget::new(config.memory_bytes, config.slots, limits));
        if let Some(fit) = memory.too_many(config.memory_bytes, config.slots) {
            return Err(std::io::Error::other(format!(
                "concurrency: {} guests do not fit in the {} MiB that this machine has for them: give at most {fit}",
                config.slots,
                config.memory_bytes >> 20
            )));
        }
        plugins.keep_within(Arc::clone(&memory));
        let guests = guests::runtime(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))?;
        let shared = Shared {
            queue,
            instance: Instance::random(&hostname()),
            config,
            plugins,
            memory,
            leases: Leases::default(),
            deadlines: Deadlines::start(&tokio::runtime::Handle::current()),
            guests: guests.handle().clone(),
            // Until the store has said it.
            lease_ms: AtomicU64::new(10_000),
            draining: AtomicBool::new(false),
            started_at: SystemTime::now(),
        };
        Ok(Self { shared: Arc::new(shared), guests })
    }

    /// Its name in the store.
    pub fn instance(&self) -> &str {
        self.shared.instance.as_str()
    }

    /// Tells at any time how many attempts hold a lease.
    pub fn busy(&self) -> impl Fn() -> usize + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || shared.leases.count()
    }

    /// Works until `shutdown` ends, then drains: running attempts may finish within the grace
    /// period, the rest is given back unharmed.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let shared = &self.shared;
        tracing::info!(
            worker = shared.instance.as_str(),
            slots = shared.config.slots,
            jobs = shared.plugins.current().iter().count(),
            "worker started"
        );
        let beating = tokio::spawn(heartbeat::beat(Arc::clone(shared)));
        let obeying = tokio::spawn(obey(Arc::clone(shared)));
        let publishing = tokio::spawn(publish::publish(Arc::clone(shared)));
        let sweeping = tokio::spawn(sweep_for_ever(shared.queue.clone(), shared.config.retention));
        Turns::new(Arc::clone(shared)).run(shutdown).await;
        beating.abort();
        obeying.abort();
        publishing.abort();
        sweeping.abort();
        tracing::info!(worker = shared.instance.as_str(), "worker stopped");
        self.guests.shutdown_background();
    }
}

impl Shared {
    /// How long leases last.
    fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms.load(Ordering::Relaxed))
    }

    fn set_lease(&self, lease: Duration) {
        let millis = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        self.lease_ms.store(millis.max(1), Ordering::Relaxed);
    }

    /// Whether the worker was told to stop.
    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// What the worker says of itself with each renewal.
    fn info(&self) -> Bytes {
        let queues = match &self.config.served {
            Served::All => Vec::new(),
            Served::Only(queues) => queues.iter().map(|(_, queue, _)| queue.to_string()).collect(),
        };
        let plugins = self.plugins.current();
        let jobs = plugins.iter().map(|Job { plugin, admitted_at, .. }| JobSummary {
            name: plugin.name().as_str(),
            digest: plugin.digest().to_string(),
            admitted_at_ms: millis(*admitted_at),
            limits: LimitsSummary {
                timeout_ms: plugin.limits().wall.as_millis(),
                memory_bytes: plugin.limits().memory_bytes,
            },
            withheld: &plugin.grants().withheld,
        });
        let info = WorkerSummary {
            version: env!("CARGO_PKG_VERSION"),
            hostname: hostname(),
            pid: std::process::id(),
            started_at_ms: millis(self.started_at),
            slots: self.config.slots,
            busy: self.leases.count(),
            queues,
            jobs: jobs.collect(),
            refused: plugins.refused(),
        };
        Bytes::from(serde_json::to_vec(&info).expect("plain data becomes JSON"))
    }
}

/// A worker as it is listed; the API reads it.
#[derive(Serialize)]
struct WorkerSummary<'a> {
    version: &'a str,
    hostname: String,
    pid: u32,
    started_at_ms: u128,
    slots: NonZeroU32,
    busy: usize,
    /// Empty: all there are.
    queues: Vec<String>,
    jobs: Vec<JobSummary<'a>>,
    refused: &'a [Refusal],
}

#[derive(Serialize)]
struct JobSummary<'a> {
    name: &'a str,
    digest: String,
    admitted_at_ms: u128,
    limits: LimitsSummary,
    withheld: &'a [String],
}

#[derive(Serialize)]
struct LimitsSummary {
    timeout_ms: u128,
    memory_bytes: usize,
}

fn millis(at: SystemTime) -> u128 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

/// Does what the store tells this worker, until it is dropped.
async fn obey(shared: Arc<Shared>) {
    let mut orders = shared.queue.orders(&shared.instance);
    loop {
        let Order::Cancel(id, token) = orders.next().await;
        tracing::info!(task = %id, "cancelled: its guest is stopped");
        shared.leases.cancel(id, &token);
    }
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
