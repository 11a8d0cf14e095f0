//! The records of STORE's layout (`d:`, `s:`, `x:`, `h:`) as bytes: written and read here and in
//! `scripts/lib/{record,task,ready}.lua`, nowhere else.
//!
//! A record is a version byte, then fields of at most 255 bytes, each behind one byte that holds
//! its length, then a tail of any length. Tails are ours alone: a line of JSON (empty when it
//! would say nothing), a newline, then bytes as they are.

mod access;

use std::str::FromStr;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    names::{Millis, Namespace, Priority, QueueName, ScheduleName, TaskId},
    payload::Payload,
    schedule::{CatchUp, LastRun, Schedule, ScheduleInfo, Timing},
    settings::{QueueSettings, Rate},
    state::{ErrorKind, Status},
    store::StoreError,
    task::{
        AfterPolicy, AttemptReport, Definition, Ended, ErrorReport, Event, Lineage, MAX_LOST, Policy,
        Progression, Spec, TaskError, TaskState,
    },
    trace::{self, TraceContext},
};

pub(crate) use self::access::{action, action_tail, key, key_tail};

const VERSION: u8 = b'1';

/// What scripts do not look at of a task, besides its payload.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct Head {
    #[serde(flatten)]
    policy: Policy,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    after: Vec<TaskId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lineage: Option<Lineage>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "trace::kept")]
    trace: Option<Box<TraceContext>>,
}

fn pack<'a>(fields: impl IntoIterator<Item = &'a str>) -> BytesMut {
    let mut out = BytesMut::with_capacity(96);
    for field in fields {
        let length = u8::try_from(field.len()).expect("checked names are short");
        out.put_u8(length);
        out.put_slice(field.as_bytes());
    }
    out
}

fn millis(at: Option<Millis>) -> String {
    at.map(|at| at.0.to_string()).unwrap_or_default()
}

/// The fields of a definition from the namespace on; the script puts sequence, priority and time
/// in front.
pub(crate) fn header(spec: &Spec) -> Bytes {
    let always = spec.after_policy == AfterPolicy::Always;
    pack([
        spec.namespace.as_str(),
        spec.queue.as_str(),
        spec.job.as_str(),
        &MAX_LOST.to_string(),
        &millis(spec.expires_at),
        spec.concurrency_key.as_ref().map_or("", |key| key.as_str()),
        &spec.tags.to_string(),
        spec.idempotency_key.as_ref().map_or("", |key| key.as_str()),
        if always { "A" } else { "" },
    ])
    .freeze()
}

/// What the script must know of a task that is not plain; empty for a plain one.
pub(crate) fn options(spec: &Spec, print: &str) -> Bytes {
    let plain = spec.expires_at.is_none()
        && spec.concurrency_key.is_none()
        && spec.idempotency_key.is_none()
        && spec.after.is_empty();
    if plain {
        return Bytes::new();
    }
    let mut out = BytesMut::from(&[VERSION][..]);
    out.put(pack([
        millis(spec.expires_at).as_str(),
        spec.concurrency_key.as_ref().map_or("", |key| key.as_str()),
        spec.idempotency_key.as_ref().map_or("", |key| key.as_str()),
        print,
        &spec.after.len().to_string(),
    ]));
    out.put_slice(spec.after.iter().map(ToString::to_string).collect::<Vec<_>>().join(",").as_bytes());
    out.freeze()
}

/// The submitted task, opaque to scripts.
pub(crate) fn body(spec: &Spec) -> Bytes {
    let head = Head {
        policy: spec.policy.clone(),
        after: spec.after.clone(),
        lineage: spec.lineage,
        trace: spec.trace.clone(),
    };
    tail(&head, spec.payload.as_bytes())
}

/// What is kept of an attempt that ended, opaque to scripts.
pub(crate) fn ended_tail(report: &AttemptReport, result: &[u8]) -> Bytes {
    tail(report, result)
}

/// What the header of a definition says; the rest of its spec is empty.
pub(crate) fn definition_header(id: TaskId, record: &Bytes) -> Result<Definition, StoreError> {
    read_header(id, record).map(|(definition, _)| definition)
}

/// Reads `d:`.
pub(crate) fn definition(id: TaskId, record: &Bytes) -> Result<Definition, StoreError> {
    let (mut definition, rest) = read_header(id, record)?;
    let (head, payload) = split_tail::<Head>(&rest)?;
    let spec = &mut definition.spec;
    spec.payload = Payload::stored(payload);
    spec.policy = head.policy;
    spec.after = head.after;
    spec.lineage = head.lineage;
    spec.trace = head.trace;
    Ok(definition)
}

fn read_header(id: TaskId, record: &Bytes) -> Result<(Definition, Bytes), StoreError> {
    let mut fields = Fields::of(record)?;
    let _seq = fields.text()?;
    let priority = fields.parse::<i64>()?;
    let created_at = Millis(fields.parse()?);
    let namespace = fields.parse::<Namespace>()?;
    let queue = fields.parse::<QueueName>()?;
    let job = fields.parse()?;
    let _max_lost = fields.text()?;
    let mut spec = Spec::new(job, Payload::stored(Bytes::new()));
    spec.namespace = namespace;
    spec.queue = queue;
    spec.priority = Priority::new(priority).map_err(broken)?;
    spec.expires_at = fields.optional()?.map(Millis);
    spec.concurrency_key = fields.optional()?;
    spec.tags = fields.parse()?;
    spec.idempotency_key = fields.optional()?;
    if fields.text()?.contains('A') {
        spec.after_policy = AfterPolicy::Always;
    }
    Ok((Definition { id, spec, created_at }, fields.rest()))
}

/// Reads `s:`; empty for a task that is still on its first path.
pub(crate) fn progression(record: &Bytes) -> Result<Progression, StoreError> {
    if record.is_empty() {
        return Ok(Progression::default());
    }
    let mut fields = Fields::of(record)?;
    let (ended, failures, lost) = (fields.parse()?, fields.parse()?, fields.parse()?);
    let due = fields.optional()?.map(Millis);
    let priority = fields.optional::<i64>()?.map(Priority::new).transpose().map_err(broken)?;
    let (_base, _by) = (fields.text()?, fields.text()?);
    let last_kind = fields.optional()?;
    let spared = fields.parse()?;
    Ok(Progression { ended, failures, lost, spared, due, priority, last_kind })
}

/// Since when a task can be claimed, of its `s:`; none: since it was accepted.
pub(crate) fn ready_at(record: &Bytes) -> Result<Option<Millis>, StoreError> {
    if record.is_empty() {
        return Ok(None);
    }
    let mut fields = Fields::of(record)?;
    for _before in 0..5 {
        fields.text()?;
    }
    Ok(fields.optional()?.map(Millis))
}

/// Reads `x:`, or its beginning, as far as that is there.
pub(crate) fn finished(record: &Bytes) -> Result<TaskState, StoreError> {
    let mut fields = Fields::of(record)?;
    let by = fields.text()?.to_owned();
    let status = fields.parse::<Status>()?;
    let kind = fields.optional::<ErrorKind>()?;
    let attempt = fields.parse()?;
    let started_at = fields.parse()?;
    let finished_at = Millis(fields.parse()?);
    let (ended, error, result) = end(&by, kind, attempt, started_at, finished_at, &fields.rest())?;
    match (status, error) {
        (Status::Completed, _) => Ok(TaskState::Completed { ended, result }),
        (Status::Cancelled, Some(error)) => Ok(TaskState::Cancelled { ended, error }),
        (Status::Failed, Some(error)) => Ok(TaskState::Failed { ended, error }),
        (other, _) => Err(broken(format!("a finished task is {other} with error {kind:?}"))),
    }
}

/// Reads an entry of `h:`.
pub(crate) fn event(field: &str, record: &Bytes) -> Result<Event, StoreError> {
    let mut fields = Fields::of(record)?;
    let what = fields.text()?.to_owned();
    let by = fields.text()?.to_owned();
    let kind = fields.optional::<ErrorKind>()?;
    let started_at = fields.parse()?;
    let at = Millis(fields.parse()?);
    if what == "REDRIVEN" {
        return Ok(Event::Redriven { at });
    }
    let attempt = field.parse().unwrap_or_default();
    let (ended, error, _) = end(&by, kind, attempt, started_at, at, &fields.rest())?;
    Ok(if attempt > 0 {
        Event::Attempt { ended, outcome: what, error }
    } else {
        Event::End { at, status: what.parse().map_err(broken)?, error }
    })
}

fn end(
    by: &str,
    kind: Option<ErrorKind>,
    attempt: u32,
    started_at: u64,
    finished_at: Millis,
    rest: &Bytes,
) -> Result<(Ended, Option<TaskError>, Bytes), StoreError> {
    let reported = !rest.is_empty();
    let (report, result) = split_tail::<AttemptReport>(rest)?;
    let started = started_at > 0;
    let ended = Ended {
        attempt,
        worker: worker_of(by).filter(|_| started).map(ToOwned::to_owned),
        started_at: started.then_some(Millis(started_at)),
        finished_at,
        usage: reported.then_some(report.usage),
        plugin_digest: report.plugin_digest,
    };
    let error = kind.map(|kind| TaskError { kind, report: explained(kind, by, report.error) });
    Ok((ended, error, result))
}

/// Reads a claim as `run` holds it: its token and when it was made.
pub(crate) fn claim(run: &str) -> Result<(String, Millis), StoreError> {
    let claim = run.split_once(' ').and_then(|(token, at)| Some((token, at.parse().ok()?)));
    let (token, at) = claim.ok_or_else(|| broken(format!("a claim reads {run:?}")))?;
    Ok((token.to_owned(), Millis(at)))
}

/// The worker's instance in a token, which is `<instance>-<number of the call>`; it is the last
/// word of what ended a task or an attempt.
pub(crate) fn worker_of(by: &str) -> Option<&str> {
    let token = by.rsplit(' ').next()?;
    token.rsplit_once('-').map(|(instance, _)| instance)
}

/// Errors that only scripts record have no text of their own.
fn explained(kind: ErrorKind, by: &str, mut report: ErrorReport) -> ErrorReport {
    if report.message.is_empty() {
        let mut words = by.split(' ');
        report.message = match (kind, words.next()) {
            (ErrorKind::WorkerLost, _) => "the worker stopped renewing its lease".into(),
            (ErrorKind::Expired, _) => "the task did not start before it expired".into(),
            (ErrorKind::Cancelled, Some("parent")) => {
                let (parent, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                format!("the task {parent}, for which it waited, is {status}")
            }
            (ErrorKind::Cancelled, _) => "cancelled by request".into(),
            _ => String::new(),
        };
    }
    report
}

/// The settings of a queue as the script takes them.
pub(crate) fn settings_args(settings: &QueueSettings) -> [Bytes; 6] {
    let rate = settings.rate.as_ref();
    let text = |number: u64| Bytes::from(number.to_string());
    let whole = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    [
        text(settings.aging.map_or(QueueSettings::STRICT_WEIGHT, whole)),
        text(rate.map_or(0, |rate| rate.starts.into())),
        text(rate.map_or(0, |rate| whole(rate.per))),
        text(settings.concurrency.unwrap_or(0).into()),
        text(settings.per_key.into()),
        tail(&settings.defaults, &[]),
    ]
}

/// Reads a queue's settings, and whether it is paused.
pub(crate) fn settings(record: &Bytes) -> Result<(QueueSettings, bool), StoreError> {
    let mut fields = Fields::of(record)?;
    let paused = fields.text()? == "1";
    let weight = fields.parse::<u64>()?;
    let (starts, period) = (fields.parse::<u32>()?, fields.parse()?);
    let (concurrency, per_key) = (fields.parse::<u32>()?, fields.parse()?);
    let settings = QueueSettings {
        rate: (starts > 0).then(|| Rate { starts, per: std::time::Duration::from_millis(period) }),
        concurrency: (concurrency > 0).then_some(concurrency),
        per_key,
        aging: (weight != QueueSettings::STRICT_WEIGHT).then(|| std::time::Duration::from_millis(weight)),
        defaults: defaults(&fields.rest())?,
    };
    Ok((settings, paused))
}

/// What scripts do not look at of a schedule, besides its payload.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct ScheduleHead {
    #[serde(default)]
    catch_up: CatchUp,
    job: String,
    queue: String,
    #[serde(default)]
    priority: i64,
    #[serde(flatten)]
    policy: Policy,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    concurrency_key: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    tags: String,
}

/// The part of a schedule that is opaque to scripts.
pub(crate) fn schedule_tail(schedule: &Schedule) -> Bytes {
    let Schedule { catch_up, task, .. } = schedule;
    let head = ScheduleHead {
        catch_up: *catch_up,
        job: task.job.to_string(),
        queue: task.queue.to_string(),
        priority: task.priority.get().into(),
        policy: task.policy.clone(),
        concurrency_key: task.concurrency_key.as_ref().map(ToString::to_string).unwrap_or_default(),
        tags: task.tags.to_string(),
    };
    tail(&head, task.payload.as_bytes())
}

/// Reads a schedule; its next tick stands elsewhere.
pub(crate) fn schedule(
    namespace: Namespace,
    name: ScheduleName,
    record: &Bytes,
) -> Result<ScheduleInfo, StoreError> {
    let mut fields = Fields::of(record)?;
    let generation = fields.parse()?;
    let paused = fields.text()? == "1";
    let timing = Timing { cron: fields.parse()?, zone: fields.parse()? };
    let at = fields.optional()?.map(Millis);
    let task = fields.optional()?;
    let last_run = at.zip(task).map(|(at, task)| LastRun { at, task });
    let (head, payload) = split_tail::<ScheduleHead>(&fields.rest())?;
    let mut task = Spec::new(head.job.parse().map_err(broken)?, Payload::stored(payload));
    task.namespace = namespace;
    task.queue = head.queue.parse().map_err(broken)?;
    task.priority = Priority::new(head.priority).map_err(broken)?;
    task.policy = head.policy;
    task.tags = head.tags.parse().map_err(broken)?;
    if !head.concurrency_key.is_empty() {
        task.concurrency_key = Some(head.concurrency_key.parse().map_err(broken)?);
    }
    let schedule = Schedule { name, timing, catch_up: head.catch_up, task };
    Ok(ScheduleInfo { schedule, paused, next: None, last_run, generation })
}

/// Reads what a queue asks for on behalf of its tasks.
pub(crate) fn defaults(tail: &Bytes) -> Result<Policy, StoreError> {
    split_tail::<Policy>(tail).map(|(policy, _)| policy)
}

fn tail<T: Serialize + Default + PartialEq>(head: &T, bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(bytes.len() + 1);
    if *head != T::default() {
        let json = serde_json::to_vec(head).expect("plain data becomes JSON");
        out.put_slice(&json);
    }
    out.put_u8(b'\n');
    out.put_slice(bytes);
    out.freeze()
}

fn split_tail<T: DeserializeOwned + Default>(tail: &Bytes) -> Result<(T, Bytes), StoreError> {
    let Some(end) = tail.iter().position(|&byte| byte == b'\n') else {
        return Ok((T::default(), Bytes::new()));
    };
    let head = match &tail[..end] {
        [] => T::default(),
        json => serde_json::from_slice(json).map_err(broken)?,
    };
    Ok((head, tail.slice(end + 1..)))
}

/// Reads a record field by field.
struct Fields<'a> {
    record: &'a Bytes,
    at: usize,
}

impl<'a> Fields<'a> {
    fn of(record: &'a Bytes) -> Result<Self, StoreError> {
        match record.first() {
            Some(&VERSION) => Ok(Self { record, at: 1 }),
            other => Err(broken(format!(
                "a record has version {other:?}, which this program does not know: upgrade it"
            ))),
        }
    }

    fn text(&mut self) -> Result<&'a str, StoreError> {
        let length = *self.record.get(self.at).ok_or_else(cut_short)?;
        let start = self.at + 1;
        let end = start + usize::from(length);
        let field = self.record.get(start..end).ok_or_else(cut_short)?;
        self.at = end;
        std::str::from_utf8(field).map_err(broken)
    }

    fn parse<T: FromStr<Err: ToString>>(&mut self) -> Result<T, StoreError> {
        self.text()?.parse().map_err(|error: T::Err| broken(error.to_string()))
    }

    fn optional<T: FromStr<Err: ToString>>(&mut self) -> Result<Option<T>, StoreError> {
        match self.text()? {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|error: T::Err| broken(error.to_string())),
        }
    }

    fn rest(&self) -> Bytes {
        self.record.slice(self.at..)
    }
}

fn cut_short() -> StoreError {
    broken("a record is cut short")
}

#[allow(clippy::needless_pass_by_value)] // reads better where errors are mapped
fn broken(error: impl ToString) -> StoreError {
    StoreError::Broken(error.to_string())
}
