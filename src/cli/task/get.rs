//! `sentinel task get` and `result`: one task, now or when it has ended.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::{
    super::{
        client::{self, Client},
        out::{self, cell, on_one_line},
        progress, table,
    },
    path,
};

#[derive(Args)]
pub(in crate::cli) struct GetArgs {
    /// The task's id
    id: String,
    /// Wait for its end and print its result; exit code 1 if there is none
    #[arg(long)]
    wait: bool,
}

pub(super) fn run(args: &GetArgs, client: &Client) -> Result<ExitCode> {
    if args.wait {
        return wait(&args.id, client);
    }
    let answer = client.get(&path(&args.id))?;
    if client.json {
        out::line(answer)?;
    } else {
        show(client::parse(&answer)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Its fields, and below them what happened to it.
fn show(mut task: Value) -> Result<()> {
    let history = task.as_object_mut().and_then(|fields| fields.remove("history")).unwrap_or_default();
    table::fields(&task)?;
    for event in history.as_array().into_iter().flatten() {
        let (at, what) = (cell(&event["at"]), cell(&event["event"]));
        let attempt = event["attempt"].as_u64().map(|attempt| format!(" {attempt}")).unwrap_or_default();
        let outcome = event["outcome"].as_str().unwrap_or_default();
        let text = format!("{at}  {what}{attempt}  {outcome}  {}", out::error(event));
        out::line(text.trim_end())?;
    }
    Ok(())
}

/// `task result`.
pub(super) fn result(id: &str, client: &Client) -> Result<ExitCode> {
    out::line(client.get(&format!("{}/result", path(id)))?)?;
    Ok(ExitCode::SUCCESS)
}

/// Waits until a task has ended and shows it: the result on standard output, an error on standard
/// error.
pub(in crate::cli) fn wait(id: &str, client: &Client) -> Result<ExitCode> {
    let bar = progress::bar(100, "{bar:30} {pos:>3}% {msg}");
    let (answer, task) = loop {
        // Short waits keep the progress moving.
        let answer = client.get_with(&path(id), &[("wait", "500ms")])?;
        let task = client::parse(&answer)?;
        if task.get("finished_at").is_some() {
            break (answer, task);
        }
        bar.set_position(task["progress"]["percent"].as_u64().unwrap_or(0));
        let message = task["progress"]["message"].as_str().unwrap_or_default();
        bar.set_message(format!("{} {}", cell(&task["status"]), on_one_line(message)));
    };
    bar.finish_and_clear();
    let is_completed = task["status"] == "COMPLETED";
    if client.json {
        out::line(answer)?;
    } else if is_completed {
        out::line(client.get(&format!("{}/result", path(id)))?)?;
    } else {
        let error = &task["error"];
        eprintln!("{} {}: {}", cell(&task["status"]), cell(&error["kind"]), cell(&error["message"]));
    }
    Ok(if is_completed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
