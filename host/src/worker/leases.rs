//! The leases that this worker holds: who runs, until when, and how to stop it.
//!
//! Invariant: a task is here from its claim until the store has taken its settlement or its
//! release, or has said that the lease is another's.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sentinel_queue::{
    TaskId,
    lease::{Held, Token},
    task::Progress,
};

use crate::engine::{Interrupt, ProgressCell, Reason};

/// All leases of one worker.
#[derive(Default)]
pub(super) struct Leases(Mutex<HashMap<TaskId, Lease>>);

/// One lease.
pub(super) struct Lease {
    pub(super) token: Token,
    pub(super) interrupt: Interrupt,
    pub(super) progress: Arc<ProgressCell>,
    /// When the last call that made it longer was sent.
    pub(super) renewed_at: Instant,
    /// Around lines of the log about it.
    pub(super) log: tracing::Span,
}

impl Leases {
    /// Adds a lease. An older claim of the same task is known to be lost by that: its guest is
    /// stopped.
    pub(super) fn insert(&self, id: TaskId, lease: Lease) {
        if let Some(lost) = self.lock().insert(id, lease) {
            lost.interrupt.raise(Reason::Stopped);
        }
    }

    /// Removes a lease, unless the task is held by another claim by now.
    pub(super) fn remove(&self, id: TaskId, token: &Token) {
        let mut leases = self.lock();
        if leases.get(&id).is_some_and(|lease| lease.token == *token) {
            leases.remove(&id);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// What the next renewal tells the store. Progress is told once.
    pub(super) fn held(&self) -> Vec<Held> {
        let leases = self.lock();
        let held = leases.iter().map(|(&id, lease)| {
            let progress = lease.progress.take_news();
            let progress = progress.map(|news| Progress { percent: news.percent, message: news.message });
            Held { id, token: lease.token.clone(), progress }
        });
        held.collect()
    }

    /// Notes that a renewal sent at `sent` was answered for these.
    pub(super) fn renewed(&self, held: &[Held], sent: Instant) {
        let mut leases = self.lock();
        for lease in held {
            // A task that was given back and claimed again has another token.
            if let Some(mine) = leases.get_mut(&lease.id).filter(|mine| mine.token == lease.token) {
                mine.renewed_at = mine.renewed_at.max(sent);
            }
        }
    }

    /// Stops those of these claims that are lost: their leases are another's, or nobody's. Says how
    /// many guests that concerns: what was settled or given back meanwhile is not lost.
    pub(super) fn lose(&self, held: &[Held], lost: &[TaskId]) -> usize {
        let leases = self.lock();
        let claims = held.iter().filter(|claim| lost.contains(&claim.id));
        let mine =
            claims.filter_map(|claim| leases.get(&claim.id).filter(|lease| lease.token == claim.token));
        let running = mine.filter(|lease| lease.interrupt.reason().is_none());
        running.inspect(|lease| lease.interrupt.raise(Reason::Stopped)).count()
    }

    /// Stops the guest of a claim whose task was cancelled.
    pub(super) fn cancel(&self, id: TaskId, token: &Token) {
        if let Some(lease) = self.lock().get(&id).filter(|lease| lease.token == *token) {
            lease.log.in_scope(|| tracing::info!(task = %id, "cancelled: its guest is stopped"));
            lease.interrupt.raise(Reason::Cancelled);
        }
    }

    /// Stops all guests whose leases were last made longer `age` ago or earlier; says how many.
    pub(super) fn stop_older_than(&self, age: Duration) -> usize {
        let leases = self.lock();
        let old = leases.values().filter(|lease| lease.renewed_at.elapsed() >= age);
        let running = old.filter(|lease| lease.interrupt.reason().is_none());
        running.inspect(|lease| lease.interrupt.raise(Reason::Stopped)).count()
    }

    /// Stops all guests: the worker shuts down.
    pub(super) fn stop_all(&self) {
        for lease in self.lock().values() {
            lease.interrupt.raise(Reason::Stopped);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TaskId, Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
