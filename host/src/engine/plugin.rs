//! A job that can be run.
//!
//! Owns what was decided at admission: name, digest, limits, linked code. Does not change; a
//! changed file is another plugin, and attempts finish on the one they started with. Invariant:
//! no limit is above the operator's ceiling.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use wasmtime::component::{ComponentExportIndex, InstancePre};

use super::{
    Engine,
    admission::PluginName,
    attempt::{self, Call},
    bindings::JobPre,
    compile::{self, Code},
    deadline::Deadlines,
    digest::Digest,
    grants::Grants,
    host::Host,
    imports::{self, Access},
    limits::Limits,
    needs::Excess,
    outcome::Report,
};

/// A job that can be run. Cheap to clone.
#[derive(Clone)]
pub struct Plugin(Arc<Inner>);

/// What is called of its component.
#[derive(Clone)]
pub(super) enum Entry {
    /// The function of a job.
    Job(JobPre<Host>),
    /// A command: the payload is its standard input, and what it writes to standard output its
    /// result.
    Command {
        /// The component.
        pre: InstancePre<Host>,
        /// Its function.
        run: ComponentExportIndex,
    },
}

/// What becomes of a command's standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdout {
    /// It is the result, and must be JSON.
    #[default]
    Json,
    /// It becomes a JSON string, which is the result.
    Text,
}

#[derive(Clone)]
struct Inner {
    engine: Engine,
    name: PluginName,
    digest: Digest,
    limits: Limits,
    grants: Arc<Grants>,
    entry: Entry,
    stdout: Stdout,
    code: Code,
}

impl Plugin {
    pub(super) fn new(engine: Engine, name: PluginName, digest: Digest, entry: Entry, code: Code) -> Self {
        let limits = engine.config().defaults.bounded_by(&engine.config().ceilings);
        let grants = Arc::default();
        Self(Arc::new(Inner { engine, name, digest, limits, grants, entry, stdout: Stdout::default(), code }))
    }

    /// The job's name.
    pub fn name(&self) -> &PluginName {
        &self.0.name
    }

    /// The SHA-256 of the file that it came from.
    pub fn digest(&self) -> &Digest {
        &self.0.digest
    }

    /// The limits of its attempts.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// What its attempts may reach.
    pub fn grants(&self) -> &Arc<Grants> {
        &self.0.grants
    }

    /// What it imports, and what becomes of that under its grants.
    pub fn imports(&self) -> Vec<(String, Access)> {
        let component = self.instance_pre().component();
        let engine = self.0.engine.wasmtime();
        let imports = component.component_type();
        let access = |name: &str, item| imports::access(engine, name, &item, &self.0.grants);
        imports.imports(engine).map(|(name, import)| (name.to_owned(), access(name, import.ty))).collect()
    }

    /// What it exports.
    pub fn exports(&self) -> Vec<String> {
        let component = self.instance_pre().component().component_type();
        component.exports(self.0.engine.wasmtime()).map(|(name, _)| name.to_owned()).collect()
    }

    /// What is known of its code.
    pub fn code(&self) -> &Code {
        &self.0.code
    }

    /// What one instance of it needs and its limits do not allow, if there is such a thing: it could
    /// never begin.
    pub fn excess(&self) -> Option<Excess> {
        Excess::of_limits(&self.0.code.needs, &self.0.limits)
    }

    /// The same job with other limits, as far as the ceilings let it have them.
    #[must_use]
    pub fn with_limits(&self, limits: &Limits) -> Self {
        let limits = limits.bounded_by(&self.0.engine.config().ceilings);
        Self(Arc::new(Inner { limits, ..(*self.0).clone() }))
    }

    /// The same job with what it has been granted.
    #[must_use]
    pub fn with_grants(&self, grants: Grants) -> Self {
        Self(Arc::new(Inner { grants: Arc::new(grants), ..(*self.0).clone() }))
    }

    /// The limits of an attempt at a task with this timeout, which replaces the wall time.
    pub fn limits_for(&self, timeout: Duration) -> Limits {
        Limits { wall: timeout, ..self.0.limits.clone() }.bounded_by(&self.0.engine.config().ceilings)
    }

    /// Runs one attempt. Its wall time counts from this call, not from the first poll, so that it
    /// holds for an attempt that finds the guests' runtime busy.
    ///
    /// The future is to be polled on a tokio runtime with time enabled. That it is dropped ends
    /// the attempt, too, but without a report: [`Interrupt`](super::Interrupt) is the way to stop it.
    pub fn run(&self, call: Call, deadlines: &Deadlines) -> impl Future<Output = Report> + Send + use<> {
        let armed = deadlines.arm(call.limits.wall, call.interrupt.clone());
        let plugin = self.clone();
        async move {
            let report = attempt::run(&plugin, call).await;
            drop(armed);
            report
        }
    }

    /// Its code, for the one process that this one starts to run it alone: so that runs the very
    /// same code, whatever became of the file.
    pub(crate) fn artefact(&self) -> wasmtime::Result<Vec<u8>> {
        compile::artefact(self.instance_pre().component(), &self.0.code)
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.0.entry
    }

    pub(super) fn instance_pre(&self) -> &InstancePre<Host> {
        match &self.0.entry {
            Entry::Job(pre) => pre.instance_pre(),
            Entry::Command { pre, .. } => pre,
        }
    }

    /// Whether it is a command, and not a component of `sentinel:job`.
    pub fn is_command(&self) -> bool {
        matches!(self.0.entry, Entry::Command { .. })
    }

    /// What becomes of its standard output, if it is a command.
    pub fn stdout(&self) -> Stdout {
        self.0.stdout
    }

    /// The same job, of whose standard output this becomes.
    #[must_use]
    pub fn with_stdout(&self, stdout: Stdout) -> Self {
        Self(Arc::new(Inner { stdout, ..(*self.0).clone() }))
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.0.name)
            .field("digest", &self.0.digest)
            .finish_non_exhaustive()
    }
}
