//! Builds what is measured, optimised, and measures it; with `--peers`, beside other queues; with
//! `--native`, a real job beside the same code without a sandbox; with `--parts`, its parts alone; with
//! `--instructions`, how many instructions these take.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    guests, setup,
    shell::{self, cargo, installed, root, run, step},
};

pub(crate) fn run_bench(options: &[&str]) -> Result<()> {
    step("set up", setup::servers_and_guests)?;
    step("build jobs", guests::build)?;
    let plugins = root().join("plugins");
    let noop = plugins.join("noop.wasm");
    match options {
        ["--peers", sizes @ ..] => beside_peers(sizes, &plugins),
        ["--native"] => beside_native(&plugins),
        ["--parts"] => {
            let mut bench = cargo(&["bench", "--locked", "-p", "sentinel-bench", "--bench", "parts"]);
            run(bench.env("NOOP", noop))
        }
        ["--instructions"] => count_instructions(&noop),
        _ => {
            build()?;
            run(Command::new(optimised("sentinel")).arg("bench").args(options).arg("--plugins").arg(plugins))
        }
    }
}

/// What the measures start.
fn build() -> Result<()> {
    step("build", || {
        run(&mut cargo(&["build", "--release", "--locked", "-p", "sentinel", "-p", "sentinel-bench"]))
    })
}

fn beside_peers(sizes: &[&str], plugins: &Path) -> Result<()> {
    let [runs, shrink] = match *sizes {
        [] => ["3", "1"],
        [runs] => [runs, "1"],
        [runs, shrink] => [runs, shrink],
        _ => bail!("usage: cargo xtask bench --peers [RUNS [SHRINK]]"),
    };
    build()?;
    let dir = shell::target_dir().join("peers");
    step("install peers", || install(&dir))?;
    let mut peers = Command::new(optimised("peers"));
    run(peers.arg(dir).arg(plugins).args([runs, shrink]))
}

/// What each part takes once: the difference between two numbers of times, so that what it takes to
/// begin and to end does not count.
fn count_instructions(noop: &Path) -> Result<()> {
    if !installed("valgrind") {
        bail!("instructions are counted by `valgrind`: install it");
    }
    let target = shell::target_dir().join("counted");
    step("build what is counted", || {
        let mut build =
            cargo(&["build", "--release", "--locked", "-p", "sentinel-bench", "--bin", "instructions"]);
        // Valgrind hides the page of the kernel in which rustix looks for the clock, and the optimisation
        // of the whole takes longer than all the rest.
        build.env("RUSTFLAGS", "--cfg rustix_use_libc").env("CARGO_PROFILE_RELEASE_LTO", "off");
        run(build.env("CARGO_TARGET_DIR", &target))
    })?;
    let program = target.join("release/instructions");
    let (few, many) = (100, 1100);
    for part in ["attempt", "request", "submit", "round"] {
        let counted = |times| instructions(&program, part, times, noop);
        let each = (counted(many)? - counted(few)?) / (many - few);
        println!("{part:12} {each:>12} instructions");
    }
    Ok(())
}

/// As callgrind counts them, of all threads.
fn instructions(program: &Path, part: &str, times: u64, noop: &Path) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    let ran = valgrind.args([part, &times.to_string()]).arg(noop).output()?;
    let said = String::from_utf8_lossy(&ran.stderr);
    anyhow::ensure!(ran.status.success(), "{part} did not run under valgrind: {said}");
    let counted = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    counted.with_context(|| format!("valgrind did not say how many instructions: {said}"))
}

/// The job `resize-image`, in its sandbox and without one.
fn beside_native(plugins: &Path) -> Result<()> {
    build()?;
    let target = shell::target_dir().join("native");
    step("build without a sandbox", || {
        let mut build =
            cargo(&["build", "--release", "--locked", "-p", "resize-image", "--example", "native"]);
        // As one would build it: guests are built small.
        build.current_dir(root().join("plugins")).env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3");
        run(build.env("CARGO_TARGET_DIR", &target))
    })?;
    let native = target.join("release/examples/native");
    let payload = target.join("payload.json");
    let made = Command::new(&native).arg("payload").stdout(File::create(&payload)?).status()?;
    anyhow::ensure!(made.success(), "no payload was made: {made}");
    let ran = Command::new(&native).arg("run").stdin(File::open(&payload)?).output()?;
    let micros = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
    println!("resize-image on a megapixel, without a sandbox: {micros} µs");
    let mut bench = Command::new(optimised("sentinel"));
    bench.args(["bench", "attempt", "--job", "resize-image", "--payload"]);
    run(bench.arg(format!("@{}", payload.display())).arg("--plugins").arg(plugins))
}

fn optimised(name: &str) -> PathBuf {
    shell::target_dir().join("release").join(name)
}

/// Installs the peers by their own package managers, and puts our programs beside them.
fn install(dir: &Path) -> Result<()> {
    for (program, of) in [("npm", "Node.js"), ("python3", "Python 3")] {
        if !installed(program) {
            bail!("the peers need `{program}` on the PATH: install {of}");
        }
    }
    for peer in ["bullmq", "celery", "apalis"] {
        copy(&root().join("bench/peers").join(peer), &dir.join(peer))?;
    }
    let within = |peer: &str, program: &str, args: &[&str]| {
        run(Command::new(program).args(args).current_dir(dir.join(peer)).env_remove("CARGO_TARGET_DIR"))
    };
    within("bullmq", "npm", &["install", "--no-audit", "--no-fund", "--silent"])?;
    within("celery", "python3", &["-m", "venv", "venv"])?;
    within("celery", "venv/bin/pip", &["install", "--quiet", "--requirement", "requirements.txt"])?;
    within("apalis", "cargo", &["build", "--release", "--locked", "--quiet"])
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let (entry, place) = {
            let entry = entry?;
            (entry.path(), to.join(entry.file_name()))
        };
        if entry.is_dir() { copy(&entry, &place)? } else { fs::copy(&entry, &place).map(drop)? }
    }
    Ok(())
}
