//! How times are spread: counts between bounds that are the same everywhere, in the store, on the
//! dashboard and in Prometheus, so that any two can be added.

use std::time::Duration;

/// The bounds, in microseconds: from what a small attempt takes to a wait of hours.
pub const BOUNDS_US: [u64; 18] = [
    500,
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    1_800_000_000,
    7_200_000_000,
];

/// Times by how long they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Those up to each bound and above the one before; last those above all.
    counts: [u64; BOUNDS_US.len() + 1],
    sum_us: u64,
}

impl Histogram {
    /// Adds one time.
    pub fn observe(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.counts[BOUNDS_US.partition_point(|bound| *bound < micros)] += 1;
        self.sum_us = self.sum_us.saturating_add(micros);
    }

    /// How many times there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long they were in all, in milliseconds.
    pub fn sum_ms(&self) -> u64 {
        self.sum_us / 1000
    }

    /// How long they were in all.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us)
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// The time that a part `q` (0 to 1) of all times do not exceed, as near as the bounds tell: times
    /// between two of them are taken to be spread evenly, and those above all to be as long as the last
    /// one. None: there are no times.
    #[allow(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let wanted = q.clamp(0.0, 1.0) * self.count() as f64;
        let (mut below, mut lower) = (0, 0);
        for (&count, &upper) in self.counts.iter().zip(&BOUNDS_US) {
            if count > 0 && (below + count) as f64 >= wanted {
                let part = ((wanted - below as f64) / count as f64).max(0.0);
                return Some(
                    Duration::from_micros(lower) + Duration::from_micros(upper - lower).mul_f64(part),
                );
            }
            (below, lower) = (below + count, upper);
        }
        (self.count() > 0).then(|| Duration::from_micros(lower))
    }

    /// How many there are up to each bound and above the one before; last, without a bound, those above all.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = BOUNDS_US.iter().map(|bound| Some(Duration::from_micros(*bound))).chain([None]);
        bounds.zip(self.counts)
    }

    /// How long they were in all, in microseconds.
    pub(super) fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// Those that there are between bounds, by the upper one.
    pub(super) fn filled(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bounds = BOUNDS_US.iter().copied().map(Some).chain([None]);
        bounds.zip(self.counts).filter(|(_, count)| *count > 0)
    }

    /// Takes in what a record says: that so many are below this bound, or above all. A bound that
    /// this version does not have is counted with the next one above it.
    pub(super) fn fill(&mut self, bound: Option<u64>, count: u64) {
        let place = bound.map_or(BOUNDS_US.len(), |bound| BOUNDS_US.partition_point(|own| *own < bound));
        self.counts[place] += count;
    }

    pub(super) fn add_sum_us(&mut self, micros: u64) {
        self.sum_us = self.sum_us.saturating_add(micros);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn of(times: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        for time in times {
            histogram.observe(ms(*time));
        }
        histogram
    }

    #[test]
    fn a_time_counts_below_the_first_bound_that_it_does_not_exceed() {
        let all = of(&[0, 1, 2, 5, 6]);
        let filled: Vec<_> = all.filled().collect();
        assert_eq!(filled, [(Some(500), 1), (Some(1_000), 1), (Some(5_000), 2), (Some(10_000), 1)]);
        assert_eq!((all.count(), all.sum_ms()), (5, 14));
        let mut longest = Histogram::default();
        longest.observe(Duration::MAX);
        assert_eq!(longest.filled().collect::<Vec<_>>(), [(None, 1)]);
    }

    #[test]
    fn sums_keep_what_is_less_than_a_millisecond() {
        let mut all = Histogram::default();
        (0..1000).for_each(|_| all.observe(Duration::from_micros(200)));
        assert_eq!(all.sum_ms(), 200);
    }

    #[test]
    fn a_quantile_lies_between_the_bounds_around_it() {
        assert_eq!(Histogram::default().quantile(0.5), None);
        let all = of(&[6, 7, 8, 9]);
        assert_eq!(all.quantile(0.0), Some(ms(5)));
        assert_eq!(all.quantile(0.5), Some(Duration::from_micros(7_500)));
        assert_eq!(all.quantile(1.0), Some(ms(10)));
        let spread = of(&[6, 6, 6, 6, 6, 6, 6, 6, 6, 900]);
        assert!(spread.quantile(0.9).unwrap() <= ms(10));
        assert!(spread.quantile(0.95).unwrap() > ms(500));
    }

    #[test]
    fn what_is_beyond_all_bounds_is_as_long_as_the_last() {
        assert_eq!(of(&[100_000_000]).quantile(0.5), Some(Duration::from_secs(7_200)));
        assert_eq!(of(&[6, 6, 100_000_000]).quantile(0.99), Some(Duration::from_secs(7_200)));
    }

    #[test]
    fn merged_is_as_if_all_had_been_observed_together() {
        let mut one = of(&[1, 30, 700]);
        one.merge(&of(&[2, 31, 100_000_000]));
        assert_eq!(one, of(&[1, 2, 30, 31, 700, 100_000_000]));
    }
}
