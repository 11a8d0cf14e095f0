//! What an attempt does through Sentinel: state that it reads and changes, tasks that it submits.
//!
//! Owns the buffer in which effects wait for the attempt's end, and its limits. Does not commit
//! anything: who runs the engine does, with the report. Invariant: what is in the buffer was within
//! the limits, and an attempt sees its own changes and no later one of another's to the same key.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    calls::{CallKind, Calls},
    imports::LookUp,
    interrupt::Reason,
    pace::Pace,
    verdict::{Halt, clipped},
};

const KEY_BYTES: usize = 256;
const VALUE_BYTES: usize = 64 << 10;
const STATE_BYTES: usize = 1 << 20;
const KEYS: usize = 1000;
const CHILDREN: usize = 1000;
const CHILD_BYTES: usize = 4 << 20;
const CHECKPOINT_BYTES: usize = 1 << 20;

/// What is written counts so many times what is read: it goes to a disk.
const WRITTEN: usize = 4;

/// Integers are within this and its negative.
const LARGEST: i64 = (1 << 53) - 1;

/// What outlives an attempt, and is asked while it runs. Answers come when the store gives them: an
/// attempt that ends earlier drops the question.
pub trait Durable: fmt::Debug + Send + Sync {
    /// A value of the job's state.
    fn read<'a>(&'a self, key: &'a str) -> LookUp<'a, Versioned>;

    /// Keeps what the task can go on from; `false`: this attempt is not the task's any more.
    fn save(&self, bytes: Vec<u8>) -> LookUp<'_, bool>;

    /// What was kept last.
    fn load(&self) -> LookUp<'_, Option<Vec<u8>>>;

    /// The id that a task of this JSON would have, or what is wrong with it.
    fn child<'a>(&'a self, task: &'a str) -> LookUp<'a, Result<String, ChildError>>;
}

/// Why a task is not submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChildError {
    /// It is not acceptable, or not granted: the guest may go on.
    Refused(String),
    /// It is one too many: the attempt ends.
    Limit(String),
}

/// A value and its version, which is 0 if there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versioned {
    /// Never used for another value.
    pub version: u64,
    /// The value.
    pub value: Option<Vec<u8>>,
}

/// All that an attempt did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effects {
    /// The keys that it read, each with the version that it saw.
    pub reads: BTreeMap<String, u64>,
    /// What becomes of keys.
    pub writes: BTreeMap<String, Write>,
    /// The tasks that it submits.
    pub children: Vec<Child>,
    /// Whether it saved or loaded what its task goes on from.
    pub has_checkpoint: bool,
}

/// What becomes of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Write {
    /// It has this value.
    Set(Vec<u8>),
    /// It is gone.
    Delete,
    /// This is added to it.
    Add(i64),
}

/// A task that is submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// The id that it has.
    pub id: String,
    /// What it is, as JSON.
    pub task: String,
}

/// The attempt did more than it may. Ends it.
#[derive(Clone, Debug)]
pub(crate) struct EffectLimit(String);

impl fmt::Display for EffectLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EffectLimit {}

fn limit<T>(message: impl Into<String>) -> wasmtime::Result<T> {
    Err(wasmtime::Error::new(EffectLimit(message.into())))
}

/// The effects of the running attempt.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    durable: Option<Arc<dyn Durable>>,
    effects: Effects,
    /// What was read: the attempt sees it again.
    seen: BTreeMap<String, Option<Vec<u8>>>,
    /// Of what is asked of the store, by whatever import.
    pub(crate) pace: Pace,
    /// What is asked is noted there.
    pub(crate) calls: Calls,
}

/// What is kept of an attempt to go on from.
#[derive(Serialize, Deserialize)]
struct Checkpoint {
    bytes: Vec<u8>,
    effects: Effects,
    /// How many HTTP requests had been given a number.
    requests: u64,
}

impl Buffer {
    pub(crate) fn new(durable: Option<Arc<dyn Durable>>, calls: Calls) -> Self {
        Self { durable, calls, ..Self::default() }
    }

    /// What is to be committed, if anything.
    pub(crate) fn take(&mut self) -> Option<Box<Effects>> {
        let effects = std::mem::take(&mut self.effects);
        (effects != Effects::default()).then(|| Box::new(effects))
    }

    pub(crate) async fn get(&mut self, key: String) -> wasmtime::Result<Option<Vec<u8>>> {
        check_key(&key)?;
        match self.effects.writes.get(&key) {
            Some(Write::Set(value)) => return Ok(Some(value.clone())),
            Some(Write::Delete) => return Ok(None),
            Some(&Write::Add(by)) => {
                let stored = self.stored(key.clone()).await?;
                let Some(sum) = sum(stored.as_deref(), by) else { return limit(no_integer(&key)) };
                return Ok(Some(sum.to_string().into_bytes()));
            }
            None => {}
        }
        self.stored(key).await
    }

    /// What the store has, as it was when the attempt first asked.
    async fn stored(&mut self, key: String) -> wasmtime::Result<Option<Vec<u8>>> {
        if let Some(value) = self.seen.get(&key) {
            return Ok(value.clone());
        }
        let Versioned { version, value } = match &self.durable {
            // A key that was read before a checkpoint must be as it was then: the commit looks.
            Some(durable) => {
                let call = self.calls.begin(|| CallKind::StateGet);
                let found = durable.read(&key).await;
                self.pace.keep(found.value.as_ref().map_or(0, Vec::len)).await;
                call.done();
                found
            }
            None => Versioned::default(),
        };
        self.effects.reads.entry(key.clone()).or_insert(version);
        self.seen.insert(key, value.clone());
        self.check_size()?;
        Ok(value)
    }

    pub(crate) fn set(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<()> {
        check_key(&key)?;
        if value.len() > VALUE_BYTES {
            return limit(format!(
                "the value of state {key:?} has {} bytes; {VALUE_BYTES} are allowed",
                value.len()
            ));
        }
        self.effects.writes.insert(key, Write::Set(value));
        self.check_size()
    }

    pub(crate) fn delete(&mut self, key: String) -> wasmtime::Result<()> {
        check_key(&key)?;
        self.effects.writes.insert(key, Write::Delete);
        self.check_size()
    }

    pub(crate) fn increment(&mut self, key: String, by: i64) -> wasmtime::Result<()> {
        check_key(&key)?;
        let changed = match self.effects.writes.entry(key) {
            Entry::Vacant(entry) => {
                let is_small = (-LARGEST..=LARGEST).contains(&by);
                let key = entry.key().clone();
                entry.insert(Write::Add(by));
                if is_small { Ok(()) } else { Err(key) }
            }
            Entry::Occupied(mut entry) => {
                let sum = match entry.get() {
                    Write::Add(before) => before
                        .checked_add(by)
                        .filter(|sum| (-LARGEST..=LARGEST).contains(sum))
                        .map(Write::Add),
                    Write::Set(value) => sum(Some(value), by).map(written),
                    Write::Delete => sum(None, by).map(written),
                };
                match sum {
                    Some(write) => {
                        entry.insert(write);
                        Ok(())
                    }
                    None => Err(entry.key().clone()),
                }
            }
        };
        changed.or_else(|key| limit(no_integer(&key)))?;
        self.check_size()
    }

    pub(crate) async fn submit(&mut self, task: String) -> wasmtime::Result<Result<String, String>> {
        let children = &self.effects.children;
        if children.len() == CHILDREN {
            return limit(format!("it submits more than {CHILDREN} tasks"));
        }
        let bytes: usize = children.iter().map(|child| child.task.len()).sum();
        if bytes + task.len() > CHILD_BYTES {
            return limit(format!("the tasks that it submits have more than {CHILD_BYTES} bytes"));
        }
        let Some(durable) = &self.durable else {
            return Ok(Err("there is no queue to submit to".into()));
        };
        let call = self.calls.begin(|| CallKind::OutboxSubmit);
        let child = durable.child(&task).await;
        if child.is_ok() {
            call.done();
        } else {
            call.failed("refused");
        }
        match child {
            Ok(id) => {
                self.effects.children.push(Child { id: id.clone(), task });
                Ok(Ok(id))
            }
            Err(ChildError::Refused(reason)) => Ok(Err(reason)),
            Err(ChildError::Limit(reason)) => limit(reason),
        }
    }

    /// Keeps this; `requests` is how many HTTP requests have been given a number.
    pub(crate) async fn save(&mut self, bytes: Vec<u8>, requests: u64) -> wasmtime::Result<()> {
        self.effects.has_checkpoint = true;
        let own = bytes.len();
        let checkpoint =
            postcard::to_allocvec(&Checkpoint { bytes, effects: self.effects.clone(), requests })?;
        if checkpoint.len() > CHECKPOINT_BYTES {
            return limit(format!(
                "its checkpoint has {} bytes, {own} of its own and the rest its effects; \
                 {CHECKPOINT_BYTES} are allowed",
                checkpoint.len()
            ));
        }
        let Some(durable) = &self.durable else { return Ok(()) };
        let call = self.calls.begin(|| CallKind::CheckpointSave);
        self.pace.keep(checkpoint.len().saturating_mul(WRITTEN)).await;
        if durable.save(checkpoint).await {
            call.done();
            return Ok(());
        }
        call.failed("stale_lease");
        Err(wasmtime::Error::new(Halt::Interrupted(Reason::Stopped)))
    }

    /// What was kept last, and how many requests had been given a number.
    pub(crate) async fn load(&mut self) -> wasmtime::Result<Option<(Vec<u8>, u64)>> {
        let kept = match &self.durable {
            Some(durable) => {
                let call = self.calls.begin(|| CallKind::CheckpointLoad);
                let kept = durable.load().await;
                self.pace.keep(kept.as_ref().map_or(0, Vec::len)).await;
                call.done();
                kept
            }
            None => None,
        };
        let Some(kept) = kept else { return Ok(None) };
        let Checkpoint { bytes, effects, requests } = postcard::from_bytes(&kept)?;
        self.effects = effects;
        self.seen.clear();
        Ok(Some((bytes, requests)))
    }

    /// What it has read and changed.
    fn check_size(&self) -> wasmtime::Result<()> {
        let seen = self.seen.iter().map(|(key, value)| (key, value.as_ref().map_or(0, Vec::len)));
        let written = self
            .effects
            .writes
            .iter()
            .map(|(key, write)| (key, if let Write::Set(value) = write { value.len() } else { 0 }));
        let bytes: usize = seen.chain(written).map(|(key, value)| key.len() + value).sum();
        if bytes > STATE_BYTES {
            return limit(format!("it reads and writes more than {STATE_BYTES} bytes of state"));
        }
        if self.effects.reads.len() > KEYS || self.effects.writes.len() > KEYS {
            return limit(format!("it reads or writes more than {KEYS} keys of state"));
        }
        Ok(())
    }
}

fn check_key(key: &str) -> wasmtime::Result<()> {
    if (1..=KEY_BYTES).contains(&key.len()) {
        return Ok(());
    }
    let shown = clipped(key, 64);
    limit(format!("a key of state has 1 to {KEY_BYTES} bytes; {shown:?} has {}", key.len()))
}

fn written(number: i64) -> Write {
    Write::Set(number.to_string().into_bytes())
}

fn no_integer(key: &str) -> String {
    format!("state {key:?} is no integer that this can be added to, within {LARGEST}")
}

fn sum(value: Option<&[u8]>, by: i64) -> Option<i64> {
    let is_small = |number: &i64| (-LARGEST..=LARGEST).contains(number);
    let value = match value {
        None => 0,
        Some(value) => std::str::from_utf8(value).ok()?.parse().ok().filter(is_small)?,
    };
    value.checked_add(by).filter(is_small)
}
