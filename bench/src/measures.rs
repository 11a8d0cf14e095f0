//! What can be measured.

mod attempt;
mod backlog;
mod drain;
mod idle;
mod memory;
mod sleepers;
mod start;
mod steady;
mod submit;

use anyhow::{Context, Result};
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
    /// No-op tasks that wait are run by one worker
    Drain,
    /// No-op tasks that wait are run by two workers
    Drain2,
    /// Tasks at a steady rate: from the request until the client hears of the end
    Steady,
    /// One task at a time: from the request until the job's function is entered
    Idle,
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
    /// All that the store can be measured by.
    pub fn all(store: Store) -> Vec<Self> {
        Self::value_variants().iter().copied().filter(|measure| measure.is_of(store)).collect()
    }

    /// Whether it can be taken of such a store.
    pub fn is_of(self, store: Store) -> bool {
        // These start and stop workers of their own, or look into Redis.
        let redis_only =
            [Self::Drain2, Self::Backlog, Self::Sleepers, Self::Start, Self::Memory].contains(&self);
        store == Store::Redis || !redis_only
    }

    /// Its name, as it is said on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::Submit => "submit",
            Self::Batch => "batch",
            Self::Drain => "drain",
            Self::Drain2 => "drain2",
            Self::Steady => "steady",
            Self::Idle => "idle",
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
                Self::Drain => drain::run(options, 1).await,
                Self::Drain2 => drain::run(options, 2).await,
                Self::Steady => steady::run(options).await,
                Self::Idle => idle::run(options).await,
                Self::Backlog => backlog::run(options).await,
                Self::Sleepers => sleepers::run(options).await,
                Self::Start => start::run(options).await,
                Self::Memory => memory::run(options).await,
            }
        })
    }
}
