//! What the docs say besides blocks of commands: files to write, and commands in the midst of a
//! sentence.

use std::{fs, net::TcpListener, process::Command};

use tempfile::TempDir;

use super::{
    blocks::{Block, Page},
    units,
};

/// What is wrong with a block that is a file.
pub(super) fn wrong(block: &Block) -> Option<String> {
    let wrong = match &*block.language {
        "toml" => wrong_toml(&block.text),
        "json" => serde_json::from_str::<serde_json::Value>(&block.text).err().map(|error| error.to_string()),
        "ini" => wrong_unit(&block.text),
        _ => None,
    };
    Some(format!("{}: {}", block.place(0), wrong?))
}

fn wrong_toml(text: &str) -> Option<String> {
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return Some(error.to_string()),
    };
    // A package of somebody's own: only cargo knows.
    if table.contains_key("package") || table.contains_key("dependencies") {
        return None;
    }
    let as_settings = wrong_settings(text)?;
    let as_manifest = wrong_manifest(text)?;
    Some(format!(
        "as sentinel.toml it is refused:\n{as_settings}\nas a manifest it is refused:\n{as_manifest}"
    ))
}

/// A server reads all settings before it listens; so one that cannot listen has found nothing wrong.
fn wrong_settings(text: &str) -> Option<String> {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("a port").to_string();
    let dir = directory(&[("sentinel.toml", text)]);
    // What a flag says is not read from the file: so the address alone is not.
    let said = said(sentinel(&dir).args(["dev", "--listen", &address]));
    let found_nothing = said.1.contains(&format!("cannot listen on {address}"));
    (!found_nothing).then_some(said.1)
}

/// A worker reads a manifest when it admits the plugin beside it.
fn wrong_manifest(text: &str) -> Option<String> {
    let dir = directory(&[("job.toml", text)]);
    let module = wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#);
    fs::write(dir.path().join("job.wasm"), module.expect("a module")).expect("a file");
    let (is_well, said) = said(sentinel(&dir).args(["job", "check", "job.wasm"]));
    (!is_well).then_some(said)
}

/// A unit of systemd: what it starts is a command that `sentinel` takes.
fn wrong_unit(text: &str) -> Option<String> {
    let started = units::started(text)?;
    let (_, arguments) = started.split_once("/sentinel ")?;
    wrong_command(arguments)
}

/// Commands in the midst of sentences that `sentinel` does not take.
pub(super) fn wrong_commands(page: &Page) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, line) in page.prose.iter().enumerate() {
        // Every second piece is code; code that goes over the end of a line is not looked at.
        for code in line.split('`').skip(1).step_by(2) {
            let arguments =
                ["sentinel ", "cargo run -- "].iter().find_map(|program| code.strip_prefix(program));
            let found = arguments.filter(|arguments| !arguments.contains('…')).and_then(wrong_command);
            wrong.extend(found.map(|found| format!("{}:{}: `{code}`: {found}", page.name, number + 1)));
        }
    }
    wrong
}

/// Why `sentinel` does not take these arguments; its help is asked for, so nothing is done.
fn wrong_command(arguments: &str) -> Option<String> {
    // A shell takes the words apart, and must not find anything else to do.
    if arguments.contains(['|', ';', '&', '$']) {
        return Some("it is more than one command: that belongs into a block".to_owned());
    }
    // What the reader is to fill in, the shell would take for files.
    let arguments = arguments.replace(['<', '>'], "");
    let script = format!("exec \"$0\" {arguments} --help");
    let mut shell = Command::new("sh");
    let (is_well, said) = said(shell.args(["-c", &script, env!("CARGO_BIN_EXE_sentinel")]));
    (!is_well).then_some(said)
}

fn directory(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        fs::write(dir.path().join(name), text).expect("a file");
    }
    dir
}

fn sentinel(dir: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sentinel"));
    command.current_dir(dir.path()).env("XDG_CACHE_HOME", dir.path().join("cache"));
    command
}

/// Whether a command went well, and what it said.
fn said(command: &mut Command) -> (bool, String) {
    let output = command.output().expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (output.status.success(), format!("{}\n{}", text(&output.stdout), text(&output.stderr)).trim().to_owned())
}
