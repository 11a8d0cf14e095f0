//! What the `OpenAPI` document says of answers. Every answer that a test gets is held against it.

use axum::http::{Method, header};
use http_body_util::BodyExt;
use sentinel_api::{ApiConfig, Auth, router};
use sentinel_queue::{Queue, store::embedded::Embedded};
use serde_json::Value;
use std::sync::{Arc, OnceLock};
use tower::ServiceExt;

use crate::client::{Answer, request};

/// The document, as it is served.
pub(crate) async fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    if let Some(document) = DOCUMENT.get() {
        return document;
    }
    let config = ApiConfig { auth: Auth::Nobody, ..ApiConfig::default() };
    let router = router(Queue::new(Arc::new(Embedded::in_memory())), config);
    let asked = request(Method::GET, "/openapi.json").body(axum::body::Body::empty()).unwrap();
    let body = router.oneshot(asked).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    DOCUMENT.get_or_init(|| serde_json::from_slice(&body).unwrap())
}

/// The shapes of the document, and whether values are valid by them.
pub(crate) struct Shapes {
    components: &'static Value,
}

impl Shapes {
    pub(crate) fn of(document: &'static Value) -> Self {
        Self { components: &document["components"] }
    }

    /// What is wrong with a value.
    pub(crate) fn errors(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut whole = schema.clone();
        whole["components"] = self.components.clone();
        let validator = jsonschema::options().should_validate_formats(true).build(&whole).unwrap();
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    /// A shape, wherever it is described.
    pub(crate) fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(place) => &self.components["schemas"][place.rsplit('/').next().unwrap()],
            None => schema,
        }
    }

    /// The examples that a shape gives.
    pub(crate) fn examples<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        let schema = self.resolved(schema);
        let more = schema["examples"].as_array().into_iter().flatten();
        schema.get("example").into_iter().chain(more).collect()
    }
}

/// Holds an answer against what the document says of the operation.
pub(crate) async fn check(method: &Method, path: &str, answer: &Answer) {
    let document = document().await;
    let Some(operation) = operation(document, method, path) else { return };
    let told = &operation["responses"][answer.status.as_str()];
    let told = told["$ref"].as_str().map_or(told, |place| document.pointer(&place[1..]).unwrap());
    assert!(told.is_object(), "{method} {path}: {} is not documented: {:?}", answer.status, answer.body);
    let content = told["content"].as_object();
    let kind = answer.headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap());
    let kind = kind.and_then(|kind| kind.split(';').next());
    let schema = match (content, kind) {
        (None, None) => return,
        (Some(content), Some(kind)) => content.get(kind).map(|content| &content["schema"]),
        _ => None,
    };
    let schema = schema.unwrap_or_else(|| panic!("{method} {path}: {kind:?} is not documented"));
    if kind.is_some_and(|kind| kind.ends_with("json")) {
        let errors = Shapes::of(document).errors(schema, &answer.json());
        assert!(errors.is_empty(), "{method} {path}: {:?}: {errors:#?}", answer.body);
    }
}

/// The operation that a request is for, if the document tells of it.
fn operation<'a>(document: &'a Value, method: &Method, path: &str) -> Option<&'a Value> {
    let path: Vec<_> = path.split('?').next()?.split('/').collect();
    let is_for = |template: &str| {
        let template: Vec<_> = template.split('/').collect();
        let fits = |(known, given): (&&str, &&str)| known == given || known.starts_with('{');
        template.len() == path.len() && template.iter().zip(&path).all(fits)
    };
    let mut paths: Vec<_> = document["paths"].as_object()?.iter().filter(|(path, _)| is_for(path)).collect();
    // What is written out comes before what may be anything.
    paths.sort_by_key(|(path, _)| path.contains('{'));
    paths.first()?.1.get(method.as_str().to_lowercase())
}
