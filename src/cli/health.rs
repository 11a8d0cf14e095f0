//! `sentinel health`: for container health checks, where there is no curl.

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context, Result, bail};
use clap::Args;
use sentinel_queue::{Queue, store::redis::Redis};
use serde::Deserialize;

use super::client::Client;

#[derive(Args)]
pub(super) struct HealthArgs {
    /// The API to check
    #[arg(long, default_value = "http://127.0.0.1:8000", value_name = "URL")]
    server: String,
    /// Check the worker of this machine instead: has it renewed lately?
    #[arg(long, requires = "redis")]
    worker: bool,
    /// The Redis or Valkey server that holds the queue
    #[arg(long, env = "SENTINEL_REDIS", value_name = "URL", hide_env_values = true)]
    redis: Option<String>,
}

/// What is read of a worker's own words.
#[derive(Deserialize)]
struct Info {
    hostname: String,
}

pub(super) fn run(args: HealthArgs) -> Result<ExitCode> {
    if args.worker {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(check_worker(&args.redis.unwrap_or_default()))?;
    } else {
        Client::new(&args.server, false).get("/readyz")?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn check_worker(redis: &str) -> Result<()> {
    let here = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let queue = Queue::new(Arc::new(Redis::new(redis)?));
    let workers = queue.workers().await.context("the store does not answer")?;
    let alive = workers
        .iter()
        .any(|worker| serde_json::from_slice::<Info>(&worker.info).is_ok_and(|info| info.hostname == here));
    if !alive {
        bail!("no worker of {here} gave a sign of life within three leases");
    }
    Ok(())
}
