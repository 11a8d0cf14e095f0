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
mod spans;
mod strict;
mod summary;
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
    time::{Duration, SystemTime},
};

use sentinel_queue::{
    JobName, Queue,
    lease::{Instance, Order, Served},
    series::{observe_for_ever, observe_last},
    steer::Retention,
    sweeper::sweep_for_ever,
};
use sentinel_trace::Traces;
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
    /// Who is told of attempts as they end.
    pub traces: Traces,
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
    leases_lost: AtomicU64,
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
            leases_lost: AtomicU64::new(0),
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
        let observing = tokio::spawn(observe_for_ever(shared.queue.clone()));
        Turns::new(Arc::clone(shared)).run(shutdown).await;
        observing.abort();
        observe_last(&shared.queue).await;
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

    fn count_lost(&self, leases: usize) {
        self.leases_lost.fetch_add(leases as u64, Ordering::Relaxed);
    }

    /// Whether the worker was told to stop.
    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// Does what the store tells this worker, until it is dropped.
async fn obey(shared: Arc<Shared>) {
    let mut orders = shared.queue.orders(&shared.instance);
    loop {
        let Order::Cancel(id, token) = orders.next().await;
        shared.leases.cancel(id, &token);
    }
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
