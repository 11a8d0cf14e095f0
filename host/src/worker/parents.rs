//! The parents of a claimed task, looked up in the store when its guest asks for them.

use std::{future::Future, time::Duration};

use sentinel_queue::{
    Queue, Status, TaskId,
    store::StoreError,
    task::{Definition, TaskState},
};

use crate::engine::{LookUp, Parent, ParentStatus, Parents};

/// While the store is away it is asked again this often: the guest waits, and its deadline or the
/// end of its lease ends that.
const AGAIN: Duration = Duration::from_millis(250);

/// The parents of one task.
pub(super) struct StoredParents {
    queue: Queue,
    ids: Vec<TaskId>,
}

impl StoredParents {
    /// Those of a task, if it has any.
    pub(super) fn of(queue: &Queue, task: &Definition) -> Option<Self> {
        let ids = task.spec.after.clone();
        (!ids.is_empty()).then(|| Self { queue: queue.clone(), ids })
    }
}

impl std::fmt::Debug for StoredParents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StoredParents").field(&self.ids).finish()
    }
}

impl Parents for StoredParents {
    fn all(&self) -> LookUp<'_, Vec<Parent>> {
        Box::pin(async {
            let briefs = answered(|| self.queue.briefs(&self.ids)).await;
            let parents = briefs.into_iter().filter_map(|parent| {
                let status = match parent.state.status() {
                    Status::Completed => ParentStatus::Completed,
                    Status::Failed => ParentStatus::Failed,
                    Status::Cancelled => ParentStatus::Cancelled,
                    // It was given another life: what it was is no more.
                    _ => return None,
                };
                let Definition { id, spec, .. } = parent.definition;
                Some(Parent { id: id.to_string(), job: spec.job.to_string(), status })
            });
            parents.collect()
        })
    }

    fn result_of<'a>(&'a self, id: &'a str) -> LookUp<'a, Option<String>> {
        Box::pin(async {
            let id: TaskId = id.parse().ok().filter(|id| self.ids.contains(id))?;
            match answered(|| self.queue.get(id)).await?.state {
                TaskState::Completed { result, .. } => String::from_utf8(result.into()).ok(),
                _ => None,
            }
        })
    }
}

/// The store's answer, however long that takes; nothing if the store is broken.
async fn answered<T: Default, F: Future<Output = Result<T, StoreError>>>(ask: impl Fn() -> F) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(AGAIN).await,
            Err(error) => {
                tracing::error!(%error, "parents could not be looked up");
                return T::default();
            }
        }
    }
}
