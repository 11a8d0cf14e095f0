//! `sentinel config check`: what is in force, who said it, and what is wrong with it.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use comfy_table::{Table, presets};
use serde_json::json;

use crate::{
    cli::{
        Output,
        doctor::files,
        finding::{self, Finding},
        out::{self, printable},
    },
    config::Told,
};

#[derive(Args)]
pub(in crate::cli) struct CheckArgs {
    #[command(flatten)]
    told: Told,
    /// How to show what is in force
    #[arg(long, default_value = "table", value_name = "FORM")]
    output: Output,
}

pub(super) fn run(args: &CheckArgs) -> Result<ExitCode> {
    let config = match args.told.config() {
        Ok(config) => config,
        Err(error) if args.output == Output::Json => {
            let findings = [Finding::wrong(&error)];
            out::line(json!({ "in_force": [], "findings": findings }))?;
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error),
    };
    let in_force = args.told.in_force(&config)?;
    let findings = files::look(&config);
    if args.output == Output::Json {
        out::line(json!({ "in_force": in_force, "findings": findings }))?;
    } else {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["KEY", "VALUE", "FROM"]);
        for one in &in_force {
            table.add_row([printable(&one.key), printable(&one.value), one.from.as_str().to_owned()]);
        }
        out::line(table)?;
        finding::print(&findings)?;
    }
    Ok(if finding::has_failed(&findings) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
