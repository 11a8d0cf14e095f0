//! API keys: who may ask for what.
//!
//! The store holds what a key may do and a hash of it, never the key. A key is 256 random bits behind
//! its id, so a plain SHA-256 cannot be turned back and needs no salt.

use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::names::{Invalid, JobName, Millis, Namespace, QueueName};

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
