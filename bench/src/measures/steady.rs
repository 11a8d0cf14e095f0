//! Tasks that come at a steady rate, whatever becomes of those before: until the client hears of
//! their ends.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Method, body::Incoming};
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    Options, Store, load,
    report::{Sample, sample, spread},
    rig::Rig,
};

const SECONDS: u64 = 10;
const RATE: u64 = 2_000;
const RATE_ON_DISK: u64 = 500;
const CONNECTIONS: u64 = 20;

#[derive(Deserialize)]
struct Named {
    task_id: String,
}

pub(super) async fn run(options: &Options) -> Result<Vec<Sample>> {
    let rig = Rig::start(options).await?.with_workers(1, &options.worker_args()).await?;
    let rate = if options.store == Store::Redis { RATE } else { RATE_ON_DISK };
    let ends = rig.client().await?.send(Method::GET, "/v1/events", Bytes::new()).await?;
    let each = options.many(SECONDS * rate / CONNECTIONS);
    let listening = tokio::spawn(listen(ends, each * CONNECTIONS));
    let mut lanes = Vec::new();
    for lane in 0..CONNECTIONS {
        let mut client = rig.client().await?;
        lanes.push(tokio::spawn(async move {
            let between = Duration::from_secs(CONNECTIONS) / u32::try_from(rate)?;
            tokio::time::sleep(between / u32::try_from(CONNECTIONS)? * u32::try_from(lane)?).await;
            let mut ticks = interval(between);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut sent = Vec::new();
            for _ in 0..each {
                // When it was to be sent, not when it could be: a late request counts, too.
                let due = ticks.tick().await.into_std();
                let Named { task_id } =
                    serde_json::from_slice(&client.post("/submit-task", load::one()).await?)?;
                sent.push((task_id, due));
            }
            anyhow::Ok(sent)
        }));
    }
    let mut sent = Vec::new();
    for lane in lanes {
        sent.extend(lane.await??);
    }
    let heard = listening.await??;
    let mut times = Vec::new();
    for (id, due) in sent {
        let at = heard.get(&id).with_context(|| format!("nothing was heard of the end of {id}"))?;
        times.push(at.saturating_duration_since(due).as_secs_f64() * 1e3);
    }
    let mut samples = vec![sample("submitted", load::number(rate), "/s")];
    samples.extend(spread(times, "ms"));
    Ok(samples)
}

/// When each of so many ends was heard of.
async fn listen(mut ends: Incoming, tasks: u64) -> Result<HashMap<String, Instant>> {
    let (mut heard, mut rest) = (HashMap::new(), Vec::new());
    while load::number(heard.len() as u64) < load::number(tasks) {
        let frame = ends.frame().await.context("the server ended the stream")??;
        let Ok(data) = frame.into_data() else { continue };
        let now = Instant::now();
        rest.extend_from_slice(&data);
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            if let Some(json) = line.strip_prefix(b"data:") {
                let Named { task_id } = serde_json::from_slice(json)?;
                heard.insert(task_id, now);
            }
        }
    }
    Ok(heard)
}
