//! `sentinel job`: the jobs that workers can run.

use std::process::ExitCode;

use anyhow::Result;

use super::{
    client::{self, Client},
    out::{self, cell},
    table,
};

pub(super) fn list(client: &Client) -> Result<ExitCode> {
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
