//! What an attempt may reach outside of itself.
//!
//! Owns the vocabulary of what has been granted. Does not know who asked and who granted.
//! Invariant: what is not in here, a guest does not get: it sees an error, or nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    imports::HttpGrant,
    secret::{self, Secrets},
};
use crate::size;

/// What a job's attempts may reach. [`Grants::default`] is nothing.
///
/// Serialized it has secrets in clear: that is for the process that makes an attempt, and for no
/// other reader.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Grants {
    /// Where HTTP requests may go.
    pub http: Vec<HttpGrant>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// Its arguments, after its name.
    pub args: Vec<String>,
    /// What `wasi:config/store` answers.
    pub config: BTreeMap<String, String>,
    /// What it answers under `secret.<name>`, to those who ask by name.
    #[serde(with = "secret::in_clear")]
    pub secrets: Secrets,
    /// What a guest may keep in `/scratch`, in bytes; there is no such directory without.
    pub scratch_bytes: Option<u64>,
    /// What the job asks for and does not get, in words for people.
    pub withheld: Vec<String>,
}

impl Grants {
    /// What the job asks for and gets, in the words of what is withheld.
    pub fn given(&self) -> Vec<String> {
        let http = self.http.iter().map(|grant| format!("http {}", grant.origin));
        let env = self.env.keys().map(|name| format!("env {name}"));
        let secrets = self.secrets.names().map(|name| format!("secret {name}"));
        let scratch = self.scratch_bytes.map(|bytes| format!("scratch {}", size::format(bytes)));
        http.chain(env).chain(secrets).chain(scratch).collect()
    }
}
