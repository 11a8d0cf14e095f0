//! API keys: who may ask for what, and how often.
//!
//! The store holds what a key may do and a hash of it, never the key. A key is 256 random bits behind
//! its id, so a plain SHA-256 cannot be turned back and needs no salt.

use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    names::{Invalid, JobName, Millis, Namespace, QueueName},
    queue::{Queue, exactly, groups, stored, text},
    record,
    store::{Reply, Script, StoreError},
};

/// Whoever has a list of keys listens here: each change is said.
pub const CHANGED: &str = "{s0}:keys-changed";

macro_rules! scopes {
    ($($(#[$doc:meta])* $scope:ident = $word:literal),* $(,)?) => {
        /// What a key may ask for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum Scope {
            $($(#[$doc])* $scope),*
        }

        impl Scope {
            /// All there are.
            pub const ALL: &[Scope] = &[$(Scope::$scope),*];

            /// The word for it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$scope => $word),*
                }
            }
        }
    };
}

scopes! {
    /// Submit tasks.
    Submit = "submit",
    /// Read tasks, queues, schedules, jobs, workers and counts.
    Read = "read",
    /// Cancel, redrive and reschedule tasks; set queues and schedules.
    Operate = "operate",
    /// Make and revoke keys, and read what operators did; and all the others.
    Admin = "admin",
}

impl FromStr for Scope {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.iter().find(|scope| scope.as_str() == text);
        found.copied().ok_or_else(|| {
            let shown: String = text.chars().take(32).collect();
            Invalid::new("scope", shown, "must be submit, read, operate or admin")
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a key may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// What it may ask for.
    pub scopes: BTreeSet<Scope>,
    /// The one namespace whose tasks there are for it; none: any, by name.
    pub namespace: Option<Namespace>,
    /// The jobs whose tasks there are for it; none: all.
    pub jobs: Option<BTreeSet<JobName>>,
    /// The queues whose tasks there are for it; none: all.
    pub queues: Option<BTreeSet<QueueName>>,
    /// How often it may ask; none: as often as it can.
    pub rate: Option<RequestRate>,
}

/// How often something may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRate {
    /// So many requests at once, if none came before,
    pub requests: u32,
    /// and as many again in each such span.
    pub per: Duration,
}

impl RequestRate {
    pub(crate) fn millis(self) -> u64 {
        u64::try_from(self.per.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Grant {
    /// Whether it may ask for this: `admin` includes the others.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// Whether there are tasks of this job and queue for it.
    pub fn covers(&self, job: &JobName, queue: &QueueName) -> bool {
        self.jobs.as_ref().is_none_or(|jobs| jobs.contains(job))
            && self.queues.as_ref().is_none_or(|queues| queues.contains(queue))
    }
}

/// A key's id: 12 hex digits, which are no secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    const LENGTH: usize = 12;

    /// It as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if is_hex(text, Self::LENGTH) {
            return Ok(Self(text.to_owned()));
        }
        // Whoever gives the key for its id by mistake must not find it in a log.
        let shown: String = text.chars().take(Self::LENGTH + 1).collect();
        Err(Invalid::new("key id", shown, "must be 12 lower-case hex digits"))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key itself: `sentinel_<id>_<64 hex digits>`. It is a secret.
#[derive(Clone)]
pub struct ApiKey {
    id: KeyId,
    text: String,
}

/// A text that is no key; it is not told, since it may be one with a slip of the pen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a key as it was shown when it was made: sentinel_<12 hex digits>_<64 hex digits>")]
pub struct NoKey;

impl ApiKey {
    /// A new one.
    ///
    /// # Panics
    ///
    /// If the system has no randomness.
    pub fn generate() -> Self {
        let id = KeyId(hex::encode(random::<{ KeyId::LENGTH / 2 }>()));
        let text = format!("sentinel_{id}_{}", hex::encode(random::<32>()));
        Self { id, text }
    }

    /// Its id.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// By which the store knows it: SHA-256 of its text.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.text).into()
    }

    /// Its text, for whoever it belongs to.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl FromStr for ApiKey {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let parts = text.strip_prefix("sentinel_").and_then(|rest| rest.split_once('_'));
        let (id, secret) = parts.ok_or(NoKey)?;
        let id = id.parse().map_err(|_| NoKey)?;
        if is_hex(secret, 64) { Ok(Self { id, text: text.to_owned() }) } else { Err(NoKey) }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("id", &self.id.as_str()).finish_non_exhaustive()
    }
}

/// Random bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    bytes
}

/// Whether a text is so many hex digits, the letters in lower case.
pub(crate) fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A key as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its id, which is no secret.
    pub id: KeyId,
    /// What people call it.
    pub name: String,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// What it may do.
    pub grant: Grant,
    /// When it was made.
    pub created_at: Millis,
    /// When it stops being one.
    pub expires_at: Option<Millis>,
    /// When it was revoked.
    pub revoked_at: Option<Millis>,
}

impl KeyInfo {
    /// Whether it is this key's. How long that takes says nothing of the hash.
    pub fn is_of(&self, key: &ApiKey) -> bool {
        self.hash.ct_eq(&key.hash()).into()
    }

    /// Whether it is one at that time: neither revoked nor expired.
    pub fn is_valid(&self, now: Millis) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

/// All keys there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The store's time.
    pub now: Millis,
    /// Another one with every change.
    pub version: u64,
    /// By id, revoked ones included; none: they are those of the version that was known.
    pub keys: Option<Vec<KeyInfo>>,
}

/// What became of a request of a key whose rate is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Whether it may be served.
    pub is_admitted: bool,
    /// How many more would be admitted now.
    pub left: u32,
    /// After how long, without requests, as many are admitted as ever.
    pub full_in: Duration,
    /// After how long one more is admitted; zero: now.
    pub next_in: Duration,
}

impl Admission {
    /// Of a key that is not there any more.
    fn refused(rate: RequestRate) -> Self {
        Self { is_admitted: false, left: 0, full_in: rate.per, next_in: rate.per }
    }

    /// `missing` in the bucket, in parts of a millisecond of which there are as many as requests.
    fn of(is_admitted: bool, missing: u64, rate: RequestRate) -> Self {
        let (requests, per) = (u64::from(rate.requests), rate.millis());
        let there = (requests * per).saturating_sub(missing);
        // Whole milliseconds, as the store's clock counts them: whoever waits so long has waited enough.
        let after = |parts: u64| Duration::from_millis(parts.div_ceil(requests));
        Self {
            is_admitted,
            left: u32::try_from(there / per).unwrap_or(u32::MAX),
            full_in: after(missing),
            next_in: after(per.saturating_sub(there)),
        }
    }
}

impl Queue {
    /// Makes a key; answers when, by the store's clock: what `key` says of that, and of its end, is
    /// not looked at. None: there are 10,000 that are not revoked. Of those that are the last 1,000
    /// are kept.
    pub async fn add_key(&self, key: &KeyInfo) -> Result<Option<Millis>, StoreError> {
        let args = vec![text(&key.id), record::key_tail(key)];
        let reply = self.call(Script::AddKey, args).await?.into_text()?;
        match reply.as_str() {
            "" => Ok(None),
            "taken" => Err(StoreError::Broken(format!("there is another key with the id {}", key.id))),
            _ => Reply::Bytes(reply.into()).into_u64().map(|at| Some(Millis(at))),
        }
    }

    /// Revokes a key; answers when that was done first. None: there is no such key.
    pub async fn revoke_key(&self, id: &KeyId) -> Result<Option<Millis>, StoreError> {
        match self.call(Script::RevokeKey, vec![text(id)]).await? {
            Reply::Nil => Ok(None),
            at => at.into_u64().map(|at| Some(Millis(at))),
        }
    }

    /// All keys, unless they are still those of a version that is known. Changes are said on
    /// [`CHANGED`].
    pub async fn keys(&self, known: Option<u64>) -> Result<Keys, StoreError> {
        let known = known.map(|version| text(&version)).unwrap_or_default();
        let mut reply = self.call(Script::Keys, vec![known]).await?.into_array()?;
        let keys = match reply.len() {
            3 => reply.pop().map(Reply::into_array).transpose()?,
            _ => None,
        };
        let [now, version] = exactly(reply)?;
        let keys = keys.map(|keys| {
            groups(keys, |[id, key]| record::key(stored(id.into_text()?.parse())?, &key.into_bytes()?))
        });
        Ok(Keys { now: Millis(now.into_u64()?), version: version.into_u64()?, keys: keys.transpose()? })
    }

    /// Counts a request of a key. A key that is not there, or is revoked, has none admitted.
    ///
    /// This is asked once and never again by itself: an error leaves open whether the request was
    /// counted. Whoever asks again gets a right answer and may have spent one more of the key's
    /// requests, which flows back in a `requests`-th part of `per`.
    pub async fn admit(&self, id: &KeyId, rate: RequestRate) -> Result<Admission, StoreError> {
        let args = vec![text(id), text(&rate.requests), text(&rate.millis())];
        let reply = match self.call_once(Script::Admit, args).await? {
            Reply::Nil => return Ok(Admission::refused(rate)),
            reply => reply.into_array()?,
        };
        let [is_admitted, missing] = exactly(reply)?;
        Ok(Admission::of(is_admitted.into_u64()? == 1, missing.into_u64()?, rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(key: &ApiKey) -> KeyInfo {
        KeyInfo {
            id: key.id().clone(),
            name: "n".into(),
            hash: key.hash(),
            grant: Grant::default(),
            created_at: Millis(1),
            expires_at: None,
            revoked_at: None,
        }
    }

    #[test]
    fn a_key_is_new_and_has_its_shape() {
        let key = ApiKey::generate();
        assert_ne!(key.expose(), ApiKey::generate().expose());
        assert_ne!(key.id(), ApiKey::generate().id());
        assert_eq!(key.expose().len(), "sentinel_".len() + 12 + 1 + 64);
        let read: ApiKey = key.expose().parse().unwrap();
        assert_eq!((read.id(), read.hash()), (key.id(), key.hash()));
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_told() {
        let key = ApiKey::generate();
        let text = key.expose();
        for bad in [
            "",
            "sentinel_",
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}0"),
            &format!("{text} "),
            &text.replace("sentinel_", "Sentinel_"),
            &text.replace("sentinel_", "sentinel__"),
            &text.to_uppercase(),
            &format!("sentinel_{}_{}", &text[9..20], &text[22..]),
            &format!("sentinel_é{}", &text[11..]),
        ] {
            let error = bad.parse::<ApiKey>().unwrap_err().to_string();
            assert!(bad.len() < 20 || !error.contains(&bad[12..]), "{bad}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let key = ApiKey::generate();
        assert_eq!(format!("{key:?}"), format!("ApiKey {{ id: \"{}\", .. }}", key.id()));
    }

    #[test]
    fn an_id_is_12_lower_case_hex_digits() {
        assert_eq!("0123456789ab".parse::<KeyId>().unwrap().as_str(), "0123456789ab");
        for bad in ["", "0123456789a", "0123456789abc", "0123456789aB", "0123456789ag", "0123456789é"] {
            assert!(bad.parse::<KeyId>().is_err(), "{bad}");
        }
        let key = ApiKey::generate();
        let error = key.expose().parse::<KeyId>().unwrap_err().to_string();
        assert!(!error.contains(&key.expose()[15..]), "{error}");
    }

    #[test]
    fn a_key_is_known_by_its_hash_alone() {
        let (key, other) = (ApiKey::generate(), ApiKey::generate());
        assert!(info(&key).is_of(&key));
        assert!(!info(&key).is_of(&other));
        let other = format!("sentinel_{}_{}", key.id(), &other.expose()[22..]).parse().unwrap();
        assert!(!info(&key).is_of(&other), "the same id");
    }

    #[test]
    fn a_key_is_one_until_it_expires_or_is_revoked() {
        let key = info(&ApiKey::generate());
        assert!(key.is_valid(Millis(0)));
        let expires = KeyInfo { expires_at: Some(Millis(10)), ..key.clone() };
        assert!(expires.is_valid(Millis(9)) && !expires.is_valid(Millis(10)));
        let revoked = KeyInfo { revoked_at: Some(Millis(5)), ..key };
        assert!(!revoked.is_valid(Millis(4)));
    }

    #[test]
    fn admin_includes_the_others() {
        let of = |scopes: &[Scope]| Grant { scopes: scopes.iter().copied().collect(), ..Grant::default() };
        for &scope in Scope::ALL {
            assert_eq!(scope.as_str().parse(), Ok(scope));
            assert!(of(&[Scope::Admin]).allows(scope));
            assert_eq!(of(&[Scope::Read]).allows(scope), scope == Scope::Read);
        }
        assert!("Read".parse::<Scope>().is_err());
    }
}
