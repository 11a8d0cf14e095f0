//! The fields of a submit, each with its range; all that is wrong is told at once.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use sentinel_queue::{
    Backoff, JobName, Namespace, NewTask, Payload, Policy, Priority, QueueName, TaskId, duration,
    payload::{PayloadError, check_json},
    retry::BackoffKind,
};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::{
    body,
    problem::{Code, FieldError, Problem},
};

const DAY: Duration = Duration::from_hours(24);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Takes a submit's body apart.
pub(crate) fn new_task(bytes: &Bytes, namespace: &Namespace) -> Result<NewTask, Problem> {
    let mut fields =
        Fields { left: body::object(body::text(bytes)?)?, at: String::new(), errors: Vec::new() };
    for (name, raw) in &fields.left {
        // The payload is checked by itself.
        if name != "payload" {
            check_json(raw.get().as_bytes())
                .map_err(|reason| Problem::of(Code::MalformedJson, format!("{name}: {reason}")))?;
        }
    }
    let payload = if let Some(raw) = fields.left.remove("payload") {
        payload(bytes, raw, &mut fields.errors)?
    } else {
        fields.wrong("payload", "is missing: it must be a JSON object with a string `job`");
        None
    };
    let queue = fields.take("queue", queue).unwrap_or_default();
    let priority = fields.take("priority", priority).unwrap_or_default();
    let policy = Policy {
        timeout: fields.take("timeout", |raw| span(raw, MILLISECOND, DAY)),
        max_attempts: fields.take("max_attempts", max_attempts),
        backoff: fields.take_object("backoff", backoff),
    };
    let errors = fields.finish();
    match payload {
        Some((payload, job)) if errors.is_empty() => {
            let (namespace, id) = (namespace.clone(), TaskId::random());
            Ok(NewTask { id, namespace, queue, priority, job, payload, policy })
        }
        _ => Err(Problem::fields(errors)),
    }
}

/// Fields by name, and what was wrong with those that were taken.
struct Fields<'a> {
    left: BTreeMap<String, &'a RawValue>,
    /// The pointer to the object that they are in.
    at: String,
    errors: Vec<FieldError>,
}

/// The names that a submit knows, for those who misspell one.
const KNOWN: [&str; 6] = ["payload", "queue", "priority", "timeout", "max_attempts", "backoff"];
const KNOWN_OF_BACKOFF: [&str; 4] = ["kind", "base", "max", "jitter"];

impl<'a> Fields<'a> {
    fn wrong(&mut self, name: &str, detail: impl Into<String>) {
        // RFC 6901 escapes these two.
        let name = name.replace('~', "~0").replace('/', "~1");
        self.errors.push(FieldError { pointer: format!("{}/{name}", self.at), detail: detail.into() });
    }

    /// Takes a field that may be left out. `null` is not leaving it out.
    fn take<T>(&mut self, name: &str, parse: impl Fn(&RawValue) -> Result<T, String>) -> Option<T> {
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

    fn take_object<T>(&mut self, name: &str, parse: impl Fn(&mut Fields<'a>) -> T) -> Option<T> {
        let raw = self.left.remove(name)?;
        let Ok(left) = body::object(raw.get()) else {
            self.wrong(name, "must be an object without a key that is there twice");
            return None;
        };
        let mut inner = Fields { left, at: format!("{}/{name}", self.at), errors: Vec::new() };
        let value = parse(&mut inner);
        self.errors.extend(inner.finish());
        Some(value)
    }

    /// What was wrong, unknown fields included.
    fn finish(mut self) -> Vec<FieldError> {
        let known: &[&str] = if self.at.is_empty() { &KNOWN } else { &KNOWN_OF_BACKOFF };
        for name in std::mem::take(&mut self.left).into_keys() {
            let shown: String = name.chars().take(64).collect();
            let hint = nearest(&shown, known.iter().copied());
            let hint = hint.map_or_else(
                || format!("known are {}", known.join(", ")),
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
    errors: &mut Vec<FieldError>,
) -> Result<Option<(Payload, JobName)>, Problem> {
    // The payload is a part of the body: no copy.
    match Payload::parse(body.slice_ref(raw.get().as_bytes())) {
        Ok(parsed) => Ok(Some(parsed)),
        Err(PayloadError::Malformed(reason)) => {
            Err(Problem::of(Code::MalformedJson, format!("the payload: {reason}")))
        }
        Err(error @ PayloadError::TooLarge(_)) => Err(Problem::of(Code::TooLarge, error.to_string())),
        Err(error) => {
            let pointer =
                if matches!(error, PayloadError::NotAnObject) { "/payload" } else { "/payload/job" };
            errors.push(FieldError { pointer: pointer.into(), detail: error.to_string() });
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

fn max_attempts(raw: &RawValue) -> Result<u32, String> {
    let rule = "must be an integer from 1 to 1000";
    json::<u32>(raw, rule)
        .and_then(|count| if (1..=1000).contains(&count) { Ok(count) } else { Err(rule.into()) })
}

/// A duration from `least` to `most`.
pub(crate) fn span_of(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
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

/// The name that was probably meant.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let similarity = |known: &str| strsim::jaro_winkler(name, known);
    known
        .map(|known| (similarity(known), known))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}
