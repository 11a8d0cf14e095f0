//! Builds what the chaos run needs (`chaos/`), and starts it.

use std::process::Command;

use anyhow::Result;

use crate::{
    guests, setup,
    shell::{self, cargo, step},
};

/// Sets up, builds, runs.
pub(crate) fn run(options: &[&str]) -> Result<()> {
    step("set up", setup::servers_and_guests)?;
    step("build", || {
        guests::build()?;
        shell::run(&mut cargo(&["build", "--locked", "--workspace"]))
    })?;
    step("chaos", || run_built(options))
}

/// Runs what is built.
pub(crate) fn run_built(options: &[&str]) -> Result<()> {
    let mut command = Command::new(shell::built("sentinel-chaos"));
    shell::run(command.args(options).env("SENTINEL_TEST_PLUGINS", guests::built_dir()))
}
