//! Tasks that are submitted with the completion of this one: all of them or, if this attempt does
//! not complete, none.
//!
//! ```
//! use sentinel_job::{Failure, outbox::NewTask};
//!
//! fn split(pages: &[&str]) -> Result<(), Failure> {
//!     let mut parts = Vec::new();
//!     for page in pages {
//!         parts.push(NewTask::of("fetch")?.field("page", page)?.submit()?);
//!     }
//!     NewTask::of("merge")?.after(&parts).submit()?;
//!     Ok(())
//! }
//! ```
//!
//! A job may submit itself, and the jobs that the operator granted it. An attempt may submit 1,000
//! tasks and 4 MiB, and children of children to a depth of 16; more ends it as `effect_limit`.
//! Outside of a worker, as in a native test, nothing is submitted.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::Failure;

/// A task to be submitted: due at once, in the default queue, unless it is said otherwise.
#[derive(Clone, Debug)]
#[must_use = "it is submitted by `submit`"]
pub struct NewTask(Map<String, Value>);

impl NewTask {
    /// A task of this job with an empty payload.
    pub fn of(job: &str) -> Result<Self, Failure> {
        Self::with(job, &json!({}))
    }

    /// A task of this job with this payload, which must be an object as JSON.
    pub fn with(job: &str, payload: &impl Serialize) -> Result<Self, Failure> {
        let wrong = |what: &str| Failure::permanent(format_args!("the payload of a task of {job:?}: {what}"));
        let payload = serde_json::to_value(payload).map_err(|error| wrong(&error.to_string()))?;
        let Value::Object(mut payload) = payload else { return Err(wrong("it is no object")) };
        payload.insert("job".into(), job.into());
        Ok(Self(Map::from_iter([("payload".to_owned(), payload.into())])))
    }

    /// Adds a field to its payload.
    pub fn field(mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<Self, Failure> {
        let value = serde_json::to_value(value)
            .map_err(|error| Failure::permanent(format_args!("the field {name:?} of a task: {error}")))?;
        self.0["payload"][name] = value;
        Ok(self)
    }

    /// Where it waits.
    pub fn queue(self, queue: &str) -> Self {
        self.set("queue", queue)
    }

    /// -1000 to 1000; higher first.
    pub fn priority(self, priority: i32) -> Self {
        self.set("priority", priority)
    }

    /// When it is due, from its submit on.
    pub fn delay(self, delay: Duration) -> Self {
        self.set("delay", format!("{}ms", delay.as_millis()))
    }

    /// How long an attempt may take.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set("timeout", format!("{}ms", timeout.as_millis()))
    }

    /// How often it is tried at most.
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.set("max_attempts", attempts)
    }

    /// The tasks for which it waits: their ids, those of others that this attempt submits among them.
    pub fn after<S: AsRef<str>>(self, ids: &[S]) -> Self {
        self.set("after", ids.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    /// Any other field of a task, as `POST /v1/tasks` takes it.
    pub fn set(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0.insert(field.to_owned(), value.into());
        self
    }

    /// Submits it; answers the id that it will have. What is not acceptable or not granted fails for
    /// good.
    pub fn submit(self) -> Result<String, Failure> {
        submit_json(&Value::Object(self.0).to_string()).map_err(Failure::permanent)
    }
}

/// Submits a task as JSON, such as `POST /v1/tasks` takes; answers its id, or what is wrong with it.
pub fn submit_json(task: &str) -> Result<String, String> {
    home::submit(task)
}

#[cfg(target_family = "wasm")]
use crate::bindings::sentinel::job::outbox as home;

#[cfg(not(target_family = "wasm"))]
mod home {
    #[expect(clippy::unnecessary_wraps, reason = "on a worker it may be refused")]
    pub(super) fn submit(_task: &str) -> Result<String, String> {
        Ok("00000000-0000-0000-0000-000000000000".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_what_was_said() {
        let task = NewTask::with("a", &json!({ "x": 1 })).unwrap().field("y", "z").unwrap();
        let task = task.priority(5).delay(Duration::from_secs(2)).after(&["i"]).set("tags", vec!["t"]);
        let expected = json!({
            "payload": { "job": "a", "x": 1, "y": "z" }, "priority": 5, "delay": "2000ms",
            "after": ["i"], "tags": ["t"],
        });
        assert_eq!(Value::Object(task.0), expected);
        assert!(NewTask::with("a", &[1]).is_err());
    }
}
