//! The wire between the world and its store: it delivers calls twice, and remembers what it
//! delivered so that a copy can come late.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use bytes::Bytes;
use sentinel_queue::store::{Answer, Durability, Reply, Scanned, Script, Store, StoreError, Subscription};

/// A call as it went over the wire, and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    script: Script,
    args: Vec<Bytes>,
    pub(crate) answer: Reply,
}

pub(crate) struct Wire {
    store: Arc<dyn Store>,
    clock: Arc<AtomicU64>,
    twice: AtomicBool,
    last: Mutex<Option<Sent>>,
}

impl Wire {
    pub(crate) fn to(store: Arc<dyn Store>, clock: Arc<AtomicU64>) -> Self {
        Self { store, clock, twice: AtomicBool::new(false), last: Mutex::default() }
    }

    /// Whether each call is delivered twice from now on.
    pub(crate) fn deliver_twice(&self, twice: bool) {
        self.twice.store(twice, Ordering::Relaxed);
    }

    /// The last call that was made.
    pub(crate) fn last(&self) -> Sent {
        self.last.lock().expect("nobody panicked").clone().expect("there was one")
    }

    /// Delivers a copy of an earlier call. The store sees its own time, not the call's.
    pub(crate) async fn deliver(&self, sent: &Sent) -> Result<Reply, StoreError> {
        let mut args = sent.args.clone();
        args[0] = Bytes::from(self.clock.load(Ordering::Relaxed).to_string());
        self.store.run(sent.script, args).await
    }
}

impl Store for Wire {
    fn run(&self, script: Script, args: Vec<Bytes>) -> Answer<'_, Reply> {
        Box::pin(async move {
            let first = self.store.run(script, args.clone()).await?;
            let sent = Sent { script, args: args.clone(), answer: first.clone() };
            *self.last.lock().expect("nobody panicked") = Some(sent);
            if !self.twice.load(Ordering::Relaxed) {
                return Ok(first);
            }
            let again = self.store.run(script, args).await?;
            if first == again {
                return Ok(first);
            }
            let name = script.name();
            Err(StoreError::Broken(format!("{name} answered {first:?}, and sent again {again:?}")))
        })
    }

    fn take_marker(&self, keys: Vec<Bytes>, timeout: std::time::Duration) -> Answer<'_, bool> {
        self.store.take_marker(keys, timeout)
    }

    fn subscribe(&self, channel: Bytes) -> Subscription {
        self.store.subscribe(channel)
    }

    fn scan(&self, prefix: Bytes, cursor: Option<Bytes>) -> Answer<'_, Scanned> {
        self.store.scan(prefix, cursor)
    }

    fn check(&self) -> Answer<'_, Durability> {
        self.store.check()
    }
}
