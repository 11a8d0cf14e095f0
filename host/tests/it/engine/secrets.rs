//! Configuration, secrets and the environment: who gets to see what.

use std::{collections::BTreeMap, sync::Arc};

use sentinel_host::engine::{Grants, Outcome, Plugin, Secret};

use super::lab::{act, failure, lab};

const VALUE: &str = "s3cr\u{e9}t-of-the-house";

fn granted() -> Plugin {
    let text = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    lab().hostile.with_grants(Grants {
        args: vec!["-v".into(), String::new()],
        env: text(&[("REGION", "eu")]),
        config: text(&[("url", "https://example.org"), ("size", "5")]),
        secrets: [("key".to_owned(), Secret::new(VALUE))].into_iter().collect(),
        ..Grants::default()
    })
}

fn tell(by: &str) -> super::lab::Act {
    act(&format!("\"tell\",\"secret\":\"key\",\"by\":\"{by}\""))
}

#[test]
fn a_guest_sees_the_granted_environment_its_name_and_its_arguments() {
    assert_eq!(
        act("\"env\"").returns_with(&granted()),
        r#"{"args":["hostile","-v",""],"env":{"REGION":"eu"}}"#
    );
}

#[test]
fn a_guest_reads_its_configuration_and_asks_for_secrets_by_name() {
    let plugin = granted();
    let config = |key: &str| act(&format!("\"config\",\"key\":\"{key}\"")).returns_with(&plugin);
    assert_eq!(config("url"), "\"https://example.org\"");
    assert_eq!(config("other"), "null");
    assert_eq!(config("secret.key"), format!("\"{VALUE}\""));
    assert_eq!(config("secret.other"), "null");
    assert_eq!(config("key"), "null");
    let all = act("\"config-all\"").returns_with(&plugin);
    assert_eq!(all, r#"[["size","5"],["url","https://example.org"]]"#, "a list does not give secrets away");
    assert_eq!(act("\"config\",\"key\":\"secret.key\"").returns(), "null", "without a grant there is none");
}

#[test]
fn a_secret_that_a_guest_prints_is_not_shown() {
    let plugin = granted();
    for by in ["stdout", "stderr"] {
        let report = tell(by).run_with(&plugin);
        assert_eq!(report.log.text, "it is [secret key].\n", "{by}");
        assert_eq!(report.outcome, Outcome::Completed(VALUE.len().to_string()));
    }
    for by in ["failure", "panic"] {
        let report = tell(by).run_with(&plugin);
        assert!(!report.log.text.contains(VALUE), "{by}: {}", report.log.text);
        let message = failure(report).message;
        assert!(message.contains("it is [secret key].") && !message.contains(VALUE), "{by}: {message}");
    }
    let call = tell("progress").call();
    let progress = Arc::clone(&call.progress);
    lab().run(&plugin, call);
    assert_eq!(progress.take_news().expect("a report").message, "it is [secret key].");
    assert_eq!(tell("result").returns_with(&plugin), format!("\"{VALUE}\""), "a result is the job's own");
}

#[test]
fn a_secret_at_the_end_of_a_full_log_is_not_shown_in_part() {
    let report = tell("stdout").limited(|limits| limits.log_bytes = 20).run_with(&granted());
    assert_eq!(report.log.text, "it is [secret key]");
}

#[test]
fn whoever_formats_a_plugins_grants_sees_no_secret() {
    assert!(!format!("{:?}", granted().grants()).contains(VALUE));
}
