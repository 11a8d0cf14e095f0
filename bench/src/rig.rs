//! The processes of one run: a store, the API and workers, in a directory that is removed with them.

use std::{
    ffi::OsStr,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Appendfsync, Options, Store, http::Client, process::Process};

/// How long a process may take to come up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What runs while something is measured.
pub(crate) struct Rig<'a> {
    options: &'a Options,
    workers: Vec<Process>,
    /// None: it ran already.
    server: Option<Process>,
    redis: Option<Redis>,
    address: SocketAddr,
    dir: TempDir,
}

/// The throw-away `redis-server`.
pub(crate) struct Redis {
    process: Process,
    url: String,
}

/// What a `redis-server` says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RedisUse {
    pub(crate) cpu: Duration,
    pub(crate) memory_bytes: u64,
    /// Those that scripts call among them.
    pub(crate) commands: u64,
}

impl<'a> Rig<'a> {
    /// Starts the store and the API. An embedded store has its worker from the start, others none.
    pub(crate) async fn start(options: &'a Options) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        if let Some(address) = options.server {
            let mut rig = Self { options, workers: Vec::new(), server: None, redis: None, address, dir };
            rig.wait_for_api().await?;
            return Ok(rig);
        }
        let plugins = dir.path().join("plugins");
        fs::create_dir(&plugins)?;
        fs::copy(options.plugin("noop")?, plugins.join("noop.wasm"))?;
        let redis = match options.store {
            Store::Redis => Some(Redis::start(options, dir.path()).await?),
            Store::Embedded => None,
        };
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let listen = address.to_string();
        let mut command = Command::new(&options.program);
        match &redis {
            Some(redis) => command.args(["api", "--listen", &listen, "--redis", &redis.url]),
            None => command.args(["dev", "--listen", &listen]),
        };
        let server = Process::start("server", &mut command, dir.path())?;
        let mut rig = Self { options, workers: Vec::new(), server: Some(server), redis, address, dir };
        rig.wait_for_api().await?;
        Ok(rig)
    }

    async fn wait_for_api(&mut self) -> Result<()> {
        let since = Instant::now();
        loop {
            if let Ok(mut client) = self.client().await
                && client.get::<Value>("/readyz").await.is_ok()
            {
                return Ok(());
            }
            if let Some(server) = &mut self.server {
                server.check(self.dir.path())?;
            }
            if since.elapsed() > PATIENCE {
                bail!("the API was not ready within {PATIENCE:?}");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) fn plugins(&self) -> PathBuf {
        self.dir.path().join("plugins")
    }

    /// Starts one more worker.
    pub(crate) fn start_worker(&mut self, args: &[impl AsRef<OsStr>]) -> Result<()> {
        let redis = self.redis.as_ref().context("an embedded store has one worker, its own")?;
        let name = format!("worker-{}", self.workers.len());
        let mut command = Command::new(&self.options.program);
        command.args(["worker", "--redis", &redis.url]).args(args);
        self.workers.push(Process::start(&name, &mut command, self.dir.path())?);
        Ok(())
    }

    /// Starts workers, unless the store has its own, and waits until they have their job.
    pub(crate) async fn with_workers(mut self, workers: usize, args: &[String]) -> Result<Self> {
        if self.redis.is_some() {
            for _ in 0..workers {
                self.start_worker(args)?;
            }
        }
        self.wait_for_workers().await?;
        Ok(self)
    }

    /// Waits until all workers say that they are there.
    pub(crate) async fn wait_for_workers(&mut self) -> Result<()> {
        if self.server.is_none() {
            return Ok(());
        }
        let expected = self.workers.len().max(1);
        let mut client = self.client().await?;
        let since = Instant::now();
        loop {
            let workers: Value = client.get("/v1/workers").await?;
            let has_job = |worker: &&Value| worker["jobs"].as_array().is_some_and(|jobs| !jobs.is_empty());
            let there = workers["workers"].as_array().into_iter().flatten().filter(has_job).count();
            if there == expected {
                return Ok(());
            }
            for worker in &mut self.workers {
                worker.check(self.dir.path())?;
            }
            if since.elapsed() > PATIENCE {
                bail!("{there} of {expected} workers came within {PATIENCE:?}: {workers}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends the workers; the rest stays.
    pub(crate) fn stop_workers(&mut self) -> Result<()> {
        self.workers.drain(..).try_for_each(Process::stop)
    }

    pub(crate) async fn client(&self) -> Result<Client> {
        Client::connect(self.address).await
    }

    /// Where the API listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The processes that run attempts.
    pub(crate) fn runners(&self) -> &[Process] {
        if self.redis.is_some() { &self.workers } else { self.server.as_slice() }
    }

    /// The process that serves the API, if it is ours.
    pub(crate) fn server(&self) -> Option<&Process> {
        self.server.as_ref()
    }

    pub(crate) fn redis(&self) -> Option<&Redis> {
        self.redis.as_ref()
    }
}

impl Redis {
    /// Starts one in the directory.
    pub(crate) async fn start(options: &Options, dir: &Path) -> Result<Self> {
        let port = free_port()?;
        let appendonly: &[&str] = match options.appendfsync {
            Appendfsync::None => &["--appendonly", "no"],
            Appendfsync::Everysec => &["--appendonly", "yes", "--appendfsync", "everysec"],
            Appendfsync::Always => &["--appendonly", "yes", "--appendfsync", "always"],
        };
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]).args(appendonly);
        let process = Process::start("redis-server", &mut command, dir)
            .context("install redis-server 7 or later, or measure with --store embedded")?;
        let mut redis = Self { process, url: format!("redis://127.0.0.1:{port}") };
        let since = Instant::now();
        while redis.connect().and_then(|mut redis| Ok(redis::cmd("PING").exec(&mut redis)?)).is_err() {
            redis.process.check(dir)?;
            if since.elapsed() > PATIENCE {
                bail!("redis-server did not answer within {PATIENCE:?}");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(redis)
    }

    fn connect(&self) -> Result<redis::Connection> {
        Ok(redis::Client::open(self.url.as_str())?.get_connection()?)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it has used since it started.
    pub(crate) fn usage(&self) -> Result<RedisUse> {
        let mut connection = self.connect()?;
        let info: redis::InfoDict = redis::cmd("INFO").arg("everything").query(&mut connection)?;
        let field = |name: &str| info.get::<String>(name).with_context(|| format!("INFO has no {name}"));
        let seconds = |name| -> Result<f64> { Ok(field(name)?.parse()?) };
        let cpu = seconds("used_cpu_user")? + seconds("used_cpu_sys")?;
        Ok(RedisUse {
            cpu: Duration::from_secs_f64(cpu),
            memory_bytes: field("used_memory")?.parse()?,
            commands: field("total_commands_processed")?.parse()?,
        })
    }
}

impl Options {
    /// The file of a job.
    pub(crate) fn plugin(&self, name: &str) -> Result<PathBuf> {
        let file = format!("{name}.wasm");
        let found = self.plugins.iter().map(|dir| dir.join(&file)).find(|file| file.is_file());
        found.with_context(|| {
            let dirs: Vec<_> = self.plugins.iter().map(|dir| dir.display().to_string()).collect();
            format!(
                "{file} is not in {}: build it with `cargo xtask plugins`, or give --plugins",
                dirs.join(", ")
            )
        })
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
