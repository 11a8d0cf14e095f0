//! The sandbox alone: what one attempt costs, on one thread.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    Options, load,
    parts::Attempts,
    report::{Sample, sample, spread},
};

const ATTEMPTS: u64 = 20_000;
const WARM_UP: u64 = 1_000;
const LONGEST: Duration = Duration::from_secs(5);

pub(super) fn run(options: &Options) -> Result<Vec<Sample>> {
    let attempts = Attempts::new(&options.plugin(&options.job)?, options.payload.as_deref())?;
    let attempt = || {
        let began = Instant::now();
        attempts.once()?;
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
