//! The cluster's numbers as Prometheus reads them: their names, labels and units. docs/metrics.md tells of
//! each; a test holds the two together.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, MetricEncoder, NoLabelSet,
        text,
    },
    metrics::MetricType,
    registry::Registry,
};
use sentinel_queue::{
    Status,
    calls::{self, Calls},
    series::{Histogram, PairPoint, WaitingQueue},
};

use super::{Metrics, Snapshot};
use crate::{auth::Caller, workers::Info};

/// Everything that one scrape answers besides the server's own numbers.
pub(super) struct Exposition {
    pub(super) snapshot: Option<Arc<Snapshot>>,
    pub(super) calls: Vec<Calls>,
    pub(super) caller: Caller,
}

impl Exposition {
    /// All of it, and the server's own, as `OpenMetrics` text.
    pub(super) fn text(self, server: &Metrics) -> String {
        let mut cluster = Registry::with_prefix("sentinel");
        cluster.register_collector(Box::new(self));
        let mut text = String::new();
        text::encode_registry(&mut text, server.registry())
            .and_then(|()| text::encode_registry(&mut text, &cluster))
            .and_then(|()| text::encode_eof(&mut text))
            .expect("a string takes all");
        text
    }

    /// The pairs of queue and job that the caller's key is for.
    fn pairs<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a PairPoint> + Clone {
        let grant = self.caller.grant();
        snapshot.sums.iter().filter(|pair| match (pair.job.parse(), pair.queue.parse()) {
            (Ok(job), Ok(queue)) => grant.covers(&job, &queue),
            _ => false,
        })
    }

    /// The queues that the caller's key is for.
    fn queues<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a WaitingQueue> + Clone {
        let own = |queue: &&WaitingQueue| self.caller.require_queue(&queue.queue).is_ok();
        snapshot.waiting.queues.iter().filter(own)
    }

    fn tasks(&self, out: &mut Out<'_>, snapshot: &Snapshot) -> fmt::Result {
        let namespace = self.caller.namespace.as_str();
        let states = Status::ALL.iter().map(|status| {
            ([("namespace", namespace), ("state", status.as_str())], snapshot.counts.of(*status))
        });
        out.gauges("tasks", "Tasks that are held now, by state.", states)?;
        let lost = [([("namespace", namespace)], snapshot.counts.ever("lost"))];
        out.counters(
            "leases_lost",
            "Leases that ended because their worker stopped renewing them.",
            lost.into_iter(),
        )
    }

    fn waiting(&self, out: &mut Out<'_>, snapshot: &Snapshot) -> fmt::Result {
        let namespace = self.caller.namespace.as_str();
        let queues = self.queues(snapshot);
        let labels = |queue: &'_ WaitingQueue| {
            [("namespace", namespace.to_owned()), ("queue", queue.queue.to_string())]
        };
        let depth = queues.clone().map(|queue| (labels(queue), queue.depth));
        out.gauges("queue_depth", "Tasks that are ready in a queue, parked ones included.", depth)?;
        let parked = queues.clone().map(|queue| (labels(queue), queue.parked));
        out.gauges("queue_parked", "Ready tasks that wait for their concurrency key.", parked)?;
        let paused = queues.clone().map(|queue| (labels(queue), u64::from(queue.paused)));
        out.gauges("queue_paused", "1 while a queue hands out nothing.", paused)?;
        let oldest = queues.map(|queue| (labels(queue), queue.oldest.map_or(0.0, |age| age.as_secs_f64())));
        out.gauges(
            "queue_oldest_waiting_seconds",
            "How long the oldest task that is ready in a queue has been; 0 if there is none.",
            oldest,
        )?;
        let elsewhere = self.caller.grant().queues.is_none().then_some(snapshot.waiting.elsewhere);
        out.gauges(
            "queue_depth_elsewhere",
            "Tasks that are ready in queues that are not listed one by one, since there are many.",
            elsewhere.into_iter().map(|depth| ([("namespace", namespace)], depth)),
        )
    }

    fn happened(&self, out: &mut Out<'_>, snapshot: &Snapshot) -> fmt::Result {
        let pairs = self.pairs(snapshot);
        let labels = |pair| self.labels(pair);
        let submitted = pairs.clone().map(|pair| (labels(pair), pair.submitted));
        out.counters("tasks_submitted", "Tasks that were accepted.", submitted)?;
        let ended = pairs.clone().flat_map(|pair| {
            let plain = [(Status::Completed, pair.completed), (Status::Cancelled, pair.cancelled)];
            let plain = plain.into_iter().map(|(status, count)| (status, "", count));
            let failed = pair.failed.iter().map(|(kind, count)| (Status::Failed, kind.as_str(), *count));
            plain.chain(failed).map(move |(status, error, count)| {
                ((labels(pair), [("outcome", status.as_str()), ("error", error)]), count)
            })
        });
        out.counters("tasks_ended", "Tasks that ended, by how, and if they FAILED why.", ended)?;
        let retried = pairs.clone().flat_map(|pair| {
            let kinds = pair.retried.iter();
            kinds.map(move |(kind, count)| ((labels(pair), [("error", kind.as_str())]), *count))
        });
        out.counters(
            "attempts_retried",
            "Attempts that failed and are followed by another, by why.",
            retried,
        )?;
        #[allow(clippy::cast_precision_loss, reason = "exact up to 285,000 years")]
        let cpu = pairs.clone().map(|pair| (labels(pair), pair.cpu_ms as f64 / 1000.0));
        out.counters("attempt_cpu_seconds", "CPU time of attempts.", cpu)?;
        let memory = pairs.map(|pair| (labels(pair), pair.peak_memory_bytes));
        out.gauges(
            "attempt_peak_memory_bytes",
            "The most linear memory that an attempt had in the last minute or so.",
            memory,
        )
    }

    fn times(&self, out: &mut Out<'_>, snapshot: &Snapshot) -> fmt::Result {
        let pairs = self.pairs(snapshot);
        let waited = pairs.clone().map(|pair| (self.labels(pair), &pair.wait));
        out.histograms("task_wait_seconds", "From when a task could start until its attempt did.", waited)?;
        let ran = pairs.clone().map(|pair| (self.labels(pair), &pair.run));
        out.histograms("attempt_seconds", "How long attempts took.", ran)?;
        let took = pairs.map(|pair| (self.labels(pair), &pair.end_to_end));
        out.histograms(
            "task_end_to_end_seconds",
            "From when a task was accepted until it ended for good.",
            took,
        )
    }

    fn labels<'a>(&'a self, pair: &'a PairPoint) -> [(&'static str, &'a str); 3] {
        [("namespace", self.caller.namespace.as_str()), ("queue", &pair.queue), ("job", &pair.job)]
    }

    fn store(&self, out: &mut Out<'_>) -> fmt::Result {
        let up = u64::from(self.snapshot.is_some());
        out.gauges("store_up", "1 if the store answered this scrape.", [(NO_LABELS, up)].into_iter())?;
        let failed = self.calls.iter().map(|calls| ([("script", calls.script.name())], calls.failed));
        out.counters("store_call_failures", "Calls of the store by this server that failed.", failed)?;
        let bounds = calls::BOUNDS_US.map(seconds);
        let mut family = out.family(
            "store_call_seconds",
            "How long the store took to answer calls of this server.",
            MetricType::Histogram,
        )?;
        for calls in &self.calls {
            let labels = [("script", calls.script.name())];
            let buckets: Vec<_> =
                bounds.into_iter().chain([f64::INFINITY]).zip(calls.counts.iter().copied()).collect();
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                calls.sum.as_secs_f64(),
                calls.answered,
                &buckets,
                None,
            )?;
        }
        Ok(())
    }
}

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let out = &mut Out(encoder);
        let version = [([("version", env!("CARGO_PKG_VERSION"))], 1_u64)];
        out.gauges("build_info", "The version of this server; always 1.", version.into_iter())?;
        self.store(out)?;
        let Some(snapshot) = &self.snapshot else { return Ok(()) };
        self.tasks(out, snapshot)?;
        self.waiting(out, snapshot)?;
        self.happened(out, snapshot)?;
        self.times(out, snapshot)?;
        workers(out, &snapshot.workers)
    }
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exposition")
    }
}

fn workers(out: &mut Out<'_>, workers: &[(String, Info)]) -> fmt::Result {
    let count = workers.len() as u64;
    out.gauges("workers", "Workers that are alive.", [(NO_LABELS, count)].into_iter())?;
    // What a worker of another version does not say is left out.
    let all = |read: fn(&Info) -> Option<u64>| {
        workers.iter().filter_map(move |(worker, info)| Some(([("worker", worker.as_str())], read(info)?)))
    };
    let versions = workers.iter().filter_map(|(worker, info)| {
        Some(([("worker", worker.as_str()), ("version", info.version.as_deref()?)], 1_u64))
    });
    out.gauges("worker_info", "The version of a worker; always 1.", versions)?;
    out.gauges("worker_slots", "How many attempts a worker runs at once.", all(|info| info.slots))?;
    out.gauges("worker_slots_busy", "How many it runs now.", all(|info| info.busy))?;
    out.gauges(
        "worker_memory_budget_bytes",
        "What a worker's guests may have in all.",
        all(|info| info.memory_bytes),
    )?;
    out.gauges(
        "worker_memory_reserved_bytes",
        "What its guests that run now may grow to.",
        all(|info| info.memory_reserved_bytes),
    )?;
    out.counters(
        "worker_leases_lost",
        "Guests that a worker stopped since their lease was lost or could not be renewed.",
        all(|info| info.leases_lost),
    )?;
    let plugins = workers.iter().flat_map(|(worker, info)| {
        let states = [("admitted", info.jobs.len() as u64), ("refused", info.refused.len() as u64)];
        states.map(|(state, count)| ([("worker", worker.as_str()), ("state", state)], count))
    });
    out.gauges("worker_plugins", "Plugins that a worker runs, and files that it refuses.", plugins)?;
    let admissions = workers.iter().flat_map(|(worker, info)| {
        let outcomes = info.admissions.map(|admissions| {
            [
                ("compiled", admissions.compiled),
                ("cached", admissions.cached),
                ("refused", admissions.refused),
            ]
        });
        let outcomes = outcomes.into_iter().flatten();
        outcomes.map(|(outcome, count)| ([("worker", worker.as_str()), ("outcome", outcome)], count))
    });
    out.counters("worker_admissions", "What became of plugins since a worker started.", admissions)?;
    let pool = workers.iter().flat_map(|(worker, info)| {
        let parts = info.pool.map(|pool| {
            [
                ("components", pool.components),
                ("memories", pool.memories),
                ("warm_memories", pool.warm_memories),
            ]
        });
        let parts = parts.into_iter().flatten();
        parts.map(|(part, count)| ([("worker", worker.as_str()), ("part", part)], count))
    });
    out.gauges("worker_pool", "What a worker's pool of instances has in use or keeps warm.", pool)?;
    worker_stores(out, workers)
}

fn worker_stores(out: &mut Out<'_>, workers: &[(String, Info)]) -> fmt::Result {
    let stores = workers.iter().filter_map(|(worker, info)| Some((worker.as_str(), info.store?)));
    let calls = stores.clone().flat_map(|(worker, store)| {
        let outcomes = [("answered", store.answered), ("failed", store.failed)];
        outcomes.map(|(outcome, count)| ([("worker", worker), ("outcome", outcome)], count))
    });
    out.counters("worker_store_calls", "A worker's calls of the store.", calls)?;
    let sums = stores.map(|(worker, store)| ([("worker", worker)], seconds(store.sum_us)));
    out.counters("worker_store_call_seconds", "How long the store took to answer them in all.", sums)
}

const NO_LABELS: [(&str, &str); 0] = [];

#[allow(clippy::cast_precision_loss, reason = "exact up to 285 years")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// Writes families, each whole: what is of one family stands together.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn family(
        &mut self,
        name: &'static str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'_>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &'static str,
        help: &str,
        rows: impl Iterator<Item = (L, impl EncodeGaugeValue)>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Gauge)?;
        for (labels, value) in rows {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &'static str,
        help: &str,
        rows: impl Iterator<Item = (L, impl EncodeCounterValue)>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Counter)?;
        for (labels, value) in rows {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn histograms<'a, L: EncodeLabelSet>(
        &mut self,
        name: &'static str,
        help: &str,
        rows: impl Iterator<Item = (L, &'a Histogram)>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Histogram)?;
        for (labels, times) in rows {
            let buckets = times
                .buckets()
                .map(|(bound, count)| (bound.map_or(f64::INFINITY, |bound| bound.as_secs_f64()), count));
            let buckets: Vec<_> = buckets.collect();
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                times.sum().as_secs_f64(),
                times.count(),
                &buckets,
                None,
            )?;
        }
        Ok(())
    }
}
