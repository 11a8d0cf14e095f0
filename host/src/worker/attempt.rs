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
    tokio::spawn(async move {
        let (done, pressure) = attend(&shared, &task, &plugin, call, (slot, top_up)).await;
        tell(done, pressure);
    });
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

/// Has the attempt made, and judges what came of it.
async fn attend(
    shared: &Shared,
    task: &Claimed,
    plugin: &Plugin,
    call: Call,
    room: (OwnedSemaphorePermit, TopUp),
) -> (Done, bool) {
    let digest = plugin.digest().to_string();
    let end = if task.must_run_apart() {
        apart::run(shared, plugin, call, room).await
    } else {
        End::Report(run(shared, task, plugin, call, room).await)
    };
    let report = match end {
        End::Report(report) => report,
        End::Died(death) => {
            tracing::error!(task = %task.definition.id, death, "a task killed the process that ran it alone");
            return (Done::Settle(Box::new(settle::died(task, digest, &death))), false);
        }
    };
    let pressure = matches!(report.outcome, Outcome::Pressure(_));
    if let Outcome::Pressure(reason) = &report.outcome {
        tracing::warn!(task = %task.definition.id, reason, "no room for a guest: its task is given back");
    }
    (settle::judge(task, digest, report, chance()), pressure)
}

/// Has the call run on the guests' threads.
async fn run(
    shared: &Shared,
    task: &Claimed,
    plugin: &Plugin,
    call: Call,
    room: (OwnedSemaphorePermit, TopUp),
) -> Report {
    let running = plugin.run(call, &shared.deadlines);
    let report = shared.guests.spawn(async move {
        let report = running.await;
        drop(room);
        report
    });
    report.await.unwrap_or_else(|panic| {
        tracing::error!(task = %task.definition.id, %panic, "the host failed while it ran a guest");
        Report::host_failed()
    })
}
