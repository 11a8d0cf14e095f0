//! Write a Sentinel job as a typed function.
//!
//! A job is a library crate of type `cdylib` that depends on `sentinel-job` and `serde`:
//!
//! ```
//! use sentinel_job::{Failure, Task, progress};
//!
//! #[derive(serde::Deserialize)]
//! struct Input {
//!     words: Vec<String>,
//! }
//!
//! #[derive(serde::Serialize)]
//! struct Output {
//!     longest: String,
//! }
//!
//! #[sentinel_job::job]
//! fn run(task: Task, input: Input) -> Result<Output, Failure> {
//!     progress::report(50, format!("attempt {}", task.attempt));
//!     let longest = input.words.into_iter().max_by_key(String::len);
//!     let longest = longest.ok_or_else(|| Failure::permanent("`words` is empty"))?;
//!     Ok(Output { longest })
//! }
//! ```
//!
//! `cargo build --release --target wasm32-wasip2` makes the plugin. Its file name in the plugins
//! directory, without `.wasm`, is the job's name. (Cargo writes `my_job.wasm` for a crate `my-job`.)
//!
//! # What the function may look like
//!
//! - Its parameters are `(input: I)`, `(task: Task, input: I)` or `(task: &Task, input: I)`, where
//!   `I` is [`DeserializeOwned`](serde::de::DeserializeOwned).
//! - It returns `Result<O, E>` where `E: Into<Failure>`, or plainly `O`; `O` is
//!   [`Serialize`](serde::Serialize) and becomes the task's result.
//!
//! `I` is the task's payload without the top-level `job`, so `deny_unknown_fields` works. A payload
//! that does not fit fails the task for good, naming the field.
//!
//! # What it says of itself
//!
//! The first paragraph of the function's documentation is the job's summary. If its input and output
//! derive [`JsonSchema`](schemars::JsonSchema) (with `#[schemars(crate = "sentinel_job::schemars")]`),
//! their schemas are published, and a payload that does not fit is refused when it is submitted.
//!
//! # How a job fails
//!
//! `?` on any [`std::error::Error`] asks for another attempt; [`Failure`] says it more precisely.
//! A panic ends the attempt as `trap` and is retried too.
//!
//! The function may run more than once: a worker can die, and an attempt can be retried. Use
//! [`Task::id`], which all attempts share, as the idempotency key of what it does to the world.
//!
//! # Testing
//!
//! The attribute leaves the function as it is. A native `cargo test` can call it like any other;
//! only on a WebAssembly target is it exported as a plugin's entry point.

pub mod checkpoint;
mod entry;
mod failure;
pub mod outbox;
pub mod parents;
mod payload;
pub mod progress;
pub mod state;
mod task;

pub use failure::Failure;
pub use schemars;
pub use sentinel_job_macros::job;
pub use task::Task;

/// What the expansion of [`job`] needs, and nobody else.
#[doc(hidden)]
pub mod __private {
    #[cfg(target_family = "wasm")]
    pub use crate::bindings;
    #[cfg(target_family = "wasm")]
    pub use crate::bindings::__sentinel_job_export as export;
    pub use crate::entry::*;
}

/// The world `described-full-job` of `wit/job.wit`: a component imports what of it is used. The export macro is public so that the crates of jobs need
/// neither wit-bindgen nor the WIT.
#[cfg(target_family = "wasm")]
#[doc(hidden)]
#[allow(missing_docs, clippy::pedantic, reason = "generated")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "sentinel:job/described-full-job",
        pub_export_macro: true,
        export_macro_name: "__sentinel_job_export",
        default_bindings_module: "::sentinel_job::__private::bindings",
    });
}
