//! Schedules, while the processes that look after them are killed.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::cluster::{Api, Stack};

/// The second of a time as the API writes it.
fn second(time: &Value) -> u64 {
    let time = time.as_str().expect("a time");
    let clock: Vec<u64> = time[11..19].split(':').map(|part| part.parse().expect("a number")).collect();
    clock[0] * 3600 + clock[1] * 60 + clock[2]
}

/// The tasks of a schedule.
fn tasks(api: Api, schedule: &str) -> HashSet<String> {
    let list = api.get(&format!("/v1/tasks?tag=schedule:{schedule}&limit=500")).json();
    let tasks = list["tasks"].as_array().expect("tasks").iter();
    tasks.map(|task| task["task_id"].as_str().expect("an id").to_owned()).collect()
}

/// An API and three workers sweep, so four schedulers race for each tick; one worker after the
/// other is killed at any moment.
#[test]
fn each_tick_has_one_task_whoever_is_killed() {
    const KILLS: usize = 40;
    let stack = Stack::start(&[]);
    let api = stack.api;
    let worker = || stack.worker(&["--concurrency", "2"]);
    let mut workers = [worker(), worker(), worker()];
    api.wait_until_ready(3);
    let mut first = Vec::new();
    for name in ["a", "b", "c"] {
        let body = r#"{"cron":"* * * * * *","catch_up":"all","task":{"payload":{"job":"example-task"}}}"#;
        let made = api.request("PUT", &format!("/v1/schedules/{name}"), Some(body)).expect("the API answers");
        assert_eq!(made.status, 201, "{}", made.text());
        first.push(second(&made.json()["next_runs"][0]));
    }
    let since = Instant::now();
    for kill in 0..KILLS {
        // Not in step with the ticks.
        std::thread::sleep(Duration::from_millis(170 + 13 * (kill as u64 % 7)));
        let victim = &mut workers[kill % 3];
        victim.kill();
        *victim = worker();
    }
    let lasted = since.elapsed().as_secs();
    for (name, first) in ["a", "b", "c"].into_iter().zip(first) {
        let paused = api.post(&format!("/v1/schedules/{name}/pause"), "").json();
        let last = second(&paused["last_run"]["at"]);
        // Around midnight.
        let ticks = (last + 24 * 3600 - first) % (24 * 3600) + 1;
        assert!((lasted / 2..=lasted + 5).contains(&ticks), "{ticks} ticks in {lasted} s");
        assert_eq!(tasks(api, name).len() as u64, ticks, "{name}");
    }
}
