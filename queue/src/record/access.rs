//! The records of API keys and of what operators did; written and read by scripts in
//! `scripts/lib/{key,action}.lua`.

use std::{fmt::Display, str::FromStr, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Fields, broken, split_tail, tail};
use crate::{
    actions::{ActionInfo, NewAction},
    keys::{Grant, KeyId, KeyInfo, RequestRate, Scope},
    names::Millis,
    store::StoreError,
};

/// What scripts do not look at of a key.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct KeyHead {
    name: String,
    hash: String,
    scopes: Vec<Scope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jobs: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    queues: Option<Vec<String>>,
    /// How many requests, in how many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate: Option<(u32, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Millis>,
}

/// The part of a key that is opaque to scripts.
pub(crate) fn key_tail(key: &KeyInfo) -> Bytes {
    let KeyInfo { name, hash, grant, expires_at, .. } = key;
    let head = KeyHead {
        name: name.clone(),
        hash: hex::encode(hash),
        scopes: grant.scopes.iter().copied().collect(),
        namespace: grant.namespace.as_ref().map(ToString::to_string),
        jobs: grant.jobs.as_ref().map(texts),
        queues: grant.queues.as_ref().map(texts),
        rate: grant.rate.map(|rate| (rate.requests, rate.millis())),
        expires_at: *expires_at,
    };
    tail(&head, &[])
}

/// Reads a key.
pub(crate) fn key(id: KeyId, record: &Bytes) -> Result<KeyInfo, StoreError> {
    let mut fields = Fields::of(record)?;
    let created_at = Millis(fields.parse()?);
    let revoked_at = fields.optional()?.map(Millis);
    let (head, _) = split_tail::<KeyHead>(&fields.rest())?;
    let mut hash = [0; 32];
    hex::decode_to_slice(&head.hash, &mut hash).map_err(broken)?;
    let grant = Grant {
        scopes: head.scopes.into_iter().collect(),
        namespace: head.namespace.map(|name| name.parse().map_err(broken)).transpose()?,
        jobs: head.jobs.map(|names| parsed(&names)).transpose()?,
        queues: head.queues.map(|names| parsed(&names)).transpose()?,
        rate: head.rate.map(|(requests, per)| RequestRate { requests, per: Duration::from_millis(per) }),
    };
    Ok(KeyInfo { id, name: head.name, hash, grant, created_at, expires_at: head.expires_at, revoked_at })
}

fn texts<'a, T: Display + 'a>(names: impl IntoIterator<Item = &'a T>) -> Vec<String> {
    names.into_iter().map(ToString::to_string).collect()
}

fn parsed<T: FromStr<Err: ToString>, C: FromIterator<T>>(names: &[String]) -> Result<C, StoreError> {
    names.iter().map(|name| name.parse().map_err(broken)).collect()
}

/// What scripts do not look at of an action.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct ActionHead {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    who: String,
    what: String,
    target: String,
    request_id: String,
    from: String,
}

/// The part of an action that is opaque to scripts.
pub(crate) fn action_tail(action: &NewAction) -> Bytes {
    let NewAction { key, who, what, target, request_id, from, .. } = action;
    let head = ActionHead {
        key: key.as_ref().map(ToString::to_string),
        who: cut(who, 256),
        what: cut(what, 256),
        target: cut(target, 1024),
        request_id: cut(request_id, 256),
        from: cut(from, 256),
    };
    tail(&head, &[])
}

/// The beginning of a text, so many bytes at most.
fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

/// Reads an action.
pub(crate) fn action(number: u64, record: &Bytes) -> Result<ActionInfo, StoreError> {
    let mut fields = Fields::of(record)?;
    let at = Millis(fields.parse()?);
    let _id = fields.text()?;
    let namespace = fields.optional()?;
    let status = fields.optional()?;
    let (head, _) = split_tail::<ActionHead>(&fields.rest())?;
    let action = NewAction {
        key: head.key.map(|id| id.parse().map_err(broken)).transpose()?,
        who: head.who,
        namespace,
        what: head.what,
        target: head.target,
        request_id: head.request_id,
        from: head.from,
    };
    Ok(ActionInfo { number, at, action, status })
}
