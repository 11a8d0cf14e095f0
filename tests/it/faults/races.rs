//! What may happen to a task at the same moment.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use sentinel_testkit::wait_for;

use crate::cluster::{Api, Stack};

const TASKS: usize = 200;

/// The states of all tasks.
fn states(api: Api) -> HashMap<String, String> {
    let page = api.get("/v1/tasks?limit=500").json();
    let tasks = page["tasks"].as_array().expect("a list").iter();
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    tasks.map(|task| (text(&task["task_id"]), text(&task["status"]))).collect()
}

/// Every 8 ms one more task expires, while the worker needs 10 ms for one: it runs at the edge of
/// expiry. Half the tasks are cancelled as well, a little before that, at that moment and after it,
/// when they run or end. Whatever wins, wins for good.
#[test]
fn case_20_cancel_completion_and_expiry_race_to_one_end() {
    const OFFSETS: [i64; 4] = [-25, 0, 8, 20];
    let stack = Stack::start(&[]);
    let api = stack.api;
    let _worker = stack.worker(&["--concurrency", "2"]);
    api.wait_until_ready(1);
    api.post("/v1/queues/default/pause", "");
    let start = Timestamp::now() + SignedDuration::from_millis(300);
    let expires = |number: usize| start + SignedDuration::from_millis(8 * i64::try_from(number).unwrap());
    let tasks: Vec<_> = (0..TASKS)
        .map(|number| {
            let at = expires(number);
            format!(r#"{{"payload":{{"job":"hostile","do":"sleep","ms":20}},"expires_at":"{at:.3}"}}"#)
        })
        .collect();
    let answer = api.post("/v1/tasks/batch", &format!(r#"{{"tasks":[{}]}}"#, tasks.join(",")));
    assert_eq!(answer.status, 201, "{}", answer.text());
    let accepted = answer.json()["tasks"].as_array().unwrap().clone();
    let ids: Vec<_> = accepted.iter().map(|task| task["task_id"].as_str().unwrap()).collect();

    let mut ended = HashMap::new();
    let mut look = || {
        for (id, state) in states(api) {
            if matches!(state.as_str(), "COMPLETED" | "FAILED" | "CANCELLED") {
                let first = ended.entry(id).or_insert_with(|| state.clone());
                assert_eq!(*first, state, "an end is final");
            }
        }
        ended.len()
    };
    let next = AtomicUsize::new(0);
    let answers: Vec<(usize, u16)> = thread::scope(|scope| {
        let cancel_some = || {
            let mut answers = Vec::new();
            loop {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                let number = 2 * turn;
                let Some(id) = ids.get(number) else { return answers };
                let at = expires(number) + SignedDuration::from_millis(OFFSETS[turn % OFFSETS.len()]);
                let wait = at.duration_since(Timestamp::now());
                thread::sleep(Duration::try_from(wait).unwrap_or_default());
                answers.push((number, api.post(&format!("/v1/tasks/{id}/cancel"), "").status));
            }
        };
        let cancelling: Vec<_> = (0..4).map(|_| scope.spawn(cancel_some)).collect();
        let wait = start.duration_since(Timestamp::now());
        thread::sleep(Duration::try_from(wait).unwrap_or_default());
        api.post("/v1/queues/default/resume", "");
        wait_for("the end of all", || (look() == TASKS).then_some(()));
        cancelling.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    // Guests that were stopped have ended, and what they told changed nothing.
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(50));
        look();
    }

    for (number, status) in &answers {
        let state = ended[ids[*number]].as_str();
        match status {
            200 => assert_eq!(state, "CANCELLED"),
            409 => assert_ne!(state, "CANCELLED"),
            other => panic!("a cancel was answered {other}"),
        }
    }
    for state in ["COMPLETED", "FAILED", "CANCELLED"] {
        let seen = ended.values().filter(|ended| *ended == state).count() as u64;
        println!("{seen} {state}");
        assert!(seen > 0, "none is {state}: there was no race");
        assert_eq!((api.count(state), stack.ever(state)), (seen, seen), "{state}");
    }
    for (id, state) in ended {
        let task = api.task(&id);
        let kind = &task["error"]["kind"];
        assert!(state != "FAILED" || kind == "expired", "{task}");
    }
    assert_eq!(stack.ever("lost"), 0);
    stack.assert_audit_clean();
}
