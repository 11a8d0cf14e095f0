//! A task's life as clients steer and watch it.

use std::{collections::HashSet, time::Duration};

use axum::{
    body::Body,
    http::{Method, header},
};
use bytes::Bytes;
use http_body_util::BodyExt;
use sentinel_queue::{
    ErrorKind,
    lease::Verdict,
    task::{ErrorReport, TaskError},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::client::{Client, request};

fn done(result: &'static str) -> Verdict {
    Verdict::Complete(Bytes::from_static(result.as_bytes()))
}

fn failed() -> Verdict {
    let report = ErrorReport { message: "it broke".into(), ..ErrorReport::default() };
    Verdict::Fail(TaskError { kind: ErrorKind::Permanent, report })
}

#[tokio::test]
async fn a_task_is_put_off_by_a_delay_or_to_a_time() {
    let client = Client::new();
    for when in [r#""delay":"1h""#, r#""run_at":"2030-01-31T12:00:00.250Z""#] {
        let answer = client.post("/v1/tasks", format!(r#"{{"payload":{{"job":"a"}},{when}}}"#)).await;
        let task = answer.json();
        assert_eq!((answer.status.as_u16(), &task["status"]), (201, &json!("SCHEDULED")), "{task}");
        let read = client.task(task["task_id"].as_str().unwrap()).await;
        assert_eq!(read, task);
        if when.contains("run_at") {
            assert_eq!(read["run_at"], "2030-01-31T12:00:00.250Z");
        }
    }
    let past = client.submit(r#"{"payload":{"job":"a"},"run_at":"2020-01-31T12:00:00Z"}"#).await;
    assert_eq!(client.task(&past).await["status"], "QUEUED");
}

#[tokio::test]
async fn fields_out_of_their_range_are_named() {
    let client = Client::new();
    for (fields, pointer) in [
        (r#""delay":"3651d""#, "/delay"),
        (r#""delay":"-1s""#, "/delay"),
        (r#""delay":5"#, "/delay"),
        (r#""delay":"1s","run_at":"2030-01-31T12:00:00Z""#, "/delay"),
        (r#""run_at":"tomorrow""#, "/run_at"),
        (r#""run_at":"1969-01-01T00:00:00Z""#, "/run_at"),
        (r#""run_at":"2030-01-31 12:00:00Z""#, "/run_at"),
        (r#""run_at":"20300131T120000Z""#, "/run_at"),
        (r#""run_at":"2030-01-31T12:00Z""#, "/run_at"),
        (r#""run_at":"2030-01-31T12:00:00+01:00[Europe/Paris]""#, "/run_at"),
        (r#""run_at":"9999-01-01T00:00:00Z""#, "/run_at"),
        (r#""expires_at":1900000000"#, "/expires_at"),
        (r#""tags":["a b"]"#, "/tags"),
        (r#""tags":"a""#, "/tags"),
        (r#""tags":["1","2","3","4","5","6","7","8","9","10","11"]"#, "/tags"),
        (r#""concurrency_key":"""#, "/concurrency_key"),
        (r#""concurrency_key":"a b""#, "/concurrency_key"),
        (r#""idempotency_key":"é""#, "/idempotency_key"),
        (r#""after":["x"]"#, "/after"),
        (r##""after":["#0"]"##, "/after"),
        (r#""after":[1]"#, "/after"),
        (r#""after_policy":"never""#, "/after_policy"),
    ] {
        let answer = client.post("/v1/tasks", format!(r#"{{"payload":{{"job":"a"}},{fields}}}"#)).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (422, "invalid_field"), "{fields}");
        assert_eq!(answer.pointers(), [pointer], "{fields}");
    }
    let unknown = r#"{"payload":{"job":"a"},"after":["0198c0de-0000-7000-8000-000000000000"]}"#;
    let answer = client.post("/v1/tasks", unknown).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (422, "unknown_parent"));
    assert_eq!(client.get("/stats").await.json()["queue_size"], 0, "nothing was accepted");
}

#[tokio::test]
async fn case_9_an_idempotency_key_makes_one_task() {
    let client = Client::new();
    let body = r#"{"payload":{"job":"a"},"idempotency_key":"order-7"}"#;
    let first = client.post("/submit-task", body).await.json();
    assert_eq!(first.as_object().unwrap().len(), 2, "{first}");
    let again = client.post("/submit-task", body).await.json();
    let id = &first["task_id"];
    assert_eq!(again, json!({"task_id": id, "status": "QUEUED", "deduplicated": true}));

    let with_header = request(Method::POST, "/v1/tasks")
        .header(header::CONTENT_TYPE, "application/json")
        .header("Idempotency-Key", "\"order-7\"");
    let answer = client.send(with_header.body(Body::from(r#"{"payload":{"job":"a"}}"#)).unwrap()).await;
    let task = answer.json();
    assert_eq!((answer.status.as_u16(), &task["deduplicated"], &task["task_id"]), (200, &json!(true), id));
    assert_eq!(task["idempotency_key"], "order-7");

    for other in [
        r#"{"payload":{"job":"a","x":1},"idempotency_key":"order-7"}"#,
        r#"{"payload":{"job":"a"},"queue":"q","idempotency_key":"order-7"}"#,
    ] {
        let answer = client.post("/v1/tasks", other).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (422, "idempotency_key_reused"));
    }
    assert_eq!(client.get("/stats").await.json()["queue_size"], 1);
}

#[tokio::test]
async fn a_key_whose_task_is_not_kept_any_more_is_answered_with_its_id_and_last_status() {
    let client = Client::new();
    let body = r#"{"payload":{"job":"a"},"idempotency_key":"order-7"}"#;
    let id = client.post("/submit-task", body).await.json()["task_id"].clone();
    let purge = client.post("/v1/queues/default/purge", "").await;
    assert_eq!(operate(&client, &purge.json()).await["done"], 1);
    let expected = json!({"task_id": id, "status": "CANCELLED", "deduplicated": true});
    for path in ["/submit-task", "/v1/tasks"] {
        let answer = client.post(path, body).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, expected.clone()), "{path}");
    }
    let batch = client.post("/v1/tasks/batch", format!(r#"{{"tasks":[{body}]}}"#)).await;
    assert_eq!((batch.status.as_u16(), &batch.json()["tasks"][0]), (201, &expected));
}

#[tokio::test]
async fn concurrent_submits_with_one_key_make_one_task() {
    let client = Client::new();
    let body = r#"{"payload":{"job":"a"},"idempotency_key":"k"}"#;
    let answers = (0..20).map(|_| client.post("/submit-task", body));
    let ids: std::collections::BTreeSet<_> = futures_util::future::join_all(answers)
        .await
        .iter()
        .map(|answer| answer.json()["task_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn a_batch_is_a_workflow_in_one_request() {
    let client = Client::new();
    let body = r##"{"tasks":[
        {"payload":{"job":"a"}},
        {"payload":{"job":"b"},"after":["#0"]},
        {"payload":{"job":"c"},"after":["#0","#1"],"after_policy":"always"}
    ]}"##;
    let answer = client.post("/v1/tasks/batch", body).await;
    assert_eq!(answer.status.as_u16(), 201, "{:?}", answer.body);
    let tasks = answer.json()["tasks"].as_array().unwrap().clone();
    let statuses: Vec<_> = tasks.iter().map(|task| task["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["QUEUED", "BLOCKED", "BLOCKED"]);
    let id = |index: usize| tasks[index]["task_id"].as_str().unwrap();
    let child = client.task(id(2)).await;
    assert_eq!((&child["after"], &child["after_policy"]), (&json!([id(0), id(1)]), &json!("always")));

    client.run(done("1")).await;
    assert_eq!(client.task(id(1)).await["status"], "QUEUED");
    client.run(failed()).await;
    assert_eq!(client.task(id(2)).await["status"], "QUEUED", "it runs always");
}

#[tokio::test]
async fn a_child_of_a_failed_parent_is_cancelled_with_the_reason() {
    let client = Client::new();
    let parent = client.submit(r#"{"payload":{"job":"a"}}"#).await;
    let body = format!(r#"{{"payload":{{"job":"b"}},"after":["{parent}"]}}"#);
    let child = client.submit(&body).await;
    let grandchild = client.submit(&format!(r#"{{"payload":{{"job":"b"}},"after":["{child}"]}}"#)).await;
    client.run(failed()).await;
    for (id, cause, how) in [(&child, &parent, "FAILED"), (&grandchild, &child, "CANCELLED")] {
        let task = client.task(id).await;
        assert_eq!((&task["status"], &task["error"]["kind"]), (&json!("CANCELLED"), &json!("cancelled")));
        let message = task["error"]["message"].as_str().unwrap();
        assert!(message.contains(cause.as_str()) && message.contains(how), "{message}");
    }
    // A child that comes later learns the same.
    let late = client.post("/submit-task", body).await.json();
    assert_eq!(late["status"], "CANCELLED");
}

#[tokio::test]
async fn a_bad_batch_is_refused_whole_and_says_where() {
    let client = Client::new();
    let body = r##"{"tasks":[{"payload":{"job":"a"}},{"payload":{"job":"b"},"priority":5000},{"payload":{}},
        {"payload":{"job":"c"},"after":["#3"]},7]}"##;
    let answer = client.post("/v1/tasks/batch", body).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (422, "invalid_field"));
    assert_eq!(
        answer.pointers(),
        ["/tasks/1/priority", "/tasks/2/payload/job", "/tasks/3/after", "/tasks/4"]
    );
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    let places: Vec<_> = errors.iter().map(|error| error["index"].as_u64().unwrap()).collect();
    assert_eq!(places, [1, 2, 3, 4]);
    // What the store knows, and what is no JSON, is said of one task, too.
    let stranger = "0198c0de-0000-7000-8000-000000000000";
    for (second, code, pointer) in [
        (
            format!(r#"{{"payload":{{"job":"a"}},"after":["{stranger}"]}}"#),
            "unknown_parent",
            "/tasks/1/after",
        ),
        (r#"{"payload":{"job":"a","job":"b"}}"#.to_owned(), "malformed_json", "/tasks/1"),
    ] {
        let body = format!(r#"{{"tasks":[{{"payload":{{"job":"a"}}}},{second}]}}"#);
        let answer = client.post("/v1/tasks/batch", body).await;
        assert_eq!((answer.code().as_str(), answer.pointers()), (code, vec![pointer.to_owned()]));
        assert_eq!(answer.json()["errors"][0]["index"], 1);
    }
    let alone = format!(r#"{{"payload":{{"job":"a"}},"after":["{stranger}"]}}"#);
    let answer = client.post("/v1/tasks", alone).await;
    assert_eq!((answer.code().as_str(), answer.pointers()), ("unknown_parent", vec!["/after".to_owned()]));
    assert!(answer.json()["errors"][0].get("index").is_none());
    let many: Vec<_> = (0..1001).map(|_| r#"{"payload":{"job":"a"}}"#).collect();
    for bad in [r#"{"tasks":[]}"#.to_owned(), "{}".to_owned(), format!(r#"{{"tasks":[{}]}}"#, many.join(","))]
    {
        let answer = client.post("/v1/tasks/batch", bad).await;
        assert_eq!(answer.pointers(), ["/tasks"]);
    }
    // What is wrong many times is not told many times.
    let names: Vec<_> = (0..5000).map(|number| format!(r#""x{number}":1"#)).collect();
    let answer = client.post("/v1/tasks", format!("{{{}}}", names.join(","))).await;
    assert_eq!((answer.status.as_u16(), answer.pointers().len()), (422, 100));
    // Nor may a batch wait for so many that everybody waits for it.
    let parents: Vec<_> = (0..100).map(|number| format!(r##""#{number}""##)).collect();
    let plain = vec![r#"{"payload":{"job":"a"}}"#.to_owned(); 100];
    let child = format!(r#"{{"payload":{{"job":"a"}},"after":[{}]}}"#, parents.join(","));
    let tasks = [plain, vec![child; 21]].concat().join(",");
    let answer = client.post("/v1/tasks/batch", format!(r#"{{"tasks":[{tasks}]}}"#)).await;
    assert_eq!((answer.status.as_u16(), answer.pointers()), (422, vec!["/tasks".to_owned()]));
    assert_eq!(client.get("/stats").await.json()["queue_size"], 0);
}

#[tokio::test]
async fn tasks_are_listed_by_what_they_have() {
    let client = Client::new();
    for number in 0..7 {
        let (queue, tag) = (["q", "p"][number % 2], ["red", "blue"][usize::from(number < 3)]);
        client
            .submit(&format!(r#"{{"payload":{{"job":"a"}},"queue":"{queue}","tags":["{tag}","n{number}"]}}"#))
            .await;
    }
    client.run(done("1")).await;
    client.run(failed()).await;
    let count = async |query: &str| {
        let mut found = Vec::new();
        let mut cursor = String::new();
        for _ in 0..20 {
            let list = client.get(&format!("/v1/tasks?limit=2{query}{cursor}")).await;
            assert_eq!(list.status.as_u16(), 200, "{:?}", list.body);
            let list = list.json();
            let tasks = list["tasks"].as_array().unwrap();
            assert!(tasks.len() <= 2);
            found.extend(tasks.iter().map(|task| task["task_id"].as_str().unwrap().to_owned()));
            let Some(next) = list["next_cursor"].as_str() else {
                let mut distinct = found.clone();
                distinct.sort();
                distinct.dedup();
                assert_eq!(distinct.len(), found.len(), "nothing is listed twice");
                return found.len();
            };
            cursor = format!("&cursor={next}");
        }
        panic!("the list does not end");
    };
    assert_eq!(count("").await, 7);
    assert_eq!(count("&status=QUEUED").await, 5);
    assert_eq!(count("&status=COMPLETED,FAILED").await, 2);
    assert_eq!(count("&queue=p").await, 3);
    assert_eq!(count("&tag=blue").await, 3);
    assert_eq!(count("&tag=n6").await, 1);
    assert_eq!(count("&job=b").await, 0);
    assert_eq!(count("&since=2020-01-01T00:00:00Z").await, 7);
    assert_eq!(count("&until=2020-01-01T00:00:00Z").await, 0);
    let listed = client.get("/v1/tasks?status=FAILED").await.json()["tasks"][0].clone();
    assert_eq!(listed["error"], json!({"kind": "permanent", "message": "it broke"}));
    assert!(listed.get("payload").is_none() && listed.get("history").is_none());
}

#[tokio::test]
async fn bad_listings_are_refused() {
    let client = Client::new();
    client.submit(r#"{"payload":{"job":"a"}}"#).await;
    let forged = |text: &str| hex::encode(text);
    for (query, pointer) in [
        ("status=LOST".to_owned(), "status"),
        ("queue=a%20b".to_owned(), "queue"),
        ("tag=%2C".to_owned(), "tag"),
        ("since=yesterday".to_owned(), "since"),
        ("limit=0".to_owned(), "limit"),
        ("limit=501".to_owned(), "limit"),
        ("cursor=zz".to_owned(), "cursor"),
        (format!("cursor={}", forged("QUEUED r:default:default nan x")), "cursor"),
        (format!("cursor={}", forged("QUEUED r:default:default 1")), "cursor"),
        ("color=red".to_owned(), "query"),
    ] {
        let answer = client.get(&format!("/v1/tasks?{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.pointers()), (422, vec![pointer.to_owned()]), "{query}");
    }
    // One that is well formed leads nowhere.
    let nowhere = forged("QUEUED d:other 1 x");
    let list = client.get(&format!("/v1/tasks?cursor={nowhere}")).await;
    assert_eq!((list.status.as_u16(), list.json()["tasks"].clone()), (200, json!([])));
}

#[tokio::test]
async fn a_task_is_cancelled_and_redriven_and_its_history_tells() {
    let client = Client::new();
    let id = client.submit(r#"{"payload":{"job":"a"},"max_attempts":1}"#).await;
    client.run(failed()).await;
    let path = |what: &str| format!("/v1/tasks/{id}/{what}");
    let redriven = client.post(&path("redrive"), "").await;
    assert_eq!((redriven.status.as_u16(), &redriven.json()["status"]), (200, &json!("QUEUED")));
    assert_eq!(redriven.json()["attempt"], 2);
    let answer = client.post(&path("redrive"), "").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (409, "wrong_state"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("QUEUED"));

    let held = client.claim().await;
    let cancelled = client.post(&path("cancel"), "").await.json();
    assert_eq!((&cancelled["status"], &cancelled["attempt"]), (&json!("CANCELLED"), &json!(2)));
    assert_eq!(cancelled["error"], json!({"kind": "cancelled", "message": "cancelled by request"}));
    assert_eq!(held.progression.attempt(), 2);
    let answer = client.post(&path("cancel"), "").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (409, "wrong_state"));
    let events: Vec<_> = cancelled["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["event"].as_str().unwrap(), event["outcome"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(events, [("attempt", "FAILED"), ("redriven", ""), ("attempt", "CANCELLED")]);
    assert_eq!(client.get(&path("result")).await.code(), "cancelled");
    let nobody = "/v1/tasks/0198c0de-0000-7000-8000-000000000000/cancel";
    assert_eq!(client.post(nobody, "").await.code(), "unknown_task");
}

#[tokio::test]
async fn a_waiting_task_is_rescheduled() {
    let client = Client::new();
    let id = client.submit(r#"{"payload":{"job":"a"}}"#).await;
    let path = format!("/v1/tasks/{id}/reschedule");
    let task = client.post(&path, r#"{"delay":"1h","priority":7}"#).await.json();
    assert_eq!((&task["status"], &task["priority"]), (&json!("SCHEDULED"), &json!(7)));
    let task = client.post(&path, r#"{"delay":"0s"}"#).await.json();
    assert_eq!((&task["status"], &task["priority"]), (&json!("QUEUED"), &json!(7)));
    assert_eq!(client.post(&path, "{}").await.status.as_u16(), 422);
    assert_eq!(client.post(&path, r#"{"when":1}"#).await.pointers(), ["/when"]);
    client.claim().await;
    assert_eq!(client.post(&path, r#"{"delay":"1h"}"#).await.code(), "wrong_state");
}

async fn operate(client: &Client, started: &Value) -> Value {
    while client.queue.operate().await.unwrap() {}
    client.get(&format!("/v1/operations/{}", started["operation_id"].as_str().unwrap())).await.json()
}

#[tokio::test]
async fn an_operation_is_previewed_and_carried_out() {
    let client = Client::new();
    for number in 0..450 {
        let tag = if number % 3 == 0 { r#","tags":["old"]"# } else { "" };
        client.submit(&format!(r#"{{"payload":{{"job":"a"}}{tag}}}"#)).await;
    }
    let preview =
        client.post("/v1/operations", r#"{"kind":"cancel","filter":{"tag":"old"},"dry_run":true}"#).await;
    assert_eq!(preview.status.as_u16(), 202);
    let preview = operate(&client, &preview.json()).await;
    assert_eq!(
        (&preview["matched"], &preview["done"], &preview["state"]),
        (&json!(150), &json!(0), &json!("done"))
    );

    let started = client.post("/v1/operations", r#"{"kind":"cancel","filter":{"tag":"old"}}"#).await.json();
    let ended = operate(&client, &started).await;
    assert_eq!((&ended["matched"], &ended["done"]), (&json!(150), &json!(150)));
    let counts = client.get("/stats").await.json()["status_counts"].clone();
    assert_eq!((&counts["QUEUED"], &counts["CANCELLED"]), (&json!(300), &json!(150)));

    let started =
        client.post("/v1/operations", r#"{"kind":"redrive","filter":{"status":"CANCELLED"}}"#).await;
    let ended = operate(&client, &started.json()).await;
    assert_eq!(ended["done"], 150);
    let purge = client.post("/v1/queues/default/purge", "").await;
    assert_eq!(purge.status.as_u16(), 202);
    assert_eq!(operate(&client, &purge.json()).await["done"], 450);
    assert_eq!(client.get("/v1/tasks").await.json()["tasks"], json!([]));
    assert_eq!(client.get("/v1/operations/x").await.code(), "unknown_operation");
}

#[tokio::test]
async fn bad_operations_are_refused() {
    let client = Client::new();
    for (body, pointers) in [
        (r#"{"filter":{}}"#, vec!["/kind"]),
        (r#"{"kind":"purge","filter":{}}"#, vec!["/kind"]),
        (r#"{"kind":"cancel"}"#, vec!["/filter"]),
        (r#"{"kind":"cancel","filter":{"status":"FAILED"}}"#, vec!["/filter/status"]),
        (r#"{"kind":"redrive","filter":{"queue":"A","x":1}}"#, vec!["/filter/queue", "/filter/x"]),
    ] {
        let answer = client.post("/v1/operations", body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.pointers()),
            (422, pointers.iter().map(ToString::to_string).collect()),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_queue_is_set() {
    let client = Client::new();
    let body = r#"{"rate":{"starts":10,"per":"1m"},"concurrency":2,"per_key":3,"aging":"30s",
        "defaults":{"timeout":"5s","max_attempts":7,"backoff":{"kind":"fixed"}}}"#;
    let set = client.put("/v1/queues/q", body).await;
    assert_eq!(set.status.as_u16(), 200, "{:?}", set.body);
    let set = set.json();
    assert_eq!(client.get("/v1/queues/q").await.json(), set);
    assert_eq!(
        (&set["rate"], &set["concurrency"], &set["per_key"], &set["aging"], &set["running"]),
        (&json!({"starts": 10, "per": "1m"}), &json!(2), &json!(3), &json!("30s"), &json!(0))
    );
    assert_eq!(set["defaults"]["max_attempts"], 7);
    client.submit(r#"{"payload":{"job":"a"},"queue":"q"}"#).await;
    let answer = client.put("/v1/queues/q", r#"{"aging":"1s"}"#).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (409, "queue_not_empty"));
    assert_eq!(client.get("/v1/queues/q").await.json()["concurrency"], 2, "nothing was changed");
    let reset = client.put("/v1/queues/q", r#"{"aging":"30s"}"#).await.json();
    assert!(reset.get("rate").is_none() && reset.get("concurrency").is_none());
    for (body, pointer) in [
        (r#"{"rate":{"starts":0,"per":"1m"}}"#, "/rate/starts"),
        (r#"{"rate":{"starts":1}}"#, "/rate/per"),
        (r#"{"rate":{"starts":1,"per":"1ms"}}"#, "/rate/per"),
        (r#"{"concurrency":-1}"#, "/concurrency"),
        (r#"{"weight":1}"#, "/weight"),
        (r#"{"defaults":{"max_attempts":0}}"#, "/defaults/max_attempts"),
    ] {
        assert_eq!(client.put("/v1/queues/q", body).await.pointers(), [pointer], "{body}");
    }
    assert_eq!(client.get("/v1/queues/other").await.code(), "unknown_queue");
    assert_eq!(client.post("/v1/queues/other/purge", "").await.code(), "unknown_queue");
}

#[tokio::test]
async fn an_attempts_log_is_read() {
    let client = Client::new();
    let id = client.submit(r#"{"payload":{"job":"a"}}"#).await;
    let path = format!("/v1/tasks/{id}/logs");
    assert_eq!(client.get(&path).await.code(), "no_log");
    let report = ErrorReport::default();
    client.run(Verdict::Retry(TaskError { kind: ErrorKind::Trap, report }, Duration::from_secs(60))).await;
    let log = client.get(&path).await;
    assert_eq!(
        (log.headers["content-type"].to_str().unwrap(), &log.body[..]),
        ("text/plain; charset=utf-8", &b"a line\n"[..])
    );
    assert_eq!(client.get(&format!("{path}?attempt=2")).await.code(), "no_log");
    assert_eq!(client.get(&format!("{path}?attempt=0")).await.pointers(), ["attempt"]);
}

/// A stream of events as a client reads it.
struct Stream(Body, String);

impl Stream {
    async fn open(client: &Client, path: &str, last: Option<&str>) -> Self {
        let mut sent = request(Method::GET, path);
        if let Some(last) = last {
            sent = sent.header("Last-Event-ID", last);
        }
        let response = client.router.clone().oneshot(sent.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self(response.into_body(), String::new())
    }

    /// The next event: its name, its id, its data; null if it has none.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            if let Some((event, rest)) = self.1.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.1 = rest;
                let field = |name: &str| {
                    let lines = event.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                    lines.collect::<Vec<_>>().join("\n")
                };
                if event.starts_with(':') {
                    continue;
                }
                return Some((
                    field("event"),
                    field("id"),
                    serde_json::from_str(&field("data")).unwrap_or_default(),
                ));
            }
            let frame =
                tokio::time::timeout(Duration::from_secs(20), self.0.frame()).await.expect("an event");
            let data = frame?.unwrap().into_data().unwrap();
            self.1.push_str(std::str::from_utf8(&data).unwrap());
        }
    }
}

#[tokio::test]
async fn a_task_is_followed_to_its_end() {
    let client = Client::new();
    let id = client.submit("{\"payload\":{\"job\":\"a\",\r\n \"x\":1}}").await;
    let mut stream = Stream::open(&client, &format!("/v1/tasks/{id}/events"), None).await;
    let (name, _, task) = stream.next().await.unwrap();
    assert_eq!((name.as_str(), &task["status"]), ("task", &json!("QUEUED")));
    let (next, ()) = tokio::join!(stream.next(), async { client.run(done("{\"r\":\r\n 2}")).await });
    let (mut name, _, mut task) = next.unwrap();
    if name == "task" {
        assert_eq!(task["status"], "IN_PROGRESS");
        (name, _, task) = stream.next().await.unwrap();
    }
    assert_eq!(
        (name.as_str(), &task["status"], &task["result"]),
        ("end", &json!("COMPLETED"), &json!({"r": 2}))
    );
    assert!(stream.next().await.is_none(), "that was the end");
    let answer = client.get("/v1/tasks/0198c0de-0000-7000-8000-000000000000/events").await;
    assert_eq!(answer.code(), "unknown_task");
}

#[tokio::test]
async fn all_ends_are_heard_and_none_is_left_out_after_a_cut() {
    let client = Client::new();
    let mut stream = Stream::open(&client, "/v1/events", None).await;
    // Where it begins, for whoever hears nothing before the cut.
    let (name, start, nothing) = stream.next().await.unwrap();
    assert!(name.is_empty() && nothing.is_null());
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(client.submit(r#"{"payload":{"job":"a"}}"#).await);
        client.run(if number % 2 == 0 { done("1") } else { failed() }).await;
    }
    let (name, first, task) = stream.next().await.unwrap();
    assert_eq!((name.as_str(), task["task_id"].as_str().unwrap()), ("COMPLETED", ids[0].as_str()));
    drop(stream);
    let mut from_start = Stream::open(&client, "/v1/events", Some(&start)).await;
    assert_eq!(from_start.next().await.unwrap().2["task_id"], ids[0]);
    let mut again = Stream::open(&client, "/v1/events", Some(&first)).await;
    let mut heard = Vec::new();
    for _ in 1..5 {
        heard.push(again.next().await.unwrap().2["task_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(heard, ids[1..], "in order, each once");
    let sent = request(Method::GET, "/v1/events").header("Last-Event-ID", "x");
    assert_eq!(client.send(sent.body(Body::empty()).unwrap()).await.pointers(), ["Last-Event-ID"]);
}

/// More than a listener may be behind.
#[tokio::test]
async fn a_listener_that_is_slow_hears_all_ends_and_holds_up_nobody() {
    const ENDS: usize = 1500;
    let client = Client::new();
    let mut quick = Stream::open(&client, "/v1/events", None).await;
    let mut slow = Stream::open(&client, "/v1/events", None).await;
    for stream in [&mut quick, &mut slow] {
        stream.next().await.unwrap();
    }
    let mut ids = Vec::new();
    for _ in 0..ENDS {
        let id = client.submit(r#"{"payload":{"job":"a"}}"#).await;
        client.queue.cancel(id.parse().unwrap()).await.unwrap();
        ids.push(id);
    }
    for stream in [quick, slow] {
        let mut stream = stream;
        let mut heard = HashSet::new();
        while heard.len() < ENDS {
            let (name, _, task) = stream.next().await.unwrap();
            assert_eq!(name, "CANCELLED");
            assert!(heard.insert(task["task_id"].as_str().unwrap().to_owned()), "heard twice");
        }
        assert!(ids.iter().all(|id| heard.contains(id)));
    }
}

#[tokio::test]
async fn case_17_listeners_are_capped_and_others_unharmed() {
    let client = Client::new();
    let mut streams = Vec::new();
    for _ in 0..1024 {
        streams.push(Stream::open(&client, "/v1/events", None).await);
    }
    let answer = client.get("/v1/events").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "too_many_listeners"));
    assert_eq!(answer.headers["retry-after"], "1");
    client.submit(r#"{"payload":{"job":"a"}}"#).await;
    streams.pop();
    streams.push(Stream::open(&client, "/v1/events", None).await);
}
