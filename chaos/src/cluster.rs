//! The processes under test: a Redis that loses nothing, APIs, workers, and the ways between them.
//!
//! It starts and ends processes and knows which should be running; it decides nothing.

use std::{
    fs::OpenOptions,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{net::Link, proxy::Proxy};

pub(crate) const APIS: usize = 2;
pub(crate) const WORKERS: usize = 4;

/// This worker talks to Redis through a proxy that may lose replies.
pub(crate) const BEHIND_PROXY: usize = 2;
/// This one talks to Redis over a link that may be cut.
pub(crate) const BEHIND_LINK: usize = 3;

/// How many attempts a worker runs at once.
const SLOTS: &str = "8";

/// How long attempts may go on after SIGTERM.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// How long a process may take to come up.
const PATIENCE: Duration = Duration::from_mins(1);

/// A process that is killed and started again.
pub(crate) struct Process {
    pub(crate) name: String,
    program: PathBuf,
    args: Vec<String>,
    dir: PathBuf,
    child: Option<Child>,
    pub(crate) started: Instant,
}

impl Process {
    fn new(name: &str, program: &Path, args: &[&str], dir: &Path) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            args: args.iter().map(ToString::to_string).collect(),
            dir: dir.to_owned(),
            child: None,
            started: Instant::now(),
        }
    }

    /// Where it writes what it has to say.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.name.replace(' ', "-")))
    }

    /// Starts it, unless it runs. Whether it is ready is another question.
    pub(crate) fn start(&mut self) -> Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let child = Command::new(&self.program)
            .args(&self.args)
            .current_dir(&self.dir)
            .env("RUST_LOG", "info")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} did not start", self.name))?;
        self.child = Some(child);
        self.started = Instant::now();
        Ok(())
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pid = pid.with_context(|| format!("{} does not run", self.name))?;
        Ok(kill_process(pid, signal)?)
    }

    /// How it ended, if it has ended without being killed by us. It may be started again then.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let status = child.try_wait()?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{}: {error:#}", self.name);
        }
    }
}

/// Everything that a run starts.
pub(crate) struct Cluster {
    /// The binary under test.
    pub(crate) sentinel: PathBuf,
    pub(crate) workers: Vec<Process>,
    pub(crate) apis: Vec<Process>,
    pub(crate) redis: Process,
    pub(crate) redis_url: String,
    pub(crate) api_ports: Vec<u16>,
    pub(crate) proxy: Proxy,
    /// None: this machine has no network namespaces to give.
    pub(crate) link: Option<Link>,
}

impl Cluster {
    /// Starts Redis with leases of this length, then the rest. `plugins` has the hostile job.
    pub(crate) fn start(dir: &Path, plugins: &Path, lease: Duration) -> Result<Self> {
        let sentinel = std::env::current_exe()?.with_file_name("sentinel");
        copy_plugins(plugins, dir)?;
        let port = free_port()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let redis_url = format!("redis://{address}");
        let redis = redis(dir, port);

        let listener = TcpListener::bind("127.0.0.1:0")?;
        let proxied = format!("redis://{}", listener.local_addr()?);
        let proxy = Proxy::start(listener, address)?;
        let link = Link::create(address).inspect_err(|error| println!("{error:#}")).ok();

        let api_ports = (0..APIS).map(|_| free_port()).collect::<Result<Vec<_>>>()?;
        let apis = api_ports.iter().enumerate().map(|(number, port)| {
            let listen = format!("127.0.0.1:{port}");
            let args = ["api", "--listen", &listen, "--redis", &redis_url];
            Process::new(&format!("api {number}"), &sentinel, &args, dir)
        });
        let grace = format!("{}ms", GRACE.as_millis());
        let workers = (0..WORKERS).map(|number| {
            let name = format!("worker {number}");
            let args = |url| ["worker", "--redis", url, "--concurrency", SLOTS, "--grace", &grace];
            match (number, &link) {
                (BEHIND_LINK, Some(link)) => {
                    let url = format!("redis://{}:{port}", Link::host());
                    let command = link.command(&sentinel);
                    let mut process = Process::new(&name, command.get_program().as_ref(), &args(&url), dir);
                    let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
                    process.args.splice(0..0, words);
                    process
                }
                (BEHIND_PROXY | BEHIND_LINK, _) => Process::new(&name, &sentinel, &args(&proxied), dir),
                _ => Process::new(&name, &sentinel, &args(&redis_url), dir),
            }
        });
        let (apis, workers) = (apis.collect(), workers.collect());
        let mut cluster = Self { sentinel, workers, apis, redis, redis_url, api_ports, proxy, link };
        cluster.redis.start()?;
        cluster.set_lease(lease)?;
        for process in cluster.apis.iter_mut().chain(&mut cluster.workers) {
            process.start()?;
        }
        Ok(cluster)
    }

    fn set_lease(&mut self, lease: Duration) -> Result<()> {
        let since = Instant::now();
        loop {
            let set = self.connection().and_then(|mut connection| {
                let millis = u64::try_from(lease.as_millis())?;
                Ok(redis::cmd("SET").arg("{s0}:lease").arg(millis).exec(&mut connection)?)
            });
            if set.is_ok() {
                return Ok(());
            }
            if self.redis.ended()?.is_some() || since.elapsed() > PATIENCE {
                bail!("redis-server did not start: see {}", self.redis.log().display());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A connection past all proxies. No command takes longer than a moment.
    pub(crate) fn connection(&self) -> Result<redis::Connection> {
        connect(&self.redis_url)
    }

    /// The processes of the binary under test.
    pub(crate) fn servers(&mut self) -> impl Iterator<Item = &mut Process> {
        self.workers.iter_mut().chain(&mut self.apis)
    }
}

/// A connection on which no command takes longer than a moment.
pub(crate) fn connect(url: &str) -> Result<redis::Connection> {
    const MOMENT: Duration = Duration::from_millis(500);
    let connection = redis::Client::open(url)?.get_connection_with_timeout(MOMENT)?;
    connection.set_read_timeout(Some(MOMENT))?;
    connection.set_write_timeout(Some(MOMENT))?;
    Ok(connection)
}

fn redis(dir: &Path, port: u16) -> Process {
    let (port, dir_name) = (port.to_string(), dir.to_string_lossy());
    let args = [
        ["--port", &port],
        ["--bind", "127.0.0.1"],
        ["--save", ""],
        ["--appendonly", "yes"],
        ["--appendfsync", "always"],
        ["--dir", &dir_name],
    ];
    Process::new("redis", Path::new("redis-server"), args.as_flattened(), dir)
}

/// The hostile job, whose acts the load asks for.
fn copy_plugins(from: &Path, dir: &Path) -> Result<()> {
    let plugins = dir.join("plugins");
    std::fs::create_dir_all(&plugins)?;
    let built = from.join("hostile.wasm");
    std::fs::copy(&built, plugins.join("hostile.wasm")).with_context(|| built.display().to_string())?;
    Ok(())
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
