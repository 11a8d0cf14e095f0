//! What is held in memory.

use anyhow::{Context, Result};

use crate::{
    Options,
    load::{self, BATCH, number},
    report::{Sample, sample},
    rig::{Redis, Rig},
};

const TASKS: u64 = 200_000;

pub(super) async fn run(options: &Options) -> Result<Vec<Sample>> {
    let mut rig = Rig::start(options).await?;
    let mut client = rig.client().await?;
    let tasks = options.many(TASKS).next_multiple_of(BATCH);
    load::submit(&rig, 1).await?;
    let empty = redis_bytes(&rig)?;
    load::submit(&rig, tasks).await?;
    let queued = (redis_bytes(&rig)? - empty) / number(tasks);
    rig.start_worker(&options.worker_args())?;
    rig.wait_for_workers().await?;
    load::completed(&mut client, tasks + 1).await?;
    let finished = (redis_bytes(&rig)? - empty) / number(tasks);
    let worker = rig.runners()[0].resident_bytes()?;
    let api = rig.server().context("no API")?.resident_bytes()?;
    Ok(vec![
        sample("Redis, a queued task", queued, "bytes"),
        sample("Redis, a completed task", finished, "bytes"),
        sample("a worker that has run them", number(worker >> 20), "MiB"),
        sample("the API", number(api >> 20), "MiB"),
    ])
}

fn redis_bytes(rig: &Rig<'_>) -> Result<f64> {
    let usage = rig.redis().map(Redis::usage).context("no Redis")??;
    Ok(number(usage.memory_bytes))
}
