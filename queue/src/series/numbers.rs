//! Numbers of one queue and job as bytes: written and read here and in `scripts/lib/numbers.lua`,
//! nowhere else.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use bytes::Bytes;

use super::{Histogram, PairPoint};
use crate::{state::ErrorKind, store::StoreError};

const VERSION: &str = "1";

/// Scripts count in doubles: up to this they are exact.
const LARGEST: u64 = 1 << 53;

/// What happened to the tasks of one job in one queue; how much of each is in the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) submitted: u64,
    pub(super) completed: u64,
    pub(super) cancelled: u64,
    pub(super) failed: BTreeMap<ErrorKind, u64>,
    pub(super) retried: BTreeMap<ErrorKind, u64>,
    pub(super) cpu_us: u64,
    pub(super) peak_memory_bytes: u64,
    pub(super) wait: Histogram,
    pub(super) run: Histogram,
    pub(super) end_to_end: Histogram,
}

impl Numbers {
    /// Reads a record. Names of a newer version are passed over.
    pub(super) fn read(record: &[u8]) -> Result<Self, StoreError> {
        let broken =
            || StoreError::Broken("numbers in the store cannot be read: upgrade this program".into());
        let text = std::str::from_utf8(record).map_err(|_| broken())?;
        let mut numbers = Self::default();
        let mut words = text.split(' ');
        if words.next() != Some(VERSION) {
            return Err(broken());
        }
        for word in words {
            let (name, value) = word.split_once('=').ok_or_else(broken)?;
            numbers.take_in(name, value.parse().map_err(|_| broken())?);
        }
        Ok(numbers)
    }

    fn take_in(&mut self, name: &str, value: u64) {
        match name {
            "s" => self.submitted += value,
            "c" => self.completed += value,
            "x" => self.cancelled += value,
            "u" => self.cpu_us += value,
            "p" => self.peak_memory_bytes = self.peak_memory_bytes.max(value),
            _ => {
                if let Some(kind) = name.strip_prefix("f:") {
                    add_kind(&mut self.failed, kind, value);
                } else if let Some(kind) = name.strip_prefix("r:") {
                    add_kind(&mut self.retried, kind, value);
                } else if let Some(bound) = name.strip_prefix('w') {
                    fill(&mut self.wait, bound, value);
                } else if let Some(bound) = name.strip_prefix('a') {
                    fill(&mut self.run, bound, value);
                } else if let Some(bound) = name.strip_prefix('e') {
                    fill(&mut self.end_to_end, bound, value);
                }
            }
        }
    }

    /// Writes a record.
    pub(super) fn write(&self) -> Bytes {
        let mut text = VERSION.to_owned();
        let plain = [
            ("s", self.submitted),
            ("c", self.completed),
            ("x", self.cancelled),
            ("u", self.cpu_us),
            ("p", self.peak_memory_bytes),
        ];
        for (name, value) in plain {
            push(&mut text, name, value);
        }
        for (letter, kinds) in [("f", &self.failed), ("r", &self.retried)] {
            for (kind, count) in kinds {
                push(&mut text, &format!("{letter}:{kind}"), *count);
            }
        }
        for (letter, times) in [("w", &self.wait), ("a", &self.run), ("e", &self.end_to_end)] {
            for (bound, count) in times.filled() {
                let bound = bound.map_or_else(|| "+".to_owned(), |bound| bound.to_string());
                push(&mut text, &format!("{letter}{bound}"), count);
            }
            push(&mut text, &format!("{letter}s"), times.sum_us());
        }
        text.into()
    }

    /// The same, for whoever looks at it.
    pub(super) fn of_pair(self, pair: &str) -> Result<PairPoint, StoreError> {
        let (queue, job) =
            pair.split_once(' ').ok_or_else(|| StoreError::Broken(format!("numbers of {pair:?}")))?;
        Ok(PairPoint {
            queue: queue.to_owned(),
            job: job.to_owned(),
            submitted: self.submitted,
            completed: self.completed,
            cancelled: self.cancelled,
            failed: self.failed,
            retried: self.retried,
            cpu_ms: self.cpu_us / 1000,
            peak_memory_bytes: self.peak_memory_bytes,
            wait: self.wait,
            run: self.run,
            end_to_end: self.end_to_end,
        })
    }
}

fn push(text: &mut String, name: &str, value: u64) {
    if value > 0 {
        write!(text, " {name}={}", value.min(LARGEST)).expect("a string takes all");
    }
}

fn add_kind(kinds: &mut BTreeMap<ErrorKind, u64>, kind: &str, count: u64) {
    // One of a newer version has no place here.
    if let Ok(kind) = kind.parse() {
        *kinds.entry(kind).or_default() += count;
    }
}

fn fill(times: &mut Histogram, bound: &str, count: u64) {
    match bound {
        "s" => times.add_sum_us(count),
        "+" => times.fill(None, count),
        bound => {
            if let Ok(bound) = bound.parse() {
                times.fill(Some(bound), count);
            }
        }
    }
}

/// The time between two, none if the clock stepped back.
pub(super) fn between(from: u64, to: u64) -> Duration {
    Duration::from_millis(to.saturating_sub(from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::BOUNDS_US;

    fn some() -> Numbers {
        let mut numbers = Numbers {
            submitted: 7,
            completed: 3,
            cancelled: 1,
            failed: [(ErrorKind::Trap, 2), (ErrorKind::WorkerLost, 1)].into(),
            retried: [(ErrorKind::Timeout, 4)].into(),
            cpu_us: 1234,
            peak_memory_bytes: 5 << 20,
            ..Numbers::default()
        };
        for millis in [0, 1, 3, 1_000, 10_000_000] {
            numbers.wait.observe(Duration::from_millis(millis));
            numbers.end_to_end.observe(Duration::from_millis(2 * millis));
        }
        numbers.run.observe(Duration::from_micros(70));
        numbers
    }

    #[test]
    fn numbers_are_read_as_they_were_written() {
        for numbers in [Numbers::default(), some()] {
            assert_eq!(Numbers::read(&numbers.write()).unwrap(), numbers);
        }
    }

    #[test]
    fn what_is_not_there_takes_no_room() {
        let numbers = Numbers { submitted: 1, ..Numbers::default() };
        assert_eq!(numbers.write(), "1 s=1");
        let numbers = Numbers { failed: [(ErrorKind::MemoryLimit, 1)].into(), ..Numbers::default() };
        assert_eq!(numbers.write(), "1 f:memory_limit=1");
    }

    #[test]
    fn words_of_a_newer_version_are_passed_over_and_another_version_is_refused() {
        let read = Numbers::read(b"1 s=2 z=9 f:of_tomorrow=1 w777=1").unwrap();
        assert_eq!((read.submitted, read.failed.len(), read.wait.count()), (2, 0, 1));
        for bad in ["", "2 s=1", "1 s", "1 s=x", "1 s=-1"] {
            assert!(Numbers::read(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn scripts_know_the_same_bounds() {
        let script = include_str!("../scripts/lib/numbers.lua");
        let (_, after) = script.split_once("for each in string.gmatch(").unwrap();
        let (list, _) = after.split_once("'%d+'").unwrap();
        let words = list.split(|c: char| !c.is_ascii_digit());
        let bounds: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
        assert_eq!(bounds, BOUNDS_US);
    }
}
