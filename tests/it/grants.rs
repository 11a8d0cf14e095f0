//! Grants, from the operator's file to the guest, and back to what people see.

use std::process::Command;

use serde_json::Value;

use crate::cluster::Stack;

/// A stack whose hostile job asks for two secrets and is granted one, that of this variable.
fn stack(variable: &str) -> Stack {
    let stack = Stack::start(&[]);
    stack.api.wait_until_ready(0);
    let write = |file: &str, text: &str| std::fs::write(stack.dir.path().join(file), text).unwrap();
    write("plugins/hostile.toml", "secrets = [\"key\", \"other\"]\n[limits]\nmemory = \"2GiB\"");
    write("sentinel.toml", &format!("[grants.hostile]\nsecrets = {{ key = {{ env = {variable:?} }} }}"));
    stack
}

/// Case 16 of bad input.
#[test]
fn a_secret_is_seen_by_its_job_and_by_nobody_else() {
    // The one variable that is surely there.
    let stack = stack("PATH");
    let secret = std::env::var("PATH").unwrap();
    let api = stack.api;
    let mut worker = stack.worker(&[]);
    api.wait_until_ready(1);
    let submit = |by: &str| {
        api.submit(&format!(
            r#"{{"payload":{{"job":"hostile","do":"tell","secret":"key","by":"{by}"}},"max_attempts":1}}"#
        ))
    };
    let ids = ["stdout", "stderr", "failure", "panic", "progress"].map(submit);
    let mut seen = String::new();
    for id in &ids {
        let task = api.get(&format!("/v1/tasks/{id}?wait=30s"));
        assert!(task.json()["finished_at"].is_string(), "{}", task.text());
        seen += &task.text();
        seen += &api.get(&format!("/v1/tasks/{id}/logs")).text();
    }
    assert!(seen.matches("it is [secret key].").count() >= 5, "{seen}");
    for path in ["/v1/jobs", "/v1/jobs/hostile", "/v1/workers", "/v1/tasks", "/stats", "/metrics"] {
        seen += &api.get(path).text();
    }
    assert!(!seen.contains(&secret), "{seen}");
    let job = api.get("/v1/jobs/hostile").json();
    let withheld = ["limits.memory: asks for 2GiB, gets 1GiB (ceilings.memory)", "secret other"];
    assert_eq!(job["withheld"], Value::from(&withheld[..]), "{job}");

    let list = Command::new(env!("CARGO_BIN_EXE_sentinel"))
        .args(["job", "list", "--server", &format!("http://127.0.0.1:{}", api.port)])
        .output()
        .unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.contains("not granted to hostile: secret other"), "{list}");
    assert_eq!(worker.terminate(), Some(0));
    let log = stack.log();
    assert!(log.contains("secret other") && !log.contains(&secret), "{log}");
}

#[test]
fn a_worker_without_its_secrets_does_not_start() {
    let stack = stack("SENTINEL_TEST_NO_SUCH_VARIABLE");
    // One that starts all the same is ended, with another code.
    let worker = Command::new("timeout")
        .args(["20", env!("CARGO_BIN_EXE_sentinel"), "worker", "--redis", &stack.redis.url()])
        .current_dir(stack.dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8(worker.stderr).unwrap();
    assert_eq!(worker.status.code(), Some(1), "{said}");
    assert!(said.contains("grants.hostile.secrets.key: "), "{said}");
}
