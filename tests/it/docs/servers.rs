//! What a chapter has started and goes on: servers, by where they listen, and the units of systemd.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use super::shell::{Shell, flag, without_assignments};
use crate::cluster::{Process, is_alive};

/// How long a server may take to serve.
const START: Duration = Duration::from_secs(30);

pub(super) struct Servers {
    /// Where those listen that are not told where.
    port: u16,
    serving: Vec<Serving>,
}

struct Serving {
    typed: String,
    /// None: a worker, or what only follows.
    port: Option<u16>,
    unit: Option<String>,
    /// Whether it must end with 0 when it is told to stop.
    is_server: bool,
    process: Process,
}

impl Servers {
    pub(super) fn new(port: u16) -> Self {
        Self { port, serving: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.serving.is_empty()
    }

    /// Starts something that only follows what others do.
    pub(super) fn follow(&mut self, text: &str, shell: &Shell) {
        let (typed, process) = (text.trim().to_owned(), shell.start(text));
        self.serving.push(Serving { typed, port: None, unit: None, is_server: false, process });
    }

    /// Starts a server in the place of another that listens where it does, and waits until it serves.
    pub(super) fn serve(&mut self, text: &str, unit: Option<&str>, shell: &Shell) -> Result<(), String> {
        let port = match flag(text, "--listen").or(flag(text, "--port")) {
            Some(address) => address.rsplit(':').next().and_then(|port| port.parse().ok()),
            None if is(text, "sentinel worker") => None,
            None => Some(self.port),
        };
        if port.is_some() {
            self.stop(|serving| serving.port == port)?;
        }
        let process = shell.start(text);
        let (pid, since) = (process.pid(), Instant::now());
        let (typed, unit) = (text.trim().to_owned(), unit.map(ToOwned::to_owned));
        self.serving.push(Serving { typed, port, unit, is_server: is(text, "sentinel"), process });
        while !serves(text, port, shell) {
            if !is_alive(pid) || since.elapsed() > START {
                return Err(format!(
                    "it was started as `{}` and does not serve; the log of all:\n{}",
                    text.trim(),
                    shell.log()
                ));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    pub(super) fn stop_unit(&mut self, unit: &str) -> Result<(), String> {
        self.stop(|serving| serving.unit.as_deref() == Some(unit))
    }

    /// Ends all workers.
    pub(super) fn stop_workers(&mut self) -> Result<(), String> {
        self.stop(|serving| serving.port.is_none())
    }

    /// Ends everything; what did not end as it should.
    pub(super) fn end(&mut self) -> Vec<String> {
        // Those that tell others of their end come first.
        self.serving.sort_by_key(|serving| (serving.port.is_some(), !serving.is_server));
        self.serving.drain(..).filter_map(|serving| serving.end().err()).collect()
    }

    fn stop(&mut self, which: impl Fn(&Serving) -> bool) -> Result<(), String> {
        let stopped: Vec<_> = self.serving.extract_if(.., |serving| which(serving)).collect();
        stopped.into_iter().try_for_each(Serving::end)
    }
}

impl Serving {
    fn end(mut self) -> Result<(), String> {
        let by_itself = !is_alive(self.process.pid());
        let code = if by_itself { self.process.wait() } else { self.process.terminate() };
        let is_well =
            if self.is_server { code == Some(0) && !by_itself } else { !by_itself || code == Some(0) };
        let how = if by_itself { "ended by itself" } else { "was told to stop and ended" };
        is_well.then_some(()).ok_or_else(|| format!("`{}` {how} with {code:?}", self.typed))
    }
}

/// Whether a command begins so.
fn is(text: &str, command: &str) -> bool {
    without_assignments(text).1.starts_with(command)
}

/// Whether what was started can be used.
fn serves(text: &str, port: Option<u16>, shell: &Shell) -> bool {
    let has_said = |text: &str, word: &str| {
        let said = shell.run(text);
        said.status.success() && String::from_utf8_lossy(&said.stdout).contains(word)
    };
    let Some(port) = port else {
        let redis = flag(text, "--redis").map(|url| format!("--redis {url}")).unwrap_or_default();
        return has_said(&format!("{} sentinel health --worker {redis}", without_assignments(text).0), "");
    };
    if TcpStream::connect(("127.0.0.1", port)).is_err() {
        return false;
    }
    // A client would not trust the certificate of a test.
    let is_dev = is(text, "sentinel dev") && !text.contains("--tls-cert");
    // The last that is compiled of those that a lab has.
    let jobs = format!("sentinel job list --output json --server http://127.0.0.1:{port}");
    !is_dev || ["example-task", "noop"].iter().all(|job| has_said(&jobs, job))
}
