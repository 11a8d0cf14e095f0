//! One attempt in a process of its own, which runs nothing else: its death convicts its task alone.
//!
//! Owns the child's side, from its start to its end, and the messages. The parent's side is
//! `worker/apart.rs`. Knows no queue. Invariant: the child runs the code that its parent handed to
//! it, says how that ended, and does not outlive its parent.

use std::{
    io,
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Mutex, mpsc},
};

use crate::{
    engine::{
        Call, ChildError, Compilation, Deadlines, Digest, Durable, Engine, EngineConfig, Grants, GuestTask,
        Interrupt, KnownParents, Limits, LookUp, Place, Plugin, Progress, ProgressCell, Report, Stdout,
        Versioned,
    },
    guests,
    pipe::{check_parent, read_bytes, read_message, write_message},
};

/// How often the guest's progress is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What the parent writes first. The plugin's code comes next, then a [`Reply`] to each
/// [`Question`], until it closes the pipe or is gone.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Who the parent is.
    parent: u32,
    engine: EngineConfig,
    job: String,
    digest: Digest,
    task: GuestTask,
    limits: Limits,
    stdout: Stdout,
    grants: Grants,
    http_requests: u64,
    place: Option<Place>,
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
    /// It asks something, and waits for the answer.
    Ask(Question),
    /// The attempt has ended. The last message.
    Ended(Report),
}

/// What the child asks of what outlives the attempt ([`Durable`]): it has no store.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Question {
    Read(String),
    Save(Vec<u8>),
    Load,
    Child(String),
}

/// What the parent answers, in the same order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Read(Versioned),
    Save(bool),
    Load(Option<Vec<u8>>),
    Child(Result<String, ChildError>),
}

impl Question {
    /// Asks on behalf of the child.
    pub(crate) async fn ask(self, durable: &dyn Durable) -> Reply {
        match self {
            Self::Read(key) => Reply::Read(durable.read(&key).await),
            Self::Save(bytes) => Reply::Save(durable.save(bytes).await),
            Self::Load => Reply::Load(durable.load().await),
            Self::Child(task) => Reply::Child(durable.child(&task).await),
        }
    }
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
            stdout: plugin.stdout(),
            grants: Grants::clone(plugin.grants()),
            http_requests: call.http_requests,
            place: call.place,
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
    let parent = Parent { replies: Mutex::new(listen_to_parent()?) };
    // One thread for the guest, and one for its deadline.
    let runtime = guests::runtime(NonZeroUsize::MIN.saturating_add(1))?;
    let last = runtime.block_on(async {
        ignore_signals()?;
        match prepare(&order, &code) {
            Ok(plugin) => attempt(&plugin, order, parent).await.map(Said::Ended),
            Err(reason) => Ok(Said::Unable(reason)),
        }
    })?;
    say(&last)
}

/// Hears the parent's replies. A parent that died, or lets go of this process, closes the pipe.
fn listen_to_parent() -> io::Result<mpsc::UnboundedReceiver<Reply>> {
    let (hear, heard) = mpsc::unbounded_channel();
    let listen = move || {
        while let Ok(reply) = read_message(&mut io::stdin()) {
            // Nobody may be waiting any more.
            drop(hear.send(reply));
        }
        std::process::exit(1);
    };
    std::thread::Builder::new().name("parent".into()).spawn(listen)?;
    Ok(heard)
}

/// What outlives the attempt, asked through the parent; one question at a time.
#[derive(Debug)]
struct Parent {
    replies: Mutex<mpsc::UnboundedReceiver<Reply>>,
}

impl Parent {
    async fn ask(&self, question: Question) -> Reply {
        let mut replies = self.replies.lock().await;
        if say(&Said::Ask(question)).is_ok()
            && let Some(reply) = replies.recv().await
        {
            return reply;
        }
        // The parent is gone, and this process about to be.
        std::future::pending().await
    }
}

impl Durable for Parent {
    fn read<'a>(&'a self, key: &'a str) -> LookUp<'a, Versioned> {
        Box::pin(async {
            match self.ask(Question::Read(key.to_owned())).await {
                Reply::Read(found) => found,
                other => unexpected(&other),
            }
        })
    }

    fn save(&self, bytes: Vec<u8>) -> LookUp<'_, bool> {
        Box::pin(async {
            match self.ask(Question::Save(bytes)).await {
                Reply::Save(kept) => kept,
                other => unexpected(&other),
            }
        })
    }

    fn load(&self) -> LookUp<'_, Option<Vec<u8>>> {
        Box::pin(async {
            match self.ask(Question::Load).await {
                Reply::Load(bytes) => bytes,
                other => unexpected(&other),
            }
        })
    }

    fn child<'a>(&'a self, task: &'a str) -> LookUp<'a, Result<String, ChildError>> {
        Box::pin(async {
            match self.ask(Question::Child(task.to_owned())).await {
                Reply::Child(answer) => answer,
                other => unexpected(&other),
            }
        })
    }
}

/// Parent and child are the same program: this is a defect, and ends the attempt.
fn unexpected(reply: &Reply) -> ! {
    unreachable!("the parent answers something else: {reply:?}")
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
    let plugin = engine.take_over(name, order.digest, code).map_err(|error| error.to_string())?;
    Ok(plugin.with_grants(order.grants.clone()).with_stdout(order.stdout))
}

async fn attempt(plugin: &Plugin, order: Order, parent: Parent) -> io::Result<Report> {
    let log = log_span(&order);
    let progress = Arc::new(ProgressCell::new());
    let call = Call {
        task: order.task,
        limits: order.limits,
        progress: Arc::clone(&progress),
        interrupt: Interrupt::new(),
        parents: Some(Arc::new(order.parents)),
        durable: Some(Arc::new(parent)),
        http_requests: order.http_requests,
        place: order.place,
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
        log.in_scope(|| {
            tracing::error!(job = %plugin.name(), %panic, "the host failed while it ran a guest");
        });
        Report::host_failed()
    }))
}

/// Around lines of the log about the attempt: they carry the ids of its trace, as the worker's do.
fn log_span(order: &Order) -> tracing::Span {
    match &order.place {
        Some(place) => tracing::error_span!(
            "task",
            id = order.task.id,
            trace_id = hex::encode(place.trace),
            span_id = hex::encode(place.span)
        ),
        None => tracing::Span::none(),
    }
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
    use crate::engine::{CallKind, Effects, Failure, Fault, HostCall, HostCalls, Log, Outcome, Usage, Write};

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
            let writes = [("k".into(), Write::Set(vec![0, 255]))].into();
            let effects = Some(Box::new(Effects { writes, ..Effects::default() }));
            let call = HostCall {
                kind: CallKind::Progress,
                span: [255; 8],
                at: Duration::MAX,
                took: None,
                error: Some("x".into()),
            };
            let calls = Some(Box::new(HostCalls { calls: vec![call], dropped: u64::MAX }));
            let mut pipe = Vec::new();
            write_message(
                &mut pipe,
                &Said::Ended(Report {
                    outcome: outcome.clone(),
                    usage,
                    log: log.clone(),
                    effects: effects.clone(),
                    calls: calls.clone(),
                }),
            )?;
            let Said::Ended(report) = read_message(&mut pipe.as_slice())? else { panic!("another message") };
            assert_eq!((report.outcome, report.usage, report.log), (outcome, usage, log));
            assert_eq!((report.effects, report.calls), (effects, calls));
        }
        Ok(())
    }
}
