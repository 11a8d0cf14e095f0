//! How much memory guests may have in all, and how many of them that makes.
//!
//! Invariant: what the running guests may grow to, summed, never exceeds the budget.

use std::{fs, num::NonZeroU32, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const MIB: u64 = 1024 * 1024;

/// What a slot reserves, unless every plugin is smaller.
pub const SLOT_RESERVE: u64 = 128 * MIB;

/// The budget of one worker.
#[derive(Debug)]
pub struct MemoryBudget {
    reserve: u64,
    /// What is not reserved by slots, in MiB: larger plugins take the rest of theirs from here.
    spare: Arc<Semaphore>,
    spare_bytes: u64,
}

impl MemoryBudget {
    /// Divides `bytes` among `slots`, given the memory limits of the admitted plugins.
    pub fn new(bytes: u64, slots: NonZeroU32, limits: impl Iterator<Item = usize>) -> Self {
        let largest = limits.max().map_or(SLOT_RESERVE, |limit| limit as u64);
        let reserve = largest.min(SLOT_RESERVE);
        let spare_bytes = bytes.saturating_sub(reserve.saturating_mul(slots.get().into()));
        let permits = usize::try_from(spare_bytes / MIB).unwrap_or(usize::MAX);
        let spare = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self { reserve, spare, spare_bytes }
    }

    /// How many slots of this size fit in so many bytes, if not as many as were asked for. One slot
    /// is always allowed.
    pub fn too_many(&self, bytes: u64, slots: NonZeroU32) -> Option<u64> {
        let fit = (bytes / self.reserve.max(1)).max(1);
        (u64::from(slots.get()) > fit).then_some(fit)
    }

    /// Reserves what a plugin with this limit needs beyond its slot's share. None: not now.
    pub fn top_up(&self, limit: usize) -> Option<TopUp> {
        let missing = (limit as u64).saturating_sub(self.reserve).div_ceil(MIB);
        let missing = u32::try_from(missing).ok()?;
        let permit = Arc::clone(&self.spare).try_acquire_many_owned(missing).ok()?;
        Some(TopUp { _permit: permit })
    }

    /// What so many guests that run may grow to, with what they reserved beyond their slots.
    pub(super) fn reserved(&self, busy: usize) -> u64 {
        let spare = (self.spare_bytes / MIB).saturating_sub(self.spare.available_permits() as u64);
        (busy as u64).saturating_mul(self.reserve).saturating_add(spare * MIB)
    }

    /// Whether a plugin with this limit can ever run here.
    pub fn ever_fits(&self, limit: usize) -> bool {
        (limit as u64).saturating_sub(self.reserve) <= self.spare_bytes
    }
}

/// Memory reserved beyond a slot's share; given back when dropped.
pub struct TopUp {
    _permit: OwnedSemaphorePermit,
}

/// How many guests fit: 8 per core, but no more than `budget` holds.
pub fn default_slots(budget: u64) -> NonZeroU32 {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let slots = (8 * cores).min(budget / SLOT_RESERVE);
    u32::try_from(slots).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
}

/// 80 % of what this machine, or this container, has.
pub fn detect_budget() -> u64 {
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let read = |path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let limit = limits.into_iter().filter_map(read).min().unwrap_or(u64::MAX);
    limit.min(total_memory()) / 10 * 8
}

fn total_memory() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    // Where nothing can be read, a size that every machine has.
    kib.map_or(1024 * MIB, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: usize = 1024 * 1024;

    fn slots(count: u32) -> NonZeroU32 {
        NonZeroU32::new(count).unwrap()
    }

    #[test]
    fn a_plugin_larger_than_its_slot_takes_the_rest_from_what_is_spare() {
        let budget = MemoryBudget::new(1024 * MIB, slots(4), [64 * M, 512 * M].into_iter());
        assert!(budget.ever_fits(512 * M) && !budget.ever_fits(1024 * M));
        let first = budget.top_up(512 * M);
        assert!(first.is_some());
        assert!(budget.top_up(512 * M).is_none(), "384 of 512 spare MiB are taken");
        assert!(budget.top_up(128 * M).is_some(), "this needs nothing more");
        drop(first);
        assert!(budget.top_up(512 * M).is_some());
    }

    #[test]
    fn slots_shrink_when_every_plugin_is_small() {
        let budget = MemoryBudget::new(100 * MIB, slots(50), [2 * M].into_iter());
        assert!(budget.ever_fits(2 * M) && budget.top_up(2 * M).is_some());
    }

    #[test]
    fn slots_follow_the_budget() {
        assert_eq!(default_slots(0), slots(1));
        assert_eq!(default_slots(2 * SLOT_RESERVE), slots(2));
    }
}
