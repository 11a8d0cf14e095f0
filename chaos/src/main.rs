//! A cluster under load and under faults: is anything that was accepted lost, doubled, stuck?
//!
//! Real processes of the built binary; clients that note what they were told; faults that follow
//! from a seed. Then the faults end, the cluster drains, and the checker holds what the store has
//! against what the clients were told.

#![forbid(unsafe_code)]

mod check;
mod cluster;
mod collect;
mod faults;
mod history;
mod http;
mod load;
mod net;
mod proxy;
mod recovery;
mod report;
mod task;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Parser;

use self::{
    check::{Rule, Violation},
    cluster::Cluster,
    faults::Injector,
    history::History,
    http::{Apis, Reply, Request},
    load::Load,
    recovery::Losses,
    report::Report,
};
/// What every store has unless it is told otherwise.
const DEFAULT_LEASE: Duration = Duration::from_secs(10);

/// With this one, many leases end within a short run.
const SHORT_LEASE: Duration = Duration::from_secs(1);

/// A request whose client gave up may still be on its way: so long the API tries, and a call lasts.
const LATE: Duration = Duration::from_secs(6);

/// How long the cluster may take to end everything, besides some leases.
const DRAIN: Duration = Duration::from_mins(1);

/// In a run of so many minutes everything happens that is to be tried.
const LONG_ENOUGH: f64 = 2.0;

/// What to do, and for how long.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "cargo xtask chaos",
    about = "A cluster under load whose processes are killed, stopped and cut off"
)]
struct Options {
    /// How long faults go on
    #[arg(long, value_name = "N", default_value_t = 2.0, value_parser = minutes)]
    minutes: f64,
    /// What happens, and when [default: another one each time]
    #[arg(long, value_name = "S", default_value_t = fastrand::u64(1..1_000_000), hide_default_value = true)]
    seed: u64,
    /// Keep the run's directory: history, logs, Redis's files; it is kept anyway if a rule was broken
    #[arg(long)]
    keep: bool,
    /// Write the report to a file as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Leases of 10 s, as a store has them by default, instead of 1 s
    #[arg(long)]
    default_lease: bool,
    /// Where the built jobs for tests are
    #[arg(long, value_name = "DIR", env = "SENTINEL_TEST_PLUGINS", hide = true)]
    plugins: PathBuf,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if minutes > 0.0 && minutes <= 24.0 * 60.0 { Ok(minutes) } else { Err("from 0 to 1440".into()) }
}

impl Options {
    fn lease(&self) -> Duration {
        if self.default_lease { DEFAULT_LEASE } else { SHORT_LEASE }
    }

    /// The command that does the same again.
    fn replay(&self) -> String {
        let Self { minutes, seed, .. } = self;
        let lease = if self.default_lease { " --default-lease" } else { "" };
        format!("cargo xtask chaos --minutes {minutes} --seed {seed}{lease}")
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs, checks, reports. A broken rule is an error.
fn run(options: &Options) -> Result<()> {
    let mut dir = tempfile::Builder::new().prefix("sentinel-chaos-").tempdir()?;
    dir.disable_cleanup(true);
    println!("seed {}, {} minutes, in {}", options.seed, options.minutes, dir.path().display());
    let report = Run::start(options, dir.path())?.finish()?;
    print!("{report}");
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_vec_pretty(&report)?)
            .with_context(|| file.display().to_string())?;
    }
    let kept = options.keep || report.is_bad();
    dir.disable_cleanup(kept);
    if kept {
        println!("kept: {}", dir.path().display());
    }
    if report.is_bad() {
        bail!("rules were broken: again with `{}`", options.replay());
    }
    Ok(())
}

/// A run, from the first process to the report.
struct Run<'a> {
    options: &'a Options,
    dir: &'a Path,
    cluster: Cluster,
    apis: Apis,
    history: Arc<History>,
}

impl<'a> Run<'a> {
    fn start(options: &'a Options, dir: &'a Path) -> Result<Self> {
        let history = Arc::new(History::create(&dir.join("history.jsonl"))?);
        let cluster = Cluster::start(dir, &options.plugins, options.lease())?;
        let apis = Apis::new(cluster.api_ports.clone());
        wait_until_ready(&apis)?;
        Ok(Self { options, dir, cluster, apis, history })
    }

    fn finish(mut self) -> Result<Report> {
        let length = Duration::from_secs_f64(self.options.minutes * 60.0);
        let plan = faults::plan(self.options.seed, length, self.options.lease());
        let mut losses = Losses::new(&self.cluster.redis_url);
        let load = Load::start(self.options.seed, &self.apis, &self.history);
        let mut injector = Injector::new(&mut self.cluster, &self.history, &mut losses);
        let injected = injector.run(&plan);
        self.history.fault("the faults are over");
        let stopped = load.stop();
        injected.and(stopped)?;
        let (drained, drain) = drain(&mut injector, &self.apis, self.options.lease())?;
        let faults = std::mem::take(&mut injector.counts);

        let events = self.history.events();
        let finals = collect::finals(&self.apis, &self.cluster, &events)?;
        collect::write(self.dir, &finals)?;
        let mut verdict = check::check(&events, &finals);
        if drained {
            verdict.violations.extend(collect::audit(&self.cluster)?);
        }
        verdict.violations.extend(panics(&mut self.cluster)?);
        let mut not_exercised: Vec<_> = verdict.tally.idle().map(str::to_owned).collect();
        if self.options.minutes >= LONG_ENOUGH {
            let missing = not_exercised.iter().map(|name| format!("{name}: not exercised"));
            verdict.violations.extend(missing.map(|what| Violation::of(Rule::Exercise, what)));
        }
        if self.cluster.link.is_none() {
            not_exercised.push("network namespaces (a silent proxy took their place)".into());
        }
        self.end_well(&mut verdict.violations)?;
        Ok(Report {
            seed: self.options.seed,
            minutes: self.options.minutes,
            lease_ms: u64::try_from(self.options.lease().as_millis())?,
            faults,
            recovery: losses.figures(&finals.tasks),
            drain_ms: u64::try_from(drain.as_millis())?,
            not_exercised,
            tally: verdict.tally,
            violations: verdict.violations,
            events,
            replay: self.options.replay(),
        })
    }

    /// After all that, every server still ends as it should.
    fn end_well(&mut self, violations: &mut Vec<Violation>) -> Result<()> {
        let mut servers: Vec<_> = self.cluster.servers().collect();
        for server in &servers {
            server.signal(rustix::process::Signal::TERM)?;
        }
        let since = Instant::now();
        while !servers.is_empty() && since.elapsed() < cluster::GRACE * 5 {
            let mut left = Vec::new();
            for server in servers {
                match server.ended()? {
                    None => left.push(server),
                    Some(status) if status.success() => {}
                    Some(status) => {
                        let what = format!("{}: told to end at last, it ended with {status}", server.name);
                        violations.push(Violation::of(Rule::Process, what));
                    }
                }
            }
            servers = left;
            std::thread::sleep(Duration::from_millis(10));
        }
        for server in servers {
            let what = format!("{}: told to end at last, it did not", server.name);
            violations.push(Violation::of(Rule::Process, what));
        }
        Ok(())
    }
}

fn wait_until_ready(apis: &Apis) -> Result<()> {
    let since = Instant::now();
    let mut ready = 0;
    while since.elapsed() < Duration::from_mins(1) {
        ready = (0..apis.count())
            .filter(|&api| {
                let ready =
                    matches!(apis.send(api, &Request::get("/readyz")), Reply::Answer { status: 200, .. });
                let workers = apis.send(api, &Request::get("/v1/workers"));
                let Reply::Answer { body, .. } = workers else { return false };
                ready && body["workers"].as_array().is_some_and(|workers| workers.len() == cluster::WORKERS)
            })
            .count();
        if ready == apis.count() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("{ready} APIs are ready and see all workers, after a minute")
}

/// Waits until nothing waits or runs any more, and nothing more can come; answers whether that came, and how long it took.
fn drain(injector: &mut Injector<'_>, apis: &Apis, lease: Duration) -> Result<(bool, Duration)> {
    let since = Instant::now();
    let mut drained_after = None;
    while since.elapsed() < DRAIN + 6 * lease {
        injector.look()?;
        if let Reply::Answer { status: 200, body } = apis.send(0, &Request::get("/stats")) {
            let counts = &body["status_counts"];
            if ["QUEUED", "SCHEDULED", "BLOCKED", "IN_PROGRESS"].iter().all(|status| counts[status] == 0) {
                drained_after.get_or_insert(since.elapsed());
            } else {
                drained_after = None;
            }
            if let Some(drain) = drained_after.filter(|_| since.elapsed() >= LATE) {
                return Ok((true, drain));
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok((false, since.elapsed()))
}

/// No process may have panicked, whether it went on or not.
fn panics(cluster: &mut Cluster) -> Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for process in cluster.servers() {
        let log = std::fs::read(process.log())?;
        let log = String::from_utf8_lossy(&log).into_owned();
        let panics = log.lines().filter(|line| line.contains("panicked at"));
        violations.extend(
            panics.map(|line| Violation::of(Rule::Process, format!("{} panicked: {line}", process.name))),
        );
    }
    Ok(violations)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from([&["chaos", "--plugins", "x"], args].concat())
    }

    #[test]
    fn the_replayed_command_is_the_same_run() {
        let args = ["--minutes", "0.5", "--seed", "7", "--default-lease"];
        let options = parse(&args).unwrap();
        assert_eq!(options.replay(), format!("cargo xtask chaos {}", args.join(" ")));
        assert_eq!(options.lease(), DEFAULT_LEASE);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for args in [&["--sed", "1"][..], &["--seed"], &["--seed", "x"], &["--minutes", "0"]] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }
}
