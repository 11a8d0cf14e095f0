//! `sentinel task logs`: what an attempt printed.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Args;

use super::{
    super::{client::Client, out::printable},
    path,
};

#[derive(Args)]
pub(in crate::cli) struct LogsArgs {
    /// The task's id
    id: String,
    /// The attempt, from 1; by default the last that ended
    #[arg(long, value_name = "N")]
    attempt: Option<String>,
}

pub(super) fn run(args: &LogsArgs, client: &Client) -> Result<ExitCode> {
    let attempt = args.attempt.as_deref().map(|attempt| ("attempt", attempt));
    let log = client.get_with(&format!("{}/logs", path(&args.id)), attempt.as_slice())?;
    let mut stdout = std::io::stdout();
    let log = if stdout.is_terminal() { printable(&log) } else { log };
    // It ends as the job ended it.
    stdout.write_all(log.as_bytes()).context("standard output")?;
    Ok(ExitCode::SUCCESS)
}
