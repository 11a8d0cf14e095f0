//! The ends of all tasks, read from the store once for all who listen in this process.
//!
//! A listener first reads by itself until it knows all ends there are, then hears of further ones
//! from here. One that falls behind reads by itself again.

use std::{sync::Arc, time::Duration};

use axum::response::sse::Event;
use sentinel_queue::{
    JobName, Namespace, Queue, QueueName, Spec,
    list::{Ending, EndingCursor},
    store::StoreError,
};
use tokio::sync::{Mutex, broadcast};

use crate::{events::event, wire::TaskBrief};

/// The ends of tasks are looked for this often.
const LOOK: Duration = Duration::from_millis(250);

/// So many ends are taken at a time.
const PAGE: usize = 100;

/// A listener may be behind by so many before it reads by itself.
const BEHIND: usize = 1024;

/// What all listeners of this process hear.
#[derive(Clone)]
pub(crate) struct Ends {
    queue: Queue,
    namespace: Namespace,
    said: broadcast::Sender<Arc<End>>,
    /// Whether somebody reads for all.
    is_read: Arc<Mutex<bool>>,
}

/// One task's end, as it is told.
pub(crate) struct End {
    pub(crate) cursor: EndingCursor,
    pub(crate) job: JobName,
    pub(crate) queue: QueueName,
    pub(crate) event: Event,
}

impl From<Ending> for End {
    fn from(Ending { cursor, task }: Ending) -> Self {
        let status = task.state.status().as_str();
        let Spec { job, queue, .. } = task.definition.spec.clone();
        let event = event(status, &TaskBrief::from(task)).id(cursor.to_string());
        Self { cursor, job, queue, event }
    }
}

impl Ends {
    pub(crate) fn new(queue: Queue, namespace: Namespace) -> Self {
        Self { queue, namespace, said: broadcast::Sender::new(BEHIND), is_read: Arc::default() }
    }

    /// Whether anybody listens.
    pub(crate) fn are_heard(&self) -> bool {
        self.said.receiver_count() > 0
    }

    /// Listens: to everything that a read from now on may not find.
    pub(crate) async fn listen(&self) -> Result<broadcast::Receiver<Arc<End>>, StoreError> {
        let mut is_read = self.is_read.lock().await;
        let heard = self.said.subscribe();
        if !*is_read {
            let now = self.queue.endings(&self.namespace, None, PAGE).await?.next;
            *is_read = true;
            tokio::spawn(self.clone().read_for_all(now));
        }
        Ok(heard)
    }

    /// The next ends after a cursor, as many as are taken at a time, and where to go on; without a
    /// cursor none yet.
    pub(crate) async fn after(
        &self,
        cursor: Option<&EndingCursor>,
    ) -> Result<(Vec<End>, EndingCursor), StoreError> {
        let slice = self.queue.endings(&self.namespace, cursor, PAGE).await?;
        Ok((slice.endings.into_iter().map(End::from).collect(), slice.next))
    }

    /// Reads for as long as anybody listens.
    async fn read_for_all(self, mut cursor: EndingCursor) {
        loop {
            match self.after(Some(&cursor)).await {
                Ok((ends, next)) => {
                    cursor = next;
                    let is_all = ends.is_empty();
                    for end in ends {
                        // Nobody may listen any more; that is seen below.
                        drop(self.said.send(Arc::new(end)));
                    }
                    if !is_all {
                        continue;
                    }
                }
                Err(error) => tracing::debug!(%error, "the ends of tasks could not be read"),
            }
            let mut is_read = self.is_read.lock().await;
            if self.said.receiver_count() == 0 {
                *is_read = false;
                return;
            }
            drop(is_read);
            tokio::time::sleep(LOOK).await;
        }
    }
}
