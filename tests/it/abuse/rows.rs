//! The rows of the catalogue that are one task each.

use std::time::Duration;

use sentinel_testkit::WebServer;
use serde_json::{Value, json};

use super::{MARGIN, took};

/// A row, or a part of one.
pub(super) struct Case {
    /// Its number in the catalogue.
    pub(super) row: &'static str,
    pub(super) name: &'static str,
    /// What is submitted.
    pub(super) task: Value,
    timeout: Duration,
    ends: Ends,
}

/// How it must end.
enum Ends {
    /// FAILED, with this kind of error, this detail if any, and these words in the message or the
    /// backtrace.
    Failed(&'static str, Option<&'static str>, &'static str),
    /// COMPLETED, with a result of which this is true.
    Completed(fn(&Value) -> bool),
}

impl Case {
    pub(super) fn job(&self) -> &str {
        self.task["payload"]["job"].as_str().expect("a job")
    }

    /// That the task ended as it must; answers as what.
    pub(super) fn check(&self, task: &Value) -> String {
        let Self { row, name, .. } = self;
        let took = took(task);
        assert!(took < self.timeout + MARGIN, "row {row}, {name}: {took:?} of {:?}", self.timeout);
        assert!(task["usage"].is_object(), "row {row}: what it used is told: {task}");
        match &self.ends {
            Ends::Failed(kind, detail, word) => {
                let error = &task["error"];
                assert_eq!((&task["status"], &error["kind"]), (&"FAILED".into(), &(*kind).into()), "{task}");
                assert_eq!(error["detail"].as_str(), *detail, "row {row}, {name}: {error}");
                assert!(error.to_string().contains(word), "row {row}, {name}: {error}");
                format!("FAILED {kind}")
            }
            Ends::Completed(is_right) => {
                assert_eq!(task["status"], "COMPLETED", "row {row}, {name}: {task}");
                assert!(is_right(&task["result"]), "row {row}, {name}: {}", task["result"]);
                "COMPLETED".into()
            }
        }
    }

    /// By how much it was stopped after its deadline; none: it was not to come to that.
    pub(super) fn over(&self, task: &Value) -> Option<Duration> {
        matches!(self.ends, Ends::Failed("timeout", ..)).then(|| took(task).saturating_sub(self.timeout))
    }
}

/// An error, and nothing of the machine's.
fn is_denied(result: &Value) -> bool {
    let text = result.to_string();
    text.len() < 300 && !text.contains("root:") && !text.contains("connected") && !text.contains("127.0.0.1")
}

fn is_refused(result: &Value) -> bool {
    result["error"] == "ErrorCode::HttpRequestDenied"
}

fn is_ok(result: &Value) -> bool {
    result == "ok"
}

/// A request goes to `web`: the first may be reached, the second not.
pub(super) fn cases(web: &[WebServer; 2]) -> Vec<Case> {
    use Ends::{Completed, Failed};
    let own = json!({ "payload": { "job": "ledger", "do": "get", "key": "x" } });
    let too_many = vec![own; 1001];
    let redirect = web[0].url(&format!("/to/{}", web[1].url("/there")));
    let stop = 400;
    let time = 20_000;
    [
        ("1", "loop {}", json!({ "do": "loop" }), stop, Failed("timeout", Some("wall"), "hostile")),
        ("2", "sleeps for ever", json!({ "do": "sleep-forever" }), stop, Failed("timeout", Some("wall"), "")),
        (
            "2",
            "polls for ever",
            json!({ "do": "poll", "times": 100 }),
            stop,
            Failed("timeout", Some("wall"), ""),
        ),
        ("3", "memory without end", json!({ "do": "memory" }), time, Failed("memory_limit", None, "")),
        ("3", "two memories", json!({ "job": "memories" }), time, Failed("memory_limit", None, "")),
        ("4", "tables without end", json!({ "job": "tables" }), time, Failed("memory_limit", None, "table")),
        ("5", "recursion", json!({ "do": "recurse" }), time, Failed("stack_overflow", None, "recurse")),
        ("6", "traps", json!({ "do": "trap" }), time, Failed("trap", None, "hostile::act_out")),
        (
            "6",
            "panics",
            json!({ "do": "panic", "message": "no cheese" }),
            time,
            Failed("trap", None, "no cheese"),
        ),
        (
            "7",
            "returns 100 MiB",
            json!({ "job": "granted", "do": "return-big", "bytes": 100 << 20 }),
            time,
            Failed("output_limit", None, ""),
        ),
        ("7", "returns no JSON", json!({ "do": "return-not-json" }), time, Failed("bad_output", None, "")),
        (
            "8",
            "floods stdout and stderr",
            json!({ "do": "flood-log", "bytes": 10_000_000 }),
            time,
            Completed(is_ok),
        ),
        (
            "9",
            "a million reports of progress",
            json!({ "do": "progress", "times": 1_000_000 }),
            time,
            Completed(is_ok),
        ),
        ("10", "leaks handles", json!({ "do": "leak-handles" }), time, Failed("host_limit", None, "")),
        (
            "11",
            "4 GiB of randomness",
            json!({ "do": "random", "bytes": 4_294_967_296_u64 }),
            time,
            Failed("host_limit", None, ""),
        ),
        (
            "11",
            "a long string",
            json!({ "do": "big-string", "bytes": 48 << 20 }),
            time,
            Failed("host_limit", None, ""),
        ),
        (
            "12",
            "children without end",
            json!({ "job": "ledger", "do": "submit", "tasks": too_many, "then": "complete" }),
            time,
            Failed("effect_limit", None, "1000 tasks"),
        ),
        (
            "13",
            "opens ../../etc/passwd",
            json!({ "do": "read-file", "path": "../../etc/passwd" }),
            time,
            Completed(is_denied),
        ),
        (
            "13",
            "opens /etc/passwd",
            json!({ "do": "read-file", "path": "/etc/passwd" }),
            time,
            Completed(is_denied),
        ),
        (
            "13",
            "opens it from its directory",
            json!({ "job": "granted", "do": "read-file", "path": "/scratch/../../etc/passwd" }),
            time,
            Completed(is_denied),
        ),
        (
            "13",
            "by a symbolic link",
            json!({ "job": "granted", "do": "read-by-link", "to": "/etc/passwd" }),
            time,
            Completed(is_denied),
        ),
        (
            "14",
            "opens a socket",
            json!({ "do": "socket", "address": format!("127.0.0.1:{}", web[0].port()) }),
            time,
            Completed(is_denied),
        ),
        (
            "14",
            "resolves a name",
            json!({ "do": "resolve", "name": "localhost" }),
            time,
            Completed(is_denied),
        ),
        (
            "14",
            "fetches what is not granted",
            json!({ "do": "http", "url": web[0].url("/") }),
            time,
            Completed(is_refused),
        ),
        (
            "14",
            "follows a redirect to it",
            json!({ "job": "granted", "do": "http", "url": redirect, "follow": true }),
            time,
            Completed(is_refused),
        ),
        (
            "15",
            "reads environment and arguments",
            json!({ "do": "env" }),
            time,
            Completed(|result| *result == json!({ "args": ["hostile"], "env": {} })),
        ),
    ]
    .map(case)
    .into()
}

/// What is near the rows, and reaches the store.
pub(super) fn neighbours() -> Vec<Case> {
    use Ends::{Completed, Failed};
    let (stop, time) = (1000, 20_000);
    let after_itself = json!({ "job": "ledger", "do": "submit", "then": "complete", "tasks": [{
        "payload": { "job": "ledger" }, "after": ["0198c5f0-0000-7000-8000-000000000000"] }] });
    let red = "\u{1b}[31mred\r\n\u{0}";
    [
        (
            "+",
            "reads too many keys",
            json!({ "job": "ledger", "do": "misses", "keys": 1001 }),
            time,
            Failed("effect_limit", None, "1000 keys"),
        ),
        (
            "+",
            "saves and loads 1 MiB without end",
            json!({ "job": "ledger", "do": "save", "bytes": 1_000_000, "times": 1_000_000 }),
            stop,
            Failed("timeout", Some("wall"), ""),
        ),
        (
            "+",
            "saves and loads little without end",
            json!({ "job": "ledger", "do": "save", "bytes": 1, "times": 100_000_000 }),
            stop,
            Failed("timeout", Some("wall"), ""),
        ),
        ("+", "a child of no task's", after_itself, time, Failed("effect_limit", None, "waits for one")),
        (
            "+",
            "colours and lines in a panic",
            json!({ "do": "panic", "message": red }),
            time,
            Failed("trap", None, "red"),
        ),
        (
            "+",
            "exits with code 255",
            json!({ "do": "exit", "code": 255 }),
            time,
            Failed("retryable", None, "exited with code"),
        ),
        (
            "+",
            "asks to be tried in 584 million years",
            json!({ "do": "retry-after", "ms": u64::MAX }),
            time,
            Failed("retryable", None, "as asked"),
        ),
        (
            "+",
            "a million empty files",
            json!({ "job": "granted", "do": "fill-scratch", "with": "empty-files", "mib": 64 }),
            time,
            Completed(|result| result["count"].as_u64() < Some(1100)),
        ),
        (
            "+",
            "files that have lost their names",
            json!({ "job": "granted", "do": "fill-scratch", "with": "unlinked", "mib": 64 }),
            time,
            Completed(|result| result["mib"].as_u64() < Some(8)),
        ),
        (
            "+",
            "a symbolic link to itself",
            json!({ "job": "granted", "do": "read-by-link", "to": "link" }),
            time,
            Completed(is_denied),
        ),
        (
            "+",
            "asks for keys of its configuration",
            json!({ "do": "config-misses", "times": 1_000_000 }),
            time,
            Completed(is_ok),
        ),
        (
            "+",
            "keeps headers",
            json!({ "do": "headers", "sets": 900, "bytes": 30_000 }),
            time,
            Completed(|result| *result == 900),
        ),
    ]
    .map(case)
    .into()
}

fn case((row, name, mut payload, timeout, ends): (&'static str, &'static str, Value, u64, Ends)) -> Case {
    if payload["job"].is_null() {
        payload["job"] = json!("hostile");
    }
    let task = json!({ "payload": payload, "timeout": format!("{timeout}ms"), "max_attempts": 1 });
    Case { row, name, task, timeout: Duration::from_millis(timeout), ends }
}

/// A command that is this module, and does nothing but what its `run` does.
fn command(module: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
          (core module $m {module})
          (core instance $i (instantiate $m))
          (func $run (result (result)) (canon lift (core func $i "run")))
          (instance $interface (export "run" (func $run)))
          (export "wasi:cli/run@0.2.0" (instance $interface)))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Grows a table without end.
pub(super) fn tables() -> Vec<u8> {
    command(
        r#"(table $t 1 funcref)
           (func (export "run") (result i32)
             (loop (br_if 0 (i32.ne (table.grow $t (ref.null func) (i32.const 500)) (i32.const -1))))
             unreachable)"#,
    )
}

/// Two memories, neither of which is too large.
pub(super) fn memories() -> Vec<u8> {
    let grow = |memory: &str| {
        format!("(if (i32.eq (memory.grow {memory} (i32.const 1200)) (i32.const -1)) (then unreachable))")
    };
    command(&format!(
        r#"(memory $a 1) (memory $b 1)
           (func (export "run") (result i32) {} {} (i32.const 0))"#,
        grow("$a"),
        grow("$b")
    ))
}

/// Files that look like plugins, each with a word of the reason for which it is refused.
pub(super) fn no_plugins(good: &[u8]) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let component = |text: &str| wat::parse_str(text).expect("valid");
    let exports =
        (0..2000).map(|number| format!(r#"(export "a-rather-long-name-for-an-export-{number}" (func $f))"#));
    let many = format!(
        r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
          (func $f (canon lift (core func $i "f"))) {})"#,
        exports.collect::<String>()
    );
    vec![
        ("half.wasm", good[..good.len() / 2].to_vec(), "not a valid component"),
        (
            "random.wasm",
            (0..4096_u32).map(|number| (number * number % 251) as u8).collect(),
            "not WebAssembly",
        ),
        ("led.wasm", [b"\0asm\x0d\0\x01\0".as_slice(), &[0xff; 4096]].concat(), "not a valid component"),
        ("code.cwasm", b"\x7fELF".repeat(100), "not WebAssembly"),
        ("world.wasm", component("(component)"), "sentinel:job/handler@0.1.0"),
        ("exports.wasm", component(&many), "a-rather-long-name"),
    ]
}
