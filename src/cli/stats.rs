//! `sentinel stats`: how many tasks are held in each state.

use std::process::ExitCode;

use anyhow::Result;

use super::{
    client::{self, Client},
    out::{self, cell},
};

pub(super) fn run(client: &Client) -> Result<ExitCode> {
    let answer = client.get("/stats")?;
    if client.json {
        out::line(answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (status, count) in client::parse(&answer)?["status_counts"].as_object().into_iter().flatten() {
        out::line(format_args!("{status:12} {:>9}", cell(count)))?;
    }
    Ok(ExitCode::SUCCESS)
}
