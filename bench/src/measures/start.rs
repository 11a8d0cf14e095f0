//! How soon a worker that is started runs its first task, with plugins that it has compiled before.

use std::{fs, time::Duration};

use anyhow::Result;
use serde_json::Value;

use crate::{
    Options, load,
    report::{Sample, sample},
    rig::Rig,
};

const PLUGINS: u8 = 20;

pub(super) async fn run(options: &Options) -> Result<Vec<Sample>> {
    let mut rig = Rig::start(options).await?;
    let noop = fs::read(options.plugin("noop")?)?;
    for number in 1..PLUGINS {
        // A custom section of one byte makes another component of it.
        let other = [&noop[..], &[0, 3, 1, b'n', number]].concat();
        fs::write(rig.plugins().join(format!("noop-{number}.wasm")), other)?;
    }
    // Compiles them.
    rig.start_worker(&options.worker_args())?;
    rig.wait_for_workers().await?;
    // Not before: a connection on which nothing is asked is closed after ten seconds.
    let mut client = rig.client().await?;
    let jobs = loop {
        rig.wait_for_workers().await?;
        let workers: Value = client.get("/v1/workers").await?;
        let jobs = workers["workers"][0]["jobs"].as_array().map_or(0, Vec::len);
        if jobs == usize::from(PLUGINS) {
            break jobs;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    rig.stop_workers()?;

    let id = load::submit_one(&mut client).await?;
    let started = load::wall_clock();
    rig.start_worker(&options.worker_args())?;
    let entered = load::entered(&mut client, &id).await?;
    Ok(vec![
        sample("until the first task runs", entered.saturating_sub(started).as_secs_f64() * 1e3, "ms"),
        sample("plugins", f64::from(u32::try_from(jobs)?), ""),
    ])
}
