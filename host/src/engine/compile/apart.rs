//! Compilation by a child that does nothing else: what a hostile component makes the compiler do
//! ends with the child.
//!
//! Owns both sides and what they say to each other. Knows no plugins, only bytes. Invariant: the
//! child bounds itself before it sees the first byte of the component, and is gone when
//! [`compile`] returns.

use std::{
    ffi::OsString,
    fs,
    io::{self, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, set_dumpable_behavior, set_parent_process_death_signal,
    setpriority_process, setrlimit,
};
use serde::{Deserialize, Serialize};

use super::{CompileBounds, CompileError};
use crate::{
    engine::config::{Allocation, config},
    pipe::{check_parent, read_bytes, read_message, write_bytes, write_message},
};

/// How much of what a child says on standard error is kept, in bytes.
const WORDS: usize = 400;

/// How far behind the worker it is: with a tenth of its weight, it is done one day on a busy machine.
const NICE: i32 = 10;

/// What the parent writes first; the component comes next.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// Who the parent is.
    parent: u32,
    bounds: CompileBounds,
    wasm_stack_bytes: usize,
}

/// What the child writes.
#[derive(Debug, Serialize, Deserialize)]
enum Said {
    /// The artefact comes next.
    Compiled,
    /// It is no valid component, for this reason.
    Invalid(String),
    /// There is more machine code than there may be: so many bytes.
    TooMuchCode(u64),
}

impl Order {
    /// To compile within bounds, for engines whose wasm stack has so many bytes.
    pub(super) fn new(bounds: CompileBounds, wasm_stack_bytes: usize) -> Self {
        Self { parent: std::process::id(), bounds, wasm_stack_bytes }
    }
}

/// The child: compiles the one component that its parent writes to standard input, and writes what
/// came of it to standard output.
pub fn run() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut from_parent = io::stdin().lock();
    let order: Order = read_message(&mut from_parent)?;
    check_parent(order.parent)?;
    bound_self(&order.bounds)?;
    let component = read_bytes(&mut from_parent, u32::MAX)?;
    let mut to_parent = io::stdout().lock();
    match compile_here(&component, order.wasm_stack_bytes) {
        Ok(artefact) if artefact.len() as u64 > u64::from(order.bounds.code_bytes) => {
            write_message(&mut to_parent, &Said::TooMuchCode(artefact.len() as u64))
        }
        Ok(artefact) => {
            write_message(&mut to_parent, &Said::Compiled)?;
            write_bytes(&mut to_parent, &artefact)
        }
        Err(error) => write_message(&mut to_parent, &Said::Invalid(format!("{error:#}"))),
    }
}

fn compile_here(component: &[u8], wasm_stack_bytes: usize) -> wasmtime::Result<Vec<u8>> {
    super::precompile(&wasmtime::Engine::new(&config(Allocation::OnDemand, wasm_stack_bytes))?, component)
}

/// Bounds this process for the rest of its life, and puts it behind all others.
fn bound_self(bounds: &CompileBounds) -> io::Result<()> {
    // When memory is short, this process is the one to go, not the worker.
    fs::write("/proc/self/oom_score_adj", "1000")?;
    setpriority_process(None, NICE)?;
    let at_most = |soft, hard| Rlimit { current: Some(soft), maximum: Some(hard) };
    // What can be written to: address space that is only reserved costs nothing, and how much of
    // that is depends on the number of threads.
    setrlimit(Resource::Data, at_most(bounds.memory_bytes, bounds.memory_bytes))?;
    let seconds = bounds.cpu.as_secs();
    setrlimit(Resource::Cpu, at_most(seconds, seconds.saturating_add(1)))?;
    setrlimit(Resource::Fsize, at_most(0, 0))?;
    setrlimit(Resource::Core, at_most(0, 0))?;
    // Core dumps that go to a program mind no limit.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// How the child is started.
pub(super) fn command(program: &Path, args: &[OsString], plugin: &str) -> Command {
    let mut command = Command::new(program);
    command
        .arg0("sentinel")
        .args(args)
        .arg(plugin)
        // Where the queue is, and by which password it is reached, is none of its business.
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // What a terminal sends to the worker is not meant for its children.
        .process_group(0);
    command
}

/// Has a child compile a component. Blocks until it is gone.
pub(super) fn compile(
    command: &mut Command,
    order: &Order,
    component: &[u8],
) -> Result<Vec<u8>, CompileError> {
    let bounds = order.bounds;
    // The system kills a child when the thread that started it ends: this one waits for the child.
    let mut child = command.spawn().map_err(CompileError::NoProcess)?;
    let (mut stdin, mut stdout, mut stderr) = (
        child.stdin.take().expect("a pipe"),
        child.stdout.take().expect("a pipe"),
        child.stderr.take().expect("a pipe"),
    );
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        scope.spawn(move || {
            // A child that does not take it all has died, or will not answer.
            drop(write_message(&mut stdin, order).and_then(|()| write_bytes(&mut stdin, component)));
        });
        // Nobody listens any more if it is too late.
        scope.spawn(move || drop(tell.send(listen(&mut stdout, bounds.code_bytes))));
        let words = scope.spawn(move || last_words(&mut stderr));
        let heard = told.recv_timeout(bounds.wall);
        // Its pipes close, and so the threads end. What died by itself keeps the cause of its death.
        let death = child.kill().and_then(|()| child.wait()).map_err(CompileError::NoProcess)?;
        match heard {
            Ok(Ok((Said::Compiled, code))) => Ok(code),
            Ok(Ok((Said::Invalid(reason), _))) => Err(CompileError::Invalid(wasmtime::Error::msg(reason))),
            Ok(Ok((Said::TooMuchCode(bytes), _))) => {
                Err(CompileError::TooMuchCode { bytes, limit: bounds.code_bytes.into() })
            }
            Ok(Err(_)) if death.signal() == Some(Signal::XCPU.as_raw()) => {
                Err(CompileError::TooMuchCpu(bounds.cpu))
            }
            Ok(Err(_)) => Err(CompileError::Died {
                death: death.to_string(),
                words: words.join().unwrap_or_default(),
                memory_bytes: bounds.memory_bytes,
            }),
            Err(_) => Err(CompileError::TooLong(bounds.wall)),
        }
    })
}

/// Its one message, and the code if there is any. An error: it died.
fn listen(stdout: &mut impl Read, code_bytes: u32) -> io::Result<(Said, Vec<u8>)> {
    let said = read_message(stdout)?;
    let code = if matches!(said, Said::Compiled) { read_bytes(stdout, code_bytes)? } else { Vec::new() };
    Ok((said, code))
}

/// The last that it wrote, in one line.
fn last_words(stderr: &mut impl Read) -> String {
    let mut last = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        last.extend_from_slice(&buffer[..count]);
        last.drain(..last.len().saturating_sub(WORDS));
    }
    String::from_utf8_lossy(&last).split_whitespace().collect::<Vec<_>>().join(" ")
}
