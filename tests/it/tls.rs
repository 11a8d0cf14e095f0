//! TLS from the outside: an API that is reached by it, and a Redis.

use std::{fs, path::Path, process::Command};

use sentinel_testkit::{Authority, RedisServer, wait_for};

use crate::cluster::{self, LOG, Process, free_address};

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// `sentinel health`, as a container runs it: its environment alone says what is served.
fn is_healthy(listen: &str, cert: Option<&Path>) -> bool {
    let mut health = Command::new(env!("CARGO_BIN_EXE_sentinel"));
    health.arg("health").env("SENTINEL_LISTEN", listen);
    if let Some(cert) = cert {
        health.env("SENTINEL_TLS_CERT", cert);
    }
    health.output().expect("sentinel starts").status.success()
}

#[test]
fn a_server_with_a_certificate_is_healthy_by_tls_and_only_by_tls() {
    let dir = tempfile::tempdir().unwrap();
    cluster::some_plugins(dir.path(), &[]);
    // Of the name by which others call it.
    let issued = Authority::new().issue(&["queue.example"]);
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    fs::write(&cert, issued.cert).unwrap();
    fs::write(&key, issued.key).unwrap();
    let (_, address) = free_address();
    let tls = ["--tls-cert", path(&cert), "--tls-key", path(&key)];
    let mut dev = Process::start(&[&["dev", "--listen", &address][..], &tls].concat(), dir.path());
    wait_for("the API", || is_healthy(&address, Some(&cert)).then_some(()));
    assert!(!is_healthy(&address, None), "without TLS it is not served");
    assert_eq!(dev.terminate(), Some(0));
}

#[test]
fn a_certificate_that_does_not_fit_is_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    cluster::some_plugins(dir.path(), &[]);
    let broken = dir.path().join("broken.pem");
    fs::write(&broken, "nothing").unwrap();
    let (_, address) = free_address();
    for (args, what) in [
        (&["--tls-cert", path(&broken)][..], "--tls-key"),
        (&["--tls-cert", path(&broken), "--tls-key", path(&broken)], "broken.pem: there is no certificate"),
        (&["--tls-cert", "nowhere.pem", "--tls-key", path(&broken)], "nowhere.pem: No such file"),
        (&["--allow-origin", "dash.example"], "https://dash.example"),
    ] {
        let mut dev = Command::new(env!("CARGO_BIN_EXE_sentinel"));
        let dev = dev.args(["dev", "--listen", &address]).args(args).current_dir(dir.path());
        let output = dev.output().expect("sentinel starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(what), "{said}");
    }
}

#[test]
fn a_redis_that_is_reached_by_tls_is_used_if_its_authority_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let redis = RedisServer::start_tls(&authority.issue(&["localhost"]), "sentinel", "tr0ub4dor");
    let ca = dir.path().join("ca.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let url = |password| format!("rediss://sentinel:{password}@localhost:{}", redis.port());
    cluster::some_plugins(dir.path(), &["example-task"]);
    let (api, address) = free_address();
    let over =
        |url: &str| ["--redis".to_owned(), url.to_owned(), "--redis-ca".to_owned(), path(&ca).to_owned()];
    let start = |command: &[&str]| {
        let over = over(&url("tr0ub4dor"));
        let args = [command, &over.each_ref().map(String::as_str)[..]].concat();
        Process::start(&args, dir.path())
    };
    let mut processes = [start(&["api", "--listen", &address]), start(&["worker"])];
    api.wait_until_ready(1);
    let id = api.submit(r#"{"payload":{"job":"example-task"}}"#);
    assert_eq!(api.get(&format!("/v1/tasks/{id}?wait=30s")).json()["status"], "COMPLETED");
    let mut health = Command::new(env!("CARGO_BIN_EXE_sentinel"));
    health.args(["health", "--worker"]).args(over(&url("tr0ub4dor")));
    assert!(health.status().expect("sentinel starts").success());

    let (_, other) = free_address();
    let refused = |args: &[String], what: &str| {
        let mut api = Command::new(env!("CARGO_BIN_EXE_sentinel"));
        let output = api.args(["api", "--listen", &other]).args(args).current_dir(dir.path()).output();
        let output = output.expect("sentinel starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(what), "{said}");
        assert!(!said.contains("tr0ub4dor") && !said.contains("wr0ngw0rd"), "{said}");
    };
    refused(&over(&url("tr0ub4dor"))[..2], "--redis-ca");
    refused(&over(&url("wr0ngw0rd")), "check the user and the password");
    for process in &mut processes {
        assert_eq!(process.terminate(), Some(0));
    }
    assert!(!fs::read_to_string(dir.path().join(LOG)).unwrap().contains("tr0ub4dor"));
}
