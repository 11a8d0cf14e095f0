//! `sentinel submit`: one task, and with `--wait` its result; or a file of tasks.

use std::{io::Read, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Map, Value};

use super::{
    backoff, batch,
    client::{self, Client},
    out, task,
};

#[derive(Args)]
pub(super) struct SubmitArgs {
    #[command(flatten)]
    task: TaskArgs,
    /// Submit all tasks of a file (`-`: of standard input), each as POST /v1/tasks takes it: a JSON
    /// array of them, or one a line
    #[arg(long, value_name = "FILE", conflicts_with = "TaskArgs")]
    batch: Option<String>,
}

#[derive(Args)]
struct TaskArgs {
    /// The job that runs the task
    #[arg(required_unless_present = "batch")]
    job: Option<String>,
    /// What the job is given: a JSON object, `@file`, or `-` for standard input
    #[arg(default_value = "{}")]
    payload: String,
    /// -1000 to 1000, higher first
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    priority: Option<i64>,
    /// The queue to put it in
    #[arg(long)]
    queue: Option<String>,
    /// How long from now it is due, such as 5m
    #[arg(long, value_name = "DURATION", conflicts_with = "run_at")]
    delay: Option<String>,
    /// When it is due, such as 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    run_at: Option<String>,
    /// When it fails if it has not started
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// How long an attempt may take, such as 30s
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// How often it is tried at most
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// How long it waits between tries: such as fixed,2s or exponential,1s,10m, or JSON
    #[arg(long, value_name = "KIND[,BASE[,MAX]]")]
    backoff: Option<String>,
    /// A second submit with the same key, queue and payload makes no second task
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Tasks of a queue with the same key run one at a time, or as the queue says
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<String>,
    /// A word to find it by; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// A task that must have ended before; may be given several times
    #[arg(long, value_name = "ID")]
    after: Vec<String>,
    /// What happens if one of these does not complete: it is cancelled, or it runs all the same
    #[arg(long, value_name = "POLICY", value_parser = ["completed", "always"])]
    after_policy: Option<String>,
    /// Wait for the end and print the result; exit code 1 if the task failed
    #[arg(long)]
    wait: bool,
}

pub(super) fn run(args: &SubmitArgs, client: &Client) -> Result<ExitCode> {
    let client = client.in_trace();
    match &args.batch {
        Some(file) => batch::run(file, &client),
        None => one(&args.task, &client),
    }
}

fn one(args: &TaskArgs, client: &Client) -> Result<ExitCode> {
    let job = args.job.as_deref().context("say which job, or --batch FILE")?;
    let payload = payload(job, &read(&args.payload)?)?;
    let options = Value::from(args.options()?).to_string();
    let rest = options.trim_start_matches('{');
    let comma = if rest == "}" { "" } else { "," };
    let answer = client.post("/submit-task", Some(&format!("{{\"payload\":{payload}{comma}{rest}")))?;
    let accepted = client::parse(&answer)?;
    let id = accepted["task_id"].as_str().context("the API named no task")?;
    if args.wait {
        return task::wait(id, client);
    }
    if client.json {
        out::line(answer)?;
    } else {
        let again = if accepted["deduplicated"] == true { "  (it was there before)" } else { "" };
        out::line(format_args!("{id}  {}{again}", accepted["status"].as_str().unwrap_or_default()))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl TaskArgs {
    /// The fields besides the payload.
    fn options(&self) -> Result<Map<String, Value>> {
        let word = |word: &Option<String>| word.clone().map(Value::from);
        let list = |words: &[String]| (!words.is_empty()).then(|| Value::from(words));
        let backoff = self.backoff.as_deref().map(backoff::parse).transpose()?;
        let fields = [
            ("priority", self.priority.map(Value::from)),
            ("queue", word(&self.queue)),
            ("delay", word(&self.delay)),
            ("run_at", word(&self.run_at)),
            ("expires_at", word(&self.expires_at)),
            ("timeout", word(&self.timeout)),
            ("max_attempts", self.max_attempts.map(Value::from)),
            ("backoff", backoff),
            ("idempotency_key", word(&self.idempotency_key)),
            ("concurrency_key", word(&self.concurrency_key)),
            ("tags", list(&self.tags)),
            ("after", list(&self.after)),
            ("after_policy", word(&self.after_policy)),
        ];
        let said = fields.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value?)));
        Ok(said.collect())
    }
}

/// A payload as it is said on the command line: itself, `@file`, or `-` for standard input.
pub(super) fn read(payload: &str) -> Result<String> {
    if let Some(path) = payload.strip_prefix('@') {
        return std::fs::read_to_string(path).with_context(|| format!("the payload's file {path}"));
    }
    if payload == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
        return Ok(text);
    }
    Ok(payload.to_owned())
}

/// Puts the job's name into the object as text, so that its numbers stay as they are.
fn payload(job: &str, object: &str) -> Result<String> {
    let object = object.trim();
    let fields: Map<String, Value> = serde_json::from_str(object)
        .context("the payload must be a JSON object, such as '{\"name\":\"Ada\"}'")?;
    if fields.contains_key("job") {
        bail!("the payload has a `job` of its own: leave it out, the job is {job:?}");
    }
    let comma = if fields.is_empty() { "" } else { "," };
    let job = Value::from(job);
    Ok(format!("{{\"job\":{job}{comma}{}", object.trim_start_matches('{')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_joins_the_payload_and_numbers_stay_as_they_are() {
        assert_eq!(payload("a", "{}").unwrap(), r#"{"job":"a"}"#);
        assert_eq!(
            payload("a", r#" {"n": 12345678901234567890123} "#).unwrap(),
            r#"{"job":"a","n": 12345678901234567890123}"#
        );
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        assert!(payload("a", "[]").is_err());
        assert!(payload("a", r#"{"job":"b"}"#).is_err());
    }
}
