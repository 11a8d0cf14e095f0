//! The types of `sentinel:job`, generated from the WIT.
//!
//! Owns nothing by hand. Invariant: what is here follows `wit/job.wit`.

#![allow(missing_docs, clippy::pedantic, unreachable_pub, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "sentinel:job/dependent-job",
    imports: { "sentinel:job/parents": async | trappable },
    exports: { default: async },
});

/// A job, with all that jobs may import; what a component does not import it does not get.
pub use {DependentJob as Job, DependentJobPre as JobPre};
