//! Keys on the command line: how clients show theirs, and how the first ones are made in the store.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use sentinel_queue::ApiKey;
use sentinel_testkit::{RedisServer, WebServer, wait_for};
use serde_json::{Value, json};

use crate::cluster::{Process, free_address, some_plugins};

/// What a command said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn command(args: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sentinel"));
    command.args(args).envs(environment.iter().copied()).stdin(Stdio::null());
    command
}

fn run_with(args: &[&str], environment: &[(&str, &str)]) -> Said {
    let output = command(args, environment).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn run(args: &[&str]) -> Said {
    run_with(args, &[])
}

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A store, as commands are told of it.
struct InStore<'a>([&'a str; 2]);

impl InStore<'_> {
    fn run(&self, args: &[&str]) -> Said {
        run(&[&["key"], args, &self.0].concat())
    }

    fn ok(&self, args: &[&str]) -> Said {
        let said = self.run(args);
        assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
        said
    }

    fn json(&self, args: &[&str]) -> Value {
        let said = self.ok(&[args, &["--output", "json"]].concat());
        serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"))
    }

    /// Makes, lists and revokes keys.
    fn works(&self) {
        let made = self.ok(&["create", "ci", "--scope", "submit,read"]);
        let key: ApiKey = made.out.strip_suffix('\n').unwrap().parse().expect("the key alone");
        assert!(made.err.contains(key.id().as_str()) && made.err.contains("this once"), "{made:?}");
        assert!(!made.err.contains(key.expose()), "the key goes to standard output alone");

        let full = self.json(&[
            "create",
            "full",
            "--scope",
            "operate",
            "--for-namespace",
            "team",
            "--job",
            "a,b",
            "--queue",
            "q",
            "--rate",
            "100/1s",
            "--expires-in",
            "90d",
        ]);
        let other: ApiKey = full["key"].as_str().unwrap().parse().unwrap();
        assert_eq!(full["key_id"], other.id().as_str());
        let expected = json!({
            "name": "full", "scopes": ["operate"], "namespace": "team", "jobs": ["a", "b"], "queues": ["q"],
            "rate": {"requests": 100, "per": "1s"}, "revoked_at": null,
        });
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(full[field], *value, "{field}");
        }
        let at = |field: &str| full[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let lifetime = at("expires_at").duration_since(at("created_at")).as_secs();
        assert!((90 * 86_400 - lifetime).abs() < 60, "{full}");

        let id = key.id().as_str();
        let revoked = self.json(&["revoke", id]);
        assert!(revoked["revoked_at"].is_string() && revoked.get("key").is_none(), "{revoked}");
        assert_eq!(self.json(&["revoke", id]), revoked, "the first time counts");
        assert!(self.ok(&["revoke", id]).out.starts_with(&format!("{id}: revoked at ")));

        let list = self.json(&["list"]);
        let mut full = full;
        full.as_object_mut().unwrap().remove("key");
        let mut expected = [full, revoked];
        expected.sort_by_key(|key| key["key_id"].as_str().unwrap().to_owned());
        assert_eq!(list, json!({"keys": expected, "next_cursor": null}));
        let table = self.ok(&["list"]).out;
        for shown in [id, "ci", "submit, read", "team", "a, b", "100/1s"] {
            assert!(table.contains(shown), "{shown}: {table}");
        }
        for secret in [key, other] {
            assert!(!table.contains(&secret.expose()[22..]), "a list tells no key");
        }
        let unknown = self.run(&["revoke", "000000000000"]);
        assert_eq!(unknown.code, Some(1));
        assert!(unknown.err.contains("no key has the id 000000000000"), "{unknown:?}");
    }
}

#[test]
fn the_first_keys_are_made_in_an_embedded_store_before_there_is_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    InStore(["--data-dir", data.to_str().unwrap()]).works();
}

#[test]
fn the_first_keys_are_made_in_redis_before_there_is_a_server() {
    let redis = RedisServer::start(&[]);
    InStore(["--redis", &redis.url()]).works();
}

#[test]
fn a_store_is_made_for_the_first_key_and_not_by_looking() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let store = InStore(["--data-dir", data]);
    for args in [&["list"][..], &["revoke", "000000000000"]] {
        let said = store.run(args);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains("there is no queue.redb in it"), "{said:?}");
    }
    let both = run(&["key", "list", "--data-dir", data, "--redis", "redis://127.0.0.1:1"]);
    assert_eq!(both.code, Some(2), "{both:?}");
}

#[test]
fn what_is_wrong_with_a_new_key_is_said_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = InStore(["--data-dir", dir.path().to_str().unwrap()]);
    for (args, wrong) in [
        (&["create", "", "--scope", "read"][..], "/name"),
        (&["create", "k", "--scope", "read", "--rate", "0/1s"], "/rate/requests"),
        (&["create", "k", "--scope", "read", "--rate", "1/1ms"], "/rate/per"),
        (&["create", "k", "--scope", "read", "--rate", "5"], "REQUESTS/SPAN"),
        (&["create", "k", "--scope", "read", "--expires-in", "5000d"], "/expires_at"),
        (&["create", "k", "--scope", "read", "--expires-in", "soon"], "--expires-in"),
    ] {
        let said = store.run(args);
        assert_eq!(said.code, Some(1), "{args:?}: {said:?}");
        assert!(said.err.contains(wrong), "{args:?}: {said:?}");
    }
    for args in [&["create", "k"][..], &["create", "k", "--scope", "all"], &["revoke", "../x"]] {
        let said = store.run(args);
        assert_eq!(said.code, Some(2), "{args:?}: {said:?}");
    }
    assert!(!Path::new(dir.path()).join("queue.redb").exists(), "nothing was made for these");
}

#[test]
fn every_request_of_a_client_shows_its_key_and_its_namespace() {
    let server = WebServer::start();
    let key = ApiKey::generate();
    let url = server.url("");
    let environment =
        [("SENTINEL_KEY", key.expose()), ("SENTINEL_SERVER", &*url), ("SENTINEL_NAMESPACE", "team")];
    let requests = [
        ("get /stats", &["stats"][..]),
        ("post /submit-task", &["submit", "j"]),
        ("post /v1/queues/q/pause", &["queue", "pause", "q"]),
        (
            "put /v1/schedules/s",
            &["schedule", "set", "s", "--cron", "@daily", "--payload", "{\"job\":\"j\"}"],
        ),
        ("delete /v1/schedules/s", &["schedule", "delete", "s"]),
        ("get /v1/actions", &["actions"]),
        ("get /v1/keys", &["key", "list"]),
        ("post /v1/keys", &["key", "create", "k", "--scope", "read"]),
        ("delete /v1/keys/000000000000", &["key", "revoke", "000000000000"]),
    ];
    for (_, args) in requests {
        let said = run_with(args, &environment);
        assert!(
            !said.err.contains(&key.expose()[22..]) && !said.out.contains(&key.expose()[22..]),
            "{said:?}"
        );
    }
    let mut events = command(&["events"], &environment);
    let events = Running(events.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let is_stream = |head: &&String| head.starts_with("get /v1/events");
    wait_for("the stream", || server.seen().iter().find(is_stream).cloned());
    drop(events);
    let seen = server.seen();
    for request in requests.iter().map(|(request, _)| *request).chain(["get /v1/events"]) {
        assert!(seen.iter().any(|head| head.starts_with(request)), "{request}: {seen:?}");
    }
    for head in seen {
        assert!(head.contains(&format!("\nauthorization: bearer {}\n", key.expose())), "{head}");
        assert!(head.contains("\nsentinel-namespace: team\n"), "{head}");
    }
}

#[test]
fn a_key_is_read_from_a_file_and_nobody_who_has_none_shows_one() {
    let server = WebServer::start();
    let url = server.url("");
    let dir = tempfile::tempdir().unwrap();
    let key = ApiKey::generate();
    let file = dir.path().join("key");
    std::fs::write(&file, format!("{}\n", key.expose())).unwrap();
    run(&["stats", "--server", &url]);
    assert_eq!(server.headers("authorization"), Vec::<String>::new());
    assert_eq!(server.headers("sentinel-namespace"), Vec::<String>::new());
    run(&["stats", "--server", &url, "--key-file", file.to_str().unwrap()]);
    run_with(&["stats", "--server", &url], &[("SENTINEL_KEY_FILE", file.to_str().unwrap())]);
    run(&["stats", "--server", &url, "--key", key.expose()]);
    assert_eq!(server.headers("authorization"), vec![format!("bearer {}", key.expose()); 3]);
    let both = run(&["stats", "--server", &url, "--key", key.expose(), "--key-file", "x"]);
    assert_eq!(both.code, Some(1), "{both:?}");
    assert!(both.err.contains("say one of them") && !both.err.contains(key.expose()), "{both:?}");
}

#[test]
fn what_is_no_key_is_refused_and_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    let spoilt = format!("{}0", ApiKey::generate().expose());
    std::fs::write(&file, &spoilt).unwrap();
    for (args, environment) in [
        (vec!["stats", "--key", &spoilt], vec![]),
        (vec!["stats"], vec![("SENTINEL_KEY", &*spoilt)]),
        (vec!["stats", "--key-file", file.to_str().unwrap()], vec![]),
    ] {
        let said = run_with(&args, &environment);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains("must be a key") && !said.err.contains(&spoilt[22..]), "{said:?}");
    }
    let help = run_with(&["stats", "--help"], &[("SENTINEL_KEY", &spoilt)]);
    assert!(help.out.contains("SENTINEL_KEY") && !help.out.contains(&spoilt), "{help:?}");
}

#[test]
fn keys_are_made_and_revoked_by_the_api() {
    let dir = tempfile::tempdir().unwrap();
    some_plugins(dir.path(), &["example-task"]);
    let data = dir.path().join("data");
    let first =
        InStore(["--data-dir", data.to_str().unwrap()]).ok(&["create", "first", "--scope", "admin"]).out;
    let (api, address) = free_address();
    let args = ["dev", "--listen", &address, "--data-dir", data.to_str().unwrap(), "--auth", "keys"];
    let _server = Process::start(&args, dir.path());
    wait_for("the server", || api.request("GET", "/healthz", None).ok());
    let url = format!("http://{address}");
    let by =
        |key: &str, args: &[&str]| run_with(args, &[("SENTINEL_KEY", key.trim()), ("SENTINEL_SERVER", &url)]);
    let made = by(&first, &["key", "create", "reader", "--scope", "read"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let reader: ApiKey = made.out.trim().parse().expect("the key alone");
    assert_eq!(by(reader.expose(), &["stats"]).code, Some(0));
    let refused = by(reader.expose(), &["key", "list"]);
    assert!(refused.code == Some(1) && refused.err.contains("forbidden"), "{refused:?}");
    assert_eq!(by(&first, &["key", "revoke", reader.id().as_str()]).code, Some(0));
    let refused = by(reader.expose(), &["stats"]);
    assert!(refused.code == Some(1) && refused.err.contains("unauthenticated"), "{refused:?}");
    let actions = by(&first, &["actions", "--output", "json"]).out;
    let actions: Value = serde_json::from_str(&actions).unwrap_or_else(|_| panic!("{actions}"));
    let told = |number: usize| {
        let action = &actions["actions"][number];
        (action["what"].as_str().unwrap().to_owned(), action["status"].clone())
    };
    assert_eq!(told(0), ("DELETE /v1/keys/{id}".to_owned(), json!(200)), "the newest first: {actions}");
    assert_eq!(told(1), ("POST /v1/keys".to_owned(), json!(201)), "{actions}");
}

#[test]
fn a_key_does_not_follow_a_redirect() {
    let (server, other) = (WebServer::start(), WebServer::start());
    let key = ApiKey::generate();
    let here = server.url(&format!("/to/{}", other.url("")));
    let said = run(&["stats", "--server", &here, "--key", key.expose()]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains(&other.url("/stats")) && said.err.contains("--server"), "{said:?}");
    assert_eq!(server.seen().len(), 1);
    assert_eq!(other.seen(), Vec::<String>::new());
}
