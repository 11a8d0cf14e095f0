//! The command line: what is said is taken apart here once; each client command is a file.

mod actions;
mod audit;
mod backoff;
mod batch;
mod bench;
mod client;
mod completions;
mod config;
mod doctor;
mod events;
mod filter;
mod finding;
mod follow;
mod health;
mod job;
mod key;
mod operation;
mod out;
mod pages;
mod progress;
mod queue;
mod schedule;
mod stats;
mod store;
mod submit;
mod table;
mod task;
mod worker;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use sentinel_queue::{ApiKey, Namespace};
use tokio::runtime::Builder;

use self::client::Client;
pub(crate) use self::out::ReaderGone;
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
    /// Submit a task, or a file of them
    Submit {
        #[command(flatten)]
        submit: Box<submit::SubmitArgs>,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Look at tasks, follow, cancel, redrive and reschedule them
    Task {
        #[command(subcommand)]
        command: task::TaskCommand,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Follow the ends of all tasks
    Events {
        #[command(flatten)]
        events: events::EventsArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Look at queues, pause, resume, purge and set them
    Queue {
        #[command(subcommand)]
        command: queue::QueueCommand,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Look at what is done to many tasks at once
    Operation {
        #[command(subcommand)]
        command: operation::OperationCommand,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Look at schedules, set, delete, pause and resume them
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Look at jobs; make, build, check and run one of your own
    #[command(subcommand)]
    Job(job::JobCommand),
    /// Make, list and revoke API keys: by the API, or straight in the store
    Key {
        #[command(subcommand)]
        command: key::KeyCommand,
        #[command(flatten)]
        store: store::StoreArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// List what operators did
    Actions {
        #[command(flatten)]
        pages: pages::PageArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show how many tasks are held in each state
    Stats(ClientArgs),
    /// Look into a store, whether every accepted task is in one place; exit code 1 if not
    Audit(audit::AuditArgs),
    /// Measure this binary: rates, latencies, CPU time and memory
    Bench(bench::BenchArgs),
    /// Check a server from the inside of its container; exit code 0 if it is well
    Health(health::HealthArgs),
    /// Look at what can be said to servers, and check what is
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Look for what is wrong with the store, the plugins and this machine; exit code 1 if something failed
    Doctor(Box<doctor::DoctorArgs>),
    /// Print what a shell needs to complete this command line
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Make one attempt, as the child of a worker
    #[command(hide = true)]
    RunApart {
        #[arg(long)]
        log: LogFormat,
        /// The task, for whoever looks at the processes: the worker says the rest
        task: String,
    },
    /// Compile one plugin, as the child of a worker
    #[command(hide = true)]
    CompileApart {
        /// The plugin, for whoever looks at the processes: the worker says the rest
        plugin: String,
    },
}

#[derive(Subcommand)]
enum WorkerQuestion {
    /// List the workers that are alive
    List(ClientArgs),
}

#[derive(Subcommand)]
enum ScheduleCommand {
    /// List the schedules
    List(ClientArgs),
    /// Show a schedule
    Get {
        /// The schedule's name
        name: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Set a schedule; it is made if it is not there
    Set {
        #[command(flatten)]
        set: Box<schedule::SetArgs>,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Delete a schedule; its tasks stay
    Delete {
        /// The schedule's name
        name: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Keep a schedule without ticks
    Pause {
        /// The schedule's name
        name: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// End a pause: the schedule goes on from now
    Resume {
        /// The schedule's name
        name: String,
        #[command(flatten)]
        client: ClientArgs,
    },
}

/// How a client reaches the API and shows what it says.
#[derive(Args)]
struct ClientArgs {
    /// The API to talk to
    #[arg(
        long,
        env = "SENTINEL_SERVER",
        default_value = "http://127.0.0.1:8000",
        value_name = "URL",
        global = true
    )]
    server: String,
    /// The API key to show; what is said here others on this machine can see, `SENTINEL_KEY` they cannot
    #[arg(long, env = "SENTINEL_KEY", value_name = "KEY", hide_env_values = true, global = true)]
    key: Option<String>,
    /// A file that holds the API key
    #[arg(long, env = "SENTINEL_KEY_FILE", value_name = "FILE", global = true)]
    key_file: Option<PathBuf>,
    /// The namespace to ask for [default: the key's own, or `default`]
    #[arg(long, env = "SENTINEL_NAMESPACE", value_name = "NAME", global = true)]
    namespace: Option<Namespace>,
    /// How to show the answer
    #[arg(long, default_value = "table", value_name = "FORM", global = true)]
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
            Command::Dev(args) => serve("sentinel", args, &mut many_threads(), dev::run),
            Command::Api(args) => serve("sentinel-api", args, &mut many_threads(), serve::api),
            Command::Worker { question: None, server } => {
                serve("sentinel-worker", server, &mut one_thread(), serve::worker)
            }
            Command::Worker { question: Some(WorkerQuestion::List(client)), .. } => {
                worker::list(&client.resolve()?)
            }
            Command::Submit { submit, client } => submit::run(&submit, &client.resolve()?),
            Command::Task { command, client } => task::run(command, &client.resolve()?),
            Command::Events { events, client } => events::run(events, &client.resolve()?),
            Command::Queue { command, client } => queue::run(command, &client.resolve()?),
            Command::Operation { command, client } => operation::run(&command, &client.resolve()?),
            Command::Schedule(ScheduleCommand::List(client)) => schedule::list(&client.resolve()?),
            Command::Schedule(ScheduleCommand::Get { name, client }) => {
                schedule::get(&name, &client.resolve()?)
            }
            Command::Schedule(ScheduleCommand::Set { set, client }) => {
                schedule::set(*set, &client.resolve()?)
            }
            Command::Schedule(ScheduleCommand::Delete { name, client }) => {
                schedule::delete(&name, &client.resolve()?)
            }
            Command::Schedule(ScheduleCommand::Pause { name, client }) => {
                schedule::pause(&name, &client.resolve()?)
            }
            Command::Schedule(ScheduleCommand::Resume { name, client }) => {
                schedule::resume(&name, &client.resolve()?)
            }
            Command::Job(command) => job::run(command),
            Command::Audit(args) => audit::run(&args),
            Command::Bench(args) => bench::run(args),
            Command::Key { command, store, client } => key::run(&command, &store, client),
            Command::Actions { pages, client } => actions::run(&pages, &client.resolve()?),
            Command::Stats(client) => stats::run(&client.resolve()?),
            Command::Health(args) => health::run(args),
            Command::Config(command) => config::run(command),
            Command::Doctor(args) => doctor::run(&args),
            Command::Completions { shell } => completions::run(shell),
            Command::RunApart { log, task } => {
                telemetry::start(log);
                sentinel_host::apart::run().with_context(|| format!("the task {task}"))?;
                Ok(ExitCode::SUCCESS)
            }
            Command::CompileApart { plugin } => {
                sentinel_host::engine::compile_apart().with_context(|| format!("the plugin {plugin}"))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl ClientArgs {
    fn resolve(self) -> Result<Client> {
        let key = self.key()?;
        Ok(Client::new(&self.server, self.output == Output::Json).of(key, self.namespace))
    }

    fn key(&self) -> Result<Option<ApiKey>> {
        let (text, from) = match (&self.key, &self.key_file) {
            (None, None) => return Ok(None),
            (Some(key), None) => (key.clone(), "--key".to_owned()),
            (None, Some(file)) => {
                let from = format!("--key-file {}", file.display());
                (std::fs::read_to_string(file).with_context(|| from.clone())?, from)
            }
            (Some(_), Some(_)) => bail!(
                "there are a key (--key, SENTINEL_KEY) and a file of one (--key-file, SENTINEL_KEY_FILE): say one \
                 of them"
            ),
        };
        text.trim().parse().map(Some).context(from)
    }
}

/// Runs a server on the control runtime; `service` is its name among others' spans.
fn serve<F: Future<Output = Result<()>>>(
    service: &'static str,
    args: ServerArgs,
    control: &mut Builder,
    run: impl Fn(Config) -> F,
) -> Result<ExitCode> {
    let mut config = args.resolve()?;
    telemetry::start(config.log);
    let traces = telemetry::traces(config.collector.as_ref(), service)?;
    config.traces = traces.clone();
    let runtime = control.thread_name("control").enable_all().build()?;
    let ended = runtime.block_on(run(config));
    traces.close(telemetry::LAST_SPANS);
    ended?;
    Ok(ExitCode::SUCCESS)
}

/// For whoever serves many clients.
fn many_threads() -> Builder {
    Builder::new_multi_thread()
}

/// For a worker, whose guests have threads of their own: all else that it does is one conversation
/// with the store, which would only be handed from thread to thread.
fn one_thread() -> Builder {
    Builder::new_current_thread()
}
