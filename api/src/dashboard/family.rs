//! The tasks that one has to do with, as a drawing and as a list: those that it waits for or that submitted
//! it, to its left; those that wait for it or that it submitted, to its right.

use std::collections::{BTreeMap, BTreeSet};

use askama::{Template, filters::HtmlSafe};
use sentinel_queue::{Status, Task, TaskId, list::Listed};

use super::{
    frame::{Frame, Link},
    parts, words,
};
use crate::{App, auth::Caller, problem::Problem};

/// So many tasks are shown at most.
const MOST: usize = 50;

/// So many steps away from the task.
const STEPS: usize = 2;

/// A task's box, and the room between two, in pixels.
const WIDTH: usize = 168;
const HEIGHT: usize = 40;
const ACROSS: usize = 56;
const BELOW: usize = 12;

/// So many letters of a job's name have room in a box.
const LETTERS: usize = 19;

/// A family, drawn.
#[derive(Template)]
#[template(path = "family.html")]
pub(super) struct Family {
    width: usize,
    height: usize,
    lines: Vec<Line>,
    members: Vec<Member>,
    /// Whether there may be more than are shown.
    is_cut: bool,
}

impl HtmlSafe for Family {}

/// From a task to one that comes after it.
struct Line {
    path: String,
    class: &'static str,
}

/// A task.
struct Member {
    x: usize,
    y: usize,
    job: String,
    short_job: String,
    short: String,
    status: Status,
    badge: parts::Badge,
    class: &'static str,
    /// What it is to the task whose family it is.
    relation: &'static str,
    is_self: bool,
    link: Link,
}

/// Who is who.
struct Found {
    tasks: BTreeMap<TaskId, Listed>,
    below: BTreeMap<TaskId, Vec<TaskId>>,
    is_cut: bool,
}

/// The family of a task; none if it has to do with no other.
pub(super) async fn of(
    app: &App,
    caller: &Caller,
    frame: &Frame,
    task: &Task,
) -> Result<Option<Family>, Problem> {
    let id = task.definition.id;
    let mut found = Found { tasks: BTreeMap::new(), below: BTreeMap::new(), is_cut: false };
    found.look(app, caller, vec![id]).await?;
    let mut above = vec![id];
    let mut below = vec![id];
    for _ in 0..STEPS {
        above = found.look(app, caller, found.parents(&above)).await?;
        below = found.look(app, caller, found.children(&below)).await?;
    }
    if found.tasks.len() < 2 {
        return Ok(None);
    }
    Ok(Some(draw(frame, id, &found)))
}

impl Found {
    /// Looks at tasks that are not known yet, as far as there is room; answers those that there are.
    async fn look(&mut self, app: &App, caller: &Caller, ids: Vec<TaskId>) -> Result<Vec<TaskId>, Problem> {
        let mut ids: Vec<_> = ids.into_iter().filter(|id| !self.tasks.contains_key(id)).collect();
        let room = MOST - self.tasks.len();
        self.is_cut |= ids.len() > room;
        ids.truncate(room);
        if ids.is_empty() {
            return Ok(ids);
        }
        let mut seen = Vec::new();
        for kin in app.queue.kin(&ids, MOST).await? {
            if caller.sees(&kin.task.definition.spec) {
                let id = kin.task.definition.id;
                seen.push(id);
                self.below.insert(id, kin.below);
                self.tasks.insert(id, kin.task);
            }
        }
        Ok(seen)
    }

    fn parents(&self, ids: &[TaskId]) -> Vec<TaskId> {
        distinct(ids.iter().filter_map(|id| self.tasks.get(id)).flat_map(above))
    }

    fn children(&self, ids: &[TaskId]) -> Vec<TaskId> {
        distinct(ids.iter().filter_map(|id| self.below.get(id)).flatten().copied())
    }
}

fn distinct(ids: impl Iterator<Item = TaskId>) -> Vec<TaskId> {
    ids.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Those that a task waits for, and the one that submitted it.
fn above(task: &Listed) -> impl Iterator<Item = TaskId> {
    let spec = &task.definition.spec;
    spec.after.iter().copied().chain(spec.lineage.map(|lineage| lineage.parent))
}

fn draw(frame: &Frame, id: TaskId, found: &Found) -> Family {
    let columns = columns(&found.tasks);
    let mut places = BTreeMap::new();
    let tallest = columns.iter().map(Vec::len).max().unwrap_or(0);
    for (column, ids) in columns.iter().enumerate() {
        // Shorter columns stand in the middle.
        let start = (tallest - ids.len()) * (HEIGHT + BELOW) / 2;
        for (row, id) in ids.iter().enumerate() {
            places.insert(*id, (column * (WIDTH + ACROSS) + 2, start + row * (HEIGHT + BELOW) + 2));
        }
    }
    let mut lines = Vec::new();
    for task in found.tasks.values() {
        let to = places[&task.definition.id];
        let spec = &task.definition.spec;
        let submitted = spec.lineage.map(|lineage| (lineage.parent, "submitted"));
        let waits = spec.after.iter().map(|parent| (*parent, "waits"));
        for (parent, class) in waits.chain(submitted) {
            lines.extend(places.get(&parent).map(|from| Line { path: path(*from, to), class }));
        }
    }
    let task = &found.tasks[&id];
    let members = found.tasks.values().map(|member| {
        let (x, y) = places[&member.definition.id];
        Member::of(frame, member, task, (x, y))
    });
    let mut members: Vec<_> = members.collect();
    members.sort_by_key(|member| (member.x, member.y));
    Family {
        width: columns.len() * (WIDTH + ACROSS) - ACROSS + 4,
        height: tallest * (HEIGHT + BELOW) - BELOW + 4,
        lines,
        members,
        is_cut: found.is_cut,
    }
}

/// Tasks in columns, so that each stands to the right of all that it comes after.
fn columns(tasks: &BTreeMap<TaskId, Listed>) -> Vec<Vec<TaskId>> {
    let mut columns: Vec<Vec<TaskId>> = Vec::new();
    let mut placed: BTreeMap<TaskId, usize> = BTreeMap::new();
    let mut left: Vec<TaskId> = tasks.keys().copied().collect();
    while !left.is_empty() {
        let is_after = |parent: TaskId| tasks.contains_key(&parent) && !placed.contains_key(&parent);
        let has_room = |id: &TaskId| !above(&tasks[id]).any(is_after);
        let (mut ids, mut later): (Vec<_>, Vec<_>) = left.iter().copied().partition(has_room);
        if ids.is_empty() {
            // No task comes after itself; if the store says so all the same, it ends here.
            std::mem::swap(&mut ids, &mut later);
        }
        // Below each other as those that they come after.
        ids.sort_by_key(|id| {
            let rows = above(&tasks[id]).filter_map(|parent| placed.get(&parent)).copied();
            (rows.min().unwrap_or(usize::MAX), *id)
        });
        placed.extend(ids.iter().enumerate().map(|(row, id)| (*id, row)));
        columns.push(ids);
        left = later;
    }
    columns
}

/// A line from the right of one box to the left of another.
fn path((x, y): (usize, usize), (to_x, to_y): (usize, usize)) -> String {
    let (x, y, to_y) = (x + WIDTH, y + HEIGHT / 2, to_y + HEIGHT / 2);
    let end = to_x.saturating_sub(6);
    let middle = usize::midpoint(x, end);
    format!("M{x} {y}C{middle} {y} {middle} {to_y} {end} {to_y}")
}

impl Member {
    fn of(frame: &Frame, member: &Listed, task: &Listed, (x, y): (usize, usize)) -> Self {
        let id = member.definition.id;
        let (own, text) = (task.definition.id, id.to_string());
        let status = member.state.status();
        let is_parent = |child: &Listed, of: TaskId| child.definition.spec.after.contains(&of);
        let submitted = |child: &Listed, by: TaskId| {
            child.definition.spec.lineage.is_some_and(|lineage| lineage.parent == by)
        };
        let relation = match () {
            () if id == own => "this task",
            () if is_parent(task, id) => "this task waits for it",
            () if submitted(task, id) => "it submitted this task",
            () if is_parent(member, own) => "it waits for this task",
            () if submitted(member, own) => "this task submitted it",
            () => "further away",
        };
        Self {
            x,
            y,
            short_job: words::short(member.definition.spec.job.as_str(), LETTERS),
            job: member.definition.spec.job.to_string(),
            short: text[text.len() - 12..].to_owned(),
            badge: parts::Badge { status },
            class: parts::class(status),
            status,
            relation,
            is_self: id == own,
            link: frame.task(&id),
        }
    }
}
