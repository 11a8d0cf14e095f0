//! What browsers are told: headers on every answer, and which pages may call.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{Method, StatusCode, header},
};
use sentinel_api::{ApiConfig, router};
use sentinel_queue::{Queue, store::embedded::Embedded};

use crate::client::{Answer, Client, request};

const PAGE: &str = "https://dash.example";

/// An API that pages of `PAGE` may call.
fn open() -> Client {
    let queue = Queue::new(Arc::new(Embedded::in_memory()));
    let config = ApiConfig { allowed_origins: vec![PAGE.parse().unwrap()], ..ApiConfig::default() };
    Client::of(router(queue.clone(), config), queue)
}

fn header_of<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn every_answer_tells_browsers_to_be_careful() {
    let client = Client::new();
    let large = "x".repeat(3 << 20);
    let elsewhere = axum::http::Request::get("/healthz").header(header::HOST, "evil.example");
    for (answer, status) in [
        (client.get("/healthz").await, 200),
        (client.get("/nowhere").await, 404),
        (client.send(request(Method::DELETE, "/stats").body(Body::empty()).unwrap()).await, 405),
        (client.post("/submit-task", large).await, 413),
        (client.send(elsewhere.body(Body::empty()).unwrap()).await, 421),
    ] {
        assert_eq!(answer.status, status);
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ] {
            assert_eq!(header_of(&answer, name), Some(value), "{status}: {name}");
        }
        assert!(header_of(&answer, "x-request-id").is_some());
        assert_eq!(header_of(&answer, "strict-transport-security"), None, "there is no TLS");
    }
}

#[tokio::test]
async fn the_pages_of_the_documentation_run_this_servers_scripts_and_nothing_inline() {
    let client = Client::new();
    for path in ["/docs/", "/docs/swagger-ui-bundle.js", "/docs/swagger-initializer.js"] {
        let page = client.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        let policy = header_of(&page, "content-security-policy").unwrap();
        assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{policy}");
    }
    // Under that policy these would not run.
    let page = String::from_utf8(client.get("/docs/").await.body.to_vec()).unwrap();
    for script in page.split("<script").skip(1) {
        let (tag, rest) = script.split_once('>').unwrap();
        assert!(tag.contains("src=\"./") && rest.trim_start().starts_with("</script"), "{script}");
    }
    assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains(" onload="), "{page}");
}

#[tokio::test]
async fn pages_of_other_origins_are_let_in_only_if_they_are_named() {
    let preflight = || {
        let asked = request(Method::OPTIONS, "/v1/tasks").header(header::ORIGIN, PAGE);
        let asked = asked.header("access-control-request-method", "POST");
        asked.header("access-control-request-headers", "authorization,sentinel-namespace").body(Body::empty())
    };
    let submit = |origin: &str| {
        let sent = request(Method::POST, "/submit-task").header(header::ORIGIN, origin);
        let sent = sent.header(header::CONTENT_TYPE, "application/json");
        sent.body(Body::from(r#"{"payload":{"job":"a"}}"#)).unwrap()
    };
    let allowed = "access-control-allow-origin";

    let closed = Client::new();
    assert_eq!(header_of(&closed.send(preflight().unwrap()).await, allowed), None);
    let answer = closed.send(submit(PAGE)).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (403, "cross_origin"));
    assert_eq!(header_of(&answer, allowed), None);

    let open = open();
    let told = open.send(preflight().unwrap()).await;
    assert_eq!(header_of(&told, allowed), Some(PAGE));
    assert_eq!(header_of(&told, "access-control-allow-credentials"), None);
    assert_eq!(header_of(&told, "access-control-allow-methods"), Some("GET,POST,PUT,DELETE"));
    let headers = header_of(&told, "access-control-allow-headers").unwrap();
    assert_eq!(
        headers,
        "authorization,content-type,idempotency-key,last-event-id,sentinel-namespace,traceparent,tracestate"
    );
    let answer = open.send(submit(PAGE)).await;
    assert_eq!((answer.status, header_of(&answer, allowed)), (StatusCode::OK, Some(PAGE)));
    for other in ["https://evil.example", "http://dash.example", "https://dash.example:8443", "null"] {
        let answer = open.send(submit(other)).await;
        assert_eq!((answer.status.as_u16(), header_of(&answer, allowed)), (403, None), "{other}");
    }
}

#[tokio::test]
async fn the_servers_numbers_are_read_as_openmetrics() {
    let client = Client::new();
    client.get("/stats").await;
    client.get("/v1/tasks/0198c0de-0000-7000-8000-000000000000").await;
    client.get("/nowhere").await;
    let answer = client.get("/metrics").await;
    assert_eq!(
        header_of(&answer, "content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    for line in [
        r#"sentinel_http_requests_total{route="/stats",method="GET",status="2xx"} 1"#,
        r#"sentinel_http_requests_total{route="/v1/tasks/{id}",method="GET",status="4xx"} 1"#,
        r#"sentinel_http_requests_total{route="other",method="GET",status="4xx"} 1"#,
        r#"sentinel_http_answer_seconds_count{route="/stats"} 1"#,
        "sentinel_http_panics_total 0",
    ] {
        assert!(text.lines().any(|there| there == line), "{line} in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}
