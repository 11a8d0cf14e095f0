//! What the store tells of the cluster at one time.

use sentinel_queue::{
    Namespace, Queue,
    queue::Counts,
    series::{PairPoint, Waiting},
    store::StoreError,
};

use crate::workers::{self, Info};

/// The numbers of one namespace, and all workers.
pub(super) struct Snapshot {
    pub(super) counts: Counts,
    pub(super) waiting: Waiting,
    /// What ever happened, by queue and job.
    pub(super) sums: Vec<PairPoint>,
    /// By instance, what each says of itself.
    pub(super) workers: Vec<(String, Info)>,
}

impl Snapshot {
    pub(super) async fn read(queue: &Queue, namespace: &Namespace) -> Result<Self, StoreError> {
        let (counts, waiting, sums, workers) = tokio::try_join!(
            queue.counts(namespace),
            queue.waiting(namespace),
            queue.sums(namespace),
            queue.workers(),
        )?;
        let workers = workers.into_iter().map(|worker| {
            let info = workers::info(&worker);
            (worker.instance, info)
        });
        Ok(Self { counts, waiting, sums, workers: workers.collect() })
    }
}
