//! `sentinel task list`: tasks by state, queue, job, tag and time.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::super::{
    client::{self, Client},
    out::{self, cell, on_one_line},
    table::{self, Column},
};

/// As many tasks as the API gives without being asked for a number.
const DEFAULT: usize = 50;

/// As many as it gives at most.
const MOST: usize = 500;

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
    /// How many at most; with --all, how many at a time [default: 50]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// All of them
    #[arg(long)]
    all: bool,
    /// Go on where a list ended
    #[arg(long)]
    cursor: Option<String>,
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
    let limit = args.limit.unwrap_or(DEFAULT);
    let mut cursor = args.cursor.clone();
    let mut shown = 0;
    loop {
        let wanted = match (args.all, client.json) {
            (true, _) => args.limit.unwrap_or(MOST),
            (false, true) => limit,
            // The API may look at many tasks and find few: people get as many as they asked for.
            (false, false) => (limit - shown).min(MOST),
        };
        let answer = page(args, wanted, cursor.as_deref(), client)?;
        let slice = client::parse(&answer)?;
        let tasks = slice["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
        let next = slice["next_cursor"].as_str();
        if client.json {
            out::line(&answer)?;
        } else if shown > 0 {
            table::print_more(tasks, COLUMNS)?;
        } else if !tasks.is_empty() || next.is_none() {
            table::print(&slice["tasks"], COLUMNS)?;
        }
        shown += tasks.len();
        match next {
            None => return Ok(ExitCode::SUCCESS),
            Some(next) if args.all || (!client.json && shown < limit) => cursor = Some(next.to_owned()),
            Some(next) => {
                if !client.json {
                    eprintln!("there are more: --all, or --cursor {next}");
                }
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
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
