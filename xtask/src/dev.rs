//! A server of one's own, for commands that show or try it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::shell::{self, built};

/// How long a server may take to come up: its plugins are compiled first.
const START: Duration = Duration::from_mins(1);

/// A running `sentinel dev`; ended when dropped.
pub(crate) struct Dev {
    child: Child,
    pub(crate) url: String,
    /// What clients show it; nothing, if it asks for nothing.
    key: String,
}

impl Dev {
    /// In a directory, with the plugins and the `sentinel.toml` in it.
    pub(crate) fn start(dir: &Path, data: &Path) -> Result<Self> {
        Self::start_as(dir, data, &[], String::new())
    }

    /// The same, where one needs a key; there is one with this scope.
    pub(crate) fn start_with_key(dir: &Path, data: &Path, scope: &str) -> Result<(Self, String)> {
        let made = Command::new(built("sentinel"))
            .args(["key", "create", "xtask", "--scope", scope, "--data-dir"])
            .arg(data)
            .output()?;
        if !made.status.success() {
            bail!("no key was made: {}", String::from_utf8_lossy(&made.stderr));
        }
        let key = String::from_utf8(made.stdout)?.trim().to_owned();
        Ok((Self::start_as(dir, data, &["--auth", "keys"], key.clone())?, key))
    }

    fn start_as(dir: &Path, data: &Path, options: &[&str], key: String) -> Result<Self> {
        let port = free_port()?;
        let listen = format!("127.0.0.1:{port}");
        let child = Command::new(built("sentinel"))
            .args(["dev", "--listen", &listen, "--data-dir"])
            .arg(data)
            .args(options)
            .current_dir(dir)
            .env("RUST_LOG", "warn")
            .spawn()
            .context("sentinel dev did not start")?;
        let mut dev = Self { child, url: format!("http://{listen}"), key };
        dev.wait_until_ready()?;
        Ok(dev)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let since = Instant::now();
        while since.elapsed() < START {
            let health = Command::new(built("sentinel"))
                .args(["health", "--server", &self.url])
                .stderr(Stdio::null())
                .status()?;
            // Ready to run tasks, not only to take them.
            if health.success()
                && self.output(&["worker", "list", "--output", "json"], "")?.contains("instance")
            {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("sentinel dev ended at once: {status}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("sentinel dev was not ready within {START:?}")
    }

    /// What a client command prints, which must succeed.
    pub(crate) fn output(&self, args: &[&str], input: &str) -> Result<String> {
        let mut client = Command::new(built("sentinel"));
        if !self.key.is_empty() {
            client.env("SENTINEL_KEY", &self.key);
        }
        let mut child = client
            .args(args)
            .env("SENTINEL_SERVER", &self.url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("`sentinel {}` failed: {}", args.join(" "), output.status);
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What the API answers to a GET, head and all.
    pub(crate) fn get(&self, path: &str) -> Result<String> {
        let address = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Ends it as an operator would, and checks that it ended well.
    pub(crate) fn stop(mut self) -> Result<()> {
        shell::run(Command::new("kill").args(["-TERM", &self.child.id().to_string()]))?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("sentinel dev ended badly: {status}");
        }
        Ok(())
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Gone already, if it was stopped.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
