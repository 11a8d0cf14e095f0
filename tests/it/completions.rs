//! What shells need to complete the command line.

use std::{
    io::Write,
    process::{Command, Stdio},
};

fn sentinel(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sentinel")).args(args).output().expect("sentinel starts");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The commands that the help lists.
fn commands() -> Vec<String> {
    let help = sentinel(&["--help"]);
    let list = help.split_once("Commands:\n").expect("commands").1;
    let names = list.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    let names: Vec<_> = names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    assert!(names.len() > 15 && names.contains(&"doctor".to_owned()), "{names:?}");
    names
}

#[test]
fn every_shell_is_told_every_command() {
    let commands = commands();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = sentinel(&["completions", shell]);
        for command in &commands {
            assert!(script.contains(command.as_str()), "{shell}: {command}");
        }
        assert!(script.contains("redis-ca"), "{shell}: flags, too");
    }
}

#[test]
fn bash_can_read_it_and_completes() {
    let script = sentinel(&["completions", "bash"]);
    // As bash does when somebody types `sentinel doc` and the tab.
    let asked = format!(
        "{script}\nCOMP_WORDS=(sentinel doc)\nCOMP_CWORD=1\n_sentinel sentinel doc sentinel\necho \"${{COMPREPLY[@]}}\"\n"
    );
    let run = |args: &[&str], input: &str| {
        let mut bash = Command::new("bash");
        let bash = bash.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = bash.spawn().expect("bash is there");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("bash reads");
        child.wait_with_output().expect("bash ends")
    };
    let checked = run(&["-n"], &script);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let completed = run(&["--norc"], &asked);
    assert_eq!(String::from_utf8_lossy(&completed.stdout).trim(), "doctor");
}
