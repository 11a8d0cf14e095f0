//! Takes the steps of a history in the real queue and in the model, and compares what they answer.

use std::{
    collections::BTreeSet,
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use proptest::{prelude::*, test_runner::TestCaseError};
use sentinel_queue::{
    ErrorKind, JobName, Millis, Namespace, NewTask, Payload, Priority, Queue, QueueName, QueueSettings, Spec,
    Status, TaskId,
    lease::{Claimed, Held, Instance, Served, Settlement, Turn, TurnAnswer, Verdict},
    list::{EndingCursor, Filter},
    queue::SubmitError,
    settings::Rate,
    steer::{Keep, OperationKind, Retention, Steered},
    store::{Store, StoreError},
    task::{AfterPolicy, AttemptReport, ErrorReport, Progress, TaskError, TaskState, When},
};

use super::{
    Notes, check,
    history::{Among, Draft, Ending, Limits, Parent, Step, Time, Wire as Way},
    machine::{DAY, LEASE, Model, Place, Refusal, Standing},
    wire::{Sent, Wire},
};
use crate::bench::START;

pub(crate) type Outcome<T = ()> = Result<T, TestCaseError>;

/// So much may be there, so that no call meets the end of its slice: what happens there is
/// another test's.
const MOST_UNFINISHED: usize = 90;
const MOST_TASKS: usize = 180;

/// A call may be sent again for so long.
const SENT_AGAIN: u64 = 60_000;

/// Somebody sweeps at least this often.
const SWEEP_EVERY: u64 = 3_000;

pub(crate) struct World {
    pub(crate) queue: Queue,
    pub(crate) wire: Arc<Wire>,
    pub(crate) model: Model,
    clock: Arc<AtomicU64>,
    workers: Vec<Worker>,
    /// How many ids and instances were made.
    made: u64,
    submits: Vec<(u64, Vec<NewTask>)>,
    /// Every task that was ever accepted.
    pub(crate) known: Vec<TaskId>,
    /// Claims that are over, as far as their workers know.
    past: Vec<Claimed>,
    /// Calls that the network may still hold a copy of.
    sent: Vec<(u64, Copied)>,
    /// What happened, so that nothing is left untried.
    pub(crate) notes: Notes,
    /// Where a listener to all ends goes on, their places as it heard them, and the tasks with the
    /// times of their ends.
    next_end: Option<EndingCursor>,
    ends: BTreeSet<String>,
    heard: BTreeSet<(TaskId, u64)>,
    tell: bool,
}

/// A worker as it sees itself.
struct Worker {
    instance: Instance,
    number: u64,
    served: Served,
    held: Vec<Claimed>,
    /// A call whose answer did not come, and when it was sent.
    open: Option<(u64, Turn)>,
}

/// A call that may come again.
#[derive(Clone)]
enum Copied {
    /// It must change nothing, and is answered as at first.
    Done(Sent),
    /// Of this what was accepted must not be accepted again. What was refused, or was another
    /// task's double, left no trace: it is judged anew.
    Submit(Vec<NewTask>),
    Turn(Instance, Served, Turn),
    Renewal(Instance, Vec<JobName>, Vec<Held>),
}

pub(crate) fn said<T, E: Display>(answer: Result<T, E>) -> Outcome<T> {
    answer.map_err(|error| TestCaseError::fail(error.to_string()))
}

impl World {
    pub(crate) fn over(store: Arc<dyn Store>, tell: bool) -> Self {
        let clock = Arc::new(AtomicU64::new(START));
        let wire = Arc::new(Wire::to(store, Arc::clone(&clock)));
        let mut world = Self {
            queue: Queue::with_clock(wire.clone(), Arc::clone(&clock)),
            wire,
            model: Model::at(START),
            clock,
            workers: Vec::new(),
            made: 0,
            submits: Vec::new(),
            known: Vec::new(),
            past: Vec::new(),
            sent: Vec::new(),
            notes: Notes::new(),
            next_end: None,
            ends: BTreeSet::new(),
            heard: BTreeSet::new(),
            tell,
        };
        let of = |name, share| (Namespace::default(), queue(name), share);
        for served in [
            Served::All,
            Served::All,
            Served::Only(vec![of(0, 3), of(1, 1)]),
            Served::Only(vec![of(2, 1), of(0, 1), of(1, 2)]),
        ] {
            let worker = world.new_worker(served);
            world.workers.push(worker);
        }
        world
    }

    pub(crate) async fn take(&mut self, step: &Step) -> Outcome {
        if self.tell {
            eprintln!("{} {step:?}", self.now().cast_signed() - START.cast_signed());
        }
        if self.next_end.is_none() {
            self.listen().await?;
        }
        match step {
            Step::Submit { tasks, wire } => {
                let tasks = self.new_tasks(tasks);
                self.submit(tasks, *wire).await?;
            }
            Step::SubmitAgain { pick, with } => self.submit_again(*pick, with).await?,
            Step::Turn { worker, endings, wanted, wire } => {
                let held = &mut self.workers[*worker].held;
                let count = endings.len().min(held.len());
                let settled: Vec<_> = held.drain(..count).zip(endings.iter().copied()).collect();
                self.turn(*worker, settled, *wanted, *wire).await?;
            }
            Step::SettleLate { worker, pick, ending } => {
                let Some(claim) = picked(&self.past, *pick).cloned() else { return Ok(()) };
                self.turn(*worker, vec![(claim, *ending)], 0, Way::Once).await?;
            }
            Step::Renew { worker, jobs, progress, wire } => {
                self.renew(*worker, *jobs, *progress, *wire).await?;
            }
            Step::Release { worker, pick, wire } => {
                let held = &mut self.workers[*worker].held;
                let Some(at) = pick.checked_rem(held.len()) else { return Ok(()) };
                let claim = held.remove(at);
                self.release(claim, *wire).await?;
            }
            Step::ReleaseLate { pick } => {
                let Some(claim) = picked(&self.past, *pick).cloned() else { return Ok(()) };
                self.release(claim, Way::Once).await?;
            }
            Step::Die { worker } => self.die(*worker),
            Step::Crash { times } => self.crash(*times).await?,
            Step::Unknown { worker, times } => self.unknown(*worker, *times).await?,
            Step::Wait { worker, wanted } => self.wait(*worker, *wanted).await?,
            Step::Sweep => {
                self.sweep().await?;
                self.listen().await?;
            }
            Step::Cancel { pick, wire } => self.cancel(picked(&self.known, *pick).copied(), *wire).await?,
            Step::CancelHeld { worker, pick } => {
                let held = picked(&self.workers[*worker].held, *pick).map(|claim| claim.definition.id);
                self.cancel(held, Way::Once).await?;
            }
            Step::Redrive { pick, wire } => self.redrive(*pick, *wire).await?,
            Step::Reschedule { pick, when, priority, wire } => {
                let when = when.map(|when| self.when(when));
                let priority = priority.map(|priority| said(Priority::new(priority))).transpose()?;
                self.reschedule(*pick, when, priority, *wire).await?;
            }
            Step::Pause { queue: name, paused } => self.pause(&queue(*name), *paused).await?,
            Step::SetQueue { queue: name, limits, wire } => {
                self.wire.deliver_twice(*wire != Way::Once);
                self.set_queue(&queue(*name), &settings(limits)).await?;
            }
            Step::StartOperation { kind, among, dry, at_once, wire } => {
                self.start_operation(*kind, *among, *dry, *wire).await?;
                self.wire.deliver_twice(false);
                if *at_once {
                    self.operate().await?;
                }
            }
            Step::Operate => self.operate().await?,
            Step::Retain { age, count } => {
                let keep = Keep { age: Duration::from_millis(*age), count: *count };
                self.retain(&Retention { completed: keep, failed: keep, cancelled: keep }).await?;
            }
            Step::Watch { pick } => {
                let Some(id) = picked(&self.known, *pick) else { return Ok(()) };
                said(self.queue.watch(&[*id]).await)?;
            }
            Step::Reopen => {
                said(self.queue.reopen().await)?;
                self.model.reopen();
            }
            Step::Straggler { pick } => self.straggler(*pick).await?,
            Step::Advance { millis } => self.set_clock(self.now() + millis),
            Step::Pass { millis } => self.pass(*millis).await?,
            Step::TurnBack { millis } => {
                let now = self.now() - millis;
                self.model.step_back(now);
                self.set_clock(now);
            }
            Step::Look { page } => {
                let parked = check::whole(self, *page).await?;
                self.note("parked", parked > 0);
                self.listen().await?;
            }
        }
        self.wire.deliver_twice(false);
        check::counts(self).await
    }

    pub(crate) fn now(&self) -> u64 {
        self.model.now
    }

    fn note(&mut self, what: &'static str, happened: bool) {
        *self.notes.entry(what).or_default() += u64::from(happened);
    }

    fn set_clock(&mut self, now: u64) {
        self.clock.store(now, Ordering::Relaxed);
        self.model.now = now;
        self.forget_late_ones();
    }

    /// Nothing is sent again later than that; a submit may be, as long as its tasks are there: that
    /// they were removed is remembered for a while only.
    fn forget_late_ones(&mut self) {
        let (now, gone) = (self.model.now, &self.model.gone);
        let is_late = |at: u64| now.abs_diff(at) > SENT_AGAIN;
        self.sent.retain(|(at, _)| !is_late(*at));
        self.submits.retain(|(at, tasks)| !is_late(*at) || !tasks.iter().any(|task| gone.contains(&task.id)));
    }

    fn when(&self, time: Time) -> When {
        match time {
            Time::After(millis) => When::After(Duration::from_millis(millis)),
            Time::At(millis) => When::At(Millis(self.now().saturating_add_signed(millis))),
        }
    }

    /// Remembers the last call: a copy of it may come late.
    fn copied(&mut self, copied: impl FnOnce(Sent) -> Copied) {
        let copied = copied(self.wire.last());
        self.sent.push((self.now(), copied));
    }
}

/// Submitting.
impl World {
    fn new_tasks(&mut self, drafts: &[Draft]) -> Vec<NewTask> {
        let mut tasks: Vec<NewTask> = Vec::new();
        for draft in drafts {
            self.made += 1;
            let id = id_of(self.made);
            let (payload, job) = payload(draft.job);
            let mut task =
                NewTask { id, spec: Spec::new(job, payload), when: draft.when.map(|when| self.when(when)) };
            let spec = &mut task.spec;
            spec.queue = queue(draft.queue);
            spec.priority = Priority::new(draft.priority).expect("within range");
            spec.expires_at = draft.expires.map(|millis| Millis(self.now().saturating_add_signed(millis)));
            spec.idempotency_key = draft.idempotency.map(|key| format!("once-{key}").parse().expect("a key"));
            spec.concurrency_key = draft.key.map(|key| format!("key-{key}").parse().expect("a key"));
            spec.tags = if draft.tagged { "tagged,also" } else { "" }.parse().expect("tags");
            spec.after_policy = if draft.always { AfterPolicy::Always } else { AfterPolicy::Completed };
            let parents = draft.after.iter().filter_map(|parent| match parent {
                Parent::Known(pick) => picked(&self.known, *pick).copied(),
                Parent::Batch(pick) => picked(&tasks, *pick).map(|task| task.id),
                Parent::Itself => Some(id),
                Parent::Nobody => Some(id_of(0)),
            });
            spec.after = parents.collect();
            tasks.push(task);
        }
        tasks
    }

    async fn submit_again(&mut self, pick: usize, with: &Draft) -> Outcome {
        let mut tasks = self.new_tasks(std::slice::from_ref(with));
        self.forget_late_ones();
        if let Some((_, earlier)) = picked(&self.submits, pick) {
            tasks.extend_from_slice(earlier);
        }
        self.submit(tasks, Way::Once).await
    }

    async fn submit(&mut self, tasks: Vec<NewTask>, way: Way) -> Outcome {
        let model = &self.model;
        if model.unfinished() + tasks.len() > MOST_UNFINISHED || model.tasks.len() + tasks.len() > MOST_TASKS
        {
            return Ok(());
        }
        self.wire.deliver_twice(way != Way::Once);
        let first_time = !tasks.iter().any(|task| self.known.contains(&task.id));
        let answer = self.queue.submit(&tasks).await;
        if first_time {
            self.sent.push((self.now(), Copied::Submit(tasks.clone())));
        }
        match (answer, self.model.submit(&tasks)) {
            (Ok(accepted), Ok(expected)) => {
                prop_assert_eq!(accepted.len(), expected.len());
                for ((accepted, standing), task) in accepted.iter().zip(expected).zip(&tasks) {
                    let Standing { id, at, removed } = standing;
                    prop_assert_eq!(accepted.id, id, "who stands for {}", task.id);
                    prop_assert_eq!(accepted.deduplicated, id != task.id);
                    prop_assert_eq!(accepted.removed, removed, "whether {} was removed", id);
                    self.note("a double of what was removed", id != task.id && removed.is_some());
                    self.note("a double", id != task.id);
                    self.note("sent again", self.known.contains(&task.id));
                    if let Some(at) = at {
                        prop_assert_eq!(accepted.at.0, at, "when {} was accepted", id);
                    }
                    if !self.known.contains(&id) {
                        self.known.push(id);
                    }
                }
                if first_time {
                    self.submits.push((self.now(), tasks));
                }
            }
            (Err(SubmitError::Conflict { index }), Err(Refusal::Conflict(expected))) => {
                prop_assert_eq!(index, expected);
                self.note("a conflict", true);
            }
            (Err(SubmitError::NoParent { index, parent }), Err(Refusal::NoParent(expected, missing))) => {
                prop_assert_eq!((index, parent), (expected, missing));
                self.note("no parent", true);
            }
            (answer, expected) => prop_assert!(false, "submit: {answer:?}, and should be {expected:?}"),
        }
        Ok(())
    }
}

/// Workers.
impl World {
    fn new_worker(&mut self, served: Served) -> Worker {
        self.made += 1;
        let instance = Instance::random(&format!("w{}", self.made));
        Worker { instance, number: 0, served, held: Vec::new(), open: None }
    }

    /// A worker whose last call was not answered sends it again, until a lease has passed; then it
    /// does not know what became of it.
    async fn turn(&mut self, at: usize, settled: Vec<(Claimed, Ending)>, wanted: usize, way: Way) -> Outcome {
        let mut settlements = Vec::new();
        if let Some((sent, turn)) = self.workers[at].open.take() {
            if self.now() < sent + LEASE {
                self.send(at, turn, Way::Once).await?;
            } else {
                settlements = turn.settlements;
            }
        }
        for (claim, ending) in settled {
            settlements.retain(|settlement: &Settlement| {
                settlement.token != claim.token || settlement.id != claim.definition.id
            });
            settlements.push(settlement(&claim, ending));
            self.past.push(claim);
        }
        self.workers[at].number += 1;
        let number = self.workers[at].number;
        self.send(at, Turn { number, settlements, wanted }, way).await
    }

    async fn send(&mut self, at: usize, turn: Turn, way: Way) -> Outcome {
        let Worker { instance, served, .. } = &self.workers[at];
        let (instance, served) = (instance.clone(), served.clone());
        let mut claimed = self.settle_and_claim(&instance, &served, &turn).await?;
        if way == Way::Twice {
            // A call that had nothing to do was not remembered: its copy may find something.
            claimed = self.settle_and_claim(&instance, &served, &turn).await?;
        }
        self.sent.push((self.now(), Copied::Turn(instance, served, turn.clone())));
        let sent = self.now();
        let worker = &mut self.workers[at];
        if way == Way::Unanswered {
            worker.open = Some((sent, turn));
            return Ok(());
        }
        for claim in claimed {
            if !worker.held.contains(&claim) {
                worker.held.push(claim);
            }
        }
        Ok(())
    }

    async fn settle_and_claim(
        &mut self,
        instance: &Instance,
        served: &Served,
        turn: &Turn,
    ) -> Outcome<Vec<Claimed>> {
        let answer = said(self.queue.settle_and_claim(instance, served, turn).await)?;
        self.judge(instance, served, turn, &answer)?;
        Ok(answer.claimed)
    }

    fn judge(&mut self, instance: &Instance, served: &Served, turn: &Turn, answer: &TurnAnswer) -> Outcome {
        let ids: Vec<_> = answer.claimed.iter().map(|claim| claim.definition.id).collect();
        if self.tell {
            eprintln!("    {instance:?} {turn:?}\n    settled {:?}, claimed {ids:?}", answer.settled);
        }
        let again = self.model.is_last_call(instance.as_str(), turn.number);
        let turned = said(self.model.turn(instance.as_str(), served, turn, &ids))?;
        self.note("a superseded call", turned.superseded);
        self.note("a claim, sent again", again && !ids.is_empty());
        self.note("a settlement refused", turned.settled.contains(&Some(false)));
        prop_assert_eq!(answer.superseded, turned.superseded);
        if !turned.superseded {
            prop_assert_eq!(answer.settled.len(), turned.settled.len());
        }
        for ((taken, expected), settlement) in
            answer.settled.iter().zip(turned.settled).zip(&turn.settlements)
        {
            if let Some(expected) = expected {
                prop_assert_eq!(*taken, expected, "whether {:?} was taken", settlement);
            }
        }
        for claim in &answer.claimed {
            check::claimed(&self.model, claim)?;
        }
        prop_assert_eq!(answer.now.0, self.now());
        prop_assert_eq!(answer.lease, Duration::from_millis(LEASE));
        let due = self.model.next_due().map(Duration::from_millis);
        let limited = self.model.queues.values().any(|line| line.settings.rate.is_some());
        // A queue that has used up its rate says when it goes on.
        let told = answer.next_due == due || (limited && due.is_none_or(|due| answer.next_due < Some(due)));
        self.note("a rate used up", answer.next_due != due);
        prop_assert!(told, "next due in {:?}, and should be {:?}", answer.next_due, due);
        Ok(())
    }

    async fn renew(&mut self, at: usize, jobs: bool, progress: bool, way: Way) -> Outcome {
        let worker = &self.workers[at];
        let number = worker.number;
        let held: Vec<_> = worker
            .held
            .iter()
            .map(|claim| Held {
                id: claim.definition.id,
                token: claim.token.clone(),
                progress: progress.then(|| Progress { percent: 50, message: format!("in turn {number}") }),
            })
            .collect();
        let jobs = if jobs { vec!["j0".parse().expect("a name")] } else { Vec::new() };
        let instance = worker.instance.clone();
        self.wire.deliver_twice(way != Way::Once);
        let lost = self.send_renewal(&instance, &jobs, &held).await?;
        self.sent.push((self.now(), Copied::Renewal(instance, jobs, held)));
        let worker = &mut self.workers[at];
        let (gone, held) = worker.held.drain(..).partition(|claim| lost.contains(&claim.definition.id));
        worker.held = held;
        self.past.extend::<Vec<_>>(gone);
        Ok(())
    }

    async fn send_renewal(
        &mut self,
        instance: &Instance,
        jobs: &[JobName],
        held: &[Held],
    ) -> Outcome<Vec<TaskId>> {
        let names: Vec<_> = jobs.iter().map(|job| Bytes::from(job.to_string())).collect();
        let info = Bytes::from_static(b"{}");
        let renewed = said(self.queue.renew(instance, info, &names, held).await)?;
        let lost = self.model.renew(instance.as_str(), jobs, held);
        prop_assert_eq!(&renewed.lost, &lost, "the lost leases of {:?}", instance);
        Ok(lost)
    }

    async fn release(&mut self, claim: Claimed, way: Way) -> Outcome {
        let id = claim.definition.id;
        self.wire.deliver_twice(way != Way::Once);
        let released = said(self.queue.release(&[(id, claim.token.clone())]).await)?;
        self.copied(Copied::Done);
        let expected = self.model.release(id, &claim.token.to_string());
        prop_assert_eq!(&released, &[expected], "whether {} was released", id);
        self.note("released", released[0]);
        self.note("a release refused", !released[0]);
        self.past.push(claim);
        Ok(())
    }

    fn die(&mut self, at: usize) {
        let served = self.workers[at].served.clone();
        let new = self.new_worker(served);
        let dead = std::mem::replace(&mut self.workers[at], new);
        self.past.extend(dead.held);
    }

    /// The same tasks lose one worker after another, while somebody else sweeps.
    async fn crash(&mut self, times: usize) -> Outcome {
        for _ in 0..times {
            let worker = self.new_worker(Served::All);
            self.workers.push(worker);
            let at = self.workers.len() - 1;
            self.turn(at, Vec::new(), 3, Way::Once).await?;
            let dead = self.workers.pop().expect("it was pushed");
            self.past.extend(dead.held);
            self.pass(LEASE + SWEEP_EVERY).await?;
        }
        Ok(())
    }

    /// A worker gets the same tasks again and again and has no job for them.
    async fn unknown(&mut self, at: usize, times: usize) -> Outcome {
        for _ in 0..times {
            self.turn(at, Vec::new(), 3, Way::Once).await?;
            let held: Vec<_> = self.workers[at].held.drain(..).collect();
            let put_off = held.into_iter().map(|claim| (claim, Ending::Elsewhere(200))).collect();
            self.turn(at, put_off, 0, Way::Once).await?;
            self.set_clock(self.now() + 60_000);
        }
        Ok(())
    }

    async fn wait(&mut self, at: usize, wanted: usize) -> Outcome {
        let names: Vec<_> = match &self.workers[at].served {
            Served::All => self.model.queues.keys().cloned().collect(),
            Served::Only(queues) => queues.iter().map(|(_, name, _)| name.clone()).collect(),
        };
        let names: Vec<_> = names.iter().map(|name| Bytes::from(format!("default:{name}"))).collect();
        let woken = said(self.queue.wait(&names, Duration::from_millis(1)).await)?;
        self.note("woken", woken);
        if woken {
            self.turn(at, Vec::new(), wanted, Way::Once).await?;
        }
        Ok(())
    }

    async fn sweep(&mut self) -> Outcome {
        let over = self.model.are_over();
        let swept = said(self.queue.sweep().await)?;
        let expected = self.model.sweep();
        let reaped =
            swept.reaped.iter().map(|lease| (lease.id, lease.token.to_string(), lease.failed)).collect();
        if self.tell {
            eprintln!("    reaped {reaped:?}, promoted {}", swept.promoted);
        }
        prop_assert_eq!(&expected.reaped, &reaped, "the leases that ended");
        self.note("a lease that ended", !reaped.is_empty());
        self.note("a lease spared by an outage", over > 0 && reaped.is_empty());
        prop_assert_eq!(swept.promoted, expected.promoted, "how many became due");
        prop_assert_eq!(swept.next_due, self.model.next_due().map(Duration::from_millis));
        prop_assert!(!swept.more);
        Ok(())
    }

    /// Hears of the ends since it last listened.
    async fn listen(&mut self) -> Outcome {
        loop {
            let slice = said(self.queue.endings(&Namespace::default(), self.next_end.as_ref(), 3).await)?;
            let is_last = self.next_end.replace(slice.next).is_some() && slice.endings.is_empty();
            for ending in slice.endings {
                let (TaskState::Completed { ended, .. }
                | TaskState::Failed { ended, .. }
                | TaskState::Cancelled { ended, .. }) = &ending.task.state
                else {
                    prop_assert!(false, "{:?} was said to have ended", ending);
                    continue;
                };
                let (id, at) = (ending.task.definition.id, ended.finished_at.0);
                self.heard.insert((id, at));
                prop_assert!(self.ends.insert(ending.cursor.to_string()), "{} was said twice", id);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    async fn pass(&mut self, mut left: u64) -> Outcome {
        while left > 0 {
            let step = left.min(SWEEP_EVERY);
            self.set_clock(self.now() + step);
            left -= step;
            self.sweep().await?;
        }
        Ok(())
    }

    /// A copy of a call comes late.
    async fn straggler(&mut self, pick: usize) -> Outcome {
        let Some((_, copied)) = picked(&self.sent, pick).cloned() else { return Ok(()) };
        match copied {
            Copied::Submit(tasks) => {
                let gone = tasks.iter().any(|task| self.model.gone.contains(&task.id));
                self.note("a late copy of what was purged", gone);
                self.note("a late copy of a submit", true);
                self.submit(tasks, Way::Once).await?;
            }
            Copied::Done(sent) => {
                let answer = said(self.wire.deliver(&sent).await)?;
                prop_assert_eq!(answer, sent.answer.clone(), "a late copy of {:?}", sent);
                self.note("a late copy", true);
            }
            Copied::Turn(instance, served, turn) => {
                // Nobody hears what it claims.
                drop(self.settle_and_claim(&instance, &served, &turn).await?);
                self.note("a late copy of a turn", true);
            }
            Copied::Renewal(instance, jobs, held) => {
                drop(self.send_renewal(&instance, &jobs, &held).await?);
                self.note("a late copy of a renewal", true);
            }
        }
        Ok(())
    }
}

/// Operators.
impl World {
    async fn steer(
        &mut self,
        way: Way,
        what: &str,
        answer: impl AsyncFnOnce(&Queue) -> Result<Steered, StoreError>,
        expected: impl FnOnce(&mut Model) -> Steered,
    ) -> Outcome {
        self.wire.deliver_twice(way != Way::Once);
        let steered = said(answer(&self.queue).await)?;
        self.copied(Copied::Done);
        if self.tell {
            eprintln!("    {what}: {steered:?}");
        }
        self.note("a wrong state", matches!(steered, Steered::WrongState(_)));
        prop_assert_eq!(steered, expected(&mut self.model), "{}", what);
        Ok(())
    }

    async fn cancel(&mut self, id: Option<TaskId>, way: Way) -> Outcome {
        let Some(id) = id else { return Ok(()) };
        let what = format!("cancel of {id}");
        self.steer(way, &what, async |queue| queue.cancel(id).await, |model| model.cancel(id)).await
    }

    /// One that ended, if there is one.
    async fn redrive(&mut self, pick: usize, way: Way) -> Outcome {
        let ended: Vec<_> = self
            .known
            .iter()
            .filter(|id| self.model.tasks.get(id).is_none_or(|task| task.status().is_final()))
            .collect();
        let Some(id) =
            picked(&ended, pick).or(picked(&self.known.iter().collect::<Vec<_>>(), pick)).map(|id| **id)
        else {
            return Ok(());
        };
        let what = format!("redrive of {id}");
        self.steer(way, &what, async |queue| queue.redrive(id).await, |model| model.redrive(id)).await
    }

    async fn reschedule(
        &mut self,
        pick: usize,
        due: Option<When>,
        priority: Option<Priority>,
        way: Way,
    ) -> Outcome {
        let Some(id) = picked(&self.known, pick).copied() else { return Ok(()) };
        let what = format!("reschedule of {id}");
        let answer = async |queue: &Queue| queue.reschedule(id, due, priority).await;
        self.steer(way, &what, answer, |model| model.reschedule(id, due, priority)).await
    }

    pub(crate) async fn pause(&mut self, name: &QueueName, paused: bool) -> Outcome {
        let ns = Namespace::default();
        said(if paused { self.queue.pause(&ns, name).await } else { self.queue.resume(&ns, name).await })?;
        self.model.pause(name, paused);
        Ok(())
    }

    async fn set_queue(&mut self, name: &QueueName, settings: &QueueSettings) -> Outcome {
        let set = said(self.queue.set_queue(&Namespace::default(), name, settings).await)?;
        prop_assert_eq!(set, self.model.set_queue(name, settings), "whether {} was set", name);
        self.note("aging refused", !set);
        Ok(())
    }

    async fn start_operation(&mut self, kind: OperationKind, among: Among, dry: bool, way: Way) -> Outcome {
        // Of two that were asked for in one millisecond none is the older.
        while self.model.operations.iter().any(|operation| operation.created == self.model.now) {
            self.set_clock(self.now() + 1);
        }
        let mut filter = Filter::default();
        match among {
            Among::All => {}
            Among::Queue(name) => filter.queue = Some(queue(name)),
            Among::Tagged => filter.tag = Some("tagged".parse().expect("a tag")),
            Among::Job(job) => filter.job = Some(payload(job).1),
            Among::Some => filter.statuses = kind.statuses()[..kind.statuses().len() / 2].to_vec(),
        }
        self.wire.deliver_twice(way != Way::Once);
        let id = said(self.queue.start_operation(kind, &filter, dry).await)?;
        self.copied(Copied::Done);
        self.model.start_operation(id, kind, &filter, dry);
        Ok(())
    }

    async fn operate(&mut self) -> Outcome {
        while said(self.queue.operate().await)? {}
        while self.model.operate() {}
        Ok(())
    }

    async fn retain(&mut self, retention: &Retention) -> Outcome {
        let (removed, more) = said(self.queue.retain(&Namespace::default(), retention).await)?;
        prop_assert_eq!((removed, more), (self.model.retain(retention), false), "how many were removed");
        self.note("removed by retention", removed > 0);
        Ok(())
    }
}

/// The end of every history.
impl World {
    /// All workers are dead. What they held comes back in time; then a good worker finishes
    /// everything, and everything is forgotten.
    pub(crate) async fn end(&mut self) -> Outcome {
        self.wire.deliver_twice(false);
        check::whole(self, 7).await?;
        self.recover().await?;
        self.finish().await?;
        self.note_ends();
        self.hear_the_rest().await?;
        check::whole(self, 50).await?;
        check::every_task(self).await?;
        self.forget().await
    }

    /// A dead worker's task is claimable again at the latest after a lease and an outage's grace.
    async fn recover(&mut self) -> Outcome {
        self.pass(2 * LEASE + SWEEP_EVERY).await?;
        let counts = said(self.queue.counts(&Namespace::default()).await)?;
        prop_assert_eq!(counts.of(Status::InProgress), 0, "what dead workers held comes back");
        Ok(())
    }

    async fn finish(&mut self) -> Outcome {
        while self.model.operations.iter().any(|operation| operation.finished.is_none()) {
            self.operate().await?;
        }
        for name in self.model.queues.keys().cloned().collect::<Vec<_>>() {
            self.pause(&name, false).await?;
            let aging = self.model.queues[&name].settings.aging;
            self.set_queue(&name, &QueueSettings { aging, ..QueueSettings::default() }).await?;
        }
        let worker = self.new_worker(Served::All);
        self.workers.push(worker);
        let at = self.workers.len() - 1;
        let mut idle = 0;
        while self.model.unfinished() > 0 {
            let held: Vec<_> =
                self.workers[at].held.drain(..).map(|claim| (claim, Ending::Complete)).collect();
            self.turn(at, held, 20, Way::Once).await?;
            if !self.workers[at].held.is_empty() {
                idle = 0;
                continue;
            }
            idle += 1;
            let due = self.model.next_due();
            prop_assert!(
                due.is_some() || idle < 3,
                "{} tasks are stuck: {:?}",
                self.model.unfinished(),
                self.stuck()
            );
            if let Some(due) = due {
                self.set_clock(self.now() + due);
            }
            self.sweep().await?;
        }
        Ok(())
    }

    /// Whoever listens hears of every end.
    async fn hear_the_rest(&mut self) -> Outcome {
        self.set_clock(self.now() + 1);
        self.listen().await?;
        for (id, task) in &self.model.tasks {
            if let Place::Ended(end) = &task.place {
                prop_assert!(self.heard.contains(&(*id, end.at)), "the end of {} was not said", id);
            }
        }
        Ok(())
    }

    fn note_ends(&mut self) {
        for (what, count) in self.model.ever.clone() {
            *self.notes.entry(what).or_default() += count;
        }
        for task in self.model.tasks.values() {
            for (what, kind) in [
                ("expired", ErrorKind::Expired),
                ("convicted", ErrorKind::WorkerLost),
                ("of an unknown job", ErrorKind::UnknownJob),
            ] {
                *self.notes.entry(what).or_default() += u64::from(task.was_ended_by(kind));
            }
            *self.notes.entry("waited for another").or_default() += u64::from(!task.spec.after.is_empty());
        }
        let done = self.model.operations.iter().filter(|operation| operation.done > 0).count();
        *self.notes.entry("an operation on something").or_default() += done as u64;
    }

    fn stuck(&self) -> Vec<TaskId> {
        let tasks = self.model.tasks.iter().filter(|(_, task)| !task.status().is_final());
        tasks.map(|(id, _)| *id).collect()
    }

    /// When everything is old nothing is left of it.
    async fn forget(&mut self) -> Outcome {
        self.set_clock(self.now() + 40 * DAY);
        self.sweep().await?;
        self.retain(&Retention::default()).await?;
        self.sweep().await?;
        self.operate().await?;
        check::nothing_is_left(self).await
    }
}

fn settlement(claim: &Claimed, ending: Ending) -> Settlement {
    let error = |kind| TaskError {
        kind,
        report: ErrorReport { message: "it broke".into(), ..ErrorReport::default() },
    };
    let millis = Duration::from_millis;
    let verdict = match ending {
        Ending::Complete => Verdict::Complete(Bytes::from(format!("\"{}\"", claim.token))),
        Ending::Fail => Verdict::Fail(error(ErrorKind::Permanent)),
        Ending::Retry(wait) => Verdict::Retry(error(ErrorKind::Trap), millis(wait)),
        Ending::Elsewhere(wait) => Verdict::Elsewhere(error(ErrorKind::UnknownJob), millis(wait)),
    };
    let log = match ending {
        Ending::Elsewhere(_) => Bytes::new(),
        _ => Bytes::from(format!("said by {}\n", claim.token)),
    };
    Settlement::of(claim, verdict, AttemptReport::default(), log)
}

fn settings(limits: &Limits) -> QueueSettings {
    let span = Duration::from_millis;
    QueueSettings {
        rate: limits.rate.map(|(starts, per)| Rate { starts, per: span(per) }),
        concurrency: limits.concurrency,
        per_key: limits.per_key,
        aging: limits.aging.map(span),
        ..QueueSettings::default()
    }
}

/// Ids that are the same in every run, and not in the order of their numbers.
fn id_of(number: u64) -> TaskId {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) & 0xffff_ffff_ffff;
    format!("01900000-0000-7000-8000-{mixed:012x}").parse().expect("a UUID")
}

fn payload(job: u8) -> (Payload, JobName) {
    Payload::parse(Bytes::from(format!(r#"{{"job":"j{job}","n":9007199254740993}}"#))).expect("an object")
}

fn queue(name: u8) -> QueueName {
    format!("q{name}").parse().expect("a name")
}

fn picked<T>(things: &[T], pick: usize) -> Option<&T> {
    things.get(pick.checked_rem(things.len())?)
}
