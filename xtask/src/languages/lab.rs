//! A fresh user's machine: a home, caches and a directory of their own, with nothing in them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::shell::built;

pub(super) struct Lab(TempDir);

/// What came of a command.
pub(super) struct Ran {
    line: String,
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) seconds: f64,
}

impl Lab {
    pub(super) fn new() -> Result<Self> {
        let lab = Self(tempfile::tempdir()?);
        for dir in ["home", "cache", "plugins"] {
            std::fs::create_dir(lab.dir().join(dir))?;
        }
        Ok(lab)
    }

    pub(super) fn dir(&self) -> &Path {
        self.0.path()
    }

    /// `sentinel` with arguments, as a shell of that user would run it.
    pub(super) fn sentinel(&self, args: &[&str]) -> Result<Ran> {
        self.sentinel_at(None, args)
    }

    /// A client command, which talks to a server.
    pub(super) fn sentinel_at(&self, server: Option<&str>, args: &[&str]) -> Result<Ran> {
        let mut command = Command::new(built("sentinel"));
        command.args(args).envs(server.map(|server| ("SENTINEL_SERVER", server)));
        self.ran(&mut command)
    }

    /// Runs a program as that user.
    pub(super) fn ran(&self, command: &mut Command) -> Result<Ran> {
        command
            .current_dir(self.dir())
            .env("HOME", self.dir().join("home"))
            .env("XDG_CACHE_HOME", self.dir().join("cache"))
            .env("npm_config_cache", self.dir().join("cache/npm"))
            // Builds of others than Sentinel itself.
            .env_remove("CARGO_TARGET_DIR");
        for (variable, dir) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            // Rust itself stays where it is.
            if let (None, Some(home)) = (std::env::var_os(variable), std::env::var_os("HOME")) {
                command.env(variable, PathBuf::from(home).join(dir));
            }
        }
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        let line = format!("{} {}", command.get_program().to_string_lossy(), words.join(" "));
        let since = Instant::now();
        let Output { status, stdout, stderr } =
            command.output().with_context(|| format!("`{line}` did not start"))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let seconds = since.elapsed().as_secs_f64();
        Ok(Ran {
            line,
            code: status.code().unwrap_or(-1),
            stdout: text(stdout),
            stderr: text(stderr),
            seconds,
        })
    }
}

impl Ran {
    /// Which it must have.
    pub(super) fn succeeded(self) -> Result<Self> {
        self.is(0, "")?;
        Ok(self)
    }

    /// That it ended with this code, and said this.
    pub(super) fn is(&self, code: i32, said: &str) -> Result<()> {
        if self.code != code || !(self.stdout.contains(said) || self.stderr.contains(said)) {
            bail!(
                "`{}` was to end with {code} and say {said:?}. It ended with {} and said:\n{}{}",
                self.line,
                self.code,
                self.stdout,
                self.stderr
            );
        }
        Ok(())
    }
}
