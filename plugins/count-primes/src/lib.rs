//! `count-primes`: counts the primes of a range, which is nothing but work for the CPU.
//!
//! `{"job": "count-primes", "limit": 1000000}` counts those up to a million; with `from` it starts
//! there. The memory needed grows with the square root of the limit, not with the range.

use sentinel_job::{Failure, progress};
use serde::{Deserialize, Serialize};

/// Up to here the base primes fit into a megabyte.
const MAX_LIMIT: u64 = 1_000_000_000_000;

/// How many numbers are sieved at once: what fits into a core's cache.
const SEGMENT: usize = 1 << 18;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    /// The first number of the range.
    #[serde(default)]
    from: u64,
    /// The last one.
    #[serde(alias = "to")]
    limit: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Output {
    count: u64,
    /// The largest prime of the range; null if it has none.
    largest: Option<u64>,
}

/// Counts the primes of a range.
#[sentinel_job::job]
fn run(input: Input) -> Result<Output, Failure> {
    let Input { from, limit } = input;
    if limit > MAX_LIMIT {
        return Err(Failure::permanent(format_args!("`limit` is above {MAX_LIMIT}")));
    }
    if from > limit {
        return Err(Failure::permanent("`from` is above `limit`"));
    }
    let mut reported = 0;
    Ok(count_primes(from, limit, |done| {
        let percent = percent(done, limit - from + 1);
        if percent > reported {
            reported = percent;
            progress::report(percent, format_args!("sieved up to {}", from + done - 1));
        }
    }))
}

/// `done` is at most `all`.
fn percent(done: u64, all: u64) -> u8 {
    u8::try_from(done * 100 / all).unwrap_or(100)
}

/// Sieves the range segment by segment; after each, `progressed` hears how many numbers are done.
fn count_primes(from: u64, limit: u64, mut progressed: impl FnMut(u64)) -> Output {
    let base = primes_up_to(limit.isqrt());
    let mut output = Output::default();
    let mut start = from.max(2);
    while start <= limit {
        let end = limit.min(start + SEGMENT as u64 - 1);
        for prime in sieve(start, end, &base) {
            output.count += 1;
            output.largest = Some(prime);
        }
        progressed(end - from + 1);
        start = end + 1;
    }
    output
}

/// The primes of a short range. `base` must have all primes up to the square root of its end.
fn sieve(start: u64, end: u64, base: &[u64]) -> impl Iterator<Item = u64> {
    let mut composite = vec![false; index(end - start + 1)];
    for &prime in base.iter().take_while(|&&prime| prime * prime <= end) {
        // Smaller multiples have a smaller factor, which has struck them out.
        let first = (prime * prime).max(start.next_multiple_of(prime));
        if first <= end {
            composite[index(first - start)..]
                .iter_mut()
                .step_by(index(prime))
                .for_each(|number| *number = true);
        }
    }
    (start..).zip(composite).filter_map(|(number, composite)| (!composite).then_some(number))
}

/// All primes up to a limit, found through those up to its square root.
fn primes_up_to(limit: u64) -> Vec<u64> {
    if limit < 2 {
        return Vec::new();
    }
    let base = primes_up_to(limit.isqrt());
    sieve(2, limit, &base).collect()
}

/// A number within a segment, or a base prime, as an index.
fn index(number: u64) -> usize {
    usize::try_from(number).expect("segments and base primes are small")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(from: u64, limit: u64) -> (u64, Option<u64>) {
        let output = count_primes(from, limit, |_| ());
        (output.count, output.largest)
    }

    #[test]
    fn counts_are_those_of_the_tables() {
        assert_eq!(count(0, 100), (25, Some(97)));
        assert_eq!(count(0, 1_000_000), (78_498, Some(999_983)));
        assert_eq!(count(0, 10_000_000), (664_579, Some(9_999_991)));
    }

    #[test]
    fn a_range_counts_both_its_ends() {
        assert_eq!(count(7, 7), (1, Some(7)));
        assert_eq!(count(7, 11), (2, Some(11)));
        assert_eq!(count(8, 10), (0, None));
        assert_eq!(count(0, 1), (0, None));
    }

    #[test]
    fn a_range_far_out_needs_no_walk_to_it() {
        let limit = MAX_LIMIT;
        assert_eq!(count(limit - 100, limit), (4, Some(999_999_999_989)));
    }

    #[test]
    fn progress_ends_at_the_whole_range() {
        let mut done = Vec::new();
        count_primes(10, 1_000_000, |numbers| done.push(numbers));
        assert_eq!(done.last(), Some(&999_991));
        assert!(done.is_sorted());
        assert_eq!(percent(999_991, 999_991), 100);
        assert_eq!(percent(1, 1000), 0);
    }
}
