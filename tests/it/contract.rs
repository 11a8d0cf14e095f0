//! What the README and the contract promise of a running `sentinel dev`.

use serde_json::{Value, json};

use crate::cluster::{Dev, JOBS};

fn dev() -> Dev {
    Dev::start(JOBS)
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn the_documented_requests_give_the_documented_shapes_key_for_key() {
    let mut dev = dev();
    let answer = dev.api.post("/submit-task", r#"{"payload":{"job":"example-task"},"priority":5}"#);
    assert_eq!(answer.status, 200);
    assert_eq!(keys(&answer.json()), ["status", "task_id"]);
    assert_eq!(answer.json()["status"], "QUEUED");
    let id = answer.json()["task_id"].as_str().unwrap().to_owned();

    let task = dev.api.get(&format!("/v1/tasks/{id}?wait=30s")).json();
    assert_eq!(task["status"], "COMPLETED");
    assert_eq!(task["payload"], json!({"job": "example-task"}));
    assert_eq!(task["attempt"], 1);
    for field in ["created_at", "started_at", "finished_at"] {
        let time = task[field].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z') && time.as_bytes()[19] == b'.', "{time}");
    }
    assert!(task["usage"]["cpu_ms"].as_f64().unwrap() > 0.0);
    let result = dev.api.get(&format!("/v1/tasks/{id}/result"));
    assert_eq!(result.json(), task["result"]);

    let counts = dev.api.get("/stats").json();
    assert_eq!(keys(&counts), ["queue_size", "status_counts"]);
    let mut states = keys(&counts["status_counts"]);
    states.sort_unstable();
    assert_eq!(states, ["BLOCKED", "CANCELLED", "COMPLETED", "FAILED", "IN_PROGRESS", "QUEUED", "SCHEDULED"]);
    assert_eq!(counts["status_counts"]["COMPLETED"], 1);
    assert_eq!(dev.process.terminate(), Some(0));
}

#[test]
fn an_image_becomes_a_thumbnail_and_a_bad_one_an_error() {
    let dev = dev();
    // One red pixel.
    let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";
    let id = dev.api.submit(&format!(r#"{{"payload":{{"job":"resize-image","image":"{png}","width":1}}}}"#));
    let task = dev.api.get(&format!("/v1/tasks/{id}?wait=30s")).json();
    assert_eq!(task["status"], "COMPLETED", "{task}");
    assert_eq!(task["result"]["width"], 1);

    let id = dev.api.submit(r#"{"payload":{"job":"resize-image","image":"bm8=","width":1}}"#);
    let task = dev.api.get(&format!("/v1/tasks/{id}?wait=30s")).json();
    assert_eq!((&task["status"], &task["error"]["kind"]), (&json!("FAILED"), &json!("permanent")));
    let answer = dev.api.get(&format!("/v1/tasks/{id}/result"));
    assert_eq!((answer.status, &answer.json()["code"]), (409, &json!("failed")));
}

#[test]
fn a_running_job_shows_its_progress() {
    let dev = dev();
    let id = dev.api.submit(r#"{"payload":{"job":"count-primes","limit":3000000000},"timeout":"5m"}"#);
    let progress = sentinel_testkit::wait_for("progress", || {
        let task = dev.api.task(&id);
        task.get("progress").cloned()
    });
    assert!(progress["percent"].as_u64().unwrap() <= 100);
    assert!(progress["message"].is_string());
}

#[test]
fn an_unknown_job_is_refused_naming_the_nearest() {
    let dev = dev();
    let answer = dev.api.post("/submit-task", r#"{"payload":{"job":"exampel-task"}}"#);
    assert_eq!((answer.status, &answer.json()["code"]), (422, &json!("unknown_job")));
    assert!(answer.json()["detail"].as_str().unwrap().contains("example-task"));
}

/// The types of the job are its schema: what its worker publishes, the API asks for.
#[test]
fn a_payload_that_the_job_does_not_take_is_refused_with_the_place() {
    let dev = dev();
    let describes =
        || dev.api.get("/v1/jobs/example-task").json()["payload_schema"].is_object().then_some(());
    sentinel_testkit::wait_for("the job's description", describes);
    // What submits know of it is a second old at most.
    let refused = sentinel_testkit::wait_for("the refusal", || {
        let answer = dev.api.post("/submit-task", r#"{"payload":{"job":"example-task","numbers":"x"}}"#);
        (answer.status == 422).then(|| answer.json())
    });
    assert_eq!(refused["errors"][0]["pointer"], "/payload/numbers", "{refused}");
    let job = dev.api.get("/v1/jobs/example-task").json();
    assert_eq!(job["summary"], "Greets, and describes a list of numbers.", "{job}");
}
