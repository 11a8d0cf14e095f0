//! Server-sent events: one task as it changes, and the ends of all tasks.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream::{self, Stream, StreamExt};
use sentinel_queue::{
    TaskId,
    list::{EndingCursor, Listed},
    store::StoreError,
    task::TaskState,
};
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use crate::{
    App,
    auth::Caller,
    ends::{End, Ends},
    problem::{Code, Problem},
    segment::Segment,
    server::{Closing, closes},
    tasks,
    watch::Watcher,
    wire::{TaskBrief, TaskView, kind},
};

/// How many clients may listen at once to one process.
pub(crate) const LISTENERS: usize = 1024;

/// A running task's progress is looked at this often.
const LOOK: Duration = Duration::from_millis(500);

/// The store is asked to say the end of a task again this often.
const REGISTER: Duration = Duration::from_secs(120);

/// Follow a task: its state now, then each change of its status, attempt or progress, to its end.
#[utoipa::path(
    get, path = "/v1/tasks/{id}/events", operation_id = "follow_task", tag = "tasks",
    params(("id" = kind::TaskId, Path, description = "The task's id.")),
    responses(
        (status = 200, description = "Server-sent events named `task`, each with the task as data, without payload, result and history; the last, named `end`, has the whole task. A client that connects again gets the present state first.", body = kind::ServerSentEvent, content_type = "text/event-stream"),
    )
)]
pub(crate) async fn task(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(id): Segment,
    closing: Option<Extension<Closing>>,
) -> Result<Response, Problem> {
    let place = place(&app)?;
    let id = tasks::parse(&id)?;
    let watcher = app.watchers.watch(id);
    app.watchers.register(&watcher).await?;
    let first = tasks::brief(&app, &caller, id).await?;
    let follower = Follower {
        app,
        caller,
        id,
        watcher,
        closing: closing.map(|Extension(closing)| closing),
        registered: Instant::now(),
        last: String::new(),
        next: Some(first),
        has_ended: false,
        _place: place,
    };
    Ok(stream_of(stream::unfold(follower, Follower::next)))
}

/// One client that follows one task.
struct Follower {
    app: Arc<App>,
    caller: Caller,
    id: TaskId,
    watcher: Watcher,
    closing: Option<Closing>,
    registered: Instant,
    /// What was told last.
    last: String,
    /// What was read and not told.
    next: Option<Listed>,
    has_ended: bool,
    _place: OwnedSemaphorePermit,
}

impl Follower {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        while !self.has_ended {
            let mut notified = std::pin::pin!(self.watcher.notified());
            notified.as_mut().enable();
            let task = match self.next.take() {
                Some(task) => task,
                // A client that is cut off comes again; what it then hears is the truth.
                None => self.read().await.ok()?,
            };
            if task.state.status().is_final() {
                self.has_ended = true;
                let whole = tasks::find(&self.app, &self.caller, self.id).await.ok()?;
                return Some((Ok(event("end", &TaskView::from(whole))), self));
            }
            let seen = seen(&task);
            if self.last != seen {
                self.last = seen;
                return Some((Ok(event("task", &TaskBrief::from(task))), self));
            }
            tokio::select! {
                () = &mut notified => {}
                () = tokio::time::sleep(LOOK) => {}
                () = closes(self.closing.as_ref()) => return None,
            }
        }
        None
    }

    async fn read(&mut self) -> Result<Listed, Problem> {
        if self.registered.elapsed() > REGISTER {
            self.app.watchers.register(&self.watcher).await?;
            self.registered = Instant::now();
        }
        tasks::brief(&self.app, &self.caller, self.id).await
    }
}

/// What makes one state of a task different from another, for those who follow it.
fn seen(task: &Listed) -> String {
    let progress = match &task.state {
        TaskState::InProgress { progress: Some(progress), .. } => {
            format!("{} {}", progress.percent, progress.message)
        }
        _ => String::new(),
    };
    let (status, attempt, due) =
        (task.state.status(), task.progression.attempt(), task.progression.due.map_or(0, |due| due.0));
    format!("{status} {attempt} {due} {progress}")
}

/// Follow the ends of all tasks.
#[utoipa::path(
    get, path = "/v1/events", operation_id = "follow_ends", tag = "tasks",
    params(("Last-Event-ID" = Option<kind::EventId>, Header, description = "The id of the last event that was heard: goes on after it, as far back as finished tasks are kept.")),
    responses(
        (status = 200, description = "Server-sent events named `COMPLETED`, `FAILED` and `CANCELLED`, each with the task as data, without payload, result and history; before them an id alone, for a client that is cut off before it hears of any. After a cut, an event may be heard twice; none is left out.", body = kind::ServerSentEvent, content_type = "text/event-stream"),
    )
)]
pub(crate) async fn ends(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    closing: Option<Extension<Closing>>,
) -> Result<Response, Problem> {
    let place = place(&app)?;
    let after = match headers.get("last-event-id") {
        None => None,
        Some(id) => {
            let cursor = id.to_str().ok().and_then(|id| id.parse::<EndingCursor>().ok());
            Some(cursor.ok_or_else(|| Problem::field("Last-Event-ID", &"is no id of an event"))?)
        }
    };
    let closing = closing.map(|Extension(closing)| closing);
    // That the store is away is said with a status, not by silence. First heard, then read: an end
    // in between is not missed.
    let all = app.ends(&caller.namespace);
    let heard = all.listen().await?;
    let (ends, next) = all.after(after.as_ref()).await?;
    // Whoever is cut off before the first event goes on from here. An event without data is none:
    // clients take its id and tell nobody.
    let start = after.is_none().then(|| next.to_string());
    let is_behind = !ends.is_empty();
    let listener =
        Listener { all, caller, closing, after: next, ends: ends.into(), heard, is_behind, _place: place };
    let start = stream::iter(start.map(|id| Ok(Event::default().id(id))));
    Ok(stream_of(start.chain(stream::unfold(listener, Listener::next))))
}

/// One client that hears of all ends.
struct Listener {
    all: Ends,
    caller: Caller,
    closing: Option<Closing>,
    /// All up to this were told, or are about to be.
    after: EndingCursor,
    ends: VecDeque<End>,
    heard: broadcast::Receiver<Arc<End>>,
    /// The store may have ends that were not heard.
    is_behind: bool,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if let Some(end) = self.ends.pop_front() {
                if self.caller.grant().covers(&end.job, &end.queue) {
                    return Some((Ok(end.event), self));
                }
                continue;
            }
            if self.is_behind {
                match self.all.after(Some(&self.after)).await {
                    Ok((ends, next)) => {
                        self.is_behind = !ends.is_empty();
                        self.after = next;
                        self.ends = ends.into();
                    }
                    Err(StoreError::Unavailable(_)) => tokio::time::sleep(LOOK).await,
                    Err(_) => return None,
                }
                continue;
            }
            let heard = tokio::select! {
                heard = self.heard.recv() => heard,
                () = closes(self.closing.as_ref()) => return None,
            };
            match heard {
                Ok(end) if end.cursor > self.after => {
                    self.after = end.cursor.clone();
                    if self.caller.grant().covers(&end.job, &end.queue) {
                        return Some((Ok(end.event.clone()), self));
                    }
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => self.is_behind = true,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

pub(crate) fn place(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(&app.listeners).try_acquire_owned().map_err(|_| {
        Problem::of(Code::TooManyListeners, format!("{LISTENERS} clients listen already: come again later"))
    })
}

pub(crate) fn event(name: &str, data: &impl serde::Serialize) -> Event {
    // Outside of strings, where it is escaped, a carriage return is a space; events have none.
    let json = serde_json::to_string(data).unwrap_or_default().replace('\r', " ");
    Event::default().event(name).data(json)
}

pub(crate) fn stream_of(stream: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    let mut response = Sse::new(stream).keep_alive(KeepAlive::default()).into_response();
    // A proxy must not keep events back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
