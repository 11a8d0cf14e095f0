//! `sentinel queue set`: changes some of a queue's settings.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{ArgGroup, Args};
use sentinel_queue::QueueName;
use serde_json::{Map, Value, json};

use super::{
    super::{
        backoff,
        client::{self, ApiError, Client},
    },
    path, show,
};

#[derive(Args)]
#[group(skip)]
#[command(group = ArgGroup::new("setting").required(true).multiple(true).args([
    "rate", "concurrency", "per_key", "aging", "timeout", "max_attempts", "backoff",
]))]
pub(in crate::cli) struct SetArgs {
    /// The queue's name; it is made if it is not there
    queue: QueueName,
    /// At most so many starts in any such span, such as 100/1m
    #[arg(long, value_name = "STARTS/SPAN")]
    rate: Option<String>,
    /// At most so many attempts at once, on all workers
    #[arg(long, value_name = "N")]
    concurrency: Option<String>,
    /// At most so many attempts at once for each concurrency key
    #[arg(long, value_name = "N")]
    per_key: Option<String>,
    /// The waiting time that is worth one point of priority, such as 1m
    #[arg(long, value_name = "DURATION")]
    aging: Option<String>,
    /// How long an attempt may take, if neither the task nor the job says
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// How often a task is tried at most, if neither it nor its job says
    #[arg(long, value_name = "N")]
    max_attempts: Option<String>,
    /// How long a task waits between tries, if neither it nor its job says: such as fixed,2s, or JSON
    #[arg(long, value_name = "KIND[,BASE[,MAX]]")]
    backoff: Option<String>,
}

/// The fields of a queue that are settings.
const SETTINGS: [&str; 5] = ["rate", "concurrency", "per_key", "aging", "defaults"];

pub(super) fn run(args: &SetArgs, client: &Client) -> Result<ExitCode> {
    let mut settings = known(&args.queue, client)?;
    args.change(&mut settings)?;
    show(&client.put(&path(&args.queue), &Value::from(settings).to_string())?, client)
}

/// What is set now: a PUT replaces all of it.
fn known(queue: &QueueName, client: &Client) -> Result<Map<String, Value>> {
    let answer = match client.get(&path(queue)) {
        Ok(answer) => answer,
        Err(error) if error.downcast_ref().is_some_and(ApiError::is_not_found) => return Ok(Map::new()),
        Err(error) => return Err(error),
    };
    let Value::Object(mut settings) = client::parse(&answer)? else { return Ok(Map::new()) };
    settings.retain(|name, _| SETTINGS.contains(&name.as_str()));
    Ok(settings)
}

impl SetArgs {
    fn change(&self, settings: &mut Map<String, Value>) -> Result<()> {
        change(settings, "rate", self.rate.as_deref(), rate)?;
        change(settings, "concurrency", self.concurrency.as_deref(), number)?;
        change(settings, "per_key", self.per_key.as_deref(), number)?;
        change(settings, "aging", self.aging.as_deref(), word)?;
        let defaults = settings.entry("defaults").or_insert_with(|| json!({}));
        if let Value::Object(defaults) = defaults {
            change(defaults, "timeout", self.timeout.as_deref(), word)?;
            change(defaults, "max_attempts", self.max_attempts.as_deref(), number)?;
            change(defaults, "backoff", self.backoff.as_deref(), backoff::parse)?;
        }
        Ok(())
    }
}

fn change(
    settings: &mut Map<String, Value>,
    name: &str,
    said: Option<&str>,
    read: impl Fn(&str) -> Result<Value>,
) -> Result<()> {
    match said {
        None => {}
        Some("none") => drop(settings.remove(name)),
        Some(text) => {
            let flag = name.replace('_', "-");
            let value = read(text).with_context(|| format!("--{flag} {text:?}"))?;
            settings.insert(name.to_owned(), value);
        }
    }
    Ok(())
}

/// What the API checks itself.
#[expect(clippy::unnecessary_wraps, reason = "one of several readers")]
fn word(text: &str) -> Result<Value> {
    Ok(text.into())
}

fn number(text: &str) -> Result<Value> {
    text.parse::<u64>().map(Value::from).context("it must be a number, or `none`")
}

fn rate(text: &str) -> Result<Value> {
    let (starts, per) = text.split_once('/').context("it must be STARTS/SPAN, such as 100/1m, or `none`")?;
    Ok(json!({"starts": number(starts)?, "per": per}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays_and_none_takes_away() {
        let queue = "q".parse().unwrap();
        let args = SetArgs {
            queue,
            rate: Some("100/1m".into()),
            concurrency: Some("none".into()),
            per_key: None,
            aging: None,
            timeout: None,
            max_attempts: Some("4".into()),
            backoff: None,
        };
        let before = json!({"concurrency": 3, "per_key": 2, "defaults": {"timeout": "5s"}});
        let Value::Object(mut settings) = before else { unreachable!() };
        args.change(&mut settings).unwrap();
        let after = json!({
            "rate": {"starts": 100, "per": "1m"}, "per_key": 2,
            "defaults": {"timeout": "5s", "max_attempts": 4},
        });
        assert_eq!(Value::from(settings), after);
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in ["100", "x/1m", "-1/1m", "/"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
