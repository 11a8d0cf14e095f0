//! What one attempt may use.
//!
//! Owns the limits' names, units and defaults, and how an operator's ceilings bound what a
//! plugin asks for. Does not enforce anything: the limiter, the epoch callback and the store's
//! settings do. Invariant: after [`Limits::bounded_by`] no field exceeds the ceiling's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The limits of one attempt. [`Limits::default`] is what a job gets that asks for nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// From the call of [`run`](super::Plugin::run) to the attempt's end, waiting included.
    pub wall: Duration,
    /// CPU time of the guest and of the host working for it; `None`: as long as `wall`.
    pub cpu: Option<Duration>,
    /// Linear memory, summed over all memories of the component.
    pub memory_bytes: usize,
    /// Table elements, summed over all tables of the component.
    pub table_elements: usize,
    /// The JSON text that the job returns.
    pub result_bytes: usize,
    /// What is kept of stdout and stderr together. More is dropped and counted, never an error.
    pub log_bytes: usize,
    /// What the guest may hand to the host in one call. Of random bytes it may ask for as many, up
    /// to 4 MiB, in one call.
    pub transfer_bytes: usize,
    /// Live resource handles: as many in the guest's tables, and as many in the host's.
    pub handles: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(30),
            cpu: None,
            memory_bytes: 128 * MIB,
            table_elements: 20_000,
            result_bytes: MIB,
            log_bytes: 64 * KIB,
            transfer_bytes: 16 * MIB,
            handles: 1_000,
        }
    }
}

impl Limits {
    /// The ceilings of an operator who sets none: what a manifest may ask for at most.
    pub fn default_ceilings() -> Self {
        Self {
            wall: Duration::from_hours(24),
            cpu: None,
            memory_bytes: 1024 * MIB,
            table_elements: 100_000,
            result_bytes: MIB,
            log_bytes: MIB,
            transfer_bytes: 64 * MIB,
            handles: 10_000,
        }
    }

    /// The CPU time that the attempt may use.
    pub fn cpu(&self) -> Duration {
        self.cpu.unwrap_or(self.wall).min(self.wall)
    }

    /// These limits, none of them above `ceilings`.
    #[must_use]
    pub fn bounded_by(&self, ceilings: &Self) -> Self {
        let cpu = match (self.cpu, ceilings.cpu) {
            (Some(asked), Some(ceiling)) => Some(asked.min(ceiling)),
            (asked, ceiling) => asked.or(ceiling),
        };
        Self {
            wall: self.wall.min(ceilings.wall),
            cpu,
            memory_bytes: self.memory_bytes.min(ceilings.memory_bytes),
            table_elements: self.table_elements.min(ceilings.table_elements),
            result_bytes: self.result_bytes.min(ceilings.result_bytes),
            log_bytes: self.log_bytes.min(ceilings.log_bytes),
            transfer_bytes: self.transfer_bytes.min(ceilings.transfer_bytes),
            handles: self.handles.min(ceilings.handles),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_exceeds_the_ceilings() {
        let asked = Limits { memory_bytes: usize::MAX, handles: 5, ..Limits::default() };
        let ceilings = Limits { wall: Duration::from_secs(1), ..Limits::default_ceilings() };
        let got = asked.bounded_by(&ceilings);
        assert_eq!(got.memory_bytes, ceilings.memory_bytes);
        assert_eq!(got.wall, Duration::from_secs(1));
        assert_eq!(got.handles, 5);
    }

    #[test]
    fn cpu_is_the_wall_unless_set_and_never_more() {
        let second = Duration::from_secs(1);
        assert_eq!(Limits { wall: second, ..Limits::default() }.cpu(), second);
        assert_eq!(Limits { wall: second, cpu: Some(2 * second), ..Limits::default() }.cpu(), second);
        assert_eq!(Limits { cpu: Some(second), ..Limits::default() }.cpu(), second);
    }

    #[test]
    fn a_ceiling_of_cpu_holds_for_a_plugin_that_asks_for_none() {
        let ceilings = Limits { cpu: Some(Duration::from_secs(2)), ..Limits::default_ceilings() };
        assert_eq!(Limits::default().bounded_by(&ceilings).cpu(), Duration::from_secs(2));
    }
}
