//! `sentinel task`: look at tasks, follow them, steer them.

mod get;
mod list;
mod logs;
mod reschedule;
mod steer;
mod watch;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

pub(super) use self::get::wait;
use super::client::{Client, segment};

#[derive(Subcommand)]
pub(super) enum TaskCommand {
    /// List tasks
    List(list::ListArgs),
    /// Show one task
    Get(get::GetArgs),
    /// Follow tasks until all have ended; exit code 0 if all are COMPLETED
    Watch(watch::WatchArgs),
    /// Show what an attempt printed
    Logs(logs::LogsArgs),
    /// Show a task's result, as the job gave it
    Result {
        /// The task's id
        id: String,
    },
    /// Cancel tasks that have not ended
    Cancel(steer::SteerArgs),
    /// Give tasks that FAILED or were CANCELLED another life
    Redrive(steer::SteerArgs),
    /// Change when a waiting task is due, or its priority
    Reschedule(reschedule::RescheduleArgs),
}

pub(super) fn run(command: TaskCommand, client: &Client) -> Result<ExitCode> {
    match command {
        TaskCommand::List(args) => list::run(&args, client),
        TaskCommand::Get(args) => get::run(&args, client),
        TaskCommand::Watch(args) => watch::run(args, client),
        TaskCommand::Logs(args) => logs::run(&args, client),
        TaskCommand::Result { id } => get::result(&id, client),
        TaskCommand::Cancel(args) => steer::run("cancel", &args, client),
        TaskCommand::Redrive(args) => steer::run("redrive", &args, client),
        TaskCommand::Reschedule(args) => reschedule::run(&args, client),
    }
}

/// Where a task is.
fn path(id: &str) -> String {
    format!("/v1/tasks/{}", segment(id))
}
