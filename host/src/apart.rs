//! One attempt in a process of its own, which runs nothing else: its death convicts its task alone.
//!
//! Owns the child's side, from its start to its end, and the messages. The parent's side is
//! `worker/apart.rs`. Knows no queue. Invariant: the child runs the code that its parent handed to
//! it, says how that ended, and does not outlive its parent.

use std::{
    io::{self, Read},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    engine::{
        Call, Compilation, Deadlines, Digest, Engine, EngineConfig, GuestTask, Interrupt, KnownParents,
        Limits, Plugin, Progress, ProgressCell, Report,
    },
    pipe::{check_parent, read_bytes, read_message, write_message},
};

/// How often the guest's progress is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What the parent writes first. The plugin's code comes next; then nothing, until it closes the
/// pipe or is gone.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Who the parent is.
    parent: u32,
    engine: EngineConfig,
    job: String,
    digest: Digest,
    task: GuestTask,
    limits: Limits,
    /// The child has no store to look them up in.
    parents: KnownParents,
}

/// What the child writes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    /// It cannot run anything; says why. The last message.
    Unable(String),
    /// The guest runs from now on.
    Begun,
    /// How far the guest is.
    Progress(Progress),
    /// The attempt has ended. The last message.
    Ended(Report),
}

impl Order {
    /// For an attempt at this call.
    pub(crate) fn new(plugin: &Plugin, call: Call, parents: KnownParents) -> Self {
        let engine = EngineConfig {
            slots: NonZeroU32::MIN,
            // The code is handed over: the child compiles nothing.
            compilation: Compilation::Here,
            cache_dir: None,
            plugin_dirs: Vec::new(),
            ..plugin.engine().config().clone()
        };
        Self {
            parent: std::process::id(),
            engine,
            job: plugin.name().to_string(),
            digest: *plugin.digest(),
            task: call.task,
            limits: call.limits,
            parents,
        }
    }
}

/// The child: makes the one attempt that its parent orders on standard input, and tells of it on
/// standard output. Logs must go elsewhere.
pub fn run() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut from_parent = io::stdin();
    let order: Order = read_message(&mut from_parent)?;
    let code = read_bytes(&mut from_parent, u32::MAX)?;
    check_parent(order.parent)?;
    end_with_parent()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // One for the guest, and one for its deadline.
        .worker_threads(2)
        .event_interval(1)
        .global_queue_interval(1)
        .enable_all()
        .build()?;
    let last = runtime.block_on(async {
        ignore_signals()?;
        match prepare(&order, &code) {
            Ok(plugin) => attempt(&plugin, order).await.map(Said::Ended),
            Err(reason) => Ok(Said::Unable(reason)),
        }
    })?;
    say(&last)
}

/// A parent that died, or lets go of this process, closes the pipe.
fn end_with_parent() -> io::Result<()> {
    let watch = || {
        // Whatever comes: nothing more is expected.
        drop(io::stdin().read(&mut [0]));
        std::process::exit(1);
    };
    std::thread::Builder::new().name("parent".into()).spawn(watch).map(drop)
}

/// Whoever stops all processes of a service gives the worker time to let its guests finish; the
/// worker decides when this one ends.
fn ignore_signals() -> io::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        // Once it is listened for, it has no other effect.
        drop(signal(kind)?);
    }
    Ok(())
}

fn prepare(order: &Order, code: &[u8]) -> Result<Plugin, String> {
    let engine = Engine::new(order.engine.clone()).map_err(|error| error.to_string())?;
    let name = order.job.parse().map_err(|refusal| format!("{refusal}"))?;
    engine.take_over(name, order.digest, code).map_err(|error| error.to_string())
}

async fn attempt(plugin: &Plugin, order: Order) -> io::Result<Report> {
    let progress = Arc::new(ProgressCell::new());
    let call = Call {
        task: order.task,
        limits: order.limits,
        progress: Arc::clone(&progress),
        interrupt: Interrupt::new(),
        parents: Some(Arc::new(order.parents)),
    };
    let deadlines = Deadlines::start(&tokio::runtime::Handle::current());
    say(&Said::Begun)?;
    let mut running = tokio::spawn(plugin.run(call, &deadlines));
    let mut looks = tokio::time::interval(LOOK);
    let report = loop {
        tokio::select! {
            report = &mut running => break report,
            _ = looks.tick() => say_progress(&progress)?,
        }
    };
    say_progress(&progress)?;
    Ok(report.unwrap_or_else(|panic| {
        tracing::error!(job = %plugin.name(), %panic, "the host failed while it ran a guest");
        Report::host_failed()
    }))
}

fn say_progress(progress: &ProgressCell) -> io::Result<()> {
    progress.take_news().map_or(Ok(()), |news| say(&Said::Progress(news)))
}

fn say(said: &Said) -> io::Result<()> {
    write_message(&mut io::stdout().lock(), said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Failure, Fault, Log, Outcome, Usage};

    #[test]
    fn a_report_comes_over_as_it_is() -> io::Result<()> {
        let failure = Failure {
            fault: Fault::RetryAfter(Duration::from_millis(1500)),
            message: "\u{1}\u{e9}\u{fffd}\n".into(),
            backtrace: Some("0: f".into()),
        };
        for outcome in [Outcome::Completed(" {\"a\": 1e400}\n".into()), Outcome::Failed(failure)] {
            let log = Log { text: "x".repeat(100_000), dropped_bytes: u64::MAX };
            let usage = Usage { cpu: Duration::from_nanos(1), ..Usage::default() };
            let mut pipe = Vec::new();
            write_message(
                &mut pipe,
                &Said::Ended(Report { outcome: outcome.clone(), usage, log: log.clone() }),
            )?;
            let Said::Ended(report) = read_message(&mut pipe.as_slice())? else { panic!("another message") };
            assert_eq!((report.outcome, report.usage, report.log), (outcome, usage, log));
        }
        Ok(())
    }
}
