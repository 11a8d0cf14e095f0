//! What was measured, for people and for machines.

use std::{fs, net::SocketAddr};

use anyhow::Result;
use serde::Serialize;

use crate::{Appendfsync, Options, Store};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// How.
    pub settings: Settings,
    /// What came of it.
    pub measures: Vec<Measured>,
}

/// The machine that it was measured on.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// How many threads run at once.
    pub cores: usize,
    /// How much memory it has, in bytes.
    pub memory_bytes: u64,
    /// The kernel.
    pub kernel: String,
    /// How many threads wanted to run, over the last minute, when it began.
    pub load: f64,
}

/// How it was measured.
#[derive(Debug, Serialize)]
pub struct Settings {
    /// The version that was measured.
    pub version: &'static str,
    /// The server that was measured, if it ran already.
    pub server: Option<SocketAddr>,
    /// Otherwise: what kept the queue.
    pub store: Store,
    /// How durable Redis was.
    pub appendfsync: Appendfsync,
    /// How often each measure was repeated.
    pub runs: u32,
    /// How many times smaller than the documented ones.
    pub shrink: u32,
}

/// What came of one measure.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Its name.
    pub name: &'static str,
    /// What was done.
    pub what: String,
    /// What was seen.
    pub figures: Vec<Figure>,
}

/// A number that was seen in each run.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// What it is.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// The one in the middle of all runs.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
    /// Each run's.
    pub runs: Vec<f64>,
}

/// What one run saw of a figure.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
}

pub(crate) fn sample(name: &'static str, value: f64, unit: &'static str) -> Sample {
    Sample { name, unit, value }
}

impl Report {
    /// With nothing measured yet.
    pub fn new(options: &Options) -> Result<Self> {
        let Options { server, store, appendfsync, runs, shrink, .. } = *options;
        let settings =
            Settings { version: env!("CARGO_PKG_VERSION"), server, store, appendfsync, runs, shrink };
        Ok(Self { machine: Machine::here()?, settings, measures: Vec::new() })
    }
}

impl Machine {
    fn here() -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let named = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = total.and_then(|total| total.trim().trim_end_matches(" kB").parse::<u64>().ok());
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Ok(Self {
            cpu: named.map_or("unknown", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            memory_bytes: kib.unwrap_or(0) << 10,
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        })
    }
}

impl Figure {
    /// The figures of several runs, each of which saw all of them.
    pub(crate) fn of(runs: Vec<Vec<Sample>>) -> Vec<Self> {
        let mut figures: Vec<Self> = Vec::new();
        for Sample { name, unit, value } in runs.into_iter().flatten() {
            match figures.iter_mut().find(|figure| figure.name == name) {
                Some(figure) => figure.runs.push(value),
                None => figures.push(Self { name, unit, median: 0.0, min: 0.0, max: 0.0, runs: vec![value] }),
            }
        }
        for figure in &mut figures {
            let mut sorted = figure.runs.clone();
            sorted.sort_by(f64::total_cmp);
            figure.median = quantile(&sorted, 0.5);
            (figure.min, figure.max) = (sorted[0], sorted[sorted.len() - 1]);
        }
        figures
    }
}

/// The value below which this share of sorted values lies.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index of a list that was measured"
    )]
    let at = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// The usual shares of times.
pub(crate) fn spread(mut values: Vec<f64>, unit: &'static str) -> Vec<Sample> {
    values.sort_by(f64::total_cmp);
    let at = |name, share| sample(name, quantile(&values, share), unit);
    vec![at("p50", 0.5), at("p95", 0.95), at("p99", 0.99)]
}

/// A number with the digits that say something.
pub fn rounded(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        medium if medium >= 10.0 => format!("{value:.1}"),
        small if small >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
