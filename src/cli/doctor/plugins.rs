//! The plugins, each admitted or refused as a worker of this configuration would.
//!
//! Compiled code is kept in the user's own cache: the worker's is its own.

use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroU32,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use sentinel_host::{
    engine::{Engine, EngineConfig},
    worker::{Admitter, Job, Refused, plugins_in},
};

use crate::{
    cli::{finding::Finding, job::cache_dir},
    config::Config,
};

/// What was found, and the memory that attempts of what was admitted may have, in bytes.
pub(super) struct Seen {
    pub(super) findings: Vec<Finding>,
    pub(super) memory_limits: Vec<usize>,
}

/// Admits all there are. Blocks while they are compiled, and must not be called on a runtime.
pub(super) fn look(config: &Config) -> Seen {
    let mut seen = Seen { findings: Vec::new(), memory_limits: Vec::new() };
    let admitter = match admitter(config) {
        Ok(admitter) => admitter,
        Err(error) => {
            let fix = "mend that first: no plugin can be looked at without an engine";
            seen.findings.push(Finding::failed("plugins", format!("{error:#}"), fix));
            return seen;
        }
    };
    let files = files(&config.plugins, &mut seen.findings);
    if files.is_empty() {
        let fix = "put NAME.wasm into a plugins directory, or name another with --plugins";
        seen.findings.push(Finding::warning("plugins", "there are none: tasks wait", fix));
    }
    for file in files {
        match admitter.admit(&file) {
            Ok(job) => {
                seen.memory_limits.push(job.plugin.limits().memory_bytes);
                seen.findings.push(well(&file, &job));
            }
            Err(Refused { reason, .. }) => {
                let name = file.display().to_string();
                let reason = reason.strip_prefix(&format!("{name}: ")).unwrap_or(&reason);
                let reason = format!("{name} is refused: {reason}");
                let fix = "as it says; `sentinel job check` on the file tells more";
                seen.findings.push(Finding::failed("plugin", reason, fix));
            }
        }
    }
    seen
}

fn admitter(config: &Config) -> anyhow::Result<Admitter> {
    // What cannot be read of grants has been told of the configuration.
    let granted = config.jobs.grants.resolve().unwrap_or_default();
    let engine = EngineConfig {
        cache_dir: cache_dir(),
        plugin_dirs: config.plugins.clone(),
        ..config.jobs.engine(NonZeroU32::MIN)
    };
    Ok(Admitter::new(Engine::new(engine)?, granted)?)
}

/// All files that are meant as plugins; where two directories hold the same, the first wins.
fn files(dirs: &[PathBuf], findings: &mut Vec<Finding>) -> Vec<PathBuf> {
    let mut files = BTreeMap::new();
    for dir in dirs {
        match plugins_in(dir) {
            Ok(paths) => {
                for path in paths.into_iter().filter(|path| is_no_pipe(path)) {
                    files.entry(path.file_name().map(ToOwned::to_owned)).or_insert(path);
                }
            }
            Err(error) => findings.push(Finding::failed(
                "plugins",
                format!("plugins: {}: {error}", dir.display()),
                "let this user read the directory, or name another",
            )),
        }
    }
    files.into_values().collect()
}

/// To open one may take for ever.
fn is_no_pipe(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.file_type().is_fifo())
}

fn well(file: &Path, job: &Job) -> Finding {
    let withheld = &job.plugin.grants().withheld;
    let says = format!("{} is admitted", file.display());
    if withheld.is_empty() {
        return Finding::ok("plugin", says);
    }
    let fix = format!("grant it in [grants.{}], if that is meant", job.plugin.name());
    Finding::warning(
        "plugin",
        format!("{says}, and asks for more than it gets: {}", withheld.join("; ")),
        fix,
    )
}
