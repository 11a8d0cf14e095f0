//! A directory and a shell in it that remembers what was assigned and where it stands.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use crate::cluster::{self, LOG, Process};

/// No command of the docs takes longer, in seconds, also where a first build has nothing to go on.
pub(super) const LONGEST: &str = "400";

pub(super) struct Shell {
    dir: TempDir,
    /// Where servers listen that are not told where.
    address: String,
}

impl Shell {
    /// With these plugins, and with a Redis at this port, if there is one.
    pub(super) fn new(port: u16, redis: Option<u16>, plugins: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        cluster::some_plugins(dir.path(), plugins);
        for made in ["backup", "etc/sentinel", "var/lib/sentinel", "bin"] {
            fs::create_dir_all(dir.path().join(made)).expect("a directory");
        }
        let shell = Self { dir, address: format!("127.0.0.1:{port}") };
        shell.write("state.sh", &format!("cd '{}'\n", shell.path()));
        symlink(env!("CARGO_BIN_EXE_sentinel"), shell.dir.path().join("bin/sentinel")).expect("a link");
        // As people type them they say nothing of what the API or Redis refuses.
        shell.wrap("curl", "--fail-with-body --max-time 60");
        if let Some(redis) = redis {
            shell.wrap("redis-cli", &format!("-e -p {redis}"));
        }
        shell
    }

    /// Makes a program be called with more than people type.
    fn wrap(&self, program: &str, with: &str) {
        let file = self.write(
            &format!("bin/{program}"),
            &format!("#!/bin/sh\nexec '{}' {with} \"$@\"\n", installed(program).display()),
        );
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("a script");
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.dir.path().join(name);
        fs::write(&file, text).expect("a file");
        file
    }

    pub(super) fn path(&self) -> &str {
        self.dir.path().to_str().expect("a path in UTF-8")
    }

    /// What processes in the background said.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join(LOG)).unwrap_or_default()
    }

    /// Types something, and waits for its end; 124 is the code of what did not end.
    pub(super) fn run(&self, text: &str) -> Output {
        let state = self.state();
        // What is assigned is exported, and thereby remembered.
        let script = format!(
            ". '{state}'; set -a\n{{ {text}\n}}\ncode=$?; set +a\n\
             {{ export -p; printf \"cd '%s'\\n\" \"$PWD\"; }} >'{state}'; exit $code"
        );
        let mut shell = Command::new("timeout");
        shell.args(["--kill-after=5", LONGEST, "sh", "-c", &script]).stdin(Stdio::null());
        self.surround(&mut shell).output().expect("a shell")
    }

    /// Types something that stays in the background.
    pub(super) fn start(&self, text: &str) -> Process {
        let (assignments, command) = without_assignments(text.trim().trim_end_matches('&'));
        let script = format!(". '{}'; {assignments} exec {command}", self.state());
        let mut shell = Command::new("sh");
        self.surround(shell.args(["-c", &script]));
        Process::spawn(&mut shell, self.dir.path())
    }

    fn state(&self) -> String {
        format!("{}/state.sh", self.path())
    }

    fn surround<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SENTINEL_")) {
            command.env_remove(name);
        }
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{}/bin:{path}", self.path()))
            .env("SENTINEL_SERVER", format!("http://{}", self.address))
            .env("SENTINEL_LISTEN", &self.address)
            // What projects are built of is kept between runs, and what is compiled of them is not.
            .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("projects"))
            .env("XDG_CACHE_HOME", self.dir.path().join("cache"))
    }
}

/// The assignments before a command, and the command.
pub(super) fn without_assignments(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let mut rest = text;
    while let Some(word) = rest.split_whitespace().next()
        && let Some((name, value)) = word.split_once('=')
        && !value.contains(['\'', '"', '$', '`'])
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    {
        rest = rest[word.len()..].trim_start();
    }
    text.split_at(text.len() - rest.len())
}

/// The value of a flag.
pub(super) fn flag<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut words = text.split_whitespace();
    words.find(|word| *word == name)?;
    words.next()
}

/// What a command said, for whoever has to mend it.
pub(super) fn told(said: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    format!("{}\n{}\n{}", said.status, text(&said.stdout), text(&said.stderr)).trim().to_owned()
}

fn installed(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|dir| dir.join(program));
    let found = found.find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("the docs need {program}, which `cargo xtask test` installs"))
}
