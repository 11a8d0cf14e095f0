//! The queue, on real stores.

mod actions;
mod bench;
mod conformance;
mod differential;
mod effects;
mod keeping;
mod keys;
mod kin;
mod life;
mod limits;
mod looking;
mod model;
mod schedules;
mod series;
mod sessions;
mod subscription;
mod tls;
