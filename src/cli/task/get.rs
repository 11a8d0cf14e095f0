//! `sentinel task`: one task, now or when it has ended.

use std::{io::IsTerminal, process::ExitCode};

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{
    client::{self, Client},
    table::{cell, printable},
};

#[derive(Args)]
pub(super) struct GetArgs {
    /// The task's id
    id: String,
    /// Wait for its end
    #[arg(long)]
    wait: bool,
}

pub(super) fn get(args: &GetArgs, client: &Client) -> Result<ExitCode> {
    if args.wait {
        return wait(&args.id, client);
    }
    let answer = client.get(&path(&args.id))?;
    show(&answer, client)?;
    Ok(ExitCode::SUCCESS)
}

/// Waits until a task has ended and shows it: the result on standard output, an error on standard
/// error.
pub(super) fn wait(id: &str, client: &Client) -> Result<ExitCode> {
    let bar = bar();
    let (answer, task) = loop {
        // Short waits keep the progress moving.
        let answer = client.get(&format!("{}?wait=500ms", path(id)))?;
        let task = client::parse(&answer)?;
        if task.get("finished_at").is_some() {
            break (answer, task);
        }
        bar.set_position(task["progress"]["percent"].as_u64().unwrap_or(0));
        let message = task["progress"]["message"].as_str().unwrap_or_default();
        bar.set_message(format!("{} {}", task["status"].as_str().unwrap_or_default(), printable(message)));
    };
    bar.finish_and_clear();
    if client.json {
        println!("{answer}");
    } else if task["status"] == "COMPLETED" {
        println!("{}", client.get(&format!("{}/result", path(id)))?);
    } else {
        let error = &task["error"];
        eprintln!("{} {}: {}", cell(&task["status"]), cell(&error["kind"]), cell(&error["message"]));
    }
    Ok(if task["status"] == "COMPLETED" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(answer: &str, client: &Client) -> Result<()> {
    if client.json {
        println!("{answer}");
        return Ok(());
    }
    let task = client::parse(answer)?;
    for (field, value) in task.as_object().into_iter().flatten() {
        let text = match value {
            Value::Object(_) | Value::Array(_) => printable(&value.to_string()),
            other => cell(other),
        };
        println!("{field:14} {text}");
    }
    Ok(())
}

/// Ids come from people: nothing in one may become another path.
fn path(id: &str) -> String {
    let id: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    format!("/v1/tasks/{id}")
}

fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos:>3}% {msg}").expect("a valid template");
    ProgressBar::new(100).with_style(style)
}
