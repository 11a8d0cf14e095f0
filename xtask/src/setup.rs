//! What a fresh machine lacks.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use crate::shell::{installed, root, run, target_dir};

const GUEST_TARGET: &str = "wasm32-wasip2";

/// All that is needed to build guests and to run servers.
pub(crate) fn servers_and_guests() -> Result<()> {
    guest_target()?;
    redis_server()
}

/// The target that guests are built for.
pub(crate) fn guest_target() -> Result<()> {
    // Asked in the repository, so that the pinned toolchain answers.
    let listed = Command::new("rustup").args(["target", "list", "--installed"]).current_dir(root()).output();
    let Ok(listed) = listed else {
        // Without rustup the distribution's Rust must have the target; the build says if not.
        return Ok(());
    };
    if String::from_utf8_lossy(&listed.stdout).lines().any(|target| target == GUEST_TARGET) {
        return Ok(());
    }
    println!("installing the target {GUEST_TARGET}");
    run(Command::new("rustup").args(["target", "add", GUEST_TARGET]).current_dir(root()))
}

/// The server that the tests talk to.
pub(crate) fn redis_server() -> Result<()> {
    install("redis-server", &["redis-server"], "redis-server 7 or later")
}

/// The browser in which pages are looked at, and what drives it.
pub(crate) fn browser() -> Result<()> {
    install("chromium", &["chromium"], "Chromium")?;
    install("chromedriver", &["chromium-driver"], "ChromeDriver")
}

/// The version of axe: what it looks for is what the pages were made to stand.
const AXE: &str = "4.14.1";

/// What knows what keeps people out of a page; answers where it is.
pub(crate) fn axe() -> Result<PathBuf> {
    let dir = target_dir().join(format!("tools/axe-core-{AXE}"));
    let file = dir.join("node_modules/axe-core/axe.min.js");
    if !file.exists() {
        install("npm", &["npm"], "npm, of Node.js")?;
        let mut npm = Command::new("npm");
        npm.args([
            "install",
            "--no-audit",
            "--no-fund",
            "--no-save",
            "--ignore-scripts",
            "--silent",
            "--prefix",
        ]);
        run(npm.arg(&dir).arg(format!("axe-core@{AXE}")))?;
    }
    Ok(file)
}

/// What the docs tell people to type besides `sentinel`.
pub(crate) fn clients() -> Result<()> {
    install("curl", &["curl"], "curl")?;
    install("redis-cli", &["redis-tools"], "redis-cli 7 or later")
}

/// Installs what a program is in, if it is not there.
fn install(program: &str, packages: &[&str], what: &str) -> Result<()> {
    if installed(program) {
        return Ok(());
    }
    if !installed("apt-get") {
        bail!("the tests need {what} on the PATH, as `{program}`: install it with your package manager");
    }
    println!("installing {what}");
    let apt = |args: &[&str]| {
        let mut command = if is_root() { Command::new("apt-get") } else { sudo("apt-get") };
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut command)
    };
    apt(&["update", "-qq"]).context("apt-get update")?;
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat())
        .with_context(|| format!("install {what} by hand, then run this again"))
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n")
}

fn sudo(program: &str) -> Command {
    let mut command = Command::new("sudo");
    command.args(["--preserve-env=DEBIAN_FRONTEND", program]);
    command
}
