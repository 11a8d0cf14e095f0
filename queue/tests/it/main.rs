//! The queue, on real stores.

mod bench;
mod conformance;
mod differential;
mod subscription;
