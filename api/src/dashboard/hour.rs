//! The last hour in numbers, minute by minute, as charts take it. What the store keeps of it is taken
//! apart here and nowhere else.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use sentinel_queue::{
    ErrorKind, JobName, Millis, Namespace, Queue, QueueName,
    series::{Histogram, PairPoint, Point},
    store::StoreError,
};
use tokio::sync::Mutex;

use super::words;
use crate::{App, auth::Caller, problem::Problem};

/// So many minutes are shown.
const MINUTES: u64 = 60;

/// As long as that.
const LENGTH: Duration = Duration::from_secs(MINUTES * 60);

/// How old what is shown may be: processes tell what they saw every few seconds.
const FRESH: Duration = Duration::from_secs(2);

/// A minute.
const MINUTE: u64 = 60_000;

/// The last hour, whole: minutes in which nothing happened are in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hour {
    /// Oldest first; the last one has not ended yet.
    pub(super) minutes: Vec<Minute>,
    /// From when tasks could start until they did, over the hour.
    pub(super) wait: Spread,
    /// How long attempts took, over the hour.
    pub(super) run: Spread,
    /// From acceptance to the end, over the hour.
    pub(super) end_to_end: Spread,
}

/// What happened in a minute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Minute {
    pub(super) at: Millis,
    pub(super) accepted: u64,
    pub(super) completed: u64,
    pub(super) cancelled: u64,
    /// By why.
    pub(super) failed: BTreeMap<ErrorKind, u64>,
    /// Attempts that failed and are followed by another, by why.
    pub(super) retried: BTreeMap<ErrorKind, u64>,
    pub(super) wait: Spread,
    pub(super) run: Spread,
    pub(super) end_to_end: Spread,
}

/// How times are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spread {
    /// How many there are.
    pub(super) count: u64,
    /// Half of them are not longer,
    pub(super) p50: Option<Duration>,
    /// 95 in a hundred are not longer,
    pub(super) p95: Option<Duration>,
    /// 99 in a hundred are not longer.
    pub(super) p99: Option<Duration>,
}

impl Minute {
    /// How many tasks FAILED.
    pub(super) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// How many tasks ended.
    pub(super) fn ended(&self) -> u64 {
        self.completed + self.cancelled + self.failures()
    }
}

impl Hour {
    /// Adds up what was kept of the hour before now.
    fn sum(points: &[Point], now: Millis, is_seen: impl Fn(&PairPoint) -> bool) -> Self {
        let last = now.0 / MINUTE;
        let first = last.saturating_sub(MINUTES - 1);
        let mut minutes: Vec<Sums> = (first..=last)
            .map(|number| Sums {
                minute: Minute { at: Millis(number * MINUTE), ..Minute::default() },
                ..Sums::default()
            })
            .collect();
        let mut whole = Sums::default();
        for point in points {
            // The store's clock may be a little ahead: what it says comes with the newest.
            let number = (point.at.0 / MINUTE).min(last).checked_sub(first);
            let place =
                number.and_then(|number| usize::try_from(number).ok()).and_then(|at| minutes.get_mut(at));
            let Some(minute) = place else { continue };
            for pair in point.pairs.iter().filter(|pair| is_seen(pair)) {
                minute.add(pair);
                whole.add(pair);
            }
        }
        let Minute { wait, run, end_to_end, .. } = whole.spread();
        Self { minutes: minutes.into_iter().map(Sums::spread).collect(), wait, run, end_to_end }
    }

    /// How many tasks of each kind of failure FAILED or were tried again, the most frequent first.
    pub(super) fn kinds(&self) -> Vec<(ErrorKind, u64)> {
        let mut sums = BTreeMap::new();
        for minute in &self.minutes {
            for (kind, count) in minute.failed.iter().chain(&minute.retried) {
                *sums.entry(*kind).or_insert(0) += count;
            }
        }
        let mut kinds: Vec<_> = sums.into_iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        kinds
    }
}

/// What happened in a minute, before its times are told by how they are spread.
#[derive(Default)]
struct Sums {
    minute: Minute,
    wait: Histogram,
    run: Histogram,
    end_to_end: Histogram,
}

impl Sums {
    fn add(&mut self, pair: &PairPoint) {
        self.minute.accepted += pair.submitted;
        self.minute.completed += pair.completed;
        self.minute.cancelled += pair.cancelled;
        for (sums, more) in
            [(&mut self.minute.failed, &pair.failed), (&mut self.minute.retried, &pair.retried)]
        {
            for (kind, count) in more {
                *sums.entry(*kind).or_default() += count;
            }
        }
        self.wait.merge(&pair.wait);
        self.run.merge(&pair.run);
        self.end_to_end.merge(&pair.end_to_end);
    }

    fn spread(self) -> Minute {
        Minute {
            wait: Spread::of(&self.wait),
            run: Spread::of(&self.run),
            end_to_end: Spread::of(&self.end_to_end),
            ..self.minute
        }
    }
}

impl Spread {
    fn of(times: &Histogram) -> Self {
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|part| times.quantile(part));
        Self { count: times.count(), p50, p95, p99 }
    }
}

/// The last hours that somebody looked at a moment ago: however many pages are open, the store is asked
/// once in a while.
#[derive(Default)]
pub(crate) struct Hours(Mutex<HashMap<Namespace, (Instant, Arc<Vec<Point>>)>>);

impl Hours {
    async fn of(&self, queue: &Queue, namespace: &Namespace) -> Result<Arc<Vec<Point>>, StoreError> {
        // Held while the store is asked, so that it is asked once.
        let mut known = self.0.lock().await;
        known.retain(|_, (asked, _)| asked.elapsed() < FRESH);
        if let Some((_, points)) = known.get(namespace) {
            return Ok(Arc::clone(points));
        }
        let asked = Instant::now();
        let points = Arc::new(queue.series(namespace, LENGTH).await?);
        known.insert(namespace.clone(), (asked, Arc::clone(&points)));
        Ok(points)
    }
}

/// The last hour of what a caller may see.
pub(super) async fn of(app: &App, caller: &Caller) -> Result<Hour, Problem> {
    let points = app.hours.of(&app.queue, &caller.namespace).await?;
    Ok(Hour::sum(&points, words::now(), |pair| sees(caller, pair)))
}

/// Whether there is such a pair of queue and job for a caller.
fn sees(caller: &Caller, pair: &PairPoint) -> bool {
    let (job, queue) = (pair.job.parse::<JobName>(), pair.queue.parse::<QueueName>());
    job.is_ok_and(|job| queue.is_ok_and(|queue| caller.grant().covers(&job, &queue)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000 * MINUTE + 30_000;

    fn point(minutes_ago: u64, queue: &str, failed: u64) -> Point {
        let mut pair =
            PairPoint { queue: queue.into(), job: "j".into(), completed: 2, ..PairPoint::default() };
        pair.failed.insert(ErrorKind::Trap, failed);
        pair.run.observe(Duration::from_millis(7));
        Point { at: Millis(NOW - minutes_ago * MINUTE), pairs: vec![pair] }
    }

    #[test]
    fn an_hour_has_sixty_minutes_whatever_happened() {
        let points = [point(200, "q", 1), point(59, "q", 1), point(1, "q", 2), point(1, "other", 4)];
        let hour = Hour::sum(&points, Millis(NOW), |pair| pair.queue == "q");
        assert_eq!(hour.minutes.len(), 60);
        assert_eq!(hour.minutes[59].at, Millis(NOW - 30_000));
        let busy: Vec<_> = hour.minutes.iter().enumerate().filter(|(_, minute)| minute.ended() > 0).collect();
        assert_eq!(
            busy.iter().map(|(at, minute)| (*at, minute.failures())).collect::<Vec<_>>(),
            [(0, 1), (58, 2)]
        );
        assert_eq!((hour.run.count, hour.kinds()), (2, vec![(ErrorKind::Trap, 3)]));
        assert!(hour.run.p50.is_some() && hour.wait.p50.is_none());
    }

    #[test]
    fn a_store_whose_clock_is_ahead_is_believed() {
        let ahead = Point { at: Millis(NOW + 5 * MINUTE), ..point(0, "q", 1) };
        let hour = Hour::sum(&[ahead], Millis(NOW), |_| true);
        assert_eq!(hour.minutes[59].failures(), 1);
    }
}
