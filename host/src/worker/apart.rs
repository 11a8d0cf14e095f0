//! Attempts that a child process makes, one each: of tasks whose attempts were lost with their
//! workers so often that this one would convict them.
//!
//! Owns the child, from its start to its end, and decides what its end means. The child's side is
//! [`crate::apart`]. Invariant: a child has died, or is being killed, before its attempt is judged;
//! its death is its task's doing only if the guest had begun and nobody here wanted it.

use std::{
    any::Any,
    ffi::OsString,
    io,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use super::Shared;
use crate::{
    apart::{Order, Question, Said},
    engine::{Call, Clock, Failure, Fault, KnownParents, Outcome, Plugin, ProgressCell, Reason, Report},
    pipe::{read_message, write_bytes, write_message},
};

/// How long a child may take until its guest begins.
const START: Duration = Duration::from_secs(30);

/// What a child may take longer than its guest's wall time, until it is given up.
const OVERTIME: Duration = Duration::from_secs(2);

/// How long to wait for a child to be gone after it was killed.
const FAREWELL: Duration = Duration::from_secs(1);

/// How such a child is started: a program that does no more than call [`crate::apart::run`].
#[derive(Clone, Debug)]
pub struct Apart {
    /// The program.
    pub program: PathBuf,
    /// What it is given; the task's id comes last, for whoever looks at the processes.
    pub args: Vec<OsString>,
}

/// How an attempt ended.
pub(super) enum End {
    /// As any attempt may.
    Report(Report),
    /// With the process, so.
    Died(String),
}

/// Has a child make the attempt. What is in `room` is kept for as long as the child lives.
pub(super) async fn run(
    shared: &Shared,
    plugin: &Plugin,
    call: Call,
    room: impl Any + Send,
    log: tracing::Span,
) -> End {
    let (interrupt, wall) = (call.interrupt.clone(), call.limits.wall);
    let stopped = |reason| {
        Report::of(match reason {
            Reason::Cancelled => Outcome::Cancelled,
            Reason::Stopped => Outcome::Stopped,
            Reason::Deadline => too_long(wall),
        })
    };
    let parents = match &call.parents {
        None => KnownParents::default(),
        Some(parents) => tokio::select! {
            known = KnownParents::of(&**parents) => known,
            reason = interrupt.raised() => return End::Report(stopped(reason)),
        },
    };
    let order = (call, parents, log);
    let mut process = match Process::start(&shared.config.apart, plugin.clone(), order, room) {
        Ok(process) => process,
        Err(error) => return not_begun(&format!("no thread can be started: {error}")),
    };
    let end = tokio::select! {
        biased;
        end = process.end(wall) => end,
        reason = interrupt.raised() => End::Report(stopped(reason)),
    };
    process.kill().await;
    if plugin.grants().scratch_bytes.is_some() {
        let engine = plugin.engine().clone();
        // Nobody waits: what is left of it is in nobody's way.
        tokio::task::spawn_blocking(move || engine.scratch().sweep());
    }
    match end {
        // Whoever ends the worker may end the child first.
        End::Died(_) if shared.is_draining() || interrupt.reason().is_some() => {
            End::Report(Report::of(Outcome::Stopped))
        }
        end => end,
    }
}

fn not_begun(reason: &str) -> End {
    End::Report(Report::of(Outcome::Pressure(format!("a process of its own could not run it: {reason}"))))
}

fn too_long(wall: Duration) -> Outcome {
    let message = format!(
        "it ran for longer than {} ms, and the process that ran it alone had to be killed",
        wall.as_millis()
    );
    Outcome::Failed(Failure { fault: Fault::Timeout(Clock::Wall), message, backtrace: None })
}

/// A child and the thread that talks to it.
struct Process {
    child: Arc<Handle>,
    begun: oneshot::Receiver<()>,
    ended: oneshot::Receiver<Last>,
}

/// The last that was heard of a child.
enum Last {
    Report(Report),
    NotBegun(String),
    Died(String),
}

impl Process {
    /// The system kills a child when the thread that started it ends: this one waits for the child.
    fn start(
        apart: &Apart,
        plugin: Plugin,
        (call, parents, log): (Call, KnownParents, tracing::Span),
        room: impl Any + Send,
    ) -> io::Result<Self> {
        let child = Arc::new(Handle::default());
        let (tell_begun, begun) = oneshot::channel();
        let (tell_ended, ended) = oneshot::channel();
        let handle = Arc::clone(&child);
        let runtime = tokio::runtime::Handle::current();
        let mut command = command(apart, &call.task.id);
        let attend = move || {
            let _in_trace = log.entered();
            let last = live(&handle, &mut command, &plugin, (call, parents), tell_begun, &runtime);
            drop(room);
            // Nobody may be waiting any more.
            drop(tell_ended.send(last));
        };
        std::thread::Builder::new().name("apart".into()).spawn(attend)?;
        Ok(Self { child, begun, ended })
    }

    /// Waits for the child's end, but not for ever.
    async fn end(&mut self, wall: Duration) -> End {
        // That the sender is gone means that the child is, too.
        if tokio::time::timeout(START, &mut self.begun).await.is_err() {
            return not_begun(&format!("it was not ready within {} s", START.as_secs()));
        }
        match tokio::time::timeout(wall.saturating_add(OVERTIME), &mut self.ended).await {
            Ok(Ok(Last::Report(report))) => End::Report(report),
            Ok(Ok(Last::Died(death))) => End::Died(death),
            Ok(Ok(Last::NotBegun(reason))) => not_begun(&reason),
            Ok(Err(_)) => End::Report(Report::host_failed()),
            Err(_) => End::Report(Report::of(too_long(wall))),
        }
    }

    /// Kills the child, unless it is gone.
    async fn kill(mut self) {
        self.child.kill();
        if !self.ended.is_terminated() {
            drop(tokio::time::timeout(FAREWELL, &mut self.ended).await);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill();
    }
}

/// A child that may be killed at any time: also before it is there.
#[derive(Default)]
struct Handle(Mutex<State>);

#[derive(Default)]
struct State {
    child: Option<Child>,
    is_killed: bool,
}

impl Handle {
    fn spawn(&self, command: &mut Command) -> io::Result<()> {
        let mut state = self.lock();
        if state.is_killed {
            return Err(io::ErrorKind::Interrupted.into());
        }
        state.child = Some(command.spawn()?);
        Ok(())
    }

    fn kill(&self) {
        let mut state = self.lock();
        state.is_killed = true;
        if let Some(Err(error)) = state.child.as_mut().map(Child::kill) {
            tracing::error!(%error, "a process that ran a task alone cannot be killed");
        }
    }

    /// With the child, which has been spawned.
    fn with<T>(&self, act: impl FnOnce(&mut Child) -> T) -> T {
        act(self.lock().child.as_mut().expect("it has been spawned"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn command(apart: &Apart, task: &str) -> Command {
    let mut command = Command::new(&apart.program);
    command
        .arg0("sentinel")
        .args(&apart.args)
        .arg(task)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // What a terminal sends to the worker is not meant for its children.
        .process_group(0);
    // Where the queue is, who is told of spans, and by which passwords they are reached, is none of
    // the child's business.
    for (name, _) in std::env::vars_os() {
        let name_of = name.to_string_lossy();
        if name_of.starts_with("SENTINEL_") || name_of.starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command
}

/// The whole life of a child, to its end.
fn live(
    handle: &Handle,
    command: &mut Command,
    plugin: &Plugin,
    (call, parents): (Call, KnownParents),
    begun: oneshot::Sender<()>,
    runtime: &tokio::runtime::Handle,
) -> Last {
    let task = call.task.id.clone();
    let progress = Arc::clone(&call.progress);
    let durable = call.durable.clone();
    let artefact = match plugin.artefact() {
        Ok(artefact) => artefact,
        Err(error) => return Last::NotBegun(format!("its code cannot be handed over: {error:#}")),
    };
    if let Err(error) = handle.spawn(command) {
        let program = command.get_program().display();
        return Last::NotBegun(format!("{program} cannot be started: {error}"));
    }
    let (pid, stdin, stdout) = handle.with(|child| (child.id(), child.stdin.take(), child.stdout.take()));
    let (mut stdin, mut stdout) = (stdin.expect("a pipe"), stdout.expect("a pipe"));
    tracing::info!(task, pid, "a task that was lost again and again is run in a process of its own");

    let ordered = write_message(&mut stdin, &Order::new(plugin, call, parents))
        .and_then(|()| write_bytes(&mut stdin, &artefact));
    drop(artefact);
    let heard = ordered.map_or_else(
        |error| Heard { has_begun: false, last: Some(Said::Unable(format!("it took no order: {error}"))) },
        |()| {
            let answer = |question: Question| {
                let durable = durable.as_deref().ok_or(io::ErrorKind::NotFound)?;
                write_message(&mut stdin, &runtime.block_on(question.ask(durable)))
            };
            listen(&mut stdout, &progress, begun, answer)
        },
    );
    // Whatever it said last, it is done. What died by itself keeps the cause of its death.
    handle.kill();
    let death = death(handle);
    match heard {
        Heard { last: Some(Said::Ended(report)), .. } => Last::Report(report),
        Heard { last: Some(Said::Unable(reason)), .. } => Last::NotBegun(reason),
        Heard { has_begun: false, .. } => Last::NotBegun(format!("it died before the guest began: {death}")),
        Heard { has_begun: true, .. } => Last::Died(death),
    }
}

/// What a child said until it fell silent.
#[derive(Default)]
struct Heard {
    has_begun: bool,
    last: Option<Said>,
}

fn listen(
    stdout: &mut impl io::Read,
    progress: &ProgressCell,
    begun: oneshot::Sender<()>,
    mut answer: impl FnMut(Question) -> io::Result<()>,
) -> Heard {
    let mut heard = Heard::default();
    let mut begun = Some(begun);
    // Silence is its death, and so is what nobody understands.
    while let Ok(said) = read_message(stdout) {
        match said {
            Said::Progress(news) => progress.put(news),
            Said::Ask(question) => {
                if answer(question).is_err() {
                    break;
                }
            }
            Said::Begun => {
                heard.has_begun = true;
                // Nobody waits for it if the child is being killed.
                _ = begun.take().map(|begun| begun.send(()));
            }
            Said::Unable(_) | Said::Ended(_) => {
                heard.last = Some(said);
                break;
            }
        }
    }
    heard
}

/// Waits for the child's end; says how it died.
fn death(handle: &Handle) -> String {
    loop {
        match handle.with(Child::try_wait) {
            Ok(Some(status)) => return status.to_string(),
            Ok(None) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => return format!("how cannot be known: {error}"),
        }
    }
}
