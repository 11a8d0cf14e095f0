//! What operators did: each action is told before it is done, and how it ended afterwards.

use crate::{
    keys::KeyId,
    names::{Millis, Namespace},
    queue::{Queue, exactly, groups, text},
    record,
    steer::request,
    store::{Reply, Script, StoreError},
};

/// What an operator is about to do. Long texts are cut: `target` at 1,024 bytes, the others at 256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAction {
    /// By which key.
    pub key: Option<KeyId>,
    /// The key's name, or `anybody`.
    pub who: String,
    /// The namespace in which it is done, if it is done in one.
    pub namespace: Option<Namespace>,
    /// The kind of request, such as `POST /v1/queues/{queue}/pause`.
    pub what: String,
    /// The path as it was asked.
    pub target: String,
    /// The request's id.
    pub request_id: String,
    /// The address from which it came.
    pub from: String,
}

/// What an operator did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionInfo {
    /// Its number: one more than that of the action before it.
    pub number: u64,
    /// When it was begun.
    pub at: Millis,
    /// What it was.
    pub action: NewAction,
    /// The status that it was answered; none: it has none yet, or whoever did it died.
    pub status: Option<u16>,
}

/// Some of what operators did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actions {
    /// Newest first.
    pub actions: Vec<ActionInfo>,
    /// Before which number to go on; none: that was all.
    pub next: Option<u64>,
}

impl Queue {
    /// Tells that something is about to be done; answers its number. The newest 10,000 are kept.
    pub async fn begin_action(&self, action: &NewAction) -> Result<u64, StoreError> {
        let namespace = action.namespace.as_ref().map(text).unwrap_or_default();
        let args = vec![request(), namespace, record::action_tail(action)];
        self.call(Script::BeginAction, args).await?.into_u64()
    }

    /// Tells what it was answered; only the first time counts.
    pub async fn end_action(&self, number: u64, status: u16) -> Result<(), StoreError> {
        self.call(Script::EndAction, vec![text(&number), text(&status)]).await.map(drop)
    }

    /// Up to `limit` actions with numbers below `before`; those of all namespaces and of none, or
    /// those of one. A thousand are looked at, so that the answer may be short, even empty, and not
    /// be the last.
    pub async fn actions(
        &self,
        namespace: Option<&Namespace>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Actions, StoreError> {
        let namespace = namespace.map(text).unwrap_or_default();
        let before = before.map(|before| text(&before)).unwrap_or_default();
        let reply = self.call(Script::Actions, vec![namespace, before, text(&limit)]).await?;
        let [next, actions] = exactly(reply.into_array()?)?;
        let next = next.into_bytes()?;
        let next = if next.is_empty() { None } else { Some(Reply::Bytes(next).into_u64()?) };
        let actions = groups(actions.into_array()?, |[number, action]| {
            record::action(number.into_u64()?, &action.into_bytes()?)
        })?;
        Ok(Actions { actions, next })
    }
}
