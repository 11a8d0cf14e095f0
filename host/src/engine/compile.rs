//! From a component's bytes to code that can be instantiated.
//!
//! Owns compilation, which takes seconds and is done at admission only: in this process, or in a
//! child of its own that does nothing else (`compile/apart.rs`). What was compiled is remembered
//! (`compile/cache.rs`). Does not know what a plugin may import or export. Invariant: machine code
//! is loaded only when this program made it, in this process or in a child that this process
//! started and gave the component to; when it comes whole from a directory that nobody else can
//! write to; or from the process that started this one.

mod adapt;
pub(crate) mod apart;
mod cache;

use std::{
    ffi::OsString,
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tracing::warn;
use wasmtime::component::Component;

use self::cache::Cache;
use super::{
    EngineConfig,
    config::Parts,
    digest::Digest,
    limits::Limits,
    needs::{Excess, Needs},
};

/// Where components are compiled. The compiler bounds neither the time nor the memory that a
/// component takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Compilation {
    /// In this process: for components that can be trusted that far.
    Here,
    /// In a child for each, within bounds.
    Apart {
        /// The program, which does no more than call [`compile_apart`](super::compile_apart).
        program: PathBuf,
        /// What it is given; the plugin's name comes last, for whoever looks at the processes.
        args: Vec<OsString>,
        /// What it may take.
        bounds: CompileBounds,
    },
}

/// What one compilation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompileBounds {
    /// CPU time, in whole seconds: what is spent, however busy the machine is.
    pub cpu: Duration,
    /// Time, by the clock.
    pub wall: Duration,
    /// Memory.
    pub memory_bytes: u64,
    /// The machine code that comes of it.
    pub code_bytes: u32,
}

impl Default for CompileBounds {
    /// Several times what a JavaScript or Python interpreter of 20 MB takes.
    fn default() -> Self {
        let (cpu, wall) = (Duration::from_mins(2), Duration::from_mins(5));
        Self { cpu, wall, memory_bytes: 2 << 30, code_bytes: 512 << 20 }
    }
}

/// Compiles, and remembers.
#[derive(Debug)]
pub(crate) struct Compiler {
    engine: wasmtime::Engine,
    compilation: Compilation,
    wasm_stack_bytes: usize,
    parts: Parts,
    ceilings: Limits,
    cache: Option<Cache>,
}

/// A component, ready to be linked.
pub(crate) struct Compiled {
    pub(crate) component: Component,
    pub(crate) code: Code,
}

/// What is known of a component's code.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// How much machine code it is, in bytes.
    pub bytes: u64,
    /// What one instance needs before it runs.
    pub needs: Needs,
    /// Whether it was a core module, and adapted.
    pub is_adapted: bool,
    /// How long it took to have it ready.
    pub compile_time: Duration,
    /// Whether it was there from an earlier time.
    pub from_cache: bool,
}

/// Why there is no component.
#[derive(Debug)]
pub(crate) enum CompileError {
    /// It is no valid component, or uses what is turned off.
    Invalid(wasmtime::Error),
    /// It needs more of something than one instance can have.
    Exceeds(Excess),
    /// It needs more than the engine has for one instance, of what is not counted.
    TooLarge(wasmtime::Error),
    /// It was not done by then.
    TooLong(Duration),
    /// It takes more CPU time than this.
    TooMuchCpu(Duration),
    /// So much machine code came of it.
    TooMuchCode {
        /// How much, in bytes.
        bytes: u64,
        /// How much there may be.
        limit: u64,
    },
    /// The process that compiled it died.
    Died {
        /// How.
        death: String,
        /// What it last said.
        words: String,
        /// The memory that it might have, in bytes.
        memory_bytes: u64,
    },
    /// No process could be had to compile it.
    NoProcess(io::Error),
}

impl Compiler {
    /// Compiles for `engine`, whose wasm stack has so many bytes. A cache directory that cannot be
    /// trusted is not used.
    pub(crate) fn new(engine: &wasmtime::Engine, config: &EngineConfig) -> Self {
        let cache = config.cache_dir.as_deref().and_then(|dir| {
            Cache::open(dir, &config.plugin_dirs, engine)
                .inspect_err(|reason| {
                    warn!(dir = %dir.display(), "plugins are compiled at every start, because the cache is {reason}");
                })
                .ok()
        });
        Self {
            engine: engine.clone(),
            compilation: config.compilation.clone(),
            wasm_stack_bytes: config.wasm_stack_bytes,
            parts: config.parts,
            ceilings: config.ceilings.clone(),
            cache,
        }
    }

    /// The component in `bytes`, whose digest is `digest`. Blocks for as long as compiling takes.
    pub(crate) fn component(
        &self,
        name: &str,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<Compiled, CompileError> {
        let started = Instant::now();
        let made = |from_cache| Made { is_adapted: adapt::is_module(bytes), started, from_cache };
        if let Some(artefact) = self.cache.as_ref().and_then(|cache| cache.get(digest)) {
            match self.load(&artefact, made(true)) {
                // Stale or not for this machine: compiled again, like one that was never there.
                Err(CompileError::TooLarge(_)) => {}
                loaded => return loaded,
            }
        }
        let artefact = self.compile(name, bytes)?;
        let loaded = self.load(&artefact, made(false));
        // What is refused for what it needs is kept, too: the same file comes back, with other limits.
        if let (Some(cache), Ok(_) | Err(CompileError::Exceeds(_))) = (&self.cache, &loaded) {
            cache.put(digest, &artefact);
        }
        loaded
    }

    /// Whether there is code of an earlier time.
    pub(crate) fn is_cached(&self, digest: &Digest) -> bool {
        self.cache.as_ref().is_some_and(|cache| cache.has(digest))
    }

    fn compile(&self, name: &str, bytes: &[u8]) -> Result<Vec<u8>, CompileError> {
        match &self.compilation {
            Compilation::Here => precompile(&self.engine, bytes).map_err(CompileError::Invalid),
            Compilation::Apart { program, args, bounds } => {
                let mut command = apart::command(program, args, name);
                apart::compile(&mut command, &apart::Order::new(*bounds, self.wasm_stack_bytes), bytes)
            }
        }
    }

    /// The component whose artefact the process that started this one handed over.
    pub(crate) fn take_over(&self, artefact: &[u8]) -> Result<Compiled, CompileError> {
        self.load(artefact, Made { is_adapted: false, started: Instant::now(), from_cache: true })
    }

    /// Loads an artefact, unless one instance of it needs more than there is for one.
    fn load(&self, artefact: &[u8], made: Made) -> Result<Compiled, CompileError> {
        let Some((code, needs)) = Needs::split_from(artefact) else {
            return Err(CompileError::TooLarge(wasmtime::Error::msg("its code is not whole")));
        };
        Excess::check(&needs, self.parts, &self.ceilings).map_err(CompileError::Exceeds)?;
        let component = load(&self.engine, code).map_err(CompileError::TooLarge)?;
        let code = Code {
            bytes: code.len() as u64,
            needs,
            is_adapted: made.is_adapted,
            compile_time: made.started.elapsed(),
            from_cache: made.from_cache,
        };
        Ok(Compiled { component, code })
    }
}

/// How an artefact came to be there.
#[derive(Clone, Copy)]
struct Made {
    is_adapted: bool,
    started: Instant,
    from_cache: bool,
}

/// The artefact of a loaded component, for a process that takes it over.
pub(crate) fn artefact(component: &Component, code: &Code) -> wasmtime::Result<Vec<u8>> {
    let mut artefact = component.serialize()?;
    code.needs.append_to(&mut artefact);
    Ok(artefact)
}

/// The artefact of a component, or of a module that can be made one: its machine code, and what one
/// instance of it needs.
fn precompile(engine: &wasmtime::Engine, bytes: &[u8]) -> wasmtime::Result<Vec<u8>> {
    let component = adapt::component(bytes)?;
    let mut artefact = engine.precompile_component(&component)?;
    Needs::of(&component)?.append_to(&mut artefact);
    Ok(artefact)
}

#[allow(unsafe_code, reason = "machine code cannot be checked when it is loaded")]
fn load(engine: &wasmtime::Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes were made by `precompile_component`: either just now, in this process or
    // by its child over the pipe that it made for it (`apart::compile`); or by a process of the
    // same user, who alone can write to the cache (`Cache::open`), and are whole (`Cache::get`);
    // or they are what the worker itself runs, which it wrote to the pipe that it made for this
    // process (`Compiler::take_over`). Being in memory, they do not change while they are in use.
    unsafe { Component::deserialize(engine, code) }
}
