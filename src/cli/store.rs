//! The store itself, for commands that need no server.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use sentinel_queue::{Queue, store::embedded::Embedded};

use crate::serve::open_redis;

#[derive(Args)]
#[group(skip)]
pub(super) struct StoreArgs {
    /// The Redis or Valkey server that holds the queue; it may be in use
    #[arg(long, value_name = "URL", global = true, conflicts_with = "data_dir")]
    redis: Option<String>,
    /// Who signed the certificate of a Redis at rediss://, as PEM [default: the well-known authorities]
    #[arg(long, env = "SENTINEL_REDIS_CA", value_name = "FILE", global = true)]
    redis_ca: Option<PathBuf>,
    /// The directory of an embedded store that no process has open
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
}

impl StoreArgs {
    /// Whether one is named.
    pub(super) fn is_named(&self) -> bool {
        self.redis.is_some() || self.data_dir.is_some()
    }

    /// The store, which must be there: none is made by looking.
    pub(super) fn open(&self) -> Result<Queue> {
        if let Some(dir) = &self.data_dir
            && !dir.join(Embedded::FILE).is_file()
        {
            bail!(
                "--data-dir {}: there is no {} in it: name the directory that `sentinel dev` keeps its store in \
                 (./sentinel-data by default)",
                dir.display(),
                Embedded::FILE,
            );
        }
        self.open_or_make()
    }

    /// The store; an embedded one is made if it is not there.
    pub(super) fn open_or_make(&self) -> Result<Queue> {
        Ok(match (&self.redis, &self.data_dir) {
            (Some(url), _) => Queue::new(Arc::new(open_redis(url, self.redis_ca.as_deref())?)),
            (None, Some(dir)) => Queue::new(Arc::new(embedded(dir)?)),
            (None, None) => bail!("say which store: --redis URL or --data-dir DIR"),
        })
    }
}

fn embedded(dir: &Path) -> Result<Embedded> {
    Embedded::open(dir).with_context(|| format!("--data-dir {}", dir.display()))
}
