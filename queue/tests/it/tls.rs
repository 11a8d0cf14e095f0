//! A Redis that is reached by TLS alone, by a user with a password.

use std::sync::Arc;

use bytes::Bytes;
use sentinel_queue::{
    Queue,
    lease::{Instance, Served, Settlement, Turn, Verdict},
    store::{Heard, Store, StoreError, redis::Redis},
    task::AttemptReport,
};
use sentinel_testkit::{Authority, RedisServer};

use crate::bench::new_task;

const PASSWORD: &str = "tr0ub4dor";

struct Secured {
    authority: Authority,
    server: RedisServer,
}

impl Secured {
    fn start() -> Self {
        let authority = Authority::new();
        let server = RedisServer::start_tls(&authority.issue(&["localhost"]), "sentinel", PASSWORD);
        Self { authority, server }
    }

    fn url(&self, host: &str, user: &str, password: &str) -> String {
        format!("rediss://{user}:{password}@{host}:{}", self.server.port())
    }
}

#[tokio::test]
async fn a_task_runs_over_tls_as_a_user_with_a_password() {
    let secured = Secured::start();
    let url = secured.url("localhost", "sentinel", PASSWORD);
    let store = Redis::with_ca(&url, secured.authority.pem().as_bytes()).unwrap();
    let mut listens = store.subscribe(Bytes::from_static(b"a channel"));
    let queue = Queue::new(Arc::new(store));
    queue.check().await.unwrap();
    let task = new_task(0);
    queue.submit(std::slice::from_ref(&task)).await.unwrap();
    let worker = Instance::random("test");
    let claim = Turn { number: 1, settlements: vec![], wanted: 1 };
    let claimed = queue.settle_and_claim(&worker, &Served::All, &claim).await.unwrap().claimed;
    assert_eq!(claimed[0].definition.id, task.id);
    let done = Verdict::Complete(Bytes::from_static(b"1"));
    let settlement = Settlement::of(&claimed[0], done, AttemptReport::default(), Bytes::new());
    let settle = Turn { number: 2, settlements: vec![settlement], wanted: 0 };
    let settled = queue.settle_and_claim(&worker, &Served::All, &settle).await.unwrap().settled;
    assert_eq!(settled, [true]);
    assert_eq!(listens.next().await, Heard::Gap, "subscriptions are made as calls are");
}

#[tokio::test]
async fn without_its_authority_or_its_password_a_redis_is_not_used() {
    let secured = Secured::start();
    let (right, wrong) = (PASSWORD, "wr0ngw0rd");
    let (ours, other) = (secured.authority.pem(), Authority::new());
    for (host, password, authority, what) in [
        ("localhost", right, None, "--redis-ca"),
        ("localhost", right, Some(other.pem()), "--redis-ca"),
        // The certificate is another host's.
        ("127.0.0.1", right, Some(ours), "--redis-ca"),
        ("localhost", wrong, Some(ours), "check the user and the password"),
    ] {
        let url = secured.url(host, "sentinel", password);
        let store = match authority {
            Some(authority) => Redis::with_ca(&url, authority.as_bytes()).unwrap(),
            None => Redis::new(&url).unwrap(),
        };
        let error = Queue::new(Arc::new(store)).check().await.unwrap_err();
        assert!(matches!(error, StoreError::Unfit(_)), "{error}");
        let (told, whole) = (error.to_string(), format!("{error:?}"));
        assert!(told.contains(what), "{told}");
        assert!(!whole.contains(right) && !whole.contains(wrong), "{whole}");
    }
}

#[test]
fn what_is_no_authority_is_refused() {
    let pem = Authority::new();
    for (url, authority, what) in [
        ("rediss://localhost", "", "no certificate"),
        ("rediss://localhost", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----", "not PEM"),
        ("redis://:secret@localhost", pem.pem(), "rediss://"),
    ] {
        let error = Redis::with_ca(url, authority.as_bytes()).err().expect("an error").to_string();
        assert!(error.contains(what) && !error.contains("secret"), "{error}");
    }
}
