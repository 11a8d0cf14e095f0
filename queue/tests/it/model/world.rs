//! Takes the steps of a history in the real queue and in the machine, and holds one against the
//! other: every answer, and what clients can see.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use sentinel_queue::{
    ErrorKind, Millis, Namespace, NewTask, Payload, Priority, Queue, QueueName, QueueSettings, Spec, Status,
    TaskId,
    lease::{Claimed, Held, Instance, Served, Settlement, Turn, TurnAnswer, Verdict},
    list::Filter,
    queue::SubmitError,
    settings::Rate,
    steer::{Keep, Retention, Steered},
    store::Store,
    task::{AfterPolicy, TaskState, When},
};

use super::{
    history::{Ending, Step, Wire, Wish},
    machine::{Answer, How, Machine, Place, Task},
};
use crate::bench::{START, done, failure, settlement};

/// A copy of a call is not delivered later than this.
const LATEST: u64 = 60_000;

struct Worker {
    /// Which of all workers that ever were.
    who: usize,
    instance: Instance,
    number: u64,
    /// The last call that the store keeps.
    kept: u64,
    held: Vec<(Claimed, u64)>,
}

/// A turn of which a copy is still under way.
struct Copy {
    worker: usize,
    instance: Instance,
    turn: Turn,
    sent: u64,
}

pub(crate) struct World {
    queue: Queue,
    clock: Arc<AtomicU64>,
    machine: Machine,
    workers: Vec<Worker>,
    /// How many workers there ever were.
    born: usize,
    submitted: Vec<NewTask>,
    stale: Vec<(Claimed, usize, u64)>,
    copies: Vec<Copy>,
}

fn name(queue: usize) -> QueueName {
    format!("q{queue}").parse().unwrap()
}

fn picked<T>(things: &[T], pick: usize) -> Option<&T> {
    things.get(pick.checked_rem(things.len())?)
}

/// The second queue is served by one worker alone, the third by all but it.
fn served(worker: usize) -> (Served, Vec<String>) {
    let of = |queue: usize, share| (Namespace::default(), name(queue), share);
    match worker {
        0 => (Served::All, (0..3).map(|queue| name(queue).to_string()).collect()),
        1 => (Served::Only(vec![of(0, 3), of(1, 1)]), vec![name(0).to_string(), name(1).to_string()]),
        _ => (Served::Only(vec![of(2, 1)]), vec![name(2).to_string()]),
    }
}

impl World {
    pub(crate) fn over(store: Arc<dyn Store>) -> Self {
        let clock = Arc::new(AtomicU64::new(START));
        let queue = Queue::with_clock(store, Arc::clone(&clock));
        let machine = Machine::at(START);
        let mut world = Self {
            queue,
            clock,
            machine,
            workers: Vec::new(),
            born: 0,
            submitted: Vec::new(),
            stale: Vec::new(),
            copies: Vec::new(),
        };
        world.workers = (0..3).map(|_| world.new_worker()).collect();
        world
    }

    fn new_worker(&mut self) -> Worker {
        self.born += 1;
        let who = self.born;
        Worker { who, instance: Instance::random("model"), number: 0, kept: 0, held: Vec::new() }
    }

    fn set_now(&mut self, now: u64) {
        self.machine.now = now;
        self.clock.store(now, Ordering::Relaxed);
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each step")]
    pub(crate) async fn take(&mut self, step: &Step) {
        let ns = Namespace::default();
        match step {
            Step::Submit { wishes, chained, wire } => self.submit(wishes, *chained, *wire).await,
            Step::SubmitAgain { pick } => {
                if let Some(task) = picked(&self.submitted, *pick).cloned()
                    && self.machine.tasks.contains_key(&task.id)
                {
                    self.exchange_submit(&[task], Wire::Fine).await;
                }
            }
            Step::Turn { worker, settle, ending, wanted, wire } => {
                let worker = *worker;
                let count = (*settle).min(self.workers[worker].held.len());
                let settled: Vec<_> = self.workers[worker].held.drain(..count).collect();
                self.turn(worker, settled, *ending, *wanted, *wire).await;
            }
            Step::Late { pick } => self.late(*pick).await,
            Step::Stale { pick, ending } => {
                let worker = pick % 3;
                let who = self.workers[worker].who;
                let mine: Vec<_> = self.stale.iter().filter(|(_, other, _)| *other == who).cloned().collect();
                if let Some((task, _, call)) = picked(&mine, *pick).cloned() {
                    self.turn(worker, vec![(task, call)], *ending, 0, Wire::Fine).await;
                }
            }
            Step::Renew { worker, advertises, wire } => self.renew(*worker, *advertises, *wire).await,
            Step::Release { worker, pick, wire } => self.release(*worker, *pick, *wire).await,
            Step::Die { worker } => {
                let new = self.new_worker();
                let old = std::mem::replace(&mut self.workers[*worker], new);
                let held = old.held.into_iter().map(|(task, call)| (task, old.who, call));
                self.stale.extend(held);
            }
            Step::Sweep => self.sweep().await,
            Step::Cancel { pick, wire } => {
                let Some(id) = self.any_task(*pick) else { return };
                let expected = self.machine.cancel(id);
                self.steer(expected, *wire, async || self.queue.cancel(id).await.unwrap()).await;
            }
            Step::Redrive { pick, wire } => {
                let Some(id) = self.any_task(*pick) else { return };
                let expected = self.machine.redrive(id);
                self.steer(expected, *wire, async || self.queue.redrive(id).await.unwrap()).await;
            }
            Step::Reschedule { pick, delay, priority, wire } => {
                let Some(id) = self.any_task(*pick) else { return };
                let due = delay.map(|delay| self.machine.now + delay);
                let when = delay.map(|delay| When::After(Duration::from_millis(delay)));
                let priority = priority.map(|priority| Priority::new(priority).unwrap());
                let expected = self.machine.reschedule(id, due, priority.map(Priority::get));
                let call = async || self.queue.reschedule(id, when, priority).await.unwrap();
                self.steer(expected, *wire, call).await;
            }
            Step::Pause { queue, paused } => {
                let queue = name(*queue);
                self.machine.lines.entry(queue.to_string()).or_default().paused = *paused;
                if *paused {
                    self.queue.pause(&ns, &queue).await.unwrap();
                } else {
                    self.queue.resume(&ns, &queue).await.unwrap();
                }
            }
            Step::Set { queue, rate, concurrency, per_key, aging } => {
                let settings = QueueSettings {
                    rate: rate.map(|starts| Rate { starts, per: Duration::from_secs(2) }),
                    concurrency: *concurrency,
                    per_key: *per_key,
                    aging: aging.then_some(Duration::from_millis(700)),
                    ..QueueSettings::default()
                };
                let queue = name(*queue);
                let expected = self.machine.set(queue.as_str(), &settings);
                assert_eq!(self.queue.set_queue(&ns, &queue, &settings).await.unwrap(), expected);
            }
            Step::Operate { kind, queue } => {
                let filter = Filter { queue: Some(name(*queue)), ..Filter::default() };
                let id = self.queue.start_operation(*kind, &filter, false).await.unwrap();
                while self.queue.operate().await.unwrap() {}
                let expected = self.machine.operate(*kind, name(*queue).as_str());
                assert_eq!(self.queue.operation(&id).await.unwrap().unwrap().done, expected);
            }
            Step::Retain { count, seconds } => {
                let keep = Keep { age: Duration::from_secs(120 + seconds), count: *count };
                let retention = Retention { completed: keep, failed: keep, cancelled: keep };
                self.machine.retain(&retention);
                while self.queue.retain(&ns, &retention).await.unwrap().1 {}
            }
            Step::Advance { millis } => self.set_now(self.machine.now + millis),
            Step::TurnBack { millis } => {
                self.machine.forget_starts();
                self.set_now(self.machine.now - millis);
            }
            Step::Pass { seconds } => {
                for _ in 0..*seconds {
                    self.set_now(self.machine.now + 1000);
                    self.sweep().await;
                }
            }
            Step::Reopen => {
                self.queue.reopen().await.unwrap();
                self.machine.reopen();
            }
        }
        self.check_counts().await;
    }

    fn any_task(&self, pick: usize) -> Option<TaskId> {
        picked(&self.machine.ids(|_| true), pick).copied()
    }

    // --- submit

    async fn submit(&mut self, wishes: &[Wish], chained: bool, wire: Wire) {
        let mut tasks: Vec<NewTask> = Vec::new();
        for wish in wishes {
            let mut task = self.new_task(wish);
            if let Some(before) = tasks.last()
                && chained
                && !task.spec.after.contains(&before.id)
            {
                task.spec.after.push(before.id);
            }
            tasks.push(task);
        }
        self.exchange_submit(&tasks, wire).await;
        self.submitted.extend(tasks);
    }

    fn new_task(&self, wish: &Wish) -> NewTask {
        let text: &[u8] = if wish.payload { br#"{"job":"j"}"# } else { br#"{"job":"j","x":1}"# };
        let (payload, job) = Payload::parse(Bytes::from_static(text)).unwrap();
        let mut task = NewTask::new(Spec::new(job, payload));
        task.when = wish.delay.map(|delay| When::After(Duration::from_millis(delay)));
        task.spec.queue = name(wish.queue);
        task.spec.priority = Priority::new(wish.priority).unwrap();
        task.spec.expires_at = wish.expires.map(|after| Millis(self.machine.now + after));
        task.spec.idempotency_key = wish.idempotency.map(|key| format!("k{key}").parse().unwrap());
        task.spec.concurrency_key = wish.key.map(|key| format!("c{key}").parse().unwrap());
        let parents: BTreeSet<_> = wish.parents.iter().filter_map(|pick| self.any_task(*pick)).collect();
        task.spec.after = parents.into_iter().collect();
        if wish.always {
            task.spec.after_policy = AfterPolicy::Always;
        }
        task
    }

    async fn exchange_submit(&mut self, tasks: &[NewTask], wire: Wire) {
        let expected = self.machine.submit(tasks);
        for _ in 0..if wire == Wire::Fine { 1 } else { 2 } {
            let answer = match self.queue.submit(tasks).await {
                Ok(accepted) => Answer::Accepted(accepted.iter().map(|task| task.id).collect()),
                Err(SubmitError::Conflict { index }) => Answer::Conflict(index),
                Err(SubmitError::NoParent { index, .. }) => Answer::NoParent(index),
                Err(SubmitError::Store(error)) => panic!("{error}"),
            };
            assert_eq!(answer, expected);
        }
    }

    // --- attempts

    async fn turn(
        &mut self,
        worker: usize,
        settled: Vec<(Claimed, u64)>,
        ending: Ending,
        wanted: usize,
        wire: Wire,
    ) {
        let (serves, queues) = served(worker);
        let (who, number) = {
            let worker = &mut self.workers[worker];
            worker.number += 1;
            (worker.who, worker.number)
        };
        let verdict = match ending {
            Ending::Complete => done(),
            Ending::Fail => Verdict::Fail(failure(ErrorKind::Trap)),
            Ending::Retry => Verdict::Retry(failure(ErrorKind::Trap), Duration::from_millis(700)),
            Ending::Elsewhere => {
                Verdict::Elsewhere(failure(ErrorKind::UnknownJob), Duration::from_millis(300))
            }
        };
        let how = match ending {
            Ending::Complete => How::Complete,
            Ending::Fail => How::Fail,
            Ending::Retry => How::Retry(700),
            Ending::Elsewhere => How::Elsewhere(300),
        };
        let settlements: Vec<Settlement> =
            settled.iter().map(|(task, _)| settlement(task, verdict.clone())).collect();
        let turn = Turn { number, settlements, wanted };
        let instance = self.workers[worker].instance.clone();
        let mut answer = self.queue.settle_and_claim(&instance, &serves, &turn).await.unwrap();

        // What was settled before is settled still: the answer is the same.
        let known: Vec<_> = settled
            .iter()
            .map(|(task, call)| self.machine.settle_again(task.definition.id, who, *call, how))
            .collect();
        assert_eq!(answer.settled, known);
        self.machine.after_settling(wanted);
        let got: Vec<_> = answer.claimed.iter().map(|task| task.definition.id).collect();
        if wanted > 0 {
            self.machine.before_claim();
            self.machine.claim(who, number, &queues, wanted, &got);
        }
        if !got.is_empty() || !settled.is_empty() {
            self.workers[worker].kept = number;
            if wire == Wire::Copied {
                let sent = self.machine.now;
                self.copies.push(Copy { worker: who, instance: instance.clone(), turn: turn.clone(), sent });
            }
            if matches!(wire, Wire::Doubled | Wire::Unanswered) {
                let again = self.queue.settle_and_claim(&instance, &serves, &turn).await.unwrap();
                assert_eq!(essence(&again), essence(&answer), "the same call, the same answer");
                answer = again;
            }
        }
        for task in &answer.claimed {
            let machine = &self.machine.tasks[&task.definition.id];
            let (ended, lost) = (task.progression.ended, task.progression.lost);
            assert_eq!((ended, lost), (machine.ended, machine.lost), "a worker is told how it stands");
        }
        let worker = &mut self.workers[worker];
        worker.held.extend(answer.claimed.into_iter().map(|task| (task, number)));
        self.stale.extend(settled.into_iter().map(|(task, call)| (task, who, call)));
    }

    async fn late(&mut self, pick: usize) {
        let now = self.machine.now;
        // Of a worker that died the last call is not known here.
        let gone = |copy: &Copy| self.workers.iter().all(|worker| worker.who != copy.worker);
        self.copies.retain(|copy| copy.sent + LATEST >= now && copy.sent <= now && !gone(copy));
        if self.copies.is_empty() {
            return;
        }
        let Copy { worker, instance, turn, .. } = self.copies.remove(pick % self.copies.len());
        let answer = self.queue.settle_and_claim(&instance, &Served::All, &turn).await.unwrap();
        let kept = self.workers.iter().find(|known| known.who == worker).map(|known| known.kept);
        if kept == Some(turn.number) {
            assert!(!answer.superseded);
            self.machine.prolong(worker, turn.number);
        } else {
            assert!(answer.superseded && answer.claimed.is_empty());
        }
    }

    async fn renew(&mut self, worker: usize, advertises: bool, wire: Wire) {
        let Worker { who, instance, held, .. } = &self.workers[worker];
        let claims: Vec<_> = held.iter().map(|(task, call)| (task.definition.id, *who, *call)).collect();
        let leases: Vec<_> = held
            .iter()
            .map(|(task, _)| Held { id: task.definition.id, token: task.token.clone(), progress: None })
            .collect();
        let jobs = [Bytes::from_static(b"j")];
        let expected = self.machine.renew(&claims, advertises);
        for _ in 0..if wire == Wire::Fine { 1 } else { 2 } {
            let jobs = if advertises { &jobs[..] } else { &[] };
            let renewed = self.queue.renew(instance, Bytes::new(), jobs, &leases).await.unwrap();
            assert_eq!(renewed.lost.into_iter().collect::<BTreeSet<_>>(), expected);
        }
    }

    async fn release(&mut self, worker: usize, pick: usize, wire: Wire) {
        let Worker { who, held, .. } = &mut self.workers[worker];
        if held.is_empty() {
            return;
        }
        let (task, call) = held.remove(pick % held.len());
        let who = *who;
        let id = task.definition.id;
        let expected = self.machine.release(id, who, call);
        for _ in 0..if wire == Wire::Fine { 1 } else { 2 } {
            let released = self.queue.release(&[(id, task.token.clone())]).await.unwrap();
            assert_eq!(released, [expected]);
        }
        self.stale.push((task, who, call));
    }

    async fn sweep(&mut self) {
        let expected = self.machine.sweep();
        let swept = self.queue.sweep().await.unwrap();
        assert!(!swept.more, "histories are small");
        let reaped: BTreeMap<_, _> = swept.reaped.iter().map(|lease| (lease.id, lease.failed)).collect();
        assert_eq!(reaped, expected);
    }

    async fn steer(&self, expected: Steered, wire: Wire, call: impl AsyncFn() -> Steered) {
        assert_eq!(call().await, expected);
        // Asked a second time by another request, the answer is about the state as it is.
        let _ = wire;
    }

    // --- what clients see

    async fn check_counts(&self) {
        let counts = self.queue.counts(&Namespace::default()).await.unwrap();
        for status in Status::ALL {
            let held = self.machine.ids(|task| task.status() == *status).len() as u64;
            assert_eq!(counts.of(*status), held, "{status}");
        }
        for (what, times) in &self.machine.ever {
            assert_eq!(counts.ever(what), *times, "{what}");
        }
    }

    /// Everything, at the end of a history.
    pub(crate) async fn check_all(&self) {
        for (id, task) in &self.machine.tasks {
            self.check_task(*id, task).await;
        }
        for status in Status::ALL {
            self.check_list(*status).await;
        }
        let audit = self.queue.audit(&Namespace::default(), |_| {}).await.unwrap();
        assert_eq!(audit.problems, Vec::<String>::new());
        assert_eq!(audit.tasks, self.machine.tasks.len() as u64, "an accepted task is there");
    }

    async fn check_task(&self, id: TaskId, expected: &Task) {
        let task = self.queue.get(id).await.unwrap().expect("an accepted task is there");
        let progression = &task.progression;
        assert_eq!(
            (
                task.state.status(),
                progression.ended,
                progression.failures,
                progression.lost,
                progression.spared
            ),
            (expected.status(), expected.ended, expected.failures, expected.lost, expected.spared),
            "{id}"
        );
        assert_eq!(task.definition.spec.priority.get(), expected.priority);
        assert_eq!(progression.due.map(|due| due.0), expected.due);
        match (&task.state, &expected.place) {
            (TaskState::InProgress { worker, .. }, Place::Leased(claim)) => {
                if let Some(known) = self.workers.iter().find(|worker| worker.who == claim.worker) {
                    assert_eq!(worker, known.instance.as_str());
                }
            }
            (
                TaskState::Completed { ended, .. }
                | TaskState::Failed { ended, .. }
                | TaskState::Cancelled { ended, .. },
                Place::Finished { kind, at, attempt, .. },
            ) => {
                assert_eq!((ended.finished_at.0, ended.attempt), (*at, *attempt));
                assert_eq!(task.error().map(|error| error.kind), *kind);
            }
            _ => {}
        }
    }

    async fn check_list(&self, status: Status) {
        let filter = Filter { statuses: vec![status], ..Filter::default() };
        let (mut listed, mut cursor) = (Vec::new(), None);
        loop {
            let slice = self.queue.list(&filter, 7, cursor.as_ref()).await.unwrap();
            listed.extend(slice.tasks.iter().map(|task| task.definition.id));
            cursor = slice.next;
            if cursor.is_none() {
                break;
            }
        }
        let mut expected = self.machine.ids(|task| task.status() == status);
        let of = |id: &TaskId| &self.machine.tasks[id];
        match status {
            Status::Scheduled => expected.sort_by_key(|id| (of(id).due, of(id).seq)),
            Status::Completed | Status::Failed | Status::Cancelled => expected.sort_by_key(|id| {
                let Place::Finished { at, .. } = of(id).place else { unreachable!() };
                std::cmp::Reverse((at, id.to_string()))
            }),
            // Those of one queue whose key is taken come behind the others.
            _ => {
                listed.sort();
                expected.sort();
            }
        }
        assert_eq!(listed, expected, "{status}");
    }
}

/// What must be the same when a call is sent again.
fn essence(answer: &TurnAnswer) -> (Vec<bool>, Vec<Claimed>) {
    (answer.settled.clone(), answer.claimed.clone())
}
