//! The door of several servers over one store: one list of keys, one count of requests.

use std::{
    thread,
    time::{Duration, Instant},
};

use sentinel_testkit::{free_port, wait_for};
use serde_json::{Value, json};

use crate::cluster::{Api, Process, Stack};

/// Three API servers over one Redis, and a key that may do everything.
struct Door {
    apis: Vec<Api>,
    admin: String,
    stack: Stack,
    _others: Vec<Process>,
}

impl Door {
    fn start() -> Self {
        let stack = Stack::start(&[]);
        let mut apis = vec![stack.api];
        let mut others = Vec::new();
        for _ in 0..2 {
            let api = Api { port: free_port() };
            others.push(stack.api_at(api));
            apis.push(api);
        }
        for api in &apis {
            api.wait_until_ready(0);
        }
        let made = stack.api.post("/v1/keys", r#"{"name":"admin","scopes":["admin"]}"#).json();
        let admin = made["key"].as_str().expect("a key").to_owned();
        for api in &apis {
            wait_for("the closed door", || (api.get("/stats").status == 401).then_some(()));
            assert_eq!(api.get_as(&admin, "/stats").status, 200);
        }
        Self { apis, admin, stack, _others: others }
    }

    /// Makes a key by one server, and waits until all know it.
    fn key(&self, mut body: Value) -> (String, String) {
        body["name"] = json!("test");
        let body = body.to_string();
        let made = self.apis[0].request_as(Some(&self.admin), "POST", "/v1/keys", Some(&body));
        let made = made.expect("the API answers").json();
        let text = |field: &str| made[field].as_str().expect("text").to_owned();
        (text("key"), text("key_id"))
    }
}

#[test]
fn three_servers_enforce_one_rate() {
    let door = Door::start();
    let (key, _) = door.key(json!({ "scopes": ["read"], "rate": { "requests": 30, "per": "24h" } }));
    let admitted = thread::scope(|scope| {
        let askers = door.apis.iter().flat_map(|api| [api; 4]).map(|api| {
            let key = &key;
            scope.spawn(move || {
                let mut admitted = 0;
                for _ in 0..20 {
                    match wait_for("a server that knows the key", || {
                        Some(api.get_as(key, "/stats").status).filter(|status| *status != 401)
                    }) {
                        200 => admitted += 1,
                        status => assert_eq!(status, 429),
                    }
                }
                admitted
            })
        });
        let askers: Vec<_> = askers.collect();
        askers.into_iter().map(|asker| asker.join().expect("it asks")).sum::<u32>()
    });
    assert_eq!(admitted, 30);
    let refused = door.apis[1].get_as(&key, "/stats");
    let after = refused.head.lines().find_map(|line| line.strip_prefix("retry-after: "));
    assert!(
        (1..=2880).contains(&after.expect("when to come back").parse::<u32>().unwrap()),
        "{}",
        refused.head
    );
}

/// What is asked a second after a key was revoked, or later, is refused.
fn assert_refused_within_a_second(api: Api, key: &str, revoked: Instant) {
    wait_for("the refusal", || {
        let asked = revoked.elapsed();
        let status = api.get_as(key, "/stats").status;
        assert!(status == 401 || asked < Duration::from_secs(1), "{status} after {asked:?}");
        (status == 401).then_some(())
    });
}

#[test]
fn a_revoked_key_is_refused_everywhere_within_a_second() {
    let door = Door::start();
    for _ in 0..5 {
        let (key, id) = door.key(json!({ "scopes": ["read"] }));
        for api in &door.apis {
            wait_for("a server that knows the key", || {
                (api.get_as(&key, "/stats").status == 200).then_some(())
            });
        }
        let revoked = door.apis[0].request_as(Some(&door.admin), "DELETE", &format!("/v1/keys/{id}"), None);
        assert_eq!(revoked.expect("the API answers").status, 200);
        let since = Instant::now();
        for api in &door.apis {
            assert_refused_within_a_second(*api, &key, since);
        }
    }
}

#[test]
fn one_that_does_not_hear_of_it_refuses_it_as_soon() {
    let door = Door::start();
    let (key, id) = door.key(json!({ "scopes": ["read"] }));
    // A user of the store who may do everything but listen.
    let user = ["SETUSER", "deaf", "on", ">secret", "~*", "+@all", "resetchannels"];
    redis::cmd("ACL").arg(&user).exec(&mut door.stack.connection()).expect("an answer");
    let last = Api { port: free_port() };
    let url = door.stack.redis.url().replace("redis://", "redis://deaf:secret@");
    let address = format!("127.0.0.1:{}", last.port);
    let _deaf = Process::start(&["api", "--listen", &address, "--redis", &url], door.stack.dir.path());
    wait_for("a server that knows the key", || {
        let answer = last.request_as(Some(&key), "GET", "/stats", None).ok()?;
        (answer.status == 200).then_some(())
    });
    let revoked = door.apis[0].request_as(Some(&door.admin), "DELETE", &format!("/v1/keys/{id}"), None);
    assert_eq!(revoked.expect("the API answers").status, 200);
    assert_refused_within_a_second(last, &key, Instant::now());
}

#[test]
fn nobody_is_let_in_by_what_was_known_before_the_store_went_away() {
    let mut door = Door::start();
    let api = door.apis[0];
    door.stack.redis.kill();
    let refused = wait_for("the refusal", || {
        Some(api.get_as(&door.admin, "/v1/jobs")).filter(|answer| answer.status == 503)
    });
    assert_eq!(refused.json()["code"], "store_unavailable");
    assert_eq!(api.get("/healthz").status, 200);
    // Who has no key learns nothing of it.
    assert_ne!(api.get("/stats").status, 200);
}

#[test]
fn a_server_that_others_reach_needs_a_key() {
    let stack = Stack::start(&[]);
    stack.api.wait_until_ready(0);
    let port = free_port();
    let address = format!("0.0.0.0:{port}");
    let url = stack.redis.url();
    let args = ["api", "--listen", &address, "--redis", &url];
    let mut refused = Process::start(&args, stack.dir.path());
    assert_eq!(refused.wait(), Some(1));
    assert!(stack.log().contains("sentinel key create NAME --scope admin --redis"), "{}", stack.log());
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sentinel"));
    let made = command.args(["key", "create", "ops", "--scope", "admin", "--redis", &url]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let key = String::from_utf8(made.stdout).unwrap();
    let _open = Process::start(&args, stack.dir.path());
    let api = Api { port };
    wait_for("the server", || api.request("GET", "/healthz", None).ok());
    assert_eq!(api.get("/stats").status, 401);
    assert_eq!(api.get_as(key.trim(), "/stats").status, 200);
}
