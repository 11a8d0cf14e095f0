//! On which terms a component is admitted here: as a worker of this directory would admit it.

use std::{
    collections::BTreeSet,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use anyhow::Result;
use clap::Args;
use sentinel_host::{
    engine::{Engine, EngineConfig, PluginName},
    worker::Admitter,
};
use sentinel_queue::JobName;

use crate::config::JobTerms;

/// The exit code when a component is refused.
pub(super) const REFUSED: u8 = 3;

#[derive(Args)]
pub(super) struct TermsArgs {
    /// The configuration file, for what it grants and bounds [default: ./sentinel.toml, if it is there]
    #[arg(long, env = "SENTINEL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What is needed to admit one component.
pub(super) struct Admission {
    pub(super) admitter: Admitter,
    /// The jobs that it may submit, besides itself.
    pub(super) submits: BTreeSet<JobName>,
}

impl TermsArgs {
    /// On the terms of the operator's file, of whose grants only those to this job are read: another
    /// job's secrets need not be here.
    pub(super) fn admission(&self, component: &Path) -> Result<Admission> {
        let terms = JobTerms::read(self.config.as_deref())?;
        // What no job can be named is refused when it is admitted.
        let job = PluginName::of_file(component).ok().and_then(|name| name.as_str().parse::<JobName>().ok());
        let written = job.as_ref().map(|job| terms.grants.only(job)).unwrap_or_default();
        let granted = written.resolve()?;
        let submits = granted.submits().into_values().next().unwrap_or_default();
        let config = EngineConfig { cache_dir: cache_dir(), ..terms.engine(NonZeroU32::MIN) };
        let admitter = Admitter::new(Engine::new(config)?, granted)?;
        Ok(Admission { admitter, submits })
    }
}

/// Where the user's caches are.
pub(in crate::cli) fn cache_dir() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    caches.map(|caches| caches.join("sentinel/compiled"))
}
