//! `sentinel task list`: tasks by state, queue, job, tag and time.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::super::{
    client::Client,
    out::{self, cell, on_one_line},
    pages::PageArgs,
    table::Column,
};

#[derive(Args)]
pub(in crate::cli) struct ListArgs {
    /// Of these states, with commas between
    #[arg(long)]
    status: Option<String>,
    /// Of this queue
    #[arg(long)]
    queue: Option<String>,
    /// Of this job
    #[arg(long)]
    job: Option<String>,
    /// With this tag
    #[arg(long)]
    tag: Option<String>,
    /// Accepted then or later, such as 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Accepted earlier
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    #[command(flatten)]
    pages: PageArgs,
}

const COLUMNS: &[Column<'static>] = &[
    ("task", &|task| cell(&task["task_id"])),
    // As wide as the widest state, so that what a list goes on with stands below it.
    ("status", &|task| format!("{:11}", cell(&task["status"]))),
    ("job", &|task| cell(&task["job"])),
    ("queue", &|task| cell(&task["queue"])),
    ("priority", &|task| format!("{:>8}", cell(&task["priority"]))),
    ("attempt", &|task| format!("{:>7}", cell(&task["attempt"]))),
    ("accepted", &|task| cell(&task["created_at"])),
    ("", &remark),
];

pub(super) fn run(args: &ListArgs, client: &Client) -> Result<ExitCode> {
    args.pages.show("tasks", COLUMNS, client, |limit, cursor| page(args, limit, cursor, client))
}

fn page(args: &ListArgs, limit: usize, cursor: Option<&str>, client: &Client) -> Result<String> {
    let limit = limit.to_string();
    let parameters = [
        ("status", args.status.as_deref()),
        ("queue", args.queue.as_deref()),
        ("job", args.job.as_deref()),
        ("tag", args.tag.as_deref()),
        ("since", args.since.as_deref()),
        ("until", args.until.as_deref()),
        ("limit", Some(&*limit)),
        ("cursor", cursor),
    ];
    let said: Vec<_> = parameters.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect();
    client.get_with("/v1/tasks", &said)
}

/// What is worth knowing besides: why it failed, how far it is, when it is due.
fn remark(task: &Value) -> String {
    if let Some(progress) = task.get("progress") {
        let message = progress["message"].as_str().unwrap_or_default();
        return on_one_line(&format!("{}% {message}", progress["percent"]));
    }
    match task["run_at"].as_str() {
        Some(due) => format!("due {due}"),
        None => out::error(task),
    }
}
