//! Raises the interrupts of attempts whose wall time is over.
//!
//! Owns one timer task on the control runtime, which busy guests cannot delay, and the armed
//! deadlines. Does not know what an attempt is. Invariant: an armed deadline is raised once its
//! time has come, unless its [`Armed`] is dropped before.
//!
//! One task serves all attempts, because a task each would cost a wake-up of the control
//! runtime per attempt, which is more than a small attempt itself. Here arming touches a map,
//! and wakes the task only when nothing earlier keeps it waiting.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::Notify, task::JoinHandle};

use super::interrupt::{Interrupt, Reason};

/// The timer of all attempts of an engine. Keep one for as long as attempts run.
#[derive(Debug)]
pub struct Deadlines {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    armed: Mutex<Deadline>,
    earlier: Notify,
    serial: AtomicU64,
}

type Key = (Instant, u64);

#[derive(Debug, Default)]
struct Deadline {
    by_time: BTreeMap<Key, Interrupt>,
    /// When the task wakes by itself; `None`: not before it is told.
    wakes_at: Option<Instant>,
}

/// One attempt's deadline. Dropping it disarms it.
#[derive(Debug)]
pub struct Armed {
    shared: Arc<Shared>,
    key: Option<Key>,
}

impl Deadlines {
    /// Starts the timer on `control`, a runtime that has time enabled and runs no guests.
    pub fn start(control: &Handle) -> Self {
        let shared = Arc::new(Shared::default());
        let task = control.spawn(Shared::watch(Arc::clone(&shared)));
        Self { shared, task }
    }

    /// Raises `interrupt` after `wall`, counted from now.
    pub fn arm(&self, wall: Duration, interrupt: Interrupt) -> Armed {
        let shared = Arc::clone(&self.shared);
        // A time that cannot be represented is never reached.
        let Some(at) = Instant::now().checked_add(wall) else {
            return Armed { shared, key: None };
        };
        let key = (at, shared.serial.fetch_add(1, Ordering::Relaxed));
        let is_earliest = {
            let mut armed = shared.lock();
            armed.by_time.insert(key, interrupt);
            armed.wakes_at.is_none_or(|wakes_at| at < wakes_at)
        };
        if is_earliest {
            shared.earlier.notify_one();
        }
        Armed { shared, key: Some(key) }
    }
}

impl Drop for Deadlines {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.shared.lock().by_time.remove(key);
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Deadline> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn watch(self: Arc<Self>) {
        loop {
            match self.raise_due(Instant::now()) {
                None => self.earlier.notified().await,
                Some(next) => tokio::select! {
                    () = tokio::time::sleep_until(next.into()) => {}
                    () = self.earlier.notified() => {}
                },
            }
        }
    }

    /// Raises what is due, and says when to look again.
    fn raise_due(&self, now: Instant) -> Option<Instant> {
        let mut armed = self.lock();
        let later = armed.by_time.split_off(&(now, u64::MAX));
        for interrupt in std::mem::replace(&mut armed.by_time, later).into_values() {
            interrupt.raise(Reason::Deadline);
        }
        armed.wakes_at = armed.by_time.keys().next().map(|(at, _)| *at);
        armed.wakes_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_earlier_deadline_overtakes() {
        let deadlines = Deadlines::start(&Handle::current());
        let (late, soon) = (Interrupt::new(), Interrupt::new());
        let _late = deadlines.arm(Duration::from_hours(1), late.clone());
        tokio::task::yield_now().await;
        let _soon = deadlines.arm(Duration::from_millis(5), soon.clone());
        assert_eq!(soon.raised().await, Reason::Deadline);
        assert_eq!(late.reason(), None);
    }

    #[tokio::test]
    async fn a_disarmed_deadline_is_not_raised() {
        let deadlines = Deadlines::start(&Handle::current());
        let (gone, next) = (Interrupt::new(), Interrupt::new());
        drop(deadlines.arm(Duration::from_millis(1), gone.clone()));
        let _next = deadlines.arm(Duration::from_millis(10), next.clone());
        next.raised().await;
        assert_eq!(gone.reason(), None);
    }

    #[tokio::test]
    async fn no_time_is_too_long() {
        let deadlines = Deadlines::start(&Handle::current());
        let interrupt = Interrupt::new();
        drop(deadlines.arm(Duration::MAX, interrupt.clone()));
        assert_eq!(interrupt.reason(), None);
    }
}
