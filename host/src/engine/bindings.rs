//! The types of `sentinel:job`, generated from the WIT.
//!
//! Owns nothing by hand. Invariant: what is here follows `wit/job.wit`.

#![allow(missing_docs, clippy::pedantic, unreachable_pub, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "sentinel:job/job",
    exports: { default: async },
});
