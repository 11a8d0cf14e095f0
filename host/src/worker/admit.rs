//! What becomes of one file: its code, its manifest, what it is granted, what it says of itself.
//!
//! Owns the order of these, for all who admit files: a worker's library, and the command line. Does
//! not watch files. Invariant: what is admitted can begin under the limits that it has.

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use sentinel_queue::schema::Description;
use tokio::runtime::Runtime;

use super::{grants::Granted, manifest::Manifest, plugins::Job, terms};
use crate::engine::{Engine, Plugin, Said};

/// Admits files.
pub struct Admitter {
    engine: Engine,
    granted: Granted,
    /// Where jobs are asked what they are.
    runtime: Runtime,
}

/// A file was refused.
#[derive(Debug)]
pub struct Refused {
    /// What is wrong with it, and what to do.
    pub reason: String,
    /// After which time it may be admitted as it is, if the file itself is not to blame.
    pub retry_after: Option<Duration>,
    /// What came of its code, if that is not what was refused.
    pub plugin: Option<Plugin>,
}

impl Admitter {
    /// For this engine, with these grants.
    pub fn new(engine: Engine, granted: Granted) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { engine, granted, runtime })
    }

    /// What runs what it admits.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Makes a job of the file `<name>.wasm` and the manifest beside it. Blocks while it is compiled
    /// and asked what it is; not to be called on a runtime.
    pub fn admit(&self, file: &Path) -> Result<Job, Refused> {
        let plugin = self.engine.admit(file).map_err(|error| Refused {
            reason: error.to_string(),
            retry_after: error.refusal.retry_after(),
            plugin: None,
        })?;
        let refused =
            |plugin: &Plugin, reason| Refused { reason, retry_after: None, plugin: Some(plugin.clone()) };
        let manifest = Manifest::beside(file).map_err(|reason| refused(&plugin, reason))?;
        let plugin = terms::settle(&plugin, &manifest, &self.granted);
        if let Some(reason) = terms::cannot_begin(&plugin) {
            return Err(refused(&plugin, reason));
        }
        let description = self.describe(&plugin).map_err(|reason| refused(&plugin, reason))?;
        Ok(Job { plugin, manifest: Arc::new(manifest), description, admitted_at: SystemTime::now() })
    }

    fn describe(&self, plugin: &Plugin) -> Result<Option<Description>, String> {
        let said = self.runtime.block_on(plugin.describe());
        let said = said.map_err(|reason| format!("it cannot describe itself: {reason}"))?;
        let Some(Said { summary, payload_schema, result_schema }) = said else { return Ok(None) };
        Description::parse(summary, payload_schema.as_deref(), result_schema.as_deref()).map(Some)
    }
}
