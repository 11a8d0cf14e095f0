//! The flag by which an attempt is stopped from outside.
//!
//! Owns one attempt's reason to stop. Does not know who raises it or when; the deadline, a
//! cancel and a worker that must let go all use it. Invariant: the first reason stays.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use tokio::sync::Notify;

/// Why an attempt was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// Its wall time is over.
    Deadline = 1,
    /// Somebody cancelled the task.
    Cancelled,
    /// The host must let go of it: the lease is at risk, or the worker is leaving.
    Stopped,
}

/// Stops one attempt. Cheap to clone; all clones are the same interrupt.
///
/// A guest that uses the CPU is stopped by the epoch callback, which reads the flag; one that
/// waits in the host by dropping its call.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    reason: AtomicU8,
    raised: Notify,
}

impl Interrupt {
    /// An interrupt that has not been raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops the attempt. A second reason is ignored.
    pub fn raise(&self, reason: Reason) {
        let first =
            self.0.reason.compare_exchange(0, reason as u8, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if first {
            // Only the attempt waits, and a permit is kept when it does not wait yet.
            self.0.raised.notify_one();
        }
    }

    /// The reason, once there is one.
    pub fn reason(&self) -> Option<Reason> {
        match self.0.reason.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Reason::Deadline),
            2 => Some(Reason::Cancelled),
            _ => Some(Reason::Stopped),
        }
    }

    /// Waits for a reason. For one waiter.
    pub(crate) async fn raised(&self) -> Reason {
        loop {
            if let Some(reason) = self.reason() {
                return reason;
            }
            self.0.raised.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_stays() {
        let interrupt = Interrupt::new();
        assert_eq!(interrupt.reason(), None);
        interrupt.raise(Reason::Cancelled);
        interrupt.raise(Reason::Deadline);
        assert_eq!(interrupt.raised().await, Reason::Cancelled);
    }

    #[tokio::test]
    async fn a_waiter_is_woken() {
        let interrupt = Interrupt::new();
        let other = interrupt.clone();
        let waiter = tokio::spawn(async move { other.raised().await });
        tokio::task::yield_now().await;
        interrupt.raise(Reason::Stopped);
        assert_eq!(waiter.await.ok(), Some(Reason::Stopped));
    }
}
