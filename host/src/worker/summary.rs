//! What a worker says of itself with each renewal; the API reads it, of any version.

use std::{
    num::NonZeroU32,
    sync::atomic::Ordering,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use sentinel_queue::lease::Served;
use serde::Serialize;

use super::{
    Shared, hostname,
    plugins::{Admissions, Job, Refusal},
};
use crate::engine::PoolUse;

/// A worker as it is listed.
#[derive(Serialize)]
struct WorkerSummary<'a> {
    version: &'a str,
    hostname: String,
    pid: u32,
    started_at_ms: u128,
    slots: NonZeroU32,
    busy: usize,
    /// What guests may have in all, and what those that run may grow to.
    memory_bytes: u64,
    memory_reserved_bytes: u64,
    /// Guests that were stopped since their lease was lost or could not be renewed.
    leases_lost: u64,
    admissions: Admissions,
    pool: Option<PoolUse>,
    store: StoreSummary,
    /// Empty: all there are.
    queues: Vec<String>,
    jobs: Vec<JobSummary<'a>>,
    refused: &'a [Refusal],
}

/// The calls of the store, as this worker sees them.
#[derive(Serialize)]
struct StoreSummary {
    answered: u64,
    failed: u64,
    sum_us: u128,
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

impl Shared {
    /// What the worker says of itself with each renewal.
    pub(super) fn info(&self) -> Bytes {
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
        let busy = self.leases.count();
        let info = WorkerSummary {
            version: env!("CARGO_PKG_VERSION"),
            hostname: hostname(),
            pid: std::process::id(),
            started_at_ms: millis(self.started_at),
            slots: self.config.slots,
            busy,
            memory_bytes: self.config.memory_bytes,
            memory_reserved_bytes: self.memory.reserved(busy),
            leases_lost: self.leases_lost.load(Ordering::Relaxed),
            admissions: plugins.admissions,
            pool: self.plugins.pool(),
            store: self.store_summary(),
            queues,
            jobs: jobs.collect(),
            refused: plugins.refused(),
        };
        Bytes::from(serde_json::to_vec(&info).expect("plain data becomes JSON"))
    }

    fn store_summary(&self) -> StoreSummary {
        let calls = self.queue.calls();
        StoreSummary {
            answered: calls.iter().map(|calls| calls.answered).sum(),
            failed: calls.iter().map(|calls| calls.failed).sum(),
            sum_us: calls.iter().map(|calls| calls.sum.as_micros()).sum(),
        }
    }
}

fn millis(at: SystemTime) -> u128 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}
