//! Real `sentinel` processes, and how a test talks to them.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sentinel_testkit::{RedisServer, free_port, wait_for};
use serde_json::Value;

/// What all processes of a directory log.
pub(crate) const LOG: &str = "log";

/// A process of ours; killed when dropped.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `sentinel` with arguments, in a directory of its own.
    pub(crate) fn start(args: &[&str], dir: &Path) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_sentinel")).args(args), dir)
    }

    /// Starts `sentinel` from a shell that runs `before` first, and then becomes it.
    pub(crate) fn start_after(before: &str, args: &[&str], dir: &Path) -> Self {
        Self::start_under(&["sh"], before, args, dir)
    }

    /// The same in a mount namespace of its own.
    pub(crate) fn start_in_namespace(before: &str, args: &[&str], dir: &Path) -> Self {
        Self::start_under(&["unshare", "--mount", "--map-root-user", "sh"], before, args, dir)
    }

    fn start_under(shell: &[&str], before: &str, args: &[&str], dir: &Path) -> Self {
        let become_it = format!("{before} && exec \"$0\" \"$@\"");
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).args(["-c", &become_it, env!("CARGO_BIN_EXE_sentinel")]).args(args);
        Self::spawn(&mut command, dir)
    }

    /// Starts a command in a directory. What it logs is kept there, in [`LOG`].
    pub(crate) fn spawn(command: &mut Command, dir: &Path) -> Self {
        let log = File::options().create(true).append(true).open(dir.join(LOG)).expect("a log");
        let command = command.current_dir(dir).env("RUST_LOG", "warn").stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("sentinel starts");
        Self { child }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its children of this hidden command: what they are told to do, and their process ids.
    pub(crate) fn children(&self, command: &str) -> BTreeMap<String, u32> {
        let mut children = BTreeMap::new();
        for entry in std::fs::read_dir("/proc").expect("processes") {
            let Ok(pid) = entry.expect("an entry").file_name().to_string_lossy().parse() else { continue };
            let Some((state, parent)) = stand(pid) else { continue };
            let said = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<_> = said.trim_end_matches('\0').split('\0').collect();
            // One that was started a moment ago still looks like its parent.
            if parent == self.pid() && state != 'Z' && words.get(1) == Some(&command) {
                children.insert((*words.last().expect("a word")).to_owned(), pid);
            }
        }
        children
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// SIGTERM; answers the exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }

    /// Waits for its end; answers the exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it did not end within 30 s");
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("it can be signalled");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The state of a process, and its parent.
fn stand(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name comes before, in parentheses, and may be anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether a process runs.
pub(crate) fn is_alive(pid: u32) -> bool {
    stand(pid).is_some_and(|(state, _)| state != 'Z')
}

/// An API somewhere on this machine.
#[derive(Clone, Copy)]
pub(crate) struct Api {
    pub(crate) port: u16,
}

/// An answer: its status, its headers as text, its body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Api {
    /// One request on a connection of its own; an error if the server is not there.
    pub(crate) fn request(self, method: &str, path: &str, body: Option<&str>) -> std::io::Result<Answer> {
        self.request_as(None, method, path, body)
    }

    /// The same, as whoever has a key.
    pub(crate) fn request_as(
        self,
        key: Option<&str>,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> std::io::Result<Answer> {
        let key = key.map_or(String::new(), |key| format!("Authorization: Bearer {key}\r\n"));
        self.request_with(&key, method, path, body)
    }

    /// The same, with more headers: each a line with its end.
    pub(crate) fn request_with(
        self,
        headers: &str,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(70)))?;
        let length = body.map_or(String::new(), |body| {
            format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
        });
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}{length}\r\n"
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.unwrap_or_default().as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let split = answer.windows(4).position(|window| window == b"\r\n\r\n");
        let split = split.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let head = String::from_utf8_lossy(&answer[..split]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or(std::io::ErrorKind::InvalidData)?;
        Ok(Answer { status, head, body: answer[split + 4..].to_vec() })
    }

    pub(crate) fn get(self, path: &str) -> Answer {
        self.request("GET", path, None).expect("the API answers")
    }

    pub(crate) fn post(self, path: &str, body: &str) -> Answer {
        self.request("POST", path, Some(body)).expect("the API answers")
    }

    pub(crate) fn get_as(self, key: &str, path: &str) -> Answer {
        self.request_as(Some(key), "GET", path, None).expect("the API answers")
    }

    /// Submits; answers the task's id.
    pub(crate) fn submit(self, body: &str) -> String {
        let answer = self.post("/submit-task", body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["task_id"].as_str().expect("an id").to_owned()
    }

    pub(crate) fn task(self, id: &str) -> Value {
        self.get(&format!("/v1/tasks/{id}")).json()
    }

    /// Waits until the API can be used and so many workers are there.
    pub(crate) fn wait_until_ready(self, workers: usize) {
        wait_for("the API and its workers", || {
            let ready = self.request("GET", "/readyz", None).ok()?;
            (ready.status == 200 && self.workers() >= workers).then_some(())
        });
    }

    /// Waits until workers have these jobs: to compile them takes its time on a busy machine.
    pub(crate) fn wait_for_jobs(self, jobs: &[&str]) {
        wait_for("the jobs", || {
            let known = self.get("/v1/jobs").json();
            let known: Vec<_> =
                known["jobs"].as_array()?.iter().filter_map(|job| job["name"].as_str()).collect();
            jobs.iter().all(|job| known.contains(job)).then_some(())
        });
    }

    fn workers(self) -> usize {
        self.get("/v1/workers").json()["workers"].as_array().map_or(0, Vec::len)
    }

    pub(crate) fn count(self, status: &str) -> u64 {
        self.get("/stats").json()["status_counts"][status].as_u64().expect("a count")
    }
}

/// A Redis, an API over it, and as many workers as the test starts.
pub(crate) struct Stack {
    pub(crate) redis: RedisServer,
    pub(crate) api: Api,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) server: Process,
}

impl Stack {
    /// Without workers; `redis` is added to Redis's command line.
    pub(crate) fn start(redis: &[&str]) -> Self {
        let redis = RedisServer::start(redis);
        let url = redis.url();
        Self::start_over(redis, &url)
    }

    /// Over a Redis that the API finds at another address than its own.
    pub(crate) fn start_over(redis: RedisServer, url: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        plugins(dir.path());
        let (api, address) = free_address();
        let server = Process::start(&["api", "--listen", &address, "--redis", url], dir.path());
        Self { redis, api, dir, server }
    }

    /// Another API server over the same Redis, at an address that is free.
    pub(crate) fn api_at(&self, api: Api) -> Process {
        let address = format!("127.0.0.1:{}", api.port);
        Process::start(&["api", "--listen", &address, "--redis", &self.redis.url()], self.dir.path())
    }

    pub(crate) fn worker(&self, args: &[&str]) -> Process {
        self.worker_over(&self.redis.url(), args)
    }

    /// A worker that finds Redis at another address than its own.
    pub(crate) fn worker_over(&self, url: &str, args: &[&str]) -> Process {
        Process::start(&[&["worker", "--redis", url], args].concat(), self.dir.path())
    }

    pub(crate) fn connection(&self) -> redis::Connection {
        let client = redis::Client::open(self.redis.url()).expect("a URL");
        client.get_connection().expect("Redis is there")
    }

    /// Sets the length of leases for this store.
    pub(crate) fn set_lease(&self, millis: u32) {
        let set = redis::cmd("SET").arg("{s0}:lease").arg(millis).to_owned();
        set.exec(&mut self.connection()).expect("Redis takes it");
    }

    /// How often something ever happened: `submitted`, `COMPLETED`, `lost` and so on.
    pub(crate) fn ever(&self, what: &str) -> u64 {
        let get = redis::cmd("HGET").arg("{s0}:stats").arg(format!("default:{what}")).to_owned();
        let count: Option<u64> = get.query(&mut self.connection()).expect("Redis answers");
        count.unwrap_or(0)
    }

    /// Every accepted task is in one place.
    pub(crate) fn assert_audit_clean(&self) {
        let redis = sentinel_queue::store::redis::Redis::new(&self.redis.url()).expect("a URL");
        let queue = sentinel_queue::Queue::new(std::sync::Arc::new(redis));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let audit = runtime.block_on(queue.audit(|_| ())).expect("Redis answers");
        assert_eq!(audit.problems, Vec::<String>::new());
    }

    /// What its processes logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join(LOG)).unwrap_or_default()
    }
}

/// A `sentinel dev` in a directory of its own.
pub(crate) struct Dev {
    pub(crate) api: Api,
    pub(crate) process: Process,
    pub(crate) dir: tempfile::TempDir,
    address: String,
}

impl Dev {
    /// With these jobs.
    pub(crate) fn start(jobs: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        some_plugins(dir.path(), jobs);
        let (api, address) = free_address();
        let process = Process::start(&["dev", "--listen", &address], dir.path());
        api.wait_until_ready(1);
        api.wait_for_jobs(jobs);
        Self { api, process, dir, address }
    }

    /// Starts it again, with the same address and the same store, after it was ended.
    pub(crate) fn start_again(&mut self) {
        self.process = Process::start(&["dev", "--listen", &self.address], self.dir.path());
        self.api.wait_until_ready(1);
    }
}

/// A free address to listen on.
pub(crate) fn free_address() -> (Api, String) {
    let port = free_port();
    (Api { port }, format!("127.0.0.1:{port}"))
}

/// The bundled jobs and the hostile one.
pub(crate) const JOBS: &[&str] = &["example-task", "count-primes", "resize-image", "hostile"];

/// A plugins directory with all of these.
pub(crate) fn plugins(dir: &Path) -> PathBuf {
    some_plugins(dir, JOBS)
}

/// The file of a job that was built.
pub(crate) fn built(job: &str) -> PathBuf {
    let dir = std::env::var_os("SENTINEL_TEST_PLUGINS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/target/wasm32-wasip2/release"),
        PathBuf::from,
    );
    let file = dir.join(format!("{}.wasm", job.replace('-', "_")));
    assert!(file.exists(), "{} is missing: run `cargo xtask plugins`", file.display());
    file
}

/// A plugins directory with these.
pub(crate) fn some_plugins(dir: &Path, jobs: &[&str]) -> PathBuf {
    let plugins = dir.join("plugins");
    std::fs::create_dir_all(&plugins).expect("a directory");
    for job in jobs {
        std::fs::copy(built(job), plugins.join(format!("{job}.wasm"))).expect("it can be copied");
    }
    plugins
}
