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
    /// FAILED, with this kind of error, and these words in the message or the backtrace.
    Failed(&'static str, &'static str),
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
            Ends::Failed(kind, word) => {
                let error = &task["error"];
                assert_eq!((&task["status"], &error["kind"]), (&"FAILED".into(), &(*kind).into()), "{task}");
                let detail = (*kind == "timeout").then_some("wall");
                assert_eq!(error["detail"].as_str(), detail, "row {row}, {name}: {error}");
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

/// Time enough for what is not to be stopped by its deadline.
const ENOUGH: Duration = Duration::from_secs(20);

/// A row that does this, as the hostile job unless it says another.
fn row(row: &'static str, name: &'static str, mut payload: Value, ends: Ends) -> Case {
    if payload["job"].is_null() {
        payload["job"] = json!("hostile");
    }
    let task = json!({ "payload": payload, "max_attempts": 1 });
    Case { row, name, task, timeout: ENOUGH, ends }.within(ENOUGH)
}

impl Case {
    fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self.task["timeout"] = json!(format!("{}ms", timeout.as_millis()));
        self
    }
}

/// A request goes to `web`: the first may be reached, the second not.
pub(super) fn cases(web: &[WebServer; 2]) -> Vec<Case> {
    [too_long_and_too_much(), too_much_said(), out_of_reach(web)].into_iter().flatten().collect()
}

fn too_long_and_too_much() -> Vec<Case> {
    use Ends::Failed;
    let stop = Duration::from_millis(400);
    vec![
        row("1", "loop {}", json!({ "do": "loop" }), Failed("timeout", "hostile")).within(stop),
        row("2", "sleeps for ever", json!({ "do": "sleep-forever" }), Failed("timeout", "")).within(stop),
        row("2", "polls for ever", json!({ "do": "poll", "times": 100 }), Failed("timeout", "")).within(stop),
        row("3", "memory without end", json!({ "do": "memory" }), Failed("memory_limit", "")),
        row("3", "two memories", json!({ "job": "memories" }), Failed("memory_limit", "")),
        row("4", "tables without end", json!({ "job": "tables" }), Failed("memory_limit", "table")),
        row("5", "recursion", json!({ "do": "recurse" }), Failed("stack_overflow", "recurse")),
        row("6", "traps", json!({ "do": "trap" }), Failed("trap", "hostile::act_out")),
        row("6", "panics", json!({ "do": "panic", "message": "no cheese" }), Failed("trap", "no cheese")),
        row("10", "leaks handles", json!({ "do": "leak-handles" }), Failed("host_limit", "")),
        row(
            "11",
            "4 GiB of randomness",
            json!({ "do": "random", "bytes": 4_u64 << 30 }),
            Failed("host_limit", ""),
        ),
        row(
            "11",
            "a long string",
            json!({ "do": "big-string", "bytes": 48 << 20 }),
            Failed("host_limit", ""),
        ),
    ]
}

fn too_much_said() -> Vec<Case> {
    use Ends::{Completed, Failed};
    let large = json!({ "job": "granted", "do": "return-big", "bytes": 100 << 20 });
    let child = json!({ "payload": { "job": "ledger", "do": "get", "key": "x" } });
    let many = json!({ "job": "ledger", "do": "submit", "tasks": vec![child; 1001], "then": "complete" });
    let flood = json!({ "do": "flood-log", "bytes": 10_000_000 });
    vec![
        row("7", "returns 100 MiB", large, Failed("output_limit", "")),
        row("7", "returns no JSON", json!({ "do": "return-not-json" }), Failed("bad_output", "")),
        row("8", "floods stdout and stderr", flood, Completed(is_ok)),
        row("9", "a million reports", json!({ "do": "progress", "times": 1_000_000 }), Completed(is_ok)),
        row("12", "children without end", many, Failed("effect_limit", "1000 tasks")),
    ]
}

fn out_of_reach(web: &[WebServer; 2]) -> Vec<Case> {
    use Ends::Completed;
    let read = |path: &str| json!({ "do": "read-file", "path": path });
    let mut from_its_own = read("/scratch/../../etc/passwd");
    from_its_own["job"] = json!("granted");
    let by_link = json!({ "job": "granted", "do": "read-by-link", "to": "/etc/passwd" });
    let socket = json!({ "do": "socket", "address": format!("127.0.0.1:{}", web[0].port()) });
    let redirect = web[0].url(&format!("/to/{}", web[1].url("/there")));
    let redirect = json!({ "job": "granted", "do": "http", "url": redirect, "follow": true });
    let fetch = json!({ "do": "http", "url": web[0].url("/") });
    vec![
        row("13", "opens ../../etc/passwd", read("../../etc/passwd"), Completed(is_denied)),
        row("13", "opens /etc/passwd", read("/etc/passwd"), Completed(is_denied)),
        row("13", "opens it from its directory", from_its_own, Completed(is_denied)),
        row("13", "opens it by a symbolic link", by_link, Completed(is_denied)),
        row("14", "opens a socket", socket, Completed(is_denied)),
        row("14", "resolves a name", json!({ "do": "resolve", "name": "localhost" }), Completed(is_denied)),
        row("14", "fetches what is not granted", fetch, Completed(is_refused)),
        row("14", "follows a redirect to it", redirect, Completed(is_refused)),
        row("15", "reads environment and arguments", json!({ "do": "env" }), Completed(is_its_own_name)),
    ]
}

/// What is near the rows, and reaches the store, the log or the disk.
pub(super) fn neighbours() -> Vec<Case> {
    use Ends::{Completed, Failed};
    let stop = Duration::from_secs(1);
    let save = |bytes: u32| json!({ "job": "ledger", "do": "save", "bytes": bytes, "times": u32::MAX });
    let fill = |with: &str| json!({ "job": "granted", "do": "fill-scratch", "with": with, "mib": 64 });
    let orphan = json!({ "payload": { "job": "ledger" }, "after": ["0198c5f0-0000-7000-8000-000000000000"] });
    let orphan = json!({ "job": "ledger", "do": "submit", "then": "complete", "tasks": [orphan] });
    let misses = json!({ "job": "ledger", "do": "misses", "keys": 1001 });
    let red = json!({ "do": "panic", "message": "\u{1b}[31mred\r\n\u{0}" });
    let never = json!({ "do": "retry-after", "ms": u64::MAX });
    let link = json!({ "job": "granted", "do": "read-by-link", "to": "link" });
    let config = json!({ "do": "config-misses", "times": 1_000_000 });
    let headers = json!({ "do": "headers", "sets": 900, "bytes": 30_000 });
    vec![
        row("+", "reads too many keys", misses, Failed("effect_limit", "1000 keys")),
        row("+", "saves and loads much for ever", save(1_000_000), Failed("timeout", "")).within(stop),
        row("+", "saves and loads little for ever", save(1), Failed("timeout", "")).within(stop),
        row("+", "a child that waits for no task", orphan, Failed("effect_limit", "waits for one")),
        row("+", "colours and lines in a panic", red, Failed("trap", "red")),
        row("+", "exits with 255", json!({ "do": "exit", "code": 255 }), Failed("retryable", "exited")),
        row("+", "to be tried in a million years", never, Failed("retryable", "as asked")),
        row(
            "+",
            "a million empty files",
            fill("empty-files"),
            Completed(|filled| filled["count"].as_u64() < Some(1100)),
        ),
        row(
            "+",
            "files without a name",
            fill("unlinked"),
            Completed(|filled| filled["mib"].as_u64() < Some(8)),
        ),
        row("+", "a link to itself", link, Completed(is_denied)),
        row("+", "a million looks at its configuration", config, Completed(is_ok)),
        row("+", "keeps headers", headers, Completed(|kept| *kept == 900)),
    ]
}

fn is_its_own_name(result: &Value) -> bool {
    *result == json!({ "args": ["hostile"], "env": {} })
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
