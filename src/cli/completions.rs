//! `sentinel completions`: what a shell needs to complete this command line.

use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, out};

pub(super) fn run(shell: Shell) -> Result<ExitCode> {
    // Not straight to standard output, whose reader may go away.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sentinel", &mut script);
    out::line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}
