//! The tasks that this one waited for: those that its `after` named when it was submitted.

use serde::de::DeserializeOwned;

use crate::Failure;

/// A task that this one waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its UUID.
    pub id: String,
    /// Its job.
    pub job: String,
    /// How it ended.
    pub status: Status,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// With a result.
    Completed,
    /// With an error.
    Failed,
    /// By request, or because of another task.
    Cancelled,
}

/// All parents, in the order of `after`. One that is not kept any more is left out. Outside of a
/// worker, as in a native test, there are none.
pub fn all() -> Vec<Parent> {
    listed()
}

impl Parent {
    /// Its result. One that did not complete has none, which fails for good, as does a result
    /// that does not fit.
    pub fn result<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let json = result_of(&self.id).ok_or_else(|| {
            Failure::permanent(format_args!("the parent {} ({}) has no result", self.id, self.job))
        })?;
        serde_json::from_str(&json).map_err(|error| {
            Failure::permanent(format_args!("the result of the parent {} ({}): {error}", self.id, self.job))
        })
    }
}

#[cfg(target_family = "wasm")]
use crate::bindings::sentinel::job::parents::{self, result_of};

#[cfg(target_family = "wasm")]
fn listed() -> Vec<Parent> {
    let parents = parents::all().into_iter().map(|parent| {
        let status = match parent.status {
            parents::Status::Completed => Status::Completed,
            parents::Status::Failed => Status::Failed,
            parents::Status::Cancelled => Status::Cancelled,
        };
        Parent { id: parent.id, job: parent.job, status }
    });
    parents.collect()
}

#[cfg(not(target_family = "wasm"))]
fn listed() -> Vec<Parent> {
    Vec::new()
}

#[cfg(not(target_family = "wasm"))]
fn result_of(_id: &str) -> Option<String> {
    None
}
