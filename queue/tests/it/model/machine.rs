//! What a queue is, said without a store: the specification that the real one is held against.
//!
//! It owns plain data and the rules of who may follow whom. It does not know scripts, keys or
//! bytes. Where the real queue may choose (from which of several queues a claim takes first), the
//! machine does not choose itself: it is told what was claimed and says whether that was right.

use std::collections::{BTreeMap, BTreeSet};

use sentinel_queue::{
    ErrorKind, NewTask, QueueSettings, Status, TaskId,
    settings::Rate,
    steer::{OperationKind, Retention, Steered},
    task::{AfterPolicy, When},
};

pub(crate) const LEASE: u64 = 10_000;
const DAY: u64 = 24 * 3600 * 1000;

/// A task, as far as its place in the world goes.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) new: NewTask,
    pub(crate) created: u64,
    pub(crate) seq: u64,
    pub(crate) place: Place,
    pub(crate) ended: u32,
    pub(crate) failures: u32,
    pub(crate) lost: u32,
    pub(crate) spared: u32,
    pub(crate) due: Option<u64>,
    pub(crate) priority: i32,
    /// By which it stands among those of its priority.
    base: u64,
    expires: Option<u64>,
    missing_since: Option<u64>,
    misses: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Ready,
    Due,
    /// Waits for these.
    Blocked(BTreeSet<TaskId>),
    Leased(Claim),
    Finished {
        status: Status,
        kind: Option<ErrorKind>,
        at: u64,
        attempt: u32,
    },
}

/// Who holds a task, by which call, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) worker: usize,
    pub(crate) call: u64,
    pub(crate) until: u64,
}

impl Task {
    pub(crate) fn status(&self) -> Status {
        match self.place {
            Place::Ready => Status::Queued,
            Place::Due => Status::Scheduled,
            Place::Blocked(_) => Status::Blocked,
            Place::Leased(_) => Status::InProgress,
            Place::Finished { status, .. } => status,
        }
    }

    fn is_final(&self) -> bool {
        matches!(self.place, Place::Finished { .. })
    }

    fn key(&self) -> Option<(String, String)> {
        let key = self.new.spec.concurrency_key.as_ref()?;
        Some((self.queue().to_owned(), key.to_string()))
    }

    pub(crate) fn queue(&self) -> &str {
        self.new.spec.queue.as_str()
    }

    /// Lower is earlier. `point` is what one point of priority is worth, in milliseconds.
    fn order(&self, point: i128) -> (i128, u64) {
        (i128::from(self.base) - i128::from(self.priority) * point, self.seq)
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pub(crate) settings: QueueSettings,
    pub(crate) paused: bool,
    /// When tasks were started while a rate was set.
    starts: Vec<u64>,
}

impl Line {
    fn point(&self) -> i128 {
        self.settings.aging.map_or(1 << 41, |aging| i128::try_from(aging.as_millis()).unwrap())
    }
}

/// What was used before, with what, and until when it is remembered without its task.
struct Key {
    id: TaskId,
    print: (String, Vec<u8>),
    until: Option<u64>,
}

#[derive(Default)]
pub(crate) struct Machine {
    pub(crate) now: u64,
    seq: u64,
    last_submit: u64,
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    pub(crate) lines: BTreeMap<String, Line>,
    keys: BTreeMap<String, Key>,
    /// The last sign of life of anybody, and until when nobody is judged.
    beat: Option<(u64, u64)>,
    /// When somebody last said that he has the job.
    advertised: Option<u64>,
    /// Whom a task's end must be told; also those who do not wait any more.
    children: BTreeMap<TaskId, BTreeSet<TaskId>>,
    pub(crate) ever: BTreeMap<&'static str, u64>,
    /// By which claim a task was settled last, for as long as that is what happened to it last.
    settled_by: BTreeMap<TaskId, (usize, u64)>,
    /// The tasks that the settlements of the present call have ended.
    just_ended: Vec<TaskId>,
}

/// What a submit is answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted(Vec<TaskId>),
    Conflict(usize),
    NoParent(usize),
}

impl Machine {
    pub(crate) fn at(now: u64) -> Self {
        Self { now, ..Self::default() }
    }

    fn count(&mut self, what: &'static str, by: u64) {
        *self.ever.entry(what).or_default() += by;
    }

    pub(crate) fn ids(&self, which: impl Fn(&Task) -> bool) -> Vec<TaskId> {
        self.tasks.iter().filter(|(_, task)| which(task)).map(|(id, _)| *id).collect()
    }

    // --- submit

    pub(crate) fn submit(&mut self, tasks: &[NewTask]) -> Answer {
        let mut answer = Vec::new();
        let mut fresh: Vec<NewTask> = Vec::new();
        let mut stand_ins: BTreeMap<TaskId, TaskId> = BTreeMap::new();
        for (index, task) in tasks.iter().enumerate() {
            if self.tasks.contains_key(&task.id) {
                answer.push(task.id);
                stand_ins.insert(task.id, task.id);
                continue;
            }
            if let Some(key) = &task.spec.idempotency_key {
                let print = print_of(task);
                let earlier = fresh.iter().find(|other| other.spec.idempotency_key.as_ref() == Some(key));
                let holder = earlier
                    .map(|other| (other.id, print_of(other)))
                    .or_else(|| self.keys.get(key.as_str()).map(|key| (key.id, key.print.clone())));
                if let Some((id, other)) = holder {
                    if other != print {
                        return Answer::Conflict(index);
                    }
                    stand_ins.insert(task.id, id);
                    answer.push(id);
                    continue;
                }
            }
            let mut task = task.clone();
            for parent in &mut task.spec.after {
                *parent = stand_ins.get(parent).copied().unwrap_or(*parent);
                let known = self.tasks.contains_key(parent) || fresh.iter().any(|task| task.id == *parent);
                if !known {
                    return Answer::NoParent(index);
                }
            }
            answer.push(task.id);
            stand_ins.insert(task.id, task.id);
            fresh.push(task);
        }
        if !fresh.is_empty() {
            self.last_submit = self.last_submit.max(self.now);
        }
        let dependent = fresh.iter().any(|task| !task.spec.after.is_empty());
        for task in fresh {
            self.accept(task);
        }
        if dependent {
            self.unblock();
        }
        Answer::Accepted(answer)
    }

    fn accept(&mut self, new: NewTask) {
        self.seq += 1;
        let created = self.last_submit;
        let due = new.when.map(|when| match when {
            When::At(at) => at.0,
            When::After(delay) => self.now + u64::try_from(delay.as_millis()).unwrap(),
        });
        let due = due.filter(|due| *due > self.now);
        if let Some(key) = &new.spec.idempotency_key {
            let key = key.to_string();
            self.keys.insert(key, Key { id: new.id, print: print_of(&new), until: None });
        }
        self.lines.entry(new.spec.queue.to_string()).or_default();
        let task = Task {
            created,
            seq: self.seq,
            place: match (new.spec.after.is_empty(), due) {
                (true, None) => Place::Ready,
                (true, Some(_)) => Place::Due,
                (false, _) => Place::Blocked(new.spec.after.iter().copied().collect()),
            },
            ended: 0,
            failures: 0,
            lost: 0,
            spared: 0,
            due,
            priority: new.spec.priority.get(),
            base: due.unwrap_or(created),
            expires: new.spec.expires_at.map(|at| at.0),
            missing_since: None,
            misses: 0,
            new,
        };
        for parent in &task.new.spec.after {
            self.children.entry(*parent).or_default().insert(task.new.id);
        }
        self.count("submitted", 1);
        self.tasks.insert(task.new.id, task);
    }

    // --- what time does

    fn place(&mut self, id: TaskId) {
        let now = self.now;
        let task = self.tasks.get_mut(&id).unwrap();
        task.place = if task.due.is_some_and(|due| due > now) { Place::Due } else { Place::Ready };
    }

    fn finish(&mut self, id: TaskId, status: Status, kind: Option<ErrorKind>, attempt: u32) {
        self.settled_by.remove(&id);
        let at = self.now;
        self.tasks.get_mut(&id).unwrap().place = Place::Finished { status, kind, at, attempt };
        self.count(status.as_str(), 1);
    }

    fn promote(&mut self) {
        let now = self.now;
        for id in self.ids(|task| task.place == Place::Due && task.due.is_some_and(|due| due <= now)) {
            self.place(id);
        }
    }

    fn expire(&mut self) {
        let now = self.now;
        let waits = |task: &Task| !task.is_final() && !matches!(task.place, Place::Leased(_));
        for id in self.ids(|task| waits(task) && task.expires.is_some_and(|at| at <= now)) {
            let attempt = self.tasks[&id].ended;
            self.finish(id, Status::Failed, Some(ErrorKind::Expired), attempt);
        }
    }

    /// Tells children of their parents' ends until nobody is left to tell.
    fn unblock(&mut self) {
        let ended = |machine: &Self, parent: &TaskId| match machine.tasks.get(parent).map(|task| &task.place)
        {
            Some(Place::Finished { status, .. }) => Some(*status),
            _ => None,
        };
        while let Some((parent, status)) =
            self.children.keys().find_map(|parent| Some((*parent, ended(self, parent)?)))
        {
            for child in self.children.remove(&parent).unwrap() {
                let Some(task) = self.tasks.get_mut(&child) else { continue };
                let Place::Blocked(waits_for) = &mut task.place else { continue };
                let always = task.new.spec.after_policy == AfterPolicy::Always;
                if status != Status::Completed && !always {
                    self.finish(child, Status::Cancelled, Some(ErrorKind::Cancelled), 0);
                } else if waits_for.remove(&parent) && waits_for.is_empty() {
                    self.place(child);
                }
            }
        }
    }

    /// A sign of life; whether leases may be ended.
    fn beat(&mut self) -> bool {
        let (last, mut grace) = self.beat.unwrap_or((self.now, 0));
        if self.now.saturating_sub(last) > LEASE * 6 / 10 {
            grace = self.now + LEASE;
        } else if grace > self.now + LEASE {
            grace = self.now;
        }
        self.beat = Some((self.now, grace));
        self.now >= grace
    }

    /// Answers the leases that ended, and whether each convicted its task.
    pub(crate) fn sweep(&mut self) -> BTreeMap<TaskId, bool> {
        let may_reap = self.beat();
        let now = self.now;
        for task in self.tasks.values_mut() {
            if let Place::Leased(claim) = &mut task.place
                && claim.until > now + 2 * LEASE
            {
                claim.until = now + LEASE;
            }
        }
        let ended = |task: &Task| matches!(&task.place, Place::Leased(claim) if claim.until <= now);
        let mut reaped = BTreeMap::new();
        for id in self.ids(|task| may_reap && ended(task)) {
            let task = self.tasks.get_mut(&id).unwrap();
            if task.lost < 2 {
                task.lost += 1;
            } else {
                task.spared += 1;
            }
            task.ended += 1;
            let (attempt, expired) = (task.ended, task.expires.is_some_and(|at| at <= now));
            let convicted = task.lost + task.spared >= 10;
            if convicted || expired {
                let kind = if convicted { ErrorKind::WorkerLost } else { ErrorKind::Expired };
                self.finish(id, Status::Failed, Some(kind), attempt);
            } else {
                self.tasks.get_mut(&id).unwrap().place = Place::Ready;
            }
            self.settled_by.remove(&id);
            self.count("lost", 1);
            reaped.insert(id, convicted || expired);
        }
        self.promote();
        self.expire();
        self.unblock();
        self.keys.retain(|_, key| key.until.is_none_or(|until| until > now));
        reaped
    }

    pub(crate) fn reopen(&mut self) {
        for id in self.ids(|task| matches!(task.place, Place::Leased(_))) {
            self.tasks.get_mut(&id).unwrap().place = Place::Ready;
        }
    }

    // --- attempts

    pub(crate) fn holds(&self, id: TaskId, worker: usize, call: u64) -> bool {
        let task = self.tasks.get(&id);
        task.is_some_and(|task| {
            matches!(&task.place, Place::Leased(claim) if (claim.worker, claim.call) == (worker, call))
        })
    }

    /// Ends an attempt if the claim still holds; `false` if it does not.
    pub(crate) fn settle(&mut self, id: TaskId, worker: usize, call: u64, how: How) -> bool {
        if !self.holds(id, worker, call) {
            return false;
        }
        let now = self.now;
        let available = self.advertised.is_some_and(|at| at + LEASE > now);
        let task = self.tasks.get_mut(&id).unwrap();
        let attempt = task.ended + 1;
        let put_off = match how {
            How::Complete => Err((Status::Completed, None)),
            How::Fail => Err((Status::Failed, Some(ErrorKind::Trap))),
            How::Retry(wait) => {
                task.ended += 1;
                task.failures += 1;
                if task.expires.is_some_and(|at| now + wait >= at) {
                    Err((Status::Failed, Some(ErrorKind::Expired)))
                } else {
                    Ok((wait, "retry"))
                }
            }
            How::Elsewhere(wait) if available => {
                (task.misses, task.missing_since) = (0, None);
                Ok((wait, "unknown"))
            }
            How::Elsewhere(_)
                if task.missing_since.is_some_and(|since| now.saturating_sub(since) >= 600_000) =>
            {
                Err((Status::Failed, Some(ErrorKind::UnknownJob)))
            }
            How::Elsewhere(_) => {
                task.missing_since.get_or_insert(now);
                task.misses += 1;
                Ok(((1000 << (task.misses - 1).min(10)).min(60_000), "unknown"))
            }
        };
        match put_off {
            Err((status, kind)) => {
                self.finish(id, status, kind, attempt);
                self.just_ended.push(id);
            }
            Ok((wait, counter)) => {
                (task.due, task.base, task.place) = (Some(now + wait), now + wait, Place::Due);
                self.count(counter, 1);
            }
        }
        true
    }

    /// As `settle`, or the answer that the same settlement by the same claim got before.
    pub(crate) fn settle_again(&mut self, id: TaskId, worker: usize, call: u64, how: How) -> bool {
        if self.settle(id, worker, call, how) {
            self.settled_by.insert(id, (worker, call));
            return true;
        }
        self.settled_by.get(&id) == Some(&(worker, call))
    }

    /// Children hear of the ends in the same step.
    pub(crate) fn after_settling(&mut self, wanted: usize) {
        let ended = std::mem::take(&mut self.just_ended);
        if wanted > 0 || ended.iter().any(|id| self.children.contains_key(id)) {
            self.unblock();
        }
    }

    /// What comes before a claim in the same step.
    pub(crate) fn before_claim(&mut self) {
        self.promote();
        self.expire();
    }

    /// After a step of the clock nobody can say what the last period was.
    pub(crate) fn forget_starts(&mut self) {
        self.lines.values_mut().for_each(|line| line.starts.clear());
    }

    /// Holds what was claimed against what should have been: in each queue the first of those that
    /// may run, and no slot left empty while anything may.
    pub(crate) fn claim(
        &mut self,
        worker: usize,
        call: u64,
        served: &[String],
        wanted: usize,
        got: &[TaskId],
    ) {
        assert!(got.len() <= wanted, "no more than wanted");
        let place = Place::Leased(Claim { worker, call, until: self.now + LEASE });
        let is_leased = |task: &Task| matches!(task.place, Place::Leased(_));
        for queue in served {
            let Some(line) = self.lines.get(queue) else { continue };
            let (point, settings) = (line.point(), line.settings.clone());
            let of_queue = |task: &Task| task.queue() == queue;
            let mut mine: Vec<_> =
                got.iter().filter(|id| self.tasks.get(id).is_some_and(of_queue)).copied().rev().collect();
            let taken = mine.len();
            let running = self.ids(|task| of_queue(task) && is_leased(task)).len();
            let room = match settings.concurrency {
                _ if line.paused => 0,
                Some(limit) => (limit as usize).saturating_sub(running),
                None => usize::MAX,
            };
            assert!(taken <= room, "{queue}: {taken} claimed, and there was room for {room}");
            let mut ready = self.ids(|task| of_queue(task) && task.place == Place::Ready);
            ready.sort_by_key(|id| self.tasks[id].order(point));
            for id in ready {
                let key = self.tasks[&id].key();
                let of_key = |task: &Task| is_leased(task) && task.key() == key;
                let full = key.is_some() && self.ids(of_key).len() >= settings.per_key as usize;
                if mine.last() == Some(&id) {
                    assert!(!full, "{id} was claimed, and its key is taken");
                    mine.pop();
                    self.tasks.get_mut(&id).unwrap().place = place.clone();
                } else if !full {
                    let enough = got.len() == wanted || taken == room || settings.rate.is_some();
                    assert!(mine.is_empty() && enough, "{id} of {queue} may run and comes before {mine:?}");
                    break;
                }
            }
            assert!(mine.is_empty(), "{mine:?} were claimed and not ready, or not in order");
            if let Some(rate) = settings.rate {
                let line = self.lines.get_mut(queue).unwrap();
                line.starts.extend(std::iter::repeat_n(self.now, taken));
                line.check_rate(rate, self.now);
            }
        }
        for id in got {
            assert!(self.holds(*id, worker, call), "{id} was claimed from no queue that is served");
        }
    }

    pub(crate) fn renew(&mut self, held: &[(TaskId, usize, u64)], advertises: bool) -> BTreeSet<TaskId> {
        self.beat();
        let until = self.now + LEASE;
        if advertises {
            self.advertised = Some(self.now);
        }
        let mut lost = BTreeSet::new();
        for (id, worker, call) in held {
            if self.holds(*id, *worker, *call) {
                let place = &mut self.tasks.get_mut(id).unwrap().place;
                *place = Place::Leased(Claim { worker: *worker, call: *call, until });
            } else {
                lost.insert(*id);
            }
        }
        lost
    }

    /// A claim that is sent again prolongs what it still holds.
    pub(crate) fn prolong(&mut self, worker: usize, call: u64) {
        let until = self.now + LEASE;
        for task in self.tasks.values_mut() {
            if let Place::Leased(claim) = &mut task.place
                && (claim.worker, claim.call) == (worker, call)
            {
                claim.until = until;
            }
        }
    }

    pub(crate) fn release(&mut self, id: TaskId, worker: usize, call: u64) -> bool {
        let held = self.holds(id, worker, call);
        if held {
            self.settled_by.remove(&id);
            self.tasks.get_mut(&id).unwrap().place = Place::Ready;
        }
        held
    }

    // --- operators

    pub(crate) fn cancel(&mut self, id: TaskId) -> Steered {
        let Some(task) = self.tasks.get(&id) else { return Steered::Unknown };
        if task.is_final() {
            return Steered::WrongState(task.status());
        }
        let ran = matches!(task.place, Place::Leased(_));
        let attempt = task.ended + u32::from(ran);
        self.finish(id, Status::Cancelled, Some(ErrorKind::Cancelled), attempt);
        Steered::Done
    }

    pub(crate) fn redrive(&mut self, id: TaskId) -> Steered {
        let now = self.now;
        let Some(task) = self.tasks.get_mut(&id) else { return Steered::Unknown };
        let Place::Finished { status: Status::Failed | Status::Cancelled, attempt, .. } = task.place else {
            return Steered::WrongState(task.status());
        };
        (task.ended, task.failures, task.lost, task.spared) = (attempt, 0, 0, 0);
        (task.misses, task.missing_since, task.due, task.expires) = (0, None, None, None);
        (task.base, task.place) = (now, Place::Ready);
        self.settled_by.remove(&id);
        self.count("redriven", 1);
        Steered::Done
    }

    pub(crate) fn reschedule(&mut self, id: TaskId, due: Option<u64>, priority: Option<i32>) -> Steered {
        let Some(task) = self.tasks.get_mut(&id) else { return Steered::Unknown };
        let waits = matches!(task.status(), Status::Queued | Status::Scheduled | Status::Blocked);
        if !waits {
            return Steered::WrongState(task.status());
        }
        self.settled_by.remove(&id);
        task.priority = priority.unwrap_or(task.priority);
        if let Some(due) = due {
            (task.due, task.base) = (Some(due), due.max(task.created));
        }
        if !matches!(task.place, Place::Blocked(_)) {
            self.place(id);
        }
        Steered::Done
    }

    pub(crate) fn set(&mut self, queue: &str, settings: &QueueSettings) -> bool {
        let line = self.lines.entry(queue.to_owned()).or_default();
        let aging = line.settings.aging;
        let waiting = |task: &Task| task.queue() == queue && task.status() == Status::Queued;
        if settings.aging != aging && self.tasks.values().any(waiting) {
            return false;
        }
        let line = self.lines.get_mut(queue).unwrap();
        if settings.rate != line.settings.rate {
            line.starts.clear();
        }
        line.settings = settings.clone();
        true
    }

    /// Carries an operation out, all at once: nothing else happens while the real one goes on.
    pub(crate) fn operate(&mut self, kind: OperationKind, queue: &str) -> u64 {
        let mut done = 0;
        for status in kind.statuses() {
            let meant = |task: &Task| task.status() == *status && task.queue() == queue;
            for id in self.ids(meant) {
                match kind {
                    OperationKind::Redrive => _ = self.redrive(id),
                    OperationKind::Purge if !self.children.contains_key(&id) => self.erase(id),
                    OperationKind::Cancel | OperationKind::Purge => _ = self.cancel(id),
                }
                done += 1;
            }
        }
        done
    }

    fn erase(&mut self, id: TaskId) {
        let task = self.tasks.remove(&id).unwrap();
        self.settled_by.remove(&id);
        if let Some(key) = &task.new.spec.idempotency_key {
            let until = task.created + DAY;
            if until <= self.now {
                self.keys.remove(key.as_str());
            } else if let Some(key) = self.keys.get_mut(key.as_str()) {
                key.until = Some(until);
            }
        }
        self.count("removed", 1);
    }

    pub(crate) fn retain(&mut self, retention: &Retention) {
        for (status, keep) in [
            (Status::Completed, retention.completed),
            (Status::Failed, retention.failed),
            (Status::Cancelled, retention.cancelled),
        ] {
            let age = u64::try_from(keep.age.as_millis()).unwrap();
            let mut ended: Vec<_> = self
                .tasks
                .iter()
                .filter_map(|(id, task)| match task.place {
                    Place::Finished { status: found, at, .. } if found == status => Some((at, *id)),
                    _ => None,
                })
                .collect();
            ended.sort_by_key(|(at, id)| (*at, id.to_string()));
            let old = ended.iter().filter(|(at, _)| at + age <= self.now).count();
            let too_many = ended.len().saturating_sub(usize::try_from(keep.count).unwrap());
            for (_, id) in ended.into_iter().take(old.max(too_many)) {
                if !self.children.contains_key(&id) {
                    self.erase(id);
                }
            }
        }
    }
}

impl Line {
    /// No span as long as the period holds more starts than the rate.
    fn check_rate(&self, rate: Rate, now: u64) {
        let per = u64::try_from(rate.per.as_millis()).unwrap();
        // A clock that stepped back makes "the last period" a matter of opinion: later starts count.
        let lately = self.starts.iter().filter(|at| **at + per > now).count();
        assert!(lately <= rate.starts as usize, "{lately} starts in {per} ms: {:?}", self.starts);
    }
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    Complete,
    Fail,
    Retry(u64),
    Elsewhere(u64),
}

fn print_of(task: &NewTask) -> (String, Vec<u8>) {
    (task.spec.queue.to_string(), task.spec.payload.as_bytes().to_vec())
}
