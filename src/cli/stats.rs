//! `sentinel stats`: how many tasks are held in each state.

use std::process::ExitCode;

use anyhow::Result;

use super::{
    client::{self, Client},
    table::cell,
};

pub(super) fn run(client: &Client) -> Result<ExitCode> {
    let answer = client.get("/stats")?;
    if client.json {
        println!("{answer}");
        return Ok(ExitCode::SUCCESS);
    }
    for (status, count) in client::parse(&answer)?["status_counts"].as_object().into_iter().flatten() {
        println!("{status:12} {:>9}", cell(count));
    }
    Ok(ExitCode::SUCCESS)
}
