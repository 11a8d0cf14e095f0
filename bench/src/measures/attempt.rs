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

pub(super) fn run(options: &Options) -> Result<Vec<Sample>> {
    let control = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let deadlines = Deadlines::start(control.handle());
    let engine = Engine::new(EngineConfig::new(NonZeroU32::MIN))?;
    let plugin = engine.admit(&options.plugin("noop")?)?;
    let guests = Builder::new_current_thread().enable_all().build()?;
    let attempts = options.many(ATTEMPTS);
    let (mut times, mut began) = (Vec::new(), Instant::now());
    for number in 0..WARM_UP + attempts {
        if number == WARM_UP {
            (times, began) = (Vec::new(), Instant::now());
        }
        let attempt = Instant::now();
        let report = guests.block_on(plugin.run(Call::new(&plugin, task()), &deadlines));
        times.push(attempt.elapsed().as_secs_f64() * 1e6);
        if !matches!(report.outcome, Outcome::Completed(_)) {
            bail!("an attempt did not complete: {report:?}");
        }
    }
    let rate = load::number(attempts) / began.elapsed().as_secs_f64();
    let mut samples = spread(times, "µs");
    samples.push(sample("one thread", rate, "/s"));
    Ok(samples)
}

fn task() -> GuestTask {
    GuestTask {
        id: "0198c5f0-0000-7000-8000-000000000000".into(),
        job: "noop".into(),
        queue: "default".into(),
        priority: 0,
        attempt: 1,
        max_attempts: 3,
        timeout: Duration::from_secs(30),
        payload: load::payload(),
    }
}
