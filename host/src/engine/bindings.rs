//! The types of `sentinel:job`, generated from the WIT.
//!
//! Owns nothing by hand. Invariant: what is here follows `wit/job.wit`.

#![allow(missing_docs, clippy::pedantic, unreachable_pub, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "sentinel:job/full-job",
    imports: {
        "sentinel:job/parents": async | trappable,
        "sentinel:job/state": async | trappable,
        "sentinel:job/outbox": async | trappable,
        "sentinel:job/checkpoint": async | trappable,
    },
    exports: { default: async },
});

/// A job, with all that jobs may import; what a component does not import it does not get.
pub use {FullJob as Job, FullJobPre as JobPre};
