//! A real `redis-server`.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::Issued;

/// A `redis-server` of its own: a free port, its own directory, killed when dropped.
pub struct RedisServer {
    port: u16,
    dir: TempDir,
    args: Vec<String>,
    has_tls: bool,
    child: Child,
}

impl RedisServer {
    /// Starts one in memory only; `args` are added to its command line.
    ///
    /// # Panics
    ///
    /// If `redis-server` is not installed or does not start.
    pub fn start(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self::start_in(dir, args.iter().map(ToString::to_string).collect(), false)
    }

    /// Starts one that is reached by TLS alone, with this certificate, and only by `user` with
    /// `password`.
    ///
    /// # Panics
    ///
    /// If `redis-server` is not installed, knows no TLS or does not start.
    pub fn start_tls(issued: &Issued, user: &str, password: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path.to_str().expect("a path in UTF-8").to_owned()
        };
        let (cert, key) = (file("cert.pem", &issued.cert), file("key.pem", &issued.key));
        let users = format!("user default off\nuser {user} on >{password} ~* &* +@all\n");
        let args = [
            ["--tls-cert-file", &cert],
            ["--tls-key-file", &key],
            ["--tls-auth-clients", "no"],
            ["--aclfile", &file("users.acl", &users)],
        ];
        let args = args.as_flattened().iter().map(ToString::to_string).collect();
        Self::start_in(dir, args, true)
    }

    fn start_in(dir: TempDir, args: Vec<String>, has_tls: bool) -> Self {
        // The port may be taken by another test between its choice and its use.
        for _ in 0..5 {
            let port = crate::free_port();
            if let Some(child) = spawn(port, dir.path(), &args, has_tls) {
                return Self { port, dir, args, has_tls, child };
            }
        }
        panic!("redis-server did not start");
    }

    /// Where it listens, as a URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Adds to its command line from the next start on.
    pub fn add_args(&mut self, args: &[&str]) {
        self.args.extend(args.iter().map(ToString::to_string));
    }

    /// Ends it as a crash would (SIGKILL).
    ///
    /// # Panics
    ///
    /// If it cannot be killed.
    pub fn kill(&mut self) {
        self.child.kill().expect("redis-server can be killed");
        self.child.wait().expect("redis-server ends");
    }

    /// Starts it again on the same port, with what it has on disk.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start_again(&mut self) {
        self.child =
            spawn(self.port, self.dir.path(), &self.args, self.has_tls).expect("redis-server starts again");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may have been killed by the test already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(port: u16, dir: &Path, args: &[String], has_tls: bool) -> Option<Child> {
    // One that was built without TLS takes none of its settings.
    let (ports, is_there): (&[_], fn(u16) -> bool) = if has_tls {
        (&[("--port", 0), ("--tls-port", port)], accepts)
    } else {
        (&[("--port", port)], answers)
    };
    let mut child = Command::new("redis-server")
        .args(ports.iter().flat_map(|(name, port)| [(*name).to_owned(), port.to_string()]))
        .args(["--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(dir)
        .args(args)
        .stdout(Stdio::null())
        // A server that outlives its test must not hold the test's output open.
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed (apt-get install redis-server)");
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(15) {
        if is_there(port) {
            return Some(child);
        }
        if child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(child.kill());
    drop(child.wait());
    None
}

fn accepts(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn answers(port: u16) -> bool {
    let ping = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut reply = [0; 5];
        stream.read_exact(&mut reply)?;
        // One that asks for a password (NOAUTH) is there, too.
        Ok([b"+PONG", b"-NOAU"].contains(&&reply))
    };
    ping().unwrap_or(false)
}
