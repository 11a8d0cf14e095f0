//! What can be measured.

mod attempt;
mod backlog;
mod door;
mod drain;
mod enqueue;
mod idle;
mod memory;
mod sleepers;
mod start;
mod steady;
mod submit;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use tokio::runtime::Builder;

use crate::{
    Options, Store,
    report::{Figure, Measured, Sample},
};

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Measure {
    /// One sandboxed attempt, without a queue: store, instance, call, drop
    Attempt,
    /// Single submits over HTTP, 50 connections
    Submit,
    /// Submits over HTTP in batches of 1,000, 4 connections
    Batch,
    /// Submits by a program that holds the queue itself, without HTTP: 50 at once, and batches of 1,000
    Enqueue,
    /// No-op tasks that wait are run by one worker
    Drain,
    /// No-op tasks that wait are run by two workers
    Drain2,
    /// Tasks at a steady rate: from when each was to be sent until its function is entered
    Steady,
    /// One task at a time: from the request until the job's function is entered
    Idle,
    /// Health checks, each on a connection of its own, while 2,000 connections say nothing
    Door,
    /// How the rate of one worker changes with the number of tasks that wait
    Backlog,
    /// Tasks that sleep, all at once in one worker
    Sleepers,
    /// A worker is started with 20 plugins that were compiled before: until its first task runs
    Start,
    /// What a worker and a task in Redis take
    Memory,
}

impl Measure {
    /// All that can be measured so.
    pub fn all(options: &Options) -> Vec<Self> {
        Self::value_variants().iter().copied().filter(|measure| measure.check(options).is_ok()).collect()
    }

    /// Whether it can be measured so.
    pub fn check(self, options: &Options) -> Result<()> {
        // The others start and stop workers of their own, or look into Redis.
        let of_server = [Self::Submit, Self::Batch, Self::Steady, Self::Idle, Self::Door].contains(&self);
        let of_embedded = of_server || [Self::Attempt, Self::Drain].contains(&self);
        if options.server.is_some() && !of_server {
            bail!("{}: it cannot be measured on a server that runs: leave out --server", self.name());
        }
        if options.store == Store::Embedded && !of_embedded {
            bail!("{}: it cannot be measured on an embedded store: leave out --store", self.name());
        }
        Ok(())
    }

    /// Its name, as it is said on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::Submit => "submit",
            Self::Batch => "batch",
            Self::Enqueue => "enqueue",
            Self::Drain => "drain",
            Self::Drain2 => "drain2",
            Self::Steady => "steady",
            Self::Idle => "idle",
            Self::Door => "door",
            Self::Backlog => "backlog",
            Self::Sleepers => "sleepers",
            Self::Start => "start",
            Self::Memory => "memory",
        }
    }

    /// Takes it as often as was asked for.
    pub(crate) fn take(self, options: &Options) -> Result<Measured> {
        let what = self.to_possible_value().and_then(|value| Some(value.get_help()?.to_string()));
        let mut runs = Vec::new();
        for _ in 0..options.runs {
            runs.push(self.once(options).with_context(|| self.name())?);
        }
        Ok(Measured { name: self.name(), what: what.unwrap_or_default(), figures: Figure::of(runs) })
    }

    fn once(self, options: &Options) -> Result<Vec<Sample>> {
        if self == Self::Attempt {
            return attempt::run(options);
        }
        // One thread: what is measured needs the others.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            match self {
                Self::Attempt => unreachable!("it has no processes"),
                Self::Submit => submit::single(options).await,
                Self::Batch => submit::batches(options).await,
                Self::Enqueue => enqueue::run(options).await,
                Self::Drain => drain::run(options, 1).await,
                Self::Drain2 => drain::run(options, 2).await,
                Self::Steady => steady::run(options).await,
                Self::Idle => idle::run(options).await,
                Self::Door => door::run(options).await,
                Self::Backlog => backlog::run(options).await,
                Self::Sleepers => sleepers::run(options).await,
                Self::Start => start::run(options).await,
                Self::Memory => memory::run(options).await,
            }
        })
    }
}
