//! `sentinel doctor`: looks for what is wrong with the store, the plugins and this machine, for a
//! server of this configuration.
//!
//! Owns the order in which things are looked at; each is a file. Changes nothing in the store, and
//! shows no secrets.

mod certificate;
mod disk;
mod embedded;
pub(super) mod files;
mod keys;
mod machine;
mod plugins;
mod port;
mod redis;
mod workers;

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use sentinel_queue::Queue;
use serde_json::json;

use super::{
    Output,
    finding::{self, Finding},
    out, progress,
};
use crate::config::{Config, ServerArgs};

#[derive(Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// How to show what was found
    #[arg(long, default_value = "table", value_name = "FORM")]
    output: Output,
}

/// What was found of the store, and the store, if it answers.
struct Examined {
    findings: Vec<Finding>,
    queue: Option<Queue>,
}

pub(super) fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let findings = match args.server.clone().resolve() {
        Ok(config) => examine(&config)?,
        Err(error) => vec![Finding::wrong(&error)],
    };
    if args.output == Output::Json {
        out::line(json!({ "ok": !finding::has_failed(&findings), "findings": findings }))?;
    } else {
        finding::print(&findings)?;
    }
    Ok(if finding::has_failed(&findings) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn examine(config: &Config) -> Result<Vec<Finding>> {
    let spinner = progress::spinner();
    let mut findings = files::look(config);
    spinner.set_message("the port");
    let (listener, found) = port::look(config);
    findings.push(found);
    spinner.set_message("the store");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    findings.extend(runtime.block_on(store(config, listener)));
    findings.extend(config.tls.as_ref().map(|files| certificate::look(&files.cert)));
    spinner.set_message("the plugins");
    let plugins::Seen { findings: found, memory_limits } = plugins::look(config);
    findings.extend(found);
    findings.extend(machine::look(config, &memory_limits));
    findings.push(disk::look(&config.data_dir));
    spinner.finish_and_clear();
    Ok(findings)
}

async fn store(config: &Config, listener: port::Listener) -> Vec<Finding> {
    let Examined { mut findings, queue } = match &config.redis {
        Some(url) => redis::look(url, config.redis_ca.as_deref()).await,
        None => embedded::look(&config.data_dir, listener),
    };
    if let Some(queue) = &queue {
        findings.push(keys::look(queue, config).await);
        if config.redis.is_some() {
            findings.extend(workers::look(queue).await);
        }
    }
    findings
}
