//! A job that can be run.
//!
//! Owns what was decided at admission: name, digest, limits, linked code. Does not change; a
//! changed file is another plugin, and attempts finish on the one they started with. Invariant:
//! no limit is above the operator's ceiling.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    Engine,
    admission::PluginName,
    attempt::{self, Call},
    bindings::JobPre,
    deadline::Deadlines,
    digest::Digest,
    grants::Grants,
    host::Host,
    limits::Limits,
    outcome::Report,
};

/// A job that can be run. Cheap to clone.
#[derive(Clone)]
pub struct Plugin(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    engine: Engine,
    name: PluginName,
    digest: Digest,
    limits: Limits,
    grants: Arc<Grants>,
    pre: JobPre<Host>,
    compile_time: Duration,
    from_cache: bool,
}

impl Plugin {
    pub(super) fn new(
        engine: Engine,
        name: PluginName,
        digest: Digest,
        pre: JobPre<Host>,
        compile_time: Duration,
        from_cache: bool,
    ) -> Self {
        let limits = engine.config().defaults.bounded_by(&engine.config().ceilings);
        let grants = Arc::default();
        Self(Arc::new(Inner { engine, name, digest, limits, grants, pre, compile_time, from_cache }))
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

    /// The interfaces that it imports.
    pub fn imports(&self) -> Vec<String> {
        let component = self.0.pre.instance_pre().component();
        let imports = component.component_type();
        imports.imports(self.0.engine.wasmtime()).map(|(name, _)| name.to_owned()).collect()
    }

    /// How long it took to have its code ready.
    pub fn compile_time(&self) -> Duration {
        self.0.compile_time
    }

    /// Whether the code was there from an earlier time.
    pub fn from_cache(&self) -> bool {
        self.0.from_cache
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

    /// Its machine code, for the one process that this one starts to run it alone: so that runs
    /// the very same code, whatever became of the file.
    pub(crate) fn code(&self) -> wasmtime::Result<Vec<u8>> {
        self.0.pre.instance_pre().component().serialize()
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(super) fn pre(&self) -> &JobPre<Host> {
        &self.0.pre
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
