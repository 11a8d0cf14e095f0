//! Redis's strings, hashes and sorted sets as rows of one ordered table.
//!
//! It owns the layout of the rows and what an operation does to them. It does not know how
//! commands are spelled, nor Lua, nor transactions: it is given an open table.
//!
//! Invariants: a key is of one kind; a hash or a sorted set keeps its length in its own row, and
//! is gone when that is 0; every member of a sorted set has one row by name and one by score.
//! Messages have no rows: they are handed out by whoever ends the transaction.
//!
//! | Row | Holds |
//! |---|---|
//! | `0`, key | kind, then the bytes of a string or the length of a collection |
//! | `1`, length of key, key, field | a value of a hash |
//! | `2`, length of key, key, member | a score |
//! | `3`, length of key, key, rank of the score, member | the same score, in the set's order |

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;
use redb::{AccessGuard, ReadableTable, StorageError, Table, TableDefinition};

use super::dump::{Dump, Value};

/// The one table.
pub(super) const ROWS: TableDefinition<&'static [u8], &'static [u8]> = TableDefinition::new("rows");

/// The rows as far as they can be read.
pub(super) trait Rows: ReadableTable<&'static [u8], &'static [u8]> {}

impl<T: ReadableTable<&'static [u8], &'static [u8]>> Rows for T {}

/// The rows within a write transaction.
pub(super) type Writable<'a> = Table<'a, &'static [u8], &'static [u8]>;

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// It must not be; the text is Redis's for this case.
    #[error("{0}")]
    Refused(String),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Trouble {
    pub(super) fn refused(text: impl Into<String>) -> Self {
        Self::Refused(text.into())
    }
}

/// The name or the value of a row.
type Guard<'a> = AccessGuard<'a, &'static [u8]>;

type Outcome<T> = Result<T, Trouble>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    String = 0,
    Hash = 1,
    Zset = 2,
}

impl Kind {
    fn of(row: &[u8]) -> Self {
        match row[0] {
            0 => Self::String,
            1 => Self::Hash,
            _ => Self::Zset,
        }
    }
}

const KEY: u8 = 0;
const FIELD: u8 = 1;
const SCORE: u8 = 2;
const ORDER: u8 = 3;

/// A keyspace over a table that is open for reading, or for writing too.
pub(super) struct Keyspace<T> {
    rows: T,
    changed: bool,
    marked: bool,
    said: Vec<Said>,
}

/// A message that is to be heard once the transaction is committed.
#[derive(Debug, PartialEq)]
pub(super) struct Said {
    pub(super) channel: Bytes,
    pub(super) message: Bytes,
}

impl<T: Rows> Keyspace<T> {
    pub(super) fn over(rows: T) -> Self {
        Self { rows, changed: false, marked: false, said: Vec::new() }
    }

    /// Whether any row was written.
    pub(super) fn changed(&self) -> bool {
        self.changed
    }

    /// Whether a marker was set where there was none.
    pub(super) fn marked(&self) -> bool {
        self.marked
    }

    pub(super) fn contains(&self, key: &[u8]) -> Outcome<bool> {
        Ok(self.rows.get(row(KEY, key).as_slice())?.is_some())
    }

    /// Part of a string: `span` is given its length.
    pub(super) fn string(
        &self,
        key: &[u8],
        span: impl FnOnce(usize) -> Range<usize>,
    ) -> Outcome<Option<Bytes>> {
        let Some(row) = self.row_of(key, Kind::String)? else { return Ok(None) };
        let bytes = &row.value()[1..];
        Ok(Some(Bytes::copy_from_slice(&bytes[span(bytes.len())])))
    }

    /// Whether a key is there and is not a string.
    pub(super) fn is_collection(&self, key: &[u8]) -> Outcome<bool> {
        let row = self.rows.get(row(KEY, key).as_slice())?;
        Ok(row.is_some_and(|row| Kind::of(row.value()) != Kind::String))
    }

    pub(super) fn hash_len(&self, key: &[u8]) -> Outcome<u64> {
        self.len(key, Kind::Hash)
    }

    /// The value of each field.
    pub(super) fn fields<F: AsRef<[u8]>>(&self, key: &[u8], fields: &[F]) -> Outcome<Vec<Option<Bytes>>> {
        if self.hash_len(key)? == 0 {
            return Ok(vec![None; fields.len()]);
        }
        let value = |field: &F| {
            Ok(self.rows.get(member_row(FIELD, key, field.as_ref()).as_slice())?.map(|row| bytes(&row)))
        };
        fields.iter().map(value).collect()
    }

    /// All fields and their values, by field.
    pub(super) fn all_fields(&self, key: &[u8]) -> Outcome<Vec<(Bytes, Bytes)>> {
        if self.hash_len(key)? == 0 {
            return Ok(Vec::new());
        }
        let prefix = prefix(FIELD, key);
        let rows = self.rows.range(prefix.as_slice()..after(&prefix).as_slice())?;
        rows.map(|row| {
            let (name, value) = row?;
            Ok((Bytes::copy_from_slice(&name.value()[prefix.len()..]), bytes(&value)))
        })
        .collect()
    }

    pub(super) fn zset_len(&self, key: &[u8]) -> Outcome<u64> {
        self.len(key, Kind::Zset)
    }

    /// The score of each member.
    pub(super) fn scores<M: AsRef<[u8]>>(&self, key: &[u8], members: &[M]) -> Outcome<Vec<Option<f64>>> {
        if self.zset_len(key)? == 0 {
            return Ok(vec![None; members.len()]);
        }
        let score = |member: &M| {
            Ok(self.rows.get(member_row(SCORE, key, member.as_ref()).as_slice())?.map(|row| score_in(&row)))
        };
        members.iter().map(score).collect()
    }

    /// Members whose scores rank within `ranks`, in the set's order or against it, with their
    /// scores; `places` counts from the first of them, and those before its start are walked over.
    pub(super) fn members(
        &self,
        key: &[u8],
        ranks: Range<u64>,
        order: Order,
        places: Range<usize>,
    ) -> Outcome<Vec<(Bytes, f64)>> {
        if self.zset_len(key)? == 0 || ranks.is_empty() || places.is_empty() {
            return Ok(Vec::new());
        }
        let (from, to) = (order_row(key, ranks.start, b""), order_row(key, ranks.end, b""));
        let rows = self.rows.range(from.as_slice()..to.as_slice())?;
        let member = |row: Result<(Guard<'_>, Guard<'_>), StorageError>| {
            let (place, score) = row?;
            Ok((Bytes::copy_from_slice(&place.value()[from.len()..]), score_in(&score)))
        };
        match order {
            Order::Up => rows.skip(places.start).take(places.len()).map(member).collect(),
            Order::Down => rows.rev().skip(places.start).take(places.len()).map(member).collect(),
        }
    }

    /// The first `limit` keys, in order, that begin with `prefix` and are not before `from`.
    pub(super) fn keys(&self, prefix: &[u8], from: &[u8], limit: usize) -> Outcome<Vec<Bytes>> {
        let first = row(KEY, prefix).max(row(KEY, from));
        let end = after(&row(KEY, prefix));
        if first >= end {
            return Ok(Vec::new());
        }
        let rows = self.rows.range(first.as_slice()..end.as_slice())?;
        rows.take(limit).map(|row| Ok(Bytes::copy_from_slice(&row?.0.value()[1..]))).collect()
    }

    /// The whole keyspace.
    pub(super) fn dump(&self) -> Outcome<Dump> {
        let mut dump = Dump::new();
        for row in self.rows.range([KEY].as_slice()..[KEY + 1].as_slice())? {
            let (name, value) = row?;
            let key = &name.value()[1..];
            let value = match Kind::of(value.value()) {
                Kind::String => Value::String(value.value()[1..].to_vec()),
                Kind::Hash => {
                    let fields = self.all_fields(key)?.into_iter();
                    Value::Hash(fields.map(|(field, value)| (field.into(), value.into())).collect())
                }
                Kind::Zset => {
                    let members = self.members(key, ALL_RANKS, Order::Up, ALL_PLACES)?.into_iter();
                    Value::Zset(
                        members.map(|(member, score)| (member.into(), score)).collect::<BTreeMap<_, _>>(),
                    )
                }
            };
            dump.insert(key.to_vec(), value);
        }
        Ok(dump)
    }

    fn row_of(&self, key: &[u8], kind: Kind) -> Outcome<Option<Guard<'_>>> {
        match self.rows.get(row(KEY, key).as_slice())? {
            Some(row) if Kind::of(row.value()) != kind => {
                Err(Trouble::refused("WRONGTYPE Operation against a key holding the wrong kind of value"))
            }
            row => Ok(row),
        }
    }

    fn len(&self, key: &[u8], kind: Kind) -> Outcome<u64> {
        let row = self.row_of(key, kind)?;
        Ok(row.map_or(0, |row| u64::from_be_bytes(eight(&row.value()[1..]))))
    }
}

impl Keyspace<Writable<'_>> {
    /// Says something on a channel.
    pub(super) fn say(&mut self, channel: &[u8], message: &[u8]) {
        let [channel, message] = [channel, message].map(Bytes::copy_from_slice);
        self.said.push(Said { channel, message });
    }

    /// What was said, in that order; it is not said again.
    pub(super) fn take_said(&mut self) -> Vec<Said> {
        std::mem::take(&mut self.said)
    }

    /// Makes a key this string, whatever it was.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Outcome<()> {
        if self.is_collection(key)? {
            self.delete(key)?;
        }
        self.put(&row(KEY, key), &[&[Kind::String as u8], value].concat())?;
        Ok(())
    }

    /// Removes a key with all it holds; `false` if it is not there.
    pub(super) fn delete(&mut self, key: &[u8]) -> Outcome<bool> {
        let Some(old) = self.rows.remove(row(KEY, key).as_slice())? else { return Ok(false) };
        let kind = Kind::of(old.value());
        drop(old);
        self.changed = true;
        let tags: &[u8] = match kind {
            Kind::String => &[],
            Kind::Hash => &[FIELD],
            Kind::Zset => &[SCORE, ORDER],
        };
        for &tag in tags {
            let prefix = prefix(tag, key);
            self.rows.retain_in(prefix.as_slice()..after(&prefix).as_slice(), |_, _| false)?;
        }
        Ok(true)
    }

    /// Sets fields of a hash; answers how many are new.
    pub(super) fn set_fields<'a>(
        &mut self,
        key: &[u8],
        pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Outcome<u64> {
        let len = self.hash_len(key)?;
        let mut added = 0;
        for (field, value) in pairs {
            added += u64::from(self.put(&member_row(FIELD, key, field), value)?.is_none());
        }
        self.resize(key, Kind::Hash, len, len + added)?;
        Ok(added)
    }

    /// Removes fields of a hash; answers how many there were.
    pub(super) fn remove_fields<F: AsRef<[u8]>>(&mut self, key: &[u8], fields: &[F]) -> Outcome<u64> {
        let len = self.hash_len(key)?;
        let mut removed = 0;
        for field in fields.iter().take_while(|_| len > 0) {
            removed += u64::from(self.take(&member_row(FIELD, key, field.as_ref()))?.is_some());
        }
        self.resize(key, Kind::Hash, len, len - removed)?;
        Ok(removed)
    }

    /// Gives members of a sorted set their scores; answers how many are new.
    pub(super) fn add_members<'a>(
        &mut self,
        key: &[u8],
        pairs: impl Iterator<Item = (f64, &'a [u8])>,
    ) -> Outcome<u64> {
        let len = self.zset_len(key)?;
        let mut added = 0;
        for (score, member) in pairs {
            // One zero is enough.
            let score = score + 0.0;
            let old =
                self.put(&member_row(SCORE, key, member), &score.to_be_bytes())?.map(|old| score_in(&old));
            match old {
                Some(old) if rank(old) == rank(score) => continue,
                Some(old) => drop(self.take(&order_row(key, rank(old), member))?),
                None => added += 1,
            }
            self.put(&order_row(key, rank(score), member), &score.to_be_bytes())?;
        }
        self.marked |= added > 0 && is_marker(key);
        self.resize(key, Kind::Zset, len, len + added)?;
        Ok(added)
    }

    /// Removes members of a sorted set; answers how many there were.
    pub(super) fn remove_members<M: AsRef<[u8]>>(&mut self, key: &[u8], members: &[M]) -> Outcome<u64> {
        let len = self.zset_len(key)?;
        let mut removed = 0;
        for member in members.iter().map(AsRef::as_ref).take_while(|_| len > 0) {
            let score = self.take(&member_row(SCORE, key, member))?.map(|score| score_in(&score));
            if let Some(score) = score {
                self.take(&order_row(key, rank(score), member))?;
                removed += 1;
            }
        }
        self.resize(key, Kind::Zset, len, len - removed)?;
        Ok(removed)
    }

    /// Removes the first members of a sorted set and answers them.
    pub(super) fn pop_members(&mut self, key: &[u8], count: usize) -> Outcome<Vec<(Bytes, f64)>> {
        let len = self.zset_len(key)?;
        let popped = self.members(key, ALL_RANKS, Order::Up, 0..count)?;
        for (member, score) in &popped {
            self.take(&member_row(SCORE, key, member))?;
            self.take(&order_row(key, rank(*score), member))?;
        }
        self.resize(key, Kind::Zset, len, len - popped.len() as u64)?;
        Ok(popped)
    }

    fn resize(&mut self, key: &[u8], kind: Kind, old: u64, new: u64) -> Outcome<()> {
        let row = row(KEY, key);
        if new == old {
            return Ok(());
        }
        if new == 0 {
            self.take(&row)?;
        } else {
            let mut value = [kind as u8; 9];
            value[1..].copy_from_slice(&new.to_be_bytes());
            self.put(&row, &value)?;
        }
        Ok(())
    }

    fn put(&mut self, row: &[u8], value: &[u8]) -> Outcome<Option<Guard<'_>>> {
        self.changed = true;
        Ok(self.rows.insert(row, value)?)
    }

    fn take(&mut self, row: &[u8]) -> Outcome<Option<Guard<'_>>> {
        let old = self.rows.remove(row)?;
        self.changed |= old.is_some();
        Ok(old)
    }
}

/// Which members of a sorted set come first: those of the lowest score and then of the lowest
/// name, or the last of these.
#[derive(Clone, Copy)]
pub(super) enum Order {
    Up,
    Down,
}

/// Every member's place.
pub(super) const ALL_PLACES: Range<usize> = 0..usize::MAX;

/// Every score's rank.
pub(super) const ALL_RANKS: Range<u64> = 0..u64::MAX;

/// Where a score stands among all: ranks compare as scores do, and there is none between the
/// ranks of neighbours.
pub(super) fn rank(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits(); // the two zeros are equal
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// Idle workers wait for members of such keys.
fn is_marker(key: &[u8]) -> bool {
    key.windows(4).any(|part| part == b"wake")
}

fn row(tag: u8, key: &[u8]) -> Vec<u8> {
    [&[tag], key].concat()
}

fn prefix(tag: u8, key: &[u8]) -> Vec<u8> {
    member_row(tag, key, b"")
}

fn member_row(tag: u8, key: &[u8], member: &[u8]) -> Vec<u8> {
    [&[tag], length(key).as_slice(), key, member].concat()
}

fn order_row(key: &[u8], rank: u64, member: &[u8]) -> Vec<u8> {
    [&[ORDER], length(key).as_slice(), key, &rank.to_be_bytes(), member].concat()
}

fn length(key: &[u8]) -> [u8; 4] {
    u32::try_from(key.len()).expect("a key is shorter than 4 GiB").to_be_bytes()
}

/// The first row behind all that begin with `prefix`, whose first byte is a tag.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut after = prefix.to_vec();
    while after.pop_if(|last| *last == u8::MAX).is_some() {}
    *after.last_mut().expect("no tag is 255") += 1;
    after
}

fn bytes(row: &Guard<'_>) -> Bytes {
    Bytes::copy_from_slice(row.value())
}

fn score_in(row: &Guard<'_>) -> f64 {
    f64::from_be_bytes(eight(row.value()))
}

fn eight(bytes: &[u8]) -> [u8; 8] {
    bytes.try_into().expect("rows of numbers have eight bytes")
}
