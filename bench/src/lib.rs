//! Measures a Sentinel as its users meet it: processes of the real binary, over real sockets, on a
//! store that is thrown away afterwards.
//!
//! Owns what is measured and how; knows neither the queue's keys nor the engine's insides.
//! Invariants: every measure begins with an empty store and fresh processes, and nothing that
//! Sentinel promises is turned off for it.
//!
//! The path of a measure: [`run`] → `measures/` → `rig.rs` (the processes) → [`Report`].

#![forbid(unsafe_code)]

mod http;
mod load;
mod measures;
pub mod parts;
pub mod peers;
mod process;
mod report;
mod rig;

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

pub use self::{
    measures::Measure,
    report::{Figure, Machine, Measured, Report, Settings, rounded},
};

/// Where the queue is kept while it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// A `redis-server` of its own, an API process and workers
    Redis,
    /// `sentinel dev`: one process, on disk
    Embedded,
}

/// When the `redis-server` has a task on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Appendfsync {
    /// Never: it is kept in memory only
    None,
    /// Within about a second
    Everysec,
    /// Before it is acknowledged
    Always,
}

/// What is measured, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The binary that is measured.
    pub program: PathBuf,
    /// Where the job `noop` is, and others that are measured.
    pub plugins: Vec<PathBuf>,
    /// A server that runs already; none: all that is needed is started, and thrown away.
    pub server: Option<SocketAddr>,
    /// What keeps the queue.
    pub store: Store,
    /// How durable a `redis-server` is.
    pub appendfsync: Appendfsync,
    /// How many attempts a worker makes at once; as it decides itself, if nothing is said.
    pub concurrency: Option<u32>,
    /// The job whose attempts are measured alone.
    pub job: String,
    /// Its payload; without, one of 100 bytes.
    pub payload: Option<String>,
    /// How often each measure is repeated.
    pub runs: u32,
    /// The measures are this many times smaller than the documented ones.
    pub shrink: u32,
}

impl Options {
    /// So many, or as many fewer as was asked for.
    pub(crate) fn many(&self, full: u64) -> u64 {
        (full / u64::from(self.shrink.max(1))).max(1)
    }

    /// What a worker is told.
    pub(crate) fn worker_args(&self) -> Vec<String> {
        self.concurrency.map_or_else(Vec::new, |slots| vec!["--concurrency".into(), slots.to_string()])
    }
}

/// Takes these measures, one after the other; tells of each run as it ends.
pub fn run(options: &Options, measures: &[Measure], mut tell: impl FnMut(&Measured)) -> Result<Report> {
    let mut report = Report::new(options)?;
    for &measure in measures {
        report.measures.push(measure.take(options)?);
        report.measures.last().into_iter().for_each(&mut tell);
    }
    Ok(report)
}
