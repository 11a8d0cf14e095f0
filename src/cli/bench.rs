//! `sentinel bench`: measures this very binary on a store that is thrown away.

use std::{fs, net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use sentinel_bench::{Appendfsync, Figure, Measure, Measured, Options, Report, Store, rounded};

use super::out;

#[derive(Args)]
pub(super) struct BenchArgs {
    /// What to measure; all that the store allows, if nothing is named
    measures: Vec<Measure>,
    /// What keeps the queue
    #[arg(long, default_value = "redis")]
    store: Store,
    /// Measure a server that runs, which must have the job `noop`; its tasks stay there, in the queue
    /// `bench`
    #[arg(long, value_name = "ADDRESS:PORT")]
    server: Option<SocketAddr>,
    /// How durable the throw-away `redis-server` is
    #[arg(long, default_value = "none")]
    appendfsync: Appendfsync,
    /// How many attempts a worker makes at once [default: as a worker decides]
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
    /// Whose attempts `attempt` measures
    #[arg(long, value_name = "NAME", default_value = "noop")]
    job: String,
    /// The payload of these: JSON text, or @FILE
    #[arg(long)]
    payload: Option<String>,
    /// How often each measure is repeated
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Makes all measures this many times smaller: to see that they work
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    shrink: u32,
    /// A directory that has the job `noop`
    #[arg(
        long,
        env = "SENTINEL_PLUGINS",
        value_name = "DIR",
        value_delimiter = ',',
        default_value = "plugins,/usr/share/sentinel/plugins"
    )]
    plugins: Vec<PathBuf>,
    /// Where to write everything that was seen, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(args: BenchArgs) -> Result<ExitCode> {
    let BenchArgs { server, store, appendfsync, concurrency, job, runs, shrink, plugins, .. } = args;
    let payload = args.payload.map(|given| match given.strip_prefix('@') {
        Some(file) => fs::read_to_string(file).with_context(|| file.to_owned()),
        None => Ok(given),
    });
    let (program, payload) = (std::env::current_exe()?, payload.transpose()?);
    let options =
        Options { program, plugins, server, store, appendfsync, concurrency, job, payload, runs, shrink };
    let measures = if args.measures.is_empty() { Measure::all(&options) } else { args.measures };
    measures.iter().try_for_each(|measure| measure.check(&options))?;
    let mut failed = None;
    let report = sentinel_bench::run(&options, &measures, |measured| {
        failed = failed.take().or(print(measured).err());
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    print_where(&report)?;
    if let Some(file) = args.json {
        let text = serde_json::to_string_pretty(&report)?;
        fs::write(&file, text + "\n").with_context(|| file.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(measured: &Measured) -> Result<()> {
    out::line(format_args!("{}: {}", measured.name, measured.what))?;
    for Figure { name, unit, median, min, max, .. } in &measured.figures {
        let (median, range) = (rounded(*median), format!("{} – {}", rounded(*min), rounded(*max)));
        out::line(format_args!("  {name:28} {median:>12} {unit:6} {range}"))?;
    }
    Ok(())
}

fn print_where(report: &Report) -> Result<()> {
    let (machine, settings) = (&report.machine, &report.settings);
    out::line(format_args!(
        "\n{}, {} cores, {} GiB, Linux {}, load {:.2} at the start",
        machine.cpu,
        machine.cores,
        machine.memory_bytes >> 30,
        machine.kernel,
        machine.load
    ))?;
    let store = match (settings.server, settings.store) {
        (Some(server), _) => format!("against {server}"),
        (None, Store::Redis) => {
            format!("redis-server, appendfsync {:?}", settings.appendfsync).to_lowercase()
        }
        (None, Store::Embedded) => "embedded store".into(),
    };
    out::line(format_args!(
        "sentinel {}, {store}; the medians of {} runs, and their ranges",
        settings.version, settings.runs
    ))
}
