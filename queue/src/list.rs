//! Lists of tasks, a slice at a time: the work of a request is bounded, however many there are.

use std::{fmt, str::FromStr};

use bytes::Bytes;

use crate::{
    names::{Invalid, JobName, Millis, Namespace, QueueName, Tag, TaskId},
    queue::{Queue, exactly, groups, state_of, stored, text},
    record,
    state::Status,
    store::{Reply, Script, StoreError},
    task::{Definition, Progression, TaskState},
};

/// What tasks must have to be listed; what is left out is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Whose they are.
    pub namespace: Namespace,
    /// One of these states.
    pub statuses: Vec<Status>,
    /// This queue.
    pub queue: Option<QueueName>,
    /// This job.
    pub job: Option<JobName>,
    /// This tag among theirs.
    pub tag: Option<Tag>,
    /// Accepted then or later.
    pub since: Option<Millis>,
    /// Accepted earlier.
    pub before: Option<Millis>,
}

impl Filter {
    /// As scripts take it.
    pub(crate) fn args(&self) -> [Bytes; 6] {
        let millis = |at: Option<Millis>| at.map(|at| text(&at.0)).unwrap_or_default();
        [
            text(&self.namespace),
            self.queue.as_ref().map(text).unwrap_or_default(),
            self.job.as_ref().map(text).unwrap_or_default(),
            self.tag.as_ref().map(text).unwrap_or_default(),
            millis(self.since),
            millis(self.before),
        ]
    }
}

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The state that is being listed.
    pub status: Status,
    /// The set of tasks that is being listed.
    pub set: String,
    /// The last task that was looked at: its score there,
    pub score: String,
    /// and its name.
    pub member: String,
}

/// A task as it is listed: without its payload, its result and its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it is; the payload and what it asks for are left out.
    pub definition: Definition,
    /// How its attempts went.
    pub progression: Progression,
    /// Where it is; the result is left out, and an error's text if it is long.
    pub state: TaskState,
}

/// A slice of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// The tasks.
    pub tasks: Vec<Listed>,
    /// Tasks that some set holds and that have no definition: there must be none.
    pub undefined: Vec<TaskId>,
    /// Where to go on; none: that was all.
    pub next: Option<Cursor>,
}

/// A task that has ended, among all that have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Its place among them.
    pub cursor: EndingCursor,
    /// The task.
    pub task: Listed,
}

/// A place among all tasks that have ended: by time, then by id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndingCursor {
    at: Millis,
    /// None: before all that ended then.
    id: Option<TaskId>,
}

impl fmt::Display for EndingCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.at.0)?;
        self.id.map_or(Ok(()), |id| write!(f, "_{id}"))
    }
}

impl FromStr for EndingCursor {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            let shown: String = text.chars().take(64).collect();
            Invalid::new("event id", shown, "must be one that was given")
        };
        let (at, id) = text.split_once('_').map_or((text, None), |(at, id)| (at, Some(id)));
        let at = at.parse().map(Millis).map_err(|_| invalid())?;
        let id = id.map(str::parse).transpose().map_err(|_| invalid())?;
        Ok(Self { at, id })
    }
}

/// The next tasks that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endings {
    /// In the order of their ends.
    pub endings: Vec<Ending>,
    /// Where to go on.
    pub next: EndingCursor,
}

impl Queue {
    /// The next tasks that ended, up to `limit`, from a cursor on; from now on without one.
    pub async fn endings(
        &self,
        namespace: &Namespace,
        after: Option<&EndingCursor>,
        limit: usize,
    ) -> Result<Endings, StoreError> {
        let at = after.map(|after| text(&after.at.0)).unwrap_or_default();
        let id = after.and_then(|after| after.id).map(|id| text(&id)).unwrap_or_default();
        let args = vec![text(namespace), at, id, text(&limit)];
        let [next, items] = exactly(self.call(Script::Endings, args).await?.into_array()?)?;
        let endings = groups(items.into_array()?, |[at, id, header, state, finished]| {
            let id = stored(id.into_text()?.parse())?;
            let ended = record::finished(&finished.into_bytes()?)?;
            let task = listed(id, &header.into_bytes()?, &state.into_bytes()?, ended)?;
            Ok(Ending { cursor: EndingCursor { at: Millis(at.into_u64()?), id: Some(id) }, task })
        })?;
        let next = match endings.last() {
            Some(last) => last.cursor.clone(),
            None => stored(next.into_text()?.parse())?,
        };
        Ok(Endings { endings, next })
    }

    /// Up to `limit` tasks, from a cursor on. A slice may be short, even empty, and not be the last.
    pub async fn list(
        &self,
        filter: &Filter,
        limit: usize,
        cursor: Option<&Cursor>,
    ) -> Result<Slice, StoreError> {
        let mut args = Vec::from(filter.args());
        args.push(text(&limit));
        match cursor {
            None => args.extend([const { Bytes::new() }; 4]),
            Some(Cursor { status, set, score, member }) => {
                args.extend([text(status), text(set), text(score), text(member)]);
            }
        }
        let statuses = if filter.statuses.is_empty() { Status::ALL } else { &filter.statuses };
        args.extend(statuses.iter().map(text));
        let reply = self.call(Script::List, args).await?.into_array()?;
        let [status, set, score, member, items] = exactly(reply)?;
        let status = status.into_text()?;
        let mut slice = Slice::default();
        if !status.is_empty() {
            slice.next = Some(Cursor {
                status: stored(status.parse())?,
                set: set.into_text()?,
                score: score.into_text()?,
                member: member.into_text()?,
            });
        }
        for item in groups(items.into_array()?, Ok::<[Reply; 6], _>)? {
            let [id, status, header, progression, finished, claim] = item;
            let id = stored(id.into_text()?.parse())?;
            let header = header.into_bytes()?;
            if header.is_empty() {
                slice.undefined.push(id);
                continue;
            }
            let state = stored(status.into_text()?.parse())
                .and_then(|status| state_of(status, finished, claim, Reply::Bytes(Bytes::new())))?;
            slice.tasks.push(listed(id, &header, &progression.into_bytes()?, state)?);
        }
        Ok(slice)
    }

    /// Tasks in brief, in the order of their ids; unknown ones are left out.
    pub async fn briefs(&self, ids: &[TaskId]) -> Result<Vec<Listed>, StoreError> {
        let reply = self.call(Script::Briefs, ids.iter().map(text).collect()).await?.into_array()?;
        let briefs = groups(reply, |[id, status, header, progression, finished, claim, progress]| {
            let status = status.into_text()?;
            if status.is_empty() {
                return Ok(None);
            }
            let id = stored(id.into_text()?.parse())?;
            let state = state_of(stored(status.parse())?, finished, claim, progress)?;
            listed(id, &header.into_bytes()?, &progression.into_bytes()?, state).map(Some)
        })?;
        Ok(briefs.into_iter().flatten().collect())
    }
}

fn listed(id: TaskId, header: &Bytes, progression: &Bytes, state: TaskState) -> Result<Listed, StoreError> {
    let mut definition = record::definition_header(id, header)?;
    let progression = record::progression(progression)?;
    definition.spec.priority = progression.priority.unwrap_or(definition.spec.priority);
    Ok(Listed { definition, progression, state })
}
