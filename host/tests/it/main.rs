//! The host's integration tests.

mod engine;
mod worker;
