//! A job of one's own, from an empty directory to a result: as an author meets Sentinel.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::cluster::Dev;

fn sentinel(dir: &Path, args: &[&str]) -> Output {
    // What projects are built of is kept between runs, and what is compiled of them is not.
    let built = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("projects");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sentinel"));
    command
        .args(args)
        .current_dir(dir)
        .env("CARGO_TARGET_DIR", built)
        .env("XDG_CACHE_HOME", dir.join("cache"));
    command.output().expect("sentinel starts")
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn json_of(output: &Output) -> Value {
    let (_, stdout, stderr) = said(output);
    serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}"))
}

#[test]
fn three_commands_from_nothing_to_a_result() {
    let dev = Dev::start(&["example-task"]);
    let dir = dev.dir.path();
    let (code, stdout, stderr) = said(&sentinel(dir, &["job", "new", "greet.me"]));
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("sentinel job build greet.me"), "{stdout}");
    let (code, _, stderr) = said(&sentinel(dir, &["job", "build", "greet.me"]));
    assert_eq!(code, 0, "{stderr}");
    let component = "greet.me/greet.me.wasm";
    let run = |payload: &str, more: &[&str]| {
        sentinel(dir, &[&["job", "run", component, "--payload", payload], more].concat())
    };
    let (code, stdout, stderr) = said(&run(r#"{"name":"Ada"}"#, &[]));
    assert_eq!((code, stdout.as_str()), (0, "{\"greeting\":\"Hello, Ada!\"}\n"), "{stderr}");
    assert!(stderr.contains("attempt 1 of 1") && stderr.contains("ms of CPU"), "{stderr}");

    // The kind of error is the exit code.
    let wrong = run(r#"{"name":""}"#, &["--output", "json"]);
    assert_eq!(wrong.status.code(), Some(11));
    let report = json_of(&wrong);
    assert_eq!(
        (&report["outcome"], &report["error"]["message"]),
        (&json!("permanent"), &json!("`name` is empty"))
    );
    let (code, _, stderr) = said(&run(r#"{"name":"Ada"}"#, &["--timeout", "0s"]));
    assert_eq!(code, 13, "{stderr}");
    let (code, _, stderr) = said(&run("[]", &[]));
    assert!(code == 1 && stderr.contains("no JSON object"), "{stderr}");

    let report = json_of(&sentinel(dir, &["job", "check", component, "--output", "json"]));
    assert_eq!((&report["verdict"], &report["job"]), (&json!("admitted"), &json!("greet.me")));
    assert_eq!(report["kind"], "job");
    assert!(
        report["imports"].as_array().unwrap().contains(&json!("sentinel:job/progress@0.1.0")),
        "{report}"
    );
    std::fs::write(dir.join("broken.wasm"), b"\0asm").unwrap();
    let broken = sentinel(dir, &["job", "check", "broken.wasm", "--output", "json"]);
    assert_eq!((broken.status.code(), &json_of(&broken)["verdict"]), (Some(3), &json!("refused")));

    let (code, _, stderr) = said(&sentinel(dir, &["job", "new", "greet.me"]));
    assert!(code == 1 && stderr.contains("is there already"), "{stderr}");
}

/// What the tests of other jobs cannot see: nobody but this command keeps state and saves here.
#[test]
fn effects_are_shown_and_nothing_is_kept() {
    let dev = Dev::start(&["example-task", "ledger"]);
    let run = |payload: &Value| {
        let payload = payload.to_string();
        sentinel(
            dev.dir.path(),
            &["job", "run", "plugins/ledger.wasm", "--payload", &payload, "--output", "json"],
        )
    };
    let count = json!({ "do": "get-and-count", "key": "n", "by": 3 });
    for _ in 0..2 {
        assert_eq!(json_of(&run(&count))["result"], json!([null, 3]));
    }
    let steps = json_of(&run(&json!({ "do": "steps", "steps": 2, "ms": 0 })));
    assert_eq!(steps["submits"].as_array().map(Vec::len), Some(2), "{steps}");
    let limit = run(&json!({ "do": "fill", "keys": 1, "bytes": 65537 }));
    assert_eq!(limit.status.code(), Some(19), "{}", json_of(&limit));
}
