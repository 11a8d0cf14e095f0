//! One claimed task: find its plugin, run it on the guests' threads or in a process of its own,
//! judge what came of it.

use std::{sync::Arc, time::Instant};

use sentinel_queue::{Millis, lease::Claimed, queue::chance};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{
    Shared,
    apart::{self, End},
    durable::Stored,
    leases::Lease,
    memory::TopUp,
    parents::StoredParents,
    settle::{self, Done},
    spans::{self, Attempted},
    turns::Ended,
};
use crate::engine::{Call, GuestTask, Interrupt, Outcome, Plugin, Report};

/// A task that was claimed, and the slot that it was claimed for.
pub(super) struct Claim {
    pub(super) task: Claimed,
    pub(super) slot: OwnedSemaphorePermit,
    /// When the call was sent.
    pub(super) sent: Instant,
    /// When it was claimed, by the store's clock.
    pub(super) now: Millis,
}

/// Starts a task, or says at once why not. The slot is free again when the attempt has ended.
pub(super) fn start(shared: Arc<Shared>, claim: Claim, report: mpsc::UnboundedSender<Ended>) {
    let Claim { mut task, slot, sent, now } = claim;
    let (id, token) = (task.definition.id, task.token.clone());
    let hold = |interrupt, progress, log| {
        let lease = Lease { token: token.clone(), interrupt, progress, renewed_at: sent, log };
        shared.leases.insert(id, lease);
    };
    let ended = Ended { id, token: token.clone(), done: Done::Release, pressure: false, told: None };
    let tell = move |done, pressure, told| {
        // The loop listens until every lease has been told of.
        drop(report.send(Ended { done, pressure, told, ..ended }));
    };

    let Some((plugin, policy)) = shared.plugins.get(&task.definition.spec.job) else {
        hold(Interrupt::new(), Arc::default(), spans::log_span(&task));
        return tell(Done::Settle(Box::new(settle::unknown_job(&task, chance()))), false, None);
    };
    let asked = std::mem::take(&mut task.definition.spec.policy);
    task.definition.spec.policy = asked.or(&policy).or(&task.defaults);
    let told = spans::begin(&shared.config.traces, shared.instance.as_str(), &mut task, now);
    let log = spans::log_span(&task);
    let mut call = Call::new(&plugin, guest_task(&task, &plugin));
    call.place = spans::place(&task, told.as_deref());
    call.parents = StoredParents::of(&shared.queue, &task.definition).map(|parents| Arc::new(parents) as _);
    call.durable = Some(Arc::new(Stored::of(
        &shared.queue,
        &task,
        shared.config.may_submit(&task.definition.spec.job),
        &log,
    )));
    hold(call.interrupt.clone(), Arc::clone(&call.progress), log.clone());
    let Some(top_up) = shared.memory.top_up(plugin.limits().memory_bytes) else {
        return tell(Done::Release, true, told);
    };
    let attempt = Attempt { shared, task, plugin, told, log, tell: Some(Box::new(tell)) };
    let room = (slot, top_up);
    if attempt.task.must_run_apart() {
        tokio::spawn(attempt.make_apart(call, room));
    } else {
        attempt.make(call, room);
    }
}

/// An attempt that is being made.
struct Attempt {
    shared: Arc<Shared>,
    task: Claimed,
    plugin: Plugin,
    /// What is told to whoever traces it.
    told: Option<Box<Attempted>>,
    /// Around lines of the log about it.
    log: tracing::Span,
    /// Tells of its end, once.
    tell: Option<Box<Tell>>,
}

/// Hears how an attempt ended, whether that was for want of room, and what is told of it.
type Tell = dyn FnOnce(Done, bool, Option<Box<Attempted>>) + Send;

/// What an attempt occupies.
type Room = (OwnedSemaphorePermit, TopUp);

impl Attempt {
    /// Has it made on the guests' threads, where its end is judged, too: to come back for that would
    /// cost a small attempt half as much again.
    fn make(self, call: Call, room: Room) {
        let running = self.plugin.run(call, &self.shared.deadlines);
        let guests = self.shared.guests.clone();
        let mut attempt = self;
        guests.spawn(async move {
            let report = running.await;
            drop(room);
            attempt.end(report);
        });
    }

    /// Has it made in a process of its own.
    async fn make_apart(mut self, call: Call, room: Room) {
        let run = apart::run(&self.shared, &self.plugin, call, room, self.log.clone());
        match run.await {
            End::Report(report) => self.end(report),
            End::Died(death) => {
                let task = &self.task;
                self.log.in_scope(|| {
                    tracing::error!(task = %task.definition.id, death, "a task killed the process that ran it alone");
                });
                if let Some(told) = &mut self.told {
                    told.end(None);
                }
                let digest = self.plugin.digest().to_string();
                let died = settle::died(task, digest, &death);
                self.tell(Done::Settle(Box::new(died)), false);
            }
        }
    }

    /// Judges what came of it.
    fn end(&mut self, mut report: Report) {
        let _in_trace = self.log.clone().entered();
        if let Some(told) = &mut self.told {
            told.end(report.calls.take());
        }
        let pressure = matches!(report.outcome, Outcome::Pressure(_));
        if let Outcome::Pressure(reason) = &report.outcome {
            tracing::warn!(task = %self.task.definition.id, reason, "no room for a guest: its task is given back");
        }
        let digest = self.plugin.digest().to_string();
        let done = settle::judge(&self.task, digest, report, chance());
        let (id, attempt) = (self.task.definition.id, self.task.progression.attempt());
        tracing::debug!(task = %id, job = %self.plugin.name(), attempt, how = done.as_str(), "an attempt ended");
        self.tell(done, pressure);
    }

    fn tell(&mut self, done: Done, pressure: bool) {
        if let Some(tell) = self.tell.take() {
            tell(done, pressure, self.told.take());
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // Nobody would hear of it otherwise, and its lease be renewed for ever.
        if self.tell.is_some() && std::thread::panicking() {
            self.log.in_scope(|| {
                tracing::error!(task = %self.task.definition.id, "the host failed while it ran a guest");
            });
            self.end(Report::host_failed());
        }
    }
}

fn guest_task(task: &Claimed, plugin: &Plugin) -> GuestTask {
    let spec = &task.definition.spec;
    GuestTask {
        id: task.definition.id.to_string(),
        job: spec.job.to_string(),
        queue: spec.queue.to_string(),
        priority: spec.priority.get(),
        attempt: task.progression.attempt(),
        max_attempts: task.progression.last_attempt(&spec.policy),
        timeout: spec.policy.timeout.unwrap_or(plugin.limits().wall),
        payload: spec.payload.as_str().to_owned(),
    }
}
