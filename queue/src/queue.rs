//! The queue: one method per transition, over either home of the store.
//!
//! It knows tasks and how scripts are called; what scripts do is in `scripts/`. What workers
//! call (claim, settle, renew, release) is in [`crate::lease`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    names::{Invalid, JobName, Millis, Namespace, QueueName, TaskId},
    record,
    state::Status,
    store::{Durability, Reply, Script, Store, StoreError},
    task::{NewTask, Progress, Task, TaskState},
};

/// Every key begins with it: the one partition there is.
pub const PREFIX: &str = "{s0}:";

/// How many tasks one submit may hold.
pub const MAX_BATCH: usize = 1000;

/// How long a call whose outcome is unknown is sent again before its caller is told.
const PATIENCE: Duration = Duration::from_secs(3);

/// A handle to the queue; clones share the store.
#[derive(Clone)]
pub struct Queue {
    pub(crate) store: Arc<dyn Store>,
    clock: Clock,
}

#[derive(Clone)]
enum Clock {
    /// The store's own.
    Store,
    /// A test's.
    Injected(Arc<AtomicU64>),
}

/// How many tasks are held in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Status::ALL.len()]);

impl Counts {
    /// How many are held in one state.
    pub fn of(&self, status: Status) -> u64 {
        self.0[status as usize]
    }
}

/// A queue as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueInfo {
    /// Its name.
    pub name: QueueName,
    /// Whether it hands out nothing.
    pub paused: bool,
    /// How many tasks are ready in it.
    pub depth: u64,
}

/// A worker as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Its instance: new with every process.
    pub instance: String,
    /// Its last sign of life.
    pub seen_at: Millis,
    /// What it says of itself.
    pub info: Bytes,
}

/// A job that some worker advertised lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobInfo {
    /// Its name.
    pub name: JobName,
    /// When it was last advertised.
    pub advertised_at: Millis,
}

impl Queue {
    /// The queue that lives in a store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, clock: Clock::Store }
    }

    /// For tests alone: time is what `clock` says, in milliseconds.
    #[doc(hidden)]
    pub fn with_clock(store: Arc<dyn Store>, clock: Arc<AtomicU64>) -> Self {
        Self { store, clock: Clock::Injected(clock) }
    }

    /// Accepts tasks, all or none. Answers when each was accepted, after the store has them.
    ///
    /// # Panics
    ///
    /// If there are more than [`MAX_BATCH`].
    pub async fn submit(&self, tasks: &[NewTask]) -> Result<Vec<Millis>, StoreError> {
        assert!(tasks.len() <= MAX_BATCH, "a submit holds at most {MAX_BATCH} tasks");
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let mut args = Vec::with_capacity(tasks.len() * 5);
        for task in tasks {
            args.push(text(&task.id));
            args.push(queue_key(&task.namespace, &task.queue));
            args.push(text(&task.priority.get()));
            args.push(record::header(task));
            args.push(record::body(task));
        }
        let reply = self.call(Script::Submit, args).await?.into_array()?;
        reply.into_iter().map(|at| at.into_u64().map(Millis)).collect()
    }

    /// One task, whole.
    pub async fn get(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        let reply = match self.call(Script::Get, vec![text(&id)]).await? {
            Reply::Nil => return Ok(None),
            reply => reply.into_array()?,
        };
        let [status, definition, state, finished, claim, progress] = exactly(reply)?;
        let definition = record::definition(id, &definition.into_bytes()?)?;
        let progression = record::progression(&state.into_bytes()?)?;
        let status = status.into_text()?;
        let state = match status.parse().map_err(|_| lost(id, &status))? {
            Status::Queued => TaskState::Queued,
            Status::Scheduled => TaskState::Scheduled,
            Status::Blocked => TaskState::Blocked,
            Status::InProgress => {
                let (token, started_at) = record::claim(&claim.into_text()?)?;
                let worker = record::worker_of(&token).to_owned();
                let progress = parse_progress(&progress.into_text()?);
                TaskState::InProgress { worker, started_at, progress }
            }
            Status::Completed | Status::Failed | Status::Cancelled => {
                record::finished(&finished.into_bytes()?)?
            }
        };
        Ok(Some(Task { definition, progression, state }))
    }

    /// How many tasks a namespace holds in each state.
    pub async fn counts(&self, namespace: &Namespace) -> Result<Counts, StoreError> {
        let reply = self.call(Script::Stats, vec![text(namespace)]).await?.into_array()?;
        let [queued, scheduled, in_progress, completed, failed, cancelled] = exactly(reply)?;
        let mut counts = Counts::default();
        for (status, count) in [
            (Status::Queued, queued),
            (Status::Scheduled, scheduled),
            (Status::InProgress, in_progress),
            (Status::Completed, completed),
            (Status::Failed, failed),
            (Status::Cancelled, cancelled),
        ] {
            counts.0[status as usize] = count.into_u64()?;
        }
        Ok(counts)
    }

    /// All queues of a namespace, by name.
    pub async fn queues(&self, namespace: &Namespace) -> Result<Vec<QueueInfo>, StoreError> {
        let reply = self.call(Script::Queues, vec![text(namespace)]).await?.into_array()?;
        triples(reply, |name, paused, depth| {
            Ok(QueueInfo {
                name: stored(name.into_text()?.parse())?,
                paused: paused.into_u64()? == 1,
                depth: depth.into_u64()?,
            })
        })
    }

    /// Makes a queue hand out nothing. Answers how many tasks are ready in it.
    pub async fn pause(&self, namespace: &Namespace, queue: &QueueName) -> Result<u64, StoreError> {
        self.set_paused(namespace, queue, "1").await
    }

    /// Ends a pause. Answers how many tasks are ready in the queue.
    pub async fn resume(&self, namespace: &Namespace, queue: &QueueName) -> Result<u64, StoreError> {
        self.set_paused(namespace, queue, "0").await
    }

    async fn set_paused(
        &self,
        namespace: &Namespace,
        queue: &QueueName,
        paused: &'static str,
    ) -> Result<u64, StoreError> {
        let args = vec![queue_key(namespace, queue), Bytes::from_static(paused.as_bytes())];
        self.call(Script::SetPaused, args).await?.into_u64()
    }

    /// The workers that gave a sign of life lately, by instance.
    pub async fn workers(&self) -> Result<Vec<WorkerInfo>, StoreError> {
        let reply = self.call(Script::Workers, vec![]).await?.into_array()?;
        triples(reply, |instance, seen_at, info| {
            Ok(WorkerInfo {
                instance: instance.into_text()?,
                seen_at: Millis(seen_at.into_u64()?),
                info: info.into_bytes()?,
            })
        })
    }

    /// The jobs that workers advertised within the last ten minutes, by name.
    pub async fn jobs(&self) -> Result<Vec<JobInfo>, StoreError> {
        let reply = self.call(Script::Jobs, vec![]).await?.into_array()?;
        let mut items = reply.into_iter();
        let mut jobs = Vec::with_capacity(items.len() / 2);
        while let (Some(name), Some(at)) = (items.next(), items.next()) {
            let name = stored(name.into_text()?.parse())?;
            jobs.push(JobInfo { name, advertised_at: Millis(at.into_u64()?) });
        }
        Ok(jobs)
    }

    /// Sets the length of a lease, for the whole store.
    pub async fn set_lease(&self, lease: Duration) -> Result<(), StoreError> {
        self.call(Script::SetLease, vec![text(&lease.as_millis())]).await.map(drop)
    }

    /// Ends all leases, uncounted: for a store that only this process uses and just opened.
    pub async fn reopen(&self) -> Result<(), StoreError> {
        while self.call(Script::Reopen, vec![]).await?.into_u64()? > 0 {}
        Ok(())
    }

    /// Checks that the store can be used, and says how durable its answers are.
    pub async fn check(&self) -> Result<Durability, StoreError> {
        self.store.check().await
    }

    /// Calls a script, and again while its outcome is unknown and patience lasts.
    pub(crate) async fn call(&self, script: Script, args: Vec<Bytes>) -> Result<Reply, StoreError> {
        let since = Instant::now();
        let mut wait = Duration::from_millis(20);
        loop {
            match self.call_once(script, args.clone()).await {
                Err(StoreError::Unavailable(_)) if since.elapsed() + wait < PATIENCE => {
                    tokio::time::sleep(wait.mul_f64(0.5 + chance() / 2.0)).await;
                    wait *= 2;
                }
                answer => return answer,
            }
        }
    }

    /// Calls a script; `args` come after the clock.
    pub(crate) async fn call_once(&self, script: Script, args: Vec<Bytes>) -> Result<Reply, StoreError> {
        let clock = match &self.clock {
            Clock::Store => Bytes::new(),
            Clock::Injected(now) => text(&now.load(Ordering::Relaxed)),
        };
        let args = std::iter::once(clock).chain(args).collect();
        self.store.run(script, args).await
    }
}

/// A number in 0..1 from the same source as task ids.
pub fn chance() -> f64 {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    f64::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])) / 4_294_967_296.0
}

pub(crate) fn text(value: &impl ToString) -> Bytes {
    Bytes::from(value.to_string())
}

/// A queue's name as keys hold it.
pub(crate) fn queue_key(namespace: &Namespace, queue: &QueueName) -> Bytes {
    Bytes::from(format!("{namespace}:{queue}"))
}

/// Takes apart a reply that has a fixed number of items.
pub(crate) fn exactly<const N: usize>(reply: Vec<Reply>) -> Result<[Reply; N], StoreError> {
    reply.try_into().map_err(|reply: Vec<Reply>| {
        StoreError::Broken(format!("a reply has {} items and should have {N}", reply.len()))
    })
}

/// Takes apart a flat reply of three items per thing.
pub(crate) fn triples<T>(
    reply: Vec<Reply>,
    make: impl Fn(Reply, Reply, Reply) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut items = reply.into_iter();
    let mut things = Vec::with_capacity(items.len() / 3);
    while let (Some(a), Some(b), Some(c)) = (items.next(), items.next(), items.next()) {
        things.push(make(a, b, c)?);
    }
    Ok(things)
}

/// What the store holds was checked when it was accepted.
pub(crate) fn stored<T>(value: Result<T, Invalid>) -> Result<T, StoreError> {
    value.map_err(|error| StoreError::Broken(error.to_string()))
}

/// Progress as `prog` holds it: the percentage, a space, the message.
fn parse_progress(progress: &str) -> Option<Progress> {
    let (percent, message) = progress.split_once(' ')?;
    Some(Progress { percent: percent.parse().ok()?, message: message.to_owned() })
}

fn lost(id: TaskId, status: &str) -> StoreError {
    StoreError::Broken(format!("the task {id} is in no place ({status})"))
}
