//! `sentinel job check`: what a worker would say of a component, without running it.

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use super::run::{REFUSED, engine};
use crate::cli::{Output, out, table};

#[derive(Args)]
pub(crate) struct CheckArgs {
    /// The component; its name is the job's
    #[arg(value_name = "FILE")]
    component: PathBuf,
    /// How to show the report
    #[arg(long, default_value = "table", value_name = "FORM")]
    output: Output,
}

pub(super) fn run(args: &CheckArgs) -> Result<ExitCode> {
    let file = args.component.display().to_string();
    let bytes = fs::metadata(&args.component).with_context(|| file.clone())?.len();
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (report, code) = match engine()?.admit(&args.component) {
        Err(refused) => {
            let reason = refused.refusal.to_string();
            (json!({ "file": file, "bytes": bytes, "verdict": "refused", "reason": reason }), REFUSED)
        }
        Ok(plugin) => {
            let limits = plugin.limits();
            let report = json!({
                "file": file,
                "bytes": bytes,
                "verdict": "admitted",
                "job": plugin.name().as_str(),
                "kind": if plugin.is_command() { "command" } else { "job" },
                "digest": plugin.digest().to_string(),
                "compile_ms": millis(plugin.compile_time()),
                "imports": plugin.imports(),
                "memory_bytes": limits.memory_bytes,
                "timeout_ms": millis(limits.wall),
            });
            (report, 0)
        }
    };
    if args.output == Output::Json {
        out::line(&report)?;
    } else {
        table::fields(&report)?;
    }
    Ok(ExitCode::from(code))
}
