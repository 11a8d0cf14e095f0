//! A job of one's own, from an empty directory to a result: as an author meets Sentinel.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::{
    admission::bomb,
    cluster::{Dev, built},
};

fn sentinel(dir: &Path, args: &[&str]) -> Output {
    sentinel_with(dir, args, &[])
}

fn sentinel_with(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    // What projects are built of is kept between runs, and what is compiled of them is not.
    let built = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("projects");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sentinel"));
    command
        .args(args)
        .current_dir(dir)
        .env("CARGO_TARGET_DIR", built)
        .env("XDG_CACHE_HOME", dir.join("cache"))
        .envs(env.iter().copied());
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
    assert!(stderr.contains("attempt 1 of 3") && stderr.contains("ms of CPU"), "{stderr}");

    std::fs::write(dir.join("greet.me/greet.me.toml"), "[retry]\nmax_attempts = 5").unwrap();
    let (_, _, stderr) = said(&run(r#"{"name":"Ada"}"#, &[]));
    assert!(stderr.contains("attempt 1 of 5"), "{stderr}");

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
    assert_eq!((&report["verdict"], &report["component"]["job"]), (&json!("admitted"), &json!("greet.me")));
    let ours = report["component"]["imports"].as_array().unwrap().iter();
    let ours = ours.clone().find(|import| import["package"] == "sentinel:job").unwrap();
    assert!(ours["interfaces"].as_array().unwrap().contains(&json!("progress")), "{report}");
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

/// A directory with these jobs, and files of these texts.
fn desk(jobs: &[&str], files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for job in jobs {
        std::fs::copy(built(job), dir.path().join(format!("{job}.wasm"))).unwrap();
    }
    write(dir.path(), files);
    dir
}

fn write(dir: &Path, files: &[(&str, &str)]) {
    for (file, text) in files {
        std::fs::write(dir.join(file), text).unwrap();
    }
}

/// A command of WASI preview 1 that begins with so many pages of memory.
fn module(dir: &Path, pages: u32) {
    let text = format!(r#"(module (memory (export "memory") {pages}) (func (export "_start")))"#);
    std::fs::write(dir.join("large.wasm"), wat::parse_str(text).unwrap()).unwrap();
}

fn check(dir: &Path, file: &str) -> Value {
    json_of(&sentinel(dir, &["job", "check", file, "--output", "json"]))
}

/// Runs the hostile job; its payload's other fields are `act`.
fn act(dir: &Path, act: &str, more: &[&str]) -> (i32, String, String) {
    let payload = format!("{{\"do\":{act}}}");
    said(&sentinel(dir, &[&["job", "run", "hostile.wasm", "--payload", &payload], more].concat()))
}

#[test]
fn a_run_has_what_the_manifest_asks_for_and_the_file_grants() {
    let manifest = "env = [\"REGION\"]\nsecrets = [\"key\", \"other\"]\nscratch = \"1MiB\"\n\
                    http = [\"https://example.org\"]\n[config]\nsize = \"50\"";
    let dir = desk(&["hostile"], &[("hostile.toml", manifest)]);
    let dir = dir.path();
    let (code, stdout, stderr) = act(dir, r#""config","key":"size""#, &[]);
    assert_eq!((code, stdout.as_str()), (0, "\"50\"\n"), "{stderr}");
    let before = stderr.split("──").next().unwrap();
    for asked in ["http https://example.org", "env REGION", "secret key", "secret other", "scratch 1MiB"] {
        assert!(before.contains(&format!("withheld: {asked}\n")), "{stderr}");
    }

    let grants = r#"
        [grants.hostile]
        env = { REGION = "eu" }
        secrets = { key = { env = "AUTHORS_KEY" } }
        scratch = "1MiB"
        [grants.another]
        secrets = { key = { env = "SENTINEL_TEST_NO_SUCH_VARIABLE" } }
    "#;
    write(
        dir,
        &[("sentinel.toml", grants), ("elsewhere.toml", "[grants.hostile]\nenv = { REGION = \"us\" }")],
    );
    let run = ["job", "run", "hostile.wasm", "--payload", r#"{"do":"env"}"#];
    for args in [&run[..], &["job", "check", "hostile.wasm"]] {
        let (code, _, stderr) = said(&sentinel(dir, args));
        let missing = "grants.hostile.secrets.key: the environment has no variable AUTHORS_KEY";
        assert!(code == 1 && stderr.contains(missing), "{code} {stderr}");
    }
    let key = [("AUTHORS_KEY", "hunter2hunter2")];
    let (code, stdout, stderr) = said(&sentinel_with(dir, &run, &key));
    assert!(code == 0 && stdout.contains(r#""REGION":"eu""#), "{stdout}{stderr}");
    assert!(stderr.contains("withheld: secret other\n") && !stderr.contains("withheld: env"), "{stderr}");
    let read = ["job", "run", "hostile.wasm", "--payload", r#"{"do":"config","key":"secret.key"}"#];
    assert_eq!(said(&sentinel_with(dir, &read, &key)).1, "\"hunter2hunter2\"\n");

    let report = json_of(&sentinel_with(dir, &["job", "check", "hostile.wasm", "--output", "json"], &key));
    let component = &report["component"];
    assert_eq!(component["granted"], json!(["env REGION", "secret key", "scratch 1MiB"]));
    assert_eq!(component["withheld"], json!(["http https://example.org", "secret other"]));
    let access = |package: &str, interface: &str| {
        let mut imports = component["imports"].as_array().unwrap().iter();
        let has = |import: &&Value| {
            import["package"] == package
                && import["interfaces"].as_array().unwrap().contains(&json!(interface))
        };
        imports.find(has).unwrap()["access"].clone()
    };
    assert_eq!(access("wasi:filesystem", "preopens"), "granted");
    assert_eq!(access("wasi:http", "outgoing-handler"), "refused");
    assert_eq!(access("wasi:sockets", "tcp"), "refused");
    assert_eq!(access("wasi:clocks", "monotonic-clock"), "always");
    assert!(!report.to_string().contains("hunter2"), "{report}");

    // Another file, named in either way.
    let named = [&run[..], &["--config", "elsewhere.toml"]].concat();
    assert!(said(&sentinel(dir, &named)).1.contains(r#""REGION":"us""#));
    let (_, stdout, _) = said(&sentinel_with(dir, &run, &[("SENTINEL_CONFIG", "elsewhere.toml")]));
    assert!(stdout.contains(r#""REGION":"us""#), "{stdout}");
    let (code, _, stderr) = said(&sentinel(dir, &[&run[..], &["--config", "nowhere.toml"]].concat()));
    assert!(code == 1 && stderr.contains("nowhere.toml"), "{stderr}");
}

#[test]
fn what_is_wrong_in_a_manifest_or_the_file_is_named() {
    let dir = desk(&["hostile"], &[("hostile.toml", "[limits]\nmemry = \"1MiB\"")]);
    let dir = dir.path();
    let wrong = "limits.memry: no such key: did you mean \"memory\"?";
    let (code, _, stderr) = act(dir, "\"ok\"", &[]);
    assert!(code == 3 && stderr.contains(wrong) && stderr.contains("hostile.toml"), "{code} {stderr}");
    let report = check(dir, "hostile.wasm");
    assert_eq!(report["verdict"], "refused");
    assert!(report["reason"].as_str().unwrap().contains(wrong), "{report}");
    assert_eq!(report["component"]["kind"], "job", "what is known is told all the same");

    write(dir, &[("hostile.toml", ""), ("sentinel.toml", "[admission]\ncore-instance = 1")]);
    let (code, _, stderr) = act(dir, "\"ok\"", &[]);
    let wrong = "admission.core-instance: no such key: did you mean \"core-instances\"?";
    assert!(code == 1 && stderr.contains(wrong), "{code} {stderr}");
}

#[test]
fn the_time_is_the_tasks_then_the_manifests_and_bounded_by_the_ceiling() {
    let dir = desk(&["hostile"], &[("hostile.toml", "[limits]\ntimeout = \"200ms\"")]);
    let dir = dir.path();
    let spin = r#""spin","ms":400"#;
    let timed_out = |said: (i32, String, String), limit: &str| {
        assert!(said.0 == 13 && said.2.contains(limit), "{said:?}");
    };
    timed_out(act(dir, spin, &[]), "200 ms");
    assert_eq!(act(dir, spin, &["--timeout", "20s"]).0, 0);
    write(dir, &[("sentinel.toml", "[ceilings]\ntimeout = \"100ms\"")]);
    timed_out(act(dir, spin, &["--timeout", "20s"]), "100 ms");
    let report = check(dir, "hostile.wasm");
    let withheld = json!(["limits.timeout: asks for 200ms, gets 100ms (ceilings.timeout)"]);
    assert_eq!(
        (&report["component"]["limits"]["timeout_ms"], &report["component"]["withheld"]),
        (&json!(100), &withheld)
    );
}

#[test]
fn a_task_of_a_job_that_is_not_granted_is_refused_as_in_a_worker() {
    let dir = desk(&["ledger"], &[]);
    let dir = dir.path();
    let submit = |job: &str| {
        let payload = json!({ "do": "submit", "tasks": [{ "payload": { "job": job } }], "then": "complete" });
        said(&sentinel(dir, &["job", "run", "ledger.wasm", "--payload", &payload.to_string()]))
    };
    let refused = "grants that by `submits` in [grants.ledger] of sentinel.toml";
    let (code, stdout, stderr) = submit("resize");
    assert!(code == 0 && stdout.contains(refused) && !stderr.contains("submits"), "{stdout}{stderr}");
    assert!(submit("ledger").2.contains("submits "));
    write(dir, &[("sentinel.toml", "[grants.ledger]\nsubmits = [\"resize\"]")]);
    let (code, stdout, stderr) = submit("resize");
    assert!(code == 0 && !stdout.contains(refused) && stderr.contains("submits "), "{stdout}{stderr}");
    assert_eq!(check(dir, "ledger.wasm")["submits"], json!(["resize"]));
}

#[test]
fn a_component_that_takes_too_much_to_compile_is_refused_as_in_a_worker() {
    let dir = desk(&[], &[("sentinel.toml", "[admission]\ncompile-cpu = \"1s\"")]);
    let dir = dir.path();
    std::fs::write(dir.join("bomb.wasm"), bomb()).unwrap();
    for command in ["run", "check"] {
        let (code, stdout, stderr) = said(&sentinel(dir, &["job", command, "bomb.wasm"]));
        let said = stdout + &stderr;
        assert!(code == 3 && said.contains("more than 1 s of CPU time"), "{code} {said}");
        assert!(said.contains("raise `compile-cpu` in [admission]"), "{said}");
    }
}

#[test]
fn what_can_never_begin_is_refused_naming_the_limit_to_raise() {
    let dir = desk(&["example-task"], &[]);
    let dir = dir.path();
    module(dir, 3000);
    let refused = |named: &str| {
        let report = check(dir, "large.wasm");
        assert_eq!(report["verdict"], "refused");
        assert!(report["reason"].as_str().unwrap().contains(named), "{report}");
        let (code, _, stderr) = said(&sentinel(dir, &["job", "run", "large.wasm"]));
        assert!(code == 3 && stderr.contains(named), "{code} {stderr}");
        report
    };
    let report = refused("raise `memory` in [limits] of its manifest large.toml to 192");
    let needed = report["component"]["needs"]["memory_bytes"].as_u64().unwrap();
    assert!(needed >= 3000 << 16, "{report}");
    // The adapter takes a page more when it runs.
    let enough = format!("[limits]\nmemory = \"{}KiB\"", (needed >> 10) + 1024);
    write(dir, &[("large.toml", &enough), ("sentinel.toml", "[ceilings]\nmemory = \"128MiB\"")]);
    refused("raise `memory` in [ceilings] of sentinel.toml and in [limits] of its manifest to 192");
    write(dir, &[("sentinel.toml", "")]);
    let report = check(dir, "large.wasm");
    assert_eq!(
        (&report["verdict"], &report["component"]["kind"]),
        (&json!("admitted"), &json!("adapted_command"))
    );
    assert_eq!(report["component"]["from_cache"], true, "it was compiled once");
    // It prints nothing, which is no JSON.
    assert_eq!(sentinel(dir, &["job", "run", "large.wasm"]).status.code(), Some(18));
    write(dir, &[("large.toml", &format!("stdout = \"text\"\n{enough}"))]);
    assert_eq!(said(&sentinel(dir, &["job", "run", "large.wasm"])).1, "\"\"\n");

    write(dir, &[("sentinel.toml", "[admission]\ncore-instances = 2")]);
    let report = check(dir, "example-task.wasm");
    let reason = report["reason"].as_str().unwrap();
    assert!(reason.contains("raise `core-instances` in [admission] of sentinel.toml to 3"), "{reason}");
}

#[test]
fn a_check_tells_people_what_a_worker_makes_of_a_component() {
    let dir = desk(&["example-task"], &[("example-task.toml", "[limits]\nmemory = \"2GiB\"")]);
    let (code, stdout, stderr) = said(&sentinel(dir.path(), &["job", "check", "example-task.wasm"]));
    assert_eq!(code, 0, "{stderr}");
    let lines = |label: &str| {
        let line = stdout.lines().find_map(|line| line.strip_prefix(label));
        line.unwrap_or_else(|| panic!("no {label}: {stdout}")).trim().to_owned()
    };
    assert!(
        lines("job").starts_with("example-task: a job that describes itself, sentinel:job 0.1.0, WASI 0.2.")
    );
    assert!(lines("imports").contains("progress"), "{stdout}");
    assert!(lines("needs").starts_with("3 of 256 core instances; 1 of 8 memories, "), "{stdout}");
    assert!(lines("limits").contains("1GiB of memory"), "{stdout}");
    assert_eq!(lines("withheld"), "limits.memory: asks for 2GiB, gets 1GiB (ceilings.memory)");
    assert!(lines("describes").starts_with("Greets"), "{stdout}");
    assert!(lines("payload").starts_with('{'), "{stdout}");
    assert_eq!(lines("admitted"), "example-task.wasm");
}
