//! What is asked of a queue, as JSON: the fields of requests, each with its range. All that is wrong
//! is told at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use serde::{
    Serialize,
    de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    Backoff, Grant, JobName, Millis, Namespace, NewTask, Payload, Policy, Priority, QueueName, QueueSettings,
    Schedule, ScheduleName, Scope, Spec, Status, Tag, Tags, TaskId, duration,
    keys::RequestRate,
    list::Filter,
    payload::{PayloadError, check_json},
    queue::MAX_BATCH,
    retry::BackoffKind,
    schedule::{BadZone, CatchUp, Cron, Timing, Zone},
    settings::Rate,
    steer::OperationKind,
    task::{AfterPolicy, MAX_PARENTS, When},
};

const DAY: Duration = Duration::from_hours(24);
const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// The longest that a task may be put off.
const LONGEST_DELAY: Duration = Duration::from_hours(3650 * 24);

/// How many parents the tasks of a batch may have in all: the store looks at each while everybody
/// else waits.
const MOST_PARENTS: usize = 2000;

/// So many errors are told one by one: an answer must not be larger than what was asked.
pub const MOST_ERRORS: usize = 100;

/// A request that is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What kind of refusal it is.
    pub why: Why,
    /// What is wrong, in a sentence.
    pub detail: String,
    /// Each field that is not acceptable, [`MOST_ERRORS`] at most.
    pub errors: Vec<FieldError>,
}

/// Why a request is not acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is not JSON, or not such as is taken.
    Malformed,
    /// Its payload is too large.
    TooLarge,
    /// A field is missing, unknown or out of its range.
    Field,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Where it is in the request, as a JSON Pointer (RFC 6901).
    pub pointer: String,
    /// What it is and what it must be.
    pub detail: String,
    /// In a batch: which task, from 0.
    pub index: Option<usize>,
}

impl FieldError {
    /// Of this place.
    pub fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into(), index: None }
    }
}

impl Refused {
    fn of(why: Why, detail: impl Into<String>) -> Self {
        Self { why, detail: detail.into(), errors: Vec::new() }
    }

    /// Some fields are not acceptable.
    pub fn fields(mut errors: Vec<FieldError>) -> Self {
        let more = errors.len().saturating_sub(MOST_ERRORS);
        errors.truncate(MOST_ERRORS);
        let mut named: Vec<_> =
            errors.iter().map(|error| format!("{}: {}", error.pointer, error.detail)).collect();
        if more > 0 {
            named.push(format!("and {more} more"));
        }
        Self { errors, ..Self::of(Why::Field, named.join("; ")) }
    }

    fn field(pointer: &str, detail: &impl ToString) -> Self {
        Self::fields(vec![FieldError::at(pointer, detail.to_string())])
    }

    /// The same, of one task of a batch; unless it says itself what is wrong with it, it is `place`.
    fn in_batch(mut self, index: usize, place: &str) -> Self {
        if self.errors.is_empty() {
            self.errors.push(FieldError::at(place, self.detail.clone()));
        }
        for error in &mut self.errors {
            error.pointer = format!("/tasks/{index}{}", error.pointer);
            error.index = Some(index);
        }
        self
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Refused {}

/// Takes a submit's body apart.
pub fn new_task(bytes: &Bytes, namespace: &Namespace) -> Result<NewTask, Refused> {
    let fields = Fields::of(text(bytes)?, "", TASK)?;
    let (task, errors) = task_of(bytes, fields, namespace, &[])?;
    task.filter(|_| errors.is_empty()).ok_or_else(|| Refused::fields(errors))
}

/// Takes the body of a batch apart: `{"tasks": […]}`.
pub fn batch(bytes: &Bytes, namespace: &Namespace) -> Result<Vec<NewTask>, Refused> {
    let mut fields = Fields::of(text(bytes)?, "", &["tasks"])?;
    check_all_but("tasks", &fields)?;
    let rule = format!("must be an array of 1 to {MAX_BATCH} tasks");
    let items = fields.require("tasks", |raw| {
        let items = serde_json::from_str::<Vec<&RawValue>>(raw.get()).map_err(|_| rule.clone())?;
        if (1..=MAX_BATCH).contains(&items.len()) { Ok(items) } else { Err(rule.clone()) }
    });
    let mut errors = fields.finish();
    let mut tasks: Vec<NewTask> = Vec::new();
    let mut ids = Vec::new();
    for (index, item) in items.unwrap_or_default().into_iter().enumerate() {
        let at = format!("/tasks/{index}");
        let Ok(fields) = Fields::of(item.get(), &at, TASK) else {
            let error = FieldError::at(at, "must be an object without a key that is there twice");
            errors.push(FieldError { index: Some(index), ..error });
            continue;
        };
        let (task, wrong) =
            task_of(bytes, fields, namespace, &ids).map_err(|refused| refused.in_batch(index, ""))?;
        errors.extend(wrong.into_iter().map(|error| FieldError { index: Some(index), ..error }));
        if errors.len() > MOST_ERRORS {
            break;
        }
        ids.push(task.as_ref().map_or_else(TaskId::random, |task| task.id));
        tasks.extend(task);
    }
    let parents: usize = tasks.iter().map(|task| task.spec.after.len()).sum();
    if parents > MOST_PARENTS {
        let rule =
            format!("the tasks of a batch may wait for {MOST_PARENTS} tasks in all, and wait for {parents}");
        errors.push(FieldError::at("/tasks", rule));
    }
    if errors.is_empty() { Ok(tasks) } else { Err(Refused::fields(errors)) }
}

/// Refuses fields that are not acceptable JSON; one is checked by itself.
fn check_all_but(itself: &str, fields: &Fields<'_>) -> Result<(), Refused> {
    for (name, raw) in fields.left.iter().filter(|(name, _)| **name != itself) {
        check_json(raw.get().as_bytes())
            .map_err(|reason| Refused::of(Why::Malformed, format!("{name}: {reason}")))?;
    }
    Ok(())
}

/// One task, if it is whole, and what is wrong. `earlier` are the tasks before it in its batch,
/// which it may name by their number.
fn task_of(
    body: &Bytes,
    mut fields: Fields<'_>,
    namespace: &Namespace,
    earlier: &[TaskId],
) -> Result<(Option<NewTask>, Vec<FieldError>), Refused> {
    check_all_but("payload", &fields)?;
    let payload = if let Some(raw) = fields.left.remove("payload") {
        payload(body, raw, &mut fields)?
    } else {
        fields.wrong("payload", "is missing: it must be a JSON object with a string `job`");
        None
    };
    let queue = fields.take("queue", queue).unwrap_or_default();
    let priority = fields.take("priority", priority).unwrap_or_default();
    let policy = policy(&mut fields);
    let when = when(&mut fields);
    let expires_at = fields.take("expires_at", instant);
    let concurrency_key = fields.take("concurrency_key", parsed);
    let idempotency_key = fields.take("idempotency_key", parsed);
    let tags = fields.take("tags", tags).unwrap_or_default();
    let after = fields.take("after", |raw| parents(raw, earlier)).unwrap_or_default();
    let after_policy = fields
        .take("after_policy", |raw| json::<AfterPolicy>(raw, "must be \"completed\" or \"always\""))
        .unwrap_or_default();
    let errors = fields.finish();
    let task = payload.map(|(payload, job)| {
        let mut task = NewTask::new(Spec::new(job, payload));
        task.when = when;
        task.spec = Spec {
            namespace: namespace.clone(),
            queue,
            priority,
            policy,
            expires_at,
            concurrency_key,
            idempotency_key,
            tags,
            after,
            after_policy,
            ..task.spec
        };
        task
    });
    Ok((task, errors))
}

/// What a task asks for itself, or a queue on behalf of its tasks.
fn policy(fields: &mut Fields<'_>) -> Policy {
    Policy {
        timeout: fields.take("timeout", |raw| span(raw, MILLISECOND, DAY)),
        max_attempts: fields.take("max_attempts", |raw| count(raw, 1, 1000)),
        backoff: fields.take_object("backoff", BACKOFF, backoff),
    }
}

/// Takes `run_at` or `delay`.
fn when(fields: &mut Fields<'_>) -> Option<When> {
    if fields.left.contains_key("run_at") && fields.left.contains_key("delay") {
        fields.wrong("delay", "cannot be given together with run_at");
    }
    let run_at = fields.take("run_at", instant);
    let delay = fields.take("delay", |raw| span(raw, Duration::ZERO, LONGEST_DELAY));
    run_at.map(When::At).or(delay.map(When::After))
}

/// What a waiting task is to change.
pub fn reschedule(bytes: &Bytes) -> Result<(Option<When>, Option<Priority>), Refused> {
    let mut fields = Fields::of(text(bytes)?, "", &["run_at", "delay", "priority"])?;
    check_all_but("", &fields)?;
    let when = when(&mut fields);
    let priority = fields.take("priority", priority);
    let errors = fields.finish();
    if !errors.is_empty() {
        return Err(Refused::fields(errors));
    }
    if when.is_none() && priority.is_none() {
        return Err(Refused::field("", &"must say what is to change: run_at, delay or priority"));
    }
    Ok((when, priority))
}

/// The settings of a queue: what is left out has its default.
pub fn queue_settings(bytes: &Bytes) -> Result<QueueSettings, Refused> {
    const KNOWN: &[&str] = &["rate", "concurrency", "per_key", "aging", "defaults"];
    let mut fields = Fields::of(text(bytes)?, "", KNOWN)?;
    check_all_but("", &fields)?;
    let settings = QueueSettings {
        rate: fields.take_object("rate", &["starts", "per"], |fields| Rate {
            starts: fields.require("starts", |raw| count(raw, 1, 1_000_000)).unwrap_or(1),
            per: fields.require("per", |raw| span(raw, SECOND, DAY)).unwrap_or(SECOND),
        }),
        concurrency: fields.take("concurrency", |raw| count(raw, 1, 1_000_000)),
        per_key: fields.take("per_key", |raw| count(raw, 1, 1_000_000)).unwrap_or(1),
        aging: fields.take("aging", |raw| span(raw, MILLISECOND, DAY)),
        defaults: fields.take_object("defaults", POLICY, policy).unwrap_or_default(),
    };
    let errors = fields.finish();
    if errors.is_empty() { Ok(settings) } else { Err(Refused::fields(errors)) }
}

/// What is asked for in a new key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub grant: Grant,
    /// When it stops being one.
    pub expires_at: Option<Millis>,
}

/// A new key.
pub fn new_key(bytes: &Bytes) -> Result<NewKey, Refused> {
    const KNOWN: &[&str] = &["name", "scopes", "namespace", "jobs", "queues", "rate", "expires_at"];
    let mut fields = Fields::of(text(bytes)?, "", KNOWN)?;
    check_all_but("", &fields)?;
    let name = fields.require("name", key_name);
    let scopes = fields.require("scopes", scopes);
    let namespace = fields.take("namespace", parsed);
    let jobs = fields.take("jobs", names);
    let queues = fields.take("queues", names);
    let rate = fields.take_object("rate", &["requests", "per"], |fields| RequestRate {
        requests: fields.require("requests", |raw| count(raw, 1, 1_000_000)).unwrap_or(1),
        per: fields.require("per", |raw| span(raw, SECOND, DAY)).unwrap_or(SECOND),
    });
    let expires_at = fields.take("expires_at", instant);
    let errors = fields.finish();
    match (name, scopes) {
        (Some(name), Some(scopes)) if errors.is_empty() => {
            Ok(NewKey { name, grant: Grant { scopes, namespace, jobs, queues, rate }, expires_at })
        }
        _ => Err(Refused::fields(errors)),
    }
}

fn key_name(raw: &RawValue) -> Result<String, String> {
    let rule = "must be a string of 1 to 64 characters without control characters";
    let name: String = json(raw, rule)?;
    let fits = (1..=64).contains(&name.chars().count()) && !name.contains(char::is_control);
    if fits { Ok(name) } else { Err(rule.to_owned()) }
}

fn scopes(raw: &RawValue) -> Result<BTreeSet<Scope>, String> {
    let words: Vec<_> = Scope::ALL.iter().map(|scope| format!("\"{scope}\"")).collect();
    let rule = format!("must be an array of one or more of {}", words.join(", "));
    let scopes: BTreeSet<Scope> = json(raw, &rule)?;
    if scopes.is_empty() { Err(rule) } else { Ok(scopes) }
}

/// Names of jobs or of queues.
fn names<T: std::str::FromStr + Ord>(raw: &RawValue) -> Result<BTreeSet<T>, String> {
    let rule = "must be an array of 1 to 100 strings that match [a-z0-9][a-z0-9._-]{0,63}";
    let names: Vec<String> = json(raw, rule)?;
    if !(1..=100).contains(&names.len()) {
        return Err(rule.to_owned());
    }
    names.iter().map(|name| name.parse().map_err(|_| rule.to_owned())).collect()
}

/// A schedule, and whether it is to be paused, if that is said.
pub fn schedule(
    bytes: &Bytes,
    namespace: &Namespace,
    name: ScheduleName,
) -> Result<(Schedule, Option<bool>), Refused> {
    const KNOWN: &[&str] = &["cron", "timezone", "catch_up", "paused", "task"];
    const CATCH_UP: &str = "must be \"latest\", \"all\" or \"none\"";
    let mut fields = Fields::of(text(bytes)?, "", KNOWN)?;
    check_all_but("task", &fields)?;
    let cron = fields.require("cron", |raw| {
        let text: String = json(raw, "must be a cron expression, such as \"0 9 * * 1-5\"")?;
        text.parse::<Cron>().map_err(|error| error.to_string())
    });
    let zone = fields.take("timezone", zone).unwrap_or_default();
    let catch_up = fields.take("catch_up", |raw| json::<CatchUp>(raw, CATCH_UP)).unwrap_or_default();
    let paused = fields.take("paused", |raw| json(raw, "must be true or false"));
    let task = fields.left.remove("task");
    let task = match task.map(|raw| (raw, Fields::of(raw.get(), "/task", SCHEDULED))) {
        None => {
            fields.wrong("task", "is missing: it is what the schedule submits, {\"payload\": {\"job\": …}}");
            None
        }
        Some((_, Err(_))) => {
            fields.wrong("task", "must be an object without a key that is there twice");
            None
        }
        Some((_, Ok(mut inner))) => {
            for name in TASK.iter().filter(|name| !SCHEDULED.contains(name)) {
                if inner.left.remove(*name).is_some() {
                    inner.wrong(name, "cannot be given here: a schedule says itself when its tasks run");
                }
            }
            let (task, errors) = task_of(bytes, inner, namespace, &[])?;
            fields.errors.extend(errors);
            task
        }
    };
    let schedule = cron.zip(task).map(|(cron, task)| {
        let timing = Timing { cron, zone };
        Schedule { name, timing, catch_up, task: task.spec }
    });
    if let Some(Err(error)) = schedule.as_ref().map(Schedule::tags) {
        let detail = format!("with the tag that the schedule adds: {error}");
        fields.errors.push(FieldError::at("/task/tags", detail));
    }
    let errors = fields.finish();
    schedule.filter(|_| errors.is_empty()).map(|schedule| (schedule, paused)).ok_or(Refused::fields(errors))
}

fn zone(raw: &RawValue) -> Result<Zone, String> {
    let rule = BadZone.to_string();
    let text: String = json(raw, &rule)?;
    text.parse().map_err(|_| {
        let zones: Vec<_> = Zone::all().collect();
        let near = nearest(&text, zones.iter().map(String::as_str));
        near.map_or_else(|| rule.clone(), |near| format!("{rule}: did you mean {near:?}?"))
    })
}

/// An operation on many tasks, and whether it only counts.
pub fn operation(bytes: &Bytes, namespace: &Namespace) -> Result<(OperationKind, Filter, bool), Refused> {
    let mut fields = Fields::of(text(bytes)?, "", &["kind", "filter", "dry_run"])?;
    check_all_but("", &fields)?;
    let kind = fields.require("kind", |raw| {
        let word: String = json(raw, "must be \"cancel\" or \"redrive\"")?;
        match word.as_str() {
            "cancel" => Ok(OperationKind::Cancel),
            "redrive" => Ok(OperationKind::Redrive),
            _ => Err("must be \"cancel\" or \"redrive\"".to_owned()),
        }
    });
    let dry_run = fields.take("dry_run", |raw| json(raw, "must be true or false")).unwrap_or(false);
    let filter = fields.take_object("filter", FILTER, |fields| Filter {
        namespace: namespace.clone(),
        statuses: fields.take("status", |raw| status_for(raw, kind)).into_iter().collect(),
        queue: fields.take("queue", queue),
        job: fields.take("job", parsed),
        tag: fields.take("tag", parsed),
        since: fields.take("since", instant),
        before: fields.take("until", instant),
    });
    // Without this a slip of the pen would meet every task there is.
    if filter.is_none() {
        fields.wrong("filter", "is missing: it says which tasks are meant; {} means all");
    }
    let errors = fields.finish();
    match (kind, filter) {
        (Some(kind), Some(filter)) if errors.is_empty() => Ok((kind, filter, dry_run)),
        _ => Err(Refused::fields(errors)),
    }
}

fn status_for(raw: &RawValue, kind: Option<OperationKind>) -> Result<Status, String> {
    let allowed = kind.map_or(Status::ALL, OperationKind::statuses);
    let words: Vec<_> = allowed.iter().map(|status| status.as_str()).collect();
    let rule = format!("must be one of {}", words.join(", "));
    let status = json::<String>(raw, &rule)?.parse().map_err(|_| rule.clone())?;
    if allowed.contains(&status) { Ok(status) } else { Err(rule) }
}

/// Fields by name, and what was wrong with those that were taken.
struct Fields<'a> {
    left: BTreeMap<String, &'a RawValue>,
    /// The pointer to the object that they are in.
    at: String,
    /// The names that there are, for those who misspell one.
    known: &'static [&'static str],
    errors: Vec<FieldError>,
}

const TASK: &[&str] = &[
    "payload",
    "queue",
    "priority",
    "run_at",
    "delay",
    "timeout",
    "expires_at",
    "max_attempts",
    "backoff",
    "idempotency_key",
    "concurrency_key",
    "tags",
    "after",
    "after_policy",
];
/// What the task of a schedule may say.
const SCHEDULED: &[&str] =
    &["payload", "queue", "priority", "timeout", "max_attempts", "backoff", "concurrency_key", "tags"];
const POLICY: &[&str] = &["timeout", "max_attempts", "backoff"];
const FILTER: &[&str] = &["status", "queue", "job", "tag", "since", "until"];
const BACKOFF: &[&str] = &["kind", "base", "max", "jitter"];

impl<'a> Fields<'a> {
    fn of(text: &'a str, at: &str, known: &'static [&'static str]) -> Result<Self, Refused> {
        Ok(Self { left: object(text)?, at: at.to_owned(), known, errors: Vec::new() })
    }

    fn wrong(&mut self, name: &str, detail: impl Into<String>) {
        // RFC 6901 escapes these two.
        let name = name.replace('~', "~0").replace('/', "~1");
        self.errors.push(FieldError::at(format!("{}/{name}", self.at), detail));
    }

    /// Takes a field that may be left out. `null` is not leaving it out.
    fn take<T>(&mut self, name: &str, parse: impl Fn(&'a RawValue) -> Result<T, String>) -> Option<T> {
        let raw = self.left.remove(name)?;
        match parse(raw) {
            Ok(value) => Some(value),
            Err(rule) => {
                let shown: String = raw.get().chars().take(64).collect();
                self.wrong(name, format!("{shown} {rule}"));
                None
            }
        }
    }

    /// Takes a field that must be there.
    fn require<T>(&mut self, name: &str, parse: impl Fn(&'a RawValue) -> Result<T, String>) -> Option<T> {
        if !self.left.contains_key(name) {
            self.wrong(name, "is missing");
        }
        self.take(name, parse)
    }

    fn take_object<T>(
        &mut self,
        name: &str,
        known: &'static [&'static str],
        parse: impl FnOnce(&mut Fields<'a>) -> T,
    ) -> Option<T> {
        let raw = self.left.remove(name)?;
        let Ok(mut inner) = Fields::of(raw.get(), &format!("{}/{name}", self.at), known) else {
            self.wrong(name, "must be an object without a key that is there twice");
            return None;
        };
        let value = parse(&mut inner);
        self.errors.extend(inner.finish());
        Some(value)
    }

    /// What was wrong, unknown fields included.
    fn finish(mut self) -> Vec<FieldError> {
        for name in std::mem::take(&mut self.left).into_keys().take(MOST_ERRORS + 1) {
            let shown: String = name.chars().take(64).collect();
            let hint = nearest(&shown, self.known.iter().copied());
            let hint = hint.map_or_else(
                || format!("known are {}", self.known.join(", ")),
                |near| format!("did you mean {near:?}?"),
            );
            self.wrong(&shown, format!("is not a known field: {hint}"));
        }
        self.errors
    }
}

fn payload(
    body: &Bytes,
    raw: &RawValue,
    fields: &mut Fields<'_>,
) -> Result<Option<(Payload, JobName)>, Refused> {
    // The payload is a part of the body: no copy.
    match Payload::parse(body.slice_ref(raw.get().as_bytes())) {
        Ok(parsed) => Ok(Some(parsed)),
        Err(PayloadError::Malformed(reason)) => {
            Err(Refused::of(Why::Malformed, format!("the payload: {reason}")))
        }
        Err(error @ PayloadError::TooLarge(_)) => Err(Refused::of(Why::TooLarge, error.to_string())),
        Err(error) => {
            let place = if matches!(error, PayloadError::NotAnObject) { "payload" } else { "payload/job" };
            fields.errors.push(FieldError::at(format!("{}/{place}", fields.at), error.to_string()));
            Ok(None)
        }
    }
}

fn json<T: DeserializeOwned>(raw: &RawValue, rule: &str) -> Result<T, String> {
    serde_json::from_str(raw.get()).map_err(|_| rule.to_owned())
}

fn queue(raw: &RawValue) -> Result<QueueName, String> {
    let rule = "must be a string that matches [a-z0-9][a-z0-9._-]{0,63}";
    json::<String>(raw, rule)?.parse().map_err(|_| rule.to_owned())
}

fn priority(raw: &RawValue) -> Result<Priority, String> {
    let rule = "must be an integer from -1000 to 1000";
    Priority::new(json(raw, rule)?).map_err(|_| rule.to_owned())
}

fn count(raw: &RawValue, least: u32, most: u32) -> Result<u32, String> {
    let rule = format!("must be an integer from {least} to {most}");
    let count = json::<u32>(raw, &rule)?;
    if (least..=most).contains(&count) { Ok(count) } else { Err(rule) }
}

/// A string that its type knows to check.
fn parsed<T: std::str::FromStr<Err: ToString>>(raw: &RawValue) -> Result<T, String> {
    let text: String = json(raw, "must be a string")?;
    // What the type says names the value again.
    text.parse().map_err(|error: T::Err| {
        let error = error.to_string();
        error.rsplit_once(" must ").map_or(error.clone(), |(_, rule)| format!("must {rule}"))
    })
}

fn tags(raw: &RawValue) -> Result<Tags, String> {
    let tags: Vec<String> = json(raw, "must be an array of strings")?;
    let tags = tags.iter().map(|tag| tag.parse::<Tag>()).collect::<Result<_, _>>();
    tags.and_then(Tags::new).map_err(|error| format!("must be tags: {error}"))
}

/// The tasks to wait for: UUIDs, or `"#0"` for an earlier task of the same batch.
fn parents(raw: &RawValue, earlier: &[TaskId]) -> Result<Vec<TaskId>, String> {
    let rule = "must be an array of task ids; in a batch also \"#0\", the number of an earlier task";
    let names: Vec<String> = json(raw, rule)?;
    if names.len() > MAX_PARENTS {
        return Err(format!("may name {MAX_PARENTS} tasks"));
    }
    let mut parents = Vec::new();
    for name in names {
        let found = match name.strip_prefix('#') {
            Some(number) => number.parse::<usize>().ok().and_then(|number| earlier.get(number).copied()),
            None => name.parse().ok(),
        };
        let id = found.ok_or_else(|| {
            let shown: String = name.chars().take(64).collect();
            format!("{rule}: {shown:?} is neither")
        })?;
        if !parents.contains(&id) {
            parents.push(id);
        }
    }
    Ok(parents)
}

/// A point in time.
fn instant(raw: &RawValue) -> Result<Millis, String> {
    instant_of(&json::<String>(raw, INSTANT)?)
}

const INSTANT: &str =
    "must be a time in RFC 3339, such as 2030-01-31T12:00:00Z, from 1970 to ten years from now";

/// A point in time.
pub fn instant_of(text: &str) -> Result<Millis, String> {
    let at = text.parse::<jiff::Timestamp>().ok().filter(|_| is_rfc3339(text)).ok_or(INSTANT)?;
    let millis = u64::try_from(at.as_millisecond()).map_err(|_| INSTANT.to_owned())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if u128::from(millis) > (now + LONGEST_DELAY).as_millis() {
        return Err(INSTANT.to_owned());
    }
    Ok(Millis(millis))
}

/// Whether a time is written as RFC 3339 says: there are parsers that take more.
fn is_rfc3339(text: &str) -> bool {
    let has_shape = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                _ => byte.eq_ignore_ascii_case(&shape),
            })
    };
    let Some((seconds, rest)) = text.split_at_checked("0000-00-00T00:00:00".len()) else { return false };
    let offset =
        rest.strip_prefix('.').map_or(rest, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    has_shape(seconds, "0000-00-00T00:00:00")
        && ["Z", "+00:00", "-00:00"].iter().any(|shape| has_shape(offset, shape))
}

/// A duration from `least` to `most`.
pub fn span_of(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let rule = || {
        let (least, most) = (duration::format(least), duration::format(most));
        format!("must be a duration from {least} to {most}: <integer><ms|s|m|h|d>, such as 250ms or 10m")
    };
    let span = duration::parse(text).map_err(|_| rule())?;
    if (least..=most).contains(&span) { Ok(span) } else { Err(rule()) }
}

fn span(raw: &RawValue, least: Duration, most: Duration) -> Result<Duration, String> {
    // What is not a string breaks the same rule.
    span_of(&json::<String>(raw, "").unwrap_or_default(), least, most)
}

fn backoff(fields: &mut Fields<'_>) -> Backoff {
    let default = Backoff::default();
    let kind = |raw: &RawValue| json::<BackoffKind>(raw, "must be \"exponential\", \"linear\" or \"fixed\"");
    Backoff {
        kind: fields.take("kind", kind).unwrap_or(default.kind),
        base: fields.take("base", |raw| span(raw, Duration::ZERO, DAY)).unwrap_or(default.base),
        max: fields.take("max", |raw| span(raw, Duration::ZERO, DAY)).unwrap_or(default.max),
        jitter: fields.take("jitter", |raw| json(raw, "must be true or false")).unwrap_or(default.jitter),
    }
}

/// An object's fields by name, unparsed. A name that is there twice is an error.
fn object(text: &str) -> Result<BTreeMap<String, &RawValue>, Refused> {
    struct Fields;
    impl<'de> Visitor<'de> for Fields {
        type Value = BTreeMap<String, &'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut fields = BTreeMap::new();
            while let Some((name, value)) = entries.next_entry::<String, &RawValue>()? {
                if fields.contains_key(&name) {
                    let shown: String = name.chars().take(64).collect();
                    return Err(A::Error::custom(format!("the key {shown:?} is there twice")));
                }
                fields.insert(name, value);
            }
            Ok(fields)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let fields = deserializer.deserialize_map(Fields);
    fields
        .and_then(|fields| deserializer.end().map(|()| fields))
        .map_err(|error| Refused::of(Why::Malformed, error.to_string()))
}

/// A body as text.
fn text(body: &Bytes) -> Result<&str, Refused> {
    std::str::from_utf8(body).map_err(|error| Refused::of(Why::Malformed, format!("not UTF-8: {error}")))
}

/// The name that was probably meant.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let similarity = |known: &str| strsim::jaro_winkler(name, known);
    known
        .map(|known| (similarity(known), known))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}
