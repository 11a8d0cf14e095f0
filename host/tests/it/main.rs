//! The host's integration tests.

mod engine;
