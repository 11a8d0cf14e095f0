//! Tasks that come at a steady rate, whatever becomes of those before.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{MissedTickBehavior, interval_at};

use crate::{
    Options, Store, load,
    report::{Sample, sample, spread},
    rig::Rig,
};

const SECONDS: u64 = 10;
const RATE: u64 = 2_000;
const RATE_ON_DISK: u64 = 500;
const CONNECTIONS: u32 = 20;

pub(super) async fn run(options: &Options) -> Result<Vec<Sample>> {
    let rig = Rig::start(options).await?.with_workers(1, &options.worker_args()).await?;
    let rate = if options.store == Store::Redis { RATE } else { RATE_ON_DISK };
    let each = options.many(SECONDS * rate / u64::from(CONNECTIONS));
    let between = Duration::from_secs(1) / u32::try_from(rate)?;
    // Each begins a little after the one before.
    let begin = tokio::time::Instant::now() + Duration::from_millis(100);
    let wall_begin = load::wall_clock() + Duration::from_millis(100);
    let mut lanes = Vec::new();
    for lane in 0..CONNECTIONS {
        let mut client = rig.client().await?;
        lanes.push(tokio::spawn(async move {
            let mut ticks = interval_at(begin + between * lane, between * CONNECTIONS);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut sent = Vec::new();
            for _ in 0..each {
                // When it was to be sent, not when it could be: a late request counts, too.
                let due = ticks.tick().await.duration_since(begin);
                sent.push((load::submit_one(&mut client).await?, wall_begin + due));
            }
            anyhow::Ok(sent)
        }));
    }
    let mut sent = Vec::new();
    for lane in lanes {
        sent.extend(lane.await??);
    }
    let mut client = rig.client().await?;
    let mut times = Vec::new();
    for (id, due) in sent {
        let entered = load::entered(&mut client, &id).await?;
        times.push(entered.saturating_sub(due).as_secs_f64() * 1e3);
    }
    let mut samples = vec![sample("submitted", load::number(rate), "/s")];
    samples.extend(spread(times, "ms"));
    Ok(samples)
}
