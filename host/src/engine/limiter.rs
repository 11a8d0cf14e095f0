//! Counts what a guest holds of memory and tables, and refuses more than it may have.
//!
//! Owns the sums over all memories and tables of one attempt, and remembers why growth was
//! refused, so that the trap that follows can be named. Does not know what the guest was doing.
//! Invariant: the sums never exceed the limits. Memories and tables only grow, and go all at
//! once with the store, so nothing is ever taken off.

use wasmtime::ResourceLimiter;

/// Who refused growth, last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The attempt's limit on memory.
    Memory,
    /// The attempt's limit on table elements.
    Tables,
    /// The operating system: pressure on this machine, not the guest's fault.
    Host,
}

/// The limiter of one attempt's store.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_limit: usize,
    memory: usize,
    table_limit: usize,
    tables: usize,
    refusal: Option<Refusal>,
}

impl Limiter {
    pub(crate) fn new(memory_bytes: usize, table_elements: usize) -> Self {
        Self { memory_limit: memory_bytes, memory: 0, table_limit: table_elements, tables: 0, refusal: None }
    }

    /// The most memory that the attempt held. Memories never shrink, so it is what it holds.
    pub(crate) fn peak_memory(&self) -> usize {
        self.memory
    }

    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// What both kinds of growth share: `held` afterwards, or `None` when it would be too much.
    fn grown(held: usize, current: usize, desired: usize, limit: usize) -> Option<usize> {
        held.checked_add(desired.saturating_sub(current)).filter(|sum| *sum <= limit)
    }

    /// Growth above what the component itself declared fails on its own, and is not the limit's
    /// doing.
    fn beyond_declared(desired: usize, maximum: Option<usize>) -> bool {
        maximum.is_some_and(|maximum| desired > maximum)
    }

    fn note_failure(&mut self, error: &wasmtime::Error) {
        if error.is::<rustix::io::Errno>() || error.is::<std::io::Error>() {
            self.refusal = Some(Refusal::Host);
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // The maximum comes second: for an unbounded memory it may be the pool's own, which is
        // never below the limit.
        match Self::grown(self.memory, current, desired, self.memory_limit) {
            None => {
                self.refusal = Some(Refusal::Memory);
                Ok(false)
            }
            Some(_) if Self::beyond_declared(desired, maximum) => Ok(false),
            Some(sum) => {
                self.memory = sum;
                Ok(true)
            }
        }
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.note_failure(&error);
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        match Self::grown(self.tables, current, desired, self.table_limit) {
            None => {
                self.refusal = Some(Refusal::Tables);
                Ok(false)
            }
            Some(_) if Self::beyond_declared(desired, maximum) => Ok(false),
            Some(sum) => {
                self.tables = sum;
                Ok(true)
            }
        }
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.note_failure(&error);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_summed() -> wasmtime::Result<()> {
        let mut limiter = Limiter::new(100, 10);
        assert!(limiter.memory_growing(0, 60, None)?);
        assert!(!limiter.memory_growing(0, 60, None)?);
        assert_eq!(limiter.refusal(), Some(Refusal::Memory));
        assert!(limiter.memory_growing(60, 100, None)?);
        assert_eq!(limiter.peak_memory(), 100);
        Ok(())
    }

    #[test]
    fn what_the_component_forbids_itself_is_not_the_limits_doing() -> wasmtime::Result<()> {
        let mut limiter = Limiter::new(100, 10);
        assert!(!limiter.memory_growing(10, 50, Some(40))?);
        assert_eq!(limiter.refusal(), None);
        assert_eq!(limiter.peak_memory(), 0);
        Ok(())
    }

    #[test]
    fn the_operating_systems_refusal_is_told_apart() -> wasmtime::Result<()> {
        let mut limiter = Limiter::new(100, 10);
        limiter.memory_grow_failed(rustix::io::Errno::NOMEM.into())?;
        assert_eq!(limiter.refusal(), Some(Refusal::Host));
        Ok(())
    }
}
