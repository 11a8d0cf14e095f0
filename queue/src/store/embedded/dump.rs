//! A keyspace written out, so that a test can compare that of one home with that of the other.

use std::collections::BTreeMap;

/// All keys and what they hold, in an order that does not depend on how they came about.
pub type Dump = BTreeMap<Vec<u8>, Value>;

/// What a key holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Bytes.
    String(Vec<u8>),
    /// Values by field.
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    /// Scores by member.
    Zset(BTreeMap<Vec<u8>, f64>),
}
