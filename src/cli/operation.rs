//! `sentinel operation`: what is done to many tasks; and how other commands start one and wait.

use std::{process::ExitCode, thread, time::Duration};

use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    client::{self, Client, segment},
    out::{self, cell},
    progress, table,
};

/// How often a running operation is looked at.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Subcommand)]
pub(super) enum OperationCommand {
    /// Show how far an operation has come
    Get {
        /// The operation's id
        id: String,
    },
}

pub(super) fn run(command: &OperationCommand, client: &Client) -> Result<ExitCode> {
    let OperationCommand::Get { id } = command;
    let answer = client.get(&format!("/v1/operations/{}", segment(id)))?;
    if client.json {
        out::line(answer)?;
    } else {
        table::fields(&client::parse(&answer)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// An operation that has ended: as the API told it, and taken apart.
pub(super) struct Ended {
    answer: String,
    operation: Value,
}

impl Ended {
    /// How many tasks had what was asked for.
    pub(super) fn matched(&self) -> u64 {
        self.operation["matched"].as_u64().unwrap_or(0)
    }

    /// Prints it: what the API answered, or a sentence.
    pub(super) fn print(&self, client: &Client) -> Result<()> {
        if client.json {
            return out::line(&self.answer);
        }
        let told = |field: &str| cell(&self.operation[field]);
        let (kind, matched, looked_at) = (told("kind"), told("matched"), told("looked_at"));
        if self.operation["dry_run"] == true {
            out::line(format_args!("{kind}: {matched} tasks match, of {looked_at} looked at"))
        } else {
            let done = told("done");
            out::line(format_args!("{kind}: done to {done} of {matched} tasks that matched"))
        }
    }
}

/// Counts the tasks that an operation would meet.
pub(super) fn count(kind: &str, filter: &Value, client: &Client) -> Result<Ended> {
    let body = json!({"kind": kind, "filter": filter, "dry_run": true}).to_string();
    finish(client.post("/v1/operations", Some(&body))?, None, client)
}

/// Does something to all tasks of a filter, of which there were so many.
pub(super) fn start(kind: &str, filter: &Value, total: u64, client: &Client) -> Result<Ended> {
    let body = json!({"kind": kind, "filter": filter}).to_string();
    finish(client.post("/v1/operations", Some(&body))?, Some(total), client)
}

/// Shows an operation's progress until it has ended.
pub(super) fn finish(mut answer: String, total: Option<u64>, client: &Client) -> Result<Ended> {
    let mut operation = client::parse(&answer)?;
    let id = segment(operation["operation_id"].as_str().context("the API named no operation")?);
    let bar = match total {
        Some(total) => progress::bar(total, "{bar:30} {pos}/{len} {msg}"),
        None => progress::spinner(),
    };
    while operation["state"] != "done" {
        let looked_at = &operation["looked_at"];
        bar.set_message(format!("{}: {looked_at} tasks looked at", cell(&operation["kind"])));
        if total.is_some() {
            bar.set_position(operation["matched"].as_u64().unwrap_or(0));
        }
        thread::sleep(LOOK);
        answer = client.get(&format!("/v1/operations/{id}")).with_context(|| {
            format!("the operation goes on by itself: `sentinel operation get {id}` shows how far it is")
        })?;
        operation = client::parse(&answer)?;
    }
    bar.finish_and_clear();
    Ok(Ended { answer, operation })
}
