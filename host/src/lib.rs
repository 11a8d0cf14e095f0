//! Sentinel's worker: runs queued tasks as sandboxed WebAssembly components.
//!
//! [`engine`] runs one component under limits and knows no queue. [`worker`] claims, runs and
//! settles, and is the only place where the engine and the queue meet. [`apart`] is the process that a
//! worker starts for an attempt that may kill it. [`guests`] is the runtime that all of them run on.

pub mod apart;
pub mod engine;
pub mod guests;
mod pipe;
pub mod size;
pub mod worker;
