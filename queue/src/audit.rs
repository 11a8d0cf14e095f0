//! Whether every accepted task is in exactly one place; usable on a live store.

use crate::{
    list::Filter,
    names::{Namespace, TaskId},
    queue::{PREFIX, Queue, exactly, groups, stored, text},
    store::{Script, StoreError},
};

/// What an audit found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// How many tasks were looked at.
    pub tasks: u64,
    /// How many were ever accepted.
    pub submitted: u64,
    /// How many are held now.
    pub held: u64,
    /// How many were removed because they are not kept for ever, or were purged.
    pub removed: u64,
    /// What is wrong, in sentences.
    pub problems: Vec<String>,
}

/// So many problems are told one by one, and no more.
pub const TOLD: usize = 1000;

impl Queue {
    /// Looks at all tasks, whatever their namespaces. `progress` is told how many were looked at so far.
    pub async fn audit(&self, mut progress: impl FnMut(&Audit)) -> Result<Audit, StoreError> {
        let mut audit = Audit::default();
        let namespaces = self.totals(&mut audit).await?;
        if audit.submitted != audit.held + audit.removed {
            audit.problems.push(format!(
                "{} tasks were accepted, and {} are held and {} were removed",
                audit.submitted, audit.held, audit.removed
            ));
        }
        self.audit_definitions(&mut audit, &mut progress).await?;
        for namespace in &namespaces {
            self.audit_places(namespace, &mut audit, &mut progress).await?;
        }
        Ok(audit)
    }

    /// Counts all tasks; answers the namespaces that there are.
    async fn totals(&self, audit: &mut Audit) -> Result<Vec<Namespace>, StoreError> {
        let reply = self.call(Script::Totals, vec![]).await?.into_array()?;
        let [submitted, held, removed, namespaces] = exactly(reply)?;
        audit.submitted = submitted.into_u64()?;
        audit.held = held.into_u64()?;
        audit.removed = removed.into_u64()?;
        let namespaces = namespaces.into_array()?.into_iter();
        namespaces.map(|namespace| stored(namespace.into_text()?.parse())).collect()
    }

    /// Every task that is defined is in one place.
    async fn audit_definitions(
        &self,
        audit: &mut Audit,
        progress: &mut impl FnMut(&Audit),
    ) -> Result<(), StoreError> {
        let prefix = format!("{PREFIX}d:");
        let mut cursor = None;
        loop {
            let (keys, next) = self.store.scan(prefix.clone().into(), cursor).await?;
            let ids: Vec<_> = keys.iter().filter_map(|key| key.get(prefix.len()..)).collect();
            for ids in ids.chunks(250) {
                let ids = ids.iter().map(|id| bytes::Bytes::copy_from_slice(id)).collect();
                let reply = self.call(Script::Audit, ids).await?.into_array()?;
                let wrong = groups(reply, |[id, wrong]| {
                    Ok(format!("task {}: {}", id.into_text()?, wrong.into_text()?))
                })?;
                for problem in wrong {
                    audit.tell(problem);
                }
            }
            audit.tasks += ids.len() as u64;
            progress(audit);
            match next {
                None => return Ok(()),
                next => cursor = next,
            }
        }
    }

    /// Every task that is in a place is defined.
    async fn audit_places(
        &self,
        namespace: &Namespace,
        audit: &mut Audit,
        progress: &mut impl FnMut(&Audit),
    ) -> Result<(), StoreError> {
        let filter = Filter { namespace: namespace.clone(), ..Filter::default() };
        let mut cursor = None;
        loop {
            let slice = self.list(&filter, 500, cursor.as_ref()).await?;
            for id in slice.undefined {
                audit.tell(format!("task {id}: it waits or has ended, and what it is is lost"));
            }
            progress(audit);
            match slice.next {
                None => return Ok(()),
                next => cursor = next,
            }
        }
    }

    /// Looks at one task: what is wrong with it, if anything.
    pub async fn audit_task(&self, id: TaskId) -> Result<Option<String>, StoreError> {
        let reply = self.call(Script::Audit, vec![text(&id)]).await?.into_array()?;
        let wrong = groups(reply, |[id, wrong]| {
            let _: TaskId = stored(id.into_text()?.parse())?;
            wrong.into_text()
        })?;
        Ok(wrong.into_iter().next())
    }
}

impl Audit {
    fn tell(&mut self, problem: String) {
        // One that is in a place of all namespaces is met in each.
        if self.problems.len() < TOLD && !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}
