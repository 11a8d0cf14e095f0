//! Who listens on which channel of this process.
//!
//! Invariant: a channel is here only while somebody listens on it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::broadcast;

use super::keyspace::Said;
use crate::store::subscription::{Heard, Subscription, WAITING};

/// The channels.
#[derive(Default)]
pub(super) struct Channels {
    open: Mutex<HashMap<Bytes, broadcast::Sender<Heard>>>,
}

impl Channels {
    /// Listens on a channel: all that is said from now on.
    pub(super) fn subscribe(self: &Arc<Self>, channel: Bytes) -> Subscription {
        let mut open = self.open();
        let speaker = open.entry(channel.clone()).or_insert_with(|| broadcast::Sender::new(WAITING));
        let heard = speaker.subscribe();
        drop(open);
        let channels = Arc::clone(self);
        Subscription::new(true, heard, move || channels.close(&channel))
    }

    /// Tells those who listen what was said, in that order.
    pub(super) fn say(&self, said: Vec<Said>) {
        if said.is_empty() {
            return;
        }
        let open = self.open();
        for Said { channel, message } in said {
            if let Some(speaker) = open.get(&channel) {
                // The last listener may just be leaving.
                drop(speaker.send(Heard::Message(message)));
            }
        }
    }

    /// Tells all who listen that something may not have been heard.
    pub(super) fn say_gap(&self) {
        for speaker in self.open().values() {
            drop(speaker.send(Heard::Gap));
        }
    }

    /// How many channels somebody listens on.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.open().len()
    }

    /// Forgets a channel if nobody listens on it any more.
    fn close(&self, channel: &Bytes) {
        let mut open = self.open();
        if open.get(channel).is_some_and(|speaker| speaker.receiver_count() == 0) {
            open.remove(channel);
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Bytes, broadcast::Sender<Heard>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
