//! How long a task waits before it is tried again. Pure: chance comes in as an argument.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How the wait grows with the number of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackoffKind {
    /// base, 2 × base, 4 × base, …
    Exponential,
    /// base, 2 × base, 3 × base, …
    Linear,
    /// base each time.
    Fixed,
}

/// A task's back-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// How the wait grows.
    pub kind: BackoffKind,
    /// The first wait.
    pub base: Duration,
    /// No wait is longer.
    pub max: Duration,
    /// Whether a wait is drawn from its upper half, so that tasks that failed together do not
    /// come back together.
    pub jitter: bool,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            kind: BackoffKind::Exponential,
            base: Duration::from_secs(1),
            max: Duration::from_mins(10),
            jitter: true,
        }
    }
}

impl Backoff {
    /// The wait after `failures` failures (from 1); `chance` lies in 0..1.
    pub fn wait(&self, failures: u32, chance: f64) -> Duration {
        let factor = match self.kind {
            BackoffKind::Exponential => 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX),
            BackoffKind::Linear => failures.max(1),
            BackoffKind::Fixed => 1,
        };
        let full = self.base.checked_mul(factor).unwrap_or(self.max).min(self.max);
        if self.jitter { full.mul_f64(0.5 + chance / 2.0) } else { full }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(kind: BackoffKind) -> Backoff {
        Backoff { kind, jitter: false, ..Backoff::default() }
    }

    fn seconds(backoff: Backoff) -> Vec<u64> {
        [1, 2, 3, 4, 40].map(|failures| backoff.wait(failures, 0.0).as_secs()).to_vec()
    }

    #[test]
    fn each_kind_grows_its_own_way_up_to_the_maximum() {
        assert_eq!(seconds(plain(BackoffKind::Exponential)), [1, 2, 4, 8, 600]);
        assert_eq!(seconds(plain(BackoffKind::Linear)), [1, 2, 3, 4, 40]);
        assert_eq!(seconds(plain(BackoffKind::Fixed)), [1, 1, 1, 1, 1]);
    }

    #[test]
    fn jitter_takes_at_most_half() {
        let backoff = Backoff::default();
        assert_eq!(backoff.wait(3, 0.0), Duration::from_secs(2));
        assert!(backoff.wait(3, 0.999) < Duration::from_secs(4));
        assert!(backoff.wait(3, 0.999) > Duration::from_millis(3900));
    }
}
