//! Whose numbers `/metrics` tells, and how often it asks for them. What it tells of a real cluster is in the
//! tests of the whole (`tests/it/metrics.rs`).

use std::sync::Arc;

use axum::http::StatusCode;
use bytes::Bytes;
use sentinel_api::{ApiConfig, Auth, router};
use sentinel_queue::{
    Queue,
    keys::{Grant, Scope},
    lease::Instance,
    store::{Script, redis::Redis},
};

use crate::client::Client;

/// The lines of a scrape that begin so.
async fn lines(client: &Client, start: &str) -> Vec<String> {
    let answer = client.get("/metrics").await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    text.lines().filter(|line| line.starts_with(start)).map(str::to_owned).collect()
}

fn reading(grant: Grant) -> Grant {
    Grant { scopes: [Scope::Read].into(), ..grant }
}

#[tokio::test]
async fn a_key_is_told_the_numbers_of_what_it_is_for() {
    let client = Client::with_auth(Auth::Keys);
    let admin = client.as_key(&client.key(&[Scope::Admin]).await);
    let one = admin.in_namespace("one");
    for (job, queue) in [("a", "q1"), ("a", "q2"), ("b", "q1")] {
        one.submit(&format!(r#"{{"payload":{{"job":"{job}"}},"queue":"{queue}"}}"#)).await;
    }
    admin.in_namespace("two").submit(r#"{"payload":{"job":"a"}}"#).await;
    client.queue.observe().await.unwrap();
    let of = async |grant: Grant, start: &str| {
        let key = client.key_with(reading(grant)).await;
        lines(&client.as_key(&key), start).await
    };
    let bound = |namespace: &str| Grant { namespace: Some(namespace.parse().unwrap()), ..Grant::default() };
    let submitted = "sentinel_tasks_submitted_total";
    assert_eq!(of(bound("one"), submitted).await.len(), 3);
    assert_eq!(
        of(bound("two"), submitted).await,
        [r#"sentinel_tasks_submitted_total{namespace="two",queue="default",job="a"} 1"#]
    );
    assert_eq!(lines(&one, submitted).await.len(), 3, "one that is bound to none says which");
    assert_eq!(lines(&admin, submitted).await, [""; 0], "and means the default otherwise");
    let job = Grant { jobs: Some(["b".parse().unwrap()].into()), ..bound("one") };
    assert_eq!(
        of(job, submitted).await,
        [r#"sentinel_tasks_submitted_total{namespace="one",queue="q1",job="b"} 1"#]
    );
    let queue = || Grant { queues: Some(["q2".parse().unwrap()].into()), ..bound("one") };
    assert_eq!(
        of(queue(), submitted).await,
        [r#"sentinel_tasks_submitted_total{namespace="one",queue="q2",job="a"} 1"#]
    );
    assert_eq!(
        of(queue(), "sentinel_queue_depth").await,
        [r#"sentinel_queue_depth{namespace="one",queue="q2"} 1"#]
    );
}

#[tokio::test]
async fn many_scrapes_read_the_store_once_a_second() {
    let client = Client::new();
    for _ in 0..20 {
        lines(&client, "sentinel_tasks").await;
    }
    let calls = client.queue.calls();
    let read = calls.iter().find(|calls| calls.script == Script::Sums).unwrap();
    assert!(read.answered < 5, "{read:?}");
}

#[tokio::test]
async fn while_the_store_is_away_the_server_tells_of_itself() {
    let queue = Queue::new(Arc::new(Redis::new("redis://127.0.0.1:1").unwrap()));
    // Where keys may be needed nobody is let in meanwhile.
    let config = ApiConfig { auth: Auth::Nobody, ..ApiConfig::default() };
    let client = Client::of(router(queue.clone(), config), queue);
    assert_eq!(lines(&client, "sentinel_store_up").await, ["sentinel_store_up 0"]);
    let failures = lines(&client, r#"sentinel_store_call_failures_total{script="sums"}"#).await;
    assert!(!failures[0].ends_with(" 0"), "{failures:?}");
    assert_eq!(lines(&client, "sentinel_tasks").await, [""; 0]);
    assert!(!lines(&client, "sentinel_http_requests_total").await.is_empty());
}

#[tokio::test]
async fn a_worker_of_another_version_is_told_as_far_as_it_tells() {
    let client = Client::new();
    client.advertise(&["example-task"]).await;
    // What a worker says must not break the lines.
    let hostile = Bytes::from_static(br#"{"version":"1\"} 1\n# EOF","slots":2}"#);
    let unreadable = Bytes::from_static(br#"{"slots":"many"}"#);
    for info in [hostile, unreadable] {
        client.queue.renew(&Instance::random("other"), info, &[], &[]).await.unwrap();
    }
    assert_eq!(lines(&client, "sentinel_workers").await, ["sentinel_workers 3"]);
    let slots = lines(&client, "sentinel_worker_slots{").await;
    assert_eq!(slots.len(), 2, "{slots:?}");
    let versions = lines(&client, "sentinel_worker_info{").await;
    assert!(versions.len() == 1 && versions[0].ends_with(r#"version="1\"} 1\n# EOF"} 1"#), "{versions:?}");
    assert_eq!(lines(&client, "sentinel_worker_memory_budget_bytes{").await, [""; 0]);
    assert_eq!(lines(&client, "# EOF").await, ["# EOF"]);
}
