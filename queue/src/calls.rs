//! How long calls of the store take, by script, as this process sees it.

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::store::Script;

/// Upper bounds in microseconds: a script in memory takes a fraction of a millisecond, one that waits
/// for a disk some, and after seconds a call is given up.
pub const BOUNDS_US: [u64; 11] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 5_000_000];

/// The calls of one script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// Which.
    pub script: Script,
    /// How many were answered.
    pub answered: u64,
    /// How many were not, or with an error.
    pub failed: u64,
    /// How long those that were answered took in all.
    pub sum: Duration,
    /// How many took as long as each bound at most and longer than the one before; last, longer than all.
    pub counts: [u64; BOUNDS_US.len() + 1],
}

/// Counts calls; no lock is taken.
pub(crate) struct CallTimes(Vec<Times>);

struct Times {
    failed: AtomicU64,
    sum_us: AtomicU64,
    counts: [AtomicU64; BOUNDS_US.len() + 1],
}

impl CallTimes {
    pub(crate) fn note(&self, script: Script, took: Duration, answered: bool) {
        let times = &self.0[script as usize];
        if !answered {
            times.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        times.counts[BOUNDS_US.partition_point(|bound| *bound < micros)].fetch_add(1, Ordering::Relaxed);
        times.sum_us.fetch_add(micros, Ordering::Relaxed);
    }

    /// Those of which there were any.
    pub(crate) fn all(&self) -> Vec<Calls> {
        let calls = Script::ALL.iter().zip(&self.0).map(|(script, times)| {
            let counts = array::from_fn(|at| times.counts[at].load(Ordering::Relaxed));
            Calls {
                script: *script,
                answered: counts.iter().sum(),
                failed: times.failed.load(Ordering::Relaxed),
                sum: Duration::from_micros(times.sum_us.load(Ordering::Relaxed)),
                counts,
            }
        });
        calls.filter(|calls| calls.answered + calls.failed > 0).collect()
    }
}

impl Default for CallTimes {
    fn default() -> Self {
        let times = || Times {
            failed: AtomicU64::new(0),
            sum_us: AtomicU64::new(0),
            counts: array::from_fn(|_| AtomicU64::new(0)),
        };
        Self(Script::ALL.iter().map(|_| times()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_script_and_how_long_they_took() {
        let times = CallTimes::default();
        times.note(Script::Submit, Duration::from_micros(100), true);
        times.note(Script::Submit, Duration::from_micros(101), true);
        times.note(Script::Submit, Duration::from_secs(9), false);
        times.note(Script::Renew, Duration::from_secs(9), true);
        let [submit, renew] = times.all()[..] else { panic!("two scripts were called") };
        assert_eq!((submit.script, submit.answered, submit.failed), (Script::Submit, 2, 1));
        assert_eq!((submit.counts[0], submit.counts[1], submit.sum), (1, 1, Duration::from_micros(201)));
        assert_eq!((renew.script, renew.counts[BOUNDS_US.len()]), (Script::Renew, 1));
    }
}
