//! Tasks, as clients submit them, and how they end.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use sentinel_queue::{Payload, task::Spec};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    http::Client,
    process::Process,
    report::{Sample, sample},
    rig::{Redis, RedisUse, Rig},
};

/// Where all tasks wait.
const QUEUE: &str = "bench";

/// How many tasks a batch has.
pub(crate) const BATCH: u64 = 1000;

/// How many connections submit batches at once.
const CONNECTIONS: u64 = 4;

/// How long nothing may happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A payload of 100 bytes.
pub(crate) fn payload() -> String {
    let empty = r#"{"job":"noop","data":""}"#.len();
    format!(r#"{{"job":"noop","data":"{}"}}"#, "x".repeat(100 - empty))
}

/// A no-op task, as the queue takes it.
pub(crate) fn spec() -> Result<Spec> {
    let (payload, job) = Payload::parse(payload().into())?;
    Ok(Spec { queue: QUEUE.parse()?, ..Spec::new(job, payload) })
}

/// The body of a request for one task.
pub(crate) fn one() -> Bytes {
    format!(r#"{{"payload":{},"queue":"{QUEUE}"}}"#, payload()).into()
}

/// The body of a request for a batch.
pub(crate) fn batch(tasks: u64) -> Bytes {
    let one = one();
    let tasks: Vec<_> = (0..tasks).map(|_| &one[..]).collect();
    [br#"{"tasks":["#, &tasks.join(&b","[..])[..], b"]}"].concat().into()
}

/// Submits so many tasks in batches.
pub(crate) async fn submit(rig: &Rig<'_>, tasks: u64) -> Result<()> {
    let body = batch(BATCH);
    let mut lanes = Vec::new();
    let (batches, rest) = (tasks / BATCH, tasks % BATCH);
    for lane in 0..CONNECTIONS {
        let (mut client, body) = (rig.client().await?, body.clone());
        let share = batches / CONNECTIONS + u64::from(lane < batches % CONNECTIONS);
        lanes.push(tokio::spawn(async move {
            for _ in 0..share {
                client.post("/v1/tasks/batch", body.clone()).await?;
            }
            anyhow::Ok(())
        }));
    }
    for lane in lanes {
        lane.await??;
    }
    if rest > 0 {
        rig.client().await?.post("/v1/tasks/batch", batch(rest)).await?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Stats {
    status_counts: Counts,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) struct Counts {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) in_progress: u64,
}

pub(crate) async fn counts(client: &mut Client) -> Result<Counts> {
    Ok(client.get::<Stats>("/stats").await?.status_counts)
}

/// How many tasks had completed, and when.
pub(crate) type Curve = Vec<(Instant, u64)>;

/// Waits until so many tasks have completed.
pub(crate) async fn completed(client: &mut Client, tasks: u64) -> Result<Curve> {
    let mut curve: Curve = Vec::new();
    let mut moved = Instant::now();
    loop {
        let counts = counts(client).await?;
        let now = Instant::now();
        if counts.failed > 0 {
            bail!("{} tasks failed: {}", counts.failed, why(client).await?);
        }
        if curve.last().is_none_or(|&(_, before)| before != counts.completed) {
            moved = now;
        }
        curve.push((now, counts.completed));
        if counts.completed >= tasks {
            return Ok(curve);
        }
        if moved.elapsed() > PATIENCE {
            bail!("{} of {tasks} tasks completed, and no more within {PATIENCE:?}", counts.completed);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What the last failed task says.
async fn why(client: &mut Client) -> Result<String> {
    let failed: Value = client.get("/v1/tasks?status=FAILED&limit=1").await?;
    Ok(failed["tasks"][0]["error"].to_string())
}

/// Has all workers wait.
pub(crate) async fn pause(client: &mut Client) -> Result<()> {
    client.post(&format!("/v1/queues/{QUEUE}/pause"), Bytes::new()).await.map(drop)
}

pub(crate) async fn resume(client: &mut Client) -> Result<()> {
    client.post(&format!("/v1/queues/{QUEUE}/resume"), Bytes::new()).await.map(drop)
}

/// What the parts have used when something begins.
pub(crate) struct Watch {
    redis: RedisUse,
    runners: Duration,
    server: Duration,
}

impl Watch {
    pub(crate) fn begin(rig: &Rig<'_>) -> Result<Self> {
        let runners = rig.runners().iter().map(Process::cpu).sum::<Result<Duration>>()?;
        let redis = rig.redis().map(Redis::usage).transpose()?.unwrap_or_default();
        let server = rig.server().map(Process::cpu).transpose()?.unwrap_or_default();
        Ok(Self { redis, runners, server })
    }

    /// What each task has cost since then.
    pub(crate) fn end(self, rig: &Rig<'_>, tasks: u64) -> Result<Vec<Sample>> {
        let now = Self::begin(rig)?;
        let each = |now: Duration, then| now.saturating_sub(then).as_secs_f64() * 1e6 / number(tasks);
        if rig.server().is_none() {
            return Ok(Vec::new());
        }
        if rig.redis().is_none() {
            return Ok(vec![sample("CPU per task", each(now.server, self.server), "µs")]);
        }
        let commands = number(now.redis.commands - self.redis.commands) / number(tasks);
        let mut samples = Vec::new();
        if !rig.runners().is_empty() {
            samples.push(sample("worker CPU per task", each(now.runners, self.runners), "µs"));
        }
        samples.extend([
            sample("API CPU per task", each(now.server, self.server), "µs"),
            sample("Redis CPU per task", each(now.redis.cpu, self.redis.cpu), "µs"),
            sample("Redis commands per task", commands, ""),
        ]);
        Ok(samples)
    }
}

/// A count, to reckon with.
#[expect(clippy::cast_precision_loss, reason = "what is counted here is below 2^53")]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

#[derive(Deserialize)]
struct Submitted {
    task_id: String,
}

/// Submits a task; answers its id.
pub(crate) async fn submit_one(client: &mut Client) -> Result<String> {
    let answer = client.post("/submit-task", one()).await?;
    let Submitted { task_id } = serde_json::from_slice(&answer)?;
    Ok(task_id)
}

/// Since 1970.
pub(crate) fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// When a task's function was entered, since 1970; waits until it has completed.
pub(crate) async fn entered(client: &mut Client, id: &str) -> Result<Duration> {
    let task: Value = client.get(&format!("/v1/tasks/{id}?wait=30s")).await?;
    let entered = task["result"]["entered_us"].as_u64();
    Ok(Duration::from_micros(entered.with_context(|| format!("it did not complete as `noop` does: {task}"))?))
}
