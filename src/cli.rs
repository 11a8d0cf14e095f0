//! The command line: what is said is taken apart here once; each client command is a file.

mod client;
mod health;
mod job;
mod queue;
mod stats;
mod submit;
mod table;
mod task;
mod worker;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};

use self::client::Client;
use crate::{
    config::{Config, ServerArgs},
    dev, serve,
    telemetry::{self, LogFormat},
};

/// Runs tasks as sandboxed WebAssembly components.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve everything in one process, with an embedded store: nothing to install
    Dev(ServerArgs),
    /// Serve the HTTP API over Redis
    Api(ServerArgs),
    /// Run tasks from Redis
    Worker {
        #[command(subcommand)]
        question: Option<WorkerQuestion>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Submit a task
    Submit {
        #[command(flatten)]
        submit: submit::SubmitArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Look at tasks
    #[command(subcommand)]
    Task(TaskCommand),
    /// Look at queues, pause and resume them
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Look at jobs
    #[command(subcommand)]
    Job(JobCommand),
    /// Show how many tasks are held in each state
    Stats(ClientArgs),
    /// Check a server from the inside of its container; exit code 0 if it is well
    Health(health::HealthArgs),
    /// Make one attempt, as the child of a worker
    #[command(hide = true)]
    RunApart {
        #[arg(long)]
        log: LogFormat,
        /// The task, for whoever looks at the processes: the worker says the rest
        task: String,
    },
}

#[derive(Subcommand)]
enum WorkerQuestion {
    /// List the workers that are alive
    List(ClientArgs),
}

#[derive(Subcommand)]
enum TaskCommand {
    /// Show one task
    Get {
        #[command(flatten)]
        get: task::GetArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
}

#[derive(Subcommand)]
enum QueueCommand {
    /// List the queues
    List(ClientArgs),
    /// Make a queue hand out nothing
    Pause {
        /// The queue's name
        queue: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// End a pause
    Resume {
        /// The queue's name
        queue: String,
        #[command(flatten)]
        client: ClientArgs,
    },
}

#[derive(Subcommand)]
enum JobCommand {
    /// List the jobs that workers can run, and the plugins that were refused
    List(ClientArgs),
}

/// How a client reaches the API and shows what it says.
#[derive(Args)]
struct ClientArgs {
    /// The API to talk to
    #[arg(long, env = "SENTINEL_SERVER", default_value = "http://127.0.0.1:8000", value_name = "URL")]
    server: String,
    /// How to show the answer
    #[arg(long, default_value = "table", value_name = "FORM")]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Table,
    /// For machines: what the API answered
    Json,
}

impl Cli {
    /// Does what was said.
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Dev(args) => serve(args, dev::run),
            Command::Api(args) => serve(args, serve::api),
            Command::Worker { question: None, server } => serve(server, serve::worker),
            Command::Worker { question: Some(WorkerQuestion::List(client)), .. } => {
                worker::list(&client.into())
            }
            Command::Submit { submit, client } => submit::run(submit, &client.into()),
            Command::Task(TaskCommand::Get { get, client }) => task::get(&get, &client.into()),
            Command::Queue(QueueCommand::List(client)) => queue::list(&client.into()),
            Command::Queue(QueueCommand::Pause { queue, client }) => queue::pause(&queue, &client.into()),
            Command::Queue(QueueCommand::Resume { queue, client }) => queue::resume(&queue, &client.into()),
            Command::Job(JobCommand::List(client)) => job::list(&client.into()),
            Command::Stats(client) => stats::run(&client.into()),
            Command::Health(args) => health::run(args),
            Command::RunApart { log, task } => {
                telemetry::start(log);
                sentinel_host::apart::run().with_context(|| format!("the task {task}"))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl From<ClientArgs> for Client {
    fn from(args: ClientArgs) -> Self {
        Client::new(&args.server, args.output == Output::Json)
    }
}

/// Runs a server on the control runtime.
fn serve<F: Future<Output = Result<()>>>(args: ServerArgs, run: impl Fn(Config) -> F) -> Result<ExitCode> {
    let config = args.resolve()?;
    telemetry::start(config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("control").enable_all().build()?;
    runtime.block_on(run(config))?;
    Ok(ExitCode::SUCCESS)
}
