//! (being written)
use super::{Answer, Durability, Reply, Script, Store};
use bytes::Bytes;
use std::time::Duration;
/// Stub.
pub struct Embedded;
impl Embedded {
    /// Stub.
    pub fn in_memory() -> Self {
        Self
    }
}
impl Store for Embedded {
    fn run<'a>(&'a self, _: Script, _: Vec<Bytes>) -> Answer<'a, Reply> {
        unreachable!()
    }
    fn take_marker<'a>(&'a self, _: Vec<Bytes>, _: Duration) -> Answer<'a, bool> {
        unreachable!()
    }
    fn check<'a>(&'a self) -> Answer<'a, Durability> {
        unreachable!()
    }
}
