//! How soon a task is run when there is nothing else to do.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    Options, load,
    report::{Sample, spread},
    rig::Rig,
};

const TASKS: u64 = 500;
const PAUSE: Duration = Duration::from_millis(15);

#[derive(Deserialize)]
struct Submitted {
    task_id: String,
}

pub(super) async fn run(options: &Options) -> Result<Vec<Sample>> {
    let rig = Rig::start(options).await?.with_workers(1, &options.worker_args()).await?;
    let mut client = rig.client().await?;
    let tasks = options.many(TASKS).max(20);
    let mut sent = Vec::new();
    for number in 0..tasks {
        // Not in step with anything that looks at intervals.
        tokio::time::sleep(PAUSE + Duration::from_micros(number * 7919 % 5000)).await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let answer = client.post("/submit-task", load::one()).await?;
        let Submitted { task_id } = serde_json::from_slice(&answer)?;
        sent.push((task_id, now));
    }
    load::completed(&mut client, tasks).await?;
    let mut times = Vec::new();
    for (id, sent) in sent.into_iter().skip(10) {
        let result: Value = client.get(&format!("/v1/tasks/{id}/result")).await?;
        let entered = result["entered_us"].as_u64().context("no `entered_us`")?;
        let entered = Duration::from_micros(entered);
        times.push(entered.saturating_sub(sent).as_secs_f64() * 1e3);
    }
    Ok(spread(times, "ms"))
}
