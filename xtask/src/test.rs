//! The whole gate. `.ci/run` calls this and nothing else.

use std::process::Command;

use anyhow::Result;

use crate::{
    chaos, guests, schemathesis, setup,
    shell::{cargo, root, run, step},
};

/// Formats, lints, builds and tests everything.
pub(crate) fn run_gate() -> Result<()> {
    step("set up", || {
        setup::servers_and_guests()?;
        setup::browser()?;
        setup::axe().map(drop)
    })?;
    step("format", || {
        run(&mut cargo(&["fmt", "--all", "--check"]))?;
        run(&mut in_plugins(&["fmt", "--all", "--check"]))
    })?;
    step("guests", guests::build)?;
    step("lints", || {
        run(&mut cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
        run(&mut in_plugins(&["clippy", "--locked", "--all-targets", "--", "-D", "warnings"]))?;
        // Some code is there for guests alone.
        run(&mut in_plugins(&["clippy", "--locked", "--target", "wasm32-wasip2", "--", "-D", "warnings"]))
    })?;
    step("tests of the guests' code", || run(&mut in_plugins(&["test", "--locked", "--quiet"])))?;
    step("tests", || {
        // The binary first: the end-to-end tests start it.
        run(&mut cargo(&["build", "--locked", "--workspace"]))?;
        let mut tests = cargo(&["test", "--locked", "--workspace"]);
        tests.env("SENTINEL_TEST_PLUGINS", guests::built_dir()).env("SENTINEL_TEST_AXE", setup::axe()?);
        run(&mut tests)
    })?;
    step("schemathesis", || schemathesis::run_built(0))?;
    step("chaos", || chaos::run_built(&["--minutes", "2", "--seed", "1"]))
}

fn in_plugins(args: &[&str]) -> Command {
    let mut command = cargo(args);
    command.current_dir(root().join("plugins")).env("CARGO_TARGET_DIR", guests::target_dir());
    command
}
