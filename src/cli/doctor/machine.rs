//! This machine, for so many slots: mappings, descriptors, memory.

use std::{fs, num::NonZeroU32};

use indicatif::BinaryBytes;
use rustix::process::{Resource, getrlimit};
use sentinel_host::{
    engine::check_map_count,
    size,
    worker::{MemoryBudget, SLOT_RESERVE},
};

use crate::{cli::finding::Finding, config::Config};

/// What each slot may have open: its HTTP connections and files of its scratch directory.
const PER_SLOT: u64 = 16 + 64;

/// What servers have open besides: as many clients as an API takes, the store, files of their own.
const BESIDES: u64 = 4096 + 256;

/// Looks at it; the memory limits are those of the plugins.
pub(super) fn look(config: &Config, memory_limits: &[usize]) -> Vec<Finding> {
    let (slots, budget) = (config.worker.slots, config.worker.memory_bytes);
    vec![
        mappings(slots),
        descriptors(slots, getrlimit(Resource::Nofile).maximum),
        memory(slots, budget, memory_limits),
        swap(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
    ]
}

fn mappings(slots: NonZeroU32) -> Finding {
    match check_map_count(slots) {
        Ok(()) => Finding::ok("mappings", format!("vm.max_map_count is enough for {slots} slots")),
        Err(error) => {
            let fix = "raise vm.max_map_count as it says, also in /etc/sysctl.d, or lower concurrency";
            Finding::failed("mappings", error.to_string(), fix)
        }
    }
}

/// Servers raise what they have to the most that they may have, which counts.
fn descriptors(slots: NonZeroU32, most: Option<u64>) -> Finding {
    let wanted = BESIDES + PER_SLOT * u64::from(slots.get());
    match most {
        Some(most) if most < wanted => Finding::warning(
            "descriptors",
            format!("{most} for a process, and {wanted} may be wanted for {slots} slots and their clients"),
            format!("raise the hard limit (`ulimit -Hn`, LimitNOFILE=) to {wanted} at least"),
        ),
        Some(most) => Finding::ok("descriptors", format!("{most} for a process")),
        None => Finding::ok("descriptors", "without a limit"),
    }
}

/// Whether the slots fit, and each plugin beside them.
fn memory(slots: NonZeroU32, budget: u64, limits: &[usize]) -> Finding {
    let memory = MemoryBudget::new(budget, slots, limits.iter().copied());
    if let Some(fit) = memory.too_many(budget, slots) {
        return Finding::failed(
            "concurrency",
            format!(
                "{slots} guests do not fit in the {} that this machine has for them",
                BinaryBytes(budget)
            ),
            format!("give concurrency = {fit} at most, or more memory"),
        );
    }
    let largest = limits.iter().copied().max().unwrap_or(0);
    if !memory.ever_fits(largest) {
        return Finding::failed(
            "concurrency",
            format!(
                "with {slots} slots, a plugin that may have {} finds no room in {}",
                BinaryBytes(largest as u64),
                BinaryBytes(budget)
            ),
            "lower concurrency or the plugin's memory, or give the machine more",
        );
    }
    // As the budget reserves it, also while there is no plugin.
    let reserve = limits.iter().max().map_or(SLOT_RESERVE, |most| SLOT_RESERVE.min(*most as u64));
    Finding::ok(
        "concurrency",
        format!("{slots} slots of {} in {} for guests", size::format(reserve), BinaryBytes(budget)),
    )
}

fn swap(meminfo: &str) -> Finding {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("SwapTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    match kib {
        Some(0) => Finding::ok("swap", "there is none"),
        Some(kib) => Finding::warning(
            "swap",
            format!(
                "there are {} of it: short of memory, attempts become slow instead of ending",
                size::format(kib << 10)
            ),
            "swapoff -a on machines that only run workers (in a container: memory.swap.max=0)",
        ),
        None => Finding::ok("swap", "this system does not say"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::finding::Verdict;

    const M: usize = 1 << 20;

    fn slots(count: u32) -> NonZeroU32 {
        NonZeroU32::new(count).unwrap()
    }

    #[test]
    fn slots_that_do_not_fit_are_told_with_how_many_do() {
        let found = memory(slots(10), 512 << 20, &[128 * M]);
        assert_eq!(found.verdict, Verdict::Failed);
        assert_eq!(found.fix.unwrap(), "give concurrency = 4 at most, or more memory");
        assert_eq!(memory(slots(4), 512 << 20, &[128 * M]).verdict, Verdict::Ok);
        assert_eq!(memory(slots(4), 512 << 20, &[256 * M]).verdict, Verdict::Failed, "no room is spare");
        assert_eq!(memory(slots(2), 512 << 20, &[256 * M]).verdict, Verdict::Ok);
        assert_eq!(memory(slots(1), 512 << 20, &[]).verdict, Verdict::Ok);
    }

    #[test]
    fn what_the_machine_allows_is_judged_by_the_slots() {
        assert_eq!(descriptors(slots(1), Some(256)).verdict, Verdict::Warning);
        assert_eq!(descriptors(slots(1), Some(BESIDES + PER_SLOT)).verdict, Verdict::Ok);
        assert_eq!(descriptors(slots(1), None).verdict, Verdict::Ok);
        assert_eq!(mappings(slots(1)).verdict, Verdict::Ok);
        assert_eq!(mappings(NonZeroU32::MAX).verdict, Verdict::Failed);
        assert_eq!(swap("MemTotal: 1 kB\nSwapTotal:       0 kB").verdict, Verdict::Ok);
        assert_eq!(swap("SwapTotal:       1024 kB").verdict, Verdict::Warning);
    }
}
