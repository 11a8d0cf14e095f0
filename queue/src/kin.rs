//! Whom a task has to do with: those that it waits for or that submitted it, and those below it.

use bytes::Bytes;

use crate::{
    list::Listed,
    names::TaskId,
    payload::Payload,
    queue::{Queue, groups, stand, state_of, stored, text},
    store::{Reply, Script, StoreError},
};

/// A task among those it has to do with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kin {
    /// The task; its payload and its result are left out.
    pub task: Listed,
    /// Those that wait or waited for it and those that its attempts submitted: the first hundred that
    /// there ever were. Some may be gone.
    pub below: Vec<TaskId>,
}

impl Queue {
    /// Tasks with up to `below` of those below each; unknown ones are left out. Those above a task are in
    /// its spec: `after`, and `lineage`.
    pub async fn kin(&self, ids: &[TaskId], below: usize) -> Result<Vec<Kin>, StoreError> {
        let args = std::iter::once(text(&below)).chain(ids.iter().map(text)).collect();
        let reply = self.call(Script::Kin, args).await?.into_array()?;
        let kin = groups(reply, |[id, status, head, state, finished, claim, below]| {
            let status = status.into_text()?;
            if status.is_empty() {
                return Ok(None);
            }
            let id = stored(id.into_text()?.parse())?;
            // Of the payload there may be a beginning.
            let (mut definition, progression) = stand(id, &head.into_bytes()?, &state.into_bytes()?)?;
            definition.spec.payload = Payload::stored(Bytes::new());
            let state = state_of(stored(status.parse())?, finished, claim, Reply::Bytes(Bytes::new()))?;
            let below = below.into_array()?.into_iter();
            let below = below.map(|id| stored(id.into_text()?.parse())).collect::<Result<_, _>>()?;
            Ok(Some(Kin { task: Listed { definition, progression, state }, below }))
        })?;
        Ok(kin.into_iter().flatten().collect())
    }
}
