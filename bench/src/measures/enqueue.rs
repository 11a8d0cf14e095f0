//! Accepting tasks from within a program, straight into Redis.

use std::{sync::Arc, time::Instant};

use anyhow::{Context, Result};
use sentinel_queue::{
    Queue,
    store::redis::Redis,
    task::{NewTask, Spec},
};

use crate::{
    Options,
    load::{self, BATCH, number},
    report::{Sample, sample},
    rig::Rig,
};

const SINGLES: u64 = 60_000;
const LANES: u64 = 50;
const BATCHED: u64 = 200_000;
const BATCH_LANES: u64 = 4;

pub(super) async fn run(options: &Options) -> Result<Vec<Sample>> {
    let rig = Rig::start(options).await?;
    let redis = rig.redis().context("an embedded store has no other programs")?;
    let queue = Queue::new(Arc::new(Redis::new(redis.url())?));
    let singles = rate(&queue, options.many(SINGLES / LANES), LANES, 1).await?;
    let times = options.many(BATCHED / BATCH / BATCH_LANES);
    let batched = rate(&queue, times, BATCH_LANES, BATCH).await?;
    Ok(vec![sample("one by one", singles, "/s"), sample("in batches", batched, "/s")])
}

/// Tasks per second, when each of the lanes submits so many times so many at once.
async fn rate(queue: &Queue, times: u64, lanes: u64, at_once: u64) -> Result<f64> {
    let spec = load::spec()?;
    let began = Instant::now();
    let lane = |_| tokio::spawn(submit(queue.clone(), spec.clone(), times, at_once));
    for lane in (0..lanes).map(lane).collect::<Vec<_>>() {
        lane.await??;
    }
    Ok(number(lanes * times * at_once) / began.elapsed().as_secs_f64())
}

async fn submit(queue: Queue, spec: Spec, times: u64, at_once: u64) -> Result<()> {
    for _ in 0..times {
        let tasks: Vec<_> = (0..at_once).map(|_| NewTask::new(spec.clone())).collect();
        queue.submit(&tasks).await?;
    }
    Ok(())
}
