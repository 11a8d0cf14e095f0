//! What is told of a claimed task to whoever traces it: its wait, its attempt, what that asked of
//! the host, and the commit.
//!
//! Owns the spans' names and attributes, after OpenTelemetry's conventions for messaging where they
//! fit. Does not know where spans go. Invariant: all of a task's spans are in one trace, whichever
//! workers make them; a task of which nobody is told costs nothing.

use std::{
    borrow::Cow,
    time::{Duration, Instant, SystemTime},
};

use sentinel_queue::{
    ErrorKind, Millis, TraceContext,
    lease::{Claimed, Settlement, Verdict},
    task::{AttemptReport, Progression},
};
use sentinel_trace::{KeyValue, Kind, Span, Traces};

use crate::engine::{CallKind, HostCall, HostCalls, Place};

/// An attempt that is told of.
pub(super) struct Attempted {
    traces: Traces,
    context: TraceContext,
    parent: Option<[u8; 8]>,
    queue: String,
    claimed_at: SystemTime,
    /// How long the task had been ready, if that is known.
    waited: Option<Duration>,
    about: Vec<KeyValue>,
    calls: HostCalls,
    /// When the guest had ended.
    ended_at: SystemTime,
}

/// How an attempt went that the store does not settle.
#[derive(Clone, Copy)]
pub(super) enum Unsettled {
    /// Its task was given back.
    Released,
    /// Its task was cancelled.
    Cancelled,
}

/// Begins an attempt at a task that was claimed at `now`, by the store's clock. What comes after
/// it (requests, children) stands under its span from now on, or where the task stood.
pub(super) fn begin(
    traces: &Traces,
    worker: &str,
    task: &mut Claimed,
    now: Millis,
) -> Option<Box<Attempted>> {
    let id = task.definition.id;
    let given = task.definition.spec.trace.as_deref();
    let context = given.map_or_else(|| traces.of_task(id), |given| traces.child(given));
    let context = context.filter(TraceContext::is_sampled)?;
    let attempted = Attempted {
        traces: traces.clone(),
        parent: given.map(TraceContext::span),
        queue: task.definition.spec.queue.to_string(),
        claimed_at: SystemTime::now(),
        waited: ready_since(task).map(|since| Duration::from_millis(now.0.saturating_sub(since.0))),
        about: about(task, worker),
        calls: HostCalls::default(),
        ended_at: SystemTime::now(),
        context,
    };
    task.definition.spec.trace = Some(Box::new(attempted.context.clone()));
    Some(Box::new(attempted))
}

/// Where the engine finds an attempt at this task in its trace.
pub(super) fn place(task: &Claimed, told: Option<&Attempted>) -> Option<Place> {
    task.definition.spec.trace.as_ref().map(|context| Place {
        trace: context.trace(),
        span: context.span(),
        flags: context.flags(),
        state: context.state().to_owned(),
        is_told: told.is_some(),
    })
}

/// Around lines of the log about an attempt: they carry the ids of its trace, if it is in one.
pub(super) fn log_span(task: &Claimed) -> tracing::Span {
    match &task.definition.spec.trace {
        // As important as the most important line in it, so that it is there whenever a line is.
        Some(context) => tracing::error_span!(
            "task",
            id = %task.definition.id,
            trace_id = context.trace_id(),
            span_id = context.span_id()
        ),
        None => tracing::Span::none(),
    }
}

/// Since when a task has been ready, if that can be told: of one that came back from a lost worker
/// it cannot.
fn ready_since(task: &Claimed) -> Option<Millis> {
    let Progression { ended, due, last_kind, .. } = &task.progression;
    let created = task.definition.created_at;
    match last_kind {
        Some(ErrorKind::WorkerLost) => None,
        _ if *ended == 0 => Some(due.map_or(created, |due| due.max(created))),
        _ => *due,
    }
}

fn about(task: &Claimed, worker: &str) -> Vec<KeyValue> {
    let spec = &task.definition.spec;
    vec![
        KeyValue::new("messaging.system", "sentinel"),
        KeyValue::new("messaging.destination.name", spec.queue.to_string()),
        KeyValue::new("messaging.message.id", task.definition.id.to_string()),
        KeyValue::new("sentinel.namespace", spec.namespace.to_string()),
        KeyValue::new("sentinel.job", spec.job.to_string()),
        KeyValue::new("sentinel.attempt", i64::from(task.progression.attempt())),
        KeyValue::new("sentinel.worker", worker.to_owned()),
    ]
}

impl Attempted {
    /// The guest has ended, having asked this of the host.
    pub(super) fn end(&mut self, calls: Option<Box<HostCalls>>) {
        self.calls = calls.map(|calls| *calls).unwrap_or_default();
        self.ended_at = SystemTime::now();
    }

    /// Tells of it, settled by a call that was sent at `sent` together with so many; `taken`: the
    /// store took it.
    pub(super) fn settled(self, settlement: &Settlement, taken: Taken, sent: Instant, together: usize) {
        let now = SystemTime::now();
        let (outcome, error) = match &settlement.verdict {
            Verdict::Complete(_) => ("COMPLETED", None),
            Verdict::Fail(error) => ("FAILED", Some(error)),
            Verdict::Retry(error, _) => ("retry", Some(error)),
            Verdict::Elsewhere(error, _) => ("elsewhere", Some(error)),
        };
        let mut said = vec![KeyValue::new("sentinel.outcome", outcome)];
        said.extend(used(&settlement.report));
        if let Some(error) = error {
            said.push(KeyValue::new("error.type", error.kind.as_str()));
            said.extend(
                error.report.detail.clone().map(|detail| KeyValue::new("sentinel.error.detail", detail)),
            );
        }
        if let Verdict::Retry(_, wait) = &settlement.verdict {
            said.push(KeyValue::new("sentinel.retry_after_ms", whole(wait.as_millis())));
        }
        let effects = &settlement.effects;
        let commit = Span {
            context: self.below(),
            parent: Some(self.context.span()),
            name: Cow::Owned(format!("settle {}", self.queue)),
            kind: Kind::Client,
            start: now.checked_sub(sent.elapsed()).unwrap_or(now),
            end: now,
            attributes: vec![
                KeyValue::new("messaging.system", "sentinel"),
                KeyValue::new("messaging.operation.type", "settle"),
                KeyValue::new("messaging.operation.name", outcome),
                KeyValue::new("messaging.batch.message_count", whole(together)),
                KeyValue::new("sentinel.state.reads", whole(effects.reads.len())),
                KeyValue::new("sentinel.state.writes", whole(effects.writes.len())),
                KeyValue::new("sentinel.children", whole(effects.children.len())),
            ],
            error: matches!(taken, Taken::TooLate).then(|| "the lease is another's".to_owned()),
        };
        let error = error.map(|error| error.report.message.clone()).or_else(|| commit.error.clone());
        self.traces.tell(commit);
        self.tell(settlement.report.usage.wall_us, said, error, now);
    }

    /// Tells of it as of one that the store does not settle.
    pub(super) fn unsettled(self, how: Unsettled) {
        let (outcome, error) = match how {
            Unsettled::Released => ("released", None),
            Unsettled::Cancelled => ("CANCELLED", Some("cancelled by request".to_owned())),
        };
        let (wall, end) = (self.ended_at.duration_since(self.claimed_at).unwrap_or_default(), self.ended_at);
        let wall = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
        self.tell(wall, vec![KeyValue::new("sentinel.outcome", outcome)], error, end);
    }

    /// Around lines of the log about it.
    pub(super) fn log_span(&self) -> tracing::Span {
        tracing::error_span!("task", trace_id = self.context.trace_id(), span_id = self.context.span_id())
    }

    fn tell(mut self, wall_us: u64, said: Vec<KeyValue>, error: Option<String>, end: SystemTime) {
        self.tell_of_wait();
        let calls = std::mem::take(&mut self.calls);
        let started = self.ended_at.checked_sub(Duration::from_micros(wall_us)).unwrap_or(self.claimed_at);
        for call in calls.calls {
            let span = self.call(call, started);
            self.traces.tell(span);
        }
        let mut attributes = self.about;
        attributes.push(KeyValue::new("messaging.operation.type", "process"));
        attributes.push(KeyValue::new("messaging.operation.name", "process"));
        attributes.extend(said);
        if calls.dropped > 0 {
            attributes.push(KeyValue::new("sentinel.host_calls.dropped", whole(calls.dropped)));
        }
        self.traces.tell(Span {
            context: self.context,
            parent: self.parent,
            name: Cow::Owned(format!("process {}", self.queue)),
            kind: Kind::Consumer,
            start: self.claimed_at,
            end,
            attributes,
            error,
        });
    }

    /// By the worker's clock: the store's may go otherwise.
    fn tell_of_wait(&self) {
        let Some(waited) = self.waited else { return };
        self.traces.tell(Span {
            context: self.below(),
            parent: self.parent,
            name: Cow::Owned(format!("wait {}", self.queue)),
            kind: Kind::Internal,
            start: self.claimed_at.checked_sub(waited).unwrap_or(self.claimed_at),
            end: self.claimed_at,
            attributes: self.about.clone(),
            error: None,
        });
    }

    fn call(&self, call: HostCall, started: SystemTime) -> Span {
        let start = started + call.at;
        let (name, kind, attributes) = named(&call.kind);
        let mut error = call.error;
        if let CallKind::Http { status: Some(status @ 400..), .. } = call.kind {
            error = Some(status.to_string());
        }
        if call.took.is_none() {
            error = Some("the attempt ended before it did".to_owned());
        }
        Span {
            context: self.context.under(call.span, true),
            parent: Some(self.context.span()),
            name: name.into(),
            kind,
            start,
            end: call.took.map_or(self.ended_at, |took| start + took),
            attributes,
            error,
        }
    }

    /// A new span of the same trace.
    fn below(&self) -> TraceContext {
        self.context.under(Traces::new_span(), true)
    }
}

/// Whether the store took a settlement.
#[derive(Clone, Copy)]
pub(super) enum Taken {
    /// It did.
    InTime,
    /// The lease was another's.
    TooLate,
}

/// A call's name, its side, and what it was about.
fn named(kind: &CallKind) -> (String, Kind, Vec<KeyValue>) {
    let (name, kind) = match kind {
        CallKind::Http { method, host, port, status } => {
            let mut about = vec![KeyValue::new("http.request.method", method.clone())];
            if !host.is_empty() {
                about.push(KeyValue::new("server.address", host.clone()));
                about.push(KeyValue::new("server.port", i64::from(*port)));
            }
            about.extend(status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
            return (method.clone(), Kind::Client, about);
        }
        CallKind::StateGet => ("state.get", Kind::Client),
        CallKind::CheckpointSave => ("checkpoint.save", Kind::Client),
        CallKind::CheckpointLoad => ("checkpoint.load", Kind::Client),
        CallKind::ParentsAll => ("parents.all", Kind::Client),
        CallKind::ParentsResult => ("parents.result-of", Kind::Client),
        CallKind::OutboxSubmit => ("outbox.submit", Kind::Internal),
        CallKind::Progress => ("progress.report", Kind::Internal),
    };
    (name.to_owned(), kind, Vec::new())
}

fn used(report: &AttemptReport) -> Vec<KeyValue> {
    let usage = &report.usage;
    let mut said = vec![
        KeyValue::new("sentinel.usage.cpu_us", whole(usage.cpu_us)),
        KeyValue::new("sentinel.usage.wall_us", whole(usage.wall_us)),
        KeyValue::new("sentinel.usage.wait_us", whole(usage.wait_us)),
        KeyValue::new("sentinel.usage.peak_memory_bytes", whole(usage.peak_memory_bytes)),
        KeyValue::new("sentinel.usage.transfer_bytes", whole(usage.transfer_bytes)),
    ];
    said.extend(report.plugin_digest.clone().map(|digest| KeyValue::new("sentinel.plugin.digest", digest)));
    said
}

fn whole(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
