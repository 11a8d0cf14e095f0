//! Workers: what each says of itself with every renewal.

use std::sync::Arc;

use axum::{Json, extract::State};
use sentinel_queue::{Millis, queue::WorkerInfo};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    App,
    auth::Caller,
    page::{Asked, Page},
    problem::Problem,
    wire::{kind, time},
};

/// What a worker says of itself. All of it may be missing: a worker may be of another version.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Info {
    pub(crate) version: Option<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) pid: Option<u32>,
    pub(crate) started_at_ms: Option<u64>,
    pub(crate) slots: Option<u64>,
    pub(crate) busy: Option<u64>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) memory_reserved_bytes: Option<u64>,
    pub(crate) leases_lost: Option<u64>,
    pub(crate) admissions: Option<Admissions>,
    pub(crate) pool: Option<PoolUse>,
    pub(crate) store: Option<StoreCalls>,
    pub(crate) queues: Vec<String>,
    pub(crate) jobs: Vec<JobInfo>,
    pub(crate) refused: Vec<Refusal>,
}

/// What became of plugins since a worker started.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Admissions {
    pub(crate) compiled: u64,
    pub(crate) cached: u64,
    pub(crate) refused: u64,
}

/// How much of a worker's pool of instances is in use.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PoolUse {
    pub(crate) components: u64,
    pub(crate) memories: u64,
    pub(crate) warm_memories: u64,
}

/// A worker's calls of the store since it started.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StoreCalls {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) sum_us: u64,
}

/// What a worker says of a job that it runs.
#[derive(Clone, Deserialize)]
pub(crate) struct JobInfo {
    pub(crate) name: String,
    pub(crate) digest: String,
    admitted_at_ms: Option<u64>,
    #[serde(default)]
    pub(crate) limits: JobLimits,
    /// What its manifest asks for and it does not get.
    #[serde(default)]
    pub(crate) withheld: Vec<String>,
}

/// A job that a worker runs.
#[derive(Serialize, ToSchema)]
struct WorkerJob {
    /// Its name.
    #[schema(value_type = kind::JobName)]
    name: String,
    /// SHA-256 of the plugin.
    #[schema(value_type = kind::Digest)]
    digest: String,
    /// Since when the worker runs this plugin, by the worker's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<kind::Time>)]
    admitted_at: Option<String>,
    /// What an attempt may use.
    limits: JobLimits,
    /// What its manifest asks for and this worker does not grant.
    withheld: Vec<String>,
}

/// What an attempt may use.
#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct JobLimits {
    /// Time, unless the task says another, in milliseconds.
    pub(crate) timeout_ms: u64,
    /// Linear memory, summed.
    pub(crate) memory_bytes: u64,
}

/// A plugin that a worker does not run.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Refusal {
    /// The file.
    pub(crate) file: String,
    /// Why, and what to do.
    pub(crate) reason: String,
}

/// A worker that is alive.
#[derive(Serialize, ToSchema)]
struct WorkerView {
    /// Its name: new with every process.
    instance: String,
    /// Its last sign of life.
    #[schema(value_type = kind::Time)]
    last_seen_at: String,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Its machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    /// Its process on that machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    /// Since when it runs, by its own clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<kind::Time>)]
    started_at: Option<String>,
    /// How many attempts it runs at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    slots: Option<u64>,
    /// How many it runs now.
    #[serde(skip_serializing_if = "Option::is_none")]
    busy: Option<u64>,
    /// The queues it serves; empty: all there are.
    #[schema(value_type = Vec<kind::QueueName>)]
    queues: Vec<String>,
    /// The jobs it runs.
    jobs: Vec<WorkerJob>,
    /// The plugins it does not run.
    refused: Vec<Refusal>,
}

/// All workers that are alive.
#[derive(Serialize, ToSchema)]
pub(crate) struct WorkerList {
    /// By name.
    workers: Vec<WorkerView>,
    /// Where the list goes on; null at its end.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// List the workers that gave a sign of life within three leases.
#[utoipa::path(
    get, path = "/v1/workers", operation_id = "list_workers", tag = "workers", params(Asked),
    responses(
        (status = 200, description = "The workers.", body = WorkerList),
    )
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    page: Page,
) -> Result<Json<WorkerList>, Problem> {
    let workers = app.queue.workers().await?.into_iter().map(|worker| view(worker, &caller)).collect();
    let (workers, next_cursor) = page.of(workers, |worker: &WorkerView| &worker.instance);
    Ok(Json(WorkerList { workers, next_cursor }))
}

pub(crate) fn info(worker: &WorkerInfo) -> Info {
    serde_json::from_slice(&worker.info).unwrap_or_default()
}

/// A worker; of its jobs, those that the caller's key is for.
fn view(worker: WorkerInfo, caller: &Caller) -> WorkerView {
    let mut info = info(&worker);
    info.jobs.retain(|job| caller.is_for(&job.name));
    if caller.grant().jobs.is_some() {
        info.refused.clear();
    }
    WorkerView {
        instance: worker.instance,
        last_seen_at: time(worker.seen_at),
        version: info.version,
        hostname: info.hostname,
        pid: info.pid,
        started_at: info.started_at_ms.map(|at| time(Millis(at))),
        slots: info.slots,
        busy: info.busy,
        queues: info.queues,
        jobs: info.jobs.into_iter().map(job).collect(),
        refused: info.refused,
    }
}

fn job(JobInfo { name, digest, admitted_at_ms, limits, withheld }: JobInfo) -> WorkerJob {
    WorkerJob { name, digest, admitted_at: admitted_at_ms.map(|at| time(Millis(at))), limits, withheld }
}
