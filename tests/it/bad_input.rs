//! Bad input, as far as it takes real processes to see what becomes of it. Numbers are those of the
//! catalogue of cases.

use std::{fs, path::Path};

use sentinel_testkit::{free_port, wait_for};

use crate::cluster::{Api, LOG, Process, free_address, some_plugins};

/// What would paint, clear and forge lines, if it came to a terminal or a file as it is.
const HOSTILE: &str = "\r\nERROR forged=\u{1b}[31mred\u{1b}]0;title\u{7}\u{8}\u{9b}1m";

/// Writes all that Sentinel's own code has to say.
const VERBOSE: &str = "export RUST_LOG=info,sentinel=trace,sentinel_api=trace,sentinel_host=trace,\
                       sentinel_queue=trace";

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |encoded, byte| encoded + &format!("%{byte:02x}"))
}

/// Puts hostile text wherever somebody from outside can put text, and has tasks say it, too.
fn provoke(api: Api) {
    let text = percent_encoded(HOSTILE);
    for (method, path) in [
        ("GET", format!("/v1/tasks/{text}")),
        ("GET", format!("/v1/tasks/{text}/events")),
        ("GET", format!("/v1/jobs/{text}")),
        ("GET", format!("/v1/tasks?tag={text}&status={text}")),
        ("GET", format!("/v1/tasks?cursor={text}")),
        ("POST", format!("/v1/queues/{text}/pause")),
        ("POST", format!("/v1/tasks/{text}/cancel")),
        ("DELETE", format!("/v1/schedules/{text}")),
        ("GET", format!("/{text}?{text}={text}")),
    ] {
        let answer = api.request(method, &path, None).expect("the API answers");
        assert!((400..500).contains(&answer.status), "{method} {path}: {}", answer.head);
    }
    let quoted = serde_json::to_string(HOSTILE).unwrap();
    for body in [
        format!(r#"{{"payload":{{"job":{quoted}}}}}"#),
        format!(r#"{{"payload":{{"job":"hostile"}},"queue":{quoted}}}"#),
        format!(r#"{{"payload":{{"job":"hostile"}},"tags":[{quoted}],{quoted}:{quoted}}}"#),
        format!(r#"{{"payload":{{"job":"hostile"}},"idempotency_key":{quoted},"concurrency_key":{quoted}}}"#),
    ] {
        assert_eq!(api.post("/submit-task", &body).status, 422, "{body}");
    }
    let id = api.submit(&format!(
        r#"{{"payload":{{"job":"hostile","do":"panic","message":{quoted},{quoted}:{quoted}}},"max_attempts":1}}"#
    ));
    let task = api.get(&format!("/v1/tasks/{id}?wait=30s")).json();
    assert_eq!(task["error"]["kind"], "trap", "{task}");
}

/// What a server logs, in one form or the other, after it was told all that.
fn log_of(dir: &Path, form: &str) -> Vec<u8> {
    some_plugins(dir, &["hostile"]);
    let plugins = dir.join("plugins");
    // A file's name and what is in it are text from somebody, too.
    fs::write(plugins.join(format!("{}.wasm", HOSTILE.replace('/', ""))), HOSTILE).unwrap();
    fs::write(plugins.join("broken.wasm"), HOSTILE).unwrap();
    fs::write(plugins.join("broken.toml"), "description = \"\\r\\n\\u001b[31m\"\nlimits = \"\\u001b[31m\"\n")
        .unwrap();
    let (api, address) = free_address();
    let mut server = Process::start_after(VERBOSE, &["dev", "--listen", &address, "--log", form], dir);
    api.wait_until_ready(1);
    provoke(api);
    let log = || fs::read(dir.join(LOG)).unwrap();
    wait_for("the refusals in the log", || {
        let text = String::from_utf8_lossy(&log()).into_owned();
        (text.matches("plugin refused").count() >= 2).then_some(())
    });
    assert_eq!(server.terminate(), Some(0));
    log()
}

/// Whether nothing in a log acts on a terminal, and no line is another's.
fn assert_plain(log: &[u8], is_own: impl Fn(&str) -> bool) {
    let text = String::from_utf8_lossy(log);
    assert!(text.contains("forged"), "it is told of: {text}");
    for line in text.lines() {
        let control = line.chars().find(|c| c.is_control());
        assert_eq!(control, None, "{line:?}");
        assert!(is_own(line), "{line:?}");
    }
}

#[test]
fn case_15_control_characters_are_escaped_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = log_of(dir.path(), "text");
    // Each line begins with its time.
    assert_plain(&log, |line| line.starts_with("20") && line.as_bytes().get(10) == Some(&b'T'));
}

#[test]
fn case_15_control_characters_are_escaped_in_the_log_for_machines() {
    let dir = tempfile::tempdir().unwrap();
    let log = log_of(dir.path(), "json");
    assert_plain(&log, |line| {
        serde_json::from_str::<serde_json::Value>(line).is_ok_and(|line| line["timestamp"].is_string())
    });
}

/// What is told in the log when the store is away, and why.
#[test]
fn case_16_the_stores_password_is_not_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (_, address) = free_address();
    let store = format!("redis://somebody:hunter2hunter2@127.0.0.1:{}", free_port());
    fs::write(dir.path().join("sentinel.toml"), format!("redis = {store:?}\n")).unwrap();
    let mut server = Process::start_after(VERBOSE, &["api", "--listen", &address], dir.path());
    let log = wait_for("a line about the store", || {
        let log = fs::read_to_string(dir.path().join(LOG)).ok()?;
        log.contains("waiting for Redis").then_some(log)
    });
    server.kill();
    assert!(!log.contains("hunter2"), "{log}");
}
