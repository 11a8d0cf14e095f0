//! A router over an embedded store, and a worker that the test plays itself.

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use bytes::Bytes;
use http_body_util::BodyExt;
use sentinel_api::{ApiConfig, router};
use sentinel_queue::{
    Queue,
    lease::{Claimed, Instance, Served, Settlement, Turn, Verdict},
    store::embedded::Embedded,
    task::AttemptReport,
};
use serde_json::Value;
use std::sync::Arc;
use tower::ServiceExt;

pub(crate) struct Client {
    pub(crate) router: Router,
    pub(crate) queue: Queue,
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
        let queue = Queue::new(Arc::new(Embedded::in_memory()));
        Self { router: router(queue.clone(), ApiConfig::default()), queue }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        assert!(
            head.status.as_u16() < 500 || head.status == StatusCode::SERVICE_UNAVAILABLE,
            "{} {body:?}",
            head.status
        );
        Answer { status: head.status, headers: head.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path).body(Body::empty()).unwrap()).await
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
        let task = self.claim().await;
        let log = Bytes::from_static(b"a line\n");
        let settlement = Settlement::of(&task, verdict, AttemptReport::default(), log);
        let turn = Turn { number: 1, settlements: vec![settlement], wanted: 0 };
        let instance = Instance::random("test");
        let answer = self.queue.settle_and_claim(&instance, &Served::All, &turn).await.unwrap();
        assert_eq!(answer.settled, [true]);
    }

    /// Says that a live worker has these jobs.
    pub(crate) async fn advertise(&self, jobs: &[&'static str]) {
        let jobs: Vec<_> = jobs.iter().map(|job| Bytes::from_static(job.as_bytes())).collect();
        let info = Bytes::from_static(
            br#"{"hostname":"h","slots":4,"busy":1,"jobs":[{"name":"example-task","digest":"abc","admitted_at_ms":1000}],
                "refused":[{"file":"x.wasm","reason":"not a component"}],"later":"ignored"}"#,
        );
        self.queue.renew(&Instance::random("test"), info, &jobs, &[]).await.unwrap();
    }
}

pub(crate) fn request(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header(header::HOST, "localhost:8000")
}
