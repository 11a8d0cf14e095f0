//! The well-behaved tasks beside the abuse.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::json;

use super::millis;
use crate::cluster::Api;

/// The pause between two of them.
const PAUSE: Duration = Duration::from_millis(20);

/// A steady stream of small tasks. It ends with this.
pub(super) struct Beside {
    api: Api,
    ended: Arc<AtomicBool>,
    submitting: Option<JoinHandle<Vec<String>>>,
}

/// From submit to end, each, sorted.
pub(super) struct Latencies(Vec<Duration>);

impl Beside {
    pub(super) fn start(api: Api, queue: &'static str) -> Self {
        let ended = Arc::<AtomicBool>::default();
        let told = Arc::clone(&ended);
        let submitting = thread::spawn(move || {
            let mut ids = Vec::new();
            // Ten at least: fewer say nothing.
            while ids.len() < 10 || !told.load(Ordering::Relaxed) {
                let payload = json!({ "job": "example-task", "name": "Ada", "numbers": [1, 2, 3] });
                ids.push(api.submit(&json!({ "payload": payload, "queue": queue }).to_string()));
                thread::sleep(PAUSE);
            }
            ids
        });
        Self { api, ended, submitting: Some(submitting) }
    }

    /// Lets it go on for so long, and ends it.
    pub(super) fn for_at_least(self, time: Duration) -> Latencies {
        let since = Instant::now();
        while since.elapsed() < time {
            thread::sleep(PAUSE);
        }
        self.end()
    }

    /// Ends it. All its tasks must complete.
    pub(super) fn end(mut self) -> Latencies {
        self.ended.store(true, Ordering::Relaxed);
        let ids = self.submitting.take().expect("it is ended once").join().expect("no panic");
        let mut latencies: Vec<_> = ids
            .iter()
            .map(|id| {
                let task = self.api.get(&format!("/v1/tasks/{id}?wait=60s")).json();
                assert_eq!((&task["status"], &task["attempt"]), (&"COMPLETED".into(), &1.into()), "{task}");
                let millis = millis(&task["finished_at"]) - millis(&task["created_at"]);
                Duration::from_millis(u64::try_from(millis).unwrap_or(0))
            })
            .collect();
        latencies.sort();
        Latencies(latencies)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

impl Latencies {
    fn at(&self, hundredths: usize) -> Duration {
        self.0[(self.0.len() * hundredths / 100).min(self.0.len() - 1)]
    }

    pub(super) fn p99(&self) -> Duration {
        self.at(99)
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |hundredths| self.at(hundredths).as_millis();
        write!(f, "beside: {:>4} tasks, p50 {:>3} ms, p99 {:>4} ms", self.0.len(), millis(50), millis(99))
    }
}
