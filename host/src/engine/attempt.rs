//! One attempt: a fresh store, the call, the outcome.
//!
//! Owns the store from its making to its end. Does not know why the task exists or what its
//! outcome leads to. Invariants: a store serves one attempt and is gone before its report is
//! out; the epoch deadline is set before any of the guest's code runs, start functions included.

use std::{
    fmt,
    future::poll_fn,
    io,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use wasmtime::{Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::{I32Exit, runtime::spawn_blocking};

use super::{
    bindings::sentinel::job::types,
    calls::{Calls, Place},
    cpu::CpuMeter,
    effects::{Buffer, Durable},
    host::{Host, Sandbox},
    imports::{Parents, ProgressCell},
    interrupt::Interrupt,
    limits::Limits,
    log::LogSink,
    outcome::{Outcome, Report, Usage},
    plugin::{Entry, Plugin, Stdout},
    scratch::Scratch,
    secret::{Cut, Secrets},
    verdict::{self, BadOutput, Called, Circumstances, Halt, Phase},
};

/// What the guest is told of its task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestTask {
    /// The task's UUID.
    pub id: String,
    /// The job's name.
    pub job: String,
    /// The queue that it came through.
    pub queue: String,
    /// Higher runs first.
    pub priority: i32,
    /// Counted from 1.
    pub attempt: u32,
    /// The number of the last attempt that the task may have.
    pub max_attempts: u32,
    /// What the task asked for.
    pub timeout: Duration,
    /// The JSON text as submitted.
    pub payload: String,
}

/// An attempt to be made.
#[derive(Clone, Debug)]
pub struct Call {
    /// What the guest is told.
    pub task: GuestTask,
    /// What it may use.
    pub limits: Limits,
    /// Where its progress goes.
    pub progress: Arc<ProgressCell>,
    /// What stops it.
    pub interrupt: Interrupt,
    /// The tasks that it waited for, if there are any.
    pub parents: Option<Arc<dyn Parents>>,
    /// What outlives it; without, state is empty and nothing is kept.
    pub durable: Option<Arc<dyn Durable>>,
    /// How many of its HTTP requests have been numbered before, by the attempt that it goes on from.
    pub http_requests: u64,
    /// Where it stands in a trace, if it does.
    pub place: Option<Place>,
}

impl Call {
    /// An attempt at `task` under the plugin's limits and the task's timeout.
    pub fn new(plugin: &Plugin, task: GuestTask) -> Self {
        let limits = plugin.limits_for(task.timeout);
        Self {
            task,
            limits,
            progress: Arc::default(),
            interrupt: Interrupt::new(),
            parents: None,
            durable: None,
            http_requests: 0,
            place: None,
        }
    }
}

/// Makes the attempt.
pub(super) async fn run(plugin: &Plugin, call: Call) -> Report {
    let started = Instant::now();
    let Call { task, limits, progress, interrupt, parents, durable, http_requests, place } = call;
    let calls = Calls::new(place);
    let grants = plugin.grants();
    let payload_bytes = task.payload.len() as u64;
    let log = LogSink::new(limits.log_bytes);
    let meter = Arc::new(CpuMeter::default());
    let output = LogSink::new(limits.result_bytes);
    let scratch = match scratch_of(plugin).await {
        Ok(scratch) => scratch,
        Err(error) => return no_scratch(error),
    };
    let sandbox = Sandbox {
        limits: &limits,
        grants,
        task: &task,
        http_requests,
        calls: &calls,
        scratch: scratch.as_ref().map(Scratch::path).zip(grants.scratch_bytes),
        log: &log,
        stdout: plugin.is_command().then_some(&output),
    };
    let buffer = Buffer::new(durable, calls.clone());
    let host = match Host::new(&sandbox, Arc::clone(&meter), interrupt.clone(), progress, parents, buffer) {
        Ok(host) => host,
        Err(error) => return no_scratch(error),
    };
    let mut store = store(plugin, &limits, host);

    let running = plugin.engine().ticker().running();
    let attempt = call_or_interrupt(plugin, &mut store, task.into(), &output, &interrupt, &meter);
    let called = meter.measure(attempt).await;
    drop(running);

    let data = store.data();
    let circumstances = Circumstances {
        refusal: data.limiter.refusal(),
        stderr_tail: log.stderr_tail(&grants.secrets),
        result_limit: limits.result_bytes,
        wall: limits.wall,
        cpu: limits.cpu(),
    };
    let returned_bytes = called.as_ref().map_or(0, returned_bytes);
    let spent = meter.spent();
    let mut usage = Usage {
        cpu: spent.cpu,
        wait: spent.wait,
        wall: Duration::ZERO,
        peak_memory_bytes: data.limiter.peak_memory() as u64,
        transfer_bytes: payload_bytes + returned_bytes + data.carried_bytes() + log.written_bytes(),
    };
    let effects = store.data_mut().effects.take();
    drop(store);
    if let Some(scratch) = scratch {
        scratch.remove().await;
    }
    let outcome = verdict::of(redacted(called, &grants.secrets), &circumstances);
    usage.wall = started.elapsed();
    Report { outcome, usage, log: log.take(&grants.secrets), effects, calls: calls.take() }
}

/// A directory for the attempt, if it has been granted one.
async fn scratch_of(plugin: &Plugin) -> io::Result<Option<Scratch>> {
    if plugin.grants().scratch_bytes.is_none() {
        return Ok(None);
    }
    let engine = plugin.engine().clone();
    spawn_blocking(move || engine.scratch().make()).await.map(Some)
}

fn no_scratch(error: impl fmt::Display) -> Report {
    Report::of(Outcome::Pressure(format!("there is no scratch directory to be had: {error}")))
}

/// What the guest says of its failure, without its secrets. A result is its own, byte for byte.
fn redacted(called: Called, secrets: &Secrets) -> Called {
    let redacted = |text| secrets.redacted(text, Cut::Nowhere);
    called.map(|returned| {
        returned.map_err(|failure| match failure {
            types::Failure::Retryable(text) => types::Failure::Retryable(redacted(text)),
            types::Failure::RetryAfter((wait, text)) => types::Failure::RetryAfter((wait, redacted(text))),
            types::Failure::Permanent(text) => types::Failure::Permanent(redacted(text)),
        })
    })
}

pub(super) fn store(plugin: &Plugin, limits: &Limits, host: Host) -> Store<Host> {
    let mut store = Store::new(plugin.engine().wasmtime(), host);
    store.limiter(|host| &mut host.limiter);
    store.set_hostcall_fuel(limits.transfer_bytes);
    store.set_max_component_handles(limits.handles);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|context: StoreContextMut<'_, Host>| end_of_turn(context.data()));
    store
}

/// Comes once per tick to a guest that computes: it is stopped, or gives its turn to the next.
fn end_of_turn(host: &Host) -> wasmtime::Result<UpdateDeadline> {
    if let Some(reason) = host.interrupt.reason() {
        return Err(wasmtime::Error::new(Halt::Interrupted(reason)));
    }
    if host.cpu_limit.is_some_and(|limit| host.meter.used_now() > limit) {
        return Err(wasmtime::Error::new(Halt::CpuSpent));
    }
    host.meter.note_yield();
    // Not `tokio::task::yield_now`, which lets the runtime take the same guest again at once: two
    // busy guests then starve all others. This one goes to the end of the queue.
    Ok(UpdateDeadline::Yield(1))
}

/// The call, or, when the guest waits in the host, its interruption. The call comes first: a
/// guest that computes is then stopped where it is, and its stack can be shown.
async fn call_or_interrupt(
    plugin: &Plugin,
    store: &mut Store<Host>,
    task: types::Task,
    output: &LogSink,
    interrupt: &Interrupt,
    meter: &CpuMeter,
) -> Called {
    if let Some(reason) = interrupt.reason() {
        return Err((Phase::Loading, wasmtime::Error::new(Halt::Interrupted(reason))));
    }
    let mut raised = pin!(interrupt.raised());
    // One that has just given its turn away computes, too: it is woken already, and stopped in its next.
    let raised_while_it_waits =
        poll_fn(|context| if meter.has_yielded() { Poll::Pending } else { raised.as_mut().poll(context) });
    tokio::select! {
        biased;
        called = call(plugin, store, task, output) => called,
        reason = raised_while_it_waits => {
            Err((Phase::Calling, wasmtime::Error::new(Halt::Interrupted(reason))))
        }
    }
}

async fn call(plugin: &Plugin, store: &mut Store<Host>, task: types::Task, output: &LogSink) -> Called {
    let loading = |error| (Phase::Loading, error);
    let calling = |error| (Phase::Calling, error);
    match plugin.entry() {
        Entry::Job(pre) => {
            let job = pre.instantiate_async(&mut *store).await.map_err(loading)?;
            job.sentinel_job_handler().call_run(store, &task).await.map_err(calling)
        }
        Entry::Command { pre, run } => {
            let command = pre.instantiate_async(&mut *store).await.map_err(loading)?;
            let run = command.get_typed_func::<(), (Result<(), ()>,)>(&mut *store, run).map_err(loading)?;
            let code = match run.call_async(store, ()).await {
                Ok((ended,)) => i32::from(ended.is_err()),
                Err(error) => match error.downcast_ref() {
                    Some(&I32Exit(code)) => code,
                    None => return Err(calling(error)),
                },
            };
            if code != 0 {
                return Err(calling(wasmtime::Error::new(I32Exit(code))));
            }
            printed(plugin.stdout(), output).map(Ok).map_err(|error| calling(wasmtime::Error::new(error)))
        }
    }
}

/// A command's result.
fn printed(stdout: Stdout, output: &LogSink) -> Result<String, BadOutput> {
    let text = String::from_utf8(output.take_whole().ok_or(BadOutput::TooMuch)?);
    let text = text.map_err(|_| BadOutput::NotText)?;
    Ok(match stdout {
        Stdout::Json => text.trim().to_owned(),
        Stdout::Text => serde_json::Value::String(text).to_string(),
    })
}

fn returned_bytes(returned: &Result<String, types::Failure>) -> u64 {
    let text = match returned {
        Ok(text)
        | Err(
            types::Failure::Retryable(text)
            | types::Failure::RetryAfter((_, text))
            | types::Failure::Permanent(text),
        ) => text,
    };
    text.len() as u64
}

impl From<GuestTask> for types::Task {
    fn from(task: GuestTask) -> Self {
        let GuestTask { id, job, queue, priority, attempt, max_attempts, timeout, payload } = task;
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        Self { id, job, queue, priority, attempt, max_attempts, timeout_ms, payload }
    }
}
