//! Running tasks that wait.

use std::time::Instant;

use anyhow::Result;

use crate::{
    Options, Store,
    load::{self, BATCH, Watch, number},
    report::{Sample, sample},
    rig::Rig,
};

const TASKS: u64 = 200_000;
const TASKS_ON_DISK: u64 = 50_000;

pub(super) async fn run(options: &Options, workers: usize) -> Result<Vec<Sample>> {
    let rig = Rig::start(options).await?.with_workers(workers, &options.worker_args()).await?;
    let mut client = rig.client().await?;
    let warm_up = 2 * BATCH;
    load::submit(&rig, warm_up).await?;
    load::completed(&mut client, warm_up).await?;

    load::pause(&mut client).await?;
    let full = if options.store == Store::Redis { TASKS } else { TASKS_ON_DISK };
    let tasks = options.many(full).next_multiple_of(BATCH);
    load::submit(&rig, tasks).await?;
    let watch = Watch::begin(&rig)?;
    let began = Instant::now();
    load::resume(&mut client).await?;
    let curve = load::completed(&mut client, warm_up + tasks).await?;
    let ended = curve.last().map_or(began, |&(at, _)| at);
    let mut samples = vec![sample("run", number(tasks) / (ended - began).as_secs_f64(), "/s")];
    samples.extend(watch.end(&rig, tasks)?);
    Ok(samples)
}
