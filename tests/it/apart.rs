//! Tasks that lost two workers: their third attempt is made by a child of its worker, whose death
//! convicts that task and nobody else.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use sentinel_queue::{
    Queue, TaskId,
    lease::{Instance, Served, Turn},
    store::redis::Redis,
};
use sentinel_testkit::{WebServer, wait_for};
use serde_json::Value;

use crate::cluster::{Process, Stack, is_alive};

/// It says how far it is about every second.
const ENDLESS: &str = r#"{"payload":{"job":"count-primes","limit":100000000000},"timeout":"5m"}"#;

/// A stack whose leases last a second.
fn stack() -> Stack {
    let stack = Stack::start(&[]);
    stack.set_lease(1000);
    stack.api.wait_until_ready(0);
    stack
}

/// The queue itself, for what the API does not say.
fn with_queue<T>(stack: &Stack, ask: impl AsyncFnOnce(Queue) -> T) -> T {
    let queue = Queue::new(Arc::new(Redis::new(&stack.redis.url()).unwrap()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(ask(queue))
}

/// Lets the tasks that wait, so many, lose two workers that nobody saw die.
pub(crate) fn lose_two_workers(stack: &Stack, tasks: usize) {
    stack.set_lease(200);
    with_queue(stack, async |queue| {
        for _ in 0..2 {
            let turn = Turn { number: 1, settlements: vec![], wanted: tasks };
            let answer =
                queue.settle_and_claim(&Instance::random("gone"), &Served::All, &turn).await.unwrap();
            assert_eq!(answer.claimed.len(), tasks);
            assert!(answer.claimed.iter().all(|task| !task.must_run_apart()));
            // Leases are ended only while somebody gives signs of life: so often nobody else does.
            while stack.api.count("QUEUED") < tasks as u64 {
                queue.sweep().await.unwrap();
            }
        }
    });
    stack.set_lease(1000);
}

fn child_of(worker: &Process, task: &str) -> u32 {
    wait_for("the child", || worker.children("run-apart").get(task).copied())
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, signal).unwrap();
}

fn all_run(stack: &Stack, ids: &[String], attempt: u32) {
    wait_for("the attempts", || {
        let runs = |id: &String| {
            let task = stack.api.task(id);
            task["status"] == "IN_PROGRESS" && task["attempt"] == attempt
        };
        ids.iter().all(runs).then_some(())
    });
}

fn ended(stack: &Stack, id: &str) -> Value {
    stack.api.get(&format!("/v1/tasks/{id}?wait=30s")).json()
}

/// How many workers a task lost: those that count, and those that do not.
fn losses(stack: &Stack, id: &str) -> (u32, u32) {
    let id: TaskId = id.parse().unwrap();
    let task = with_queue(stack, async |queue| queue.get(id).await.unwrap().unwrap());
    (task.progression.lost, task.progression.spared)
}

/// Waits until the guest in a child has said something.
fn progress_of(stack: &Stack, id: &str) {
    wait_for("its progress", || stack.api.task(id)["progress"]["percent"].as_u64());
}

/// Case 10.
#[test]
fn a_task_that_kills_its_worker_each_time_convicts_itself_alone() {
    let stack = stack();
    let api = stack.api;
    let killer = api.submit(ENDLESS);
    let neighbour = r#"{"payload":{"job":"hostile","do":"sleep","ms":4000}}"#;
    let beside: Vec<_> = (0..3).map(|_| api.submit(neighbour)).collect();
    let all = [std::slice::from_ref(&killer), &beside].concat();
    for attempt in 1..=2 {
        let mut worker = stack.worker(&["--concurrency", "8"]);
        all_run(&stack, &all, attempt);
        assert!(worker.children("run-apart").is_empty(), "nothing is suspected yet");
        worker.kill();
    }
    let mut worker = stack.worker(&["--concurrency", "8"]);
    let later: Vec<_> = (0..3).map(|_| api.submit(neighbour)).collect();
    all_run(&stack, &all, 3);
    all_run(&stack, &later, 1);
    let children =
        wait_for("a child for each", || Some(worker.children("run-apart")).filter(|some| some.len() == 4));
    assert!(all.iter().all(|id| children.contains_key(id)), "the others run as always");
    // Before its guest has begun, its death says nothing.
    progress_of(&stack, &killer);
    signal(children[&killer], Signal::KILL);
    let since = Instant::now();
    let task = ended(&stack, &killer);
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    assert_eq!((&task["status"], &task["attempt"]), (&"FAILED".into(), &3.into()), "{task}");
    assert_eq!(task["error"]["kind"], "worker_lost", "{task}");
    let message = task["error"]["message"].as_str().unwrap();
    assert!(message.contains("ran it alone") && message.contains("SIGKILL"), "{message}");
    for (ids, attempt) in [(&beside, 3), (&later, 1)] {
        for id in ids {
            let task = ended(&stack, id);
            assert_eq!((&task["status"], &task["attempt"]), (&"COMPLETED".into(), &attempt.into()), "{task}");
        }
    }
    assert_eq!(api.count("FAILED"), 1);
    assert_eq!(worker.terminate(), Some(0), "the worker itself is well");
}

/// What runs apart ends as it would anywhere, with the code that the worker admitted.
#[test]
fn what_runs_apart_ends_like_anything_else() {
    let stack = stack();
    let api = stack.api;
    let submit = |act: &str| {
        let policy = r#""timeout":"1s","max_attempts":1"#;
        api.submit(&format!(r#"{{"payload":{{"job":"hostile",{act}}},{policy}}}"#))
    };
    let echo = submit(r#""do":"echo","n":9007199254740993"#);
    let log = submit(r#""do":"flood-log","bytes":100000"#);
    let crashes = [
        (submit(r#""do":"loop""#), "timeout", None),
        (submit(r#""do":"sleep-forever""#), "timeout", Some("wall")),
        (submit(r#""do":"trap""#), "trap", None),
        (submit(r#""do":"memory""#), "memory_limit", None),
        (submit(r#""do":"permanent""#), "permanent", None),
        (submit(r#""do":"return-not-json""#), "bad_output", None),
    ];
    let again = api.submit(r#"{"payload":{"job":"hostile","do":"retry-after","ms":50},"max_attempts":2}"#);
    let endless = api.submit(ENDLESS);
    lose_two_workers(&stack, 10);

    assert_eq!(api.post("/v1/queues/default/pause", "").status, 200);
    let mut worker = stack.worker(&["--concurrency", "4"]);
    api.wait_until_ready(1);
    // What lies there by now does not matter to a worker that has admitted what was there.
    for job in ["hostile", "count-primes"] {
        std::fs::write(stack.dir.path().join(format!("plugins/{job}.wasm")), b"something else").unwrap();
    }
    assert_eq!(api.post("/v1/queues/default/resume", "").status, 200);

    let task = ended(&stack, &echo);
    assert_eq!((&task["status"], &task["attempt"]), (&"COMPLETED".into(), &3.into()), "{task}");
    assert!(api.get(&format!("/v1/tasks/{echo}/result")).text().contains("9007199254740993"));
    assert!(task["usage"]["cpu_ms"].as_f64().unwrap() > 0.0, "{task}");
    assert!(task["usage"]["peak_memory_bytes"].as_u64().unwrap() > 0, "{task}");
    assert_eq!(ended(&stack, &log)["status"], "COMPLETED");
    assert_eq!(api.get(&format!("/v1/tasks/{log}/logs")).body.len(), 64 << 10);
    for (id, kind, detail) in crashes {
        let task = ended(&stack, &id);
        assert_eq!((&task["status"], &task["error"]["kind"]), (&"FAILED".into(), &kind.into()), "{task}");
        if let Some(detail) = detail {
            assert_eq!(task["error"]["detail"], detail, "{task}");
        }
        if kind == "trap" {
            assert!(task["error"]["backtrace"].as_str().unwrap().contains("hostile"), "{task}");
        }
        // Its deadline, the start of its process, and what it waited for a slot.
        assert!(task["usage"]["wall_ms"].as_f64().unwrap() < 2500.0, "{task}");
    }
    let task = ended(&stack, &again);
    assert_eq!((&task["error"]["kind"], &task["attempt"]), (&"retryable".into(), &4.into()), "{task}");

    let child = child_of(&worker, &endless);
    progress_of(&stack, &endless);
    assert_eq!(api.post(&format!("/v1/tasks/{endless}/cancel"), "").status, 200);
    let since = Instant::now();
    wait_for("the child's end", || (!is_alive(child)).then_some(()));
    // A worker hears of it with its next renewal at the latest.
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    assert_eq!(ended(&stack, &endless)["status"], "CANCELLED");
    assert_eq!(worker.terminate(), Some(0));
    assert!(worker.children("run-apart").is_empty());
}

/// What a job may reach, it reaches there, too, and nothing more; and its secret stays one.
#[test]
fn grants_hold_in_a_process_of_its_own() {
    const SECRET: &str = "of-the-house-and-no-one-else";
    let (granted, other) = (WebServer::start(), WebServer::start());
    let stack = stack();
    let api = stack.api;
    let write = |file: &str, text: &str| std::fs::write(stack.dir.path().join(file), text).unwrap();
    write("key", SECRET);
    write(
        "plugins/hostile.toml",
        &format!(
            "http = [{:?}, {:?}]\nsecrets = [\"key\"]\nenv = [\"A\", \"B\"]\nscratch = \"1MiB\"",
            granted.url(""),
            other.url("")
        ),
    );
    write(
        "sentinel.toml",
        &format!(
            "[grants.hostile]\nhttp = [{{ origin = {:?}, private = true }}]\nscratch = \"1MiB\"\n\
             secrets = {{ key = {{ file = \"key\" }} }}\nenv = {{ A = \"a\", C = \"c\" }}",
            granted.url("")
        ),
    );
    let submit =
        |act: &str| api.submit(&format!(r#"{{"payload":{{"job":"hostile",{act}}},"max_attempts":1}}"#));
    let post = submit(&format!(r#""do":"http","method":"POST","url":"{}""#, granted.url("/")));
    let denied = submit(&format!(r#""do":"http","url":"{}""#, other.url("/")));
    let env = submit(r#""do":"env""#);
    let tell = submit(r#""do":"tell","secret":"key","by":"failure""#);
    let print = submit(r#""do":"tell","secret":"key","by":"stdout""#);
    let file = submit(r#""do":"write-file","path":"/scratch/a","text":"b""#);
    let endless = submit(r#""do":"sleep-forever""#);
    lose_two_workers(&stack, 7);
    let mut worker = stack.worker(&["--concurrency", "8"]);

    let result = |id: &str| {
        assert_eq!(ended(&stack, id)["status"], "COMPLETED", "{}", api.task(id));
        api.get(&format!("/v1/tasks/{id}/result")).text()
    };
    assert!(result(&post).contains("hello"));
    assert_eq!(granted.headers("idempotency-key"), [format!("{post}:1")]);
    assert!(result(&denied).contains("HttpRequestDenied"));
    assert_eq!(other.seen(), Vec::<String>::new());
    assert_eq!(result(&env), r#"{"args":["hostile"],"env":{"A":"a"}}"#);
    assert_eq!(ended(&stack, &tell)["error"]["message"], "it is [secret key].");
    assert_eq!(result(&print), SECRET.len().to_string());
    assert_eq!(api.get(&format!("/v1/tasks/{print}/logs")).text(), "it is [secret key].\n");
    assert_eq!(result(&file), "\"b\"");

    // One that is killed leaves its directory to its parent, which removes it.
    let child = child_of(&worker, &endless);
    let scratch =
        || std::fs::read_dir(stack.dir.path().join("sentinel-data/scratch")).map_or(0, Iterator::count);
    wait_for("the child's directory", || (scratch() == 1).then_some(()));
    signal(child, Signal::KILL);
    wait_for("nothing to be left", || (scratch() == 0).then_some(()));
    assert_eq!(ended(&stack, &endless)["error"]["kind"], "worker_lost");

    let job = api.get("/v1/jobs/hostile").text();
    assert!(job.contains(&format!("\"http {}\",\"env B\"", other.url(""))), "{job}");
    assert_eq!(worker.terminate(), Some(0));
    assert!(!stack.log().contains(SECRET));
    assert!(!job.contains(SECRET) && !api.get("/v1/workers").text().contains(SECRET));
}

#[test]
fn a_child_dies_with_its_worker_and_its_task_is_not_convicted_for_that() {
    let stack = stack();
    let id = stack.api.submit(ENDLESS);
    lose_two_workers(&stack, 1);
    let mut worker = stack.worker(&[]);
    all_run(&stack, std::slice::from_ref(&id), 3);
    let child = child_of(&worker, &id);
    progress_of(&stack, &id);
    worker.kill();
    let since = Instant::now();
    wait_for("the child's end", || (!is_alive(child)).then_some(()));
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());

    let worker = stack.worker(&[]);
    all_run(&stack, std::slice::from_ref(&id), 4);
    assert_eq!(losses(&stack, &id), (2, 1), "the third does not count");
    child_of(&worker, &id);
    progress_of(&stack, &id);
    let task = stack.api.task(&id);
    assert_eq!((&task["status"], &task["attempt"]), (&"IN_PROGRESS".into(), &4.into()), "{task}");
}

/// A service manager tells all processes of a service to stop.
#[test]
fn a_worker_that_is_told_to_stop_lets_its_children_finish_or_gives_their_tasks_back() {
    let stack = stack();
    let api = stack.api;
    let short = api.submit(r#"{"payload":{"job":"hostile","do":"sleep","ms":1000}}"#);
    let long = api.submit(r#"{"payload":{"job":"hostile","do":"sleep-forever"}}"#);
    lose_two_workers(&stack, 2);
    let mut worker = stack.worker(&["--grace", "2500ms"]);
    let of = [child_of(&worker, &short), child_of(&worker, &long)];
    all_run(&stack, &[short.clone(), long.clone()], 3);
    // As soon as it runs guests it can be told.
    wait_for("the children's handlers", || of.iter().all(|pid| catches_term(*pid)).then_some(()));
    for pid in of {
        signal(pid, Signal::TERM);
    }
    assert_eq!(worker.terminate(), Some(0));
    let task = api.task(&short);
    assert_eq!((&task["status"], &task["attempt"]), (&"COMPLETED".into(), &3.into()), "{task}");
    let task = api.task(&long);
    assert_eq!((&task["status"], &task["error"]), (&"QUEUED".into(), &Value::Null), "{task}");
    assert_eq!(losses(&stack, &long), (2, 0), "it was given back");
    assert!(of.iter().all(|pid| !is_alive(*pid)));
}

fn catches_term(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & 1 << (Signal::TERM.as_raw() - 1) != 0
}
