//! Reading tasks, queues, jobs and workers.

use std::time::Duration;

use bytes::Bytes;
use sentinel_queue::lease::Verdict;
use serde_json::json;

use crate::client::{Client, digest};

#[tokio::test]
async fn a_created_task_is_given_back_as_it_will_be_read() {
    let client = Client::new();
    let body = r#"{"payload":{"job":"a"},"priority":-7,"queue":"q","timeout":"90s","max_attempts":5,
        "backoff":{"kind":"linear","base":"2s"}}"#;
    let answer = client.post("/v1/tasks", body).await;
    assert_eq!(answer.status.as_u16(), 201);
    let task = answer.json();
    assert_eq!(answer.headers["location"], format!("/v1/tasks/{}", task["task_id"].as_str().unwrap()));
    assert_eq!(
        (&task["priority"], &task["queue"], &task["timeout"], &task["max_attempts"], &task["attempt"]),
        (&json!(-7), &json!("q"), &json!("90s"), &json!(5), &json!(1))
    );
    assert_eq!(task["backoff"], json!({"kind": "linear", "base": "2s", "max": "10m", "jitter": true}));
    let read = client.get(answer.headers["location"].to_str().unwrap()).await.json();
    assert_eq!(read, task);
}

#[tokio::test]
async fn a_result_is_given_back_byte_for_byte() {
    let client = Client::new();
    let id = client.submit(r#"{"payload":{"job":"a"}}"#).await;
    let result = r#" {"n": 9007199254740993, "x": 1.0} "#;
    client.run(Verdict::Complete(Bytes::from_static(result.as_bytes()))).await;
    let answer = client.get(&format!("/v1/tasks/{id}/result")).await;
    assert_eq!(
        (answer.headers["content-type"].to_str().unwrap(), &answer.body[..]),
        ("application/json", result.as_bytes())
    );
    let task = client.get(&format!("/v1/tasks/{id}")).await;
    assert!(String::from_utf8_lossy(&task.body).contains(result.trim()));
}

#[tokio::test]
async fn a_client_that_waits_is_answered_when_the_task_has_ended() {
    let client = Client::new();
    let id = client.submit(r#"{"payload":{"job":"a"}}"#).await;
    let path = format!("/v1/tasks/{id}?wait=30s");
    let (answer, ()) = tokio::join!(client.get(&path), async {
        client.run(Verdict::Complete(Bytes::from_static(b"1"))).await;
    });
    assert_eq!(answer.json()["status"], "COMPLETED");
}

#[tokio::test]
async fn a_wait_that_is_over_gives_the_task_as_it_is() {
    let client = Client::new();
    let id = client.submit(r#"{"payload":{"job":"a"}}"#).await;
    let since = std::time::Instant::now();
    let answer = client.get(&format!("/v1/tasks/{id}?wait=120ms")).await;
    assert_eq!(answer.json()["status"], "QUEUED");
    assert!(since.elapsed() >= Duration::from_millis(120));
}

#[tokio::test]
async fn a_task_that_waits_for_its_next_attempt_says_when_and_why() {
    use sentinel_queue::{
        ErrorKind,
        task::{ErrorReport, TaskError},
    };
    let client = Client::new();
    let id = client.submit(r#"{"payload":{"job":"a"}}"#).await;
    let report = ErrorReport { message: "<script>".into(), ..ErrorReport::default() };
    let error = TaskError { kind: ErrorKind::Trap, report };
    client.run(Verdict::Retry(error, Duration::from_secs(60))).await;
    let task = client.get(&format!("/v1/tasks/{id}")).await.json();
    assert_eq!((&task["status"], &task["attempt"]), (&json!("SCHEDULED"), &json!(2)));
    assert_eq!(task["last_error"], json!({"kind": "trap", "message": "<script>"}));
    assert!(task["run_at"].is_string() && task.get("error").is_none());
}

#[tokio::test]
async fn a_queue_is_paused_and_resumed() {
    let client = Client::new();
    client.submit(r#"{"payload":{"job":"a"},"queue":"q"}"#).await;
    let paused = client.post("/v1/queues/q/pause", "").await.json();
    let expected =
        json!({"name": "q", "paused": true, "depth": 1, "parked": 0, "per_key": 1, "defaults": {}});
    assert_eq!(paused, expected);
    assert_eq!(client.get("/v1/queues/q").await.json(), paused);
    let list = client.get("/v1/queues").await.json();
    assert_eq!(list, json!({"queues": [paused], "next_cursor": null}));
    assert_eq!(client.post("/v1/queues/q/resume", "").await.json()["paused"], false);
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let client = Client::new();
    for queue in ["c", "a", "b"] {
        client.submit(&format!(r#"{{"payload":{{"job":"a"}},"queue":"{queue}"}}"#)).await;
    }
    let mut names = Vec::new();
    let mut path = "/v1/queues?limit=2".to_owned();
    for _page in 0..2 {
        let page = client.get(&path).await.json();
        names.extend(page["queues"].as_array().unwrap().iter().map(|queue| queue["name"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/queues?limit=2&cursor={cursor}");
    }
    assert_eq!(names, ["a", "b", "c"]);
}

#[tokio::test]
async fn workers_and_jobs_are_what_workers_say_of_themselves() {
    let client = Client::new();
    client.advertise(&["example-task"]).await;
    client.advertise(&["example-task"]).await;
    let workers = client.get("/v1/workers").await.json();
    assert_eq!(workers["workers"].as_array().unwrap().len(), 2);
    assert_eq!(workers["workers"][0]["slots"], 4);
    assert_eq!(workers["workers"][0]["jobs"][0]["admitted_at"], "1970-01-01T00:00:01.000Z");
    let jobs = client.get("/v1/jobs").await.json();
    assert_eq!((&jobs["jobs"][0]["name"], &jobs["jobs"][0]["workers"]), (&json!("example-task"), &json!(2)));
    assert_eq!(jobs["refused"], json!([{"file": "x.wasm", "reason": "not a component", "workers": 2}]));
    assert_eq!(client.get("/v1/jobs/example-task").await.json()["digests"], json!([digest("abc")]));
}

#[tokio::test]
async fn health_and_readiness_are_told() {
    let client = Client::new();
    assert_eq!(client.get("/healthz").await.json(), json!({"status": "ok"}));
    assert_eq!(client.get("/readyz").await.json(), json!({"status": "ok", "durability": "none"}));
}
