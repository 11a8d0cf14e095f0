//! Compares Sentinel with other queues: `cargo xtask bench --peers`, which installs them, starts this.

#![forbid(unsafe_code)]

use std::{env, path::PathBuf};

use anyhow::{Context, Result};
use sentinel_bench::{Appendfsync, Figure, Options, Report, Store, peers, rounded};

/// What is told on the command line: the directory of the installed peers, that of the plugins, how
/// often to measure, and by how much to shrink it.
fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [dir, plugins, runs, shrink] = &args[..] else {
        anyhow::bail!("usage: peers DIR PLUGINS RUNS SHRINK");
    };
    let dir = PathBuf::from(dir);
    let options = Options {
        program: env::current_exe()?.with_file_name("sentinel"),
        plugins: vec![plugins.into()],
        server: None,
        store: Store::Redis,
        appendfsync: Appendfsync::None,
        // As BullMQ is given.
        concurrency: Some(50),
        job: "noop".into(),
        payload: None,
        runs: runs.parse().context("RUNS")?,
        shrink: shrink.parse().context("SHRINK")?,
    };
    let mut report = Report::new(&options)?;
    report.measures.push(peers::sentinel(&options)?);
    for peer in peers::installed(&dir) {
        report.measures.push(peer.measure(&options)?);
        eprintln!("{} is measured", peer.name);
    }
    print(&report);
    Ok(())
}

/// A table in Markdown: what was seen, and how many times what Sentinel has.
fn print(report: &Report) {
    let Some((sentinel, peers)) = report.measures.split_first() else { return };
    let names: Vec<_> = report.measures.iter().map(|queue| queue.name).collect();
    println!("| | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for figure in &sentinel.figures {
        let of_peers = peers.iter().map(|peer| {
            let seen = peer.figures.iter().find(|seen| seen.name == figure.name);
            seen.map_or_else(String::new, |seen| {
                format!("{}, ×{}", cell(seen), rounded(figure.median / seen.median))
            })
        });
        let cells: Vec<_> = [cell(figure)].into_iter().chain(of_peers).collect();
        println!("| {} | {} |", figure.name, cells.join(" | "));
    }
    let machine = &report.machine;
    println!(
        "\n{}, {} cores, {} GiB, Linux {}; medians of {} runs, and their ranges; ×: Sentinel's by the peer's",
        machine.cpu,
        machine.cores,
        machine.memory_bytes >> 30,
        machine.kernel,
        report.settings.runs
    );
}

fn cell(figure: &Figure) -> String {
    let Figure { unit, median, min, max, .. } = figure;
    format!("{} {unit} ({} – {})", rounded(*median), rounded(*min), rounded(*max))
}
