//! A task as the API shows it, as far as the checks look at it.

use serde::Serialize;
use serde_json::Value;

/// A task that the store holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Found {
    pub(crate) id: String,
    /// The mark of the wish that it stands for.
    pub(crate) mark: Option<String>,
    pub(crate) status: String,
    pub(crate) attempt: u64,
    // Times in milliseconds since 1970.
    pub(crate) created_at: u64,
    pub(crate) started_at: Option<u64>,
    pub(crate) finished_at: Option<u64>,
    pub(crate) payload: Value,
    pub(crate) result: Option<Value>,
    /// The kind of error with which it ended.
    pub(crate) error: Option<String>,
    /// The attempts that ended, as its history tells.
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) redrives: u64,
}

impl Found {
    /// When its first attempt started.
    pub(crate) fn first_start(&self) -> Option<u64> {
        self.attempts.iter().map(|attempt| attempt.started_at).chain(self.started_at).min()
    }

    /// When its last attempt started.
    pub(crate) fn last_start(&self) -> Option<u64> {
        self.attempts.iter().map(|attempt| attempt.started_at).chain(self.started_at).max()
    }
}

/// An attempt that ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Attempt {
    pub(crate) number: u64,
    pub(crate) outcome: String,
    pub(crate) started_at: u64,
    pub(crate) ended_at: u64,
}

/// The states that a task leaves by a redrive alone.
pub(crate) const FINAL: [&str; 3] = ["COMPLETED", "FAILED", "CANCELLED"];

impl Found {
    /// Whether it has ended.
    pub(crate) fn is_final(&self) -> bool {
        FINAL.contains(&self.status.as_str())
    }

    /// Takes the API's answer apart.
    pub(crate) fn read(task: &Value) -> Option<Self> {
        let history = task["history"].as_array().map(Vec::as_slice).unwrap_or_default();
        Some(Self {
            id: text(&task["task_id"])?,
            mark: text(&task["payload"]["mark"]),
            status: text(&task["status"])?,
            attempt: task["attempt"].as_u64()?,
            created_at: millis(&task["created_at"])?,
            started_at: millis(&task["started_at"]),
            finished_at: millis(&task["finished_at"]),
            payload: task["payload"].clone(),
            result: task.get("result").cloned(),
            error: text(&task["error"]["kind"]),
            attempts: history.iter().filter_map(attempt).collect(),
            redrives: history.iter().filter(|event| event["event"] == "redriven").count() as u64,
        })
    }
}

fn attempt(event: &Value) -> Option<Attempt> {
    (event["event"] == "attempt").then_some(())?;
    Some(Attempt {
        number: event["attempt"].as_u64()?,
        outcome: text(&event["outcome"])?,
        started_at: millis(&event["started_at"])?,
        ended_at: millis(&event["at"])?,
    })
}

/// A time as the API takes it.
pub(crate) fn rfc3339(millis: u64) -> String {
    let millis = i64::try_from(millis).unwrap_or(i64::MAX);
    format!("{:.3}", jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX))
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn millis(time: &Value) -> Option<u64> {
    let time: jiff::Timestamp = time.as_str()?.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}
