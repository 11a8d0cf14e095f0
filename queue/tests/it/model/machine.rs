//! What a queue is, as plain data: it knows no store and no script.
//!
//! There is one method for each call of the queue, and it answers what the queue must answer.
//! Where a promise leaves a choice (whose turn it is among queues; when exactly a rate lets the
//! next task start) the method is told what was chosen and says whether that was allowed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sentinel_queue::{
    ErrorKind, IdempotencyKey, JobName, NewTask, Priority, QueueName, QueueSettings, Spec, Status, TaskId,
    lease::{Held, Served, Settlement, Turn, Verdict},
    list::Filter,
    settings::Rate,
    steer::{OperationKind, Retention, Steered},
    task::{AfterPolicy, Progress, When},
};

/// A promise that was broken, in a sentence.
pub(crate) type Broken = String;

pub(crate) const LEASE: u64 = 10_000;
pub(crate) const DAY: u64 = 24 * HOUR;
const HOUR: u64 = 3_600_000;

/// After two heartbeats without any sign of life nobody is judged for the length of a lease.
const SILENCE: u64 = 6_000;

/// Of the losses that a task may have, so many are counted when a lease merely ends.
const COUNTED_LOSSES: u32 = 2;

/// So many losses of any kind convict.
const MOST_LOSSES: u32 = 10;

/// How long a job may be unknown to all workers.
const UNKNOWN_FOR: u64 = 600_000;

/// So many due tasks one call makes ready.
const PROMOTED_AT_ONCE: usize = 100;

/// In a queue that does not age, one point of priority is worth more than any time.
const STRICT: i64 = 1 << 41;

/// That a claim was given back is remembered for so long.
const REMEMBERED: u64 = 600_000;

/// Nothing that ended is removed earlier.
const FLOOR: u64 = 120_000;

/// All there is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    /// The store's clock.
    pub(crate) now: u64,
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    pub(crate) queues: BTreeMap<QueueName, Line>,
    /// What ever happened, how often.
    pub(crate) ever: BTreeMap<&'static str, u64>,
    /// Workers, by instance, and when they last gave a sign of life.
    pub(crate) workers: BTreeMap<String, u64>,
    /// When a job was last advertised.
    pub(crate) jobs: BTreeMap<JobName, u64>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) keys: BTreeMap<IdempotencyKey, Reserved>,
    /// Tasks that were removed: none is ever accepted again.
    pub(crate) gone: BTreeSet<TaskId>,
    /// Claims that were given back, and when; they are remembered for a while.
    released: BTreeMap<(TaskId, String), u64>,
    /// The last end's place in the order of ends, and when it came.
    last_end: Option<(u64, u64)>,
    arrivals: u64,
    last_arrival: u64,
    /// Tasks that ended and whose children have not been told.
    news: BTreeSet<TaskId>,
    /// The last call of each worker instance that did something.
    calls: BTreeMap<String, Call>,
    /// When anybody last gave a sign of life, and until when nobody is judged.
    beat: Option<(u64, u64)>,
}

/// A task that was accepted and has not been removed.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) spec: Spec,
    pub(crate) created: u64,
    pub(crate) place: Place,
    /// Attempts that ended by failure or by a lost lease; of these, failures, losses that count,
    /// and losses that do not.
    pub(crate) ended: u32,
    pub(crate) failures: u32,
    pub(crate) lost: u32,
    pub(crate) spared: u32,
    pub(crate) due: Option<u64>,
    /// Its priority, if that is not the one it was submitted with.
    pub(crate) new_priority: Option<Priority>,
    pub(crate) last_kind: Option<ErrorKind>,
    pub(crate) past: Vec<Past>,
    pub(crate) logs: BTreeMap<u32, Bytes>,
    /// Its number in the order of arrival.
    pub(crate) arrival: u64,
    /// Since when it waits, as far as its place in the queue goes.
    since: u64,
    expires: Option<u64>,
    misses: u32,
    missing_since: Option<u64>,
    /// The parents that it still waits for.
    waits_for: BTreeSet<TaskId>,
    /// Those that wait for it and have not been told.
    children: BTreeSet<TaskId>,
    /// The claims by which it was settled; and the one that changed it last.
    settled: Vec<String>,
    last_claim: Option<String>,
}

/// Where a task is: in exactly one place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    Ready,
    Due,
    Blocked,
    Running(Claim),
    Ended(End),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claim {
    pub(crate) worker: String,
    pub(crate) token: String,
    pub(crate) started: u64,
    pub(crate) until: u64,
    pub(crate) progress: Option<Progress>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct End {
    pub(crate) status: Status,
    pub(crate) kind: Option<ErrorKind>,
    pub(crate) attempt: u32,
    /// Who ran the last attempt, and since when, if one was running.
    pub(crate) ran: Option<(String, u64)>,
    pub(crate) at: u64,
    /// Its place in the order of ends: as `at`, but for a clock that stepped back.
    pub(crate) order: u64,
    pub(crate) result: Bytes,
}

/// What is told of a task's life so far.
#[derive(Clone, Debug, PartialEq, PartialOrd, Eq, Ord)]
pub(crate) enum Past {
    /// The attempt, how and why it ended, when.
    Attempt(u32, String, Option<ErrorKind>, u64),
    /// An end that was not an attempt's.
    End(Status, Option<ErrorKind>, u64),
    Redriven(u64),
}

/// A queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pub(crate) settings: QueueSettings,
    pub(crate) paused: bool,
    /// The tasks that were started while the queue had a rate.
    starts: Vec<Start>,
}

/// A start, as far as a rate goes. When it is forgotten depends on when it was: it is known to
/// about a twentieth of the rate's span.
#[derive(Clone, Copy, Debug)]
struct Start {
    earliest: u64,
    latest: u64,
}

/// What an idempotency key stands for.
#[derive(Clone, Debug)]
pub(crate) struct Reserved {
    pub(crate) task: TaskId,
    queue: QueueName,
    payload: Bytes,
    /// Once its task has been removed.
    removed: Option<Removed>,
}

/// What is left of a task that was removed.
#[derive(Clone, Copy, Debug)]
struct Removed {
    created: u64,
    status: Status,
    /// When its key is free.
    until: u64,
}

#[derive(Clone, Debug)]
struct Call {
    number: u64,
    at: u64,
    settled: Vec<Option<bool>>,
    claimed: Vec<TaskId>,
}

#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) kind: OperationKind,
    pub(crate) dry: bool,
    pub(crate) created: u64,
    pub(crate) finished: Option<u64>,
    pub(crate) matched: u64,
    pub(crate) done: u64,
    filter: Filter,
    /// How many tasks had arrived.
    arrivals: u64,
}

/// Which task stands for a submitted one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Standing {
    pub(crate) id: TaskId,
    /// When it was accepted; that of a purged one is forgotten.
    pub(crate) at: Option<u64>,
    /// How it ended, if it is not there any more.
    pub(crate) removed: Option<Status>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Conflict(usize),
    NoParent(usize, TaskId),
}

/// How a turn is answered.
#[derive(Clone, Debug)]
pub(crate) struct Turned {
    pub(crate) superseded: bool,
    /// Whether each settlement was taken; none: either will do.
    pub(crate) settled: Vec<Option<bool>>,
}

/// What a sweep did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Swept {
    pub(crate) promoted: u64,
    /// The task, its claim, whether it failed.
    pub(crate) reaped: BTreeSet<(TaskId, String, bool)>,
}

impl Task {
    pub(crate) fn status(&self) -> Status {
        match &self.place {
            Place::Ready => Status::Queued,
            Place::Due => Status::Scheduled,
            Place::Blocked => Status::Blocked,
            Place::Running(_) => Status::InProgress,
            Place::Ended(end) => end.status,
        }
    }

    pub(crate) fn priority(&self) -> Priority {
        self.new_priority.unwrap_or(self.spec.priority)
    }

    /// Whether an end of it, now or before a redrive, was of that kind.
    pub(crate) fn was_ended_by(&self, kind: ErrorKind) -> bool {
        let now = matches!(&self.place, Place::Ended(end) if end.kind == Some(kind));
        now || self.past.iter().any(|past| match past {
            Past::Attempt(_, outcome, of, _) => outcome == "FAILED" && *of == Some(kind),
            Past::End(_, of, _) => *of == Some(kind),
            Past::Redriven(_) => false,
        })
    }

    fn claim(&self) -> Option<&Claim> {
        if let Place::Running(claim) = &self.place { Some(claim) } else { None }
    }

    fn is_held_by(&self, token: &str) -> bool {
        self.claim().is_some_and(|claim| claim.token == token)
    }

    /// Whether it must have started by then.
    fn is_late(&self, at: u64) -> bool {
        self.expires.is_some_and(|expires| expires <= at)
    }
}

/// Accepting.
impl Model {
    /// Nothing, at a point in time.
    pub(crate) fn at(now: u64) -> Self {
        Self { now, ..Self::default() }
    }

    /// All are accepted, or none.
    pub(crate) fn submit(&mut self, tasks: &[NewTask]) -> Result<Vec<Standing>, Refusal> {
        let created = self.now.max(self.last_arrival);
        let mut accepted = Vec::new();
        let mut fresh: Vec<(NewTask, Vec<TaskId>)> = Vec::new();
        for (index, task) in tasks.iter().enumerate() {
            let there = |id, at| Standing { id, at: Some(at), removed: None };
            if let Some(known) = self.tasks.get(&task.id) {
                accepted.push(there(task.id, known.created));
                continue;
            }
            if self.gone.contains(&task.id) {
                accepted.push(Standing { id: task.id, at: None, removed: Some(Status::Cancelled) });
                continue;
            }
            if let Some(key) = &task.spec.idempotency_key {
                let in_call =
                    fresh.iter().find(|(other, _)| other.spec.idempotency_key.as_ref() == Some(key));
                let holder =
                    in_call.map(|(other, _)| (other.id, &other.spec.queue, other.spec.payload.as_bytes()));
                let held = self.keys.get(key).filter(|held| held.is_taken(self.now));
                let holder = holder.or(held.map(|held| (held.task, &held.queue, &held.payload)));
                if let Some((id, queue, payload)) = holder {
                    if (queue, payload) != (&task.spec.queue, task.spec.payload.as_bytes()) {
                        return Err(Refusal::Conflict(index));
                    }
                    accepted.push(match (held.and_then(|held| held.removed), self.tasks.get(&id)) {
                        (Some(removed), _) => {
                            Standing { id, at: Some(removed.created), removed: Some(removed.status) }
                        }
                        (None, Some(task)) => there(id, task.created),
                        (None, None) => there(id, created),
                    });
                    continue;
                }
            }
            // A parent that is a double in this very call is the task that stands for it.
            let mut after = Vec::new();
            for parent in &task.spec.after {
                let stand_in = tasks[..index].iter().position(|earlier| earlier.id == *parent);
                let parent = stand_in.map_or(*parent, |at| accepted[at].id);
                let known =
                    self.tasks.contains_key(&parent) || fresh.iter().any(|(task, _)| task.id == parent);
                if !known {
                    return Err(Refusal::NoParent(index, parent));
                }
                after.push(parent);
            }
            accepted.push(there(task.id, created));
            fresh.push((task.clone(), after));
        }
        if !fresh.is_empty() {
            self.last_arrival = created;
        }
        let blocks = fresh.iter().any(|(_, after)| !after.is_empty());
        for (task, after) in fresh {
            self.accept(task, after, created);
        }
        if blocks {
            self.tell();
        }
        Ok(accepted)
    }

    fn accept(&mut self, NewTask { id, mut spec, when }: NewTask, after: Vec<TaskId>, created: u64) {
        self.arrivals += 1;
        self.count("submitted");
        self.queues.entry(spec.queue.clone()).or_default();
        if let Some(key) = spec.idempotency_key.clone() {
            let (queue, payload) = (spec.queue.clone(), spec.payload.as_bytes().clone());
            self.keys.insert(key, Reserved { task: id, queue, payload, removed: None });
        }
        for parent in &after {
            let task = self.task(*parent);
            task.children.insert(id);
            if task.status().is_final() {
                self.news.insert(*parent);
            }
        }
        let due = match when {
            Some(When::At(at)) => Some(at.0),
            Some(When::After(span)) => Some(self.now + millis(span)),
            None => None,
        };
        let due = due.filter(|&due| due > self.now);
        let place = match due {
            _ if !after.is_empty() => Place::Blocked,
            Some(_) => Place::Due,
            None => Place::Ready,
        };
        let expires = spec.expires_at.map(|at| at.0);
        let waits_for = after.iter().copied().collect();
        spec.after = after;
        let task = Task {
            spec,
            created,
            place,
            ended: 0,
            failures: 0,
            lost: 0,
            spared: 0,
            due,
            new_priority: None,
            last_kind: None,
            past: Vec::new(),
            logs: BTreeMap::new(),
            arrival: self.arrivals,
            since: due.unwrap_or(created).max(created),
            expires,
            misses: 0,
            missing_since: None,
            waits_for,
            children: BTreeSet::new(),
            settled: Vec::new(),
            last_claim: None,
        };
        self.tasks.insert(id, task);
    }
}

/// What workers call.
impl Model {
    /// Settles, then claims. `claimed` is what the queue handed out.
    pub(crate) fn turn(
        &mut self,
        worker: &str,
        served: &Served,
        turn: &Turn,
        claimed: &[TaskId],
    ) -> Result<Turned, Broken> {
        let token = format!("{worker}-{}", turn.number);
        let last = self.calls.get(worker).cloned();
        if let Some(last) = last.filter(|last| turn.number <= last.number) {
            if turn.number < last.number {
                ensure(claimed.is_empty(), || "a superseded call claimed something".into())?;
                return Ok(Turned { superseded: true, settled: Vec::new() });
            }
            // Sent again: the same answer, and the tasks that it still holds.
            let held = |id: &&TaskId| self.tasks.get(*id).is_some_and(|task| task.is_held_by(&token));
            let kept: Vec<_> = last.claimed.iter().filter(held).copied().collect();
            ensure(kept == claimed, || format!("sent again, a call claimed {claimed:?} and holds {kept:?}"))?;
            for id in kept {
                self.prolong(id);
            }
            return Ok(Turned { superseded: false, settled: last.settled });
        }
        let settled: Vec<_> = turn.settlements.iter().map(|settlement| self.answer_to(settlement)).collect();
        let mine =
            |s: &&Settlement| self.tasks.get(&s.id).is_some_and(|task| task.is_held_by(&s.token.to_string()));
        let mine: Vec<_> = turn.settlements.iter().filter(mine).collect();
        let news = self.news.len();
        for settlement in mine {
            self.settle(settlement);
        }
        if turn.wanted > 0 || self.news.len() > news {
            self.tell();
        }
        if turn.wanted > 0 {
            self.promote();
            self.expire();
        }
        self.claim(worker, &token, served, turn.wanted, claimed)?;
        if !claimed.is_empty() || !turn.settlements.is_empty() {
            let (settled, claimed) = (settled.clone(), claimed.to_vec());
            let call = Call { number: turn.number, at: self.now, settled, claimed };
            self.calls.insert(worker.to_owned(), call);
        }
        Ok(Turned { superseded: false, settled })
    }

    /// Only the holder of a lease settles its task, once; asked again, it is told the same.
    fn answer_to(&self, settlement: &Settlement) -> Option<bool> {
        let token = settlement.token.to_string();
        let Some(task) = self.tasks.get(&settlement.id) else { return Some(false) };
        match task.settled.contains(&token) {
            true if task.last_claim.as_ref() == Some(&token) => Some(true),
            // What came in between may have been forgotten.
            true => None,
            false => Some(task.is_held_by(&token)),
        }
    }

    fn settle(&mut self, settlement: &Settlement) {
        let (now, id, token) = (self.now, settlement.id, settlement.token.to_string());
        let wait_for_job = self.wait_for_job(id, &settlement.verdict);
        let task = self.task(id);
        let number = task.ended + 1;
        task.settled.push(token.clone());
        task.last_claim = Some(token);
        if !settlement.log.is_empty() {
            task.logs.insert(number, settlement.log.clone());
        }
        match &settlement.verdict {
            Verdict::Complete(result) => self.end_attempt(id, Status::Completed, None, result.clone()),
            Verdict::Fail(error) => self.end_attempt(id, Status::Failed, Some(error.kind), Bytes::new()),
            Verdict::Retry(error, wait) => {
                task.failures += 1;
                task.past.push(Past::Attempt(number, "FAILED".into(), Some(error.kind), now));
                let due = now + millis(*wait);
                if task.is_late(due) {
                    // No retry starts after it expires.
                    self.end_attempt(id, Status::Failed, Some(ErrorKind::Expired), Bytes::new());
                } else {
                    task.put_off(due, error.kind);
                    self.count("retry");
                }
                self.task(id).ended = number;
            }
            Verdict::Elsewhere(error, _) => match wait_for_job {
                Some(wait) => {
                    task.put_off(now + wait, error.kind);
                    self.count("unknown");
                }
                None => self.end_attempt(id, Status::Failed, Some(error.kind), Bytes::new()),
            },
        }
    }

    /// While some worker has the job, a task waits only for another one; while none has, longer
    /// each time, and not for ever.
    fn wait_for_job(&mut self, id: TaskId, verdict: &Verdict) -> Option<u64> {
        let Verdict::Elsewhere(_, moment) = verdict else { return None };
        let now = self.now;
        let job = self.tasks[&id].spec.job.clone();
        let advertised = self.jobs.get(&job).is_some_and(|at| at + LEASE > now);
        let task = self.task(id);
        if advertised {
            (task.misses, task.missing_since) = (0, None);
            return Some(millis(*moment));
        }
        let since = task.missing_since.unwrap_or(now);
        if now >= since + UNKNOWN_FOR {
            return None;
        }
        task.missing_since = Some(since);
        task.misses += 1;
        Some(1000 * 2_u64.pow((task.misses - 1).min(6)).min(60))
    }

    /// The queue handed out `claimed`: might it, and might it have handed out more?
    fn claim(
        &mut self,
        worker: &str,
        token: &str,
        served: &Served,
        wanted: usize,
        claimed: &[TaskId],
    ) -> Result<(), Broken> {
        let names: Vec<QueueName> = match served {
            Served::All => self.queues.keys().cloned().collect(),
            Served::Only(queues) => queues.iter().map(|(_, name, _)| name.clone()).collect(),
        };
        ensure(claimed.len() <= wanted, || format!("{} tasks were claimed of {wanted}", claimed.len()))?;
        let mut got: BTreeMap<QueueName, usize> = BTreeMap::new();
        for id in claimed {
            let task = self.tasks.get(id).ok_or_else(|| format!("{id} was claimed and is not there"))?;
            let name = task.spec.queue.clone();
            ensure(names.contains(&name), || format!("{id} was claimed from {name}, which was not asked"))?;
            let first = self.first_of(&name);
            ensure(first == Some(*id), || format!("{id} was claimed from {name}, where {first:?} is first"))?;
            ensure(self.most_from(&name) > 0, || format!("{id} was claimed beyond the limits of {name}"))?;
            *got.entry(name.clone()).or_default() += 1;
            let (now, worker, token) = (self.now, worker.to_owned(), token.to_owned());
            self.task(*id).place =
                Place::Running(Claim { worker, token, started: now, until: now + LEASE, progress: None });
            if let Some(line) = self.queues.get_mut(&name)
                && let Some(rate) = line.settings.rate
            {
                line.starts.push(Start { earliest: now, latest: now + twentieth(rate) });
            }
        }
        let open: Vec<_> = names.iter().filter(|name| self.least_from(name) > 0).collect();
        let waiting = |name: &&&QueueName| self.first_of(name).is_some();
        if claimed.len() < wanted
            && let Some(name) = open.iter().find(waiting)
        {
            return Err(format!("{} tasks were claimed of {wanted}, and {name} has more", claimed.len()));
        }
        if claimed.len() < wanted {
            for name in &names {
                self.see_starts(name);
            }
        }
        if let Served::Only(queues) = served {
            let all: u32 = queues.iter().map(|(_, _, share)| share).sum();
            let quota = |share: &u32| (wanted * *share as usize / all as usize).max(1);
            if queues.iter().map(|(_, _, share)| quota(share)).sum::<usize>() <= wanted {
                for (_, name, share) in queues.iter().filter(|(_, name, _)| open.contains(&name)) {
                    let (got, quota) = (got.get(name).copied().unwrap_or(0), quota(share));
                    ensure(got >= quota || self.first_of(name).is_none(), || {
                        format!("of {wanted} tasks {name} gave {got}, and its share is {quota}")
                    })?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn renew(&mut self, worker: &str, jobs: &[JobName], held: &[Held]) -> Vec<TaskId> {
        self.sign_of_life();
        self.workers.insert(worker.to_owned(), self.now);
        for job in jobs {
            self.jobs.insert(job.clone(), self.now);
        }
        let mut lost = Vec::new();
        for lease in held {
            let token = lease.token.to_string();
            if !self.tasks.get(&lease.id).is_some_and(|task| task.is_held_by(&token)) {
                lost.push(lease.id);
                continue;
            }
            self.prolong(lease.id);
            if let Place::Running(claim) = &mut self.task(lease.id).place
                && lease.progress.is_some()
            {
                claim.progress.clone_from(&lease.progress);
            }
        }
        lost
    }

    /// The task returns to its place, and nothing is counted. Asked again, it answers the same.
    pub(crate) fn release(&mut self, id: TaskId, token: &str) -> bool {
        let claim = (id, token.to_owned());
        let holder = self.tasks.get_mut(&id).filter(|task| task.is_held_by(token));
        if holder.is_none() && !self.released.contains_key(&claim) {
            return false;
        }
        if let Some(task) = holder {
            task.place = Place::Ready;
        }
        self.released.insert(claim, self.now);
        true
    }

    fn prolong(&mut self, id: TaskId) {
        let until = self.now + LEASE;
        if let Place::Running(claim) = &mut self.task(id).place {
            claim.until = until;
        }
    }
}

/// What time does.
impl Model {
    pub(crate) fn sweep(&mut self) -> Swept {
        let now = self.now;
        let may_judge = self.sign_of_life();
        for task in self.tasks.values_mut() {
            if let Place::Running(claim) = &mut task.place
                && claim.until > now + 2 * LEASE
            {
                // Only a clock that stepped back explains it.
                claim.until = now + LEASE;
            }
        }
        let is_over = |task: &Task| task.claim().is_some_and(|claim| claim.until <= now);
        let over = if may_judge { self.those(is_over) } else { Vec::new() };
        let mut swept = Swept::default();
        for id in over {
            swept.reaped.insert(self.reap(id));
        }
        swept.promoted = self.promote();
        self.expire();
        self.tell();
        self.workers.retain(|_, seen| *seen + HOUR > now);
        self.calls.retain(|_, call| call.at + HOUR > now);
        self.jobs.retain(|_, seen| *seen + DAY > now);
        self.keys.retain(|_, key| key.is_taken(now));
        self.released.retain(|_, at| *at + REMEMBERED > now);
        swept
    }

    /// Answers whether leases may be ended.
    fn sign_of_life(&mut self) -> bool {
        let (last, mut grace) = self.beat.unwrap_or((self.now, 0));
        if self.now > last + SILENCE {
            grace = self.now + LEASE;
        } else if grace > self.now + LEASE {
            // The clock stepped back.
            grace = self.now;
        }
        self.beat = Some((self.now, grace));
        self.now >= grace
    }

    fn reap(&mut self, id: TaskId) -> (TaskId, String, bool) {
        let now = self.now;
        self.count("lost");
        let task = self.task(id);
        let token = task.claim().expect("it runs").token.clone();
        if task.lost < COUNTED_LOSSES {
            task.lost += 1;
        } else {
            task.spared += 1;
        }
        task.last_kind = Some(ErrorKind::WorkerLost);
        task.last_claim = None;
        let number = task.ended + 1;
        task.past.push(Past::Attempt(number, "LOST".into(), Some(ErrorKind::WorkerLost), now));
        let convicted = task.lost + task.spared >= MOST_LOSSES;
        let failed = convicted || task.is_late(now);
        if failed {
            let kind = if convicted { ErrorKind::WorkerLost } else { ErrorKind::Expired };
            self.end_attempt(id, Status::Failed, Some(kind), Bytes::new());
        } else {
            task.place = Place::Ready;
        }
        self.task(id).ended = number;
        (id, token, failed)
    }

    /// Makes due tasks ready, the first first.
    fn promote(&mut self) -> u64 {
        let now = self.now;
        let mut due = self.those(|task| task.place == Place::Due && task.due <= Some(now));
        due.sort_by_key(|id| (self.tasks[id].due, self.tasks[id].arrival));
        due.truncate(PROMOTED_AT_ONCE);
        for id in &due {
            self.task(*id).place = Place::Ready;
        }
        due.len() as u64
    }

    /// Ends what has not started in time, wherever it waits.
    fn expire(&mut self) {
        let now = self.now;
        let waits = |task: &Task| matches!(task.place, Place::Ready | Place::Due | Place::Blocked);
        for id in self.those(|task| waits(task) && task.is_late(now)) {
            self.end_waiting(id, Status::Failed, ErrorKind::Expired);
        }
    }

    /// Tells children that their parents have ended.
    fn tell(&mut self) {
        while let Some(parent) = self.news.pop_first() {
            let task = self.task(parent);
            let completed = task.status() == Status::Completed;
            for id in std::mem::take(&mut task.children) {
                let now = self.now;
                let Some(child) = self.tasks.get_mut(&id).filter(|child| child.place == Place::Blocked)
                else {
                    continue;
                };
                if completed || child.spec.after_policy == AfterPolicy::Always {
                    child.waits_for.remove(&parent);
                    if child.waits_for.is_empty() {
                        child.place = child.waiting_place(now);
                    }
                } else {
                    self.end_waiting(id, Status::Cancelled, ErrorKind::Cancelled);
                }
            }
        }
    }

    /// Every lease ends, uncounted: the only process has gone.
    pub(crate) fn reopen(&mut self) {
        for task in self.tasks.values_mut().filter(|task| task.claim().is_some()) {
            task.place = Place::Ready;
        }
    }

    /// Removes what ended and is old, or too much; answers how many.
    pub(crate) fn retain(&mut self, retention: &Retention) -> u64 {
        let mut removed = 0;
        for (status, keep) in [
            (Status::Completed, retention.completed),
            (Status::Failed, retention.failed),
            (Status::Cancelled, retention.cancelled),
        ] {
            let mut ended: Vec<_> = self.those(|task| task.status() == status);
            ended.sort_by_key(|id| (self.end_of(*id).order, *id));
            let older = |age| ended.iter().filter(|id| self.end_of(**id).order + age <= self.now).count();
            let too_many = ended.len().saturating_sub(usize::try_from(keep.count).expect("small"));
            let most = older(millis(keep.age).max(FLOOR)).max(too_many.min(older(FLOOR)));
            ended.truncate(most);
            // One whose children have not been told stays.
            ended.retain(|id| self.tasks[id].children.is_empty());
            removed += ended.len() as u64;
            for id in ended {
                self.remove(id);
            }
        }
        removed
    }

    fn remove(&mut self, id: TaskId) {
        self.count("removed");
        self.gone.insert(id);
        let task = self.tasks.remove(&id).expect("it is there");
        if let Some(key) = task.spec.idempotency_key {
            // The key lives on to the end of its window.
            let status = if let Place::Ended(end) = &task.place { end.status } else { Status::Cancelled };
            if let Some(reserved) = self.keys.get_mut(&key) {
                let (created, until) = (task.created, task.created + DAY);
                reserved.removed = Some(Removed { created, status, until });
            }
            if !self.keys[&key].is_taken(self.now) {
                self.keys.remove(&key);
            }
        }
    }
}

/// What operators do.
impl Model {
    pub(crate) fn cancel(&mut self, id: TaskId) -> Steered {
        let Some(task) = self.tasks.get(&id) else { return Steered::Unknown };
        match &task.place {
            Place::Ended(end) => return Steered::WrongState(end.status),
            Place::Running(_) => {
                self.end_attempt(id, Status::Cancelled, Some(ErrorKind::Cancelled), Bytes::new());
                self.task(id).last_claim = None;
            }
            _ => self.end_waiting(id, Status::Cancelled, ErrorKind::Cancelled),
        }
        Steered::Done
    }

    /// Another life, with fresh budgets and without expiry.
    pub(crate) fn redrive(&mut self, id: TaskId) -> Steered {
        let now = self.now;
        let Some(task) = self.tasks.get_mut(&id) else { return Steered::Unknown };
        let end = match &task.place {
            Place::Ended(end) if end.status != Status::Completed => end.clone(),
            _ => return Steered::WrongState(task.status()),
        };
        let told =
            task.past.iter().any(|past| matches!(past, Past::Attempt(number, ..) if *number == end.attempt));
        task.past.push(if end.ran.is_some() && !told {
            Past::Attempt(end.attempt, end.status.to_string(), end.kind, end.at)
        } else {
            Past::End(end.status, end.kind, end.at)
        });
        task.past.push(Past::Redriven(now));
        (task.ended, task.failures, task.lost, task.spared) = (end.attempt, 0, 0, 0);
        (task.misses, task.missing_since) = (0, None);
        (task.due, task.since, task.expires) = (None, now, None);
        (task.last_kind, task.last_claim) = (end.kind, None);
        task.place = Place::Ready;
        self.news.remove(&id);
        self.count("redriven");
        Steered::Done
    }

    pub(crate) fn reschedule(
        &mut self,
        id: TaskId,
        due: Option<When>,
        priority: Option<Priority>,
    ) -> Steered {
        let now = self.now;
        let Some(task) = self.tasks.get_mut(&id) else { return Steered::Unknown };
        if !matches!(task.place, Place::Ready | Place::Due | Place::Blocked) {
            return Steered::WrongState(task.status());
        }
        if priority.is_some() {
            task.new_priority = priority;
        }
        if let Some(when) = due {
            let due = match when {
                When::At(at) => at.0,
                When::After(span) => now + millis(span),
            };
            (task.due, task.since) = (Some(due), due.max(task.created));
        }
        task.last_claim = None;
        if task.place != Place::Blocked {
            task.place = task.waiting_place(now);
        }
        Steered::Done
    }

    pub(crate) fn pause(&mut self, name: &QueueName, paused: bool) {
        self.queues.entry(name.clone()).or_default().paused = paused;
    }

    /// Aging does not change while tasks are ready.
    pub(crate) fn set_queue(&mut self, name: &QueueName, settings: &QueueSettings) -> bool {
        let ready = !self.ready_in(name).is_empty();
        let line = self.queues.get(name).cloned().unwrap_or_default();
        if ready && line.settings.aging != settings.aging {
            return false;
        }
        let now = self.now;
        let line = self.queues.entry(name.clone()).or_default();
        line.forget_starts(now);
        line.settings = settings.clone();
        if settings.rate.is_none() {
            line.starts.clear();
        }
        true
    }

    pub(crate) fn start_operation(&mut self, id: String, kind: OperationKind, filter: &Filter, dry: bool) {
        let (created, arrivals, filter) = (self.now, self.arrivals, filter.clone());
        let counts = (None, 0, 0);
        let (finished, matched, done) = counts;
        self.operations.push(Operation { id, kind, dry, created, finished, matched, done, filter, arrivals });
    }

    /// Carries the oldest operation out; whether there are more.
    pub(crate) fn operate(&mut self) -> bool {
        let pending = |operation: &&mut Operation| operation.finished.is_none();
        let Some(oldest) =
            self.operations.iter_mut().filter(pending).min_by_key(|operation| operation.created)
        else {
            return false;
        };
        oldest.finished = Some(self.now);
        let Operation { id, kind, dry, filter, arrivals, .. } = oldest.clone();
        let (mut matched, mut done) = (0, 0);
        for status in kind.statuses() {
            let asked = filter.statuses.is_empty() || filter.statuses.contains(status);
            // What came after the operation was asked for is not meant.
            let meant = |task: &Task| {
                task.status() == *status && asked && matches(task, &filter) && task.arrival <= arrivals
            };
            for task in self.those(meant) {
                matched += 1;
                let was_done = !dry
                    && match kind {
                        OperationKind::Cancel => self.cancel(task) == Steered::Done,
                        OperationKind::Redrive => self.redrive(task) == Steered::Done,
                        // One that others wait for must be told of.
                        OperationKind::Purge if !self.tasks[&task].children.is_empty() => {
                            self.cancel(task) == Steered::Done
                        }
                        OperationKind::Purge => {
                            self.remove(task);
                            true
                        }
                    };
                done += u64::from(was_done);
            }
        }
        let operation = self.operations.iter_mut().find(|operation| operation.id == id).expect("it is there");
        (operation.matched, operation.done) = (matched, done);
        self.operations.iter().any(|operation| operation.finished.is_none())
    }
}

/// What is asked.
impl Model {
    pub(crate) fn held(&self, status: Status) -> u64 {
        self.tasks.values().filter(|task| task.status() == status).count() as u64
    }

    pub(crate) fn unfinished(&self) -> usize {
        self.tasks.values().filter(|task| !task.status().is_final()).count()
    }

    /// The ready tasks of a queue, the first first: by priority, then by how long they have
    /// waited (in a queue that ages, each weighs against the other), then by arrival.
    pub(crate) fn ready_in(&self, name: &QueueName) -> Vec<TaskId> {
        let aging = self.queues.get(name).and_then(|line| line.settings.aging);
        let weight = aging.map_or(STRICT, |aging| i64::try_from(millis(aging)).expect("small"));
        let rank = |id: &TaskId| {
            let task = &self.tasks[id];
            let since = i64::try_from(task.since).expect("a time");
            (since - weight * i64::from(task.priority().get()), task.arrival)
        };
        let mut ready = self.those(|task| task.place == Place::Ready && task.spec.queue == *name);
        ready.sort_by_key(rank);
        ready
    }

    /// The tasks of a status, as lists give them; ready ones are listed by queue.
    pub(crate) fn list(&self, status: Status) -> Vec<TaskId> {
        let mut ids = self.those(|task| task.status() == status);
        match status {
            Status::Queued => ids = self.queues.keys().flat_map(|name| self.ready_in(name)).collect(),
            Status::Scheduled => ids.sort_by_key(|id| (self.tasks[id].due, self.tasks[id].arrival)),
            Status::Blocked => ids.sort_by_key(|id| (self.tasks[id].created, self.tasks[id].arrival)),
            Status::InProgress => ids.sort(),
            _ => {
                ids.sort_by_key(|id| (self.end_of(*id).order, *id));
                ids.reverse();
            }
        }
        ids
    }

    /// How many more may run of a task's concurrency key, if it has one.
    pub(crate) fn free_of_key(&self, id: TaskId) -> Option<usize> {
        let spec = &self.tasks[&id].spec;
        spec.concurrency_key.as_ref()?;
        let most = self.queues[&spec.queue].settings.per_key as usize;
        let running =
            self.tasks.iter().filter(|(other, task)| task.claim().is_some() && self.share_key(**other, id));
        Some(most.saturating_sub(running.count()))
    }

    pub(crate) fn share_key(&self, one: TaskId, other: TaskId) -> bool {
        let [one, other] = [one, other].map(|id| &self.tasks[&id].spec);
        one.queue == other.queue && one.concurrency_key == other.concurrency_key
    }

    /// The next one that a queue would hand out.
    pub(crate) fn first_of(&self, name: &QueueName) -> Option<TaskId> {
        self.ready_in(name).into_iter().find(|id| self.free_of_key(*id) != Some(0))
    }

    pub(crate) fn running_in(&self, name: &QueueName) -> usize {
        self.those(|task| task.claim().is_some() && task.spec.queue == *name).len()
    }

    /// So many tasks a queue may hand out at most: in no span of a rate's length more than it says.
    fn most_from(&self, name: &QueueName) -> usize {
        self.room_in(name, |start, rate| self.now < start.earliest + millis(rate.per))
    }

    /// So many it hands out at least, if it has them.
    pub(crate) fn least_from(&self, name: &QueueName) -> usize {
        self.room_in(name, |start, rate| self.now < start.latest + millis(rate.per))
    }

    fn room_in(&self, name: &QueueName, counts: impl Fn(Start, Rate) -> bool) -> usize {
        let Some(line) = self.queues.get(name).filter(|line| !line.paused) else { return 0 };
        let slots =
            line.settings.concurrency.map(|most| (most as usize).saturating_sub(self.running_in(name)));
        let starts = line.settings.rate.map(|rate| {
            let recent = line.starts.iter().filter(|start| counts(**start, rate)).count();
            (rate.starts as usize).saturating_sub(recent)
        });
        slots.into_iter().chain(starts).min().unwrap_or(usize::MAX)
    }

    /// Whether that was the last call of a worker that did something.
    pub(crate) fn is_last_call(&self, worker: &str, number: u64) -> bool {
        self.calls.get(worker).is_some_and(|call| call.number == number)
    }

    /// How many leases have ended that nobody has looked at.
    pub(crate) fn are_over(&self) -> usize {
        self.those(|task| task.claim().is_some_and(|claim| claim.until <= self.now)).len()
    }

    /// How long until the next task is due.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let due = self.tasks.values().filter(|task| task.place == Place::Due).filter_map(|task| task.due);
        due.min().map(|due| due.saturating_sub(self.now))
    }

    /// The clock stepped back: what started later than now may count as of now,
    pub(crate) fn step_back(&mut self, now: u64) {
        // What was forgotten does not come back.
        self.operations.retain(|operation| operation.finished.is_none_or(|at| at + DAY > self.now));
        for line in self.queues.values_mut() {
            line.forget_starts(self.now);
            line.starts.iter_mut().for_each(|start| start.earliest = now.min(start.earliest));
        }
        self.now = now;
    }

    /// and does so as soon as the queue has been asked.
    fn see_starts(&mut self, name: &QueueName) {
        let Some(line) = self.queues.get_mut(name).filter(|line| !line.paused) else { return };
        if let Some(rate) = line.settings.rate {
            let latest = self.now + twentieth(rate);
            line.starts.iter_mut().for_each(|start| start.latest = latest.min(start.latest));
        }
    }
}

impl Reserved {
    fn is_taken(&self, now: u64) -> bool {
        self.removed.is_none_or(|removed| removed.until > now)
    }
}

impl Line {
    /// A start that does not count any more may be forgotten for good.
    fn forget_starts(&mut self, now: u64) {
        let Some(rate) = self.settings.rate else { return };
        let over = self.starts.iter_mut().filter(|start| start.earliest + millis(rate.per) <= now);
        over.for_each(|start| start.earliest = 0);
    }
}

impl Task {
    fn put_off(&mut self, due: u64, kind: ErrorKind) {
        (self.due, self.since, self.last_kind) = (Some(due), due, Some(kind));
        self.place = Place::Due;
    }

    /// Where it waits that waits for no other task.
    fn waiting_place(&self, now: u64) -> Place {
        if self.due > Some(now) { Place::Due } else { Place::Ready }
    }
}

impl Model {
    fn task(&mut self, id: TaskId) -> &mut Task {
        self.tasks.get_mut(&id).expect("the task is there")
    }

    fn end_of(&self, id: TaskId) -> &End {
        let Place::Ended(end) = &self.tasks[&id].place else { panic!("{id} has not ended") };
        end
    }

    fn those(&self, are: impl Fn(&Task) -> bool) -> Vec<TaskId> {
        self.tasks.iter().filter(|(_, task)| are(task)).map(|(id, _)| *id).collect()
    }

    fn count(&mut self, what: &'static str) {
        *self.ever.entry(what).or_default() += 1;
    }

    /// Ends a task together with the attempt that runs.
    fn end_attempt(&mut self, id: TaskId, status: Status, kind: Option<ErrorKind>, result: Bytes) {
        let task = self.task(id);
        let claim = task.claim().expect("it runs").clone();
        let attempt = task.ended + 1;
        let ran = Some((claim.worker, claim.started));
        self.end(id, status, End { status, kind, attempt, ran, at: 0, order: 0, result });
    }

    fn end_waiting(&mut self, id: TaskId, status: Status, kind: ErrorKind) {
        let task = self.task(id);
        task.last_claim = None;
        let attempt = task.ended;
        let (kind, result) = (Some(kind), Bytes::new());
        let end = End { status, kind, attempt, ran: None, at: 0, order: 0, result };
        self.end(id, status, end);
    }

    fn end(&mut self, id: TaskId, status: Status, end: End) {
        let at = self.now;
        let order = match self.last_end {
            Some((last, came)) if at <= last && came == at => last,
            Some((last, _)) if at <= last => last + 1,
            _ => at,
        };
        self.last_end = Some((order, at));
        let task = self.task(id);
        task.place = Place::Ended(End { at, order, ..end });
        if !task.children.is_empty() {
            self.news.insert(id);
        }
        self.count(status.as_str());
    }
}

fn matches(task: &Task, filter: &Filter) -> bool {
    let spec = &task.spec;
    filter.queue.as_ref().is_none_or(|queue| *queue == spec.queue)
        && filter.job.as_ref().is_none_or(|job| *job == spec.job)
        && filter.tag.as_ref().is_none_or(|tag| spec.tags.iter().any(|other| other == tag))
        && filter.since.is_none_or(|since| task.created >= since.0)
        && filter.before.is_none_or(|before| task.created < before.0)
}

/// How exactly starts are known to a rate; to the millisecond at best.
fn twentieth(rate: Rate) -> u64 {
    millis(rate.per).div_ceil(20) + 1
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).expect("a span of this age")
}

fn ensure(holds: bool, broken: impl FnOnce() -> Broken) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(broken()) }
}
