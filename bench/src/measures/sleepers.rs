//! Many tasks that wait in their guests, in one worker.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{
    Options, load,
    report::{Sample, sample},
    rig::Rig,
};

const TASKS: u64 = 10_000;

/// Long enough for all of them to be asleep at once.
const SLEEP_MS: u64 = 30_000;

pub(super) async fn run(options: &Options) -> Result<Vec<Sample>> {
    let tasks = options.many(TASKS);
    let mut rig = Rig::start(options).await?;
    fs::write(rig.plugins().join("noop.toml"), "[limits]\nmemory = \"1536KiB\"\n")?;
    let slots = tasks.to_string();
    rig.start_worker(&["--concurrency", &slots])?;
    rig.wait_for_workers().await?;
    let mut client = rig.client().await?;
    let resident = |rig: &Rig<'_>| rig.runners()[0].resident_bytes();
    let before = resident(&rig)?;

    let payload = format!(r#"{{"payload":{{"job":"noop","sleep_ms":{SLEEP_MS}}},"timeout":"5m"}}"#);
    let began = Instant::now();
    for first in (0..tasks).step_by(1000) {
        let some: Vec<_> = (first..tasks.min(first + 1000)).map(|_| payload.as_str()).collect();
        client.post("/v1/tasks/batch", format!(r#"{{"tasks":[{}]}}"#, some.join(",")).into()).await?;
    }
    let mut most = 0;
    loop {
        let counts = load::counts(&mut client).await?;
        most = most.max(counts.in_progress);
        if counts.in_progress == tasks {
            break;
        }
        if counts.completed + counts.failed > 0 || began.elapsed() > Duration::from_millis(SLEEP_MS) {
            bail!("only {most} of {tasks} tasks were asleep at once ({} failed)", counts.failed);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Claimed is not yet asleep.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let asleep_after = began.elapsed();
    let each = (resident(&rig)?.saturating_sub(before)) / tasks;
    load::completed(&mut client, tasks).await?;
    Ok(vec![
        sample("asleep at once", load::number(most), ""),
        sample("resident each", load::number(each) / 1024.0, "KiB"),
        sample("measured after", asleep_after.as_secs_f64(), "s"),
    ])
}
