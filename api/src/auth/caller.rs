//! Who sent a request, as handlers see it.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{Arc, LazyLock},
};

use axum::{
    extract::{FromRequestParts, Query},
    http::{HeaderMap, Uri, request::Parts},
};
use sentinel_queue::{
    JobName, Namespace, QueueName,
    keys::{Grant, KeyInfo, Scope},
    list::Filter,
    task::Spec,
};
use serde::Deserialize;

use crate::problem::{Code, Problem};

/// By which one who may use any namespace says which.
const NAMESPACE: &str = "sentinel-namespace";

/// What anybody may do where no key is needed.
static ANYBODY: LazyLock<Grant> =
    LazyLock::new(|| Grant { scopes: [Scope::Admin].into(), ..Grant::default() });

/// Who sent a request, and what they may do.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Their key; none if none is needed.
    pub(crate) key: Option<Arc<KeyInfo>>,
    /// Whose tasks they ask for.
    pub(crate) namespace: Namespace,
}

impl Caller {
    /// Somebody, where no key is needed.
    pub(super) fn anybody(named: Option<Namespace>) -> Self {
        Self { key: None, namespace: named.unwrap_or_default() }
    }

    /// Whoever has this key.
    pub(super) fn of(key: Arc<KeyInfo>, named: Option<Namespace>) -> Result<Self, Problem> {
        let namespace = match (&key.grant.namespace, named) {
            (Some(bound), Some(named)) if *bound != named => {
                let detail = format!("this key is for the namespace {bound} alone");
                return Err(Problem::of(Code::Forbidden, detail));
            }
            (Some(bound), _) => bound.clone(),
            (None, named) => named.unwrap_or_default(),
        };
        Ok(Self { key: Some(key), namespace })
    }

    /// What they may do.
    pub(crate) fn grant(&self) -> &Grant {
        self.key.as_ref().map_or(&*ANYBODY, |key| &key.grant)
    }

    /// What people call them.
    pub(crate) fn name(&self) -> &str {
        self.key.as_ref().map_or("anybody", |key| &key.name)
    }

    /// Whether there is such a task for them.
    pub(crate) fn sees(&self, task: &Spec) -> bool {
        let Spec { namespace, job, queue, .. } = task;
        *namespace == self.namespace && self.grant().covers(job, queue)
    }

    /// Whether a job of this name is theirs.
    pub(crate) fn is_for(&self, job: &str) -> bool {
        self.grant().jobs.as_ref().is_none_or(|jobs| jobs.iter().any(|own| own.as_str() == job))
    }

    /// Refuses what concerns a job that is not theirs.
    pub(crate) fn require_job(&self, job: &JobName) -> Result<(), Problem> {
        match &self.grant().jobs {
            Some(jobs) if !jobs.contains(job) => Err(forbidden(format!("this key is not for the job {job}"))),
            _ => Ok(()),
        }
    }

    /// Refuses what concerns a queue that is not theirs.
    pub(crate) fn require_queue(&self, queue: &QueueName) -> Result<(), Problem> {
        match &self.grant().queues {
            Some(queues) if !queues.contains(queue) => {
                Err(forbidden(format!("this key is not for the queue {queue}")))
            }
            _ => Ok(()),
        }
    }

    /// Refuses what concerns all tasks of a queue if some are not theirs.
    pub(crate) fn require_whole(&self, queue: &QueueName) -> Result<(), Problem> {
        self.require_queue(queue)?;
        if self.grant().jobs.is_some() {
            return Err(forbidden(format!(
                "this key is for some jobs alone, and this concerns all tasks of the queue {queue}"
            )));
        }
        Ok(())
    }

    /// Refuses to give what they do not have.
    pub(crate) fn require_within(&self, grant: &Grant) -> Result<(), Problem> {
        if let Some(scope) = grant.scopes.iter().find(|scope| !self.grant().allows(**scope)) {
            return Err(
                forbidden(format!("this key does not have the scope {scope} itself")).about("/scopes")
            );
        }
        within("jobs", self.grant().jobs.as_ref(), grant.jobs.as_ref())?;
        within("queues", self.grant().queues.as_ref(), grant.queues.as_ref())
    }

    /// Refuses a filter that lets other tasks through than theirs.
    pub(crate) fn require_filter(&self, filter: &Filter) -> Result<(), Problem> {
        match &filter.job {
            Some(job) => self.require_job(job)?,
            None if self.grant().jobs.is_some() => {
                return Err(forbidden("this key is for some jobs alone: name one in `filter.job`".into()));
            }
            None => {}
        }
        match &filter.queue {
            Some(queue) => self.require_queue(queue),
            None if self.grant().queues.is_some() => {
                Err(forbidden("this key is for some queues alone: name one in `filter.queue`".into()))
            }
            None => Ok(()),
        }
    }
}

/// The namespace that a request names.
pub(super) fn named(headers: &HeaderMap) -> Result<Option<Namespace>, Problem> {
    let Some(name) = headers.get(NAMESPACE) else { return Ok(None) };
    let name = name.to_str().unwrap_or_default();
    name.parse().map(Some).map_err(|error| Problem::field("Sentinel-Namespace", &error))
}

/// The namespace that a page's address names: browsers send no header of ours. Two pages that are open
/// at once may be of two, and a link that is given on leads where it did.
pub(super) fn named_by_page(uri: &Uri) -> Result<Option<Namespace>, Problem> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(default)]
        namespace: String,
    }
    let named = Query::<Named>::try_from_uri(uri);
    let Query(named) = named.map_err(|error| Problem::field("query", &error.body_text()))?;
    if named.namespace.is_empty() {
        return Ok(None);
    }
    named.namespace.parse().map(Some).map_err(|error| Problem::field("namespace", &error))
}

/// Refuses a list of names that goes beyond another.
fn within<T: Ord>(what: &str, own: Option<&BTreeSet<T>>, given: Option<&BTreeSet<T>>) -> Result<(), Problem> {
    match (own, given) {
        (Some(own), Some(given)) if given.is_subset(own) => Ok(()),
        (Some(_), _) => Err(forbidden(format!("this key is for some {what} alone: name {what} among them"))
            .about(&format!("/{what}"))),
        (None, _) => Ok(()),
    }
}

fn forbidden(detail: String) -> Problem {
    Problem::of(Code::Forbidden, detail)
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    /// # Panics
    ///
    /// If the route is not behind [`super::check`], which is a defect.
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let caller = parts.extensions.get::<Arc<Self>>().expect("every route but the open ones has a caller");
        Ok(Self::clone(caller))
    }
}
