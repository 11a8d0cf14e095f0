//! Parts of Sentinel, each alone in this process: what `benches/parts.rs` times, and what
//! `instructions` counts.

use std::{num::NonZeroU32, path::Path, sync::Arc, time::Duration};

use anyhow::{Result, bail, ensure};
use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header::CONTENT_TYPE},
};
use sentinel_api::ApiConfig;
use sentinel_host::engine::{Call, Deadlines, Engine, EngineConfig, GuestTask, Outcome, Plugin};
use sentinel_queue::{
    Queue,
    lease::{Instance, Served, Settlement, Turn, Verdict},
    store::{Store, embedded::Embedded},
    task::{AttemptReport, NewTask, Spec},
};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

use crate::load;

/// Attempts at one task, on one thread, without a queue.
pub struct Attempts {
    guests: Runtime,
    /// Raises deadlines, on a thread of its own.
    _control: Runtime,
    deadlines: Deadlines,
    plugin: Plugin,
    task: GuestTask,
}

impl Attempts {
    /// At a task with this payload, of the job that the file holds; one of 100 bytes, if nothing is
    /// said.
    pub fn new(plugin: &Path, payload: Option<&str>) -> Result<Self> {
        let control = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let deadlines = Deadlines::start(control.handle());
        let plugin = Engine::new(EngineConfig::new(NonZeroU32::MIN))?.admit(plugin)?;
        let task = GuestTask {
            id: "0198c5f0-0000-7000-8000-000000000000".into(),
            job: plugin.name().to_string(),
            queue: "default".into(),
            priority: 0,
            attempt: 1,
            max_attempts: 3,
            timeout: Duration::from_secs(30),
            payload: payload.map_or_else(load::payload, str::to_owned),
        };
        Ok(Self { guests: runtime()?, _control: control, deadlines, plugin, task })
    }

    /// Store, instance, call, drop.
    pub fn once(&self) -> Result<()> {
        let call = Call::new(&self.plugin, self.task.clone());
        let report = self.guests.block_on(self.plugin.run(call, &self.deadlines));
        match report.outcome {
            Outcome::Completed(_) => Ok(()),
            _ => bail!("an attempt did not complete: {report:?}"),
        }
    }
}

/// How many tasks a call of [`Calls`] carries.
pub const TASKS: usize = 50;

/// The queue's calls, made one after the other over one store.
pub struct Calls {
    runtime: Runtime,
    queue: Queue,
    instance: Instance,
    spec: Spec,
    held: Vec<Settlement>,
    number: u64,
}

impl Calls {
    /// Over a store.
    pub fn over(store: impl FnOnce() -> Result<Arc<dyn Store>>) -> Result<Self> {
        let runtime = runtime()?;
        let entered = runtime.enter();
        let queue = Queue::new(store()?);
        drop(entered);
        let instance = Instance::random("bench");
        Ok(Self { runtime, queue, instance, spec: load::spec()?, held: Vec::new(), number: 0 })
    }

    /// Over the embedded store, in memory.
    pub fn embedded() -> Result<Self> {
        Self::over(|| Ok(Arc::new(Embedded::in_memory())))
    }

    /// Submits so many no-op tasks in one call.
    pub fn submit(&self, count: usize) -> Result<()> {
        let tasks: Vec<_> = (0..count).map(|_| NewTask::new(self.spec.clone())).collect();
        let accepted = self.runtime.block_on(self.queue.submit(&tasks))?;
        ensure!(accepted.len() == count, "{} of {count} tasks were accepted", accepted.len());
        Ok(())
    }

    /// Settles what the last turn claimed, and claims [`TASKS`]; says how many that brought.
    pub fn turn(&mut self) -> Result<usize> {
        self.number += 1;
        let settlements = std::mem::take(&mut self.held);
        let turn = Turn { number: self.number, settlements, wanted: TASKS };
        let answer =
            self.runtime.block_on(self.queue.settle_and_claim(&self.instance, &Served::All, &turn))?;
        ensure!(answer.settled.iter().all(|taken| *taken), "a settlement was not taken");
        self.held = answer
            .claimed
            .iter()
            .map(|task| {
                let verdict = Verdict::Complete("null".into());
                Settlement::of(task, verdict, AttemptReport::default(), "".into())
            })
            .collect();
        Ok(self.held.len())
    }

    /// Tasks for one turn, then that turn.
    pub fn round(&mut self) -> Result<()> {
        self.submit(TASKS)?;
        let claimed = self.turn()?;
        ensure!(claimed == TASKS, "{claimed} of {TASKS} tasks were claimed");
        Ok(())
    }
}

/// Requests to the API's router, without a socket, over the embedded store in memory.
pub struct Requests {
    runtime: Runtime,
    router: Router,
}

impl Requests {
    /// Makes the router.
    pub fn new() -> Result<Self> {
        let runtime = runtime()?;
        let entered = runtime.enter();
        let queue = Queue::new(Arc::new(Embedded::in_memory()));
        let router = sentinel_api::router(queue, ApiConfig::default());
        drop(entered);
        Ok(Self { runtime, router })
    }

    /// Submits one task.
    pub fn submit(&self) -> Result<()> {
        let request = Request::post("/v1/tasks")
            .header(CONTENT_TYPE, "application/json")
            .header("host", "localhost")
            .body(Body::from(load::one()))?;
        let answer = self.runtime.block_on(self.router.clone().oneshot(request))?;
        ensure!(answer.status() == StatusCode::CREATED, "a submit was answered {}", answer.status());
        Ok(())
    }
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_settle_what_they_claimed_and_claim_what_was_submitted() {
        let mut calls = Calls::embedded().unwrap();
        assert_eq!(calls.turn().unwrap(), 0);
        calls.round().unwrap();
        calls.submit(1).unwrap();
        assert_eq!(calls.turn().unwrap(), 1);
        assert_eq!(calls.turn().unwrap(), 0);
    }

    #[test]
    fn a_request_submits_a_task() {
        Requests::new().unwrap().submit().unwrap();
    }
}
