//! How fast a guest may ask the store.
//!
//! Owns the allowance of one attempt. Does not know what is asked. Invariant: an attempt that asks
//! more than its allowance waits, on its own time; it is not ended, for nothing is wrong with it but
//! its haste, and others need the store, too.

use std::time::{Duration, Instant};

/// What a call counts besides the bytes that it carries.
const CALL: u64 = 4 << 10;

/// So much an attempt may be ahead of the pace.
const AHEAD: u64 = 16 << 20;

/// Bytes a second. For one that only asks it is two thousand calls.
const PACE: u64 = 8 << 20;

/// The allowance of one attempt.
#[derive(Debug)]
pub(crate) struct Pace {
    /// How far ahead the attempt was, and when.
    ahead: u64,
    at: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self { ahead: 0, at: Instant::now() }
    }
}

impl Pace {
    /// Counts a call that carries so many bytes, and waits for as long as the attempt has to.
    pub(crate) async fn keep(&mut self, bytes: usize) {
        let wait = self.count(bytes, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn count(&mut self, bytes: usize, now: Instant) -> Duration {
        let micros = u64::try_from(now.duration_since(self.at).as_micros()).unwrap_or(u64::MAX);
        let made_up = micros.saturating_mul(PACE) / 1_000_000;
        self.ahead = self.ahead.saturating_sub(made_up).saturating_add(CALL + bytes as u64);
        self.at = now;
        Duration::from_micros(self.ahead.saturating_sub(AHEAD).saturating_mul(1_000_000) / PACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_keeps_the_pace_never_waits_and_who_does_not_is_held_to_it() {
        let mut pace = Pace::default();
        let start = pace.at;
        for call in 1..=10_000 {
            assert_eq!(pace.count(0, start + Duration::from_millis(call)), Duration::ZERO, "{call}");
        }
        let (mut pace, mut now) = (Pace::default(), start);
        for _ in 0..1000 {
            now += pace.count(1 << 20, now);
        }
        let took = now.duration_since(start);
        assert!((Duration::from_secs(122)..Duration::from_secs(126)).contains(&took), "{took:?}");
    }
}
