//! The containers, tried from a fresh clone: three workers, one of them killed in mid-task.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell::{self, root, step};

const WORKERS: usize = 3;
const TASKS: usize = 24;

/// A lost lease ends after ten seconds; what was lost is run again after that.
const ALL_DONE: Duration = Duration::from_mins(3);

/// Builds, starts, submits, kills, checks; takes everything down again.
pub(crate) fn run() -> Result<()> {
    if !succeeds(Command::new("docker").args(["compose", "version"]))
        || !succeeds(Command::new("docker").arg("info"))
    {
        bail!("this needs a running Docker engine and Compose: see docs.docker.com/engine/install");
    }
    let dir = tempfile::tempdir()?;
    let stack = Stack::clone_into(&dir.path().join("sentinel"))?;
    let worked = stack.try_it();
    if worked.is_err() {
        drop(shell::run(&mut stack.compose(&["logs", "--tail", "40"])));
    }
    shell::run(&mut stack.compose(&["down", "--volumes", "--timeout", "40"]))?;
    worked
}

/// A project of Compose, of its own name and port.
struct Stack {
    dir: PathBuf,
    name: String,
    port: u16,
}

impl Stack {
    /// What is committed, and nothing that was built here.
    fn clone_into(dir: &Path) -> Result<Self> {
        shell::run(Command::new("git").args(["clone", "--quiet"]).arg(root()).arg(dir))?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Ok(Self { dir: dir.to_owned(), name: format!("sentinel-test-{}", std::process::id()), port })
    }

    fn try_it(&self) -> Result<()> {
        step("build the image", || shell::run(&mut self.compose(&["build"])))?;
        let scale = format!("worker={WORKERS}");
        let up = ["up", "--detach", "--wait", "--wait-timeout", "120", "--scale", &scale];
        step("start redis, the API and three workers; wait until all are healthy", || {
            shell::run(&mut self.compose(&up))
        })?;
        let ids = self.submit_all()?;
        let victim = self.busy_worker()?;
        println!("killing the worker {victim} in mid-task");
        shell::run(Command::new("docker").args(["kill", &victim]).stdout(Stdio::null()))?;
        step("every task completes", || self.wait_for_all(&ids))?;
        step("a graceful stop ends with exit code 0", || self.stop_gracefully(&victim))
    }

    fn submit_all(&self) -> Result<Vec<String>> {
        let ids = (0..TASKS).map(|_| {
            let args = ["submit", "count-primes", r#"{"limit":200000000}"#, "--timeout", "5m"];
            let shown = self.sentinel(&args)?;
            shown.split(' ').next().map(str::to_owned).context("submit printed no id")
        });
        let ids = ids.collect::<Result<Vec<_>>>()?;
        println!("submitted {} tasks of some seconds each", ids.len());
        Ok(ids)
    }

    /// The container of a worker that is in the middle of tasks.
    fn busy_worker(&self) -> Result<String> {
        let containers = output(&mut self.compose(&["ps", "--quiet", "worker"]))?;
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(30) {
            let workers = self.sentinel(&["worker", "list"])?;
            for line in workers.lines().filter(|line| !line.contains(" 0/")) {
                // A worker is named after its host, which is named after its container.
                let host = line.trim().split('-').next().unwrap_or_default();
                if let Some(container) =
                    containers.lines().find(|id| !host.is_empty() && id.starts_with(host))
                {
                    return Ok(container.to_owned());
                }
            }
            std::thread::sleep(Duration::from_millis(300));
        }
        bail!("no worker was busy within 30 s")
    }

    fn wait_for_all(&self, ids: &[String]) -> Result<()> {
        let since = Instant::now();
        let mut run_again = 0;
        for id in ids {
            let shown = self.sentinel(&["task", "get", "--wait", "--output", "json", id])?;
            let task: Value = serde_json::from_str(&shown)?;
            if task["status"] != "COMPLETED" {
                bail!("a task did not complete: {shown}");
            }
            run_again += usize::from(task["attempt"].as_u64() > Some(1));
            if since.elapsed() > ALL_DONE {
                bail!("not all tasks were done within {ALL_DONE:?}");
            }
        }
        if run_again == 0 {
            bail!("the killed worker held no task: nothing was shown");
        }
        println!("all {} tasks COMPLETED, {run_again} of them run again after the kill", ids.len());
        println!("{}", self.sentinel(&["stats"])?);
        Ok(())
    }

    fn stop_gracefully(&self, killed: &str) -> Result<()> {
        shell::run(&mut self.compose(&["stop", "--timeout", "40", "worker", "api"]))?;
        for id in output(&mut self.compose(&["ps", "--all", "--quiet", "worker", "api"]))?.lines() {
            let code =
                output(Command::new("docker").args(["inspect", "--format", "{{.State.ExitCode}}", id]))?;
            if id != killed && code.trim() != "0" {
                bail!("the container {id} ended with exit code {}", code.trim());
            }
        }
        Ok(())
    }

    /// The client in the API's container: the host needs no binary.
    fn sentinel(&self, args: &[&str]) -> Result<String> {
        output(self.compose(&["exec", "--no-TTY", "api", "sentinel"]).args(args))
    }

    fn compose(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .args(["compose", "--project-name", &self.name])
            .args(args)
            .current_dir(&self.dir)
            .env("SENTINEL_PORT", self.port.to_string());
        command
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("{command:?} failed: {}\n{}", output.status, String::from_utf8_lossy(&output.stdout));
    }
    Ok(String::from_utf8(output.stdout)?)
}
