//! What an attempt used of the CPU, and how long it waited for the host.
//!
//! Owns the sums over the polls of one attempt's future. Does not know any limit. Invariant: a
//! thread's CPU time is counted while it polls this attempt and at no other time, so a guest
//! that sleeps is charged nothing, which counting epoch ticks would not achieve.

use std::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

/// The meter of one attempt. One thread writes it at a time, so relaxed ordering is enough:
/// the executor orders the polls.
#[derive(Debug, Default)]
pub(crate) struct CpuMeter {
    used: AtomicU64,
    poll_began: AtomicU64,
    waited: AtomicU64,
    yielded: AtomicBool,
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    /// CPU time, in the guest and in the host for it.
    pub(crate) cpu: Duration,
    /// Time spent waiting in host calls; waiting for a turn is not in it.
    pub(crate) wait: Duration,
}

impl CpuMeter {
    /// Runs `work`, metering each poll.
    pub(crate) async fn measure<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        let mut pending_since: Option<Instant> = None;
        poll_fn(|context| {
            if let Some(since) = pending_since.take() {
                self.waited.fetch_add(nanoseconds(since.elapsed()), Relaxed);
            }
            self.poll_began.store(thread_cpu_now(), Relaxed);
            self.yielded.store(false, Relaxed);
            let polled = work.as_mut().poll(context);
            self.used.store(self.used_so_far(), Relaxed);
            if polled.is_pending() && !self.yielded.load(Relaxed) {
                pending_since = Some(Instant::now());
            }
            polled
        })
        .await
    }

    /// To be called from within a poll: the CPU time used, this poll's included.
    pub(crate) fn used_now(&self) -> Duration {
        Duration::from_nanos(self.used_so_far())
    }

    /// To be called from within a poll that is about to give its turn away rather than to wait.
    pub(crate) fn note_yield(&self) {
        self.yielded.store(true, Relaxed);
    }

    /// To be called from within a poll: whether it is giving its turn away.
    pub(crate) fn has_yielded(&self) -> bool {
        self.yielded.load(Relaxed)
    }

    /// To be called after the work: what it took.
    pub(crate) fn spent(&self) -> Spent {
        Spent {
            cpu: Duration::from_nanos(self.used.load(Relaxed)),
            wait: Duration::from_nanos(self.waited.load(Relaxed)),
        }
    }

    fn used_so_far(&self) -> u64 {
        let this_poll = thread_cpu_now().saturating_sub(self.poll_began.load(Relaxed));
        self.used.load(Relaxed).saturating_add(this_poll)
    }
}

fn thread_cpu_now() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // A thread's CPU clock starts at zero and is not negative.
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleeping_is_waiting_and_no_cpu() {
        let meter = CpuMeter::default();
        meter.measure(tokio::time::sleep(Duration::from_millis(50))).await;
        let spent = meter.spent();
        assert!(spent.wait >= Duration::from_millis(49), "{spent:?}");
        assert!(spent.cpu < Duration::from_millis(25), "{spent:?}");
    }

    #[tokio::test]
    async fn computing_is_cpu_and_no_waiting() {
        let meter = CpuMeter::default();
        let seen = meter
            .measure(async {
                while meter.used_now() < Duration::from_millis(20) {
                    std::hint::spin_loop();
                }
                meter.note_yield();
                tokio::task::yield_now().await;
                meter.used_now()
            })
            .await;
        let spent = meter.spent();
        assert!(seen >= Duration::from_millis(20) && spent.cpu >= seen, "{spent:?}");
        assert_eq!(spent.wait, Duration::ZERO);
    }
}
