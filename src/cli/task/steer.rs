//! `sentinel task cancel` and `redrive`: tasks by their ids, or all of a filter.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use super::{
    super::{
        client::{self, Client},
        filter, operation,
        out::{self, cell},
        progress,
    },
    path,
};

#[derive(Args)]
pub(in crate::cli) struct SteerArgs {
    /// The tasks' ids
    #[arg(value_name = "ID", required_unless_present = "filter", conflicts_with = "filter")]
    ids: Vec<String>,
    /// All tasks that have this: `status=…,queue=…,job=…,tag=…,since=…,until=…`, or `all`
    #[arg(long)]
    filter: Option<String>,
    /// Do not ask
    #[arg(long, requires = "filter")]
    yes: bool,
    /// Only count the tasks of the filter
    #[arg(long, requires = "filter", conflicts_with = "yes")]
    dry_run: bool,
}

pub(super) fn run(verb: &str, args: &SteerArgs, client: &Client) -> Result<ExitCode> {
    match &args.filter {
        None => each(verb, &args.ids, client),
        Some(filter) => all(verb, filter, args, client),
    }
}

/// One task after the other; those that refuse do not hold up the others.
fn each(verb: &str, ids: &[String], client: &Client) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for id in ids {
        match client.post(&format!("{}/{verb}", path(id)), None) {
            Ok(answer) if client.json => out::line(answer)?,
            Ok(answer) => {
                let task = client::parse(&answer)?;
                out::line(format_args!("{}  {}", cell(&task["task_id"]), cell(&task["status"])))?;
            }
            Err(error) if error.is::<client::ApiError>() => {
                eprintln!("sentinel: {verb} {id}: {error:#}");
                code = ExitCode::FAILURE;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(code)
}

fn all(verb: &str, filter: &str, args: &SteerArgs, client: &Client) -> Result<ExitCode> {
    let parsed = filter::parse(filter)?;
    let counted = operation::count(verb, &parsed, client)?;
    let matched = counted.matched();
    if args.dry_run || (matched == 0 && !args.yes) {
        counted.print(client)?;
        return Ok(ExitCode::SUCCESS);
    }
    let meant = format!("{matched} tasks match {filter:?}");
    if args.yes {
        eprintln!("{meant}");
    } else if !progress::ask(&meant, &format!("{verb} them?"))? {
        bail!("nothing was done");
    }
    operation::start(verb, &parsed, matched, client)?.print(client)?;
    Ok(ExitCode::SUCCESS)
}
