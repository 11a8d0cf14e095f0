//! What an attempt does through the store: state that it reads and changes, tasks that it submits,
//! and what it saves to go on from.
//!
//! The first two are committed with the attempt's completion, in one step with its result, or not
//! at all; and only if what it had read is still as it was. A checkpoint is kept at once.

use std::{collections::BTreeMap, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    lease::{Settlement, Token},
    names::{JobName, Namespace, TaskId},
    queue::{Queue, groups, new_task_args, text},
    record,
    store::{Reply, Script, StoreError},
    task::{AttemptReport, ErrorReport, NewTask},
};

/// A key of a job's state has at most so many bytes.
pub const MAX_KEY: usize = 256;

/// A value has at most so many.
pub const MAX_VALUE: usize = 64 * 1024;

/// What one attempt reads and changes has at most so many, keys and values together.
pub const MAX_STATE: usize = 1024 * 1024;

/// An attempt reads and changes at most so many keys.
pub const MAX_KEYS: usize = 1000;

/// An integer that is added, and what it is added to, are within this and its negative.
pub const MAX_INTEGER: i64 = (1 << 53) - 1;

/// An attempt submits at most so many tasks.
pub const MAX_CHILDREN: usize = 1000;

/// A task that nobody's attempt submitted has depth 0; the deepest has this.
pub const MAX_DEPTH: u32 = 16;

/// What a task may save to go on from.
pub const MAX_CHECKPOINT: usize = 1024 * 1024;

/// The effects of one attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// The keys that were read, each with the version that was seen; 0: it was not there.
    pub reads: BTreeMap<String, u64>,
    /// What becomes of keys.
    pub writes: BTreeMap<String, Write>,
    /// The tasks that are submitted, of the attempt's namespace.
    pub children: Vec<NewTask>,
    /// Whether the task may have saved something to go on from.
    pub has_checkpoint: bool,
    /// How long the task waits if what was read has changed meanwhile.
    pub conflict_wait: Duration,
    /// How long if that counts as a failure, as every twentieth does; none: no failure is left.
    pub failure_wait: Option<Duration>,
}

/// What becomes of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// It has this value.
    Set(Bytes),
    /// It is gone.
    Delete,
    /// This is added to the integer that it holds, in decimal digits; what is not there is 0.
    Add(i64),
}

/// A value and its version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versioned {
    /// Never used for another value; 0: there is none.
    pub version: u64,
    /// The value.
    pub value: Option<Bytes>,
}

impl Effects {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.reads.is_empty() && self.writes.is_empty() && self.children.is_empty() && !self.has_checkpoint
    }

    /// About how many bytes a call carries for them.
    pub fn size(&self) -> usize {
        let reads = self.reads.keys().map(|key| key.len() + 32);
        let writes = self
            .writes
            .iter()
            .map(|(key, write)| key.len() + 32 + if let Write::Set(value) = write { value.len() } else { 0 });
        let children = self.children.iter().map(|child| 512 + child.spec.payload.as_bytes().len());
        reads.chain(writes).chain(children).sum()
    }

    /// As `lib/effects.lua` takes them.
    pub(crate) fn packed(&self, settlement: &Settlement) -> Bytes {
        let mut out = BytesMut::with_capacity(self.size() + 512);
        let mut put = |bytes: &[u8]| {
            out.put_slice(bytes.len().to_string().as_bytes());
            out.put_u8(b':');
            out.put_slice(bytes);
        };
        let millis = |wait: Duration| wait.as_millis().to_string();
        // Where the script puts what is wrong.
        let error = ErrorReport { message: "%s".into(), ..ErrorReport::default() };
        let tail = record::ended_tail(&AttemptReport { error, ..settlement.report.clone() }, &[]);
        put(format!("{}:{}", settlement.namespace, settlement.job).as_bytes());
        put(settlement.root.to_string().as_bytes());
        put(millis(self.conflict_wait).as_bytes());
        put(self.failure_wait.map(millis).unwrap_or_default().as_bytes());
        put(&tail);
        put(if self.has_checkpoint { b"1" } else { b"0" });
        put(self.reads.len().to_string().as_bytes());
        for (key, version) in &self.reads {
            put(key.as_bytes());
            put(version.to_string().as_bytes());
        }
        put(self.writes.len().to_string().as_bytes());
        for (key, write) in &self.writes {
            let (what, value) = match write {
                Write::Set(value) => ("=", value.clone()),
                Write::Delete => ("-", Bytes::new()),
                Write::Add(number) => ("+", text(number)),
            };
            put(what.as_bytes());
            put(key.as_bytes());
            put(&value);
        }
        for child in &self.children {
            for arg in new_task_args(child) {
                put(&arg);
            }
        }
        out.freeze()
    }
}

impl Queue {
    /// State of a job, in the order of the keys.
    pub async fn state(
        &self,
        namespace: &Namespace,
        job: &JobName,
        keys: &[&str],
    ) -> Result<Vec<Versioned>, StoreError> {
        let scope = Bytes::from(format!("{namespace}:{job}"));
        let keys = keys.iter().map(|key| Bytes::copy_from_slice(key.as_bytes()));
        let args = std::iter::once(scope).chain(keys).collect();
        groups(self.call(Script::State, args).await?.into_array()?, |[version, value]| {
            let version = version.into_text()?.parse().map_err(|_| StoreError::Broken("a version".into()))?;
            let value = value.into_bytes()?;
            Ok(Versioned { version, value: (version > 0).then_some(value) })
        })
    }

    /// Keeps what a task can go on from, for as long as the task is there and has not completed.
    /// `false`: the lease is another's.
    pub async fn save(&self, id: TaskId, token: &Token, bytes: Bytes) -> Result<bool, StoreError> {
        Ok(self.call(Script::Save, vec![text(&id), text(token), bytes]).await?.into_u64()? == 1)
    }

    /// What a task can go on from.
    pub async fn load(&self, id: TaskId) -> Result<Option<Bytes>, StoreError> {
        match self.call(Script::Load, vec![text(&id)]).await? {
            Reply::Nil => Ok(None),
            bytes => bytes.into_bytes().map(Some),
        }
    }
}
