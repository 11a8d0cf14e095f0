//! Plugins are compiled by a child of their worker, within bounds; and they come and go while it
//! works.

use std::{
    fmt::Write,
    fs,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use sentinel_host::engine::{
    AdmissionError, Compilation, CompileBounds, Engine, EngineConfig, Plugin, Refusal,
};
use sentinel_testkit::wait_for;

use crate::cluster::{Dev, built, is_alive};

/// A component whose one function takes minutes to compile: what each of its many blocks changes
/// is to be known in all that follow.
pub(crate) fn bomb() -> Vec<u8> {
    let mut blocks = String::new();
    for block in 0..20_000 {
        let (from, to) = (block * 7 % 400, block * 13 % 400);
        write!(
            blocks,
            "(loop (local.set {to} (i64.add (local.get {from}) (local.get {to}))) \
             (br_if 0 (i64.eqz (local.get {from}))))"
        )
        .expect("there is room");
    }
    let locals = "i64 ".repeat(400);
    let text = format!("(component (core module (func (export \"f\") (local {locals}) {blocks})))");
    wat::parse_str(text).expect("valid")
}

/// As compilers for WASI preview 1 make of an interpreter: 30 MB of data, and 20,000 functions, most
/// of them in a table. It prints one byte of its second argument.
fn interpreter() -> Vec<u8> {
    const DATA: usize = 30_000_000;
    let mut functions = String::new();
    for number in 0..20_000 {
        write!(
            functions,
            "(func $f{number} (param i32) (result i32) (i32.mul (local.get 0) (i32.const {number})))"
        )
        .expect("there is room");
    }
    let in_table: Vec<_> = (0..15_000).map(|number| format!("$f{number}")).collect();
    let text = format!(
        r#"(module
          (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 500)
          (table 15000 funcref)
          (elem (i32.const 0) {})
          (data (i32.const 1000) "{}")
          (type $f (func (param i32) (result i32)))
          {functions}
          (func (export "_start")
            (if (i32.ne (call_indirect (type $f) (i32.const 2) (i32.const 14999)) (i32.const 29998))
              (then unreachable))
            (if (i32.ne (i32.load8_u (i32.const {})) (i32.const 120)) (then unreachable))
            (drop (call $args (i32.const 100) (i32.const 200)))
            (i32.store (i32.const 0) (i32.load (i32.const 108)))
            (i32.store (i32.const 4) (i32.const 1))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#,
        in_table.join(" "),
        "x".repeat(DATA),
        DATA + 999,
    );
    wat::parse_str(text).expect("valid")
}

fn admit(
    bytes: &[u8],
    program: &str,
    args: &[&str],
    bounds: CompileBounds,
) -> Result<Plugin, AdmissionError> {
    let args = args.iter().map(Into::into).collect();
    let compilation = Compilation::Apart { program: program.into(), args, bounds };
    let config = EngineConfig { compilation, ..EngineConfig::new(NonZeroU32::MIN) };
    Engine::new(config).expect("an engine").admit_bytes("job".parse().expect("a name"), bytes)
}

fn admit_apart(bytes: &[u8], bounds: CompileBounds) -> Result<Plugin, AdmissionError> {
    admit(bytes, env!("CARGO_BIN_EXE_sentinel"), &["compile-apart"], bounds)
}

#[test]
fn what_a_child_compiled_can_be_loaded_and_what_it_cannot_compile_is_refused_alike() {
    let good = fs::read(built("hostile")).expect("readable");
    let plugin = admit_apart(&good, CompileBounds::default()).expect("admitted");
    assert!(!plugin.code().from_cache);
    for bad in [&good[..good.len() / 2], b"\0asm\x0d\0\x01\0and more"] {
        let error = admit_apart(bad, CompileBounds::default()).expect_err("a refusal");
        assert!(matches!(error.refusal, Refusal::Invalid(_)), "{error}");
    }
}

#[test]
fn an_interpreter_of_30_megabytes_is_a_job_among_others_with_nothing_but_its_arguments() {
    let dev = Dev::start(&["example-task"]);
    let write = |name: &str, bytes: &[u8]| {
        let fresh = dev.dir.path().join("fresh");
        fs::write(&fresh, bytes).expect("written");
        fs::rename(fresh, dev.dir.path().join("plugins").join(name)).expect("renamed");
    };
    write("interpreter.toml", br#"args = ["-c", "7"]"#);
    write("interpreter.wasm", &interpreter());
    wait_for("the job", || (dev.api.get("/v1/jobs/interpreter").status == 200).then_some(()));
    let ids = ["interpreter", "example-task"].map(|job| {
        dev.api.submit(&format!(r#"{{"payload":{{"job":"{job}","name":"Ada"}},"max_attempts":1}}"#))
    });
    let [result, other] = ids.map(|id| dev.api.get(&format!("/v1/tasks/{id}?wait=60s")));
    assert_eq!(result.json()["result"], 7, "{}{}", result.text(), dev.api.get("/v1/jobs").text());
    assert_eq!(other.json()["status"], "COMPLETED", "{}", other.text());
}

#[test]
fn a_component_that_takes_too_long_to_compile_is_refused_in_time() {
    let since = Instant::now();
    let bounds = CompileBounds { wall: Duration::from_secs(2), ..CompileBounds::default() };
    let error = admit_apart(&bomb(), bounds).expect_err("a refusal");
    assert!(matches!(error.refusal, Refusal::TooLong(_)), "{error}");
    assert!(error.to_string().contains("within 2 s"), "{error}");
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert!(error.refusal.retry_after().is_some(), "the machine may have been busy");
    let bounds = CompileBounds { cpu: Duration::from_secs(1), ..CompileBounds::default() };
    let error = admit_apart(&bomb(), bounds).expect_err("a refusal");
    assert!(matches!(error.refusal, Refusal::TooMuchCpu(_)), "{error}");
    assert!(error.to_string().contains("more than 1 s of CPU time"), "{error}");
    assert!(error.refusal.retry_after().is_none());
}

#[test]
fn a_component_that_takes_too_much_memory_to_compile_is_refused() {
    let bounds = CompileBounds { memory_bytes: 64 << 20, ..CompileBounds::default() };
    let error = admit_apart(&bomb(), bounds).expect_err("a refusal");
    assert!(matches!(error.refusal, Refusal::CompilerDied { .. }), "{error}");
    assert!(error.to_string().contains("memory allocation of"), "its last words are told: {error}");
    assert!(error.to_string().contains("64 MiB"), "{error}");
}

#[test]
fn a_component_of_too_much_machine_code_is_refused() {
    let good = fs::read(built("hostile")).expect("readable");
    let bounds = CompileBounds { code_bytes: 1000, ..CompileBounds::default() };
    let error = admit_apart(&good, bounds).expect_err("a refusal");
    assert!(matches!(error.refusal, Refusal::TooMuchCode { limit: 1000, .. }), "{error}");
}

/// Whatever becomes of the child, it ends in a refusal that says so.
#[test]
fn a_child_that_fails_is_a_refusal() {
    let good = fs::read(built("hostile")).expect("readable");
    let bounds = CompileBounds { wall: Duration::from_secs(5), ..CompileBounds::default() };
    let of = |script| admit(&good, "/bin/sh", &["-c", script], bounds).expect_err("a refusal");
    for (script, cause) in [
        ("kill -SEGV $$", "SIGSEGV"),
        ("exit 0", "exit status: 0"),
        ("echo 'out of luck' >&2; exit 3", "out of luck"),
        ("cat > /dev/null; printf '\\377\\377\\377\\377'; exit 3", "died"),
        // What it says it has, it does not give.
        ("printf '\\012\\000\\000\\000\"Compiled\"\\005\\000\\000\\000half'; exit 4", "exit status: 4"),
    ] {
        let error = of(script);
        assert!(matches!(error.refusal, Refusal::CompilerDied { .. }), "{script}: {error}");
        assert!(error.to_string().contains(cause), "{script}: {error}");
    }
    let error = admit(&good, "/nowhere/sentinel", &[], bounds).expect_err("a refusal");
    assert!(
        matches!(error.refusal, Refusal::NoProcess(_)) && error.refusal.retry_after().is_some(),
        "{error}"
    );
}

/// Tasks run, also those of a plugin that has just come, while a component is compiled that takes
/// long.
#[test]
fn tasks_run_while_a_plugin_is_compiled_that_takes_long() {
    let mut dev = Dev::start(&["hostile"]);
    let api = dev.api;
    let plugins = dev.dir.path().join("plugins");
    fs::copy(built("example-task"), plugins.join("example-task.wasm")).expect("it can be copied");
    fs::write(plugins.join("bomb.wasm"), bomb()).expect("it can be written");
    let child = wait_for("the compiler", || dev.process.children("compile-apart").get("bomb").copied());

    // It is the first thing that it does.
    let of_child = |name: &str| fs::read_to_string(format!("/proc/{child}/{name}")).expect("it is there");
    let limit = |name: &str| {
        let limits = of_child("limits");
        let line = limits.lines().find(|line| line.starts_with(name)).expect("a limit");
        line.split_whitespace().rev().nth(1).expect("a number").parse::<u64>().ok()
    };
    wait_for("its bounds", || limit("Max file size"));
    assert_eq!(limit("Max data size"), Some(2 << 30));
    wait_for("no core dumps", || (limit("Max core file size") == Some(0)).then_some(()));
    assert!(limit("Max cpu time").is_some());
    assert_eq!(of_child("oom_score_adj").trim(), "1000");

    let is_told = || api.get("/v1/jobs/example-task").json()["workers"] == 1;
    wait_for("the other plugin", || is_told().then_some(()));
    for (job, input) in [("hostile", r#""do":"ok""#), ("example-task", r#""name":"Ada""#)] {
        let since = Instant::now();
        let id = api.submit(&format!(r#"{{"payload":{{"job":"{job}",{input}}}}}"#));
        let task = api.get(&format!("/v1/tasks/{id}?wait=30s")).json();
        assert_eq!(task["status"], "COMPLETED", "{task}");
        assert!(since.elapsed() < Duration::from_secs(5), "{job}: {:?}", since.elapsed());
    }
    assert!(is_alive(child), "it is still being compiled");
    dev.process.kill();
    wait_for("the compiler's end", || (!is_alive(child)).then_some(()));
}
