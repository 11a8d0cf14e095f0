//! Sentinel's queue: the task, its states, and the store that holds them.
//!
//! It knows no HTTP and no WebAssembly. Every transition is one Lua script (`scripts/`), which
//! runs in one of two homes: Redis ([`store::redis`]), or this process ([`store::embedded`]).

#![forbid(unsafe_code)]

pub mod duration;
pub mod lease;
pub mod names;
pub mod payload;
pub mod queue;
pub mod retry;
pub mod state;
pub mod store;
pub mod sweeper;
pub mod task;

mod record;

pub use self::{
    names::{JobName, Millis, Namespace, Priority, QueueName, TaskId},
    payload::Payload,
    queue::Queue,
    retry::Backoff,
    state::{ErrorKind, Status},
    task::{NewTask, Policy, Task},
};
