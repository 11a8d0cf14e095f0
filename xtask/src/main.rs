//! Sentinel's developer commands: `cargo xtask demo | test | chaos | abuse | schemathesis | docs |
//! languages | bench | screenshots | plugins | compose-test`.
//!
//! Each sets up what it needs on a fresh machine; none needs anything installed by hand but Rust.

#![forbid(unsafe_code)]

mod abuse;
mod bench;
mod chaos;
mod compose;
mod demo;
mod dev;
mod guests;
mod languages;
mod schemathesis;
mod screenshots;
mod setup;
mod shell;
mod test;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo          build everything, start `sentinel dev`, run real tasks, show results
  test          the whole gate: format, lints, all tests
  chaos         a cluster under load whose processes are killed, stopped and cut off: nothing
                accepted is lost, doubled or stuck; options: cargo xtask chaos --help
  abuse         the catalogue of abuse by plugins, for SECONDS each (5 unless said), with what was
                measured of it and of the tasks beside it: cargo xtask abuse [SECONDS]
  schemathesis  requests made from the OpenAPI document, good and bad ones, at least CASES of them (a
                minute's worth unless said): what it says is what the server does; needs Python:
                cargo xtask schemathesis [CASES]
  docs          the commands of README.md and docs/*.md, each typed against real servers
  languages     jobs in Rust, JavaScript and Python, and an interpreter as a job, from nothing to a
                result; not part of `test`: needs Node.js, Python and their package registries
  bench         measure it, optimised; options: cargo xtask bench --help
  bench --peers [RUNS [SHRINK]]
                measure it beside BullMQ, apalis-redis and Celery, which are installed for it
  bench --native
                measure a real job beside the same code without a sandbox
  screenshots   pictures of the dashboard's pages, light and dark, wide and narrow, in target/screenshots; two
                of them in docs/images
  plugins       build the bundled jobs into plugins/<name>.wasm
  compose-test  the containers: three workers, one killed, every task completes
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["demo"] => demo::run(),
        ["test"] => test::run_gate(),
        ["chaos", ref options @ ..] => chaos::run(options),
        ["abuse", ref options @ ..] => abuse::run_for(options),
        ["schemathesis", ref options @ ..] => schemathesis::run(options),
        ["docs"] => test::run_docs(),
        ["languages"] => languages::run(),
        ["bench", ref options @ ..] => bench::run_bench(options),
        ["screenshots"] => screenshots::run(),
        ["plugins"] => guests::build(),
        ["compose-test"] => compose::run(),
        _ => bail!("no such command\n\n{USAGE}"),
    }
}
