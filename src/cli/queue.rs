//! `sentinel queue`: list, pause, resume.

use std::process::ExitCode;

use anyhow::Result;

use super::{
    client::{self, Client},
    table::{self, cell},
};

pub(super) fn list(client: &Client) -> Result<ExitCode> {
    let answer = client.get("/v1/queues?limit=500")?;
    if client.json {
        println!("{answer}");
    } else {
        table::print(
            &client::parse(&answer)?["queues"],
            &[
                ("queue", &|queue| cell(&queue["name"])),
                ("ready", &|queue| cell(&queue["depth"])),
                ("paused", &|queue| if queue["paused"] == true { "yes".into() } else { "no".into() }),
            ],
        );
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn pause(queue: &str, client: &Client) -> Result<ExitCode> {
    set(queue, "pause", client)
}

pub(super) fn resume(queue: &str, client: &Client) -> Result<ExitCode> {
    set(queue, "resume", client)
}

fn set(queue: &str, verb: &str, client: &Client) -> Result<ExitCode> {
    // Checked here because the name becomes a part of the path.
    let queue: sentinel_queue::QueueName = queue.parse()?;
    let answer = client.post(&format!("/v1/queues/{queue}/{verb}"), None)?;
    if client.json {
        println!("{answer}");
    } else {
        let depth = cell(&client::parse(&answer)?["depth"]);
        println!("{queue}: {verb}d, {depth} tasks ready");
    }
    Ok(ExitCode::SUCCESS)
}
