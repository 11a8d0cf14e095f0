//! Whether it matters how many tasks wait: the rate at the start and at the end of a long drain.

use anyhow::{Context, Result};

use crate::{
    Options,
    load::{self, BATCH, Curve, number},
    report::{Sample, sample},
    rig::Rig,
};

const TASKS: u64 = 1_000_000;

/// The parts of the drain that are compared.
const PART: f64 = 0.1;

pub(super) async fn run(options: &Options) -> Result<Vec<Sample>> {
    let rig = Rig::start(options).await?.with_workers(1, &options.worker_args()).await?;
    let mut client = rig.client().await?;
    load::submit(&rig, BATCH).await?;
    load::completed(&mut client, BATCH).await?;
    load::pause(&mut client).await?;
    let tasks = options.many(TASKS).next_multiple_of(BATCH);
    load::submit(&rig, tasks).await?;
    load::resume(&mut client).await?;
    let curve = load::completed(&mut client, BATCH + tasks).await?;
    let (first, last) = (rate(&curve, BATCH, tasks, 0.0)?, rate(&curve, BATCH, tasks, 1.0 - PART)?);
    Ok(vec![
        sample("run while most of them wait", first, "/s"),
        sample("run while few of them wait", last, "/s"),
        sample("the first by the last", first / last, ""),
    ])
}

/// The rate from this share of the tasks on.
fn rate(curve: &Curve, before: u64, tasks: u64, from: f64) -> Result<f64> {
    let share = |done: u64| number(done.saturating_sub(before)) / number(tasks);
    let begin = curve.iter().rfind(|&&(_, done)| share(done) <= from).context("no beginning")?;
    let end =
        curve.iter().find(|&&(_, done)| share(done) >= from + PART).or(curve.last()).context("no end")?;
    Ok(number(end.1 - begin.1) / (end.0 - begin.0).as_secs_f64())
}
