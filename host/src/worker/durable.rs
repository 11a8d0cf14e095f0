//! What outlives a claimed task's attempt: the state of its job, what it saved, the tasks that it
//! submits; asked of the store while its guest runs.

use std::{collections::BTreeSet, future::Future, time::Duration};

use bytes::Bytes;
use sentinel_queue::{
    JobName, Namespace, NewTask, Queue, TaskId, TraceContext,
    effects::{self, MAX_DEPTH},
    lease::{Claimed, Token},
    request,
    store::StoreError,
    task::{Definition, Lineage},
};

use crate::engine::{Child, ChildError, Durable, Effects, LookUp, Versioned, Write};

/// While the store is away it is asked again this often: the guest waits, and its deadline or the
/// end of its lease ends that.
const AGAIN: Duration = Duration::from_millis(250);

/// Of one attempt.
pub(super) struct Stored {
    queue: Queue,
    id: TaskId,
    token: Token,
    family: Family,
    /// The jobs that it may submit, besides itself.
    granted: BTreeSet<JobName>,
    /// Around lines of the log about it.
    log: tracing::Span,
}

/// Whose children an attempt's are.
#[derive(Clone)]
pub(super) struct Family {
    namespace: Namespace,
    job: JobName,
    lineage: Lineage,
    /// The attempt's place in a trace: its children stand under it.
    trace: Option<Box<TraceContext>>,
}

impl Family {
    pub(super) fn of(task: &Definition) -> Self {
        let Definition { id, spec, .. } = task;
        let (root, depth) = spec.lineage.map_or((*id, 0), |lineage| (lineage.root, lineage.depth));
        let lineage = Lineage { parent: *id, root, depth: depth + 1 };
        let (namespace, job) = (spec.namespace.clone(), spec.job.clone());
        Self { namespace, job, lineage, trace: spec.trace.clone() }
    }

    /// A task as the guest gave it.
    fn child(&self, task: &str) -> Result<NewTask, String> {
        let mut task = read_child(&self.namespace, task)?;
        task.spec.lineage = Some(self.lineage);
        task.spec.trace.clone_from(&self.trace);
        Ok(task)
    }

    /// An attempt's effects as they are committed; or what is wrong with a task that it submits.
    pub(super) fn effects(&self, done: Effects) -> Result<effects::Effects, String> {
        let Effects { reads, writes, children, has_checkpoint } = done;
        let writes = writes.into_iter().map(|(key, write)| {
            let write = match write {
                Write::Set(value) => effects::Write::Set(value.into()),
                Write::Delete => effects::Write::Delete,
                Write::Add(number) => effects::Write::Add(number),
            };
            (key, write)
        });
        let children = children.into_iter().map(|Child { id, task }| {
            let id = id.parse().map_err(|error| format!("{error}"))?;
            Ok::<_, String>(NewTask { id, ..self.child(&task)? })
        });
        Ok(effects::Effects {
            reads,
            writes: writes.collect(),
            children: children.collect::<Result<_, _>>()?,
            has_checkpoint,
            ..effects::Effects::default()
        })
    }
}

fn read_child(namespace: &Namespace, task: &str) -> Result<NewTask, String> {
    let task = request::new_task(&Bytes::copy_from_slice(task.as_bytes()), namespace)
        .map_err(|refused| refused.to_string())?;
    if task.spec.idempotency_key.is_some() {
        return Err("/idempotency_key: is not needed here: a task is submitted once with its parent".into());
    }
    Ok(task)
}

/// The task that a guest of the job `parent` wants to submit; or why it may not: its own job is
/// allowed, and those that are `granted`.
pub fn new_child(
    namespace: &Namespace,
    parent: &str,
    granted: &BTreeSet<JobName>,
    task: &str,
) -> Result<NewTask, String> {
    let child = read_child(namespace, task)?;
    let job = &child.spec.job;
    if job.as_str() == parent || granted.contains(job) {
        return Ok(child);
    }
    Err(format!(
        "the job {parent:?} may not submit {:?}: the operator grants that by `submits` in [grants.{parent}] of \
         sentinel.toml",
        job.as_str()
    ))
}

impl Stored {
    pub(super) fn of(queue: &Queue, task: &Claimed, granted: BTreeSet<JobName>, log: &tracing::Span) -> Self {
        Self {
            queue: queue.clone(),
            id: task.definition.id,
            token: task.token.clone(),
            family: Family::of(&task.definition),
            granted,
            log: log.clone(),
        }
    }

    /// The store's answer, however long that takes.
    async fn answered<T, F: Future<Output = Result<T, StoreError>>>(&self, ask: impl Fn() -> F) -> T {
        let mut said = false;
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) => {
                    if !said {
                        let task = self.id;
                        self.log.in_scope(|| tracing::warn!(%task, %error, "a guest waits for the store"));
                        said = true;
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stored").field(&self.id).finish()
    }
}

impl Durable for Stored {
    fn read<'a>(&'a self, key: &'a str) -> LookUp<'a, Versioned> {
        Box::pin(async move {
            let Family { namespace, job, .. } = &self.family;
            let keys = [key];
            let found = self.answered(|| self.queue.state(namespace, job, &keys)).await;
            let found = found.into_iter().next().unwrap_or_default();
            Versioned { version: found.version, value: found.value.map(Into::into) }
        })
    }

    fn save(&self, bytes: Vec<u8>) -> LookUp<'_, bool> {
        Box::pin(async move {
            let bytes = Bytes::from(bytes);
            self.answered(|| self.queue.save(self.id, &self.token, bytes.clone())).await
        })
    }

    fn load(&self) -> LookUp<'_, Option<Vec<u8>>> {
        Box::pin(async { self.answered(|| self.queue.load(self.id)).await.map(Into::into) })
    }

    fn child<'a>(&'a self, task: &'a str) -> LookUp<'a, Result<String, ChildError>> {
        Box::pin(async move {
            let child = new_child(&self.family.namespace, self.family.job.as_str(), &self.granted, task)
                .map_err(ChildError::Refused)?;
            if self.family.lineage.depth > MAX_DEPTH {
                return Err(ChildError::Limit(format!(
                    "its task is {MAX_DEPTH} generations from the first of its family: its children would be \
                     one too many"
                )));
            }
            Ok(child.id.to_string())
        })
    }
}
