//! The overview: what is wrong, first; then how much there is of everything, and the last hour.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, response::Response};
use sentinel_queue::{
    Millis, Status,
    list::{Filter, Listed},
    queue::Counts,
    series::WaitingQueue,
    task::TaskState,
};

use super::{
    chart::Chart,
    charts,
    frame::{Frame, Link},
    hour, parts, show as page, words,
};
use crate::{App, auth::Caller, problem::Problem, workers};

/// So many of the newest failures are shown.
const FAILURES: usize = 8;

/// So many queues are shown, the fullest first.
const QUEUES: usize = 8;

/// So much of a reason is shown; the page of the task has all of it.
const REASON: usize = 200;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    live: Link,
    tiles: Vec<Tile>,
    workers: Workers,
    failures: Vec<Failure>,
    queues: Vec<Depth>,
    more_queues: usize,
    charts: Vec<Chart>,
    is_empty: bool,
}

/// How many tasks are in a state.
struct Tile {
    badge: parts::Badge,
    count: String,
    class: &'static str,
    link: Link,
}

/// The workers that are alive.
struct Workers {
    alive: usize,
    slots: u64,
    busy: u64,
    refused: usize,
}

/// A task that FAILED.
struct Failure {
    job: String,
    kind: parts::Kind,
    reason: String,
    ended: parts::Moment,
    link: Link,
}

/// How much waits in a queue.
struct Depth {
    name: String,
    count: String,
    /// How long the first in it waits.
    oldest: String,
    paused: bool,
    /// Of the fullest queue, in a hundred.
    share: u64,
    link: Link,
}

/// The overview.
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    frame: Frame,
) -> Result<Response, Problem> {
    let now = words::now();
    let counts = app.queue.counts(&caller.namespace).await?;
    let failed =
        Filter { namespace: caller.namespace.clone(), statuses: vec![Status::Failed], ..Filter::default() };
    let failures = app.queue.list(&failed, FAILURES, None).await?.tasks;
    let failures = failures.into_iter().filter(|task| caller.sees(&task.definition.spec));
    let waiting = app.queue.waiting(&caller.namespace).await?;
    let queues: Vec<_> =
        waiting.queues.into_iter().filter(|queue| caller.require_queue(&queue.queue).is_ok()).collect();
    let workers = alive(&app, &caller).await?;
    let hour = hour::of(&app, &caller).await?;
    let overview = Overview {
        live: frame.link("/live"),
        tiles: tiles(&frame, &counts),
        is_empty: counts.held() == 0 && counts.ever("submitted") == 0,
        failures: failures.filter_map(|task| failure(&frame, task, now)).collect(),
        more_queues: queues.len().saturating_sub(QUEUES),
        queues: depths(&frame, queues),
        charts: charts::of(&hour),
        workers,
        frame,
    };
    Ok(page(&overview))
}

fn tiles(frame: &Frame, counts: &Counts) -> Vec<Tile> {
    const ORDER: [Status; 7] = [
        Status::InProgress,
        Status::Queued,
        Status::Scheduled,
        Status::Blocked,
        Status::Failed,
        Status::Completed,
        Status::Cancelled,
    ];
    let tile = |status: Status| Tile {
        badge: parts::Badge { status },
        count: words::number(counts.of(status)),
        class: if counts.of(status) == 0 { "none" } else { parts::class(status) },
        link: frame.link("/tasks").with("status", status),
    };
    ORDER.map(tile).into()
}

async fn alive(app: &App, caller: &Caller) -> Result<Workers, Problem> {
    let mut sum = Workers { alive: 0, slots: 0, busy: 0, refused: 0 };
    for worker in app.queue.workers().await? {
        let info = workers::info(&worker);
        sum.alive += 1;
        sum.slots += info.slots.unwrap_or(0);
        sum.busy += info.busy.unwrap_or(0);
        sum.refused += if caller.grant().jobs.is_none() { info.refused.len() } else { 0 };
    }
    Ok(sum)
}

fn failure(frame: &Frame, task: Listed, now: Millis) -> Option<Failure> {
    let TaskState::Failed { ended, error } = task.state else { return None };
    let reason = words::visible(error.report.message.lines().next().unwrap_or_default());
    Some(Failure {
        job: task.definition.spec.job.to_string(),
        kind: parts::Kind { kind: error.kind },
        reason: if reason.is_empty() { "no message".into() } else { words::short(&reason, REASON) },
        ended: parts::Moment { at: ended.finished_at, now },
        link: frame.task(&task.definition.id),
    })
}

fn depths(frame: &Frame, mut queues: Vec<WaitingQueue>) -> Vec<Depth> {
    queues.sort_by(|one, other| other.depth.cmp(&one.depth).then_with(|| one.queue.cmp(&other.queue)));
    let most = queues.first().map_or(0, |queue| queue.depth).max(1);
    let depth = |queue: WaitingQueue| Depth {
        count: words::number(queue.depth),
        oldest: queue.oldest.map(|age| words::span(age.as_secs_f64() * 1000.0)).unwrap_or_default(),
        paused: queue.paused,
        share: (queue.depth * 100).div_ceil(most),
        link: frame.queue(&queue.queue),
        name: queue.queue.to_string(),
    };
    queues.into_iter().take(QUEUES).map(depth).collect()
}
