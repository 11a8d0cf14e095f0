//! The servers: what they are made of and in which order they come up and go down.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sentinel_api::{ApiConfig, Auth, Metrics, Server, Tls};
use sentinel_host::{
    engine::{Engine, EngineConfig},
    worker::{Library, Worker, WorkerConfig},
};
use sentinel_queue::{
    Queue,
    series::{observe_for_ever, observe_last},
    store::{Durability, redis::Redis},
    sweeper::sweep_for_ever,
};
use tokio::net::TcpListener;

use crate::{
    config::{Config, Door},
    shutdown::Shutdown,
};

/// `sentinel api`: the HTTP API over Redis.
pub(crate) async fn api(config: Config) -> Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let Some(queue) = redis_queue(&config, config.redis()?, &shutdown).await? else { return Ok(()) };
    let server = api_server(&queue, &config).await?;
    let listener = listen(&config).await?;
    let sweeping = tokio::spawn(sweep_for_ever(queue.clone(), config.worker.retention));
    let observing = tokio::spawn(observe_for_ever(queue.clone()));
    tracing::info!(url = config.local_url(), "the API listens");
    server.serve(listener, shutdown.wait()).await.context("the API ended")?;
    sweeping.abort();
    observing.abort();
    observe_last(&queue).await;
    Ok(())
}

/// `sentinel worker`: runs tasks from Redis.
pub(crate) async fn worker(config: Config) -> Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let Some(queue) = redis_queue(&config, config.redis()?, &shutdown).await? else { return Ok(()) };
    let worker = new_worker(queue, &config).await?;
    worker.run(shutdown.wait()).await;
    Ok(())
}

/// Refuses to open a door to others for which there is no key.
async fn require_keys(queue: &Queue, config: &Config) -> Result<()> {
    if config.door.auth() != Auth::Keys {
        return Ok(());
    }
    let keys = queue.keys(None).await?;
    if keys.keys.iter().flatten().any(|key| key.is_valid(keys.now)) {
        return Ok(());
    }
    let how = match &config.redis {
        Some(_) => "--redis URL".to_owned(),
        None => format!("--data-dir {}", config.data_dir.display()),
    };
    let how = format!("make one with `sentinel key create NAME --scope admin {how}`");
    if config.door == Door::ThereMustBeAKey {
        bail!(
            "listen: {} can be reached from other machines and there are no API keys: {how}, listen on 127.0.0.1, \
             or say `--auth none` if whoever reaches it may use it",
            config.listen
        );
    }
    tracing::warn!("nobody has a key, so that nobody can call the API: {how}");
    Ok(())
}

/// Binds the API's port.
pub(crate) async fn listen(config: &Config) -> Result<TcpListener> {
    TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("listen: cannot listen on {}: choose another with --listen", config.listen))
}

/// The API's server, or what stands in its way.
pub(crate) async fn api_server(queue: &Queue, config: &Config) -> Result<Server> {
    require_keys(queue, config).await?;
    raise_descriptors();
    let metrics = Metrics::default();
    let tls = config.tls.as_ref().map(|files| Tls::open(&files.cert, &files.key)).transpose();
    let tls = tls.context("tls-cert, tls-key")?;
    let api = ApiConfig {
        auth: config.door.auth(),
        allowed_hosts: config.allow_hosts.clone(),
        allowed_origins: config.allow_origins.clone(),
        has_tls: tls.is_some(),
        metrics: metrics.clone(),
        traces: config.traces.clone(),
    };
    Ok(Server::new(sentinel_api::router(queue.clone(), api)).metrics(metrics).tls(tls))
}

/// Takes all descriptors that this process may have: what it gets by default (often 1024) is for programs
/// that use `select`, and fewer than it has connections.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%error, "the number of descriptors stays as it is");
    }
}

/// A Redis at a URL, whose certificate an authority in this file signed.
pub(crate) fn open_redis(url: &str, ca: Option<&Path>) -> Result<Redis> {
    let Some(ca) = ca else { return Ok(Redis::new(url)?) };
    let named = || format!("redis-ca: {}", ca.display());
    let authorities = std::fs::read(ca).with_context(named)?;
    Redis::with_ca(url, &authorities).with_context(named)
}

/// How long a worker waits for its plugins until it starts with those that it has.
const START: Duration = Duration::from_secs(10);

/// Loads the plugins and makes a worker of them.
pub(crate) async fn new_worker(queue: Queue, config: &Config) -> Result<Worker> {
    let granted = config.jobs.grants.resolve()?;
    let submits = granted.submits();
    let named: Vec<_> = granted.jobs().cloned().collect();
    let engine = Engine::new(EngineConfig {
        cache_dir: Some(config.data_dir.join("cache")),
        plugin_dirs: config.plugins.clone(),
        scratch_dir: Some(config.data_dir.join("scratch")),
        ..config.jobs.engine(config.worker.slots)
    })?;
    let plugins = Library::open(engine, config.plugins.clone(), granted)
        .context("plugins: no thread can be started")?;
    let is_complete = plugins.complete(START).await;
    let current = plugins.current();
    for job in named.iter().filter(|job| is_complete && current.get(job).is_none()) {
        tracing::warn!(%job, "grants are for a job of which there is no plugin");
    }
    if !is_complete {
        tracing::warn!("the worker starts while plugins are still being compiled");
    } else if current.iter().count() == 0 {
        tracing::warn!(dirs = ?config.plugins, "no plugins: tasks wait until some worker has their jobs");
    }
    let worker = WorkerConfig { submits, traces: config.traces.clone(), ..config.worker.clone() };
    Worker::new(queue, plugins, worker).context("the worker did not start")
}

/// Connects to Redis and checks that it may hold the queue; waits for it while it is away. None: it
/// was told to stop while it waited.
pub(crate) async fn redis_queue(config: &Config, url: &str, shutdown: &Shutdown) -> Result<Option<Queue>> {
    let queue = Queue::new(Arc::new(open_redis(url, config.redis_ca.as_deref())?));
    let mut said = false;
    let durability = loop {
        match queue.check().await {
            Ok(durability) => break durability,
            Err(sentinel_queue::store::StoreError::Unavailable(reason)) => {
                if !said {
                    tracing::warn!(reason, "waiting for Redis");
                    said = true;
                }
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(500)) => {}
                    () = shutdown.clone().wait() => return Ok(None),
                }
            }
            Err(error) => return Err(error.into()),
        }
    };
    say_durability(durability);
    Ok(Some(queue))
}

fn say_durability(durability: Durability) {
    let level = durability.as_str();
    match durability {
        Durability::Always => {
            tracing::info!(durability = level, "accepted tasks are on disk before they are answered");
        }
        Durability::EverySecond => tracing::warn!(
            durability = level,
            "a crash of Redis may lose about the last second of accepted tasks: set `appendfsync always` to lose none"
        ),
        Durability::None => tracing::warn!(
            durability = level,
            "a crash of Redis loses accepted tasks: set `appendonly yes` and `appendfsync always` to lose none"
        ),
    }
}
