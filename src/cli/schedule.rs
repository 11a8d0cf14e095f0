//! `sentinel schedule`: list, get, set, delete, pause, resume.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use sentinel_queue::ScheduleName;
use serde_json::{Map, Value, value::RawValue};

use super::{
    client::{self, Client},
    submit,
    table::{self, cell},
};

#[derive(Args)]
pub(super) struct SetArgs {
    /// The schedule's name
    name: String,
    /// When: minute, hour, day of month, month, day of week; or @daily and the like
    #[arg(long, value_name = "EXPRESSION")]
    cron: String,
    /// On whose clocks, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// What each task is given: a JSON object with its `job`, `@file`, or `-` for standard input
    #[arg(long, value_name = "JSON")]
    payload: String,
    /// The queue to put the tasks in
    #[arg(long)]
    queue: Option<String>,
    /// -1000 to 1000, higher first
    #[arg(long, allow_negative_numbers = true)]
    priority: Option<i64>,
    /// How long an attempt may take, such as 30s
    #[arg(long)]
    timeout: Option<String>,
    /// How often a task is tried at most
    #[arg(long)]
    max_attempts: Option<u32>,
    /// Tasks with the same key in a queue do not overlap
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<String>,
    /// A word to find the tasks by; may be said again
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Which missed ticks have a task: latest, all or none [default: latest]
    #[arg(long, value_name = "POLICY")]
    catch_up: Option<String>,
    /// Whether it is paused; left out, as it was
    #[arg(long, value_name = "BOOL")]
    paused: Option<bool>,
}

pub(super) fn list(client: &Client) -> Result<ExitCode> {
    let answer = client.get("/v1/schedules?limit=500")?;
    if client.json {
        println!("{answer}");
    } else {
        table::print(
            &client::parse(&answer)?["schedules"],
            &[
                ("schedule", &|schedule| cell(&schedule["name"])),
                ("cron", &|schedule| cell(&schedule["cron"])),
                ("time zone", &|schedule| cell(&schedule["timezone"])),
                ("job", &|schedule| cell(&schedule["task"]["job"])),
                ("paused", &|schedule| if schedule["paused"] == true { "yes".into() } else { "no".into() }),
                ("next run", &|schedule| cell(&schedule["next_runs"][0])),
                ("last run", &|schedule| cell(&schedule["last_run"]["at"])),
            ],
        );
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn get(name: &str, client: &Client) -> Result<ExitCode> {
    let answer = client.get(&path(name)?)?;
    show(&answer, client)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn set(args: SetArgs, client: &Client) -> Result<ExitCode> {
    let path = path(&args.name)?;
    let payload = submit::read(&args.payload)?;
    let answer = client.put(&path, &body(args, payload)?)?;
    show(&answer, client)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn delete(name: &str, client: &Client) -> Result<ExitCode> {
    let path = path(name)?;
    client.delete(&path)?;
    if !client.json {
        println!("{name}: deleted");
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn pause(name: &str, client: &Client) -> Result<ExitCode> {
    switch(name, "pause", client)
}

pub(super) fn resume(name: &str, client: &Client) -> Result<ExitCode> {
    switch(name, "resume", client)
}

fn switch(name: &str, verb: &str, client: &Client) -> Result<ExitCode> {
    let answer = client.post(&format!("{}/{verb}", path(name)?), None)?;
    if client.json {
        println!("{answer}");
    } else {
        match &client::parse(&answer)?["next_runs"][0] {
            Value::Null => println!("{name}: {verb}d"),
            next => println!("{name}: {verb}d, next run {}", cell(next)),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the API is sent.
fn body(args: SetArgs, payload: String) -> Result<String> {
    let mut task = Map::new();
    for (field, value) in [
        ("queue", args.queue.map(Value::from)),
        ("priority", args.priority.map(Value::from)),
        ("timeout", args.timeout.map(Value::from)),
        ("max_attempts", args.max_attempts.map(Value::from)),
        ("concurrency_key", args.concurrency_key.map(Value::from)),
        ("tags", Some(args.tags).filter(|tags| !tags.is_empty()).map(Value::from)),
    ] {
        if let Some(value) = value {
            task.insert(field.into(), value);
        }
    }
    let mut schedule = Map::new();
    for (field, value) in [
        ("cron", Some(Value::from(args.cron))),
        ("timezone", args.timezone.map(Value::from)),
        ("catch_up", args.catch_up.map(Value::from)),
        ("paused", args.paused.map(Value::from)),
    ] {
        if let Some(value) = value {
            schedule.insert(field.into(), value);
        }
    }
    // The payload goes as it was said, so that its numbers stay as they are.
    let payload = RawValue::from_string(payload).context(
        "the payload must be a JSON object with a string `job`, such as '{\"job\":\"example-task\"}'",
    )?;
    let open = |object: Map<String, Value>| {
        let mut text = Value::Object(object).to_string();
        text.pop();
        if text.len() > 1 {
            text.push(',');
        }
        text
    };
    Ok(format!("{}\"task\":{}\"payload\":{payload}}}}}", open(schedule), open(task)))
}

/// Checked here because the name becomes a part of the path.
fn path(name: &str) -> Result<String> {
    let name: ScheduleName = name.parse()?;
    Ok(format!("/v1/schedules/{name}"))
}

fn show(answer: &str, client: &Client) -> Result<()> {
    if client.json {
        println!("{answer}");
        return Ok(());
    }
    let schedule = client::parse(answer)?;
    let task = &schedule["task"];
    for (field, value) in [
        ("schedule", &schedule["name"]),
        ("cron", &schedule["cron"]),
        ("time zone", &schedule["timezone"]),
        ("catch up", &schedule["catch_up"]),
        ("paused", &schedule["paused"]),
        ("job", &task["job"]),
        ("payload", &task["payload"]),
        ("queue", &task["queue"]),
        ("priority", &task["priority"]),
        ("timeout", &task["timeout"]),
        ("max attempts", &task["max_attempts"]),
        ("backoff", &task["backoff"]),
        ("one at a time", &task["concurrency_key"]),
        ("tags", &task["tags"]),
        ("last run", &schedule["last_run"]["at"]),
        ("last task", &schedule["last_run"]["task_id"]),
    ] {
        if !value.is_null() {
            println!("{field:14} {}", table::printable(&cell(value)));
        }
    }
    for (index, run) in schedule["next_runs"].as_array().into_iter().flatten().enumerate() {
        println!("{:14} {}", if index == 0 { "next runs" } else { "" }, cell(run));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> SetArgs {
        SetArgs {
            name: "s".into(),
            cron: "0 9 * * *".into(),
            timezone: None,
            payload: String::new(),
            queue: None,
            priority: None,
            timeout: None,
            max_attempts: None,
            concurrency_key: None,
            tags: Vec::new(),
            catch_up: None,
            paused: None,
        }
    }

    #[test]
    fn what_is_left_out_is_not_sent_and_numbers_stay_as_they_are() {
        let payload = r#"{"job":"a", "n": 12345678901234567890123}"#;
        assert_eq!(
            body(args(), payload.into()).unwrap(),
            format!(r#"{{"cron":"0 9 * * *","task":{{"payload":{payload}}}}}"#)
        );
        let full = SetArgs {
            priority: Some(-5),
            tags: vec!["x".into()],
            timezone: Some("Europe/Berlin".into()),
            paused: Some(true),
            ..args()
        };
        let sent: Value = serde_json::from_str(&body(full, payload.into()).unwrap()).unwrap();
        assert_eq!(
            (&sent["task"]["priority"], &sent["task"]["tags"][0]),
            (&Value::from(-5), &Value::from("x"))
        );
        assert_eq!((&sent["timezone"], &sent["paused"]), (&Value::from("Europe/Berlin"), &Value::from(true)));
    }

    #[test]
    fn nothing_but_one_json_value_is_a_payload() {
        assert!(body(args(), r#"{"job":"a"},"queue":"x""#.into()).is_err());
        assert!(path("../x").is_err());
    }
}
