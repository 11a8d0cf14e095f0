//! The same jobs in a worker, by HTTP.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    acting, greeting,
    lab::{Lab, Ran},
    text,
};
use crate::dev::Dev;

/// How long it may take until a worker has compiled all plugins, and said so.
const PATIENCE: Duration = Duration::from_mins(5);

/// Starts a worker, with grants, and has it run everything.
pub(super) fn run(lab: &Lab) -> Result<()> {
    let plugins = lab.dir().join("plugins");
    let mut grants = Vec::new();
    for (job, has_system) in acting() {
        let mut asks = "secrets = [\"key\"]\n".to_owned();
        grants.push(format!("[grants.{job}]\nsecrets = {{ key = {{ file = \"key\" }} }}\n"));
        if has_system {
            asks += "env = [\"REGION\"]\nscratch = \"1MiB\"\n";
            grants.push("env = { REGION = \"eu\" }\nscratch = \"1MiB\"\n".into());
        }
        fs::write(plugins.join(format!("{job}.toml")), asks + "[config]\nsize = \"5\"\n")?;
    }
    fs::write(lab.dir().join("key"), "hunter2hunter2\n")?;
    fs::write(lab.dir().join("sentinel.toml"), grants.concat())?;
    let data = tempfile::tempdir()?;
    let dev = Dev::start(lab.dir(), data.path())?;
    let worker = Worker { lab, dev: &dev };
    for job in greeting() {
        worker.greets(&job)?;
    }
    for (job, has_system) in acting() {
        worker.acts(&job, has_system)?;
    }
    worker.interprets()?;
    dev.stop()
}

struct Worker<'a> {
    lab: &'a Lab,
    dev: &'a Dev,
}

impl Worker<'_> {
    fn client(&self, args: &[&str]) -> Result<Ran> {
        self.lab.sentinel_at(Some(&self.dev.url), args)
    }

    fn submit(&self, job: &str, payload: &Value, more: &[&str]) -> Result<String> {
        let payload = payload.to_string();
        let ran = self.client(&[&["submit", job, &payload, "--output", "json"], more].concat())?;
        let task: Value = serde_json::from_str(&ran.succeeded()?.stdout)?;
        Ok(text(&task["task_id"])?.to_owned())
    }

    /// The task when it has ended.
    fn end_of(&self, id: &str) -> Result<Value> {
        let ran = self.client(&["task", "get", id, "--wait", "--output", "json"])?;
        serde_json::from_str(&ran.stdout).with_context(|| ran.stderr)
    }

    fn task(&self, job: &str, payload: &Value, more: &[&str]) -> Result<Value> {
        self.end_of(&self.submit(job, payload, more)?)
    }

    fn completes(&self, job: &str, payload: &Value, result: &Value) -> Result<Value> {
        let task = self.task(job, payload, &[])?;
        ensure!(task["status"] == "COMPLETED" && task["result"] == *result, "{job} {payload}: {task}");
        Ok(task)
    }

    fn fails(&self, job: &str, payload: &Value, kind: &str, said: &str) -> Result<()> {
        let task = self.task(job, payload, &["--max-attempts", "1", "--timeout", "5s"])?;
        let error = &task["error"];
        println!("{job} {payload}: {}", error["kind"]);
        ensure!(error["kind"] == kind && error.to_string().contains(said), "{job} {payload}: {task}");
        Ok(())
    }

    fn greets(&self, job: &str) -> Result<()> {
        self.until_told(job, "Greets somebody.")?;
        let task = self.completes(job, &json!({"name": "Ada"}), &json!({"greeting": "Hello, Ada!"}))?;
        let logs = self.client(&["task", "logs", text(&task["task_id"])?])?;
        logs.is(0, "attempt 1 of 3")?;
        // It said what it takes, and what it does not take is refused.
        let refused = self.client(&["submit", job, r#"{"name": 5}"#])?;
        refused.is(1, "name")
    }

    /// Waits until the API tells this of a job. Before, its tasks are refused: nobody knows it.
    fn until_told(&self, job: &str, said: &str) -> Result<()> {
        let since = Instant::now();
        loop {
            let told = self.dev.get(&format!("/v1/jobs/{job}"))?;
            if told.contains(said) {
                return Ok(());
            }
            ensure!(since.elapsed() < PATIENCE, "{said:?} is not told of {job}: {told}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn acts(&self, job: &str, has_system: bool) -> Result<()> {
        self.until_told(job, "Does what it is told.")?;
        let does = |act: &str, result: &Value| self.completes(job, &json!({ "do": act }), result);
        does("count", &json!(1))?;
        does("count", &json!(2))?;
        let resumed = does("resume", &json!("gr\u{fc}\u{df}e"))?;
        ensure!(resumed["attempt"] == 2, "{resumed}");
        let parent = self.task(job, &json!({ "do": "child" }), &[])?;
        let child = self.end_of(text(&parent["result"])?)?;
        ensure!(child["result"] == 3 && child["parent_id"] == parent["task_id"], "{child}");
        does("config", &json!("5"))?;
        does("secret", &json!(14))?;
        if has_system {
            does("region", &json!("eu"))?;
            does("scratch", &json!("kept"))?;
        }
        for (act, kind, said) in
            [("throw", "trap", "boom"), ("loop", "timeout", ""), ("grow", "memory_limit", "")]
        {
            self.fails(job, &json!({ "do": act }), kind, said)?;
        }
        // And it runs on.
        does("count", &json!(4)).map(drop)
    }

    fn interprets(&self) -> Result<()> {
        self.until_told("cpython", "digests")?;
        let numbers = json!({"numbers": [1, 2, 39]});
        let result = json!({"sum": 42, "argv": ["-c", "two words"]});
        let task = self.completes("cpython", &numbers, &result)?;
        let usage = &task["usage"];
        println!("an attempt of CPython: {usage}");
        for (act, kind, said) in [
            ("loop", "timeout", ""),
            ("raise", "retryable", "ValueError: boom"),
            ("recurse", "retryable", "RecursionError"),
            ("abort", "trap", "backtrace"),
            // It copes, as far as to say so.
            ("grow", "retryable", "MemoryError"),
        ] {
            self.fails("cpython", &json!({ "act": act, "numbers": [] }), kind, said)?;
        }
        self.completes("cpython", &numbers, &result).map(drop)
    }
}
