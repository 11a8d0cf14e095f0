//! What this process saw happen and the store has not been told of yet.
//!
//! Invariant: what is taken out under a number stays there, under that number, until the store has
//! answered for it, so that it is added once however often it is sent.

use std::collections::BTreeMap;

use super::{OTHER, numbers::Numbers};
use crate::names::Namespace;

/// Between two flushes so many pairs are told apart; the rest is counted as one per namespace.
const PAIRS: usize = 500;

/// A call tells of so many pairs at most: the store does nothing else meanwhile.
const CALL: usize = 50;

/// What one call tells.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) number: u64,
    /// By namespace, and queue and job.
    pub(super) sums: Vec<(Namespace, String, Numbers)>,
}

#[derive(Default)]
pub(super) struct Tally {
    sums: BTreeMap<Namespace, BTreeMap<String, Numbers>>,
    pairs: usize,
    number: u64,
    /// What is being told, a call at a time.
    taken: Vec<(Namespace, String, Numbers)>,
    unanswered: Option<Batch>,
}

impl Tally {
    /// The numbers of a pair, to be added to.
    pub(super) fn of(&mut self, namespace: &Namespace, queue: &str, job: &str) -> &mut Numbers {
        let pair = format!("{queue} {job}");
        let sums = self.sums.entry(namespace.clone()).or_default();
        let is_new = !sums.contains_key(&pair);
        let pair = if is_new && self.pairs >= PAIRS { format!("{OTHER} {OTHER}") } else { pair };
        self.pairs += usize::from(is_new);
        sums.entry(pair).or_default()
    }

    /// What is to be told next: what was not answered for, or some of what came since.
    pub(super) fn take(&mut self) -> Option<Batch> {
        if self.unanswered.is_none() {
            if self.taken.is_empty() {
                self.pairs = 0;
                let sums = std::mem::take(&mut self.sums).into_iter().flat_map(|(namespace, sums)| {
                    sums.into_iter().map(move |(pair, numbers)| (namespace.clone(), pair, numbers))
                });
                self.taken = sums.collect();
            }
            let count = self.taken.len().min(CALL);
            if count > 0 {
                self.number += 1;
                self.unanswered =
                    Some(Batch { number: self.number, sums: self.taken.drain(..count).collect() });
            }
        }
        self.unanswered.clone()
    }

    /// Whether something was told and the store has not answered for it.
    pub(super) fn is_unanswered(&self) -> bool {
        self.unanswered.is_some()
    }

    /// Whether something was taken out that has not been told.
    pub(super) fn has_more(&self) -> bool {
        !self.taken.is_empty()
    }

    /// The store has answered for this.
    pub(super) fn told(&mut self, number: u64) {
        if self.unanswered.as_ref().is_some_and(|batch| batch.number == number) {
            self.unanswered = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_answered_for_is_told_again_unchanged() {
        let (mut tally, namespace) = (Tally::default(), Namespace::default());
        assert!(tally.take().is_none());
        tally.of(&namespace, "q", "j").submitted += 1;
        let first = tally.take().unwrap();
        tally.of(&namespace, "q", "j").submitted += 5;
        let again = tally.take().unwrap();
        assert_eq!((first.number, &first.sums), (again.number, &again.sums));
        tally.told(first.number);
        let second = tally.take().unwrap();
        assert_eq!((second.number, second.sums[0].2.submitted), (2, 5));
        tally.told(first.number);
        assert!(tally.take().is_some(), "a late answer to the first says nothing of the second");
    }

    #[test]
    fn pairs_beyond_the_bound_are_counted_as_one() {
        let (mut tally, namespace) = (Tally::default(), Namespace::default());
        for job in 0..2 * PAIRS {
            tally.of(&namespace, "q", &format!("j{job}")).submitted += 1;
        }
        tally.of(&namespace, "q", "j0").submitted += 1;
        let mut sums = Vec::new();
        while let Some(batch) = tally.take() {
            assert!(batch.sums.len() <= CALL);
            tally.told(batch.number);
            sums.extend(batch.sums);
        }
        assert_eq!(sums.len(), PAIRS + 1);
        let of = |pair: &str| sums.iter().find(|(_, own, _)| own == pair).unwrap().2.submitted;
        assert_eq!((of("other other"), of("q j0")), (PAIRS as u64, 2));
    }
}
