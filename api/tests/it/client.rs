//! A router over an embedded store, and a worker that the test plays itself.

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use bytes::Bytes;
use http_body_util::BodyExt;
use sentinel_api::{ApiConfig, Auth, router};
use sentinel_queue::{
    Millis, Queue,
    keys::{ApiKey, Grant, KeyInfo, Scope},
    lease::{Claimed, Instance, Served, Settlement, Turn, Verdict},
    store::embedded::Embedded,
    task::AttemptReport,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tower::ServiceExt;

use crate::shapes;

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) router: Router,
    pub(crate) queue: Queue,
    key: Option<String>,
    namespace: Option<String>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The code of a problem, after a check of its form.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json", "{:?}", self.body);
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        for field in ["type", "title", "detail"] {
            assert!(problem[field].is_string(), "{problem}");
        }
        problem["code"].as_str().expect("a code").to_owned()
    }

    /// The pointers of a problem's errors.
    pub(crate) fn pointers(&self) -> Vec<String> {
        let problem = self.json();
        let errors = problem["errors"].as_array().expect("errors").iter();
        errors.map(|error| error["pointer"].as_str().expect("a pointer").to_owned()).collect()
    }
}

impl Client {
    pub(crate) fn new() -> Self {
        Self::with_auth(Auth::default())
    }

    pub(crate) fn with_auth(auth: Auth) -> Self {
        let queue = Queue::new(Arc::new(Embedded::in_memory()));
        let config = ApiConfig { auth, ..ApiConfig::default() };
        Self::of(router(queue.clone(), config), queue)
    }

    /// Of a router over this queue.
    pub(crate) fn of(router: Router, queue: Queue) -> Self {
        Self { router, queue, key: None, namespace: None }
    }

    /// Makes a key with these scopes.
    pub(crate) async fn key(&self, scopes: &[Scope]) -> String {
        self.key_with(Grant { scopes: scopes.iter().copied().collect(), ..Grant::default() }).await
    }

    /// Makes a key, and waits until the server may not have missed it.
    pub(crate) async fn key_with(&self, grant: Grant) -> String {
        let key = ApiKey::generate();
        let info = KeyInfo {
            id: key.id().clone(),
            name: "test".into(),
            hash: key.hash(),
            grant,
            created_at: Millis::default(),
            expires_at: None,
            revoked_at: None,
        };
        self.queue.add_key(&info).await.unwrap().expect("there are few");
        while self.as_key(key.expose()).get("/nothing-here").await.status == StatusCode::UNAUTHORIZED {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        key.expose().to_owned()
    }

    /// The same, as whoever has this key.
    pub(crate) fn as_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    /// The same, in another namespace.
    pub(crate) fn in_namespace(&self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self.clone() }
    }

    pub(crate) async fn send(&self, mut request: Request<Body>) -> Answer {
        if let Some(key) = &self.key {
            request.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {key}").parse().unwrap());
        }
        if let Some(namespace) = &self.namespace {
            request.headers_mut().insert("sentinel-namespace", namespace.parse().unwrap());
        }
        let (method, path) = (request.method().clone(), request.uri().to_string());
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        assert!(
            head.status.as_u16() < 500 || head.status == StatusCode::SERVICE_UNAVAILABLE,
            "{} {body:?}",
            head.status
        );
        let answer = Answer { status: head.status, headers: head.headers, body };
        shapes::check(&method, &path, &answer).await;
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn send_to(&self, method: Method, path: &str) -> Answer {
        self.send(request(method, path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        let request = request(Method::POST, path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn put(&self, path: &str, body: &str) -> Answer {
        let request = request(Method::PUT, path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(body.to_owned().into()).unwrap()).await
    }

    pub(crate) async fn task(&self, id: &str) -> Value {
        self.get(&format!("/v1/tasks/{id}")).await.json()
    }

    pub(crate) async fn submit(&self, body: &str) -> String {
        let answer = self.post("/submit-task", body.to_owned()).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        answer.json()["task_id"].as_str().unwrap().to_owned()
    }

    /// Claims one task, as a worker does.
    pub(crate) async fn claim(&self) -> Claimed {
        let turn = Turn { number: 1, settlements: vec![], wanted: 1 };
        let instance = Instance::random("test");
        let answer = self.queue.settle_and_claim(&instance, &Served::All, &turn).await.unwrap();
        answer.claimed.into_iter().next().expect("a task")
    }

    /// Claims one task and settles it.
    pub(crate) async fn run(&self, verdict: Verdict) {
        self.run_with_log(verdict, "a line\n").await;
    }

    /// The same of one that printed this.
    pub(crate) async fn run_with_log(&self, verdict: Verdict, log: &'static str) {
        let task = self.claim().await;
        let log = Bytes::from_static(log.as_bytes());
        let settlement = Settlement::of(&task, verdict, AttemptReport::default(), log);
        let turn = Turn { number: 1, settlements: vec![settlement], wanted: 0 };
        let instance = Instance::random("test");
        let answer = self.queue.settle_and_claim(&instance, &Served::All, &turn).await.unwrap();
        assert_eq!(answer.settled, [true]);
    }

    /// Says that a live worker has these jobs.
    pub(crate) async fn advertise(&self, jobs: &[&'static str]) {
        let jobs: Vec<_> = jobs.iter().map(|job| Bytes::from_static(job.as_bytes())).collect();
        let info = json!({
            "hostname": "h", "slots": 4, "busy": 1, "later": "ignored",
            "jobs": [{ "name": "example-task", "digest": digest("abc"), "admitted_at_ms": 1000 }],
            "refused": [{ "file": "x.wasm", "reason": "not a component" }],
        });
        let info = Bytes::from(info.to_string());
        self.queue.renew(&Instance::random("test"), info, &jobs, &[]).await.unwrap();
    }
}

/// A digest that begins with these hexadecimal digits.
pub(crate) fn digest(begin: &str) -> String {
    format!("{begin:0<64}")
}

pub(crate) fn request(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header(header::HOST, "localhost:8000")
}
