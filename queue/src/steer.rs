//! What operators do to tasks: one by one, or all that have something in common.
//!
//! Each request carries an id of its own, so that one that is sent again is answered the same.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    list::Filter,
    names::{Millis, Namespace, Priority, TaskId},
    queue::{Queue, exactly, groups, stored, text, when},
    state::Status,
    store::{Reply, Script, StoreError},
    task::When,
};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steered {
    /// It was done.
    Done,
    /// The task is in a state in which it cannot be.
    WrongState(Status),
    /// There is no such task.
    Unknown,
}

/// What an operation does to each task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// Cancels those that have not ended.
    Cancel,
    /// Redrives those that FAILED or were CANCELLED.
    Redrive,
    /// Removes those that wait.
    Purge,
}

impl OperationKind {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Cancel, Self::Redrive, Self::Purge];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Redrive => "redrive",
            Self::Purge => "purge",
        }
    }

    /// The states from which it takes tasks, in the order in which tasks pass through them, so
    /// that one that moves on in the meantime is met again.
    pub fn statuses(self) -> &'static [Status] {
        match self {
            Self::Cancel => &[Status::Blocked, Status::Scheduled, Status::Queued, Status::InProgress],
            Self::Redrive => &[Status::Failed, Status::Cancelled],
            Self::Purge => &[Status::Blocked, Status::Scheduled, Status::Queued],
        }
    }
}

/// An operation on many tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Whose tasks it is about.
    pub namespace: Namespace,
    /// What it does.
    pub kind: OperationKind,
    /// Whether it only counts.
    pub dry_run: bool,
    /// When it was asked for.
    pub created_at: Millis,
    /// When it ended.
    pub finished_at: Option<Millis>,
    /// How many tasks it looked at.
    pub looked_at: u64,
    /// How many of them had what was asked for.
    pub matched: u64,
    /// On how many of them it was done.
    pub done: u64,
}

impl Queue {
    /// Ends a task: one that waits at once; one that runs loses its lease, and its worker is told.
    /// What it had attempted commits nothing.
    pub async fn cancel(&self, id: TaskId) -> Result<Steered, StoreError> {
        let reply = self.call(Script::Cancel, vec![request(), text(&id)]).await?;
        steered(reply.into_array()?)
    }

    /// Gives a task that FAILED or was CANCELLED another life, with fresh budgets and without
    /// expiry.
    pub async fn redrive(&self, id: TaskId) -> Result<Steered, StoreError> {
        let reply = self.call(Script::Redrive, vec![request(), text(&id)]).await?;
        steered(reply.into_array()?)
    }

    /// Changes when a waiting task is due, its priority, or both.
    pub async fn reschedule(
        &self,
        id: TaskId,
        due: Option<When>,
        priority: Option<Priority>,
    ) -> Result<Steered, StoreError> {
        let priority = priority.map(|priority| text(&priority.get())).unwrap_or_default();
        let reply = self.call(Script::Reschedule, vec![request(), text(&id), when(due), priority]).await?;
        steered(reply.into_array()?)
    }

    /// Starts an operation on all tasks that have what is asked for; answers its id. It is carried
    /// on by [`Queue::operate`], which every worker and API server calls.
    pub async fn start_operation(
        &self,
        kind: OperationKind,
        filter: &Filter,
        dry_run: bool,
    ) -> Result<String, StoreError> {
        let id = request();
        let statuses = kind
            .statuses()
            .iter()
            .filter(|status| filter.statuses.is_empty() || filter.statuses.contains(status));
        let statuses: Vec<_> = statuses.map(|status| status.as_str()).collect();
        let mut args = vec![
            id.clone(),
            Bytes::from_static(kind.as_str().as_bytes()),
            Bytes::from_static(if dry_run { b"1" } else { b"0" }),
        ];
        args.extend(filter.args());
        args.push(Bytes::from(statuses.join(",")));
        self.call(Script::StartOperation, args).await?;
        String::from_utf8(id.into()).map_err(|error| StoreError::Broken(error.to_string()))
    }

    /// Carries the oldest operation on by one slice; whether there is more to do.
    pub async fn operate(&self) -> Result<bool, StoreError> {
        Ok(self.call_once(Script::Operate, vec![]).await?.into_u64()? == 1)
    }

    /// How far an operation has come; operations are remembered for a day after their end.
    pub async fn operation(&self, id: &str) -> Result<Option<Operation>, StoreError> {
        let reply = match self.call(Script::Operation, vec![Bytes::copy_from_slice(id.as_bytes())]).await? {
            Reply::Nil => return Ok(None),
            reply => reply.into_array()?,
        };
        let [kind, dry, namespace, created, finished, looked_at, matched, done] = exactly(reply)?;
        let kind = kind.into_text()?;
        let finished = finished.into_bytes()?;
        Ok(Some(Operation {
            namespace: stored(namespace.into_text()?.parse())?,
            kind: OperationKind::ALL
                .into_iter()
                .find(|known| known.as_str() == kind)
                .ok_or_else(|| StoreError::Broken(format!("an operation is a {kind:?}")))?,
            dry_run: dry.into_u64()? == 1,
            created_at: Millis(created.into_u64()?),
            finished_at: match &finished[..] {
                [] => None,
                _ => Some(Millis(Reply::Bytes(finished).into_u64()?)),
            },
            looked_at: looked_at.into_u64()?,
            matched: matched.into_u64()?,
            done: done.into_u64()?,
        }))
    }
}

/// The id of a request.
pub(crate) fn request() -> Bytes {
    text(&uuid::Uuid::new_v4().simple())
}

fn steered(reply: Vec<Reply>) -> Result<Steered, StoreError> {
    let answers = groups(reply, |[word, status]| {
        let (word, status) = (word.into_text()?, status.into_text()?);
        Ok(match word.as_str() {
            "ok" => Steered::Done,
            "unknown" => Steered::Unknown,
            _ => Steered::WrongState(stored(status.parse())?),
        })
    })?;
    answers.into_iter().next().ok_or_else(|| StoreError::Broken("an empty reply".into()))
}

/// What is kept of finished tasks: whatever is older, or more, is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Of COMPLETED tasks.
    pub completed: Keep,
    /// Of FAILED tasks.
    pub failed: Keep,
    /// Of CANCELLED tasks.
    pub cancelled: Keep,
}

/// How long something is kept, and how many at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// How long; at least [`Keep::FLOOR`].
    pub age: Duration,
    /// How many.
    pub count: u64,
}

impl Keep {
    /// Nothing is removed earlier for its age: whoever submitted must be able to read the result.
    pub const FLOOR: Duration = Duration::from_secs(120);
}

impl Default for Retention {
    fn default() -> Self {
        let day = Keep { age: Duration::from_hours(24), count: 1_000_000 };
        let month = Keep { age: Duration::from_hours(30 * 24), count: 1_000_000 };
        Self { completed: day, failed: month, cancelled: day }
    }
}

impl Queue {
    /// The same as [`Queue::retain`] for every namespace there is.
    pub async fn retain_all(&self, retention: &Retention) -> Result<(u64, bool), StoreError> {
        let (mut removed, mut more) = (0, false);
        for namespace in self.call(Script::Namespaces, vec![]).await?.into_array()? {
            let namespace = stored(namespace.into_text()?.parse())?;
            let (some, left) = self.retain(&namespace, retention).await?;
            removed += some;
            more |= left;
        }
        Ok((removed, more))
    }

    /// Removes finished tasks of a namespace that are not kept any more, the next slice; how many, and
    /// whether there are more.
    pub async fn retain(
        &self,
        namespace: &Namespace,
        retention: &Retention,
    ) -> Result<(u64, bool), StoreError> {
        let mut args = vec![text(namespace)];
        for (status, keep) in [
            (Status::Completed, retention.completed),
            (Status::Failed, retention.failed),
            (Status::Cancelled, retention.cancelled),
        ] {
            let age = keep.age.max(Keep::FLOOR).as_millis();
            args.extend([text(&status), text(&age), text(&keep.count)]);
        }
        let [removed, more] = exactly(self.call_once(Script::Retain, args).await?.into_array()?)?;
        Ok((removed.into_u64()?, more.into_u64()? == 1))
    }
}
