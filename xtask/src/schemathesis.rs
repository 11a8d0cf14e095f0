//! Requests that are made from the `OpenAPI` document, good ones and bad ones, and sent to a server of
//! its own: what the document says is what the server does, and nothing that is sent brings it down.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    dev::Dev,
    guests, setup,
    shell::{self, cargo, installed, root, step},
};

const REQUIREMENTS: &str = include_str!("schemathesis/requirements.txt");

/// What it reads, by their names.
const FILES: [(&str, &str); 2] = [
    ("schemathesis.toml", include_str!("schemathesis/schemathesis.toml")),
    ("hooks.py", include_str!("schemathesis/hooks.py")),
];

/// So many requests are drawn for each operation in the gate, besides those that follow from the
/// document alone.
const FEW: u64 = 5;

/// So many operations the document has at least.
const OPERATIONS: u64 = 30;

/// Sets up, builds, and sends at least so many requests.
pub(crate) fn run(options: &[&str]) -> Result<()> {
    let cases = match options {
        [] => 0,
        [cases] => cases.parse().context("usage: cargo xtask schemathesis [CASES]")?,
        _ => bail!("usage: cargo xtask schemathesis [CASES]"),
    };
    step("set up", setup::guest_target)?;
    step("build jobs", guests::build)?;
    step("build", || shell::run(&mut cargo(&["build", "--locked", "--workspace"])))?;
    step("schemathesis", || run_built(cases))
}

/// The same with what is built.
pub(crate) fn run_built(cases: u64) -> Result<()> {
    let program = install()?;
    let dir = tempfile::tempdir()?;
    for (name, text) in FILES {
        fs::write(dir.path().join(name), text)?;
    }
    let all = Run {
        program: &program,
        dir: dir.path(),
        name: "all",
        scope: "admin",
        each: FEW.max(cases.div_ceil(OPERATIONS)),
    };
    let made = all.run(&[])?;
    ensure!(made >= cases, "{made} cases were made, and {cases} were wanted");
    // Whoever may only read is refused the rest, and as the document says.
    let reader = Run { name: "reader", scope: "read", each: FEW, ..all };
    reader.run(&["--phases", "coverage"]).map(drop)
}

/// One run against a server of its own.
struct Run<'a> {
    program: &'a Path,
    dir: &'a Path,
    name: &'a str,
    scope: &'a str,
    /// How many requests are drawn for each operation.
    each: u64,
}

impl Run<'_> {
    /// Answers how many cases there were.
    fn run(&self, more: &[&str]) -> Result<u64> {
        let data = tempfile::tempdir()?;
        let (dev, key) = Dev::start_with_key(&root(), data.path(), self.scope)?;
        let report = self.dir.join(format!("{}.json", self.name));
        let tried = Command::new(self.program)
            .args(["--config-file", "schemathesis.toml", "run"])
            // A test holds it against what is served, for which one needs a key.
            .arg(root().join("docs/openapi.json"))
            .args(["--url", &dev.url, "--max-examples", &self.each.to_string(), "--report-json-path"])
            .arg(&report)
            .args(more)
            .current_dir(self.dir)
            .env("SENTINEL_KEY", key)
            .status()?;
        ensure!(tried.success(), "what the document says is not what the server does: see above");
        dev.stop()?;
        let report: Value = serde_json::from_slice(&fs::read(&report)?)?;
        report["test_cases"]["generated"]
            .as_u64()
            .context("the report does not tell how many cases there were")
    }
}

/// Installs it where cargo puts what it builds, once for all its versions.
fn install() -> Result<PathBuf> {
    let dir = shell::target_dir().join("schemathesis");
    let program = dir.join("venv/bin/schemathesis");
    let told = dir.join("requirements.txt");
    if program.exists() && fs::read_to_string(&told).is_ok_and(|told| told == REQUIREMENTS) {
        return Ok(program);
    }
    if !installed("python3") {
        bail!(
            "the document is tried by schemathesis, which needs `python3` on the PATH: install Python 3.10 or later with venv"
        );
    }
    println!("installing schemathesis");
    fs::create_dir_all(&dir)?;
    let within = |program: &str, args: &[&str]| {
        let ran = shell::run(Command::new(program).args(args).current_dir(&dir));
        ran.context("schemathesis could not be installed: it needs Python 3.10 or later with venv and pip, and the network this once")
    };
    within("python3", &["-m", "venv", "--clear", "venv"])?;
    let fresh = dir.join("requirements.txt.new");
    fs::write(&fresh, REQUIREMENTS)?;
    within("venv/bin/pip", &["install", "--quiet", "--requirement", "requirements.txt.new"])?;
    // Said last: what broke off is begun again.
    fs::rename(&fresh, &told)?;
    Ok(program)
}
