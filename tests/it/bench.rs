//! `sentinel bench`, made small: that each measure can be taken, not what it says.

use std::process::Command;

use serde_json::Value;

use crate::cluster;

/// The figures of a run, by measure and name.
fn figures(args: &[&str]) -> Vec<(String, String, f64)> {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_sentinel"))
        .arg("bench")
        .args(args)
        .args(["--runs", "2", "--shrink", "200", "--json"])
        .arg(&file)
        .arg("--plugins")
        .arg(cluster::built("noop").parent().expect("a directory"))
        .output()
        .expect("sentinel starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(file).expect("a report")).expect("JSON");
    assert!(report["machine"]["cores"].as_u64() > Some(0), "{report}");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let measures = report["measures"].as_array().expect("measures");
    let figures = measures.iter().flat_map(|measure| {
        let figures = measure["figures"].as_array().expect("figures");
        figures.iter().map(|figure| {
            assert_eq!(figure["runs"].as_array().map(Vec::len), Some(2), "{figure}");
            (text(&measure["name"]), text(&figure["name"]), figure["median"].as_f64().expect("a number"))
        })
    });
    figures.collect()
}

fn assert_seen(figures: &[(String, String, f64)], wanted: &[(&str, &str)]) {
    for (measure, figure) in wanted {
        let seen = figures.iter().find(|(of, name, _)| of == measure && name == figure);
        assert!(seen.is_some_and(|(_, _, median)| *median > 0.0), "{measure}, {figure}: {figures:?}");
    }
}

#[test]
fn everything_is_measured_on_redis() {
    let seen = figures(&[
        "attempt", "submit", "batch", "enqueue", "drain", "drain2", "steady", "idle", "door", "start",
        "memory",
    ]);
    assert_seen(
        &seen,
        &[
            ("attempt", "p50"),
            ("submit", "submitted"),
            ("batch", "Redis CPU per task"),
            ("enqueue", "one by one"),
            ("enqueue", "in batches"),
            ("drain", "run"),
            ("drain", "Redis commands per task"),
            ("drain2", "run"),
            ("steady", "p99"),
            ("idle", "p50"),
            ("door", "p99"),
            ("start", "until the first task runs"),
            ("memory", "Redis, a queued task"),
        ],
    );
}

#[test]
fn an_embedded_store_is_measured_without_redis() {
    let seen = figures(&["--store", "embedded", "batch", "drain", "idle"]);
    assert_seen(&seen, &[("batch", "submitted"), ("drain", "run"), ("idle", "p99")]);
}

#[test]
fn what_cannot_be_measured_so_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_sentinel"))
        .args(["bench", "sleepers", "--store", "embedded"])
        .output()
        .expect("sentinel starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("sleepers") && said.contains("--store"), "{said}");
}
