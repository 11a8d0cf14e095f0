//! Schedules as clients set, read and steer them.

use axum::{
    body::Body,
    http::{Method, header},
};
use sentinel_queue::schedule::Scheduler;
use serde_json::{Value, json};

use crate::client::{Answer, Client, request};

const DAILY: &str = r#"{"cron":"0 9 * * 1-5","task":{"payload":{"job":"report"}}}"#;

async fn send(client: &Client, method: Method, path: &str, body: &str) -> Answer {
    let request = request(method, path).header(header::CONTENT_TYPE, "application/json");
    client.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

async fn put(client: &Client, name: &str, body: &str) -> Answer {
    send(client, Method::PUT, &format!("/v1/schedules/{name}"), body).await
}

#[tokio::test]
async fn a_schedule_is_made_changed_read_and_deleted() {
    let client = Client::new();
    let body = r#"{"cron":"0 9 * * MON-FRI","timezone":"europe/berlin","catch_up":"all","paused":false,"task":{
        "payload":{"job":"report", "n": 12345678901234567890},"queue":"reports","priority":-3,"timeout":"90s",
        "max_attempts":5,"backoff":{"kind":"fixed","base":"2s"},"concurrency_key":"k","tags":["a","b"]}}"#;
    let made = put(&client, "morning", body).await;
    assert_eq!(made.status, 201, "{:?}", made.body);
    assert_eq!(made.headers[header::LOCATION], "/v1/schedules/morning");
    let read = client.get("/v1/schedules/morning").await;
    assert_eq!(read.json(), made.json());
    // Numbers stay as they are.
    assert!(String::from_utf8_lossy(&read.body).contains(r#"{"job":"report", "n": 12345678901234567890}"#));
    let mut view = read.json();
    let runs = view["next_runs"].take();
    let runs: Vec<_> = runs.as_array().unwrap().iter().map(|run| run.as_str().unwrap()).collect();
    assert_eq!(runs.len(), 5);
    assert!(
        runs.iter().all(|run| run.ends_with("T07:00:00.000Z") || run.ends_with("T08:00:00.000Z")),
        "{runs:?}"
    );
    assert!(runs.is_sorted());
    view["task"]["payload"].take();
    assert_eq!(
        view,
        json!({
            "name": "morning", "cron": "0 9 * * MON-FRI", "timezone": "Europe/Berlin", "catch_up": "all",
            "paused": false, "next_runs": null,
            "task": {
                "job": "report", "payload": null, "queue": "reports", "priority": -3, "timeout": "90s",
                "max_attempts": 5, "concurrency_key": "k", "tags": ["a", "b"],
                "backoff": {"kind": "fixed", "base": "2s", "max": "10m", "jitter": true},
            },
        })
    );
    let changed = put(&client, "morning", DAILY).await;
    assert_eq!(changed.status, 200);
    let view = changed.json();
    assert_eq!((&view["timezone"], &view["catch_up"]), (&json!("UTC"), &json!("latest")));
    assert_eq!(
        view["task"],
        json!({"job": "report", "payload": {"job": "report"}, "queue": "default", "priority": 0})
    );
    assert_eq!(send(&client, Method::DELETE, "/v1/schedules/morning", "").await.status, 204);
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(send(&client, method, "/v1/schedules/morning", "").await.code(), "unknown_schedule");
    }
}

#[tokio::test]
async fn schedules_are_listed_a_page_at_a_time_without_payloads() {
    let client = Client::new();
    for name in ["b", "c", "a"] {
        assert_eq!(put(&client, name, DAILY).await.status, 201);
    }
    let first = client.get("/v1/schedules?limit=2").await.json();
    let names = |list: &Value| -> Vec<String> {
        let schedules = list["schedules"].as_array().unwrap().iter();
        schedules.map(|schedule| schedule["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["schedules"][0]["task"]["job"], "report");
    assert_eq!(first["schedules"][0]["task"].get("payload"), None);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = client.get(&format!("/v1/schedules?limit=2&cursor={cursor}")).await.json();
    assert_eq!((names(&second), &second["next_cursor"]), (vec!["c".to_owned()], &Value::Null));
    assert_eq!(client.get("/v1/schedules?limit=0").await.status, 422);
    assert_eq!(client.get("/v1/schedules?cursor=x").await.status, 422);
}

#[tokio::test]
async fn a_schedule_is_paused_and_resumed() {
    let client = Client::new();
    put(&client, "s", DAILY).await;
    let paused = client.post("/v1/schedules/s/pause", "").await.json();
    assert_eq!((&paused["paused"], &paused["next_runs"]), (&json!(true), &json!([])));
    // Left out, it stays.
    assert_eq!(put(&client, "s", DAILY).await.json()["paused"], true);
    let resumed = client.post("/v1/schedules/s/resume", "").await.json();
    assert_eq!((&resumed["paused"], resumed["next_runs"].as_array().unwrap().len()), (&json!(false), 5));
    for verb in ["pause", "resume"] {
        assert_eq!(client.post(&format!("/v1/schedules/none/{verb}"), "").await.code(), "unknown_schedule");
    }
}

#[tokio::test]
async fn a_tick_makes_a_task_and_the_schedule_tells_of_it() {
    let client = Client::new();
    put(&client, "s", r#"{"cron":"* * * * * *","task":{"payload":{"job":"j"},"tags":["mine"]}}"#).await;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert!(Scheduler::default().run(&client.queue).await.unwrap().submitted >= 1);
    let last = client.get("/v1/schedules/s").await.json()["last_run"].take();
    let id = last["task_id"].as_str().unwrap();
    let task = client.get(&format!("/v1/tasks/{id}")).await.json();
    assert_eq!((&task["status"], &task["tags"]), (&json!("QUEUED"), &json!(["mine", "schedule:s"])));
    let at = last["at"].as_str().unwrap();
    assert_eq!(&at[at.len() - 5..], ".000Z", "whole seconds");
    let listed = client.get("/v1/tasks?tag=schedule:s").await.json();
    assert!(!listed["tasks"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_wrong_is_named_with_its_place() {
    let client = Client::new();
    let task = r#""task":{"payload":{"job":"j"}}"#;
    for (body, pointer, detail) in [
        (format!("{{{task}}}"), "/cron", "is missing"),
        (format!(r#"{{"cron":5,{task}}}"#), "/cron", "must be a cron expression"),
        (format!(r#"{{"cron":"0 25 * * *",{task}}}"#), "/cron", "character 3, in the field hour: \"25\""),
        (format!(r#"{{"cron":"0 9 * * MON,FRY",{task}}}"#), "/cron", "character 13, in the field day of week"),
        (format!(r#"{{"cron":"* * * *",{task}}}"#), "/cron", "it has 4"),
        (format!(r#"{{"cron":"@nightly",{task}}}"#), "/cron", "@daily"),
        (format!(r#"{{"cron":"0 0 30 2 *",{task}}}"#), "/cron", "never happens"),
        (format!(r#"{{"cron":"@daily","timezone":"Europe/Berlln",{task}}}"#), "/timezone", "did you mean \"Europe/Berlin\"?"),
        (format!(r#"{{"cron":"@daily","timezone":"+01:00",{task}}}"#), "/timezone", "IANA"),
        (format!(r#"{{"cron":"@daily","timezone":null,{task}}}"#), "/timezone", "IANA"),
        (format!(r#"{{"cron":"@daily","catch_up":"some",{task}}}"#), "/catch_up", "\"latest\", \"all\" or \"none\""),
        (format!(r#"{{"cron":"@daily","paused":1,{task}}}"#), "/paused", "true or false"),
        (format!(r#"{{"cron":"@daily","zone":"UTC",{task}}}"#), "/zone", "timezone"),
        (r#"{"cron":"@daily"}"#.into(), "/task", "is missing"),
        (r#"{"cron":"@daily","task":[]}"#.into(), "/task", "must be an object"),
        (r#"{"cron":"@daily","task":{}}"#.into(), "/task/payload", "is missing"),
        (r#"{"cron":"@daily","task":{"payload":{"job":"../x"}}}"#.into(), "/task/payload/job", "must match"),
        (r#"{"cron":"@daily","task":{"payload":{"job":"j"},"priority":1001}}"#.into(), "/task/priority", "1000"),
        (r#"{"cron":"@daily","task":{"payload":{"job":"j"},"prioriti":1}}"#.into(), "/task/prioriti", "\"priority\""),
        (
            r#"{"cron":"@daily","task":{"payload":{"job":"j"},"tags":["1","2","3","4","5","6","7","8","9","10"]}}"#.into(),
            "/task/tags",
            "11 tags",
        ),
    ] {
        let answer = put(&client, "s", &body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (422, "invalid_field"), "{body}");
        let error = &answer.json()["errors"][0];
        assert_eq!(error["pointer"], pointer, "{body}");
        assert!(error["detail"].as_str().unwrap().contains(detail), "{error}");
    }
    for field in ["run_at", "delay", "after", "after_policy", "idempotency_key", "expires_at"] {
        let body = format!(r#"{{"cron":"@daily","task":{{"payload":{{"job":"j"}},"{field}":"1h"}}}}"#);
        let answer = put(&client, "s", &body).await;
        assert_eq!(answer.pointers(), [format!("/task/{field}")]);
        assert!(answer.json()["detail"].as_str().unwrap().contains("cannot be given here"));
    }
    assert_eq!(put(&client, "S", DAILY).await.code(), "invalid_field");
    assert_eq!(put(&client, &"s".repeat(56), DAILY).await.status, 422);
    assert_eq!(put(&client, "s", "{").await.status, 400);
    assert_eq!(put(&client, "s", r#"{"cron":"@daily","cron":"@daily"}"#).await.status, 400);
    assert_eq!(client.get("/v1/schedules").await.json()["schedules"], json!([]));
}

#[tokio::test]
async fn a_job_that_no_worker_has_is_refused() {
    let client = Client::new();
    client.advertise(&["report"]).await;
    assert_eq!(put(&client, "s", DAILY).await.status, 201);
    let answer = put(&client, "s", r#"{"cron":"@daily","task":{"payload":{"job":"reprot"}}}"#).await;
    assert_eq!(
        (answer.code().as_str(), answer.pointers()),
        ("unknown_job", vec!["/task/payload/job".to_owned()])
    );
}
