//! `sentinel dev`: store, API and worker in one process, with nothing to install.

use std::sync::Arc;

use anyhow::{Context, Result};
use sentinel_queue::{Queue, store::embedded::Embedded};

use crate::{config::Config, serve, shutdown::Shutdown};

/// Serves until shutdown.
pub(crate) async fn run(config: Config) -> Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let listener = serve::listen(&config).await?;
    let queue = match &config.redis {
        Some(url) => {
            let Some(queue) = serve::redis_queue(&config, url, &shutdown).await? else { return Ok(()) };
            queue
        }
        None => embedded(&config).await?,
    };
    let server = serve::api_server(&queue, &config).await?;
    let worker = serve::new_worker(queue.clone(), &config).await?;
    tracing::info!(
        api = config.local_url(), docs = format!("{}/docs", config.local_url()), data = %config.data_dir.display(),
        "sentinel dev is up"
    );
    let api = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { server.serve(listener, shutdown.wait()).await }
    });
    worker.run(shutdown.wait()).await;
    api.await.context("the API crashed")?.context("the API ended")?;
    // The worker told what it saw, and this of the API since then.
    observe_last(&queue).await;
    Ok(())
}

/// The store on disk. Whoever held leases in it is gone: it is this process's alone.
async fn embedded(config: &Config) -> Result<Queue> {
    let queue = Queue::new(Arc::new(Embedded::open(&config.data_dir)?));
    queue.reopen().await?;
    Ok(queue)
}
