//! The report of a run, for people and for programs.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::{
    check::{Rule, Tally, Violation},
    history::Event,
    recovery::Recovery,
};

/// So many violations are shown, each with what happened to its task.
const SHOWN: usize = 20;

/// What happened, and what was found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) minutes: f64,
    pub(crate) lease_ms: u64,
    /// How often each kind of fault was done.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    #[serde(rename = "tasks")]
    pub(crate) tally: Tally,
    pub(crate) recovery: Recovery,
    /// How long it took, after the last fault, until everything had ended.
    pub(crate) drain_ms: u64,
    /// What never happened, or this machine does not allow.
    pub(crate) not_exercised: Vec<String>,
    pub(crate) violations: Vec<Violation>,
    /// The history, to show of it what belongs to a violation.
    #[serde(skip)]
    pub(crate) events: Vec<Event>,
    pub(crate) replay: String,
}

impl Report {
    /// Whether a rule was broken.
    pub(crate) fn is_bad(&self) -> bool {
        !self.violations.is_empty()
    }

    fn show_violations(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut by_rule: BTreeMap<Rule, u64> = BTreeMap::new();
        for violation in &self.violations {
            *by_rule.entry(violation.rule).or_default() += 1;
        }
        write!(f, "\n{} VIOLATIONS:", self.violations.len())?;
        for (rule, count) in by_rule {
            write!(f, " {rule} {count}")?;
        }
        writeln!(f)?;
        for Violation { rule, id, mark, what } in self.violations.iter().take(SHOWN) {
            let names: Vec<_> = mark.iter().chain(id).map(String::as_str).collect();
            writeln!(f, "\n{rule} {}: {what}", names.join(" "))?;
            let about = |event: &&Event| event.what.is_about(id.as_deref(), mark.as_deref());
            for event in self.events.iter().filter(about).take(SHOWN) {
                writeln!(f, "    {}", serde_json::to_string(event).unwrap_or_default())?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, minutes, lease_ms, tally, recovery, drain_ms, .. } = self;
        writeln!(f, "seed {seed}, {minutes} minutes, leases of {lease_ms} ms\n")?;
        writeln!(f, "faults: {}", self.faults.values().sum::<u64>())?;
        for (fault, count) in &self.faults {
            writeln!(f, "  {count:>5}  {fault}")?;
        }
        writeln!(f, "tasks: {} submitted, {} acknowledged", tally.submitted, tally.acknowledged)?;
        writeln!(
            f,
            "         {} of unknown fate ({} were accepted), {} never sent",
            tally.unknown, tally.unknown_accepted, tally.not_sent
        )?;
        for (status, count) in &tally.ended {
            writeln!(f, "  {count:>5}  {status}")?;
        }
        writeln!(
            f,
            "         {} submits found their task there, {} tasks were cancelled by request, {} redrives, {} tasks lost a lease",
            tally.deduplicated, tally.cancelled_by_request, tally.redriven, tally.ran_again
        )?;
        writeln!(
            f,
            "lost {}, doubled {}, stuck {}, convicted {}",
            tally.lost, tally.doubled, tally.stuck, tally.convicted
        )?;
        writeln!(f, "after a worker was killed its tasks ran again: {}", recovery.ran_again)?;
        writeln!(f, "  while Redis was there: {}", recovery.ran_again_while_redis_was_there)?;
        writeln!(
            f,
            "after Redis was started again, and had loaded, an attempt ended: {}",
            recovery.first_end_after_redis_was_back
        )?;
        writeln!(f, "after the last fault everything ended within {drain_ms} ms")?;
        if !self.not_exercised.is_empty() {
            writeln!(f, "not exercised: {}", self.not_exercised.join(", "))?;
        }
        if self.is_bad() { self.show_violations(f) } else { writeln!(f, "no rule was broken") }
    }
}
