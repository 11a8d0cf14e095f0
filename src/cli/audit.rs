//! `sentinel audit`: looks into the store itself, whether every accepted task is in one place.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, Args};
use sentinel_queue::{
    Namespace, Queue,
    audit::{Audit, TOLD},
    store::embedded::Embedded,
};
use serde_json::json;

use super::{
    Output,
    out::{self, printable},
    progress,
};
use crate::serve::open_redis;

#[derive(Args)]
#[group(skip)]
#[command(group = ArgGroup::new("store").required(true).args(["redis", "data_dir"]))]
pub(super) struct AuditArgs {
    /// The Redis or Valkey server that holds the queue; it may be in use
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Who signed the certificate of a Redis at rediss://, as PEM [default: the well-known authorities]
    #[arg(long, env = "SENTINEL_REDIS_CA", value_name = "FILE")]
    redis_ca: Option<PathBuf>,
    /// The directory of an embedded store that no process has open
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
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
    let queue = match (&args.redis, &args.data_dir) {
        (Some(url), _) => Queue::new(Arc::new(open_redis(url, args.redis_ca.as_deref())?)),
        (None, Some(dir)) => Queue::new(Arc::new(open(dir)?)),
        (None, None) => bail!("say which store: --redis URL or --data-dir DIR"),
    };
    let spinner = progress::spinner();
    let namespace = Namespace::default();
    let audit = queue.audit(&namespace, |audit| {
        spinner.set_message(format!("{} tasks looked at", audit.tasks));
    });
    let audit = audit.await.context("audit")?;
    spinner.finish_and_clear();
    Ok(audit)
}

/// A store that is there: none is made by looking.
fn open(dir: &Path) -> Result<Embedded> {
    if !dir.join(Embedded::FILE).is_file() {
        bail!(
            "--data-dir {}: there is no {} in it: name the directory that `sentinel dev` keeps its store in \
             (./sentinel-data by default)",
            dir.display(),
            Embedded::FILE,
        );
    }
    Embedded::open(dir).with_context(|| format!("--data-dir {}", dir.display()))
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
