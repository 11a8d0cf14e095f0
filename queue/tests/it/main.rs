//! The queue, on real stores.

mod bench;
mod conformance;
mod differential;
mod effects;
mod keeping;
mod life;
mod limits;
mod model;
mod schedules;
mod subscription;
mod tls;
