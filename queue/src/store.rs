//! A store is a home for the queue's scripts: something that runs one of them atomically.
//!
//! It knows keys and bytes, not tasks. What the scripts mean is in `scripts/`, how they are
//! called is in [`crate::queue`].

mod reply;
mod script;
mod subscription;

pub mod embedded;
pub mod redis;

use std::{future::Future, pin::Pin, time::Duration};

use bytes::Bytes;

pub use self::{
    reply::Reply,
    script::Script,
    subscription::{Heard, Subscription},
};

/// What an asynchronous method of [`Store`] gives back.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Some keys, and where to go on.
pub type Scanned = (Vec<Bytes>, Option<Bytes>);

/// A home for the queue's scripts.
pub trait Store: Send + Sync + 'static {
    /// Runs one script, whole and alone, and answers after its effects are as durable as the
    /// store is configured to make them.
    ///
    /// `Unavailable` leaves open whether it ran; the same call may be sent again.
    fn run(&self, script: Script, args: Vec<Bytes>) -> Answer<'_, Reply>;

    /// Takes one marker from the first of `keys` (sorted sets) that holds one, waiting up to
    /// `timeout` for it. `false` when the time ran out.
    fn take_marker(&self, keys: Vec<Bytes>, timeout: Duration) -> Answer<'_, bool>;

    /// Listens to what scripts say on a channel (`PUBLISH`). It needs a tokio runtime around it.
    fn subscribe(&self, channel: Bytes) -> Subscription;

    /// Some keys that begin with `prefix`, possibly none, and the cursor for the next call, which
    /// is `None` at the end. A key that is there from the first call (without a cursor) to the
    /// last is answered at least once.
    ///
    /// For whoever inspects a store: scripts know the names of their keys.
    fn scan(&self, prefix: Bytes, cursor: Option<Bytes>) -> Answer<'_, Scanned>;

    /// Checks that the store can be used, and says how durable its answers are.
    fn check(&self) -> Answer<'_, Durability>;
}

/// What a store's answer to a write is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On disk before it is answered.
    Always,
    /// On disk within about a second; a crash may lose that second.
    EverySecond,
    /// In memory only, or on disk by occasional snapshots.
    None,
}

impl Durability {
    /// The word for it in logs and in `/readyz`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::EverySecond => "everysec",
            Self::None => "none",
        }
    }
}

/// Why a store did not answer a call.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It is away, overloaded, full or starting. Whether the call ran is unknown; the same call
    /// may be sent again.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// A script failed or answered something that it should not: a defect, or a damaged store.
    #[error("the store misbehaved: {0}")]
    Broken(String),
    /// The store works, but must not be used as it is configured.
    #[error("the store is not fit for use: {0}")]
    Unfit(String),
}
