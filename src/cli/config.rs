//! `sentinel config`: what can be said to servers, and what is.

mod check;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use super::out;
use crate::config::reference;

#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Print every key of sentinel.toml, with its meaning and its default: a file that changes nothing
    Reference,
    /// Check the configuration as a server does that starts; exit code 1 if one would not start
    Check(Box<check::CheckArgs>),
}

pub(super) fn run(command: ConfigCommand) -> Result<ExitCode> {
    match command {
        ConfigCommand::Reference => {
            out::line(reference().trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
        ConfigCommand::Check(args) => check::run(&args),
    }
}
