//! What can be seen of the real queue must be what is in the model.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use sentinel_queue::{
    Namespace, Priority, QueueName, Status, TaskId,
    lease::Claimed,
    list::{Filter, Listed},
    store::Store,
    task::{Definition, Event, Progression, TaskError, TaskState},
};

use super::{
    machine::{DAY, End, LEASE, Model, Past, Place, Task},
    world::{Outcome, World, said},
};

/// Of what is counted over a lifetime, all.
const EVER: [&str; 9] =
    ["submitted", "COMPLETED", "FAILED", "CANCELLED", "retry", "unknown", "lost", "redriven", "removed"];

/// How many tasks are held in each state, and what ever happened: each effect once.
pub(crate) async fn counts(world: &World) -> Outcome {
    let counts = said(world.queue.counts(&Namespace::default()).await)?;
    for &status in Status::ALL {
        prop_assert_eq!(counts.of(status), world.model.held(status), "how many are {}", status);
    }
    for what in EVER {
        let expected = world.model.ever.get(what).copied().unwrap_or(0);
        prop_assert_eq!(counts.ever(what), expected, "how often: {}", what);
    }
    Ok(())
}

/// A claimed task as the worker is given it.
pub(crate) fn claimed(model: &Model, claim: &Claimed) -> Outcome {
    let id = claim.definition.id;
    let task = &model.tasks[&id];
    let Place::Running(expected) = &task.place else { panic!("the model let it be claimed") };
    prop_assert_eq!(claim.token.to_string(), expected.token.clone());
    prop_assert_eq!(&claim.definition, &definition(id, task));
    prop_assert_eq!(&claim.progression, &progression(task), "of {}", id);
    prop_assert_eq!(&claim.defaults, &model.queues[&task.spec.queue].settings.defaults);
    Ok(())
}

/// All that can be seen without asking for each task; lists are read in pages of so many. Answers
/// how many tasks are parked.
pub(crate) async fn whole(world: &World, page: usize) -> Outcome<usize> {
    counts(world).await?;
    let parked = queues(world).await?;
    for &status in Status::ALL {
        list(world, status, page, &parked).await?;
    }
    let tagged = Filter { tag: Some("tagged".parse().expect("a tag")), ..Filter::default() };
    let found: Vec<_> = all(world, &tagged, page).await?.into_iter().map(|task| task.definition.id).collect();
    let has_tag = |task: &&Task| !task.spec.tags.to_string().is_empty();
    prop_assert_eq!(found.len(), world.model.tasks.values().filter(has_tag).count());
    prop_assert!(found.iter().all(|id| has_tag(&&world.model.tasks[id])));
    workers(world).await?;
    operations(world).await?;
    wakes(world).await?;
    audit(world).await?;
    Ok(parked.values().sum())
}

/// Answers how many tasks are parked in each queue: how many wait for their concurrency key is
/// the store's own affair, as long as nobody notices.
async fn queues(world: &World) -> Outcome<BTreeMap<QueueName, usize>> {
    let queues = said(world.queue.queues(&Namespace::default()).await)?;
    let model = &world.model;
    let names: Vec<_> = queues.iter().map(|info| &info.name).collect();
    prop_assert_eq!(names, model.queues.keys().collect::<Vec<_>>());
    for info in &queues {
        let line = &model.queues[&info.name];
        prop_assert_eq!(&info.settings, &line.settings);
        prop_assert_eq!(info.paused, line.paused);
        prop_assert_eq!(info.depth, model.ready_in(&info.name).len() as u64, "the depth of {}", info.name);
        let running = line.settings.concurrency.map(|_| model.running_in(&info.name) as u64);
        prop_assert_eq!(info.running, running, "how many run in {}", info.name);
    }
    let parked = |parked| usize::try_from(parked).expect("small");
    Ok(queues.into_iter().map(|info| (info.name, parked(info.parked))).collect())
}

/// A list, walked page by page, gives exactly the tasks there are, in their order.
async fn list(world: &World, status: Status, page: usize, parked: &BTreeMap<QueueName, usize>) -> Outcome {
    let filter = Filter { statuses: vec![status], ..Filter::default() };
    let listed = all(world, &filter, page).await?;
    let ids: Vec<_> = listed.iter().map(|task| task.definition.id).collect();
    let model = &world.model;
    if status == Status::Queued {
        // Of each queue those that may run come first, then those that wait for their key.
        let mut rest = &ids[..];
        for (name, parked) in parked {
            let expected = model.ready_in(name);
            prop_assert!(rest.len() >= expected.len(), "{} lists {:?}", name, rest);
            let (these, others) = rest.split_at(expected.len());
            let (open, waiting) = these.split_at(these.len() - parked);
            for part in [open, waiting] {
                let in_order: Vec<_> = expected.iter().filter(|id| part.contains(id)).copied().collect();
                prop_assert_eq!(part, &in_order[..], "the order of {}", name);
            }
            prop_assert_eq!(BTreeSet::from_iter(these), expected.iter().collect::<BTreeSet<_>>());
            for id in waiting {
                let free = model.free_of_key(*id).unwrap_or(usize::MAX);
                let first = open.iter().filter(|other| model.share_key(**other, *id)).count();
                prop_assert!(first >= free, "{} is parked and its key is free", id);
            }
            rest = others;
        }
        prop_assert!(rest.is_empty());
    } else {
        prop_assert_eq!(&ids, &model.list(status), "the list of {}", status);
    }
    for task in &listed {
        shows(task, &model.tasks[&task.definition.id])?;
    }
    Ok(())
}

async fn all(world: &World, filter: &Filter, page: usize) -> Outcome<Vec<Listed>> {
    let (mut tasks, mut cursor) = (Vec::new(), None);
    loop {
        let slice = said(world.queue.list(filter, page, cursor.as_ref()).await)?;
        prop_assert!(slice.tasks.len() <= page && slice.undefined.is_empty(), "{:?}", slice);
        tasks.extend(slice.tasks);
        cursor = slice.next;
        if cursor.is_none() {
            return Ok(tasks);
        }
    }
}

fn shows(listed: &Listed, task: &Task) -> Outcome {
    let id = listed.definition.id;
    let mut shown = listed.definition.clone();
    // Lists leave these out.
    shown.spec.payload = task.spec.payload.clone();
    shown.spec.after.clone_from(&task.spec.after);
    prop_assert_eq!(&shown, &definition(id, task));
    prop_assert_eq!(&listed.progression, &progression(task), "of {}", id);
    is_in(&listed.state, task, id, false)
}

async fn workers(world: &World) -> Outcome {
    let since = world.now() - 3 * LEASE;
    let workers = said(world.queue.workers().await)?;
    let seen: Vec<_> = workers.into_iter().map(|worker| (worker.instance, worker.seen_at.0)).collect();
    let expected = world.model.workers.clone().into_iter().filter(|(_, seen)| *seen >= since);
    prop_assert_eq!(seen, expected.collect::<Vec<_>>());
    let since = world.now() - 600_000;
    let jobs = said(world.queue.jobs().await)?;
    let seen: Vec<_> = jobs.into_iter().map(|job| (job.name, job.advertised_at.0)).collect();
    let expected = world.model.jobs.clone().into_iter().filter(|(_, seen)| *seen >= since);
    prop_assert_eq!(seen, expected.collect::<Vec<_>>());
    Ok(())
}

async fn operations(world: &World) -> Outcome {
    let kept = |finished: Option<u64>| finished.is_none_or(|at| at + DAY > world.now());
    for expected in world.model.operations.iter().filter(|operation| kept(operation.finished)) {
        let operation = said(world.queue.operation(&expected.id).await)?;
        let Some(operation) = operation else {
            prop_assert!(false, "the operation {:?} is not there", expected);
            continue;
        };
        prop_assert_eq!((operation.kind, operation.dry_run), (expected.kind, expected.dry));
        prop_assert_eq!(operation.created_at.0, expected.created);
        prop_assert_eq!(operation.finished_at.map(|at| at.0), expected.finished);
        prop_assert_eq!(
            (operation.matched, operation.done),
            (expected.matched, expected.done),
            "{:?}",
            expected
        );
    }
    Ok(())
}

/// No idle worker sleeps while it could run something.
async fn wakes(world: &World) -> Outcome {
    let model = &world.model;
    for (name, line) in &model.queues {
        let runs = model.first_of(name).is_some() && model.least_from(name) > 0;
        if runs && line.settings.rate.is_none() {
            let marker = Bytes::from(format!("{{s0}}:wake:default:{name}"));
            let (keys, _) = said(world.wire.scan(marker.clone(), None).await)?;
            prop_assert!(keys.contains(&marker), "{} holds a task that may run, and wakes nobody", name);
        }
    }
    Ok(())
}

async fn audit(world: &World) -> Outcome {
    let audit = said(world.queue.audit(|_| {}).await)?;
    prop_assert_eq!(audit.problems, Vec::<String>::new());
    prop_assert_eq!(audit.tasks, world.model.tasks.len() as u64);
    prop_assert_eq!(audit.submitted, audit.held + audit.removed);
    Ok(())
}

/// Each task as it is read alone, with its payload, its result, its history and its logs.
pub(crate) async fn every_task(world: &World) -> Outcome {
    for id in &world.known {
        let found = said(world.queue.get(*id).await)?;
        let Some(task) = world.model.tasks.get(id) else {
            prop_assert!(found.is_none(), "{} was removed and is there", id);
            continue;
        };
        let Some(found) = found else {
            prop_assert!(false, "{} was accepted and is not there", id);
            continue;
        };
        prop_assert_eq!(&found.definition, &definition(*id, task));
        prop_assert_eq!(&found.progression, &progression(task), "of {}", id);
        is_in(&found.state, task, *id, true)?;
        // Of what happened in one millisecond the order is not told.
        let mut past: Vec<_> = found.history.iter().map(told).collect();
        let mut expected = task.past.clone();
        past.sort();
        expected.sort();
        prop_assert_eq!(past, expected, "the history of {}", id);
        for (attempt, log) in &task.logs {
            let found = said(world.queue.log(*id, *attempt).await)?;
            prop_assert_eq!(found.as_ref(), Some(log), "the log of attempt {} of {}", attempt, id);
        }
    }
    Ok(())
}

/// Of tasks that are not kept any more, and of what they needed, nothing is left.
pub(crate) async fn nothing_is_left(world: &World) -> Outcome {
    const STAYS: [&str; 7] =
        ["{s0}:endings", "{s0}:seq", "{s0}:stats", "{s0}:q", "{s0}:beat", "{s0}:rate", "{s0}:wake"];
    let (mut left, mut cursor) = (Vec::new(), None);
    loop {
        let (keys, next) = said(world.wire.scan(Bytes::from_static(b"{s0}:"), cursor).await)?;
        left.extend(keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()));
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    let stays = |key: &String| STAYS.contains(&&key[..]) || key.starts_with("{s0}:wake:");
    left.retain(|key| !stays(key));
    prop_assert_eq!(left, Vec::<String>::new());
    prop_assert!(world.model.tasks.is_empty() && world.model.keys.is_empty());
    Ok(())
}

fn definition(id: TaskId, task: &Task) -> Definition {
    let mut spec = task.spec.clone();
    spec.priority = task.priority();
    Definition { id, spec, created_at: sentinel_queue::Millis(task.created) }
}

fn progression(task: &Task) -> Progression {
    let changed: Option<Priority> = task.new_priority;
    Progression {
        ended: task.ended,
        failures: task.failures,
        lost: task.lost,
        spared: task.spared,
        due: task.due.map(sentinel_queue::Millis),
        priority: changed,
        last_kind: task.last_kind,
    }
}

/// Whether a task is where it should be, in the hands or by the end that it should have.
fn is_in(state: &TaskState, task: &Task, id: TaskId, whole: bool) -> Outcome {
    prop_assert_eq!(state.status(), task.status(), "where {} is", id);
    match (state, &task.place) {
        (TaskState::InProgress { worker, started_at, progress }, Place::Running(claim)) => {
            prop_assert_eq!((worker, started_at.0), (&claim.worker, claim.started), "who runs {}", id);
            if whole {
                prop_assert_eq!(progress, &claim.progress, "the progress of {}", id);
            }
        }
        (TaskState::Completed { ended, result }, Place::Ended(end)) => {
            prop_assert_eq!(&ended_as(ended, None), &how(end), "the end of {}", id);
            if whole {
                prop_assert_eq!(result, &end.result, "the result of {}", id);
            }
        }
        (TaskState::Failed { ended, error } | TaskState::Cancelled { ended, error }, Place::Ended(end)) => {
            prop_assert_eq!(&ended_as(ended, Some(error)), &how(end), "the end of {}", id);
        }
        _ => {}
    }
    Ok(())
}

type How = (u32, Option<(String, u64)>, u64, Option<sentinel_queue::ErrorKind>);

fn how(end: &End) -> How {
    (end.attempt, end.ran.clone(), end.at, end.kind)
}

fn ended_as(ended: &sentinel_queue::task::Ended, error: Option<&TaskError>) -> How {
    let ran = ended.worker.clone().zip(ended.started_at.map(|at| at.0));
    (ended.attempt, ran, ended.finished_at.0, error.map(|error| error.kind))
}

fn told(event: &Event) -> Past {
    let kind = |error: &Option<TaskError>| error.as_ref().map(|error| error.kind);
    match event {
        Event::Attempt { ended, outcome, error } => {
            Past::Attempt(ended.attempt, outcome.clone(), kind(error), ended.finished_at.0)
        }
        Event::End { at, status, error } => Past::End(*status, kind(error), at.0),
        Event::Redriven { at } => Past::Redriven(at.0),
    }
}
