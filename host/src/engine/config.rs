//! wasmtime's settings, each with its reason.
//!
//! Owns the one function that makes a [`wasmtime::Config`]: for the worker, for the process
//! that compiles, and for a job run from the command line. Does not know plugins. Invariant:
//! whatever the [`Allocation`], the settings that shape compiled code are the same, so that one
//! process can load what another compiled.

use std::{fs, num::NonZeroU32};

use serde::{Deserialize, Serialize};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy};

use super::limits::Limits;

/// The default size of the stack that wasm may use.
pub const WASM_STACK_BYTES: usize = 512 << 10;

/// What the host's own functions may use of an attempt's stack, on top of what wasm may.
const HOST_STACK_BYTES: usize = 1536 << 10;

const WASM_PAGE: usize = 64 << 10;

/// Of how many parts one instance of a component may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// Instances of core modules: a toolchain's adapters and shims are some, and Python's component
    /// has one per library and extension.
    pub core_instances: u32,
    /// Memories. Rust, Go and JavaScript have one, composed components one each.
    pub memories: u32,
    /// Tables. Python's component has one per library that it links.
    pub tables: u32,
}

impl Default for Parts {
    fn default() -> Self {
        Self { core_instances: 256, memories: 8, tables: 32 }
    }
}

/// Each memory takes 4 GiB of addresses and its guard, and a process has 128 TiB. More memories
/// than this are reserved only for more slots than this.
const MEMORIES_IN_POOL: u32 = 16_384;

/// What is cleared by hand of a table that was used.
const TABLE_KEPT_BYTES: usize = 16 << 10;

/// Memory mappings that a busy slot may take: two of its stack, and what growth splits of its
/// memories.
const MAPPINGS_PER_SLOT: u64 = 6;

/// Where instances live.
#[derive(Clone, Copy, Debug)]
pub enum Allocation<'a> {
    /// In a pool reserved in advance.
    Pool {
        /// How many attempts run at once.
        slots: NonZeroU32,
        /// What one attempt can have at most.
        ceilings: &'a Limits,
        /// Of what it can be made.
        parts: Parts,
    },
    /// Nowhere yet: for a process that compiles, whose address space is limited.
    OnDemand,
}

/// The settings of an engine.
pub fn config(allocation: Allocation<'_>, wasm_stack_bytes: usize) -> Config {
    let mut config = Config::new();
    config
        // The optimising compiler: plugins are compiled once and run often.
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .parallel_compilation(true)
        .wasm_component_model(true)
        // Deadlines, cancels and fair turns, for guests that never call the host.
        .epoch_interruption(true)
        // The guest's stack is the operator's alone; the host's functions run above it.
        .max_wasm_stack(wasm_stack_bytes)
        .async_stack_size(wasm_stack_bytes.saturating_add(HOST_STACK_BYTES))
        // A shared memory escapes the limiter. Threads themselves are not compiled into wasmtime
        // (its feature `threads` is off, and with it the switch for them).
        .shared_memory(false)
        // Would need bounds checks in code, and memories that no limit allows anyway.
        .wasm_memory64(false)
        // A fresh instance maps the component's data instead of copying it.
        .memory_init_cow(true)
        // Names for the guest's stack, from the name section alone: the debug information of an
        // untrusted file is not parsed, whatever the environment says.
        .wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Disable)
        // Only native debuggers read it.
        .native_unwind_info(false);
    if let Allocation::Pool { slots, ceilings, parts } = allocation {
        let pool = pool(slots.get(), ceilings, parts);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

/// A pool in which `slots` attempts find room, whatever they are made of, and then some: an
/// attempt that is refused here is released by its worker, which costs a round trip.
fn pool(slots: u32, ceilings: &Limits, parts: Parts) -> PoolingAllocationConfig {
    let some_more = slots.saturating_mul(2).max(8);
    let memories = slots.saturating_mul(4).min(MEMORIES_IN_POOL.max(slots)).max(parts.memories);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(some_more)
        .total_stacks(some_more)
        .total_core_instances(slots.saturating_mul(parts.core_instances))
        .max_core_instances_per_component(parts.core_instances)
        .total_memories(memories)
        .max_memories_per_component(parts.memories)
        .max_memories_per_module(parts.memories)
        .max_memory_size(ceilings.memory_bytes.next_multiple_of(WASM_PAGE))
        .total_tables(slots.saturating_mul(parts.tables))
        .max_tables_per_component(parts.tables)
        .max_tables_per_module(parts.tables)
        .table_elements(ceilings.table_elements)
        // Bookkeeping of instances, taken from the heap as needed: large interpreters need some.
        .max_component_instance_size(8 << 20)
        .max_core_instance_size(4 << 20)
        // A table of a few hundred elements is cleared by hand in less time than the kernel takes
        // to give its page back, and without interrupting the other threads.
        .table_keep_resident(TABLE_KEPT_BYTES)
        // Resets memories faster, but may miss pages that were swapped out (wasmtime 14357),
        // which would show one task's data to another.
        .pagemap_scan(Enabled::No);
    pool
}

/// The machine cannot hold so many attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{slots} slots can take {needed} memory mappings, and vm.max_map_count allows {allowed}: \
     run `sysctl -w vm.max_map_count={needed}`, or lower the concurrency"
)]
pub struct TooFewMappings {
    slots: NonZeroU32,
    needed: u64,
    allowed: u64,
}

/// Checks that the kernel allows the mappings that `slots` attempts can take. A system that does
/// not say passes.
pub fn check_map_count(slots: NonZeroU32) -> Result<(), TooFewMappings> {
    let said = fs::read_to_string("/proc/sys/vm/max_map_count").ok();
    match said.and_then(|text| text.trim().parse().ok()) {
        Some(allowed) => check_mappings(slots, allowed),
        None => Ok(()),
    }
}

fn check_mappings(slots: NonZeroU32, allowed: u64) -> Result<(), TooFewMappings> {
    let needed = u64::from(slots.get()) * MAPPINGS_PER_SLOT;
    if needed > allowed { Err(TooFewMappings { slots, needed, allowed }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash, Hasher};

    use super::*;

    fn compatibility(allocation: Allocation<'_>, stack: usize) -> wasmtime::Result<u64> {
        let engine = wasmtime::Engine::new(&config(allocation, stack))?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(hasher.finish())
    }

    #[test]
    fn what_one_process_compiles_every_other_can_load() -> wasmtime::Result<()> {
        let small = Limits::default();
        let large = Limits::default_ceilings();
        let few = Allocation::Pool { slots: NonZeroU32::MIN, ceilings: &small, parts: Parts::default() };
        let many = Allocation::Pool {
            slots: NonZeroU32::MIN.saturating_add(99),
            ceilings: &large,
            parts: Parts { core_instances: 1000, memories: 9, tables: 33 },
        };
        let worker = compatibility(many, WASM_STACK_BYTES)?;
        assert_eq!(worker, compatibility(few, WASM_STACK_BYTES)?);
        assert_eq!(worker, compatibility(Allocation::OnDemand, WASM_STACK_BYTES)?);
        assert_eq!(worker, compatibility(Allocation::OnDemand, 2 * WASM_STACK_BYTES)?);
        Ok(())
    }

    #[test]
    fn too_many_slots_are_refused_with_the_setting_to_change() {
        let slots = NonZeroU32::MIN.saturating_add(99);
        assert_eq!(check_mappings(slots, 600), Ok(()));
        let Err(error) = check_mappings(slots, 599) else { panic!("passed") };
        assert!(error.to_string().contains("sysctl -w vm.max_map_count=600"), "{error}");
    }
}
