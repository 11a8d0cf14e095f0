//! The whole gate. `.ci/run` calls this and nothing else.

use std::{collections::BTreeSet, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{
    chaos, guests, schemathesis, setup,
    shell::{cargo, root, run, step},
};

/// Formats, lints, builds and tests everything.
pub(crate) fn run_gate() -> Result<()> {
    step("set up", || {
        setup::servers_and_guests()?;
        setup::clients()?;
        setup::browser()?;
        setup::axe().map(drop)
    })?;
    step("format", || {
        run(&mut cargo(&["fmt", "--all", "--check"]))?;
        run(&mut in_plugins(&["fmt", "--all", "--check"]))
    })?;
    step("features", same_features)?;
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

/// Types the commands of the docs.
pub(crate) fn run_docs() -> Result<()> {
    step("set up", || {
        setup::servers_and_guests()?;
        setup::clients()
    })?;
    step("guests", guests::build)?;
    step("docs", || {
        run(&mut cargo(&["build", "--locked", "--workspace"]))?;
        let mut tests = cargo(&["test", "--locked", "--workspace", "--test", "it", "--", "docs::"]);
        run(tests.env("SENTINEL_TEST_PLUGINS", guests::built_dir()).env("SENTINEL_DOCS", ""))
    })
}

fn in_plugins(args: &[&str]) -> Command {
    let mut command = cargo(args);
    command.current_dir(root().join("plugins")).env("CARGO_TARGET_DIR", guests::target_dir());
    command
}

/// What only tests depend on must not turn on a feature of what everything is built from: all that
/// stands on it would be compiled twice, wasmtime first of all.
fn same_features() -> Result<()> {
    let built = features("normal,build")?;
    let tested = features("normal,build,dev")?;
    let other: Vec<_> = built.difference(&tested).map(String::as_str).collect();
    ensure!(
        other.is_empty(),
        "the tests' dependencies turn on features of these packages, which are then compiled twice: let \
         sentinel-testkit depend on what does it\n{}",
        other.join("\n")
    );
    Ok(())
}

/// Each package that is built, with its features.
fn features(edges: &str) -> Result<BTreeSet<String>> {
    let args = ["tree", "--locked", "--workspace", "--prefix=none", "--format={p} {f}", "--edges", edges];
    let listed = cargo(&args).output().context("cargo tree")?;
    ensure!(listed.status.success(), "cargo tree: {}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).context("cargo tree")?;
    // Its own packages differ by what their tests need, and are compiled anew for them anyway.
    let is_foreign = |line: &&str| !line.contains(" (/");
    Ok(listed
        .lines()
        .map(|line| line.trim_end_matches(" (*)").trim_end())
        .filter(is_foreign)
        .map(Into::into)
        .collect())
}
