//! The records of STORE's layout (`d:`, `s:`, `x:`) as bytes: written and read here and in
//! `scripts/lib/record.lua`, nowhere else.
//!
//! A record is a version byte, then fields of at most 255 bytes, each behind one byte that holds
//! its length, then a tail of any length. Tails are ours alone: a line of JSON (empty when it
//! would say nothing), a newline, then bytes as they are.

use std::str::FromStr;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    names::{Millis, Namespace, Priority, QueueName, TaskId},
    payload::Payload,
    state::{ErrorKind, Status},
    store::StoreError,
    task::{
        AttemptReport, DEFAULT_MAX_LOST, Definition, Ended, ErrorReport, NewTask, Policy, Progression,
        TaskError, TaskState,
    },
};

const VERSION: u8 = b'1';

/// The fields of a definition from the namespace on; the script puts sequence, priority and time
/// in front.
pub(crate) fn header(task: &NewTask) -> Bytes {
    let mut out = BytesMut::with_capacity(96);
    let max_lost = DEFAULT_MAX_LOST.to_string();
    let (expires_at, concurrency_key, flags) = ("", "", "");
    for field in [
        task.namespace.as_str(),
        task.queue.as_str(),
        task.job.as_str(),
        &max_lost,
        expires_at,
        concurrency_key,
        flags,
    ] {
        let length = u8::try_from(field.len()).expect("checked names are short");
        out.put_u8(length);
        out.put_slice(field.as_bytes());
    }
    out.freeze()
}

/// The submitted task, opaque to scripts.
pub(crate) fn body(task: &NewTask) -> Bytes {
    tail(&task.policy, task.payload.as_bytes())
}

/// What is kept of the attempt that ended a task, opaque to scripts.
pub(crate) fn ended_tail(report: &AttemptReport, result: &[u8]) -> Bytes {
    tail(report, result)
}

/// What is kept of an error that is followed by another try, opaque to scripts.
pub(crate) fn error_tail(report: &ErrorReport) -> Bytes {
    tail(report, &[])
}

/// Reads `d:`.
pub(crate) fn definition(id: TaskId, record: &Bytes) -> Result<Definition, StoreError> {
    let mut fields = Fields::of(record)?;
    let _seq = fields.text()?;
    let priority = fields.parse::<i64>()?;
    let created_at = fields.parse::<u64>()?;
    let namespace = fields.parse::<Namespace>()?;
    let queue = fields.parse::<QueueName>()?;
    let job = fields.parse()?;
    for _max_lost_expires_key_flags in 0..4 {
        fields.text()?;
    }
    let (policy, payload) = split_tail::<Policy>(&fields.rest())?;
    Ok(Definition {
        id,
        namespace,
        queue,
        priority: Priority::new(priority).map_err(broken)?,
        job,
        payload: Payload::stored(payload),
        policy,
        created_at: Millis(created_at),
    })
}

/// Reads `s:`; empty for a task that is still on its first path.
pub(crate) fn progression(record: &Bytes) -> Result<Progression, StoreError> {
    if record.is_empty() {
        return Ok(Progression::default());
    }
    let mut fields = Fields::of(record)?;
    let ended = fields.parse()?;
    let failures = fields.parse()?;
    let lost = fields.parse()?;
    let due = fields.optional::<u64>()?.map(Millis);
    let (_priority, _base, _by) = (fields.text()?, fields.text()?, fields.text()?);
    let kind = fields.optional::<ErrorKind>()?;
    let last_error = match kind {
        Some(kind) => {
            let (report, _) = split_tail::<ErrorReport>(&fields.rest())?;
            Some(TaskError { kind, report: explained(kind, report) })
        }
        None => None,
    };
    Ok(Progression { ended, failures, lost, due, last_error })
}

/// Reads `x:`.
pub(crate) fn finished(record: &Bytes) -> Result<TaskState, StoreError> {
    let mut fields = Fields::of(record)?;
    let token = fields.text()?.to_owned();
    let status = fields.parse::<Status>()?;
    let kind = fields.optional::<ErrorKind>()?;
    let attempt = fields.parse()?;
    let started_at = Millis(fields.parse()?);
    let finished_at = Millis(fields.parse()?);
    let rest = fields.rest();
    let reported = !rest.is_empty();
    let (report, result) = split_tail::<AttemptReport>(&rest)?;
    let ended = Ended {
        attempt,
        worker: worker_of(&token).to_owned(),
        started_at,
        finished_at,
        usage: reported.then_some(report.usage),
        plugin_digest: report.plugin_digest,
    };
    match (status, kind) {
        (Status::Completed, _) => Ok(TaskState::Completed { ended, result }),
        (Status::Cancelled, _) => Ok(TaskState::Cancelled { ended }),
        (Status::Failed, Some(kind)) => {
            let error = TaskError { kind, report: explained(kind, report.error) };
            Ok(TaskState::Failed { ended, error })
        }
        (other, kind) => Err(broken(format!("a finished task is {other} with error {kind:?}"))),
    }
}

/// Reads a claim as `run` holds it: its token and when it was made.
pub(crate) fn claim(run: &str) -> Result<(String, Millis), StoreError> {
    let claim = run.split_once(' ').and_then(|(token, at)| Some((token, at.parse().ok()?)));
    let (token, at) = claim.ok_or_else(|| broken(format!("a claim reads {run:?}")))?;
    Ok((token.to_owned(), Millis(at)))
}

/// The worker's instance in a token, which is `<instance>-<number of the call>`.
pub(crate) fn worker_of(token: &str) -> &str {
    token.rsplit_once('-').map_or(token, |(instance, _)| instance)
}

/// Errors that only scripts record have no text of their own.
fn explained(kind: ErrorKind, mut report: ErrorReport) -> ErrorReport {
    if report.message.is_empty() && kind == ErrorKind::WorkerLost {
        report.message = "the worker stopped renewing its lease".into();
    }
    report
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
