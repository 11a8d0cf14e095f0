//! Runs one job, once, as a sandboxed WebAssembly component under limits.
//!
//! Owns wasmtime, admission, the limits and the naming of failures. Knows no queue and no
//! store: a plugin can be run from the command line with neither. Invariant: whatever a guest
//! does, its attempt ends with a [`Report`], within its wall time and a little, and leaves
//! nothing behind but that.
//!
//! The path of an attempt: [`Engine::admit`] → [`Plugin::run`] → `attempt.rs` (fresh store, call)
//! → `verdict.rs` → [`Report`].

mod admission;
mod attempt;
mod bindings;
mod calls;
mod compile;
mod config;
mod cpu;
mod deadline;
mod describe;
mod digest;
mod effects;
mod grants;
mod host;
mod imports;
mod interrupt;
mod limiter;
mod limits;
mod log;
mod needs;
mod outcome;
mod pace;
mod plugin;
mod scratch;
mod secret;
mod ticker;
mod verdict;

use std::{
    fmt, io,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use wasmtime::component::Linker;

pub use self::{
    admission::{AdmissionError, HANDLER, PluginName, Refusal},
    attempt::{Call, GuestTask},
    calls::{CallKind, HostCall, HostCalls, Place},
    compile::{Code, Compilation, CompileBounds, apart::run as compile_apart},
    config::{Allocation, Parts, TooFewMappings, WASM_STACK_BYTES, check_map_count, config},
    deadline::{Armed, Deadlines},
    describe::Said,
    digest::Digest,
    effects::{Child, ChildError, Durable, Effects, Versioned, Write},
    grants::Grants,
    imports::{
        Access, HttpGrant, KnownParents, LookUp, NoOrigin, Origin, Parent, ParentStatus, Parents, Progress,
        ProgressCell, SECRET_PREFIX,
    },
    interrupt::{Interrupt, Reason},
    limits::Limits,
    log::Log,
    needs::{Excess, Needs, Part},
    outcome::{Clock, Failure, Fault, Outcome, Report, Usage},
    plugin::{Plugin, Stdout},
    secret::{Secret, Secrets},
};

use self::{compile::Compiler, host::Host, scratch::ScratchRoot, ticker::Ticker};

/// How an engine is set up. [`EngineConfig::new`] has the defaults.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EngineConfig {
    /// How many attempts run at once, at most.
    pub slots: NonZeroU32,
    /// What a job gets that asks for nothing.
    pub defaults: Limits,
    /// What a job can have at most.
    pub ceilings: Limits,
    /// Of how many parts one instance may be made.
    pub parts: Parts,
    /// The stack of wasm code.
    pub wasm_stack_bytes: usize,
    /// The size of a plugin's file, at most.
    pub max_plugin_bytes: u64,
    /// Where plugins are compiled.
    pub compilation: Compilation,
    /// Where compiled code is kept, if anywhere.
    pub cache_dir: Option<PathBuf>,
    /// The plugins directories, in which no compiled code is kept.
    pub plugin_dirs: Vec<PathBuf>,
    /// Where the scratch directories of attempts are made, whose leftovers are removed; none: in a
    /// temporary directory.
    pub scratch_dir: Option<PathBuf>,
}

impl EngineConfig {
    /// The size of a plugin's file, at most, unless the operator says another.
    pub const MAX_PLUGIN_BYTES: u64 = 64 << 20;

    /// Defaults for so many slots.
    pub fn new(slots: NonZeroU32) -> Self {
        Self {
            slots,
            defaults: Limits::default(),
            ceilings: Limits::default_ceilings(),
            parts: Parts::default(),
            wasm_stack_bytes: WASM_STACK_BYTES,
            max_plugin_bytes: Self::MAX_PLUGIN_BYTES,
            compilation: Compilation::Here,
            cache_dir: None,
            plugin_dirs: Vec::new(),
            scratch_dir: None,
        }
    }
}

/// How much of an engine's pool is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PoolUse {
    /// Components that are instantiated.
    pub components: u64,
    /// Linear memories that they have.
    pub memories: usize,
    /// Memories that are kept warm for the next.
    pub warm_memories: u32,
}

/// No engine could be set up.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The kernel allows too few memory mappings.
    #[error(transparent)]
    Mappings(#[from] TooFewMappings),
    /// wasmtime refused the settings or could not reserve the pool.
    #[error("the WebAssembly engine cannot be set up for {slots} slots: {error:#}")]
    Wasmtime {
        /// How many were asked for.
        slots: NonZeroU32,
        /// What wasmtime says.
        error: wasmtime::Error,
    },
    /// There is no thread to be had.
    #[error("the ticker's thread cannot be started: {0}")]
    Thread(#[from] io::Error),
}

/// Admits and runs plugins. Cheap to clone; all clones are the same engine.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    config: EngineConfig,
    wasmtime: wasmtime::Engine,
    linker: Linker<Host>,
    compiler: Compiler,
    ticker: Ticker,
    scratch: ScratchRoot,
}

impl Engine {
    /// Sets up an engine. Reserves addresses, no memory.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let slots = config.slots;
        check_map_count(slots)?;
        let refused = |error| EngineError::Wasmtime { slots, error };
        let allocation = Allocation::Pool { slots, ceilings: &config.ceilings, parts: config.parts };
        let settings = self::config::config(allocation, config.wasm_stack_bytes);
        let wasmtime = wasmtime::Engine::new(&settings).map_err(refused)?;
        let linker = imports::linker(&wasmtime).map_err(refused)?;
        let compiler = Compiler::new(&wasmtime, &config);
        let ticker = Ticker::start(wasmtime.weak())?;
        let scratch = ScratchRoot::new(config.scratch_dir.as_deref());
        Ok(Self(Arc::new(Inner { config, wasmtime, linker, compiler, ticker, scratch })))
    }

    /// Makes a plugin of the file `<name>.wasm`. Blocks while it is compiled.
    pub fn admit(&self, path: &Path) -> Result<Plugin, AdmissionError> {
        PluginName::of_file(path)
            .and_then(|name| Ok((name, admission::read(path, self.0.config.max_plugin_bytes)?)))
            .and_then(|(name, bytes)| admission::admit(self, name, &bytes))
            .map_err(|refusal| AdmissionError { file: path.display().to_string(), refusal })
    }

    /// Whether the code of the file is there from an earlier time, so that to admit it takes no time.
    pub fn is_compiled(&self, path: &Path) -> bool {
        admission::read(path, self.0.config.max_plugin_bytes)
            .is_ok_and(|bytes| self.0.compiler.is_cached(&Digest::of(&bytes)))
    }

    /// Makes a plugin of a component's bytes. Blocks while it is compiled.
    pub fn admit_bytes(&self, name: PluginName, bytes: &[u8]) -> Result<Plugin, AdmissionError> {
        let file = name.to_string();
        admission::admit(self, name, bytes).map_err(|refusal| AdmissionError { file, refusal })
    }

    /// Makes a plugin of what [`Plugin::artefact`] gave to the process that started this one.
    pub(crate) fn take_over(
        &self,
        name: PluginName,
        digest: Digest,
        artefact: &[u8],
    ) -> Result<Plugin, AdmissionError> {
        let file = name.to_string();
        admission::take_over(self, name, digest, artefact).map_err(|refusal| AdmissionError { file, refusal })
    }

    /// How much of its pool is in use; none: it has none.
    pub fn pool(&self) -> Option<PoolUse> {
        self.0.wasmtime.pooling_allocator_metrics().map(|pool| PoolUse {
            components: pool.component_instances(),
            memories: pool.memories(),
            warm_memories: pool.unused_warm_memories(),
        })
    }

    /// How it was set up.
    pub fn config(&self) -> &EngineConfig {
        &self.0.config
    }

    fn wasmtime(&self) -> &wasmtime::Engine {
        &self.0.wasmtime
    }

    fn linker(&self) -> &Linker<Host> {
        &self.0.linker
    }

    fn compiler(&self) -> &Compiler {
        &self.0.compiler
    }

    pub(crate) fn scratch(&self) -> &ScratchRoot {
        &self.0.scratch
    }

    fn ticker(&self) -> &Ticker {
        &self.0.ticker
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("config", &self.0.config).finish_non_exhaustive()
    }
}
