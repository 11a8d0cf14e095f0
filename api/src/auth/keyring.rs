//! All keys, as this process knows them: never older than a second, whatever is heard.
//!
//! A change is said on the store's channel and taken up at once. Since what is said may be missed, the
//! store is also asked twice a second whether anything changed. While the store is away nobody is let
//! in by what was known before.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, PoisonError, RwLock, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use sentinel_queue::{
    Millis, Queue,
    keys::{CHANGED, KeyId, KeyInfo},
    store::StoreError,
};
use tokio::sync::Mutex;

use super::Auth;

/// How often the store is asked whether anything changed.
const LOOK: Duration = Duration::from_millis(400);

/// How old what is known may be.
const OLDEST: Duration = Duration::from_millis(800);

/// The keys of all who may call.
pub(crate) struct Keyring {
    auth: Auth,
    shared: Arc<Shared>,
    following: OnceLock<()>,
}

struct Shared {
    queue: Queue,
    known: RwLock<Option<Known>>,
    /// Held by whoever asks the store, so that it is asked once.
    asking: Mutex<()>,
}

#[derive(Clone)]
struct Known {
    /// When the question was asked of which this is the answer.
    asked: Instant,
    /// The store's time then.
    now: Millis,
    version: u64,
    keys: Arc<HashMap<KeyId, Arc<KeyInfo>>>,
}

impl Keyring {
    pub(crate) fn new(queue: Queue, auth: Auth) -> Self {
        let shared = Shared { queue, known: RwLock::default(), asking: Mutex::default() };
        Self { auth, shared: Arc::new(shared), following: OnceLock::new() }
    }

    /// Whether a request needs a key.
    pub(crate) async fn is_needed(&self) -> Result<bool, StoreError> {
        Ok(match self.auth {
            Auth::Nobody => false,
            Auth::Keys => true,
            // One that was revoked is one, too: nothing opens the door again by itself.
            Auth::UntilKeys => !self.known().await?.keys.is_empty(),
        })
    }

    /// The key with this id, if it is valid now.
    pub(crate) async fn key(&self, id: &KeyId) -> Result<Option<Arc<KeyInfo>>, StoreError> {
        let known = self.known().await?;
        let since = u64::try_from(known.asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now = Millis(known.now.0.saturating_add(since));
        Ok(known.keys.get(id).filter(|key| key.is_valid(now)).cloned())
    }

    /// Takes up what this very server changed.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        self.shared.ask(Instant::now()).await.map(drop)
    }

    async fn known(&self) -> Result<Known, StoreError> {
        self.following.get_or_init(|| {
            let shared = Arc::downgrade(&self.shared);
            let changes = self.shared.queue.subscribe(Bytes::from_static(CHANGED.as_bytes()));
            tokio::spawn(follow(shared, changes));
        });
        if let Some(known) = self.shared.read()
            && known.asked.elapsed() < OLDEST
        {
            return Ok(known);
        }
        self.shared.ask(Instant::now().checked_sub(OLDEST).unwrap_or_else(Instant::now)).await
    }
}

impl Shared {
    fn read(&self) -> Option<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the store knew at this time or later.
    async fn ask(&self, at_least: Instant) -> Result<Known, StoreError> {
        let _asking = self.asking.lock().await;
        let old = self.read();
        if let Some(known) = old.as_ref().filter(|known| known.asked >= at_least) {
            return Ok(known.clone());
        }
        let asked = Instant::now();
        let answer = self.queue.keys(old.as_ref().map(|known| known.version)).await?;
        let keys = match (answer.keys, old) {
            (Some(keys), _) => {
                Arc::new(keys.into_iter().map(|key| (key.id.clone(), Arc::new(key))).collect())
            }
            (None, Some(old)) => old.keys,
            (None, None) => return Err(StoreError::Broken("the store did not tell its keys".into())),
        };
        let known = Known { asked, now: answer.now, version: answer.version, keys };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(known.clone());
        Ok(known)
    }
}

/// Asks again whenever a change is said, and every now and then, as long as the server lives.
async fn follow(shared: Weak<Shared>, mut changes: sentinel_queue::store::Subscription) {
    loop {
        // What is said, a gap, or nothing for a while: all are reasons to look.
        drop(tokio::time::timeout(LOOK, changes.next()).await);
        let Some(shared) = shared.upgrade() else { return };
        if let Err(error) = shared.ask(Instant::now()).await {
            tracing::debug!(%error, "the keys could not be read");
            tokio::time::sleep(LOOK).await;
        }
    }
}
