//! Components as different tools build them. They run alike.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sentinel_host::engine::{Call, Outcome};

use super::lab::{built, lab, task};

fn greets(file: &Path) {
    let plugin = lab().engine.admit(file).unwrap_or_else(|error| panic!("{error}"));
    let call = Call::new(&plugin, task(r#"{"job":"example-task","name":"Ada"}"#, Duration::from_secs(10)));
    let progress = Arc::clone(&call.progress);
    let report = lab().run(&plugin, call);
    assert_eq!(report.outcome, Outcome::Completed(r#"{"greeting":"Hello, Ada!"}"#.into()));
    assert!(report.log.text.contains("attempt 1 of 3"), "{:?}", report.log);
    assert_eq!(progress.take_news().map(|news| news.percent), Some(100));
}

#[test]
fn a_component_of_plain_cargo_runs() {
    greets(&built("example_task"));
}

#[test]
fn a_component_of_cargo_component_runs() {
    greets(&fixture("example-task.cargo-component.wasm"));
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("tests/fixtures").join(name)
}

/// Of the world `job`, and of `dependent-job`, which imports `parents`.
#[test]
fn what_was_built_against_the_first_0_1_0_runs_for_ever() {
    greets(&fixture("example-task.first-0.1.0.wasm"));
    let plugin = lab().engine.admit(&fixture("hostile.first-0.1.0.wasm")).unwrap();
    let parents = r#"{"job":"hostile","do":"parents"}"#;
    let report = lab().run(&plugin, Call::new(&plugin, task(parents, Duration::from_secs(10))));
    assert_eq!(report.outcome, Outcome::Completed("[]".into()));
}
