//! `sentinel task reschedule`: when a waiting task is due, and its priority.

use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgGroup, Args};
use serde_json::{Map, Value};

use super::{
    super::{
        client::{self, Client},
        out::{self, cell},
    },
    path,
};

#[derive(Args)]
#[group(skip)]
#[command(group = ArgGroup::new("change").required(true).multiple(true).args(["delay", "run_at", "priority"]))]
pub(in crate::cli) struct RescheduleArgs {
    /// The task's id
    id: String,
    /// How long from now it is due, such as 5m
    #[arg(long, value_name = "DURATION", conflicts_with = "run_at")]
    delay: Option<String>,
    /// When it is due, such as 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    run_at: Option<String>,
    /// Its new priority, -1000 to 1000
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    priority: Option<i64>,
}

pub(super) fn run(args: &RescheduleArgs, client: &Client) -> Result<ExitCode> {
    let changes = [
        ("delay", args.delay.clone().map(Value::from)),
        ("run_at", args.run_at.clone().map(Value::from)),
        ("priority", args.priority.map(Value::from)),
    ];
    let body: Map<_, _> =
        changes.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value?))).collect();
    let body = Value::from(body).to_string();
    let answer = client.post(&format!("{}/reschedule", path(&args.id)), Some(&body))?;
    if client.json {
        out::line(answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let task = client::parse(&answer)?;
    let due = task["run_at"].as_str().map(|due| format!(", due {due}")).unwrap_or_default();
    let (id, status, priority) = (cell(&task["task_id"]), cell(&task["status"]), &task["priority"]);
    out::line(format_args!("{id}  {status}{due}, priority {priority}"))?;
    Ok(ExitCode::SUCCESS)
}
