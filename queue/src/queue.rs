//! The queue: one method per transition, over either home of the store.
//!
//! It knows tasks and how scripts are called; what scripts do is in `scripts/`. What workers
//! call (claim, settle, renew, release) is in [`crate::lease`].

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{
    calls::{CallTimes, Calls},
    names::{Invalid, JobName, Millis, Namespace, QueueName, TaskId},
    record,
    series::Seen,
    settings::QueueSettings,
    state::Status,
    store::{Durability, Reply, Script, Store, StoreError, Subscription},
    task::{Definition, Event, NewTask, Progress, Progression, Spec, Task, TaskState, When},
};

/// Every key begins with it: the one partition there is.
pub const PREFIX: &str = "{s0}:";

/// The channel on which the end of watched tasks is said: their ids, with commas between.
pub const DONE: &str = "{s0}:done";

/// How many tasks one submit may hold.
pub const MAX_BATCH: usize = 1000;

/// How long a call whose outcome is unknown is sent again before its caller is told.
const PATIENCE: Duration = Duration::from_secs(3);

/// A handle to the queue; clones share the store, and what they saw happen.
#[derive(Clone)]
pub struct Queue {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) seen: Arc<Seen>,
    times: Arc<CallTimes>,
    clock: Clock,
}

#[derive(Clone)]
enum Clock {
    /// The store's own.
    Store,
    /// A test's.
    Injected(Arc<AtomicU64>),
}

/// How many tasks are held in each state, and how many ever were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    held: [u64; Status::ALL.len()],
    lifetime: BTreeMap<String, u64>,
}

impl Counts {
    /// How many are held in one state.
    pub fn of(&self, status: Status) -> u64 {
        self.held[status as usize]
    }

    /// How many are held in all.
    pub fn held(&self) -> u64 {
        self.held.iter().sum()
    }

    /// How often something ever happened: `submitted`, `COMPLETED`, `FAILED`, `CANCELLED`,
    /// `retry`, `unknown`, `lost`, `redriven`, `removed`.
    pub fn ever(&self, what: &str) -> u64 {
        self.lifetime.get(what).copied().unwrap_or(0)
    }
}

/// A task that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its id: not that of the submit if that was a double.
    pub id: TaskId,
    /// When it was accepted.
    pub at: Millis,
    /// Whether the task was there before, by its idempotency key.
    pub deduplicated: bool,
    /// If it is not kept any more: the state in which it was removed.
    pub removed: Option<Status>,
}

/// Why tasks were not accepted, none of them.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another task has the idempotency key of one of them.
    #[error("the idempotency key was used before, with another queue or payload")]
    Conflict {
        /// Which of them, from 0.
        index: usize,
    },
    /// One of them waits for a task that is not there.
    #[error("there is no task {parent} to wait for")]
    NoParent {
        /// Which of them, from 0.
        index: usize,
        /// The task that is not there.
        parent: TaskId,
    },
}

/// A queue as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueInfo {
    /// Its name.
    pub name: QueueName,
    /// What was set for it.
    pub settings: QueueSettings,
    /// Whether it hands out nothing.
    pub paused: bool,
    /// How many tasks are ready in it.
    pub depth: u64,
    /// How many of these wait for their concurrency key.
    pub parked: u64,
    /// How many run, if that is limited.
    pub running: Option<u64>,
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
        Self::timed(store, Clock::Store)
    }

    /// For tests alone: time is what `clock` says, in milliseconds.
    #[doc(hidden)]
    pub fn with_clock(store: Arc<dyn Store>, clock: Arc<AtomicU64>) -> Self {
        Self::timed(store, Clock::Injected(clock))
    }

    fn timed(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, seen: Arc::default(), times: Arc::default(), clock }
    }

    /// Accepts tasks, all or none. Answers, after the store has them, which task stands for each
    /// and when that was accepted.
    ///
    /// # Panics
    ///
    /// If there are more than [`MAX_BATCH`].
    pub async fn submit(&self, tasks: &[NewTask]) -> Result<Vec<Accepted>, SubmitError> {
        assert!(tasks.len() <= MAX_BATCH, "a submit holds at most {MAX_BATCH} tasks");
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let mut tasks = std::borrow::Cow::Borrowed(tasks);
        loop {
            let args = tasks.iter().flat_map(new_task_args).collect();
            let reply = self.call(Script::Submit, args).await?.into_array()?;
            match accepted(reply, &tasks)? {
                Submitted::Ok(accepted) => {
                    self.seen.submitted(&tasks, &accepted);
                    return Ok(accepted);
                }
                // A parent in this very call is another task's double: that one is the parent.
                Submitted::Moved { parent, stand_in } => {
                    let after = tasks.to_mut().iter_mut().flat_map(|task| task.spec.after.iter_mut());
                    after.filter(|id| **id == parent).for_each(|id| *id = stand_in);
                }
            }
        }
    }

    /// One task, whole.
    pub async fn get(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        let reply = match self.call(Script::Get, vec![text(&id)]).await? {
            Reply::Nil => return Ok(None),
            reply => reply.into_array()?,
        };
        let [status, definition, state, finished, claim, progress, history] = exactly(reply)?;
        let (definition, progression) = stand(id, &definition.into_bytes()?, &state.into_bytes()?)?;
        let status = status.into_text()?;
        let status = status.parse().map_err(|_| lost(id, &status))?;
        let state = state_of(status, finished, claim, progress)?;
        let mut history = history_of(history.into_array()?)?;
        history.sort_by_key(Event::at);
        Ok(Some(Task { definition, progression, state, history }))
    }

    /// What the attempt of a task printed; of an attempt that ended.
    pub async fn log(&self, id: TaskId, attempt: u32) -> Result<Option<Bytes>, StoreError> {
        match self.call(Script::Log, vec![text(&id), text(&attempt)]).await? {
            Reply::Nil => Ok(None),
            log => log.into_bytes().map(Some),
        }
    }

    /// Has the end of tasks said on the channel [`DONE`]. Whoever calls this listens already, and
    /// reads the tasks afterwards, so that no end is missed; again after some minutes.
    pub async fn watch(&self, ids: &[TaskId]) -> Result<(), StoreError> {
        self.call(Script::Watch, ids.iter().map(text).collect()).await.map(drop)
    }

    /// What is said on a channel of the store.
    pub fn subscribe(&self, channel: Bytes) -> Subscription {
        self.store.subscribe(channel)
    }

    /// How many tasks a namespace holds in each state.
    pub async fn counts(&self, namespace: &Namespace) -> Result<Counts, StoreError> {
        let reply = self.call(Script::Stats, vec![text(namespace)]).await?.into_array()?;
        let [queued, scheduled, blocked, in_progress, completed, failed, cancelled, lifetime] =
            exactly(reply)?;
        let mut counts = Counts::default();
        for (status, count) in [
            (Status::Queued, queued),
            (Status::Scheduled, scheduled),
            (Status::Blocked, blocked),
            (Status::InProgress, in_progress),
            (Status::Completed, completed),
            (Status::Failed, failed),
            (Status::Cancelled, cancelled),
        ] {
            counts.held[status as usize] = count.into_u64()?;
        }
        let mut lifetime = lifetime.into_array()?.into_iter();
        while let (Some(name), Some(count)) = (lifetime.next(), lifetime.next()) {
            counts.lifetime.insert(name.into_text()?, count.into_u64()?);
        }
        Ok(counts)
    }

    /// All queues of a namespace, by name.
    pub async fn queues(&self, namespace: &Namespace) -> Result<Vec<QueueInfo>, StoreError> {
        self.list_queues(namespace, Bytes::new()).await
    }

    /// One queue, if it is there.
    pub async fn queue(
        &self,
        namespace: &Namespace,
        queue: &QueueName,
    ) -> Result<Option<QueueInfo>, StoreError> {
        Ok(self.list_queues(namespace, text(queue)).await?.pop())
    }

    async fn list_queues(&self, namespace: &Namespace, only: Bytes) -> Result<Vec<QueueInfo>, StoreError> {
        let reply = self.call(Script::Queues, vec![text(namespace), only]).await?.into_array()?;
        groups(reply, |[name, settings, depth, parked, running]| {
            let (settings, paused) = record::settings(&settings.into_bytes()?)?;
            Ok(QueueInfo {
                name: stored(name.into_text()?.parse())?,
                paused,
                depth: depth.into_u64()?,
                parked: parked.into_u64()?,
                running: settings.concurrency.map(|_| running.into_u64()).transpose()?,
                settings,
            })
        })
    }

    /// Makes a queue hand out nothing.
    pub async fn pause(&self, namespace: &Namespace, queue: &QueueName) -> Result<(), StoreError> {
        let args = vec![queue_key(namespace, queue), Bytes::from_static(b"1")];
        self.call(Script::SetPaused, args).await.map(drop)
    }

    /// Ends a pause.
    pub async fn resume(&self, namespace: &Namespace, queue: &QueueName) -> Result<(), StoreError> {
        let args = vec![queue_key(namespace, queue), Bytes::from_static(b"0")];
        self.call(Script::SetPaused, args).await.map(drop)
    }

    /// Sets a queue, which is made if it is not there. `false`, and nothing is changed, if aging
    /// would change while tasks are ready in it.
    pub async fn set_queue(
        &self,
        namespace: &Namespace,
        queue: &QueueName,
        settings: &QueueSettings,
    ) -> Result<bool, StoreError> {
        let args = std::iter::once(queue_key(namespace, queue)).chain(record::settings_args(settings));
        Ok(self.call(Script::SetQueue, args.collect()).await?.into_u64()? == 1)
    }

    /// The workers that gave a sign of life lately, by instance.
    pub async fn workers(&self) -> Result<Vec<WorkerInfo>, StoreError> {
        let reply = self.call(Script::Workers, vec![]).await?.into_array()?;
        groups(reply, |[instance, seen_at, info]| {
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
        groups(reply, |[name, at]| {
            Ok(JobInfo { name: stored(name.into_text()?.parse())?, advertised_at: Millis(at.into_u64()?) })
        })
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

    /// Writes something: a store that only reads, or cannot keep what it is given, refuses that.
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.call_once(Script::Probe, vec![]).await.map(drop)
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
        let since = Instant::now();
        let answer = self.store.run(script, args).await;
        self.times.note(script, since.elapsed(), answer.is_ok());
        answer
    }

    /// How long the calls of this process took.
    pub fn calls(&self) -> Vec<Calls> {
        self.times.all()
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

/// Takes apart a flat reply of so many items per thing.
pub(crate) fn groups<const N: usize, T>(
    reply: Vec<Reply>,
    make: impl Fn([Reply; N]) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut things = Vec::with_capacity(reply.len() / N);
    let mut items = reply.into_iter();
    while items.len() > 0 {
        things.push(make(exactly(items.by_ref().take(N).collect())?)?);
    }
    Ok(things)
}

/// A task's definition and how it has fared, with the priority that it has now.
pub(crate) fn stand(
    id: TaskId,
    definition: &Bytes,
    state: &Bytes,
) -> Result<(Definition, Progression), StoreError> {
    let mut definition = record::definition(id, definition)?;
    let progression = record::progression(state)?;
    if let Some(priority) = progression.priority {
        definition.spec.priority = priority;
    }
    Ok((definition, progression))
}

/// Where a task is, of the parts that scripts answer.
pub(crate) fn state_of(
    status: Status,
    finished: Reply,
    claim: Reply,
    progress: Reply,
) -> Result<TaskState, StoreError> {
    Ok(match status {
        Status::Queued => TaskState::Queued,
        Status::Scheduled => TaskState::Scheduled,
        Status::Blocked => TaskState::Blocked,
        Status::InProgress => {
            let (token, started_at) = record::claim(&claim.into_text()?)?;
            let worker = record::worker_of(&token).unwrap_or_default().to_owned();
            TaskState::InProgress { worker, started_at, progress: parse_progress(&progress.into_text()?) }
        }
        Status::Completed | Status::Failed | Status::Cancelled => record::finished(&finished.into_bytes()?)?,
    })
}

fn history_of(reply: Vec<Reply>) -> Result<Vec<Event>, StoreError> {
    groups(reply, |[field, record]| record::event(&field.into_text()?, &record.into_bytes()?))
}

/// A point in time as scripts take it: absolute, or `+` and the milliseconds from now.
pub(crate) fn when(when: Option<When>) -> Bytes {
    match when {
        None => Bytes::new(),
        Some(When::At(at)) => text(&at.0),
        Some(When::After(span)) => Bytes::from(format!("+{}", span.as_millis())),
    }
}

/// A task as `lib/accept.lua` takes it.
pub(crate) fn new_task_args(task: &NewTask) -> [Bytes; 7] {
    let spec = &task.spec;
    let print = spec.idempotency_key.as_ref().map(|_| print_of(spec)).unwrap_or_default();
    [
        text(&task.id),
        queue_key(&spec.namespace, &spec.queue),
        text(&spec.priority.get()),
        when(task.when),
        record::header(spec),
        record::body(spec),
        record::options(spec, &print),
    ]
}

/// By which it is seen whether a double is one: its queue and its payload.
fn print_of(spec: &Spec) -> String {
    let hash = Sha256::new().chain_update(spec.queue.as_str()).chain_update([0]);
    hex::encode(hash.chain_update(spec.payload.as_bytes()).finalize())
}

enum Submitted {
    Ok(Vec<Accepted>),
    Moved { parent: TaskId, stand_in: TaskId },
}

fn accepted(reply: Vec<Reply>, tasks: &[NewTask]) -> Result<Submitted, SubmitError> {
    let mut reply = reply.into_iter();
    let mut next = || reply.next().ok_or_else(|| StoreError::Broken("a reply is cut short".into()));
    let word = next()?.into_text()?;
    if word == "ok" {
        let accepted = groups(reply.collect(), |[id, at, removed]| {
            let removed = removed.into_text()?;
            let removed = (!removed.is_empty()).then(|| stored(removed.parse())).transpose()?;
            Ok((stored(id.into_text()?.parse::<TaskId>())?, Millis(at.into_u64()?), removed))
        })?;
        let accepted = tasks.iter().zip(accepted).map(|(task, (id, at, removed))| Accepted {
            id,
            at,
            deduplicated: id != task.id,
            removed,
        });
        return Ok(Submitted::Ok(accepted.collect()));
    }
    let index = usize::try_from(next()?.into_u64()?).unwrap_or(usize::MAX);
    if word == "conflict" {
        return Err(SubmitError::Conflict { index });
    }
    let parent = stored(next()?.into_text()?.parse())?;
    if word == "no_parent" {
        return Err(SubmitError::NoParent { index, parent });
    }
    Ok(Submitted::Moved { parent, stand_in: stored(next()?.into_text()?.parse())? })
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
