//! `sentinel audit`: looks into the store itself, whether every accepted task is in one place.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{ArgGroup, Args};
use sentinel_queue::audit::{Audit, TOLD};
use serde_json::json;

use super::{
    Output,
    out::{self, printable},
    progress,
    store::StoreArgs,
};

#[derive(Args)]
#[group(skip)]
#[command(group = ArgGroup::new("store").required(true).args(["redis", "data_dir"]))]
pub(super) struct AuditArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// How to show what was found
    #[arg(long, default_value = "table", value_name = "FORM")]
    output: Output,
}

pub(super) fn run(args: &AuditArgs) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let audit = runtime.block_on(audit(args))?;
    if args.output == Output::Json {
        let Audit { tasks, submitted, held, removed, problems } = &audit;
        out::line(json!({
            "tasks": tasks, "submitted": submitted, "held": held, "removed": removed, "problems": problems,
        }))?;
    } else {
        print(&audit)?;
    }
    Ok(if audit.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn audit(args: &AuditArgs) -> Result<Audit> {
    let queue = args.store.open()?;
    let spinner = progress::spinner();
    let audit = queue.audit(|audit| {
        spinner.set_message(format!("{} tasks looked at", audit.tasks));
    });
    let audit = audit.await.context("audit")?;
    spinner.finish_and_clear();
    Ok(audit)
}

fn print(audit: &Audit) -> Result<()> {
    let Audit { tasks, submitted, held, removed, problems } = audit;
    for (what, count) in
        [("looked at", tasks), ("submitted", submitted), ("held", held), ("removed", removed)]
    {
        out::line(format_args!("{what:10} {count:>9}"))?;
    }
    out::line(format_args!("{:10} {:>9}", "problems", problems.len()))?;
    for problem in problems {
        out::line(format_args!("  {}", printable(problem)))?;
    }
    if problems.len() >= TOLD {
        out::line(format_args!("  and maybe more: {TOLD} are told"))?;
    }
    Ok(())
}
