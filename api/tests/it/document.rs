//! The `OpenAPI` document says what the server does.

use std::path::Path;

use axum::{
    body::Body,
    http::{Method, header},
};
use http_body_util::BodyExt;
use sentinel_api::{Auth, Code};
use serde_json::{Map, Value};
use tower::ServiceExt;

use crate::{
    client::{Client, request},
    shapes::{Shapes, document},
};

/// Clients that are generated from the document are made of this file.
#[tokio::test]
async fn the_document_is_the_one_in_the_tree() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let served = format!("{:#}\n", document().await);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&file, &served).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = served.lines().zip(kept.lines()).find(|(served, kept)| served != kept);
    assert!(
        served == kept,
        "docs/openapi.json is not what the server says; the first line that differs, new and old: {differs:?}. \
         If the change is wanted, run the tests once with UPDATE_SNAPSHOTS=1"
    );
}

/// Visits all shapes of the document, and all examples of what is not a shape with theirs.
fn visit(value: &Value, place: &str, seen: &mut dyn FnMut(&str, &Value, &Value)) {
    match value {
        Value::Object(fields) => {
            let own = fields.get("schema").unwrap_or(value);
            if fields.contains_key("schema") || fields.contains_key("type") {
                let named = fields.get("examples").and_then(Value::as_object);
                let named = named.into_iter().flatten().map(|(_, example)| &example["value"]);
                let listed = fields.get("examples").and_then(Value::as_array).into_iter().flatten();
                for example in fields.get("example").into_iter().chain(listed).chain(named) {
                    seen(place, own, example);
                }
            }
            for (name, inner) in fields.iter().filter(|(name, _)| !name.starts_with("example")) {
                visit(inner, &format!("{place}/{name}"), seen);
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                visit(item, &format!("{place}/{number}"), seen);
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn every_example_is_valid_by_its_schema() {
    let document = document().await;
    let shapes = Shapes::of(document);
    let mut examples = 0;
    visit(document, "", &mut |place, schema, example| {
        examples += 1;
        let errors = shapes.errors(schema, example);
        assert!(errors.is_empty(), "{place}: {example}: {errors:?}");
    });
    assert!(examples > 60, "{examples} examples were found");
}

/// A body's example as it is, and with each of its other fields as an example of that says.
fn bodies(shapes: &Shapes, schema: &Value) -> Vec<Value> {
    let schema = shapes.resolved(schema);
    let [whole] = shapes.examples(schema)[..] else { panic!("a body needs one example: {schema}") };
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let least: Map<_, _> = required
        .iter()
        .map(|name| name.as_str().unwrap())
        .map(|name| (name.to_owned(), whole[name].clone()))
        .collect();
    let fields = schema["properties"].as_object().unwrap();
    let each = fields.iter().flat_map(|(name, field)| {
        let examples = shapes.examples(field).into_iter().cloned();
        examples.map(|example| {
            let mut body = least.clone();
            body.insert(name.clone(), example);
            Value::Object(body)
        })
    });
    [whole.clone()].into_iter().chain(each.collect::<Vec<_>>()).collect()
}

#[tokio::test]
async fn every_example_of_a_body_is_accepted() {
    // Keys are made, and none is needed.
    let client = Client::with_auth(Auth::Nobody);
    let document = document().await;
    let shapes = Shapes::of(document);
    let task = client.submit(r#"{"payload":{"job":"a"},"delay":"1h"}"#).await;
    let mut sent = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let Some(content) = operation.get("requestBody") else { continue };
            let content = &content["content"]["application/json"];
            let concrete = path.replace("{id}", &task).replace("{queue}", "q").replace("{name}", "s");
            for body in bodies(&shapes, &content["schema"]) {
                sent += 1;
                let method: Method = method.to_uppercase().parse().unwrap();
                let request = request(method, &concrete).header(header::CONTENT_TYPE, "application/json");
                let answer = client.send(request.body(Body::from(body.to_string())).unwrap()).await;
                assert!(answer.status.is_success(), "{path}: {body}: {:?}", answer.body);
            }
        }
    }
    assert!(sent > 30, "{sent} bodies were sent");
}

/// The names by which generated clients call.
#[tokio::test]
async fn every_operation_has_a_name_of_its_own() {
    let document = document().await;
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|methods| methods.as_object().unwrap().values());
    let mut names: Vec<_> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

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
}
