//! The sandbox alone: what one attempt costs, on one thread.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use sentinel_host::engine::{Call, Deadlines, Engine, EngineConfig, GuestTask, Outcome};
use tokio::runtime::Builder;

use crate::{
    Options, load,
    report::{Sample, sample, spread},
};

const ATTEMPTS: u64 = 20_000;
const WARM_UP: u64 = 1_000;
const LONGEST: Duration = Duration::from_secs(5);

pub(super) fn run(options: &Options) -> Result<Vec<Sample>> {
    let control = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let deadlines = Deadlines::start(control.handle());
    let engine = Engine::new(EngineConfig::new(NonZeroU32::MIN))?;
    let plugin = engine.admit(&options.plugin(&options.job)?)?;
    let payload = options.payload.clone().unwrap_or_else(load::payload);
    let guests = Builder::new_current_thread().enable_all().build()?;
    let attempt = || {
        let began = Instant::now();
        let task = task(&options.job, &payload);
        let report = guests.block_on(plugin.run(Call::new(&plugin, task), &deadlines));
        if !matches!(report.outcome, Outcome::Completed(_)) {
            bail!("an attempt did not complete: {report:?}");
        }
        Ok(began.elapsed().as_secs_f64() * 1e6)
    };
    repeated(WARM_UP, attempt)?;
    let began = Instant::now();
    let times = repeated(options.many(ATTEMPTS), attempt)?;
    let rate = load::number(times.len() as u64) / began.elapsed().as_secs_f64();
    let mut samples = spread(times, "µs");
    samples.push(sample("one thread", rate, "/s"));
    Ok(samples)
}

/// So often, but no longer than is of use: a job may be long.
fn repeated(times: u64, once: impl Fn() -> Result<f64>) -> Result<Vec<f64>> {
    let began = Instant::now();
    let lasts = |_: &u64| began.elapsed() < LONGEST;
    (0..times).take_while(lasts).map(|_| once()).collect()
}

fn task(job: &str, payload: &str) -> GuestTask {
    GuestTask {
        id: "0198c5f0-0000-7000-8000-000000000000".into(),
        job: job.into(),
        queue: "default".into(),
        priority: 0,
        attempt: 1,
        max_attempts: 3,
        timeout: Duration::from_secs(30),
        payload: payload.into(),
    }
}
