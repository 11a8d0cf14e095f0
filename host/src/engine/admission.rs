//! Decides which files become plugins.
//!
//! Owns the checks between a file and a [`Plugin`], and the words in which a file is refused.
//! Does not watch directories and does not run anything: a component's code first runs in an
//! attempt. Invariant: what is admitted has the job's function with the right type, and all it
//! imports is linked.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
    str::FromStr,
    time::Duration,
};

use wasmtime::component::{InstancePre, types::ComponentItem};

use super::{
    Engine,
    bindings::{JobPre, sentinel::job::types},
    compile::{CompileError, Compiled},
    digest::Digest,
    host::Host,
    imports,
    needs::Excess,
    plugin::{Entry, Plugin},
};

/// The interface that makes a component a job. A later 0.1 matches too.
pub const HANDLER: &str = "sentinel:job/handler@0.1.0";

/// The interface that makes a component a command. A later 0.2 matches too.
const COMMAND: &str = "wasi:cli/run@0.2.0";

/// The name of a plugin: `[a-z0-9][a-z0-9._-]{0,63}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PluginName(String);

impl PluginName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that a file gives its plugin.
    pub fn of_file(path: &Path) -> Result<Self, Refusal> {
        if path.extension().and_then(|extension| extension.to_str()) != Some("wasm") {
            return Err(Refusal::NotWasm);
        }
        path.file_stem().unwrap_or_default().to_string_lossy().parse()
    }
}

impl FromStr for PluginName {
    type Err = Refusal;

    fn from_str(name: &str) -> Result<Self, Refusal> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let mut bytes = name.bytes();
        let fits = bytes.next().is_some_and(is_plain)
            && bytes.all(|byte| is_plain(byte) || matches!(byte, b'.' | b'_' | b'-'))
            && name.len() <= 64;
        if fits { Ok(Self(name.to_owned())) } else { Err(Refusal::Name(name.to_owned())) }
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file was refused.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {refusal}")]
pub struct AdmissionError {
    /// The file, or the plugin's name where there was none.
    pub file: String,
    /// Why.
    pub refusal: Refusal,
}

/// Why a file was refused. Follows the file's name in the message.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The name breaks the rule.
    #[error("`{0}` cannot be a plugin's name: rename the file to [a-z0-9][a-z0-9._-]{{0,63}} and `.wasm`")]
    Name(String),
    /// It could not be read.
    #[error("it cannot be read: {0}")]
    Unreadable(io::Error),
    /// It is too large to be compiled.
    #[error("it has more than {limit} bytes: strip it, or raise `file-size` in [admission] of sentinel.toml")]
    TooManyBytes {
        /// How many are allowed.
        limit: u64,
    },
    /// It is machine code.
    #[error("it is precompiled code (`.cwasm`), which is not loaded from outside: put the `.wasm` there")]
    Precompiled,
    /// It is something else entirely.
    #[error("it is not WebAssembly: build it with `cargo build --release --target wasm32-wasip2`")]
    NotWasm,
    /// It does not compile.
    #[error("it is not a valid component, or uses what is turned off here: {0:#}")]
    Invalid(wasmtime::Error),
    /// No job may have what one instance of it needs.
    #[error("{0}")]
    Exceeds(Excess),
    /// One instance of it does not fit into the engine.
    #[error("one instance of it needs more than the engine has for one: make it of fewer parts: {0:#}")]
    TooLarge(wasmtime::Error),
    /// It was not compiled in time, as busy as the machine is.
    #[error(
        "it was not compiled within {} s: it is tried again later, when the machine may be less busy; \
         `compile-time` in [admission] of sentinel.toml gives it more", .0.as_secs()
    )]
    TooLong(Duration),
    /// Compiling it takes too much CPU time.
    #[error(
        "to compile it takes more than {} s of CPU time: make it smaller, above all its largest functions, or \
         raise `compile-cpu` in [admission] of sentinel.toml", .0.as_secs()
    )]
    TooMuchCpu(Duration),
    /// Too much machine code comes of it.
    #[error(
        "{bytes} bytes of machine code come of it, and {limit} are allowed: make it smaller, or raise `code-size` \
         in [admission] of sentinel.toml"
    )]
    TooMuchCode {
        /// How much, in bytes.
        bytes: u64,
        /// How much there may be.
        limit: u64,
    },
    /// The process that compiled it died.
    #[error(
        "the process that compiled it died ({death}) and said {words:?}: if its {memory_mib} MiB of memory were \
         too little, make it smaller, or raise `compile-memory` in [admission] of sentinel.toml; otherwise the \
         compiler cannot cope with it"
    )]
    CompilerDied {
        /// How it died.
        death: String,
        /// What it last said.
        words: String,
        /// The memory that it might have.
        memory_mib: u64,
    },
    /// No process could be had to compile it.
    #[error("no process can be had to compile it: {0}")]
    NoProcess(io::Error),
    /// It imports what nobody provides.
    #[error("it imports {}, which no job is given: build it for the world `sentinel:job/job`", list(.0))]
    UnknownImports(Vec<String>),
    /// It imports something known in a shape that is not the host's.
    #[error("it does not fit the host: {0:#}")]
    Unlinkable(wasmtime::Error),
    /// It is a component of another world.
    #[error(
        "it exports neither `{HANDLER}` nor `{COMMAND}` (it exports {}): build it for wasm32-wasip2, as a \
         component of the world `sentinel:job/job` or as a command",
        list(.0)
    )]
    NotAJob(Vec<String>),
    /// Its function has another type.
    #[error("its `{HANDLER}` has no function `run` of the right type: {0:#}")]
    WrongType(wasmtime::Error),
}

impl Refusal {
    /// After which time the same file may be admitted, if what is wrong is not in the file alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unreadable(_) | Self::NoProcess(_) => Some(Duration::from_secs(5)),
            // The machine was too busy. It is not to be kept so.
            Self::TooLong(_) => Some(Duration::from_mins(10)),
            _ => None,
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { format!("`{}`", names.join("`, `")) }
}

/// Reads the plugin at `path`, no more than `limit` bytes of it.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Refusal::Unreadable)?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(Refusal::Unreadable)?;
    Ok(bytes)
}

/// Makes a plugin of a component's bytes.
pub(super) fn admit(engine: &Engine, name: PluginName, bytes: &[u8]) -> Result<Plugin, Refusal> {
    let limit = engine.config().max_plugin_bytes;
    if bytes.len() as u64 > limit {
        return Err(Refusal::TooManyBytes { limit });
    }
    check_kind(bytes)?;
    let digest = Digest::of(bytes);
    let compiled = engine.compiler().component(name.as_str(), &digest, bytes)?;
    link(engine, name, digest, &compiled)
}

/// Makes a plugin of the code of one that another process admitted.
pub(super) fn take_over(
    engine: &Engine,
    name: PluginName,
    digest: Digest,
    artefact: &[u8],
) -> Result<Plugin, Refusal> {
    let compiled = engine.compiler().take_over(artefact)?;
    link(engine, name, digest, &compiled)
}

impl From<CompileError> for Refusal {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::Invalid(error) => Self::Invalid(error),
            CompileError::Exceeds(excess) => Self::Exceeds(excess),
            CompileError::TooLarge(error) => Self::TooLarge(error),
            CompileError::TooLong(limit) => Self::TooLong(limit),
            CompileError::TooMuchCpu(limit) => Self::TooMuchCpu(limit),
            CompileError::TooMuchCode { bytes, limit } => Self::TooMuchCode { bytes, limit },
            CompileError::Died { death, words, memory_bytes } => {
                Self::CompilerDied { death, words, memory_mib: memory_bytes >> 20 }
            }
            CompileError::NoProcess(error) => Self::NoProcess(error),
        }
    }
}

fn link(engine: &Engine, name: PluginName, digest: Digest, compiled: &Compiled) -> Result<Plugin, Refusal> {
    let linker = imports::linker_for(engine.linker(), &compiled.component)
        .map_err(Refusal::Unlinkable)?
        .map_err(Refusal::UnknownImports)?;
    let instance = linker.instantiate_pre(&compiled.component).map_err(Refusal::Unlinkable)?;
    let entry = entry(engine, instance)?;
    Ok(Plugin::new(engine.clone(), name, digest, entry, compiled.code))
}

/// Every binary begins with its magic number, a version and a layer.
fn check_kind(bytes: &[u8]) -> Result<(), Refusal> {
    if wasmtime::Engine::detect_precompiled(bytes).is_some() {
        return Err(Refusal::Precompiled);
    }
    if bytes.starts_with(b"\0asm") { Ok(()) } else { Err(Refusal::NotWasm) }
}

/// What is called of a component: a job's function, or a command.
fn entry(engine: &Engine, instance: InstancePre<Host>) -> Result<Entry, Refusal> {
    let component = instance.component();
    // By index, because only so a later version of the same line is found.
    let Some((ComponentItem::ComponentInstance(_), handler)) = component.get_export(None, HANDLER) else {
        if let Some((ComponentItem::ComponentInstance(_), command)) = component.get_export(None, COMMAND) {
            let Some((ComponentItem::ComponentFunc(run), index)) =
                component.get_export(Some(&command), "run")
            else {
                return Err(Refusal::WrongType(wasmtime::Error::msg("there is none of this name")));
            };
            run.typecheck::<(), (Result<(), ()>,)>(&instance.instance_type()).map_err(Refusal::WrongType)?;
            return Ok(Entry::Command { pre: instance, run: index });
        }
        let component = component.component_type();
        let exports = component.exports(engine.wasmtime()).map(|(name, _)| name.to_owned()).collect();
        return Err(Refusal::NotAJob(exports));
    };
    let Some((ComponentItem::ComponentFunc(run), _)) = component.get_export(Some(&handler), "run") else {
        return Err(Refusal::WrongType(wasmtime::Error::msg("there is none of this name")));
    };
    run.typecheck::<(&types::Task,), (Result<String, types::Failure>,)>(&instance.instance_type())
        .map_err(Refusal::WrongType)?;
    JobPre::new(instance).map(Entry::Job).map_err(Refusal::WrongType)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        for good in ["a", "0", "example-task", "a.b_c-d", &"x".repeat(64)] {
            assert!(good.parse::<PluginName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "A", "a b", "a/b", "\u{e9}", &"x".repeat(65)] {
            assert!(bad.parse::<PluginName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_names_its_plugin() {
        let name = |path| PluginName::of_file(Path::new(path)).map(|name| name.to_string()).ok();
        assert_eq!(name("/plugins/resize-image.wasm").as_deref(), Some("resize-image"));
        assert_eq!(name("/plugins/resize-image.cwasm"), None);
        assert_eq!(name("/plugins/.wasm"), None);
    }
}
