//! The plugins that a worker can run, by name.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use sentinel_queue::{JobName, Policy};
use serde::Serialize;

use super::{grants::Granted, manifest::Manifest, terms};
use crate::engine::{Engine, Plugin};

/// All admitted plugins, and why others were refused.
#[derive(Default)]
pub struct Plugins {
    admitted: BTreeMap<JobName, (Plugin, Policy)>,
    refused: Vec<Refusal>,
}

/// A file that is not run, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Refusal {
    /// The file's name.
    pub file: String,
    /// What is wrong with it, and what to do.
    pub reason: String,
}

impl Plugins {
    /// Admits every `*.wasm` in these directories; where two have the same name, the first wins.
    /// A bad file is refused and keeps no other from being admitted. Each gets what it asks for and
    /// is granted.
    pub fn load(engine: &Engine, dirs: &[PathBuf], granted: &Granted) -> Self {
        let mut plugins = Self::default();
        let mut seen = BTreeSet::new();
        for dir in dirs {
            match wasm_files(dir) {
                Ok(files) => {
                    for file in files {
                        if seen.insert(file.file_name().map(ToOwned::to_owned)) {
                            plugins.admit(engine, &file, granted);
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(dir = %dir.display(), %error, "a plugins directory is not readable");
                }
            }
        }
        plugins
    }

    fn admit(&mut self, engine: &Engine, file: &Path, granted: &Granted) {
        let admitted = engine.admit(file).map_err(|error| error.to_string());
        let admitted = admitted.and_then(|plugin| {
            let manifest = Manifest::beside(file)?;
            Ok((terms::settle(&plugin, &manifest, granted), manifest.policy))
        });
        match admitted {
            Ok((plugin, defaults)) => {
                if !plugin.grants().withheld.is_empty() {
                    let withheld = plugin.grants().withheld.join("; ");
                    tracing::warn!(job = %plugin.name(), withheld, "the plugin asks for more than it is granted");
                }
                tracing::info!(
                    job = %plugin.name(), digest = %plugin.digest(), cached = plugin.from_cache(),
                    compiled_in = ?plugin.compile_time(), "plugin admitted"
                );
                // The engine's rule for names is the queue's.
                if let Ok(name) = plugin.name().as_str().parse() {
                    self.admitted.insert(name, (plugin, defaults));
                }
            }
            Err(reason) => {
                let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                tracing::error!(file = %file.display(), reason, "plugin refused");
                self.refused.push(Refusal { file: name, reason });
            }
        }
    }

    /// The plugin that runs a job, and what its tasks ask for when they do not say.
    pub fn get(&self, job: &JobName) -> Option<(Plugin, Policy)> {
        self.admitted.get(job).cloned()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Plugin> {
        self.admitted.values().map(|(plugin, _)| plugin)
    }

    /// What was refused.
    pub fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    /// The names, as a renewal tells them.
    pub(super) fn names(&self) -> Vec<Bytes> {
        self.admitted.keys().map(|name| Bytes::from(name.to_string())).collect()
    }

    /// Refuses what can never run here.
    pub(super) fn refuse_larger(&mut self, fits: impl Fn(usize) -> bool) {
        let too_large = |plugin: &Plugin| !fits(plugin.limits().memory_bytes);
        for (plugin, _) in self.admitted.values().filter(|(plugin, _)| too_large(plugin)) {
            let reason = format!(
                "its memory limit of {} bytes is more than this worker's budget leaves: give the worker more \
                 memory, fewer slots (--concurrency), or lower the limit",
                plugin.limits().memory_bytes
            );
            tracing::error!(job = %plugin.name(), reason, "plugin refused");
            self.refused.push(Refusal { file: format!("{}.wasm", plugin.name()), reason });
        }
        self.admitted.retain(|_, (plugin, _)| fits(plugin.limits().memory_bytes));
    }
}

fn wasm_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        // A `.cwasm` is machine code: it is refused with its reason, not passed over.
        let kind = path.extension().and_then(|extension| extension.to_str());
        if matches!(kind, Some("wasm" | "cwasm")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
