//! The `OpenAPI` document says what the server does.

use axum::{
    body::Body,
    http::{Method, header},
};
use http_body_util::BodyExt;
use sentinel_api::Code;
use tower::ServiceExt;

use crate::client::{Client, request};

#[tokio::test]
async fn every_documented_route_is_there() {
    let client = Client::new();
    let document = client.get("/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = document["paths"].as_object().unwrap();
    let mut routes = Vec::new();
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            routes.push(format!("{} {path}", method.to_uppercase()));
            let concrete = path.replace("{id}", "x").replace("{queue}", "q").replace("{job}", "j");
            let concrete = concrete.replace("{name}", "s");
            let method: Method = method.to_uppercase().parse().unwrap();
            let sent = request(method, &concrete).header(header::CONTENT_TYPE, "application/json");
            let sent = sent.body(Body::from("{}")).unwrap();
            // A stream of events would not end.
            let head = client.router.clone().oneshot(sent).await.unwrap();
            let status = head.status().as_u16();
            let missing = status == 404 && {
                let body = head.into_body().collect().await.unwrap().to_bytes();
                serde_json::from_slice::<serde_json::Value>(&body).unwrap()["code"] == "not_found"
            };
            assert!(!missing && status != 405, "{path}");
        }
    }
    routes.sort();
    assert_eq!(
        routes,
        [
            "DELETE /v1/keys/{id}",
            "DELETE /v1/schedules/{name}",
            "GET /healthz",
            "GET /metrics",
            "GET /readyz",
            "GET /stats",
            "GET /v1/actions",
            "GET /v1/events",
            "GET /v1/jobs",
            "GET /v1/jobs/{job}",
            "GET /v1/keys",
            "GET /v1/keys/{id}",
            "GET /v1/operations/{id}",
            "GET /v1/queues",
            "GET /v1/queues/{queue}",
            "GET /v1/schedules",
            "GET /v1/schedules/{name}",
            "GET /v1/tasks",
            "GET /v1/tasks/{id}",
            "GET /v1/tasks/{id}/events",
            "GET /v1/tasks/{id}/logs",
            "GET /v1/tasks/{id}/result",
            "GET /v1/workers",
            "POST /submit-task",
            "POST /v1/keys",
            "POST /v1/operations",
            "POST /v1/queues/{queue}/pause",
            "POST /v1/queues/{queue}/purge",
            "POST /v1/queues/{queue}/resume",
            "POST /v1/schedules/{name}/pause",
            "POST /v1/schedules/{name}/resume",
            "POST /v1/tasks",
            "POST /v1/tasks/batch",
            "POST /v1/tasks/{id}/cancel",
            "POST /v1/tasks/{id}/redrive",
            "POST /v1/tasks/{id}/reschedule",
            "PUT /v1/queues/{queue}",
            "PUT /v1/schedules/{name}",
        ]
    );
}

#[tokio::test]
async fn every_code_is_documented() {
    let document = Client::new().get("/openapi.json").await.json();
    let documented = document["components"]["schemas"]["Code"].to_string();
    for code in Code::ALL {
        assert!(documented.contains(&format!("\"{}\"", code.as_str())), "{}", code.as_str());
    }
}

#[tokio::test]
async fn the_documents_fields_of_a_submit_are_those_that_are_taken() {
    let document = Client::new().get("/openapi.json").await.json();
    let fields = document["components"]["schemas"]["NewTask"]["properties"].as_object().unwrap();
    let mut fields: Vec<_> = fields.keys().map(String::as_str).collect();
    fields.sort_unstable();
    let client = Client::new();
    let answer = client.post("/submit-task", r#"{"zzzz":1}"#).await;
    let detail = answer.json()["errors"][1]["detail"].as_str().unwrap().to_owned();
    let (_, known) = detail.split_once("known are ").expect("the known fields");
    let mut known: Vec<_> = known.split(", ").collect();
    known.sort_unstable();
    assert_eq!(fields, known);
}

#[tokio::test]
async fn the_documentation_is_served() {
    let client = Client::new();
    let page = client.get("/docs/").await;
    assert_eq!(page.status.as_u16(), 200);
    assert!(String::from_utf8_lossy(&page.body).contains("swagger-ui"));
    assert_eq!(client.get("/").await.status.as_u16(), 307);
}
