//! The client commands, end to end: what they print, and how they exit.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use crate::cluster::{Dev, Stack};

/// `sentinel` with a server to talk to.
struct Cli {
    server: String,
}

/// What a command said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Cli {
    fn of(dev: &Dev) -> Self {
        Self { server: format!("http://127.0.0.1:{}", dev.api.port) }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sentinel"));
        command.args(args).env("SENTINEL_SERVER", &self.server).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Said {
        said(&self.command(args).output().unwrap())
    }

    /// What a command prints that does what it should.
    fn ok(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
        said.out
    }

    /// The same as JSON.
    fn json(&self, args: &[&str]) -> Value {
        let out = self.ok(&[args, &["--output", "json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|_| panic!("{args:?}: {out}"))
    }

    /// What a command complains of that exits with 1.
    fn refused(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, Some(1), "{args:?}: {said:?}");
        said.err
    }

    /// Submits; answers the task's id.
    fn submit(&self, args: &[&str]) -> String {
        first_word(&self.ok(&[&["submit"], args].concat()))
    }

    /// Runs with something on standard input.
    fn run_with(&self, args: &[&str], input: &str) -> Said {
        let mut child = self.command(args);
        let mut child =
            child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        said(&child.wait_with_output().unwrap())
    }

    fn start(&self, args: &[&str]) -> Running {
        let mut child = self.command(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }
}

fn said(output: &std::process::Output) -> Said {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// A command that goes on; killed when dropped.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn line(&mut self) -> String {
        self.lines.next().expect("a line").unwrap()
    }

    /// The rest of what it prints, and its exit code.
    fn end(mut self) -> (Vec<String>, Option<i32>) {
        let rest = self.lines.by_ref().map(Result::unwrap).collect();
        (rest, self.child.wait().unwrap().code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn first_word(text: &str) -> String {
    text.split_whitespace().next().expect("a word").to_owned()
}

/// The pages of a list, each a line.
fn pages(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(tasks: &Value) -> Vec<String> {
    tasks.as_array().unwrap().iter().map(|task| task["task_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn one_task_from_its_submit_to_its_result() {
    let dev = Dev::start(&["example-task", "hostile"]);
    let cli = Cli::of(&dev);
    let said = cli.json(&["submit", "example-task", r#"{"name":"Ada"}"#, "--priority", "-3"]);
    assert_eq!(said["status"], "QUEUED");
    let id = said["task_id"].as_str().unwrap();
    assert!(cli.ok(&["task", "get", id, "--wait"]).contains("Ada"));
    assert!(cli.ok(&["task", "result", id]).contains("Ada"));
    assert!(cli.ok(&["task", "logs", id]).contains("attempt 1"));
    assert!(cli.ok(&["task", "logs", id, "--attempt", "1"]).contains("attempt 1"));
    assert_eq!(cli.json(&["task", "get", id, "--wait"])["priority"], -3);
    let shown = cli.ok(&["task", "get", id]);
    assert!(shown.contains("status          COMPLETED") && shown.contains("attempt 1  COMPLETED"), "{shown}");
    assert!(cli.ok(&["submit", "example-task", r#"{"name":"Bob"}"#, "--wait"]).contains("Bob"));

    let err = cli.refused(&["submit", "hostile", r#"{"do":"permanent"}"#, "--wait"]);
    assert!(err.contains("FAILED permanent"), "{err}");
    let failed = &cli.json(&["task", "list", "--status", "FAILED"])["tasks"][0];
    let failed = failed["task_id"].as_str().unwrap();
    assert!(cli.refused(&["task", "result", failed]).contains("the task is FAILED: permanent"));
    assert!(cli.refused(&["task", "logs", failed]).contains("no_log"));
    let out = cli.ok(&["task", "redrive", failed]);
    assert_eq!(first_word(&out), failed);
    assert!(cli.refused(&["task", "get", failed, "--wait"]).contains("permanent"));
    assert_eq!(cli.json(&["task", "get", failed])["attempt"], 2);
    assert!(cli.refused(&["task", "get", "../../stats"]).contains("unknown_task"));

    assert!(cli.ok(&["stats"]).contains("COMPLETED            2"));
    assert_eq!(cli.json(&["stats"])["status_counts"]["FAILED"], 1);
    assert!(cli.ok(&["job", "list"]).contains("example-task"));
    assert_eq!(cli.json(&["job", "list"])["jobs"][1]["name"], "hostile");
    assert!(cli.ok(&["worker", "list"]).contains("0/"));
    assert_eq!(cli.json(&["worker", "list"])["workers"].as_array().unwrap().len(), 1);
}

#[test]
fn every_option_of_a_submit_arrives() {
    let dev = Dev::start(&["example-task"]);
    let cli = Cli::of(&dev);
    cli.ok(&["queue", "pause", "q"]);
    let parent = cli.submit(&["example-task", "--queue", "q"]);
    let args = [
        "example-task",
        "--queue=q",
        "--run-at=2030-01-31T12:00:00Z",
        "--expires-at=2030-02-28T12:00:00Z",
        "--timeout=7s",
        "--max-attempts=4",
        "--backoff=fixed,2s",
        "--idempotency-key=once",
        "--concurrency-key=user-1",
        "--tag=a",
        "--tag=b:c",
        "--after-policy=always",
        "--after",
        &parent,
    ];
    let id = cli.submit(&args);
    let task = cli.json(&["task", "get", &id]);
    let expected = json!({
        "queue": "q", "status": "BLOCKED", "run_at": "2030-01-31T12:00:00.000Z",
        "expires_at": "2030-02-28T12:00:00.000Z", "timeout": "7s", "max_attempts": 4,
        "backoff": {"kind": "fixed", "base": "2s", "max": "10m", "jitter": true},
        "idempotency_key": "once", "concurrency_key": "user-1", "tags": ["a", "b:c"],
        "after": [parent], "after_policy": "always",
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&task[field], value, "{field}");
    }
    let again = cli.ok(&[&["submit"], &args[..]].concat());
    assert!(again.starts_with(&id) && again.contains("was there before"), "{again}");
    let later = cli.json(&["submit", "example-task", "--delay", "1h", "--backoff", r#"{"jitter":false}"#]);
    assert_eq!(later["status"], "SCHEDULED");

    let err = cli.refused(&["submit", "example-task", "--priority", "1001", "--tag", "a b"]);
    assert!(err.contains("/priority: 1001 must be") && err.contains("/tags"), "{err}");
    assert!(cli.refused(&["submit", "exampel-task"]).contains("did you mean \"example-task\""));
    assert!(cli.refused(&["submit", "example-task", "--backoff", "a,b,c,d"]).contains("KIND"));
    assert_eq!(cli.run(&["submit", "example-task", "--delay", "1h", "--run-at", "x"]).code, Some(2));
}

#[test]
fn a_waiting_task_is_rescheduled_and_cancelled() {
    let dev = Dev::start(&["example-task"]);
    let cli = Cli::of(&dev);
    let id = cli.submit(&["example-task", "--delay", "1h"]);
    let out = cli.ok(&["task", "reschedule", &id, "--run-at", "2030-01-31T12:00:00Z", "--priority", "-7"]);
    assert!(out.contains("SCHEDULED, due 2030-01-31T12:00:00.000Z, priority -7"), "{out}");
    let task = cli.json(&["task", "reschedule", &id, "--delay", "2h"]);
    assert_eq!((&task["priority"], &task["status"]), (&json!(-7), &json!("SCHEDULED")));
    assert_eq!(cli.run(&["task", "reschedule", &id]).code, Some(2));

    let other = cli.submit(&["example-task", "--delay", "1h"]);
    assert_eq!(cli.json(&["task", "cancel", &other])["status"], "CANCELLED");
    // What one of them refuses does not hold up the other.
    let said = cli.run(&["task", "cancel", &other, &id]);
    assert_eq!((said.code, first_word(&said.out)), (Some(1), id.clone()));
    assert!(said.err.contains(&other) && said.err.contains("wrong_state"), "{said:?}");
    assert!(cli.refused(&["task", "reschedule", &id, "--delay", "1s"]).contains("wrong_state"));
    assert_eq!(cli.json(&["task", "redrive", &other])["task_id"], json!(other));
}

#[test]
fn lists_are_filtered_and_followed_to_their_end() {
    let dev = Dev::start(&["example-task"]);
    let cli = Cli::of(&dev);
    cli.ok(&["queue", "pause", "q"]);
    let submitted: Vec<_> = (0..7)
        .map(|n| {
            cli.submit(&["example-task", "--queue", "q", "--tag", if n % 2 == 0 { "a=b/c" } else { "odd" }])
        })
        .collect();
    let said = cli.run(&["task", "list", "--queue", "q", "--limit", "3"]);
    assert_eq!(said.out.lines().count(), 1 + 3, "{said:?}");
    let cursor = said.err.trim().rsplit(' ').next().unwrap().to_owned();
    let rest = cli.ok(&["task", "list", "--queue", "q", "--cursor", &cursor]);
    assert_eq!(rest.lines().count(), 1 + 4, "{rest}");
    assert_eq!(cli.ok(&["task", "list", "--queue", "q", "--limit", "2", "--all"]).lines().count(), 1 + 7);

    let page = cli.json(&["task", "list", "--queue", "q", "--limit", "3"]);
    assert!(page["next_cursor"].is_string());
    let all = cli.ok(&["task", "list", "--queue", "q", "--limit", "2", "--all", "--output", "json"]);
    let all: Vec<_> = pages(&all).iter().flat_map(|page| ids(&page["tasks"])).collect();
    assert_eq!(all, submitted);
    let tagged = cli.json(&["task", "list", "--tag", "a=b/c", "--since", "2026-01-01T00:00:00+01:00"]);
    assert_eq!(ids(&tagged["tasks"]).len(), 4);
    let none = cli.json(&["task", "list", "--status", "FAILED,QUEUED", "--until", "2026-01-01T00:00:00Z"]);
    assert!(ids(&none["tasks"]).is_empty());
    assert!(cli.refused(&["task", "list", "--status", "DONE"]).contains("status"));
    assert!(cli.refused(&["task", "list", "--limit", "0"]).contains("limit"));
}

#[test]
fn a_file_of_tasks_is_submitted() {
    let dev = Dev::start(&["example-task"]);
    let cli = Cli::of(&dev);
    let dir = dev.dir.path();
    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let child = r##"{"payload":{"job":"example-task","name":"child"},"after":["#0"],"tags":["child"]}"##;
    let lines = format!("{{\"payload\":{{\"job\":\"example-task\"}}}}\n{child}\n");
    let said = cli.run(&["submit", "--batch", &file("lines", &lines)]);
    assert_eq!((said.code, said.err.trim()), (Some(0), "2 tasks accepted"), "{said:?}");
    let made: Vec<_> = said.out.lines().map(first_word).collect();
    assert!(cli.ok(&["task", "get", &made[1], "--wait"]).contains("child"));
    assert_eq!(cli.json(&["task", "get", &made[1]])["after"], json!([made[0]]));

    let array = format!("[{{\"payload\":{{\"job\":\"example-task\"}}}},{child}]");
    let said = cli.run_with(&["submit", "--batch", "-", "--output", "json"], &array);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(ids(&pages(&said.out)[0]["tasks"]).len(), 2);

    // A paused queue: so that they are counted where they are.
    cli.ok(&["queue", "pause", "q"]);
    let many = "{\"payload\":{\"job\":\"example-task\"},\"queue\":\"q\"}\n".repeat(1200);
    let said = cli.run(&["submit", "--batch", &file("many", &many)]);
    assert_eq!((said.code, said.out.lines().count()), (Some(0), 1200));
    let count = || cli.json(&["queue", "get", "q"])["depth"].clone();
    assert_eq!(count(), 1200);

    // References do not reach beyond a request: nothing is sent.
    let err = cli.refused(&["submit", "--batch", &file("refers", &format!("{many}{child}"))]);
    assert!(err.contains("task 1200") && err.contains("fit in one"), "{err}");
    assert_eq!(count(), 1200);
    // What is wrong in the second request is named by its place in the file.
    let wrong = format!("{many}{{\"payload\":{{\"job\":\"example-task\"}},\"priority\":\"high\"}}");
    let err = cli.refused(&["submit", "--batch", &file("wrong", &wrong)]);
    assert!(err.contains("the first 1000 tasks accepted") && err.contains("/tasks/1200/priority"), "{err}");
    assert_eq!(count(), 2200);
    for (text, told) in [("", "no task"), ("[", "no JSON array"), ("{}\n{", "task 1 is not JSON")] {
        let err = cli.refused(&["submit", "--batch", &file("bad", text)]);
        assert!(err.contains(told), "{err}");
    }
    assert!(cli.refused(&["submit", "--batch", "nowhere"]).contains("nowhere"));
    assert_eq!(cli.run(&["submit", "example-task", "--batch", "-"]).code, Some(2));
}

#[test]
fn tasks_are_watched_to_their_ends_whatever_happens_to_the_server() {
    let mut dev = Dev::start(&["example-task", "hostile"]);
    let cli = Cli::of(&dev);
    cli.ok(&["queue", "pause", "q"]);
    let first = cli.submit(&["example-task", "--queue", "q"]);
    let second = cli.submit(&["example-task", "--queue", "q"]);
    let mut watch = cli.start(&["task", "watch", &first, &second]);
    for _ in 0..2 {
        let line = watch.line();
        assert!(line.contains("QUEUED       attempt 1"), "{line}");
    }
    dev.process.kill();
    dev.start_again();
    cli.ok(&["queue", "resume", "q"]);
    let (lines, code) = watch.end();
    assert_eq!(code, Some(0), "{lines:?}");
    for id in [&first, &second] {
        let mut of_one = lines.iter().filter(|line| line.starts_with(id.as_str()));
        assert!(of_one.next_back().unwrap().contains("COMPLETED"), "{lines:?}");
        // What was known before the cut is not told again.
        assert!(!lines.iter().any(|line| line.contains("QUEUED")), "{lines:?}");
    }

    let failed = cli.submit(&["hostile", r#"{"do":"permanent"}"#]);
    let (lines, code) = cli.start(&["task", "watch", &failed, &first]).end();
    assert_eq!(code, Some(1));
    assert!(lines.iter().any(|line| line.contains("FAILED       attempt 1  permanent:")), "{lines:?}");
    let (lines, code) = cli.start(&["task", "watch", &first, "--output", "json"]).end();
    let task: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!((code, &task["status"]), (Some(0), &json!("COMPLETED")));
    assert!(cli.refused(&["task", "watch", &first, "nobody"]).contains("unknown_task"));
}

#[test]
fn many_tasks_are_steered_by_a_filter() {
    let dev = Dev::start(&["example-task"]);
    let cli = Cli::of(&dev);
    cli.ok(&["queue", "pause", "q"]);
    for n in 0..9 {
        cli.submit(&["example-task", "--queue", "q", "--tag", if n < 6 { "x" } else { "y" }]);
    }
    cli.submit(&["example-task", "--queue", "q", "--delay", "1h"]);
    let cancel = ["task", "cancel", "--filter", "status=QUEUED,queue=q,tag=x"];
    let with = |more: &[&'static str]| [&cancel[..], more].concat();
    assert!(cli.ok(&with(&["--dry-run"])).contains("6 tasks match"));
    let counted = cli.json(&with(&["--dry-run"]));
    assert_eq!((&counted["dry_run"], &counted["matched"]), (&json!(true), &json!(6)));
    let err = cli.refused(&with(&[]));
    assert!(err.contains("6 tasks match") && err.contains("--yes"), "{err}");
    assert_eq!(cli.json(&["stats"])["status_counts"]["CANCELLED"], 0, "nobody said yes");

    let said = cli.run(&with(&["--yes"]));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("done to 6 of 6") && said.err.contains("6 tasks match"), "{said:?}");
    assert!(cli.ok(&with(&[])).contains("0 tasks match"));
    let redriven = cli.json(&["task", "redrive", "--filter", "job=example-task,tag=x", "--yes"]);
    assert_eq!((&redriven["state"], &redriven["done"]), (&json!("done"), &json!(6)));
    let id = redriven["operation_id"].as_str().unwrap();
    assert_eq!(cli.json(&["operation", "get", id]), redriven);
    assert!(cli.ok(&["operation", "get", id]).contains("kind            redrive"));
    assert!(cli.refused(&["operation", "get", "x"]).contains("unknown_operation"));
    assert_eq!(cli.json(&["task", "cancel", "--filter", "tag=y", "--yes"])["done"], 3);
    assert!(cli.refused(&["task", "cancel", "--filter", "qeue=q", "--yes"]).contains("qeue"));
    assert!(
        cli.refused(&["task", "redrive", "--filter", "status=QUEUED", "--yes"]).contains("/filter/status")
    );
    assert_eq!(cli.run(&["task", "cancel"]).code, Some(2));

    let err = cli.refused(&["queue", "purge", "q"]);
    assert!(err.contains("7 tasks wait in q") && err.contains("--yes"), "{err}");
    assert!(cli.ok(&["queue", "purge", "q", "--yes"]).contains("purge: done to 7 of 7"));
    assert_eq!(cli.json(&["queue", "purge", "q", "--yes"])["done"], 0);
    assert!(cli.refused(&["queue", "purge", "nowhere", "--yes"]).contains("unknown_queue"));
    assert_eq!(cli.ok(&["task", "list", "--queue", "q", "--status", "QUEUED,SCHEDULED"]).lines().count(), 1);
}

#[test]
fn queues_are_set_piece_by_piece() {
    let dev = Dev::start(&["example-task"]);
    let cli = Cli::of(&dev);
    let set = |args: &[&str]| cli.json(&[&["queue", "set", "q"], args].concat());
    let queue = set(&["--rate", "100/1m", "--concurrency", "5", "--aging", "1m"]);
    assert_eq!((&queue["rate"], &queue["aging"]), (&json!({"starts": 100, "per": "1m"}), &json!("1m")));
    let queue =
        set(&["--timeout", "9s", "--backoff", "linear,1s,5s", "--max-attempts", "2", "--per-key", "3"]);
    assert_eq!((&queue["concurrency"], &queue["per_key"]), (&json!(5), &json!(3)), "what is not named stays");
    assert_eq!(queue["defaults"]["backoff"]["kind"], "linear");
    let queue = set(&["--rate", "none", "--timeout", "none"]);
    assert_eq!((queue.get("rate"), queue["defaults"].get("timeout")), (None, None));
    assert_eq!(queue["defaults"]["max_attempts"], 2);
    let shown = cli.ok(&["queue", "set", "q", "--rate", "7/1s"]);
    assert!(shown.contains("concurrency     5"), "{shown}");
    assert!(cli.ok(&["queue", "get", "q"]).contains("aging           1m"));
    assert!(cli.refused(&["queue", "set", "q", "--rate", "0/1m"]).contains("/rate/starts"));
    assert!(cli.refused(&["queue", "set", "q", "--rate", "3"]).contains("STARTS/SPAN"));
    assert_eq!(cli.run(&["queue", "set", "q"]).code, Some(2));
    assert_eq!(cli.run(&["queue", "get", "../stats"]).code, Some(2));
    assert!(cli.refused(&["queue", "get", "nowhere"]).contains("unknown_queue"));

    assert!(cli.ok(&["queue", "pause", "q"]).contains("q: paused, 0 tasks ready"));
    let list = cli.ok(&["queue", "list"]);
    assert!(list.contains("yes") && list.contains("7/1s"), "{list}");
    assert_eq!(cli.json(&["queue", "list"])["queues"][0]["paused"], true);
    assert_eq!(cli.json(&["queue", "resume", "q"])["paused"], false);
}

#[test]
fn ends_are_followed_and_gone_on_with() {
    let mut dev = Dev::start(&["example-task", "hostile"]);
    let cli = Cli::of(&dev);
    let first = cli.submit(&["example-task"]);
    let mut events = cli.start(&["events", "--last-event-id", "0", "--output", "json"]);
    let event: Value = serde_json::from_str(&events.line()).unwrap();
    assert_eq!((&event["event"], &event["data"]["task_id"]), (&json!("COMPLETED"), &json!(first)));
    let id = event["id"].as_str().unwrap();
    dev.process.kill();
    dev.start_again();
    let second = cli.submit(&["hostile", r#"{"do":"permanent"}"#]);
    let event: Value = serde_json::from_str(&events.line()).unwrap();
    assert_eq!((&event["event"], &event["data"]["task_id"]), (&json!("FAILED"), &json!(second)));

    let line = cli.start(&["events", "--last-event-id", id]).line();
    assert!(
        line.contains(&second) && line.ends_with("hostile  default  attempt 1  permanent: as asked"),
        "{line}"
    );
    assert!(cli.refused(&["events", "--last-event-id", "x"]).contains("Last-Event-ID"));
    assert!(cli.refused(&["events", "--last-event-id", "a b"]).contains("no id"));
}

#[test]
fn a_server_that_is_away_is_said_with_the_way_out() {
    let cli = Cli { server: "http://127.0.0.1:1".into() };
    for args in [&["stats"][..], &["task", "list"], &["task", "watch", "x"], &["events"], &["queue", "list"]]
    {
        let err = cli.refused(args);
        assert!(err.contains("http://127.0.0.1:1") && err.contains("sentinel dev"), "{err}");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error_to_tell_of() {
    let dev = Dev::start(&["example-task"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Cli::of(&dev).command(&["stats"]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), said(&output).err.as_str()), (Some(141), ""));
}

#[test]
fn an_audit_of_redis_tells_whether_a_task_is_lost() {
    let stack = Stack::start(&[]);
    let mut worker = stack.worker(&[]);
    stack.api.wait_until_ready(1);
    let cli = Cli { server: format!("http://127.0.0.1:{}", stack.api.port) };
    let id = cli.submit(&["example-task"]);
    cli.ok(&["task", "get", &id, "--wait"]);
    cli.submit(&["example-task", "--delay", "1h"]);
    assert_eq!(worker.terminate(), Some(0));

    let url = stack.redis.url();
    let audit = ["audit", "--redis", &url];
    let clean = json!({"tasks": 2, "submitted": 2, "held": 2, "removed": 0, "problems": []});
    assert_eq!(cli.json(&audit), clean);
    let out = cli.ok(&audit);
    assert!(out.contains("looked at          2") && out.contains("problems           0"), "{out}");

    let mut redis = stack.connection();
    let removed: u32 =
        redis::cmd("ZREM").arg("{s0}:fin:default:COMPLETED").arg(&id).query(&mut redis).unwrap();
    assert_eq!(removed, 1);
    let said = cli.run(&audit);
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains(&format!("task {id}")), "{said:?}");
    let said = cli.run(&[&audit[..], &["--output", "json"]].concat());
    let found: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &found["held"]), (Some(1), &json!(1)));
    assert_eq!(found["problems"].as_array().unwrap().len(), 2, "{found}");

    let err = cli.refused(&["audit", "--redis", "redis://127.0.0.1:1"]);
    assert!(err.contains("cannot connect"), "{err}");
    assert_eq!(cli.run(&["audit"]).code, Some(2));
}

#[test]
fn an_audit_of_an_embedded_store_needs_it_for_itself() {
    let mut dev = Dev::start(&["example-task"]);
    let cli = Cli::of(&dev);
    cli.ok(&["submit", "example-task", "--wait"]);
    let data = dev.dir.path().join("sentinel-data");
    let audit = ["audit", "--data-dir", data.to_str().unwrap()];
    let err = cli.refused(&audit);
    assert!(err.contains("open in another process: stop that one"), "{err}");
    assert_eq!(dev.process.terminate(), Some(0));
    assert_eq!(cli.json(&audit)["submitted"], 1);
    assert!(cli.ok(&audit).contains("submitted          1"));

    let nowhere = dev.dir.path().join("nowhere");
    let err = cli.refused(&["audit", "--data-dir", nowhere.to_str().unwrap()]);
    assert!(err.contains("there is no queue.redb"), "{err}");
    assert!(!Path::new(&nowhere).exists(), "none is made by looking");
}
