//! Accepting tasks, while nobody runs any.

use std::time::Instant;

use anyhow::Result;

use crate::{
    Options,
    load::{self, BATCH, Watch, number},
    report::{Sample, sample, spread},
    rig::Rig,
};

const SINGLES: u64 = 60_000;
const CONNECTIONS: u64 = 50;
const BATCHED: u64 = 200_000;

pub(super) async fn single(options: &Options) -> Result<Vec<Sample>> {
    let rig = waiting(options).await?;
    let each = options.many(SINGLES / CONNECTIONS);
    let watch = Watch::begin(&rig)?;
    let began = Instant::now();
    let mut lanes = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = rig.client().await?;
        lanes.push(tokio::spawn(async move {
            let mut times = Vec::new();
            for _ in 0..each {
                let sent = Instant::now();
                client.post("/submit-task", load::one()).await?;
                times.push(sent.elapsed().as_secs_f64() * 1e3);
            }
            anyhow::Ok(times)
        }));
    }
    let mut times = Vec::new();
    for lane in lanes {
        times.extend(lane.await??);
    }
    let took = began.elapsed().as_secs_f64();
    let tasks = each * CONNECTIONS;
    let mut samples = vec![sample("submitted", number(tasks) / took, "/s")];
    samples.extend(spread(times, "ms"));
    samples.extend(watch.end(&rig, tasks)?);
    Ok(samples)
}

pub(super) async fn batches(options: &Options) -> Result<Vec<Sample>> {
    let rig = waiting(options).await?;
    let tasks = options.many(BATCHED).next_multiple_of(BATCH);
    let watch = Watch::begin(&rig)?;
    let began = Instant::now();
    load::submit(&rig, tasks).await?;
    let took = began.elapsed().as_secs_f64();
    let mut samples = vec![sample("submitted", number(tasks) / took, "/s")];
    samples.extend(watch.end(&rig, tasks)?);
    Ok(samples)
}

/// With nobody who runs tasks.
async fn waiting(options: &Options) -> Result<Rig<'_>> {
    let rig = Rig::start(options).await?;
    let mut client = rig.client().await?;
    load::submit(&rig, BATCH).await?;
    if rig.redis().is_none() && rig.server().is_some() {
        load::completed(&mut client, BATCH).await?;
        load::pause(&mut client).await?;
    }
    Ok(rig)
}
