//! `sentinel health`: for container health checks, where there is no curl.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context, Result, bail};
use clap::Args;
use sentinel_queue::{Queue, store::redis::Redis};
use serde::Deserialize;

use super::client::Client;
use crate::{config::Here, serve::open_redis};

#[derive(Args)]
pub(super) struct HealthArgs {
    /// The API to check [default: the one that this environment and sentinel.toml configure]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    #[command(flatten)]
    here: Here,
    /// Check the worker of this machine instead: has it renewed lately?
    #[arg(long, requires = "redis")]
    worker: bool,
    /// The Redis or Valkey server that holds the queue
    #[arg(long, env = "SENTINEL_REDIS", value_name = "URL", hide_env_values = true)]
    redis: Option<String>,
    /// Who signed the certificate of a Redis at rediss://, as PEM [default: the well-known authorities]
    #[arg(long, env = "SENTINEL_REDIS_CA", value_name = "FILE")]
    redis_ca: Option<PathBuf>,
}

/// What is read of a worker's own words.
#[derive(Deserialize)]
struct Info {
    hostname: String,
}

pub(super) fn run(args: HealthArgs) -> Result<ExitCode> {
    if args.worker {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let redis = open_redis(&args.redis.unwrap_or_default(), args.redis_ca.as_deref())?;
        runtime.block_on(check_worker(redis))?;
    } else {
        let server = args.server.map_or_else(|| args.here.url(), Ok)?;
        Client::to_check(&server).get("/readyz")?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn check_worker(redis: Redis) -> Result<()> {
    let here = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let queue = Queue::new(Arc::new(redis));
    let workers = queue.workers().await.context("the store does not answer")?;
    let alive = workers
        .iter()
        .any(|worker| serde_json::from_slice::<Info>(&worker.info).is_ok_and(|info| info.hostname == here));
    if !alive {
        bail!("no worker of {here} gave a sign of life within three leases");
    }
    Ok(())
}
