//! Sentinel's queue: the task, its states, and the store that holds them.
//!
//! It knows no HTTP and no WebAssembly. Every transition is one Lua script (`scripts/`), which
//! runs in one of two homes: Redis ([`store::redis`]), or this process ([`store::embedded`]).

#![forbid(unsafe_code)]

pub mod actions;
pub mod audit;
pub mod calls;
pub mod duration;
pub mod effects;
pub mod keys;
pub mod kin;
pub mod lease;
pub mod list;
pub mod names;
pub mod payload;
pub mod queue;
pub mod request;
pub mod retry;
pub mod schedule;
pub mod schema;
pub mod series;
pub mod sessions;
pub mod settings;
pub mod state;
pub mod steer;
pub mod store;
pub mod sweeper;
pub mod task;
pub mod trace;

mod record;

pub use self::{
    keys::{ApiKey, Grant, KeyId, KeyInfo, Scope},
    names::{
        ConcurrencyKey, IdempotencyKey, JobName, Millis, Namespace, Priority, QueueName, ScheduleName, Tag,
        Tags, TaskId,
    },
    payload::Payload,
    queue::Queue,
    retry::Backoff,
    schedule::Schedule,
    settings::QueueSettings,
    state::{ErrorKind, Status},
    task::{NewTask, Policy, Spec, Task},
    trace::TraceContext,
};
