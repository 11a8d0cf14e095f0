//! How long it took until what was lost with a worker ran again, and until results landed again
//! after Redis had been away.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::Serialize;

use crate::{
    cluster::connect,
    history::now,
    task::{Attempt, Found},
};

/// How long a worker that is to be killed may take to claim something.
const CHANCE: Duration = Duration::from_millis(200);

/// What was lost, and when the store was away.
pub(crate) struct Losses {
    redis_url: String,
    lost: Vec<Lost>,
    /// From when until when.
    outages: Vec<(u64, u64)>,
    redis_went: Option<u64>,
    /// When Redis, started again, had loaded what it keeps and answered.
    restarts: Vec<u64>,
}

/// A task whose worker was killed.
#[derive(Debug)]
struct Lost {
    id: String,
    at: u64,
}

impl Losses {
    pub(crate) fn new(redis_url: &str) -> Self {
        let redis_url = redis_url.to_owned();
        Self { redis_url, lost: Vec::new(), outages: Vec::new(), redis_went: None, restarts: Vec::new() }
    }

    /// Kills the worker with this process id, if it can be in the middle of something, and takes
    /// note of what was lost with it. While Redis is away that cannot be known.
    pub(crate) fn kill(&mut self, pid: u32, kill: impl FnOnce() -> Result<()>) -> Result<()> {
        let since = Instant::now();
        let mut held = self.held_by(pid).unwrap_or_default();
        while held.is_empty() && since.elapsed() < CHANCE {
            std::thread::sleep(Duration::from_millis(2));
            held = self.held_by(pid).unwrap_or_default();
        }
        kill()?;
        let at = now();
        let still = if held.is_empty() { BTreeMap::new() } else { self.claims().unwrap_or_default() };
        // What it settled in its last moment is not lost.
        let lost = held.into_iter().filter(|(id, claim)| still.get(id) == Some(claim));
        self.lost.extend(lost.map(|(id, _)| Lost { id, at }));
        Ok(())
    }

    pub(crate) fn redis_went(&mut self) {
        self.redis_went = Some(now());
    }

    pub(crate) fn redis_is_back(&mut self) {
        self.restarts.push(now());
        self.redis_answers();
    }

    pub(crate) fn redis_answers(&mut self) {
        if let Some(went) = self.redis_went.take() {
            self.outages.push((went, now()));
        }
    }

    pub(crate) fn redis_paused(&mut self, ms: u64) {
        self.outages.push((now(), now() + ms));
    }

    /// The claims of a worker: task, then what the store knows of its claim.
    fn held_by(&self, pid: u32) -> Result<BTreeMap<String, String>> {
        let mut connection = connect(&self.redis_url)?;
        let instances: Vec<String> =
            redis::cmd("ZRANGE").arg("{s0}:w").arg(0).arg(-1).arg("REV").query(&mut connection)?;
        for instance in instances {
            let info: Option<String> =
                redis::cmd("GET").arg(format!("{{s0}}:w:{instance}")).query(&mut connection)?;
            let info: serde_json::Value = serde_json::from_str(&info.unwrap_or_default()).unwrap_or_default();
            if info["pid"] == pid {
                let prefix = format!("{instance}-");
                return Ok(self.claims()?.into_iter().filter(|(_, run)| run.starts_with(&prefix)).collect());
            }
        }
        Ok(BTreeMap::new())
    }

    fn claims(&self) -> Result<BTreeMap<String, String>> {
        Ok(redis::cmd("HGETALL").arg("{s0}:run").query(&mut connect(&self.redis_url)?)?)
    }

    /// What came of it, by the tasks as they are in the end.
    pub(crate) fn figures(&self, tasks: &BTreeMap<String, Found>) -> Recovery {
        let mut waits = Vec::new();
        let mut calm = Vec::new();
        for Lost { id, at } in &self.lost {
            let Some(again) = tasks.get(id).and_then(|task| moved_on(task, *at)) else { continue };
            waits.push(again - at);
            if !self.outages.iter().any(|&(from, to)| from <= again && to >= *at) {
                calm.push(again - at);
            }
        }
        let settled = |attempt: &&Attempt| attempt.outcome != "LOST";
        let ends: Vec<_> = tasks
            .values()
            .flat_map(|task| &task.attempts)
            .filter(settled)
            .map(|attempt| attempt.ended_at)
            .collect();
        let first_after = |back: &u64| ends.iter().filter(|&end| end >= back).min().map(|end| end - back);
        Recovery {
            ran_again: Quantiles::of(waits),
            ran_again_while_redis_was_there: Quantiles::of(calm),
            first_end_after_redis_was_back: Quantiles::of(
                self.restarts.iter().filter_map(first_after).collect(),
            ),
        }
    }
}

/// When a task ran again or ended, after its worker was killed. None if that attempt was not lost:
/// its settlement was on its way already.
fn moved_on(task: &Found, killed_at: u64) -> Option<u64> {
    let held = |attempt: &&Attempt| (attempt.started_at..=attempt.ended_at).contains(&killed_at);
    task.attempts.iter().filter(held).find(|attempt| attempt.outcome == "LOST")?;
    let starts = task.attempts.iter().map(|attempt| attempt.started_at).chain(task.started_at);
    starts.chain(task.finished_at).filter(|&at| at > killed_at).min()
}

/// How fast the cluster recovered.
#[derive(Debug, Serialize)]
pub(crate) struct Recovery {
    /// From the kill of the worker to the next attempt's start.
    pub(crate) ran_again: Quantiles,
    pub(crate) ran_again_while_redis_was_there: Quantiles,
    pub(crate) first_end_after_redis_was_back: Quantiles,
}

/// Of some times in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) count: usize,
    pub(crate) p50_ms: u64,
    pub(crate) p99_ms: u64,
    pub(crate) max_ms: u64,
}

impl Quantiles {
    fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Self {
            count: times.len(),
            p50_ms: at(50).unwrap_or_default(),
            p99_ms: at(99).unwrap_or_default(),
            max_ms: times.last().copied().unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for Quantiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { count, p50_ms, p99_ms, max_ms } = self;
        write!(f, "p50 {p50_ms} ms, p99 {p99_ms} ms, max {max_ms} ms ({count} times)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted_times() {
        let quantiles = Quantiles::of((1..=100).rev().collect());
        assert_eq!(quantiles, Quantiles { count: 100, p50_ms: 50, p99_ms: 99, max_ms: 100 });
        assert_eq!(Quantiles::of(vec![]), Quantiles::default());
    }

    #[test]
    fn a_lost_task_ran_again_at_its_next_start() {
        let mut losses = Losses::new("");
        losses.lost.push(Lost { id: "a".into(), at: 100 });
        losses.lost.push(Lost { id: "b".into(), at: 100 });
        losses.outages.push((400, 500));
        losses.restarts.push(500);
        losses.lost.push(Lost { id: "c".into(), at: 100 });
        let attempt = |outcome: &str, started_at, ended_at| Attempt {
            outcome: outcome.into(),
            started_at,
            ended_at,
            ..Attempt::default()
        };
        let task = |attempts| Found { attempts, ..Found::default() };
        let a = task(vec![attempt("LOST", 50, 200), attempt("LOST", 350, 380), attempt("FAILED", 390, 600)]);
        let b = task(vec![attempt("LOST", 50, 680), attempt("COMPLETED", 700, 800)]);
        // This one's settlement was on its way when the worker was killed.
        let c = task(vec![attempt("FAILED", 50, 101), attempt("COMPLETED", 151, 160)]);
        let tasks = BTreeMap::from([("a".into(), a), ("b".into(), b), ("c".into(), c)]);
        let figures = losses.figures(&tasks);
        assert_eq!(figures.ran_again, Quantiles { count: 2, p50_ms: 250, p99_ms: 600, max_ms: 600 });
        assert_eq!(figures.ran_again_while_redis_was_there, Quantiles::of(vec![250]));
        assert_eq!(figures.first_end_after_redis_was_back, Quantiles::of(vec![100]));
    }
}
