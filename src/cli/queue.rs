//! `sentinel queue`: look at queues, pause, resume, purge and set them.

mod purge;
mod set;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use sentinel_queue::QueueName;
use serde_json::Value;

use super::{
    client::{self, Client},
    out::{self, cell},
    table,
};

#[derive(Subcommand)]
pub(super) enum QueueCommand {
    /// List the queues
    List,
    /// Show one queue
    Get {
        /// The queue's name
        queue: QueueName,
    },
    /// Make a queue hand out nothing
    Pause {
        /// The queue's name
        queue: QueueName,
    },
    /// End a pause
    Resume {
        /// The queue's name
        queue: QueueName,
    },
    /// Remove the tasks that wait in a queue: QUEUED, SCHEDULED and BLOCKED
    Purge(purge::PurgeArgs),
    /// Change a queue's settings; what is not named stays, `none` takes a setting away
    Set(set::SetArgs),
}

pub(super) fn run(command: QueueCommand, client: &Client) -> Result<ExitCode> {
    match command {
        QueueCommand::List => list(client),
        QueueCommand::Get { queue } => get(&queue, client),
        QueueCommand::Pause { queue } => turn(&queue, "pause", client),
        QueueCommand::Resume { queue } => turn(&queue, "resume", client),
        QueueCommand::Purge(args) => purge::run(&args, client),
        QueueCommand::Set(args) => set::run(&args, client),
    }
}

/// Where a queue is.
fn path(queue: &QueueName) -> String {
    format!("/v1/queues/{queue}")
}

fn list(client: &Client) -> Result<ExitCode> {
    let answer = client.get("/v1/queues?limit=500")?;
    if client.json {
        out::line(answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    table::print(
        &client::parse(&answer)?["queues"],
        &[
            ("queue", &|queue| cell(&queue["name"])),
            ("ready", &|queue| cell(&queue["depth"])),
            ("parked", &|queue| cell(&queue["parked"])),
            ("running", &|queue| cell(&queue["running"])),
            ("paused", &|queue| if queue["paused"] == true { "yes".into() } else { "no".into() }),
            ("rate", &rate),
            ("concurrency", &|queue| cell(&queue["concurrency"])),
            ("per key", &|queue| cell(&queue["per_key"])),
        ],
    )?;
    Ok(ExitCode::SUCCESS)
}

fn get(queue: &QueueName, client: &Client) -> Result<ExitCode> {
    show(&client.get(&path(queue))?, client)
}

fn show(answer: &str, client: &Client) -> Result<ExitCode> {
    if client.json {
        out::line(answer)?;
    } else {
        table::fields(&client::parse(answer)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn turn(queue: &QueueName, verb: &str, client: &Client) -> Result<ExitCode> {
    let answer = client.post(&format!("{}/{verb}", path(queue)), None)?;
    if client.json {
        out::line(answer)?;
    } else {
        let depth = cell(&client::parse(&answer)?["depth"]);
        out::line(format_args!("{queue}: {verb}d, {depth} tasks ready"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn rate(queue: &Value) -> String {
    let rate = &queue["rate"];
    if rate.is_null() { "-".into() } else { format!("{}/{}", rate["starts"], cell(&rate["per"])) }
}
