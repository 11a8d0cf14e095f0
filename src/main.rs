//! Sentinel: runs tasks as sandboxed WebAssembly components.
//!
//! One binary: `sentinel dev | api | worker` serve, the other commands are clients of the API.

#![forbid(unsafe_code)]

mod cli;
mod config;
mod dev;
mod serve;
mod shutdown;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(code) => code,
        // As a shell tells of a program whose reader has gone.
        Err(error) if error.is::<cli::ReaderGone>() => ExitCode::from(141),
        Err(error) => {
            eprintln!("sentinel: {error:#}");
            ExitCode::FAILURE
        }
    }
}
