//! Other queues, measured beside Sentinel: the same job, machine and Redis, in one run.
//!
//! Each peer is a small program under `bench/peers/` that `cargo xtask bench --peers` installs; what
//! its commands do is in the README there.

use std::{
    io::{BufRead, BufReader, Lines},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{
    Options,
    load::number,
    measures::Measure,
    report::{Figure, Measured, Sample, quantile, sample},
    rig::Redis,
};

/// What is compared, by the names of the figures.
const SUBMIT: &str = "submit one by one";
const BATCH: &str = "submit in batches";
/// Which Sentinel has besides.
const HTTP: [&str; 2] = ["submit one by one, HTTP", "submit in batches, HTTP"];
const DRAIN: &str = "run, one worker";
const IDLE: [&str; 2] = ["idle latency p50", "idle latency p99"];
const BYTES: &str = "Redis, a queued task";
const CPU: [&str; 2] = ["Redis CPU, submit in batches", "Redis CPU, run"];

/// How long the one who submits waits between tasks, in milliseconds.
const TRICKLE_MS: u64 = 20;
const TRICKLED: u64 = 300;

/// A queue of others.
#[derive(Clone, Debug)]
pub struct Peer {
    /// What it is called.
    pub name: &'static str,
    /// Its program, and what that is told first.
    pub program: Vec<PathBuf>,
    /// Where that runs.
    pub dir: PathBuf,
    /// How many tasks it is given; slow ones get fewer.
    pub tasks: u64,
    /// How many tasks are submitted at once where batches are.
    pub batch: u64,
    /// How many tasks one worker runs at once.
    pub concurrency: u64,
}

/// Those that `cargo xtask bench --peers` has installed there.
pub fn installed(dir: &Path) -> Vec<Peer> {
    let peer = |name, at: &str, program: &[&str], tasks, batch, concurrency| Peer {
        name,
        program: program.iter().map(PathBuf::from).collect(),
        dir: dir.join(at),
        tasks,
        batch,
        concurrency,
    };
    vec![
        peer("BullMQ", "bullmq", &["node", "bench.mjs"], 50_000, 1000, 50),
        // Its scripts fail where more than some 7,000 tasks wait.
        peer("apalis-redis", "apalis", &["target/release/sentinel-bench-apalis"], 6_000, 1000, 100),
        peer("Celery", "celery", &["venv/bin/python", "bench.py"], 5_000, 1, 2),
    ]
}

/// What a peer's program says.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    ready: bool,
    #[serde(default)]
    seconds: f64,
    /// Those that the seconds are about, if not all.
    tasks: Option<u64>,
    #[serde(default)]
    waits_ms: Vec<f64>,
}

impl Peer {
    /// Measures it as often as was asked for.
    pub fn measure(&self, options: &Options) -> Result<Measured> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut runs = Vec::new();
        for _ in 0..options.runs {
            runs.push(runtime.block_on(self.once(options)).context(self.name)?);
        }
        Ok(Measured { name: self.name, what: String::new(), figures: Figure::of(runs) })
    }

    async fn once(&self, options: &Options) -> Result<Vec<Sample>> {
        let tasks = options.many(self.tasks).next_multiple_of(self.batch);
        let dir = tempfile::tempdir()?;
        let redis = Redis::start(options, dir.path()).await?;
        let empty = redis.usage()?;
        let batches = self.ask("enqueue", &redis, tasks, self.batch)?.last()?;
        let queued = redis.usage()?;
        let mut worker = self.ask("work", &redis, tasks, self.concurrency)?;
        let run = worker.last()?;
        let drained = redis.usage()?;
        drop(redis);

        let redis = Redis::start(options, dir.path()).await?;
        let single = self.ask("enqueue", &redis, tasks, 1)?.last()?;
        drop(redis);

        let redis = Redis::start(options, dir.path()).await?;
        let trickled = options.many(TRICKLED).max(20);
        let mut worker = self.ask("work", &redis, trickled, self.concurrency)?;
        while !worker.next()?.ready {}
        self.ask("trickle", &redis, trickled, TRICKLE_MS)?.last()?;
        let mut waits = worker.last()?.waits_ms;
        waits.sort_by(f64::total_cmp);

        let tasks = number(tasks);
        let each = |spent: std::time::Duration| spent.as_secs_f64() * 1e6 / tasks;
        Ok(vec![
            sample(SUBMIT, tasks / single.seconds, "/s"),
            sample(BATCH, tasks / batches.seconds, "/s"),
            sample(DRAIN, run.tasks.map_or(tasks, number) / run.seconds, "/s"),
            sample(IDLE[0], quantile(&waits, 0.5), "ms"),
            sample(IDLE[1], quantile(&waits, 0.99), "ms"),
            sample(BYTES, number(queued.memory_bytes - empty.memory_bytes) / tasks, "bytes"),
            sample(CPU[0], each(queued.cpu.saturating_sub(empty.cpu)), "µs"),
            sample(CPU[1], each(drained.cpu.saturating_sub(queued.cpu)), "µs"),
        ])
    }

    fn ask(&self, command: &str, redis: &Redis, tasks: u64, option: u64) -> Result<Answers> {
        let [program, args @ ..] = &self.program[..] else { anyhow::bail!("no program") };
        let mut child = Command::new(program)
            .args(args)
            .args([command, redis.url(), &tasks.to_string(), &option.to_string()])
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} did not start", program.display()))?;
        let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        Ok(Answers { child, lines })
    }
}

/// What a peer's program says, line by line.
struct Answers {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Answers {
    fn next(&mut self) -> Result<Said> {
        let line = self.lines.next().context("it ended and said nothing more")??;
        serde_json::from_str(&line).with_context(|| line.clone())
    }

    /// What it says last, when it has ended.
    fn last(&mut self) -> Result<Said> {
        let mut last = self.next()?;
        while let Some(line) = self.lines.next().transpose()? {
            last = serde_json::from_str(&line).with_context(|| line.clone())?;
        }
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "it ended with {status}");
        Ok(last)
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sentinel's figures under the names by which peers are compared with it.
pub fn sentinel(options: &Options) -> Result<Measured> {
    let wanted: [(Measure, &'static str, &'static str); 10] = [
        (Measure::Enqueue, "one by one", SUBMIT),
        (Measure::Enqueue, "in batches", BATCH),
        (Measure::Submit, "submitted", HTTP[0]),
        (Measure::Batch, "submitted", HTTP[1]),
        (Measure::Drain, "run", DRAIN),
        (Measure::Idle, "p50", IDLE[0]),
        (Measure::Idle, "p99", IDLE[1]),
        (Measure::Memory, "Redis, a queued task", BYTES),
        (Measure::Batch, "Redis CPU per task", CPU[0]),
        (Measure::Drain, "Redis CPU per task", CPU[1]),
    ];
    let mut taken: Vec<(Measure, Measured)> = Vec::new();
    let mut figures = Vec::new();
    for (measure, figure, name) in wanted {
        if !taken.iter().any(|(other, _)| *other == measure) {
            taken.push((measure, measure.take(options)?));
        }
        let seen = taken.iter_mut().find(|(other, _)| *other == measure).map(|(_, seen)| &mut seen.figures);
        let at = seen.as_ref().and_then(|seen| seen.iter().position(|seen| seen.name == figure));
        let (seen, at) = seen.zip(at).with_context(|| format!("{} has no {figure}", measure.name()))?;
        figures.push(Figure { name, ..seen.swap_remove(at) });
    }
    Ok(Measured { name: "Sentinel", what: String::new(), figures })
}
