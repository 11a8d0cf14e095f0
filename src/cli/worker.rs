//! `sentinel worker list`: the workers that are alive.

use std::process::ExitCode;

use anyhow::Result;

use super::{
    client::{self, Client},
    out::{self, cell},
    table,
};

pub(super) fn list(client: &Client) -> Result<ExitCode> {
    let answer = client.get("/v1/workers?limit=500")?;
    if client.json {
        out::line(answer)?;
    } else {
        table::print(
            &client::parse(&answer)?["workers"],
            &[
                ("worker", &|worker| cell(&worker["instance"])),
                ("busy", &|worker| format!("{}/{}", cell(&worker["busy"]), cell(&worker["slots"]))),
                ("jobs", &|worker| worker["jobs"].as_array().map_or(0, Vec::len).to_string()),
                ("last seen", &|worker| cell(&worker["last_seen_at"])),
                ("version", &|worker| cell(&worker["version"])),
            ],
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
