//! Both homes are driven with the same calls under the same clock: every reply and, in the end,
//! every key must be equal.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use proptest::{prelude::*, test_runner::TestRunner};
use sentinel_queue::{
    ApiKey, ErrorKind, Grant, KeyInfo, Millis, Namespace, Queue, TaskId,
    actions::NewAction,
    keys::RequestRate,
    lease::{Claimed, Held, Instance, Served, Turn, Verdict},
    schedule::{CatchUp, Schedule, Scheduler, Timing, Zone},
    sessions::SessionToken,
    store::{
        Answer, Durability, Reply, Scanned, Script, Store, StoreError, Subscription,
        embedded::{Embedded, dump::Value},
        redis::Redis,
    },
    task::{ErrorReport, Progress, TaskError},
};
use sentinel_testkit::RedisServer;

use crate::bench::{START, new_task, settlement};

#[derive(Clone, Debug)]
enum Step {
    Submit { queue: u8, priority: i64, count: usize },
    SubmitAgain { pick: usize },
    Turn { worker: usize, settle: usize, verdict: Ending, wanted: usize, again: bool },
    SettleStale { worker: usize, pick: usize },
    Renew { worker: usize },
    Release { worker: usize, pick: usize, again: bool },
    Sweep,
    Tell,
    Cancel { pick: usize },
    Pause { queue: u8, paused: bool },
    Wake { queue: u8 },
    Schedule { schedule: u8, seconds: u8, catch_up: CatchUp, paused: Option<bool> },
    DropSchedule { schedule: u8 },
    Fire,
    Key { pick: usize, revoked: bool },
    Ask { pick: usize, requests: u32 },
    Session { pick: usize, closed: bool },
    Act { namespace: bool, ended: bool },
    Look { pick: usize },
    Advance { millis: u64 },
    TurnBack { millis: u64 },
    Reopen,
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    Complete,
    Fail,
    Retry,
    Elsewhere,
}

fn step() -> impl Strategy<Value = Step> {
    let ending = prop_oneof![
        3 => Just(Ending::Complete), 1 => Just(Ending::Fail),
        2 => Just(Ending::Retry), 1 => Just(Ending::Elsewhere),
    ];
    let catch_up = prop_oneof![Just(CatchUp::Latest), Just(CatchUp::None)];
    prop_oneof![
        5 => (0..3_u8, -1000..=1000_i64, 1..20_usize)
            .prop_map(|(queue, priority, count)| Step::Submit { queue, priority, count }),
        1 => any::<usize>().prop_map(|pick| Step::SubmitAgain { pick }),
        8 => (0..3_usize, 0..5_usize, ending, 0..40_usize, any::<bool>()).prop_map(
            |(worker, settle, verdict, wanted, again)| Step::Turn { worker, settle, verdict, wanted, again }),
        1 => (0..3_usize, any::<usize>()).prop_map(|(worker, pick)| Step::SettleStale { worker, pick }),
        2 => (0..3_usize).prop_map(|worker| Step::Renew { worker }),
        2 => (0..3_usize, any::<usize>(), any::<bool>())
            .prop_map(|(worker, pick, again)| Step::Release { worker, pick, again }),
        3 => Just(Step::Sweep),
        2 => Just(Step::Tell),
        1 => any::<usize>().prop_map(|pick| Step::Cancel { pick }),
        1 => (0..3_u8, any::<bool>()).prop_map(|(queue, paused)| Step::Pause { queue, paused }),
        1 => (0..3_u8).prop_map(|queue| Step::Wake { queue }),
        1 => (0..3_u8, prop_oneof![Just(5_u8), Just(20)], catch_up, any::<Option<bool>>()).prop_map(
            |(schedule, seconds, catch_up, paused)| Step::Schedule { schedule, seconds, catch_up, paused }),
        1 => (0..3_u8).prop_map(|schedule| Step::DropSchedule { schedule }),
        3 => Just(Step::Fire),
        2 => (0..6_usize, any::<bool>()).prop_map(|(pick, revoked)| Step::Key { pick, revoked }),
        2 => (0..6_usize, 1..10_u32).prop_map(|(pick, requests)| Step::Ask { pick, requests }),
        1 => (0..6_usize, any::<bool>()).prop_map(|(pick, closed)| Step::Session { pick, closed }),
        1 => any::<(bool, bool)>().prop_map(|(namespace, ended)| Step::Act { namespace, ended }),
        3 => any::<usize>().prop_map(|pick| Step::Look { pick }),
        5 => prop_oneof![0..50_u64, 0..12_000_u64, Just(3_700_000)].prop_map(|millis| Step::Advance { millis }),
        1 => (0..60_000_u64).prop_map(|millis| Step::TurnBack { millis }),
        1 => Just(Step::Reopen),
    ]
}

/// A world of three workers over both homes.
struct World {
    queue: Queue,
    clock: Arc<AtomicU64>,
    workers: Vec<(Instance, u64, Vec<Claimed>)>,
    submitted: Vec<sentinel_queue::NewTask>,
    stale: Vec<Claimed>,
    keys: [(ApiKey, SessionToken); 6],
}

impl World {
    fn over(store: Arc<dyn Store>) -> Self {
        let clock = Arc::new(AtomicU64::new(START));
        let workers = (0..3).map(|_| (Instance::random("test"), 0, Vec::new())).collect();
        let queue = Queue::with_clock(store, Arc::clone(&clock));
        let keys = std::array::from_fn(|_| (ApiKey::generate(), SessionToken::generate()));
        Self { queue, clock, workers, submitted: Vec::new(), stale: Vec::new(), keys }
    }

    async fn take(&mut self, step: &Step) {
        let ns = Namespace::default();
        match *step {
            Step::Submit { queue, priority, count } => {
                let tasks: Vec<_> = (0..count)
                    .map(|_| {
                        let mut task = new_task(priority);
                        task.spec.queue = name(queue);
                        task
                    })
                    .collect();
                self.queue.submit(&tasks).await.unwrap();
                self.submitted.extend(tasks);
            }
            Step::SubmitAgain { pick } => {
                let Some(task) = picked(&self.submitted, pick).cloned() else { return };
                self.queue.submit(&[new_task(0), task]).await.unwrap();
            }
            Step::Turn { worker, settle, verdict, wanted, again } => {
                self.turn(worker, settle, verdict, wanted, again).await;
            }
            Step::SettleStale { worker, pick } => {
                let Some(task) = picked(&self.stale, pick).cloned() else { return };
                self.settle(worker, &[task], Ending::Complete, 0, false).await;
            }
            Step::Renew { worker } => self.renew(worker).await,
            Step::Release { worker, pick, again } => {
                let held = &mut self.workers[worker].2;
                if held.is_empty() {
                    return;
                }
                let task = held.remove(pick % held.len());
                let leases = [(task.definition.id, task.token.clone())];
                for _ in 0..=usize::from(again) {
                    self.queue.release(&leases).await.unwrap();
                }
                self.stale.push(task);
            }
            Step::Sweep => drop(self.queue.sweep().await.unwrap()),
            Step::Tell => drop(self.queue.observe().await.unwrap()),
            Step::Cancel { pick } => {
                if let Some(task) = picked(&self.submitted, pick) {
                    self.queue.cancel(task.id).await.unwrap();
                }
            }
            Step::Pause { queue, paused: true } => self.queue.pause(&ns, &name(queue)).await.unwrap(),
            Step::Pause { queue, paused: false } => self.queue.resume(&ns, &name(queue)).await.unwrap(),
            Step::Wake { queue } => {
                let marker = Bytes::from(format!("default:{}", name(queue)));
                self.queue.wake(&[marker]).await.unwrap();
            }
            Step::Schedule { schedule, seconds, catch_up, paused } => {
                let put = Schedule {
                    name: format!("s{schedule}").parse().unwrap(),
                    timing: Timing {
                        cron: format!("*/{seconds} * * * * *").parse().unwrap(),
                        zone: Zone::default(),
                    },
                    catch_up,
                    task: new_task(0).spec,
                };
                self.queue.put_schedule(&put, paused).await.unwrap();
            }
            Step::DropSchedule { schedule } => {
                self.queue.delete_schedule(&ns, &format!("s{schedule}").parse().unwrap()).await.unwrap();
            }
            Step::Fire => drop(Scheduler::default().run(&self.queue).await.unwrap()),
            Step::Key { .. } | Step::Ask { .. } | Step::Session { .. } | Step::Act { .. } => {
                self.access(step).await;
            }
            Step::Look { pick } => self.look(pick).await,
            Step::Advance { millis } => drop(self.clock.fetch_add(millis, Ordering::Relaxed)),
            Step::TurnBack { millis } => drop(self.clock.fetch_sub(millis, Ordering::Relaxed)),
            Step::Reopen => {
                self.queue.reopen().await.unwrap();
                let held = self.workers.iter_mut().flat_map(|(_, _, held)| held.drain(..));
                self.stale.extend(held);
            }
        }
    }

    async fn access(&self, step: &Step) {
        match *step {
            Step::Key { pick, revoked: false } => {
                let info = KeyInfo {
                    id: self.keys[pick].0.id().clone(),
                    name: "k".into(),
                    hash: self.keys[pick].0.hash(),
                    grant: Grant::default(),
                    created_at: Millis(0),
                    expires_at: None,
                    revoked_at: None,
                };
                self.queue.add_key(&info).await.unwrap();
            }
            Step::Key { pick, revoked: true } => {
                self.queue.revoke_key(self.keys[pick].0.id()).await.unwrap();
            }
            Step::Ask { pick, requests } => {
                let rate = RequestRate { requests, per: Duration::from_secs(1) };
                self.queue.admit(self.keys[pick].0.id(), rate).await.unwrap();
            }
            Step::Session { pick, closed: false } => {
                let (key, token) = &self.keys[pick];
                let lifetime = Duration::from_secs(5 * (pick as u64 + 1));
                self.queue.open_session(token, key.id(), lifetime).await.unwrap();
            }
            Step::Session { pick, closed: true } => {
                self.queue.close_session(&self.keys[pick].1).await.unwrap();
            }
            Step::Act { namespace, ended } => {
                let action = NewAction {
                    key: None,
                    who: "anybody".into(),
                    namespace: namespace.then(Namespace::default),
                    what: "POST".into(),
                    target: "/".into(),
                    request_id: "r".into(),
                    from: "127.0.0.1".into(),
                };
                let number = self.queue.begin_action(&action).await.unwrap();
                if ended {
                    self.queue.end_action(number, 200).await.unwrap();
                }
            }
            _ => {}
        }
    }

    async fn turn(&mut self, worker: usize, settle: usize, verdict: Ending, wanted: usize, again: bool) {
        let held = &mut self.workers[worker].2;
        let count = settle.min(held.len());
        let settled: Vec<_> = held.drain(..count).collect();
        self.settle(worker, &settled, verdict, wanted, again).await;
    }

    async fn settle(
        &mut self,
        worker: usize,
        settled: &[Claimed],
        verdict: Ending,
        wanted: usize,
        again: bool,
    ) {
        let (instance, number, held) = &mut self.workers[worker];
        *number += 1;
        let error = TaskError { kind: ErrorKind::Trap, report: ErrorReport::default() };
        let verdict = match verdict {
            Ending::Complete => Verdict::Complete(Bytes::from_static(b"{\"r\":1}")),
            Ending::Fail => Verdict::Fail(error),
            Ending::Retry => Verdict::Retry(error, Duration::from_millis(700)),
            Ending::Elsewhere => Verdict::Elsewhere(error, Duration::from_millis(300)),
        };
        let settlements: Vec<_> = settled
            .iter()
            .map(|task| {
                let mut settlement = settlement(task, verdict.clone());
                settlement.log = Bytes::from_static(b"a line\n");
                settlement
            })
            .collect();
        let turn = Turn { number: *number, settlements, wanted };
        for _ in 0..=usize::from(again) {
            let answer = self.queue.settle_and_claim(instance, &Served::All, &turn).await.unwrap();
            for task in answer.claimed {
                if !held.contains(&task) {
                    held.push(task);
                }
            }
        }
        self.stale.extend_from_slice(settled);
    }

    async fn renew(&mut self, worker: usize) {
        let (instance, _, held) = &self.workers[worker];
        let leases: Vec<_> = held
            .iter()
            .map(|task| Held {
                id: task.definition.id,
                token: task.token.clone(),
                progress: Some(Progress { percent: 50, message: "half".into() }),
            })
            .collect();
        let jobs = [Bytes::from_static(b"j")];
        self.queue.renew(instance, Bytes::from_static(b"{}"), &jobs, &leases).await.unwrap();
    }

    async fn look(&self, pick: usize) {
        let ns = Namespace::default();
        self.queue.series(&ns, Duration::from_secs(3600)).await.unwrap();
        self.queue.sums(&ns).await.unwrap();
        self.queue.waiting(&ns).await.unwrap();
        if let Some(task) = picked(&self.submitted, pick) {
            self.queue.get(task.id).await.unwrap().expect("an accepted task is there");
        }
        assert!(self.queue.get(TaskId::random()).await.unwrap().is_none());
        self.queue.keys(None).await.unwrap();
        self.queue.session(&self.keys[pick % self.keys.len()].1).await.unwrap();
        self.queue.actions(Some(&ns), None, 10).await.unwrap();
        self.queue.counts(&ns).await.unwrap();
        self.queue.queues(&ns).await.unwrap();
        self.queue.schedules(&ns, "", 10).await.unwrap();
        self.queue.workers().await.unwrap();
        self.queue.jobs().await.unwrap();
    }
}

fn name(queue: u8) -> sentinel_queue::QueueName {
    format!("q{queue}").parse().unwrap()
}

fn picked<T>(things: &[T], pick: usize) -> Option<&T> {
    things.get(pick.checked_rem(things.len())?)
}

/// Runs each call in both homes and compares the answers.
pub(crate) struct Both {
    pub(crate) redis: Redis,
    pub(crate) embedded: Embedded,
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: T, theirs: &T) -> Result<T, StoreError> {
    if ours == *theirs {
        return Ok(ours);
    }
    Err(StoreError::Broken(format!("{what}: the embedded home answers {ours:?}, Redis {theirs:?}")))
}

impl Store for Both {
    fn run(&self, script: Script, args: Vec<Bytes>) -> Answer<'_, Reply> {
        Box::pin(async move {
            let ours = self.embedded.run(script, args.clone()).await?;
            same(script.name(), ours, &self.redis.run(script, args).await?)
        })
    }

    fn take_marker(&self, keys: Vec<Bytes>, timeout: Duration) -> Answer<'_, bool> {
        Box::pin(async move {
            let ours = self.embedded.take_marker(keys.clone(), timeout).await?;
            same("take_marker", ours, &self.redis.take_marker(keys, timeout).await?)
        })
    }

    fn subscribe(&self, channel: Bytes) -> Subscription {
        self.redis.subscribe(channel)
    }

    /// Redis lists keys in another order, and all keys are compared anyway.
    fn scan(&self, prefix: Bytes, cursor: Option<Bytes>) -> Answer<'_, Scanned> {
        self.embedded.scan(prefix, cursor)
    }

    fn check(&self) -> Answer<'_, Durability> {
        self.redis.check()
    }
}

/// The whole keyspace of a Redis.
pub(crate) fn keyspace(redis: &mut redis::Connection) -> BTreeMap<Vec<u8>, Value> {
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(redis).unwrap();
    keys.into_iter()
        .map(|key| {
            let kind: String = redis::cmd("TYPE").arg(&key).query(redis).unwrap();
            let value = match kind.as_str() {
                "string" => Value::String(redis::cmd("GET").arg(&key).query(redis).unwrap()),
                "hash" => Value::Hash(redis::cmd("HGETALL").arg(&key).query(redis).unwrap()),
                "zset" => {
                    let range = redis::cmd("ZRANGE").arg(&key).arg(0).arg(-1).arg("WITHSCORES").to_owned();
                    let pairs: Vec<(Vec<u8>, f64)> = range.query(redis).unwrap();
                    Value::Zset(pairs.into_iter().collect())
                }
                other => panic!("a key of kind {other}"),
            };
            (key, value)
        })
        .collect()
}

#[test]
fn both_homes_answer_and_hold_the_same() {
    // One server for all histories; each empties it.
    let server = RedisServer::start(&[]);
    let url = server.url();
    let connection = RefCell::new(redis::Client::open(url.as_str()).unwrap().get_connection().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = ProptestConfig { cases: 100, max_shrink_iters: 200, ..ProptestConfig::default() };
    let histories = prop::collection::vec(step(), 1..120);
    let outcome = TestRunner::new(config).run(&histories, |steps| {
        redis::cmd("FLUSHALL").exec(&mut connection.borrow_mut()).unwrap();
        let both = Arc::new(Both { redis: Redis::new(&url).unwrap(), embedded: Embedded::in_memory() });
        runtime.block_on(async {
            let mut world = World::over(both.clone());
            for step in &steps {
                world.take(step).await;
            }
        });
        prop_assert_eq!(both.embedded.dump(), keyspace(&mut connection.borrow_mut()));
        Ok(())
    });
    // Said before the server is gone, since a failing history is to be run again by its seed.
    if let Err(failure) = outcome {
        panic!("{failure}\n{failure:?}");
    }
}
