//! Bad input: a clear error, and nothing is lost or done. Numbers are those of the catalogue of
//! cases.

use axum::{
    body::Body,
    http::{Method, StatusCode, header},
};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::client::{Client, digest, request};

/// Sends each body to both submit routes and expects the same error of both.
async fn refused(bodies: &[String], status: u16, code: &str) {
    let client = Client::new();
    for body in bodies {
        for path in ["/submit-task", "/v1/tasks"] {
            let answer = client.post(path, body.clone()).await;
            let shown: String = body.chars().take(80).collect();
            assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{shown}");
        }
    }
    assert_eq!(client.get("/stats").await.json()["queue_size"], 0, "nothing was accepted");
}

fn texts(bodies: &[&str]) -> Vec<String> {
    bodies.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn case_2_a_body_over_the_limit_is_413_with_and_without_a_declared_length() {
    let large = format!(r#"{{"payload":{{"job":"a","x":"{}"}}}}"#, "x".repeat(2 * 1024 * 1024));
    refused(std::slice::from_ref(&large), 413, "too_large").await;
    // A payload one byte too large, in a body that is not.
    let frame = r#"{"job":"a","x":""}"#.len();
    let payload =
        |bytes: usize| format!(r#"{{"payload":{{"job":"a","x":"{}"}}}}"#, "x".repeat(bytes - frame));
    refused(&[payload(1024 * 1024 + 1)], 413, "too_large").await;
    let client = Client::new();
    assert_eq!(client.post("/submit-task", payload(1024 * 1024)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn case_3_what_is_not_acceptable_json_is_400() {
    let deep = |depth: usize| {
        format!(r#"{{"payload":{{"job":"a","x":{}{}}}}}"#, "[".repeat(depth), "]".repeat(depth))
    };
    let mut bodies = texts(&[
        "",
        "{",
        "nonsense",
        r#"{"payload":{"job":"a"}} x"#,
        r#"{"payload":{"job":"a","job":"b"}}"#,
        r#"{"payload":{"job":"a","x":{"k":1,"k":2}}}"#,
        r#"{"payload":{"job":"a"},"payload":{"job":"b"}}"#,
        r#"{"payload":{"job":"a"},"priority":1,"priority":2}"#,
        r#"{"payload":{"job":"a"},"priority":1e999999}"#,
        r#"{"payload":{"job":"a"},"backoff":{"kind":"fixed","kind":"linear"}}"#,
        "[]",
        "5",
        "null",
    ]);
    let aside = format!(r#"{{"payload":{{"job":"a"}},"aside":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    bodies.extend([deep(200), deep(100_000), aside]);
    refused(&bodies, 400, "malformed_json").await;

    let client = Client::new();
    let answer = client
        .post("/submit-task", Bytes::from_static(b"{\"payload\":{\"job\":\"a\",\"x\":\"\xff\"}}"))
        .await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "malformed_json"));
    assert_eq!(client.post("/submit-task", deep(127)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn case_4_unusual_values_come_back_byte_for_byte() {
    let client = Client::new();
    for payload in [
        r#"{"job":"a","n":9007199254740993,"m":123456789012345678,"x":1e308,"y":-0.0,"z":1E2}"#,
        r#"{"job":"a","e":[],"o":{},"s":"\u0000\u001b[31m","u":"😀","w":  [ 1 , 2 ]}"#,
    ] {
        let id = client.submit(&format!(r#"{{"payload":{payload}}}"#)).await;
        let body = client.get(&format!("/v1/tasks/{id}")).await.body;
        let body = std::str::from_utf8(&body).unwrap();
        assert!(body.contains(payload), "{body}");
    }
}

#[tokio::test]
async fn case_5_a_bad_job_name_is_422() {
    let mut bodies: Vec<_> = ["../x", "%2e%2e", "/etc/passwd", "", "a b", "A", "é", "<script>"]
        .map(|job| format!(r#"{{"payload":{{"job":"{job}"}}}}"#))
        .to_vec();
    bodies.push(format!(r#"{{"payload":{{"job":"{}"}}}}"#, "x".repeat(10_000)));
    bodies.extend(texts(&[
        r#"{"payload":{}}"#,
        r#"{"payload":{"job":5}}"#,
        r#"{"payload":[]}"#,
        r#"{"payload":"a"}"#,
        "{}",
    ]));
    refused(&bodies, 422, "invalid_field").await;
}

#[tokio::test]
async fn case_6_a_value_out_of_its_range_is_422_and_named() {
    let client = Client::new();
    for (field, value) in [
        ("priority", "1001"),
        ("priority", "-1001"),
        ("priority", "1.5"),
        ("priority", "\"5\""),
        ("priority", "null"),
        ("timeout", "\"-1s\""),
        ("timeout", "\"25h\""),
        ("timeout", "\"0ms\""),
        ("timeout", "30"),
        ("max_attempts", "0"),
        ("max_attempts", "1001"),
        ("max_attempts", "-1"),
        ("queue", "\"a b\""),
        ("queue", "null"),
        ("backoff", "5"),
        ("backoff/kind", r#"{"kind":"soon"}"#),
        ("backoff/base", r#"{"base":"99d"}"#),
        ("backoff/jitter", r#"{"jitter":"yes"}"#),
    ] {
        let name = field.split('/').next().unwrap();
        let body = format!(r#"{{"payload":{{"job":"a"}},"{name}":{value}}}"#);
        let answer = client.post("/submit-task", body).await;
        assert_eq!(answer.code(), "invalid_field", "{field}: {value}");
        assert_eq!(answer.pointers(), [format!("/{field}")], "{value}");
    }
}

#[tokio::test]
async fn all_that_is_wrong_is_told_at_once() {
    let client = Client::new();
    let body = r#"{"payload":{"job":"a b"},"priority":"5","timeout":"x","colour":1,"backoff":{"bass":"1s"}}"#;
    let answer = client.post("/submit-task", body).await;
    assert_eq!(answer.pointers(), ["/payload/job", "/priority", "/timeout", "/backoff/bass", "/colour"]);
}

#[tokio::test]
async fn case_7_an_unknown_field_is_422_with_a_hint_and_inside_the_payload_anything_goes() {
    let client = Client::new();
    let answer = client.post("/submit-task", r#"{"payload":{"job":"a"},"prioritty":5}"#).await;
    assert_eq!(answer.pointers(), ["/prioritty"]);
    assert!(answer.json()["errors"][0]["detail"].as_str().unwrap().contains("\"priority\""));
    client.submit(r#"{"payload":{"job":"a","prioritty":5}}"#).await;
}

#[tokio::test]
async fn case_8_a_body_that_is_not_declared_as_json_is_415() {
    let client = Client::new();
    for kind in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/jsonp"),
        Some("application/json; charset=iso-8859-1"),
    ] {
        let mut sent = request(Method::POST, "/submit-task");
        if let Some(kind) = kind {
            sent = sent.header(header::CONTENT_TYPE, kind);
        }
        let answer = client.send(sent.body(Body::from(r#"{"payload":{"job":"a"}}"#)).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (415, "unsupported_media_type"));
    }
    let sent =
        request(Method::POST, "/submit-task").header(header::CONTENT_TYPE, "application/json; charset=utf-8");
    let answer = client.send(sent.body(Body::from(r#"{"payload":{"job":"a"}}"#)).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn case_10_a_job_that_no_worker_has_is_refused_once_workers_have_told_theirs() {
    let client = Client::new();
    client.submit(r#"{"payload":{"job":"exampel-task"}}"#).await;
    client.advertise(&["example-task", "resize-image"]).await;
    // What was known before may be a second old.
    let answer = loop {
        let answer = client.post("/submit-task", r#"{"payload":{"job":"exampel-task"}}"#).await;
        if answer.status != StatusCode::OK {
            break answer;
        }
    };
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (422, "unknown_job"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("\"example-task\""));
    client.submit(r#"{"payload":{"job":"resize-image"}}"#).await;
}

/// The schema is asked for by digest; while a plugin is being replaced, what either accepts passes.
#[tokio::test]
async fn case_11_a_payload_that_breaks_the_jobs_own_schema_is_422_with_the_place() {
    use sentinel_queue::schema::Description;
    let client = Client::new();
    client.advertise(&["example-task"]).await;
    let submit = |payload: &str| client.post("/v1/tasks", format!(r#"{{"payload":{payload}}}"#));
    assert_eq!(
        submit(r#"{"job":"example-task","n":"x"}"#).await.status.as_u16(),
        201,
        "nobody said anything"
    );
    let describe = async |word: &str, schema: &str| {
        let description = Description::parse("Adds.".into(), Some(schema), None).unwrap();
        client.queue.publish(&[(digest(word), description)]).await.unwrap();
        // What is known of the jobs is a second old at most.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    };
    describe(
        "abc",
        r#"{"type":"object","properties":{"n":{"type":"integer"}},"additionalProperties":false}"#,
    )
    .await;
    let answer = submit(r#"{"job":"example-task","n":"x"}"#).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (422, "invalid_field"));
    assert_eq!(answer.pointers(), ["/payload/n"]);
    assert_eq!(submit(r#"{"job":"example-task","n":1}"#).await.status.as_u16(), 201);
    let batch = r#"{"tasks":[{"payload":{"job":"example-task"}},{"payload":{"job":"example-task","m":1}}]}"#;
    let answer = client.post("/v1/tasks/batch", batch).await;
    assert_eq!((answer.status.as_u16(), answer.pointers()), (422, vec!["/tasks/1/payload".to_owned()]));
    let schedule = r#"{"cron":"0 9 * * *","task":{"payload":{"job":"example-task","n":1.5}}}"#;
    assert_eq!(client.put("/v1/schedules/s", schedule).await.pointers(), ["/task/payload/n"]);
    let job = client.get("/v1/jobs/example-task").await.json();
    assert_eq!((&job["summary"], &job["payload_schema"]["type"]), (&"Adds.".into(), &"object".into()));

    // Another worker runs another version.
    let info = json!({ "hostname": "g", "jobs": [{ "name": "example-task", "digest": digest("def") }] });
    let info = info.to_string().into();
    client.queue.renew(&sentinel_queue::lease::Instance::random("other"), info, &[], &[]).await.unwrap();
    describe("def", r#"{"required":["m"]}"#).await;
    assert_eq!(submit(r#"{"job":"example-task","m":1}"#).await.status.as_u16(), 201, "the new one takes it");
    assert_eq!(submit(r#"{"job":"example-task","n":1}"#).await.status.as_u16(), 201, "the old one takes it");
    assert_eq!(submit(r#"{"job":"example-task","n":"x"}"#).await.status.as_u16(), 422, "neither takes it");
}

/// A plugin says what its payloads must be. Without bounds the first of these takes minutes and
/// gigabytes, the second more stack than there is, and with that the process.
#[tokio::test]
async fn a_schema_that_would_take_for_ever_holds_nobody_up() {
    use sentinel_queue::schema::Description;
    let client = Client::new();
    client.advertise(&["example-task"]).await;
    let mut doubled = json!({ "a24": { "type": "string" } });
    let mut chain = json!({ "a1000": { "items": { "$ref": "#/$defs/a0" } } });
    for number in 0..24 {
        let next = json!({ "$ref": format!("#/$defs/a{}", number + 1) });
        doubled[format!("a{number}")] = json!({ "anyOf": [next, next] });
    }
    for number in 0..1000 {
        chain[format!("a{number}")] = json!({ "not": { "$ref": format!("#/$defs/a{}", number + 1) } });
    }
    let first = json!({ "$ref": "#/$defs/a0" });
    for (digest, defs) in [(digest("abc"), doubled), (digest("def"), chain)] {
        let schema = json!({ "properties": { "a": first }, "$defs": defs }).to_string();
        let description = Description::parse("Waits.".into(), Some(&schema), None).unwrap();
        client.queue.publish(&[(digest.clone(), description)]).await.unwrap();
        let info = json!({ "jobs": [{ "name": "example-task", "digest": digest }] }).to_string();
        let instance = sentinel_queue::lease::Instance::random("w");
        client.queue.renew(&instance, info.into(), &[], &[]).await.unwrap();
        // What is known of the jobs is a second old at most.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        let task = format!(r#"{{"payload":{{"job":"example-task","a":{deep}}}}}"#);
        let submitted = client.post("/v1/tasks", task);
        let answer = tokio::time::timeout(std::time::Duration::from_secs(5), submitted).await;
        assert_eq!(answer.expect("at once").status.as_u16(), 201, "the job will see for itself");
    }
}

#[tokio::test]
async fn case_13_a_wait_that_is_no_duration_is_422() {
    let client = Client::new();
    let id = client.submit(r#"{"payload":{"job":"a"}}"#).await;
    for wait in ["", "1s&wait=2s", "1s&limit=-1", "30", "-1s", "61s", "9999999999999999999s", "%00", "a"] {
        let answer = client.get(&format!("/v1/tasks/{id}?wait={wait}")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (422, "invalid_field"), "{wait}");
    }
}

#[tokio::test]
async fn case_13_a_page_that_cannot_be_is_422() {
    let client = Client::new();
    for list in ["/v1/queues", "/v1/jobs", "/v1/workers"] {
        for query in [
            "limit=0",
            "limit=-1",
            "limit=501",
            "limit=99999999999999999999",
            "limit=x",
            "cursor=forged",
            "x=1",
        ] {
            let answer = client.get(&format!("{list}?{query}")).await;
            assert_eq!((answer.status.as_u16(), answer.code().as_str()), (422, "invalid_field"), "{query}");
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_404_and_a_wrong_method_405() {
    let client = Client::new();
    for (path, code) in [
        ("/v1/tasks/00000000-0000-7000-8000-000000000000", "unknown_task"),
        ("/v1/tasks/not-an-id", "unknown_task"),
        ("/v1/tasks/not-an-id/result", "unknown_task"),
        ("/v1/queues/nobody", "unknown_queue"),
        ("/v1/jobs/nobody", "unknown_job_name"),
        ("/v1/tasks/%ff%00", "not_found"),
        ("/nowhere", "not_found"),
        ("/v1/tasks/../../etc/passwd", "not_found"),
    ] {
        let answer = client.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, code), "{path}");
    }
    assert_eq!(client.get("/v1/queues/a%20b").await.code(), "invalid_field");
    let answer = client.get("/submit-task").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (405, "method_not_allowed"));
    assert_eq!(answer.headers[header::ALLOW], "POST");
}

#[tokio::test]
async fn a_result_before_its_time_or_of_a_failure_is_409() {
    use sentinel_queue::{
        ErrorKind,
        lease::Verdict,
        task::{ErrorReport, TaskError},
    };
    let client = Client::new();
    let id = client.submit(r#"{"payload":{"job":"a"}}"#).await;
    let path = format!("/v1/tasks/{id}/result");
    let early = client.get(&path).await;
    assert_eq!((early.status.as_u16(), early.code().as_str()), (409, "not_finished"));
    let report = ErrorReport { message: "no".into(), ..ErrorReport::default() };
    client.run(Verdict::Fail(TaskError { kind: ErrorKind::Permanent, report })).await;
    let failed = client.get(&path).await;
    assert_eq!((failed.status.as_u16(), failed.code().as_str()), (409, "failed"));
}

#[tokio::test]
async fn a_request_that_names_another_host_is_421() {
    let client = Client::new();
    for host in ["evil.example", "10.0.0.1:8000", "localhost.evil.example"] {
        let sent = axum::http::Request::get("/stats").header(header::HOST, host).body(Body::empty()).unwrap();
        let answer = client.send(sent).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (421, "misdirected_request"), "{host}");
    }
    let two =
        request(Method::GET, "/stats").header(header::HOST, "evil.example").body(Body::empty()).unwrap();
    assert_eq!(client.send(two).await.status.as_u16(), 421);
    let nameless = axum::http::Request::get("/stats").body(Body::empty()).unwrap();
    assert_eq!(client.send(nameless).await.status.as_u16(), 421);
}

#[tokio::test]
async fn a_page_of_another_origin_changes_nothing() {
    let client = Client::new();
    for (origin, status) in [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://localhost:9999", 403),
        ("http://localhost:8000", 200),
    ] {
        let sent = request(Method::POST, "/v1/queues/default/pause").header(header::ORIGIN, origin);
        let answer = client.send(sent.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status.as_u16(), status, "{origin}");
        if status == 403 {
            assert_eq!(answer.code(), "cross_origin");
        }
    }
}

/// Case 13 of "Faults": a store that is away makes 503 with Retry-After, and nothing else.
#[tokio::test]
async fn a_store_that_is_away_is_503_with_retry_after() {
    use sentinel_queue::{Queue, store::redis::Redis};
    let nobody = format!("redis://127.0.0.1:{}", sentinel_testkit::free_port());
    let queue = Queue::new(std::sync::Arc::new(Redis::new(&nobody).unwrap()));
    let router = sentinel_api::router(queue.clone(), sentinel_api::ApiConfig::default());
    let client = Client::of(router, queue);
    for path in ["/stats", "/readyz"] {
        let answer = client.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "store_unavailable"));
        assert_eq!(answer.headers[header::RETRY_AFTER], "1");
        assert_eq!(answer.json()["errors"], Value::Null);
    }
    assert_eq!(client.get("/healthz").await.status, StatusCode::OK);
}

/// What is written into a task by somebody comes back as data, which no browser takes for a page.
#[tokio::test]
async fn case_14_what_would_be_script_in_a_page_comes_back_inert() {
    use sentinel_queue::{
        ErrorKind,
        lease::Verdict,
        task::{ErrorReport, TaskError},
    };
    const SCRIPT: &str = "<script>alert(1)</script>\" onmouseover=alert(2) javascript:alert(3)";
    let client = Client::new();
    let text = json!(SCRIPT).to_string();
    for body in [
        format!(r#"{{"payload":{{"job":{text}}}}}"#),
        format!(r#"{{"payload":{{"job":"a"}},"queue":{text}}}"#),
        format!(r#"{{"payload":{{"job":"a"}},"tags":[{text}]}}"#),
    ] {
        let answer = client.post("/v1/tasks", body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (422, "invalid_field"));
    }
    let body =
        format!(r#"{{"payload":{{"job":"a",{text}:{text}}},"max_attempts":1,"concurrency_key":"<script>"}}"#);
    let id = client.submit(&body).await;
    let report =
        ErrorReport { message: SCRIPT.into(), backtrace: Some(SCRIPT.into()), ..ErrorReport::default() };
    client.run_with_log(Verdict::Fail(TaskError { kind: ErrorKind::Permanent, report }), SCRIPT).await;
    let task = client.task(&id).await;
    assert_eq!((&task["payload"][SCRIPT], &task["error"]["message"]), (&json!(SCRIPT), &json!(SCRIPT)));
    let log = client.get(&format!("/v1/tasks/{id}/logs")).await;
    assert!(log.body.starts_with(SCRIPT.as_bytes()), "{:?}", log.body);

    let encoded = SCRIPT.bytes().fold(String::new(), |encoded, byte| encoded + &format!("%{byte:02x}"));
    for (path, kind) in [
        (format!("/v1/tasks/{id}"), "application/json"),
        ("/v1/tasks".to_owned(), "application/json"),
        (format!("/v1/tasks/{id}/result"), "application/problem+json"),
        (format!("/v1/tasks/{id}/logs"), "text/plain; charset=utf-8"),
        (format!("/v1/tasks/{id}/events"), "text/event-stream"),
        (format!("/v1/tasks/{encoded}"), "application/problem+json"),
        (format!("/v1/jobs/{encoded}"), "application/problem+json"),
        (format!("/v1/queues/{encoded}"), "application/problem+json"),
        (format!("/v1/tasks?tag={encoded}"), "application/problem+json"),
        (format!("/{encoded}"), "application/problem+json"),
    ] {
        let answer = client.get(&path).await;
        assert_eq!(answer.headers[header::CONTENT_TYPE], kind, "{path}");
        assert_eq!(answer.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
    }
}

/// Wherever JSON is taken, it may be nested so deep and not deeper.
#[tokio::test]
async fn json_that_is_nested_too_deep_is_400_wherever_it_is_taken() {
    let client = Client::new();
    let id = client.submit(r#"{"payload":{"job":"a"}}"#).await;
    let reschedule = format!("/v1/tasks/{id}/reschedule");
    for (method, path) in [
        ("POST", "/submit-task"),
        ("POST", "/v1/tasks"),
        ("POST", "/v1/tasks/batch"),
        ("POST", &reschedule),
        ("POST", "/v1/operations"),
        ("PUT", "/v1/queues/default"),
        ("PUT", "/v1/schedules/nightly"),
    ] {
        for depth in [200, 10_000] {
            for (open, close) in [("[", "]"), ("{\"x\":", "}")] {
                let body = format!("{{\"x\":{}1{}}}", open.repeat(depth), close.repeat(depth));
                let answer = if method == "PUT" {
                    client.put(path, &body).await
                } else {
                    client.post(path, body).await
                };
                assert_eq!(
                    (answer.status.as_u16(), answer.code().as_str()),
                    (400, "malformed_json"),
                    "{path}"
                );
                let detail = answer.json()["detail"].as_str().unwrap().to_owned();
                assert!(detail.contains("nested deeper"), "{path}: {detail}");
            }
        }
    }
}
