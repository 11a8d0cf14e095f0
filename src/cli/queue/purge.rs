//! `sentinel queue purge`: removes what waits in a queue.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use sentinel_queue::QueueName;
use serde_json::json;

use super::{
    super::{client::Client, operation, progress},
    path,
};

#[derive(Args)]
pub(in crate::cli) struct PurgeArgs {
    /// The queue's name
    queue: QueueName,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(args: &PurgeArgs, client: &Client) -> Result<ExitCode> {
    let PurgeArgs { queue, yes } = args;
    // That there is no such queue is said before anything is counted.
    client.get(&path(queue))?;
    let mut waiting = 0;
    for status in ["QUEUED", "SCHEDULED", "BLOCKED"] {
        waiting += operation::count("cancel", &json!({"queue": queue.as_str(), "status": status}), client)?
            .matched();
    }
    let meant = format!("{waiting} tasks wait in {queue}");
    if *yes {
        eprintln!("{meant}");
    } else if !progress::ask(&meant, "remove them for good?")? {
        bail!("nothing was done");
    }
    let answer = client.post(&format!("{}/purge", path(queue)), None)?;
    operation::finish(answer, Some(waiting), client)?.print(client)?;
    Ok(ExitCode::SUCCESS)
}
