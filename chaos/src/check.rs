//! The checker: what clients were told, held against what the store holds in the end.
//!
//! It is a pure function of a history and of the final tasks, so that its tests can break each
//! rule once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Serialize;
use serde_json::json;

use crate::{
    history::{Act, AfterPolicy, Event, Steer, Steered, What, Wish},
    task::{Attempt, FINAL, Found},
};

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rule {
    /// What was accepted is there.
    Lost,
    /// One task for each wish, and none that nobody wished for.
    Doubled,
    /// Everything ends.
    Stuck,
    /// Payloads stay as they were sent.
    Altered,
    /// A task ends as its job does, with the result of the attempt that ended it.
    WrongEnd,
    /// What was cancelled is CANCELLED until it is redriven.
    CancelUndone,
    /// A redrive happens once.
    Redrive,
    /// A final state is left by a redrive alone.
    FinalChanged,
    /// Nothing starts before its delay is over and its parents have ended as it asks for.
    TooEarly,
    /// Nothing starts after it expired.
    TooLate,
    /// No two tasks of one concurrency key run at once.
    Together,
    /// One attempt at a time, no more failures than allowed, one of them ends the task, and the
    /// history tells of each what clients saw.
    Attempts,
    /// The lifetime counters tell of one settlement for each task.
    Settlements,
    /// `/stats` says what the tasks say.
    Stats,
    /// Nobody is convicted for what others did.
    Convicted,
    /// The API answers what it should: nothing but 503 while the store is away.
    Answer,
    /// Processes run until they are killed, and end well when they are told to.
    Process,
    /// `sentinel audit` finds nothing.
    Audit,
    /// What is required to be tried was tried.
    Exercise,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(json!(self).as_str().unwrap_or_default())
    }
}

/// A broken rule.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mark: Option<String>,
    pub(crate) what: String,
}

impl Violation {
    pub(crate) fn of(rule: Rule, what: impl Into<String>) -> Self {
        Self { rule, id: None, mark: None, what: what.into() }
    }
}

/// What the store holds in the end.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Finals {
    /// By id: all that are accepted or that the store has besides.
    pub(crate) tasks: BTreeMap<String, Found>,
    /// By id: those that the API cannot show, and what it says instead.
    pub(crate) unreadable: BTreeMap<String, String>,
    /// `/stats`.
    pub(crate) queue_size: u64,
    pub(crate) status_counts: BTreeMap<String, u64>,
    /// The lifetime counters of the namespace.
    pub(crate) lifetime: BTreeMap<String, u64>,
}

/// How many of everything there were.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Tally {
    /// Tasks that clients wanted.
    pub(crate) submitted: u64,
    pub(crate) acknowledged: u64,
    /// Nobody said whether they were accepted.
    pub(crate) unknown: u64,
    /// Of these the store has so many.
    pub(crate) unknown_accepted: u64,
    pub(crate) not_sent: u64,
    /// Submits that were answered with a task that was there before.
    pub(crate) deduplicated: u64,
    pub(crate) cancelled_by_request: u64,
    pub(crate) redriven: u64,
    pub(crate) ended: BTreeMap<String, u64>,
    /// Tasks that lost a lease at least once.
    pub(crate) ran_again: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) stuck: u64,
    /// FAILED `worker_lost`.
    pub(crate) convicted: u64,
}

impl Tally {
    /// What did not happen even once, so that a run without violations says nothing of it.
    pub(crate) fn idle(&self) -> impl Iterator<Item = &'static str> {
        let happened = [
            (self.unknown, "submits of unknown fate"),
            (self.ran_again, "lost leases"),
            (self.cancelled_by_request, "cancelled tasks"),
            (self.redriven, "redriven tasks"),
            (self.deduplicated, "submits sent again"),
        ];
        happened.into_iter().filter(|(count, _)| *count == 0).map(|(_, name)| name)
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) tally: Tally,
    pub(crate) violations: Vec<Violation>,
}

/// Checks all rules.
pub(crate) fn check(events: &[Event], finals: &Finals) -> Verdict {
    let mut check = Check { case: Case::new(events, finals), verdict: Verdict::default() };
    check.submits();
    for task in finals.tasks.values() {
        check.task(task);
    }
    check.together();
    check.counters();
    check.tally(events);
    check.verdict
}

/// The history, by task.
struct Case<'a> {
    finals: &'a Finals,
    wishes: BTreeMap<&'a str, &'a Wish>,
    /// Mark to ids: more than one is a violation.
    accepted: BTreeMap<&'a str, BTreeSet<&'a str>>,
    not_sent: BTreeSet<&'a str>,
    unknown: BTreeSet<&'a str>,
    steers: BTreeMap<&'a str, Vec<(Steer, Steered)>>,
    /// Status, attempt and time of the ends that clients saw.
    observed: BTreeMap<&'a str, BTreeSet<(&'a str, u64, u64)>>,
    by_mark: BTreeMap<&'a str, Vec<&'a Found>>,
}

impl<'a> Case<'a> {
    fn new(events: &'a [Event], finals: &'a Finals) -> Self {
        let mut case = Self {
            finals,
            wishes: BTreeMap::new(),
            accepted: BTreeMap::new(),
            not_sent: BTreeSet::new(),
            unknown: BTreeSet::new(),
            steers: BTreeMap::new(),
            observed: BTreeMap::new(),
            by_mark: BTreeMap::new(),
        };
        for event in events {
            match &event.what {
                What::Wished(wish) => {
                    case.wishes.insert(&wish.mark, wish);
                }
                What::Accepted { mark, id, .. } => {
                    case.accepted.entry(mark).or_default().insert(id);
                }
                What::Unknown { mark, .. } => {
                    case.unknown.insert(mark);
                }
                What::NotSent { mark } => {
                    case.not_sent.insert(mark);
                }
                What::Steered { id, steer, outcome } => {
                    case.steers.entry(id).or_default().push((*steer, *outcome));
                }
                What::Observed { id, status, attempt, finished_at } => {
                    case.observed.entry(id).or_default().insert((status, *attempt, *finished_at));
                }
                What::Unexpected { .. } | What::Fault { .. } | What::Misbehaved { .. } => {}
            }
        }
        for task in finals.tasks.values() {
            if let Some(mark) = &task.mark {
                case.by_mark.entry(mark).or_default().push(task);
            }
        }
        case
    }

    fn steers(&self, id: &str) -> &[(Steer, Steered)] {
        self.steers.get(id).map(Vec::as_slice).unwrap_or_default()
    }

    fn count(&self, id: &str, steer: Steer, outcome: Steered) -> u64 {
        self.steers(id).iter().filter(|&&done| done == (steer, outcome)).count() as u64
    }

    /// Whether a client did so, as far as it knows.
    fn may_have(&self, id: &str, steer: Steer) -> bool {
        self.count(id, steer, Steered::Done) + self.count(id, steer, Steered::Unknown) > 0
    }

    fn parents(&self, wish: &Wish) -> Vec<&'a Found> {
        wish.after.iter().filter_map(|mark| Some(*self.by_mark.get(mark.as_str())?.first()?)).collect()
    }
}

struct Check<'a> {
    case: Case<'a>,
    verdict: Verdict,
}

impl<'a> Check<'a> {
    fn violated(&mut self, rule: Rule, task: &Found, what: impl Into<String>) {
        let (id, mark) = (Some(task.id.clone()), task.mark.clone());
        self.verdict.violations.push(Violation { rule, id, mark, what: what.into() });
    }

    /// Every wish has the one task that its client was told of.
    fn submits(&mut self) {
        let mut violations = Vec::new();
        for (&mark, ids) in &self.case.accepted {
            for &id in ids {
                if !self.case.finals.tasks.contains_key(id) {
                    self.verdict.tally.lost += 1;
                    let answer = self.case.finals.unreadable.get(id);
                    let what = format!("it was accepted and is not there: {answer:?}");
                    violations.push(Violation {
                        rule: Rule::Lost,
                        id: Some(id.into()),
                        mark: Some(mark.into()),
                        what,
                    });
                }
            }
            if ids.len() > 1 {
                self.verdict.tally.doubled += 1;
                let what = format!("clients were told of {} tasks for one wish: {ids:?}", ids.len());
                violations.push(Violation { rule: Rule::Doubled, id: None, mark: Some(mark.into()), what });
            }
        }
        for (&mark, tasks) in &self.case.by_mark {
            let known = self.case.accepted.contains_key(mark) || self.case.unknown.contains(mark);
            let ids: Vec<_> = tasks.iter().map(|task| &task.id).collect();
            let what = if tasks.len() > 1 {
                self.verdict.tally.doubled += 1;
                format!("the store has {} tasks for one wish: {ids:?}", tasks.len())
            } else if self.case.not_sent.contains(mark) {
                "it was never sent, and is there".into()
            } else if !known {
                "nobody wished for it".into()
            } else {
                continue;
            };
            violations.push(Violation { rule: Rule::Doubled, id: None, mark: Some(mark.into()), what });
        }
        self.verdict.violations.append(&mut violations);
    }

    fn task(&mut self, task: &'a Found) {
        let wish = task.mark.as_deref().and_then(|mark| self.case.wishes.get(mark).copied());
        let Some(wish) = wish else {
            return self.violated(Rule::Doubled, task, "nobody wished for it");
        };
        if task.payload != wish.payload() {
            self.violated(Rule::Altered, task, format!("its payload is {}", task.payload));
        }
        if task.is_final() {
            self.end(task, wish);
        } else {
            self.verdict.tally.stuck += 1;
            self.violated(Rule::Stuck, task, format!("it is still {}", task.status));
        }
        self.beginning(task, wish);
        self.expiry(task, wish);
        self.attempts(task, wish);
        self.steered(task);
        self.observed(task);
        self.remembered(task, wish);
    }

    /// It ended as its job, its parents and its clients would have it.
    fn end(&mut self, task: &Found, wish: &Wish) {
        let wrong = match task.status.as_str() {
            "COMPLETED" => match &wish.act {
                act if act.failure().is_some() => Some("its job fails, and it is COMPLETED".into()),
                act if !is_result_of(act, task, wish) => Some(format!("its result is {:?}", task.result)),
                _ => None,
            },
            "FAILED" if task.error.as_deref() == Some("worker_lost") => {
                self.verdict.tally.convicted += 1;
                self.violated(Rule::Convicted, task, "it is FAILED `worker_lost`, and kills no worker");
                None
            }
            "FAILED" if task.error.as_deref() == Some("expired") && wish.expires_at.is_some() => None,
            "FAILED" => {
                let expected = wish.act.failure();
                let kind = task.error.as_deref();
                if expected.is_none() || kind != expected {
                    Some(format!("it is FAILED with {kind:?}, and its job ends with {expected:?}"))
                } else if wish.act.is_retried() && task.attempt < wish.max_attempts {
                    Some(format!("it is FAILED at attempt {} of {}", task.attempt, wish.max_attempts))
                } else {
                    None
                }
            }
            _ => {
                let by_client = self.case.may_have(&task.id, Steer::Cancel);
                let by_parent = wish.after_policy == AfterPolicy::Completed
                    && self
                        .case
                        .parents(wish)
                        .iter()
                        .any(|parent| parent.status != "COMPLETED" || parent.redrives > 0);
                (!by_client && !by_parent)
                    .then(|| "it is CANCELLED, and neither a client nor a parent did it".into())
            }
        };
        if let Some(what) = wrong {
            self.violated(Rule::WrongEnd, task, what);
        }
        let failed = self
            .case
            .parents(wish)
            .into_iter()
            .find(|parent| parent.is_final() && parent.status != "COMPLETED");
        if let Some(parent) = failed
            && wish.after_policy == AfterPolicy::Completed
            && task.redrives == 0
            && task.status != "CANCELLED"
            && !(wish.expires_at.is_some() && task.error.as_deref() == Some("expired"))
        {
            let what = format!("it is {}, and its parent {} is {}", task.status, parent.id, parent.status);
            self.violated(Rule::WrongEnd, task, what);
        }
    }

    /// It did not start before it might. A redrive frees it from delay and parents.
    fn beginning(&mut self, task: &Found, wish: &Wish) {
        let Some(start) = task.first_start().filter(|_| task.redrives == 0) else { return };
        let is_rescheduled = self.case.may_have(&task.id, Steer::Reschedule);
        if let Some(delay) = wish.delay_ms
            && !is_rescheduled
            && start < task.created_at + delay
        {
            let what =
                format!("it started {} ms after it was accepted", start.saturating_sub(task.created_at));
            self.violated(Rule::TooEarly, task, what);
        }
        for parent in self.case.parents(wish) {
            let early = match wish.after_policy {
                AfterPolicy::Completed => {
                    parent.status != "COMPLETED" || parent.finished_at.is_none_or(|end| start < end)
                }
                AfterPolicy::Always => {
                    parent.redrives == 0 && parent.finished_at.is_none_or(|end| start < end)
                }
            };
            if early {
                let (status, end) = (&parent.status, parent.finished_at);
                let what =
                    format!("it started at {start}; its parent {} is {status} since {end:?}", parent.id);
                self.violated(Rule::TooEarly, task, what);
            }
        }
    }

    /// It started before it expired, or did not start. A redrive frees it from that.
    fn expiry(&mut self, task: &Found, wish: &Wish) {
        let Some(expires) = wish.expires_at.filter(|_| task.redrives == 0) else { return };
        if let Some(start) = task.last_start().filter(|&start| start >= expires) {
            let what = format!("it started at {start}, and had expired at {expires}");
            self.violated(Rule::TooLate, task, what);
        }
        let is_expired = task.error.as_deref() == Some("expired");
        // A retry that would come too late ends the task at once.
        if is_expired && !wish.act.is_retried() && task.finished_at.is_some_and(|end| end < expires) {
            self.violated(Rule::WrongEnd, task, format!("it expired before {expires}"));
        }
    }

    /// Whoever has a concurrency key runs alone.
    fn together(&mut self) {
        let mut runs: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (mark, tasks) in &self.case.by_mark {
            let Some(wish) = self.case.wishes.get(mark) else { continue };
            let Some(key) = wish.concurrency_key else { continue };
            let attempts = tasks.iter().flat_map(|&task| task.attempts.iter().map(move |run| (run, task)));
            runs.entry((wish.queue, key)).or_default().extend(attempts);
        }
        for ((queue, key), mut runs) in runs {
            runs.sort_by_key(|(run, _)| (run.started_at, run.ended_at));
            for pair in runs.windows(2) {
                let [(before, other), (after, task)] = pair else { continue };
                if after.started_at < before.ended_at {
                    let what =
                        format!("of {key} in {queue}, it ran beside {}: {before:?}, {after:?}", other.id);
                    self.violated(Rule::Together, task, what);
                }
            }
        }
    }

    fn attempts(&mut self, task: &Found, wish: &Wish) {
        for pair in task.attempts.windows(2) {
            let [before, after] = pair else { continue };
            if after.started_at < before.ended_at || after.number <= before.number {
                self.violated(Rule::Attempts, task, format!("two attempts at once: {pair:?}"));
            }
        }
        let number_of =
            |outcome| task.attempts.iter().filter(|attempt| attempt.outcome == outcome).count() as u64;
        let lives = task.redrives + 1;
        let allowed = match &wish.act {
            // The attempts that fail are those before the one that completes.
            Act::OkFrom { attempt } => attempt - 1,
            act if act.is_retried() => wish.max_attempts,
            act => u64::from(act.failure().is_some()),
        };
        if number_of("FAILED") > allowed * lives {
            let what = format!("{} attempts failed; {allowed} may, {lives} times", number_of("FAILED"));
            self.violated(Rule::Attempts, task, what);
        }
        let completed = number_of("COMPLETED");
        let last = task.attempts.last().is_some_and(|last| last.outcome == "COMPLETED");
        if completed > 1 || (completed == 1 && !(last && task.status == "COMPLETED")) {
            let what = format!("{completed} attempts completed it, and it is {}", task.status);
            self.violated(Rule::Attempts, task, what);
        }
        if number_of("LOST") > 0 {
            self.verdict.tally.ran_again += 1;
        }
    }

    fn steered(&mut self, task: &Found) {
        let steers = self.case.steers(&task.id).to_vec();
        let cancelled = steers.iter().rposition(|&steer| steer == (Steer::Cancel, Steered::Done));
        let redriven =
            |&(steer, outcome): &(Steer, Steered)| steer == Steer::Redrive && outcome == Steered::Done;
        let unknown_redrives = self.case.count(&task.id, Steer::Redrive, Steered::Unknown);
        if let Some(at) = cancelled
            && unknown_redrives == 0
            && !steers[at..].iter().any(redriven)
            && task.status != "CANCELLED"
        {
            let what = format!("its cancel was acknowledged, and it is {}", task.status);
            self.violated(Rule::CancelUndone, task, what);
        }
        let done = self.case.count(&task.id, Steer::Redrive, Steered::Done);
        if !(done..=done + unknown_redrives).contains(&task.redrives) {
            let what =
                format!("{done} redrives were acknowledged, and it was redriven {} times", task.redrives);
            self.violated(Rule::Redrive, task, what);
        }
    }

    /// What clients saw is in the history, though the task has another life now.
    fn remembered(&mut self, task: &Found, wish: &Wish) {
        for (status, number, end) in self.case.observed.get(task.id.as_str()).cloned().unwrap_or_default() {
            let attempt = task.attempts.iter().find(|attempt| attempt.number == number);
            // It may have expired later, while it waited for another attempt.
            let expired = |ended_at| wish.expires_at.is_some_and(|at| (ended_at..=end).contains(&at));
            let other = |attempt: &&Attempt| {
                attempt.outcome == status && attempt.ended_at != end && !expired(attempt.ended_at)
            };
            if let Some(attempt) = attempt.filter(other) {
                let what = format!("a client saw it end at {end}; its history says {attempt:?}");
                self.violated(Rule::Attempts, task, what);
            }
        }
    }

    fn observed(&mut self, task: &Found) {
        let mut ends = self.case.observed.get(task.id.as_str()).cloned().unwrap_or_default();
        let now = (task.status.as_str(), task.attempt, task.finished_at.unwrap_or_default());
        let changed =
            ends.iter().find(|&&end| end != now && (end.0 == "COMPLETED" || task.redrives == 0)).copied();
        ends.insert(now);
        let changed = changed
            .or_else(|| (ends.len() as u64 > task.redrives + 1).then(|| *ends.first().unwrap_or(&now)));
        if let Some(end) = changed {
            let what = format!(
                "a client saw it end as {end:?}; now it is {now:?}, redriven {} times",
                task.redrives
            );
            self.violated(Rule::FinalChanged, task, what);
        }
    }

    /// The counters fit the tasks.
    fn counters(&mut self) {
        let finals = self.case.finals;
        let with = |status: &str| finals.tasks.values().filter(|task| task.status == status).count() as u64;
        let ever = |name: &str| finals.lifetime.get(name).copied().unwrap_or(0);
        let redrives: u64 = finals.tasks.values().map(|task| task.redrives).sum();
        let tasks = (finals.tasks.len() + finals.unreadable.len()) as u64;
        let settled = [
            ("submitted", ever("submitted"), tasks, "tasks"),
            ("COMPLETED", ever("COMPLETED"), with("COMPLETED"), "tasks that are COMPLETED"),
            (
                "FAILED and CANCELLED",
                ever("FAILED") + ever("CANCELLED"),
                with("FAILED") + with("CANCELLED") + redrives,
                "tasks that are or, before a redrive, were FAILED or CANCELLED",
            ),
            ("redriven", ever("redriven"), redrives, "redrives in histories"),
        ];
        for (name, counted, there, what) in settled {
            if counted != there {
                let what = format!("the lifetime counter {name} says {counted}; there are {there} {what}");
                self.verdict.violations.push(Violation::of(Rule::Settlements, what));
            }
        }
        let waiting = ["QUEUED", "SCHEDULED", "BLOCKED", "IN_PROGRESS"];
        for status in waiting.into_iter().chain(FINAL) {
            let (said, there) = (finals.status_counts.get(status).copied().unwrap_or(0), with(status));
            if said != there || (status == "QUEUED" && finals.queue_size != there) {
                let size = finals.queue_size;
                let what = format!(
                    "/stats says {said} {status} and a queue_size of {size}; {there} tasks are {status}"
                );
                self.verdict.violations.push(Violation::of(Rule::Stats, what));
            }
            if there > 0 {
                self.verdict.tally.ended.insert(status.into(), there);
            }
        }
        self.verdict.tally.redriven = redrives;
    }

    fn tally(&mut self, events: &[Event]) {
        let case = &self.case;
        let tally = &mut self.verdict.tally;
        tally.submitted = case.wishes.len() as u64;
        tally.acknowledged = case.accepted.len() as u64;
        tally.unknown = case.unknown.len() as u64;
        tally.unknown_accepted =
            case.unknown.iter().filter(|&mark| case.by_mark.contains_key(mark)).count() as u64;
        tally.not_sent = case.not_sent.len() as u64;
        let done = |steers: &&Vec<_>| steers.contains(&(Steer::Cancel, Steered::Done));
        tally.cancelled_by_request = case.steers.values().filter(done).count() as u64;
        for event in events {
            let (rule, what) = match &event.what {
                What::Unexpected { request, answer } => {
                    (Rule::Answer, format!("{request} was answered {answer}"))
                }
                What::Misbehaved { process, what } => (Rule::Process, format!("{process}: {what}")),
                What::Accepted { deduplicated: true, .. } => {
                    tally.deduplicated += 1;
                    continue;
                }
                _ => continue,
            };
            self.verdict.violations.push(Violation::of(rule, what));
        }
    }
}

fn is_result_of(act: &Act, task: &Found, wish: &Wish) -> bool {
    let Some(result) = &task.result else { return false };
    match act {
        Act::Echo => *result == wish.payload(),
        // The number of the attempt that ended the task, and of no other.
        Act::OkFrom { attempt } => *result == task.attempt && task.attempt >= *attempt,
        _ => result == "ok",
    }
}

#[cfg(test)]
mod tests;
