//! `sentinel submit`: one task, and with `--wait` its result.

use std::{io::Read, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Map, Value};

use super::{
    client::{self, Client},
    task,
};

#[derive(Args)]
pub(super) struct SubmitArgs {
    /// The job that runs the task
    job: String,
    /// What the job is given: a JSON object, `@file`, or `-` for standard input
    #[arg(default_value = "{}")]
    payload: String,
    /// -1000 to 1000, higher first
    #[arg(long, allow_negative_numbers = true)]
    priority: Option<i64>,
    /// The queue to put it in
    #[arg(long)]
    queue: Option<String>,
    /// How long an attempt may take, such as 30s
    #[arg(long)]
    timeout: Option<String>,
    /// How often it is tried at most
    #[arg(long)]
    max_attempts: Option<u32>,
    /// Wait for the end and print the result; exit code 1 if the task failed
    #[arg(long)]
    wait: bool,
}

pub(super) fn run(args: SubmitArgs, client: &Client) -> Result<ExitCode> {
    let payload = payload(&args.job, &read(&args.payload)?)?;
    let mut options = Map::new();
    for (field, value) in [
        ("priority", args.priority.map(Value::from)),
        ("queue", args.queue.map(Value::from)),
        ("timeout", args.timeout.map(Value::from)),
        ("max_attempts", args.max_attempts.map(Value::from)),
    ] {
        if let Some(value) = value {
            options.insert(field.into(), value);
        }
    }
    let options = Value::Object(options).to_string();
    let rest = options.trim_start_matches('{');
    let comma = if rest == "}" { "" } else { "," };
    let answer = client.post("/submit-task", Some(&format!("{{\"payload\":{payload}{comma}{rest}")))?;
    let accepted = client::parse(&answer)?;
    let id = accepted["task_id"].as_str().context("the API named no task")?;
    if args.wait {
        return task::wait(id, client);
    }
    if client.json {
        println!("{answer}");
    } else {
        println!("{id}  {}", accepted["status"].as_str().unwrap_or_default());
    }
    Ok(ExitCode::SUCCESS)
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
