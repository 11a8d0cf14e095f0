//! A process that is measured.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::{
    param::clock_ticks_per_second,
    process::{Pid, Signal, kill_process},
};

/// How long a process may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that is measured. It ends with this value.
pub(crate) struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts it, with its output in `<name>.log` of the directory.
    pub(crate) fn start(name: &str, command: &mut Command, dir: &Path) -> Result<Self> {
        let log = File::create(dir.join(format!("{name}.log")))?;
        let child = command
            .current_dir(dir)
            .env("RUST_LOG", "warn")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{name} did not start"))?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// An error, if it has ended.
    pub(crate) fn check(&mut self, dir: &Path) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = fs::read_to_string(dir.join(format!("{}.log", self.name))).unwrap_or_default();
            bail!("{} ended with {status}: {log}", self.name);
        }
        Ok(())
    }

    /// The CPU time that it has used, all threads together.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in the second field may hold anything, in parentheses.
        let (_, fields) = stat.rsplit_once(") ").context("no fields in its stat file")?;
        let ticks: Vec<f64> = fields.split(' ').skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        #[expect(clippy::cast_precision_loss, reason = "ticks are a hundred a second")]
        Ok(Duration::from_secs_f64(ticks.iter().sum::<f64>() / clock_ticks_per_second() as f64))
    }

    /// The memory that it has resident, in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib << 10)
    }

    /// Lets it end as it should.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, Signal::TERM)?;
        let since = Instant::now();
        while self.child.try_wait()?.is_none() {
            if since.elapsed() > PATIENCE {
                bail!("{} did not end within {PATIENCE:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
