//! One claimed task: find its plugin, run it on the guests' threads or in a process of its own,
//! judge what came of it.

use std::{sync::Arc, time::Instant};

use sentinel_queue::{lease::Claimed, queue::chance};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{
    Shared,
    apart::{self, End},
    durable::Stored,
    leases::Lease,
    memory::TopUp,
    parents::StoredParents,
    settle::{self, Done},
    turns::Ended,
};
use crate::engine::{Call, GuestTask, Interrupt, Outcome, Plugin, Report};

/// A task that was claimed, and the slot that it was claimed for.
pub(super) struct Claim {
    pub(super) task: Claimed,
    pub(super) slot: OwnedSemaphorePermit,
    /// When the call was sent.
    pub(super) sent: Instant,
}

/// Starts a task, or says at once why not. The slot is free again when the attempt has ended.
pub(super) fn start(shared: Arc<Shared>, claim: Claim, report: mpsc::UnboundedSender<Ended>) {
    let Claim { mut task, slot, sent } = claim;
    let (id, token) = (task.definition.id, task.token.clone());
    let hold = |interrupt, progress| {
        let lease = Lease { token: token.clone(), interrupt, progress, renewed_at: sent };
        shared.leases.insert(id, lease);
    };
    let ended = Ended { id, token: token.clone(), done: Done::Release, pressure: false };
    let tell = move |done, pressure| {
        // The loop listens until every lease has been told of.
        drop(report.send(Ended { done, pressure, ..ended }));
    };

    let Some((plugin, policy)) = shared.plugins.get(&task.definition.spec.job) else {
        hold(Interrupt::new(), Arc::default());
        return tell(Done::Settle(Box::new(settle::unknown_job(&task, chance()))), false);
    };
    let asked = std::mem::take(&mut task.definition.spec.policy);
    task.definition.spec.policy = asked.or(&policy).or(&task.defaults);
    let mut call = Call::new(&plugin, guest_task(&task, &plugin));
    call.parents = StoredParents::of(&shared.queue, &task.definition).map(|parents| Arc::new(parents) as _);
    call.durable =
        Some(Arc::new(Stored::of(&shared.queue, &task, shared.config.may_submit(&task.definition.spec.job))));
    hold(call.interrupt.clone(), Arc::clone(&call.progress));
    let Some(top_up) = shared.memory.top_up(plugin.limits().memory_bytes) else {
        return tell(Done::Release, true);
    };
    let attempt = Attempt { shared, task, plugin, tell: Some(Box::new(tell)) };
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
    /// Tells of its end, once.
    tell: Option<Box<dyn FnOnce(Done, bool) + Send>>,
}

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
        match apart::run(&self.shared, &self.plugin, call, room).await {
            End::Report(report) => self.end(report),
            End::Died(death) => {
                let task = &self.task;
                tracing::error!(task = %task.definition.id, death, "a task killed the process that ran it alone");
                let digest = self.plugin.digest().to_string();
                let died = settle::died(task, digest, &death);
                self.tell(Done::Settle(Box::new(died)), false);
            }
        }
    }

    /// Judges what came of it.
    fn end(&mut self, report: Report) {
        let pressure = matches!(report.outcome, Outcome::Pressure(_));
        if let Outcome::Pressure(reason) = &report.outcome {
            tracing::warn!(task = %self.task.definition.id, reason, "no room for a guest: its task is given back");
        }
        let digest = self.plugin.digest().to_string();
        let done = settle::judge(&self.task, digest, report, chance());
        self.tell(done, pressure);
    }

    fn tell(&mut self, done: Done, pressure: bool) {
        if let Some(tell) = self.tell.take() {
            tell(done, pressure);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // Nobody would hear of it otherwise, and its lease be renewed for ever.
        if self.tell.is_some() && std::thread::panicking() {
            tracing::error!(task = %self.task.definition.id, "the host failed while it ran a guest");
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
