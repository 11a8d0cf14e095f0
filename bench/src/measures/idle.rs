//! How soon a task is run when there is nothing else to do.

use std::time::Duration;

use anyhow::Result;

use crate::{
    Options, load,
    report::{Sample, spread},
    rig::Rig,
};

const TASKS: u64 = 500;
const PAUSE: Duration = Duration::from_millis(15);

/// The first ones find nothing in any cache.
const WARM_UP: usize = 10;

pub(super) async fn run(options: &Options) -> Result<Vec<Sample>> {
    let rig = Rig::start(options).await?.with_workers(1, &options.worker_args()).await?;
    let mut client = rig.client().await?;
    let mut sent = Vec::new();
    for number in 0..options.many(TASKS).max(20) {
        // Not in step with anything that looks at intervals.
        tokio::time::sleep(PAUSE + Duration::from_micros(number * 7919 % 5000)).await;
        let now = load::wall_clock();
        sent.push((load::submit_one(&mut client).await?, now));
    }
    let mut times = Vec::new();
    for (id, sent) in sent.into_iter().skip(WARM_UP) {
        let entered = load::entered(&mut client, &id).await?;
        times.push(entered.saturating_sub(sent).as_secs_f64() * 1e3);
    }
    Ok(spread(times, "ms"))
}
