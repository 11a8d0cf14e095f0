//! What happened, in numbers: how many tasks were accepted and ended, how, and how long that took, by
//! queue and job; in spans of time for charts, and summed for Prometheus.
//!
//! Numbers live in the store, so that they are the same from every server and survive a restart.
//! Processes add up what they see in memory and tell the store every few seconds ([`Queue::observe`]); what
//! no process can tell, such as the end of a task that is cancelled, the scripts count that do it. Each end
//! is counted once: by whoever settles an attempt, or by the script. What a process that is killed had not
//! told yet is not counted.
//!
//! It knows no HTTP and no format of Prometheus.

mod histogram;
mod numbers;
mod tally;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;

pub use self::histogram::{BOUNDS_US, Histogram};
use self::{
    numbers::{Numbers, between},
    tally::Tally,
};
use crate::{
    lease::{Settlement, Verdict},
    names::{Millis, Namespace, QueueName},
    queue::{Accepted, Queue, chance, exactly, groups, stored, text},
    state::ErrorKind,
    store::{Reply, Script, StoreError},
    task::{NewTask, TaskError},
};

/// What is told apart in time.
pub const SPAN: Duration = Duration::from_secs(30);

/// How far back spans are kept.
pub const KEPT: Duration = Duration::from_hours(2);

/// The queue and the job under which all pairs are counted that are too many: more than 500 of one namespace
/// in one span, or in a day.
pub const OTHER: &str = "other";

/// How often the store is told what happened,
const EVERY: Duration = Duration::from_secs(3);

/// and how much later for each pair of queue and job of which it was told.
const PER_PAIR: Duration = Duration::from_millis(20);

/// How long a process that ends waits until the store has heard what it saw last.
const LAST: Duration = Duration::from_secs(1);

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
    /// From when tasks could start until they did, by attempt that ended. What a lost attempt took is part
    /// of the next one's wait.
    pub wait: Histogram,
    /// How long attempts took.
    pub run: Histogram,
    /// From when tasks were accepted until they ended for good.
    pub end_to_end: Histogram,
}

/// How many tasks wait in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// By name; of very many those in which most tasks wait.
    pub queues: Vec<WaitingQueue>,
    /// How many tasks are ready in the other queues.
    pub elsewhere: u64,
}

/// How many tasks wait in one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingQueue {
    /// Its name.
    pub queue: QueueName,
    /// Whether it hands out nothing.
    pub paused: bool,
    /// How many tasks are ready in it.
    pub depth: u64,
    /// How many of these wait for their concurrency key.
    pub parked: u64,
    /// How long the oldest of them has been ready.
    pub oldest: Option<Duration>,
}

/// What one process saw happen.
pub(crate) struct Seen {
    teller: String,
    tally: Mutex<Tally>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { teller: uuid::Uuid::new_v4().simple().to_string(), tally: Mutex::default() }
    }
}

impl Seen {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was answered to a submit: what was there before is not counted again.
    pub(crate) fn submitted(&self, tasks: &[NewTask], accepted: &[Accepted]) {
        let mut tally = self.tally();
        for (NewTask { spec, .. }, accepted) in tasks.iter().zip(accepted) {
            if !accepted.deduplicated && accepted.removed.is_none() {
                tally.of(&spec.namespace, spec.queue.as_str(), spec.job.as_str()).submitted += 1;
            }
        }
    }

    /// Notes how settlements were taken, by the letters that the script answered at this time.
    pub(crate) fn settled(&self, settlements: &[Settlement], letters: &str, now: Millis) {
        if settlements.is_empty() {
            return;
        }
        let mut tally = self.tally();
        for (settlement, letter) in settlements.iter().zip(letters.bytes()) {
            let Some(end) = End::of(&settlement.verdict, letter) else { continue };
            let Settlement { namespace, queue, job, .. } = settlement;
            note(tally.of(namespace, queue.as_str(), job.as_str()), settlement, end, now);
        }
    }
}

/// What became of a task when its attempt had ended.
#[derive(Clone, Copy)]
enum End {
    Completed,
    Failed(ErrorKind),
    Retried(ErrorKind),
}

impl End {
    /// What was asked, unless the script decided otherwise; none: another holds the lease.
    fn of(asked: &Verdict, letter: u8) -> Option<Self> {
        Some(match (letter, asked) {
            (b's', _) => return None,
            (b'c', _) => Self::Retried(ErrorKind::Conflict),
            (b'f', _) => Self::Failed(ErrorKind::Conflict),
            (b'e', _) => Self::Failed(ErrorKind::EffectLimit),
            (b'x', _) => Self::Failed(ErrorKind::Expired),
            (b'u', _) => Self::Failed(ErrorKind::UnknownJob),
            (_, Verdict::Complete(_)) => Self::Completed,
            (_, Verdict::Fail(TaskError { kind, .. })) => Self::Failed(*kind),
            (_, Verdict::Retry(error, _) | Verdict::Elsewhere(error, _)) => Self::Retried(error.kind),
        })
    }
}

fn note(numbers: &mut Numbers, settlement: &Settlement, end: End, now: Millis) {
    let usage = &settlement.report.usage;
    // One whose job is unknown here, or that took its process with it, was not measured.
    if usage.wall_us > 0 {
        numbers.wait.observe(settlement.waited);
        numbers.run.observe(Duration::from_micros(usage.wall_us));
        numbers.cpu_us += usage.cpu_us;
        numbers.peak_memory_bytes = numbers.peak_memory_bytes.max(usage.peak_memory_bytes);
    }
    match end {
        End::Completed => numbers.completed += 1,
        End::Failed(kind) => *numbers.failed.entry(kind).or_default() += 1,
        End::Retried(kind) => {
            *numbers.retried.entry(kind).or_default() += 1;
            return;
        }
    }
    numbers.end_to_end.observe(between(settlement.created_at.0, now.0));
}

impl Queue {
    /// Tells the store what this process saw happen since it was told last; answers of how many pairs of
    /// queue and job. After an error the same is told again by the next call: it is counted once.
    pub async fn observe(&self) -> Result<usize, StoreError> {
        let mut told = 0;
        // What was sent before and not answered for comes first, and then what came since.
        let mut is_behind = self.seen.tally().is_unanswered();
        loop {
            let Some(batch) = self.seen.tally().take() else { return Ok(told) };
            let mut args = vec![text(&self.seen.teller), text(&batch.number)];
            for (namespace, pair, numbers) in &batch.sums {
                args.extend([text(namespace), Bytes::from(pair.clone()), numbers.write()]);
            }
            self.call(Script::Observe, args).await?;
            told += batch.sums.len();
            let mut tally = self.seen.tally();
            tally.told(batch.number);
            // What comes meanwhile is for the next time.
            if !tally.has_more() && !std::mem::take(&mut is_behind) {
                return Ok(told);
            }
        }
    }

    /// What happened in a namespace in this last while, at most [`KEPT`], oldest first; spans in which
    /// nothing happened are left out. A process tells what it saw some seconds later, in the span that runs
    /// then.
    pub async fn series(&self, namespace: &Namespace, span: Duration) -> Result<Vec<Point>, StoreError> {
        let back = text(&span.min(KEPT).as_millis());
        let (mut points, mut from) = (Vec::new(), Bytes::new());
        loop {
            let args = vec![text(namespace), back.clone(), from];
            let mut reply = self.call(Script::Series, args).await?.into_array()?.into_iter();
            let next = reply.next().ok_or_else(|| StoreError::Broken("a reply is cut short".into()))?;
            points.extend(groups(reply.collect(), |[at, pairs]| {
                let pairs = groups(pairs.into_array()?, |[pair, numbers]| {
                    pair_point(&pair.into_text()?, &numbers.into_bytes()?)
                });
                Ok(Point { at: Millis(at.into_u64()?), pairs: pairs? })
            })?);
            from = next.into_bytes()?;
            if from.is_empty() {
                return Ok(points);
            }
        }
    }

    /// What ever happened in a namespace, by queue and job; of pairs of which nothing was heard for a day
    /// nothing is known any more. The memory is that of the last minute or so.
    pub async fn sums(&self, namespace: &Namespace) -> Result<Vec<PairPoint>, StoreError> {
        let reply = self.call(Script::Sums, vec![text(namespace)]).await?.into_array()?;
        groups(reply, |[pair, numbers, peak]| {
            let point = pair_point(&pair.into_text()?, &numbers.into_bytes()?)?;
            Ok(PairPoint { peak_memory_bytes: peak.into_u64()?, ..point })
        })
    }

    /// How many tasks wait in a namespace, and how long they have.
    pub async fn waiting(&self, namespace: &Namespace) -> Result<Waiting, StoreError> {
        let reply = self.call(Script::Waiting, vec![text(namespace)]).await?.into_array()?;
        let [elsewhere, queues] = exactly(reply)?;
        let queues = groups(queues.into_array()?, |[name, paused, depth, parked, oldest]| {
            Ok(WaitingQueue {
                queue: stored(name.into_text()?.parse())?,
                paused: paused.into_u64()? == 1,
                depth: depth.into_u64()?,
                parked: parked.into_u64()?,
                oldest: oldest_of(oldest)?,
            })
        });
        Ok(Waiting { queues: queues?, elsewhere: elsewhere.into_u64()? })
    }
}

fn oldest_of(reply: Reply) -> Result<Option<Duration>, StoreError> {
    match reply.into_bytes()? {
        none if none.is_empty() => Ok(None),
        age => Reply::Bytes(age).into_u64().map(|age| Some(Duration::from_millis(age))),
    }
}

fn pair_point(pair: &str, numbers: &[u8]) -> Result<PairPoint, StoreError> {
    Numbers::read(numbers)?.of_pair(pair)
}

/// Tells the store every few seconds what this process saw happen, until it is dropped. Less often when
/// that is much.
pub async fn observe_for_ever(queue: Queue) {
    let mut away = false;
    let mut pause = EVERY;
    loop {
        tokio::time::sleep(pause.mul_f64(0.75 + chance() / 2.0)).await;
        match queue.observe().await {
            Ok(told) => {
                away = false;
                pause = EVERY + PER_PAIR * u32::try_from(told).unwrap_or(u32::MAX);
            }
            Err(error) if !away => {
                tracing::warn!(%error, "what happened cannot be told yet and is kept");
                away = true;
            }
            Err(_) => {}
        }
    }
}

/// Tells the store what is left, before this process ends.
pub async fn observe_last(queue: &Queue) {
    let reason = match tokio::time::timeout(LAST, queue.observe()).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".into(),
    };
    tracing::warn!(reason, "what happened last could not be told and is not counted");
}
