//! `sentinel:job/parents`: how the tasks ended that this one waited for.
//!
//! Owns nothing: who runs the engine says where parents are looked up. Does not know of any store.
//! Invariant: a guest learns of its own task's parents and of no other task.

use std::{fmt, future::Future, pin::Pin};

use serde::{Deserialize, Serialize};

use crate::engine::{bindings::sentinel::job::parents, calls::CallKind, host::Host};

/// About what the store reads to say how a parent ended.
const BRIEF_BYTES: usize = 512;

/// What is looked up comes when it comes; an attempt that ends earlier drops the look-up.
pub type LookUp<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where the parents of an attempt's task are looked up.
pub trait Parents: fmt::Debug + Send + Sync {
    /// All that are kept, in the order in which the task names them.
    fn all(&self) -> LookUp<'_, Vec<Parent>>;

    /// A completed parent's result, as JSON text; none for every other task.
    fn result_of<'a>(&'a self, id: &'a str) -> LookUp<'a, Option<String>>;
}

/// A task that another one waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its UUID.
    pub id: String,
    /// Its job.
    pub job: String,
    /// How it ended.
    pub status: ParentStatus,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParentStatus {
    /// With a result.
    Completed,
    /// With an error.
    Failed,
    /// By request, or because of another task.
    Cancelled,
}

/// Parents that were looked up before, each with its result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownParents(Vec<(Parent, Option<String>)>);

impl KnownParents {
    /// Looks all of them up.
    pub async fn of(parents: &dyn Parents) -> Self {
        let mut known = Vec::new();
        for parent in parents.all().await {
            let result = parents.result_of(&parent.id).await;
            known.push((parent, result));
        }
        Self(known)
    }
}

impl Parents for KnownParents {
    fn all(&self) -> LookUp<'_, Vec<Parent>> {
        Box::pin(async { self.0.iter().map(|(parent, _)| parent.clone()).collect() })
    }

    fn result_of<'a>(&'a self, id: &'a str) -> LookUp<'a, Option<String>> {
        Box::pin(async move { self.0.iter().find(|(parent, _)| parent.id == id)?.1.clone() })
    }
}

impl parents::Host for Host {
    async fn all(&mut self) -> wasmtime::Result<Vec<parents::Parent>> {
        let Some(known) = self.parents.clone() else { return Ok(Vec::new()) };
        let call = self.effects.calls.begin(|| CallKind::ParentsAll);
        let all = known.all().await;
        self.effects.pace.keep(all.len() * BRIEF_BYTES).await;
        call.done();
        Ok(all.into_iter().map(Into::into).collect())
    }

    async fn result_of(&mut self, id: String) -> wasmtime::Result<Option<String>> {
        let Some(known) = self.parents.clone() else { return Ok(None) };
        let call = self.effects.calls.begin(|| CallKind::ParentsResult);
        let result = known.result_of(&id).await;
        self.effects.pace.keep(result.as_ref().map_or(0, String::len)).await;
        call.done();
        self.count_imported(result.as_ref().map_or(0, String::len));
        Ok(result)
    }
}

impl From<Parent> for parents::Parent {
    fn from(parent: Parent) -> Self {
        let status = match parent.status {
            ParentStatus::Completed => parents::Status::Completed,
            ParentStatus::Failed => parents::Status::Failed,
            ParentStatus::Cancelled => parents::Status::Cancelled,
        };
        Self { id: parent.id, job: parent.job, status }
    }
}
