//! What workers call: claim, settle, renew, release, and the sweep that anybody may run.
//!
//! A lease is the right to run and to settle one task; it is known by its [`Token`]. Whoever
//! lost it changes nothing any more.

use std::{fmt, time::Duration};

use bytes::Bytes;

use crate::{
    effects::Effects,
    names::{ConcurrencyKey, JobName, Millis, Namespace, QueueName, TaskId},
    queue::{PREFIX, Queue, exactly, groups, queue_key, stand, stored, text},
    record,
    state::ErrorKind,
    store::{Heard, Reply, Script, StoreError, Subscription},
    task::{AttemptReport, Definition, MAX_LOST, Policy, Progress, Progression, TaskError},
};

/// How many tasks one call may settle, claim or renew.
pub const MAX_CALL: usize = 500;

/// One worker process: random, new with every start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Instance(String);

impl Instance {
    /// A new one, recognisable by the host's name.
    pub fn random(host: &str) -> Self {
        let host: String = host
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' })
            .take(32)
            .collect();
        let chance = uuid::Uuid::new_v4().simple().to_string();
        Self(format!("{host}-{}", &chance[..12]))
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the store tells one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A task was cancelled: this claim of it is void.
    Cancel(TaskId, Token),
}

impl Order {
    fn parse(message: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let (id, token) = text.strip_prefix("cancel ")?.split_once(' ')?;
        Some(Self::Cancel(id.parse().ok()?, Token(token.to_owned())))
    }
}

/// What the store tells one worker, as it comes. A hint: who misses an order learns with the next
/// renewal that the lease is lost.
pub struct Orders(Subscription);

impl Orders {
    /// The next order. Never ends.
    pub async fn next(&mut self) -> Order {
        loop {
            if let Heard::Message(message) = self.0.next().await
                && let Some(order) = Order::parse(&message)
            {
                return order;
            }
        }
    }
}

/// Proof of one claim of one task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token(String);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A claimed task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Proof of the claim.
    pub token: Token,
    /// The task.
    pub definition: Definition,
    /// How its attempts went so far.
    pub progression: Progression,
    /// What its queue asks for when neither it nor its job say.
    pub defaults: Policy,
    /// When it was claimed; not before that, if the call had to be sent again.
    pub claimed_at: Millis,
    /// Since when it could have been: it was accepted, due, or redriven then.
    pub ready_at: Millis,
}

impl Claimed {
    /// Whether only the death of a process that ran nothing else may convict it: it lost every
    /// other worker that it may.
    pub fn must_run_apart(&self) -> bool {
        self.progression.lost + 1 >= MAX_LOST
    }
}

/// How an attempt is settled.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The task.
    pub id: TaskId,
    /// Proof of the claim.
    pub token: Token,
    /// Whose it is.
    pub namespace: Namespace,
    /// Where it waited.
    pub queue: QueueName,
    /// What ran it.
    pub job: JobName,
    /// The first of its family.
    pub root: TaskId,
    /// What it shares with others.
    pub concurrency_key: Option<ConcurrencyKey>,
    /// The attempt's number.
    pub attempt: u32,
    /// When the task was accepted.
    pub created_at: Millis,
    /// How long it had waited for this attempt.
    pub waited: Duration,
    /// What becomes of the task.
    pub verdict: Verdict,
    /// What the attempt used and ran.
    pub report: AttemptReport,
    /// What the guest printed.
    pub log: Bytes,
    /// What the attempt did through the store; committed if it completes.
    pub effects: Effects,
}

impl Settlement {
    /// The settlement of a claimed task.
    pub fn of(task: &Claimed, verdict: Verdict, report: AttemptReport, log: Bytes) -> Self {
        let Definition { id, spec, .. } = &task.definition;
        Self {
            id: *id,
            token: task.token.clone(),
            namespace: spec.namespace.clone(),
            queue: spec.queue.clone(),
            job: spec.job.clone(),
            root: spec.lineage.map_or(*id, |lineage| lineage.root),
            concurrency_key: spec.concurrency_key.clone(),
            attempt: task.progression.attempt(),
            created_at: task.definition.created_at,
            waited: Duration::from_millis(task.claimed_at.0.saturating_sub(task.ready_at.0)),
            verdict,
            report,
            log,
            effects: Effects::default(),
        }
    }

    /// About how many bytes a call carries for it.
    pub fn size(&self) -> usize {
        let result = if let Verdict::Complete(result) = &self.verdict { result.len() } else { 0 };
        512 + result + self.log.len() + self.effects.size()
    }
}

/// What becomes of a task whose attempt has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// COMPLETED, with this result.
    Complete(Bytes),
    /// FAILED.
    Fail(TaskError),
    /// Tried again after a while; the attempt counts.
    Retry(TaskError, Duration),
    /// This worker has no such job: left to another one after a while, uncounted. While no worker
    /// at all advertises the job the wait grows, and in the end the task is FAILED.
    Elsewhere(TaskError, Duration),
}

/// Which queues a worker serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Served {
    /// All there are, in rotation.
    #[default]
    All,
    /// These; of what is claimed, each gets its share first.
    Only(Vec<(Namespace, QueueName, u32)>),
}

/// One settle + claim of one worker instance. Instances have one such call in flight.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The number of the call: sent again unchanged, it is answered the same.
    pub number: u64,
    /// At most [`MAX_CALL`].
    pub settlements: Vec<Settlement>,
    /// How many tasks are wanted, at most [`MAX_CALL`].
    pub wanted: usize,
}

/// What a [`Turn`] is answered.
#[derive(Clone, Debug)]
pub struct TurnAnswer {
    /// The time, by the store's clock.
    pub now: Millis,
    /// Whether each settlement was taken; `false`: the lease is another's.
    pub settled: Vec<bool>,
    /// The tasks claimed.
    pub claimed: Vec<Claimed>,
    /// How long their leases last.
    pub lease: Duration,
    /// How long until the next scheduled task is due.
    pub next_due: Option<Duration>,
    /// The queues that were asked, if tasks are still wanted.
    pub asked: Vec<Bytes>,
    /// A later call of this instance was answered before: nothing was done.
    pub superseded: bool,
}

/// A lease that is renewed, with what its attempt reports.
#[derive(Clone, Debug)]
pub struct Held {
    /// The task.
    pub id: TaskId,
    /// Proof of the claim.
    pub token: Token,
    /// How far it has come since the last renewal.
    pub progress: Option<Progress>,
}

/// What a renewal is answered.
#[derive(Clone, Debug)]
pub struct Renewed {
    /// How long leases last.
    pub lease: Duration,
    /// The leases that are lost.
    pub lost: Vec<TaskId>,
}

/// What a sweep did.
#[derive(Clone, Debug)]
pub struct Swept {
    /// How long until the next scheduled task is due.
    pub next_due: Option<Duration>,
    /// How many became ready because they were due.
    pub promoted: u64,
    /// The leases that had ended.
    pub reaped: Vec<Reaped>,
    /// Whether there is more to do at once.
    pub more: bool,
    /// Whether schedules are due ([`crate::schedule::Scheduler`]).
    pub schedules_due: bool,
    /// Whether operations are to be carried on.
    pub operations: bool,
}

/// A lease that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// The task.
    pub id: TaskId,
    /// The claim that was lost.
    pub token: Token,
    /// Whether the task lost as many workers as it may and is FAILED.
    pub failed: bool,
}

impl Queue {
    /// Settles attempts and claims tasks, in one step. Not sent again from here: the worker
    /// knows how long its leases last.
    pub async fn settle_and_claim(
        &self,
        instance: &Instance,
        served: &Served,
        turn: &Turn,
    ) -> Result<TurnAnswer, StoreError> {
        let mut args = vec![text(&instance.0), text(&turn.number), text(&turn.settlements.len())];
        for settlement in &turn.settlements {
            push_settlement(&mut args, settlement);
        }
        args.push(text(&turn.wanted));
        if let Served::Only(queues) = served {
            for (namespace, queue, share) in queues {
                args.extend([queue_key(namespace, queue), text(share)]);
            }
        }
        let reply = self.call_once(Script::SettleClaim, args).await?.into_array()?;
        let [word, now, lease, next_due, verdicts, tasks, asked] = exactly(reply)?;
        let token = Token(format!("{}-{}", instance.0, turn.number));
        let now = now.into_u64()?;
        let verdicts = verdicts.into_text()?;
        self.seen.settled(&turn.settlements, &verdicts, Millis(now));
        Ok(TurnAnswer {
            now: Millis(now),
            settled: letters(&verdicts),
            claimed: readable(groups(tasks.into_array()?, |[id, definition, state, defaults]| {
                let id = stored(id.into_text()?.parse())?;
                let (definition, state) = (definition.into_bytes()?, state.into_bytes()?);
                let claim = (&token, Millis(now));
                Ok((id, claimed(id, claim, &definition, &state, &defaults.into_bytes()?)))
            })?),
            lease: Duration::from_millis(lease.into_u64()?),
            next_due: until(now, next_due)?,
            asked: asked.into_array()?.into_iter().map(Reply::into_bytes).collect::<Result<_, _>>()?,
            superseded: word.into_text()? == "superseded",
        })
    }

    /// What the store tells a worker from now on.
    pub fn orders(&self, instance: &Instance) -> Orders {
        Orders(self.subscribe(Bytes::from(format!("{PREFIX}to:{}", instance.0))))
    }

    /// Prolongs leases, and is the worker's sign of life. Not sent again from here.
    pub async fn renew(
        &self,
        instance: &Instance,
        info: Bytes,
        jobs: &[Bytes],
        held: &[Held],
    ) -> Result<Renewed, StoreError> {
        let mut args = vec![text(&instance.0), info, text(&jobs.len())];
        args.extend(jobs.iter().cloned());
        for lease in held {
            args.push(text(&lease.id));
            args.push(text(&lease.token));
            args.push(lease.progress.as_ref().map_or_else(Bytes::new, |progress| {
                Bytes::from(format!("{} {}", progress.percent, progress.message))
            }));
        }
        let reply = self.call_once(Script::Renew, args).await?.into_array()?;
        let [_now, lease, lost] = exactly(reply)?;
        Ok(Renewed {
            lease: Duration::from_millis(lease.into_u64()?),
            lost: lost
                .into_array()?
                .into_iter()
                .map(|id| stored(id.into_text()?.parse()))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Gives leases back unharmed. Answers whether each was still held. Not sent again from here.
    pub async fn release(&self, leases: &[(TaskId, Token)]) -> Result<Vec<bool>, StoreError> {
        let args = leases.iter().flat_map(|(id, token)| [text(id), text(token)]).collect();
        let verdicts = self.call_once(Script::Release, args).await?.into_text()?;
        Ok(letters(&verdicts))
    }

    /// Ends expired leases and makes due tasks ready; the next slice of each.
    pub async fn sweep(&self) -> Result<Swept, StoreError> {
        let reply = self.call_once(Script::Sweep, vec![]).await?.into_array()?;
        let [now, next_due, promoted, reaped, more, schedules_due, operations] = exactly(reply)?;
        Ok(Swept {
            next_due: until(now.into_u64()?, next_due)?,
            promoted: promoted.into_u64()?,
            more: more.into_u64()? == 1,
            schedules_due: schedules_due.into_u64()? == 1,
            operations: operations.into_u64()? == 1,
            reaped: groups(reaped.into_array()?, |[id, token, word]| {
                Ok(Reaped {
                    id: stored(id.into_text()?.parse())?,
                    token: Token(token.into_text()?),
                    failed: word.into_text()? == "failed",
                })
            })?,
        })
    }

    /// Waits until one of these queues may hold something, at most `timeout`. Takes the marker:
    /// whoever cannot use it calls [`Queue::wake`].
    pub async fn wait(&self, queues: &[Bytes], timeout: Duration) -> Result<bool, StoreError> {
        let marker = |name: &[u8]| {
            let mut key = Vec::from(PREFIX);
            key.extend_from_slice(b"wake");
            if !name.is_empty() {
                key.push(b':');
                key.extend_from_slice(name);
            }
            Bytes::from(key)
        };
        let keys = queues.iter().map(|name| marker(name)).chain([marker(b"")]).collect();
        self.store.take_marker(keys, timeout).await
    }

    /// Passes a marker on to another idle worker.
    pub async fn wake(&self, queues: &[Bytes]) -> Result<(), StoreError> {
        self.call_once(Script::Wake, queues.to_vec()).await.map(drop)
    }
}

fn claimed(
    id: TaskId,
    (token, claimed_at): (&Token, Millis),
    definition: &Bytes,
    state: &Bytes,
    defaults: &Bytes,
) -> Result<Claimed, StoreError> {
    let (definition, progression) = stand(id, definition, state)?;
    let defaults = record::defaults(defaults)?;
    let ready_at = record::ready_at(state)?.unwrap_or(definition.created_at);
    Ok(Claimed { token: token.clone(), definition, progression, defaults, claimed_at, ready_at })
}

/// A task that this version cannot read is left to the end of its lease, and keeps no other from
/// being run.
fn readable(tasks: Vec<(TaskId, Result<Claimed, StoreError>)>) -> Vec<Claimed> {
    let read = tasks.into_iter().filter_map(|(id, task)| match task {
        Ok(task) => Some(task),
        Err(error) => {
            tracing::error!(task = %id, %error, "a claimed task cannot be read");
            None
        }
    });
    read.collect()
}

fn push_settlement(args: &mut Vec<Bytes>, settlement: &Settlement) {
    let none = Duration::ZERO;
    let failed = |error: &TaskError| {
        let report = AttemptReport { error: error.report.clone(), ..settlement.report.clone() };
        record::ended_tail(&report, &[])
    };
    let (action, kind, delay, tail) = match &settlement.verdict {
        Verdict::Complete(result) => {
            ("COMPLETED", None, none, record::ended_tail(&settlement.report, result))
        }
        Verdict::Fail(error) => ("FAILED", Some(error.kind), none, failed(error)),
        Verdict::Retry(error, delay) => ("retry", Some(error.kind), *delay, failed(error)),
        Verdict::Elsewhere(error, delay) => ("unknown", Some(error.kind), *delay, failed(error)),
    };
    args.extend([
        text(&settlement.id),
        text(&settlement.token),
        Bytes::from_static(action.as_bytes()),
        queue_key(&settlement.namespace, &settlement.queue),
        settlement.concurrency_key.as_ref().map(text).unwrap_or_default(),
        text(&settlement.attempt),
        Bytes::from_static(kind.map_or("", ErrorKind::as_str).as_bytes()),
        text(&delay.as_millis()),
        tail,
        settlement.log.clone(),
        if settlement.effects.is_empty() { Bytes::new() } else { settlement.effects.packed(settlement) },
    ]);
}

fn letters(verdicts: &str) -> Vec<bool> {
    verdicts.bytes().map(|letter| letter != b's').collect()
}

fn until(now: u64, due: Reply) -> Result<Option<Duration>, StoreError> {
    match due.into_bytes()? {
        empty if empty.is_empty() => Ok(None),
        due => {
            let due = Reply::Bytes(due).into_u64()?;
            Ok(Some(Duration::from_millis(due.saturating_sub(now))))
        }
    }
}
