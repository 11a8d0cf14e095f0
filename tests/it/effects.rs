//! What jobs do through the store, while the processes that run them are killed.

use std::time::{Duration, Instant};

use sentinel_testkit::wait_for;
use serde_json::{Value, json};

use crate::cluster::{Process, Stack, some_plugins};

fn stack() -> Stack {
    let stack = Stack::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    stack.set_lease(1000);
    some_plugins(stack.dir.path(), &["ledger"]);
    stack
}

/// Submits tasks; answers their ids.
fn submit(stack: &Stack, tasks: &[Value]) -> Vec<String> {
    let mut ids = Vec::new();
    for tasks in tasks.chunks(1000) {
        let answer = stack.api.post("/v1/tasks/batch", &json!({ "tasks": tasks }).to_string());
        assert_eq!(answer.status, 201, "{}", answer.text());
        let answer = answer.json();
        let tasks = answer["tasks"].as_array().unwrap().iter();
        ids.extend(tasks.map(|task| task["task_id"].as_str().unwrap().to_owned()));
    }
    ids
}

fn get(stack: &Stack, key: &str) -> Value {
    let id =
        stack.api.submit(&json!({ "payload": { "job": "ledger", "do": "get", "key": key } }).to_string());
    let task = stack.api.get(&format!("/v1/tasks/{id}?wait=30s")).json();
    assert_eq!(task["status"], "COMPLETED", "{task}");
    task["result"].clone()
}

/// Kills one worker after another, and starts another in its place, until this is so; `most` times.
fn kill_until(
    stack: &Stack,
    workers: &mut [Process],
    every: Duration,
    most: u32,
    over: impl Fn() -> bool,
) -> u32 {
    let mut kills = 0;
    let mut next = Instant::now() + every;
    let patience = Instant::now() + Duration::from_secs(600);
    while !over() {
        assert!(Instant::now() < patience, "stuck: {}", stack.api.get("/stats").text());
        if kills < most && Instant::now() >= next {
            next = Instant::now() + every;
            let victim = kills as usize % workers.len();
            workers[victim].kill();
            workers[victim] = stack.worker(&["--concurrency", "4"]);
            kills += 1;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    kills
}

/// So many transfers between two accounts; `SENTINEL_TRANSFERS` asks for more.
#[test]
fn transfers_between_two_accounts_conserve_the_sum_whoever_is_killed() {
    let transfers = std::env::var("SENTINEL_TRANSFERS").map_or(600, |count| count.parse().expect("a number"));
    let stack = stack();
    let mut workers = [0; 3].map(|_| stack.worker(&["--concurrency", "4"]));
    stack.api.wait_until_ready(3);
    let tasks: Vec<_> = (0..transfers)
        .map(|number: usize| {
            let (from, to) = if number.is_multiple_of(2) { ("a", "b") } else { ("b", "a") };
            let amount = number * 31 % 17;
            let payload =
                json!({ "job": "ledger", "do": "transfer", "from": from, "to": to, "amount": amount });
            json!({ "payload": payload, "max_attempts": 1000 })
        })
        .collect();
    let since = Instant::now();
    let ids = submit(&stack, &tasks);
    let done = || stack.api.count("COMPLETED") >= ids.len() as u64;
    let kills = kill_until(&stack, &mut workers, Duration::from_millis(700), 30, done);
    println!(
        "{transfers} transfers in {:.1?}, {kills} workers killed, {} conflicts, {} leases lost",
        since.elapsed(),
        stack.ever("conflict"),
        stack.ever("lost")
    );
    assert!(kills > 0 && stack.ever("conflict") > 0);
    assert_eq!(stack.ever("COMPLETED"), ids.len() as u64, "each was committed once");
    let balance = |account| get(&stack, account).as_i64().expect("it was used");
    assert_eq!(balance("a") + balance("b"), 2000);
    stack.assert_audit_clean();
}

/// Some of these tasks lose their workers so often that they are run in a process of their own:
/// there, too, what they saved is theirs.
#[test]
fn a_checkpointed_job_repeats_no_finished_step_and_loses_no_effect() {
    const TASKS: usize = 8;
    const STEPS: usize = 10;
    const TASKS_IN_ALL: u64 = (TASKS + 2 * TASKS * STEPS) as u64;
    let stack = stack();
    let mut workers = [0; 2].map(|_| stack.worker(&["--concurrency", "4"]));
    stack.api.wait_until_ready(2);
    let payload = json!({ "job": "ledger", "do": "steps", "steps": STEPS, "ms": 400 });
    let ids = submit(&stack, &vec![json!({ "payload": payload, "max_attempts": 20 }); TASKS]);
    let ended = || ids.iter().all(|id| stack.api.task(id)["status"] == "COMPLETED");
    let kills = kill_until(&stack, &mut workers, Duration::from_millis(1300), 8, ended);
    println!("{kills} workers killed, {} leases lost", stack.ever("lost"));
    assert!(stack.ever("lost") >= TASKS as u64);
    let (mut went_on, mut alone) = (0, 0);
    for id in &ids {
        let task = stack.api.task(id);
        let lost = task["history"].as_array().unwrap().iter().filter(|event| event["outcome"] == "LOST");
        alone += u64::from(lost.count() >= 2);
        went_on += u64::from(task["result"].as_u64() > Some(0));
        for step in 0..STEPS {
            assert_eq!(get(&stack, &format!("{id}:{step}")), 1, "step {step} of {task}");
        }
    }
    assert!(went_on > 0, "some went on where another attempt was");
    assert!(alone > 0, "some were run alone");
    // Each step's task is there once: theirs, and those that asked for the numbers just now.
    wait_for("the steps' tasks", || (stack.ever("COMPLETED") == TASKS_IN_ALL).then_some(()));
    assert_eq!(stack.ever("submitted"), TASKS_IN_ALL);
    stack.assert_audit_clean();
}
