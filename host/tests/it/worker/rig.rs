//! A worker of its own over a store of its own.

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use sentinel_host::worker::{Apart, GrantTable, Library, Worker, WorkerConfig};
use sentinel_queue::{
    Namespace, NewTask, Payload, Queue, Spec, Status, Task, TaskId,
    lease::Served,
    steer::Retention,
    store::{
        Answer, Durability, Reply, Scanned, Script, Store, Subscription, embedded::Embedded, redis::Redis,
    },
};
use sentinel_testkit::RedisServer;
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::engine::lab::{built, lab};

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
pub(crate) enum Home {
    Redis,
    Embedded,
}

pub(crate) struct Rig {
    pub(crate) queue: Queue,
    pub(crate) config: WorkerConfig,
    /// The plugins directory.
    pub(crate) plugins: TempDir,
    /// What stands beside the plugin.
    pub(crate) manifest: Option<String>,
    /// The `grants` of its configuration.
    pub(crate) grants: String,
    seen: Arc<Mutex<Vec<TaskId>>>,
    server: Option<RedisServer>,
    busy: Box<dyn Fn() -> usize + Send + Sync>,
    working: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Rig {
    /// A store and a worker on it.
    pub(crate) fn start(home: Home, slots: u32) -> Self {
        let mut rig = Self::prepare(home, slots);
        rig.work();
        rig
    }

    /// A store, and a worker that does not work yet.
    pub(crate) fn prepare(home: Home, slots: u32) -> Self {
        let seen = Arc::default();
        let (store, server): (Arc<dyn Store>, _) = match home {
            Home::Redis => {
                let server = RedisServer::start(&[]);
                let redis = Redis::new(&server.url()).unwrap();
                (Arc::new(Watched { store: redis, seen: Arc::clone(&seen) }), Some(server))
            }
            Home::Embedded => {
                let store = Embedded::in_memory();
                (Arc::new(Watched { store, seen: Arc::clone(&seen) }), None)
            }
        };
        let config = WorkerConfig {
            slots: NonZeroU32::new(slots).unwrap(),
            memory_bytes: 4 << 30,
            served: Served::All,
            grace: Duration::from_secs(10),
            retention: Retention::default(),
            submits: std::collections::BTreeMap::new(),
            traces: sentinel_trace::Traces::default(),
            apart: Apart { program: "/nowhere/sentinel".into(), args: vec![] },
        };
        Self {
            queue: Queue::new(store),
            config,
            plugins: tempfile::tempdir().unwrap(),
            manifest: None,
            grants: String::new(),
            seen,
            server,
            working: None,
            busy: Box::new(|| 0),
        }
    }

    /// Starts the worker, which has the jobs `hostile` and `ledger`.
    pub(crate) fn work(&mut self) {
        let dir = &self.plugins;
        std::fs::copy(built("hostile"), dir.path().join("hostile.wasm")).unwrap();
        std::fs::copy(built("ledger"), dir.path().join("ledger.wasm")).unwrap();
        if let Some(manifest) = &self.manifest {
            std::fs::write(dir.path().join("hostile.toml"), manifest).unwrap();
        }
        let granted = GrantTable::parse(&self.grants.parse().unwrap()).unwrap().resolve().unwrap();
        let plugins = Library::open(lab().engine.clone(), vec![dir.path().to_owned()], granted).unwrap();
        let complete = plugins.complete(PATIENCE);
        assert!(tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(complete)));
        assert!(plugins.current().refused().is_empty());
        let worker = Worker::new(self.queue.clone(), plugins, self.config.clone()).unwrap();
        self.busy = Box::new(worker.busy());
        let (stop, stopped) = oneshot::channel();
        let handle = tokio::spawn(worker.run(async move { drop(stopped.await) }));
        self.working = Some((stop, handle));
    }

    /// How many attempts the worker has under way.
    pub(crate) fn busy(&self) -> usize {
        (self.busy)()
    }

    /// Tells the worker to stop, and waits until it has.
    pub(crate) async fn stop(mut self) {
        let (stop, handle) = self.working.take().unwrap();
        stop.send(()).unwrap();
        handle.await.unwrap();
    }

    pub(crate) async fn submit(&self, task: NewTask) -> TaskId {
        self.queue.submit(std::slice::from_ref(&task)).await.unwrap();
        task.id
    }

    pub(crate) async fn ended(&self, id: TaskId) -> Task {
        self.until(id, |task| task.state.status().is_final()).await
    }

    pub(crate) async fn until(&self, id: TaskId, ready: impl Fn(&Task) -> bool) -> Task {
        let since = Instant::now();
        loop {
            if let Ok(Some(task)) = self.queue.get(id).await
                && ready(&task)
            {
                return task;
            }
            assert!(since.elapsed() < PATIENCE, "the task {id} did not get there");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until so many tasks are COMPLETED.
    pub(crate) async fn until_done(&self, count: u64) {
        let since = Instant::now();
        loop {
            let counts = self.queue.counts(&Namespace::default()).await.unwrap();
            if counts.of(Status::Completed) == count {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "not all tasks completed: {counts:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The tasks in the order in which they were claimed.
    pub(crate) fn claimed(&self) -> Vec<TaskId> {
        self.seen.lock().unwrap().clone()
    }

    /// How often a task was claimed beyond the claims that were given back or lost.
    pub(crate) fn claims(&self, id: TaskId) -> usize {
        self.claimed().iter().filter(|claimed| **claimed == id).count()
    }

    /// Makes Redis answer nobody for a while.
    pub(crate) fn pause_store(&self, time: Duration) {
        let url = self.server.as_ref().expect("a Redis").url();
        let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        let millis = u64::try_from(time.as_millis()).unwrap();
        redis::cmd("CLIENT").arg("PAUSE").arg(millis).arg("ALL").exec(&mut connection).unwrap();
    }
}

pub(crate) fn task(payload: &str) -> NewTask {
    let (payload, job) = Payload::parse(Bytes::from(payload.to_owned())).unwrap();
    NewTask::new(Spec::new(job, payload))
}

/// Notes what is claimed, in order.
struct Watched<S> {
    store: S,
    seen: Arc<Mutex<Vec<TaskId>>>,
}

impl<S: Store> Store for Watched<S> {
    fn run(&self, script: Script, args: Vec<Bytes>) -> Answer<'_, Reply> {
        Box::pin(async move {
            let reply = self.store.run(script, args).await?;
            if script == Script::SettleClaim {
                let tasks = reply.clone().into_array()?.remove(5).into_array()?;
                let ids = tasks
                    .chunks(4)
                    .map(|task| task[0].clone().into_text().unwrap().parse::<TaskId>().unwrap());
                self.seen.lock().unwrap().extend(ids);
            }
            Ok(reply)
        })
    }

    fn take_marker(&self, keys: Vec<Bytes>, timeout: Duration) -> Answer<'_, bool> {
        self.store.take_marker(keys, timeout)
    }

    fn subscribe(&self, channel: Bytes) -> Subscription {
        self.store.subscribe(channel)
    }

    fn scan(&self, prefix: Bytes, cursor: Option<Bytes>) -> Answer<'_, Scanned> {
        self.store.scan(prefix, cursor)
    }

    fn check(&self) -> Answer<'_, Durability> {
        self.store.check()
    }
}
