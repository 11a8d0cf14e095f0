//! Many tasks.

use std::{
    thread,
    time::{Duration, Instant},
};

use sentinel_testkit::wait_for;

use crate::cluster::Stack;

/// That the time of each call stays the same however many tasks there are is for the benchmarks.
#[test]
fn case_21_a_long_queue_is_listed_in_pages_and_purged_in_slices() {
    const BATCHES: usize = 100;
    const BATCH: usize = 1000;
    let stack = Stack::start(&[]);
    let api = stack.api;
    api.wait_until_ready(0);
    api.post("/v1/queues/default/pause", "");
    let batch = vec![r#"{"payload":{"job":"hostile","do":"ok"},"tags":["many"]}"#; BATCH].join(",");
    let batch = format!(r#"{{"tasks":[{batch}]}}"#);
    for _ in 0..BATCHES {
        assert_eq!(api.post("/v1/tasks/batch", &batch).status, 201);
    }
    assert_eq!(api.count("QUEUED"), (BATCHES * BATCH) as u64);

    // Pages hold what was asked for and not more, whatever is looked for.
    for (query, most) in [("limit=500", 500), ("tag=many", 50), ("job=example-task&limit=500", 0)] {
        let page = api.get(&format!("/v1/tasks?{query}")).json();
        assert_eq!(page["tasks"].as_array().unwrap().len(), most, "{query}");
        assert!(page["next_cursor"].is_string(), "{query}: there is more to look at");
    }
    assert_eq!(api.get("/v1/tasks?limit=501").status, 422);

    let answer = api.post("/v1/queues/default/purge", "");
    assert_eq!(answer.status, 202, "{}", answer.text());
    let operation = format!("/v1/operations/{}", answer.json()["operation_id"].as_str().unwrap());
    // Others are served meanwhile: each of these requests comes between two slices.
    let mut slowest = Duration::ZERO;
    let mut seen = Vec::new();
    wait_for("the end of the purge", || {
        let since = Instant::now();
        let left = api.count("QUEUED");
        let urgent = api.post("/submit-task", r#"{"payload":{"job":"hostile","do":"ok"},"queue":"other"}"#);
        assert_eq!(urgent.status, 200);
        slowest = slowest.max(since.elapsed());
        seen.push(left);
        thread::sleep(Duration::from_millis(20));
        (api.get(&operation).json()["state"] == "done").then_some(())
    });
    let done = api.get(&operation).json();
    assert_eq!((&done["matched"], &done["done"]), (&(BATCHES * BATCH).into(), &(BATCHES * BATCH).into()));
    seen.dedup();
    println!("{} states of the queue were seen; two requests took {slowest:?} at most", seen.len());
    assert!(seen.len() > 10, "it went in slices: {seen:?}");
    assert!(slowest < Duration::from_secs(1), "two requests took {slowest:?}");
    // Only what was submitted elsewhere is left.
    let page = api.get("/v1/tasks?queue=default").json();
    assert_eq!(page["tasks"].as_array().unwrap().len(), 0);
    assert_eq!(stack.ever("removed"), (BATCHES * BATCH) as u64);
    assert_eq!(api.count("QUEUED"), stack.ever("submitted") - stack.ever("removed"));
    stack.assert_audit_clean();
}
