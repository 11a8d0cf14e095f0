//! `sentinel job`: the jobs that workers can run; and making one of your own.

mod build;
mod check;
mod new;
mod run;
mod terms;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

pub(super) use self::terms::cache_dir;
use super::{
    ClientArgs,
    client::{self, Client},
    out::{self, cell},
    table,
};

#[derive(Subcommand)]
pub(super) enum JobCommand {
    /// List the jobs that workers can run, and the plugins that were refused
    List(ClientArgs),
    /// Make a project for a job of your own, which builds at once
    New(new::NewArgs),
    /// Build a project: NAME.wasm in it, by its language's own tools
    Build(build::BuildArgs),
    /// Say what a worker would say of a component; exit code 3 if it would refuse it
    Check(check::CheckArgs),
    /// Run a component once, under a worker's limits and without a server; the exit code tells the
    /// kind of error
    Run(run::RunArgs),
}

pub(super) fn run(command: JobCommand) -> Result<ExitCode> {
    match command {
        JobCommand::List(client) => list(&client.resolve()?),
        JobCommand::New(args) => new::run(&args),
        JobCommand::Build(args) => build::run(&args),
        JobCommand::Check(args) => check::run(&args),
        JobCommand::Run(args) => run::run(&args),
    }
}

fn list(client: &Client) -> Result<ExitCode> {
    let answer = client.get("/v1/jobs?limit=500")?;
    if client.json {
        out::line(answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let jobs = client::parse(&answer)?;
    table::print(
        &jobs["jobs"],
        &[
            ("job", &|job| cell(&job["name"])),
            ("workers", &|job| cell(&job["workers"])),
            ("digest", &|job| cell(&job["digests"][0]).chars().take(12).collect()),
            ("last advertised", &|job| cell(&job["last_advertised_at"])),
            ("withheld", &|job| job["withheld"].as_array().map_or(0, Vec::len).to_string()),
        ],
    )?;
    for job in jobs["jobs"].as_array().into_iter().flatten() {
        for withheld in job["withheld"].as_array().into_iter().flatten() {
            out::line(format_args!("not granted to {}: {}", cell(&job["name"]), cell(withheld)))?;
        }
    }
    for refused in jobs["refused"].as_array().into_iter().flatten() {
        out::line(format_args!("refused: {}: {}", cell(&refused["file"]), cell(&refused["reason"])))?;
    }
    Ok(ExitCode::SUCCESS)
}
