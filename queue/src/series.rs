//! What happened, in numbers: how many tasks were accepted and ended, how, and how long that took, by
//! queue and job; in spans of time for charts, and summed for Prometheus.
//!
//! Numbers live in the store, so that they are the same from every server and survive a restart.

mod histogram;

use std::{collections::BTreeMap, time::Duration};

pub use self::histogram::{BOUNDS_US, Histogram};
use crate::{
    names::{Millis, Namespace},
    queue::Queue,
    state::ErrorKind,
    store::StoreError,
};

/// What is told apart in time.
pub const SPAN: Duration = Duration::from_secs(30);

/// How far back spans are kept.
pub const KEPT: Duration = Duration::from_hours(2);

/// The queue and the job under which all pairs are counted that are too many.
pub const OTHER: &str = "other";

/// What happened in one span, to one namespace's tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// When the span began.
    pub at: Millis,
    /// By queue and job, in that order.
    pub pairs: Vec<PairPoint>,
}

/// What happened to the tasks of one job in one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairPoint {
    /// Their queue, or [`OTHER`].
    pub queue: String,
    /// Their job, or [`OTHER`].
    pub job: String,
    /// Accepted.
    pub submitted: u64,
    /// Ended as COMPLETED.
    pub completed: u64,
    /// Ended as CANCELLED.
    pub cancelled: u64,
    /// Ended as FAILED, by why.
    pub failed: BTreeMap<ErrorKind, u64>,
    /// Attempts that failed and are followed by another.
    pub retried: BTreeMap<ErrorKind, u64>,
    /// The CPU time of attempts, in milliseconds.
    pub cpu_ms: u64,
    /// The most memory that any attempt had.
    pub peak_memory_bytes: u64,
    /// From when tasks could start until they did, by attempt that ended.
    pub wait: Histogram,
    /// How long attempts took.
    pub run: Histogram,
    /// From when tasks were accepted until they ended for good.
    pub end_to_end: Histogram,
}

impl Queue {
    /// What happened in a namespace in this last while, at most [`KEPT`], oldest first; spans in which
    /// nothing happened are left out.
    pub async fn series(&self, namespace: &Namespace, span: Duration) -> Result<Vec<Point>, StoreError> {
        unimplemented!("{namespace} {span:?}")
    }
}
