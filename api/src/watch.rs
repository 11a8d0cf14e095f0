//! Who waits for which task in this process.
//!
//! A watcher registers here and in the store, then reads: whatever ends afterwards is said on the
//! store's channel, so that no end is missed. What was not heard because the connection broke is
//! made up for by waking everybody.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use bytes::Bytes;
use sentinel_queue::{
    Queue, TaskId,
    queue::DONE,
    store::{Heard, StoreError},
};
use tokio::sync::{Notify, futures::OwnedNotified};

/// All watchers of this process.
pub(crate) struct Watchers {
    queue: Queue,
    shared: Arc<Shared>,
    listening: OnceLock<()>,
}

type Shared = Mutex<HashMap<TaskId, Watched>>;

#[derive(Default)]
struct Watched {
    changed: Arc<Notify>,
    watchers: usize,
}

/// One watcher; it is one no more when it is dropped.
pub(crate) struct Watcher {
    id: TaskId,
    changed: Arc<Notify>,
    shared: Arc<Shared>,
}

impl Watchers {
    pub(crate) fn new(queue: Queue) -> Self {
        Self { queue, shared: Arc::default(), listening: OnceLock::new() }
    }

    /// Watches a task. Whoever does reads it afterwards, and after each [`Watcher::notified`].
    pub(crate) fn watch(&self, id: TaskId) -> Watcher {
        self.listening.get_or_init(|| {
            tokio::spawn(listen(self.queue.clone(), Arc::clone(&self.shared)));
        });
        let mut shared = lock(&self.shared);
        let watched = shared.entry(id).or_default();
        watched.watchers += 1;
        Watcher { id, changed: Arc::clone(&watched.changed), shared: Arc::clone(&self.shared) }
    }

    /// Has the store say when the task ends; again after some minutes.
    pub(crate) async fn register(&self, watcher: &Watcher) -> Result<(), StoreError> {
        self.queue.watch(&[watcher.id]).await
    }
}

impl Watcher {
    /// Completes when the task may have changed since this was called and enabled.
    pub(crate) fn notified(&self) -> OwnedNotified {
        Arc::clone(&self.changed).notified_owned()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        if let Some(watched) = shared.get_mut(&self.id) {
            watched.watchers -= 1;
            if watched.watchers == 0 {
                shared.remove(&self.id);
            }
        }
    }
}

async fn listen(queue: Queue, shared: Arc<Shared>) {
    let mut subscription = queue.subscribe(Bytes::from_static(DONE.as_bytes()));
    loop {
        match subscription.next().await {
            Heard::Message(ids) => {
                let ids = String::from_utf8_lossy(&ids);
                let shared = lock(&shared);
                let ids = ids.split(',').filter_map(|id| id.parse::<TaskId>().ok());
                for watched in ids.filter_map(|id| shared.get(&id)) {
                    watched.changed.notify_waiters();
                }
            }
            Heard::Gap => lock(&shared).values().for_each(|watched| watched.changed.notify_waiters()),
        }
    }
}

fn lock(shared: &Shared) -> std::sync::MutexGuard<'_, HashMap<TaskId, Watched>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
