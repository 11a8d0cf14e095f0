//! The queue, on real stores.

mod bench;
mod conformance;
mod differential;
mod keeping;
mod life;
mod limits;
mod schedules;
mod subscription;
