//! A queue on a home of its own, under a clock that only the test moves; every call is sent
//! twice, byte for byte, and must be answered the same.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use sentinel_queue::{
    ErrorKind, JobName, NewTask, Payload, Priority, Queue, Spec, Status, Task, TaskId,
    lease::{Claimed, Instance, Reaped, Served, Settlement, Turn, TurnAnswer, Verdict},
    store::{
        Answer, Durability, Reply, Scanned, Script, Store, Subscription, embedded::Embedded, redis::Redis,
    },
    task::{AttemptReport, ErrorReport, TaskError},
};
use sentinel_testkit::RedisServer;
use tokio::task::JoinSet;

pub(crate) const START: u64 = 1_800_000_000_000;

pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// Makes each behaviour a test on Redis and a test on the embedded home.
macro_rules! on_both_homes {
    ($(async fn $name:ident($bench:ident: &Bench) $body:block)*) => {
        $(async fn $name($bench: &crate::bench::Bench) $body)*

        mod on_redis {
            $(#[tokio::test] async fn $name() { super::$name(&crate::bench::Bench::redis()).await; })*
        }

        mod embedded {
            $(#[tokio::test] async fn $name() { super::$name(&crate::bench::Bench::embedded()).await; })*
        }
    };
}
pub(crate) use on_both_homes;

pub(crate) struct Bench {
    pub(crate) queue: Queue,
    store: Arc<dyn Store>,
    clock: Arc<AtomicU64>,
    _server: Option<RedisServer>,
}

impl Bench {
    pub(crate) fn redis() -> Self {
        let server = RedisServer::start(&[]);
        let store = Redis::new(&server.url()).unwrap();
        Self::over(Arc::new(Twice(store)), Some(server))
    }

    pub(crate) fn embedded() -> Self {
        Self::over(Arc::new(Twice(Embedded::in_memory())), None)
    }

    fn over(store: Arc<dyn Store>, server: Option<RedisServer>) -> Self {
        let clock = Arc::new(AtomicU64::new(START));
        Self {
            queue: Queue::with_clock(Arc::clone(&store), Arc::clone(&clock)),
            store,
            clock,
            _server: server,
        }
    }

    pub(crate) fn advance(&self, time: Duration) {
        self.clock.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }

    pub(crate) fn step_back(&self, time: Duration) {
        self.clock.fetch_sub(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// Lets time pass while somebody sweeps, as somebody always does; answers what was reaped.
    pub(crate) async fn pass(&self, time: Duration) -> Vec<Reaped> {
        let mut reaped = Vec::new();
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(Duration::from_secs(3));
            self.advance(step);
            left -= step;
            reaped.extend(self.queue.sweep().await.unwrap().reaped);
        }
        reaped
    }

    /// All keys that begin with a prefix (behind the partition's).
    pub(crate) async fn scan(&self, prefix: &str) -> (Vec<String>, usize) {
        let (mut keys, mut cursor, mut pages) = (Vec::new(), None, 0);
        loop {
            let prefix = Bytes::from(format!("{{s0}}:{prefix}"));
            let (page, next) = self.store.scan(prefix, cursor).await.unwrap();
            keys.extend(page.iter().map(|key| String::from_utf8_lossy(key).into_owned()));
            pages += 1;
            if next.is_none() {
                return (keys, pages);
            }
            cursor = next;
        }
    }

    pub(crate) async fn status(&self, id: TaskId) -> Status {
        self.get(id).await.state.status()
    }

    pub(crate) async fn accept(&self, task: &NewTask) -> TaskId {
        self.queue.submit(std::slice::from_ref(task)).await.unwrap()[0].id
    }

    pub(crate) async fn submit(&self, priority: i64) -> TaskId {
        let task = new_task(priority);
        self.queue.submit(std::slice::from_ref(&task)).await.unwrap();
        task.id
    }

    pub(crate) async fn get(&self, id: TaskId) -> Task {
        self.queue.get(id).await.unwrap().expect("the task is there")
    }
}

/// Does a thing so often, many at a time.
pub(crate) async fn often<F>(times: usize, act: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut acts = JoinSet::new();
    for _ in 0..times {
        if acts.len() == 500 {
            acts.join_next().await.unwrap().unwrap();
        }
        acts.spawn(act());
    }
    while let Some(done) = acts.join_next().await {
        done.unwrap();
    }
}

/// A worker as the store sees it.
pub(crate) struct Worker<'a> {
    pub(crate) queue: &'a Queue,
    pub(crate) instance: Instance,
    pub(crate) served: Served,
    pub(crate) number: u64,
}

impl<'a> Worker<'a> {
    pub(crate) fn of(bench: &'a Bench) -> Self {
        let instance = Instance::random("test");
        Self { queue: &bench.queue, instance, served: Served::All, number: 0 }
    }

    pub(crate) async fn turn(&mut self, settlements: Vec<Settlement>, wanted: usize) -> TurnAnswer {
        self.number += 1;
        let turn = Turn { number: self.number, settlements, wanted };
        self.queue.settle_and_claim(&self.instance, &self.served, &turn).await.unwrap()
    }

    pub(crate) async fn claim(&mut self, wanted: usize) -> Vec<Claimed> {
        self.turn(vec![], wanted).await.claimed
    }

    pub(crate) async fn settle(&mut self, task: &Claimed, verdict: Verdict) -> bool {
        self.turn(vec![settlement(task, verdict)], 0).await.settled[0]
    }
}

pub(crate) fn new_task(priority: i64) -> NewTask {
    let (payload, job) = Payload::parse(Bytes::from_static(br#"{"job":"j","n":9007199254740993}"#)).unwrap();
    let mut task = NewTask::new(Spec::new(job, payload));
    task.spec.priority = Priority::new(priority).unwrap();
    task
}

pub(crate) fn settlement(task: &Claimed, verdict: Verdict) -> Settlement {
    Settlement::of(task, verdict, AttemptReport::default(), Bytes::new())
}

pub(crate) fn failure(kind: ErrorKind) -> TaskError {
    let report = ErrorReport { message: "it broke".into(), ..ErrorReport::default() };
    TaskError { kind, report }
}

pub(crate) fn done() -> Verdict {
    Verdict::Complete(Bytes::from_static(b"{\"n\": 9007199254740993}\n"))
}

pub(crate) fn ids(tasks: &[Claimed]) -> Vec<TaskId> {
    tasks.iter().map(|task| task.definition.id).collect()
}

pub(crate) fn job(name: &str) -> JobName {
    name.parse().unwrap()
}

/// Sends every call twice.
struct Twice<S>(S);

impl<S: Store> Store for Twice<S> {
    fn run(&self, script: Script, args: Vec<Bytes>) -> Answer<'_, Reply> {
        Box::pin(async move {
            let first = self.0.run(script, args.clone()).await?;
            // These take the next slice each time, or count what they are asked.
            if matches!(
                script,
                Script::Sweep | Script::Reopen | Script::Operate | Script::Retain | Script::Admit
            ) {
                return Ok(first);
            }
            let again = self.0.run(script, args).await?;
            assert_eq!(comparable(script, &first), comparable(script, &again), "{}", script.name());
            Ok(first)
        })
    }

    fn take_marker(&self, keys: Vec<Bytes>, timeout: Duration) -> Answer<'_, bool> {
        self.0.take_marker(keys, timeout)
    }

    fn subscribe(&self, channel: Bytes) -> Subscription {
        self.0.subscribe(channel)
    }

    fn scan(&self, prefix: Bytes, cursor: Option<Bytes>) -> Answer<'_, Scanned> {
        self.0.scan(prefix, cursor)
    }

    fn check(&self) -> Answer<'_, Durability> {
        self.0.check()
    }
}

/// The queues that were asked are a hint, given with the first answer alone.
fn comparable(script: Script, reply: &Reply) -> Reply {
    match reply {
        Reply::Array(items) if script == Script::SettleClaim => Reply::Array(items[..6].to_vec()),
        other => other.clone(),
    }
}
