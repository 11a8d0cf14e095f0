//! What `/metrics` tells of a real cluster, and that the document and the alert rules tell of the same.

#![allow(clippy::float_cmp, reason = "counts are whole numbers")]

mod openmetrics;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use sentinel_testkit::wait_for;

use self::openmetrics::{Families, parse};
use crate::cluster::{Api, JOBS, Stack, free_address};

fn scrape(api: Api) -> Families {
    let answer = api.get("/metrics");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(
        answer.head.to_lowercase().contains("content-type: application/openmetrics-text"),
        "{}",
        answer.head
    );
    parse(&answer.text())
}

/// The sum of what a family tells under these labels.
fn sum(families: &Families, name: &str, labels: &[(&str, &str)]) -> f64 {
    let samples = families.values().flat_map(|family| &family.samples);
    let wanted = |own: &BTreeMap<String, String>| {
        labels.iter().all(|(label, value)| own.get(*label).map(String::as_str) == Some(value))
    };
    samples.filter(|sample| sample.name == name && wanted(&sample.labels)).map(|sample| sample.value).sum()
}

fn submit(api: Api, payload: &str) -> String {
    api.submit(&format!(r#"{{"payload":{payload},"queue":"q","max_attempts":2,"backoff":{{"base":"1ms"}}}}"#))
}

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// A cluster in which everything has happened once, and what its other server tells of it.
fn eventful() -> (Stack, Families) {
    let stack = Stack::start(&[]);
    let api = stack.api;
    api.wait_until_ready(0);
    let cancelled = submit(api, r#"{"job":"example-task"}"#);
    assert_eq!(api.post(&format!("/v1/tasks/{cancelled}/cancel"), "").status, 200);
    let mut worker = stack.worker(&[]);
    api.wait_until_ready(1);
    api.wait_for_jobs(JOBS);
    let done = submit(api, r#"{"job":"count-primes","limit":100000}"#);
    let failed = submit(api, r#"{"job":"hostile","do":"trap"}"#);
    for id in [done, failed] {
        let task = api.get(&format!("/v1/tasks/{id}?wait=20s")).json();
        assert!(task["finished_at"].is_string(), "{task}");
    }
    // Another server, which saw none of it.
    let (other, _address) = free_address();
    let _server = stack.api_at(other);
    other.wait_until_ready(1);
    let families = wait_for("all numbers", || {
        let families = scrape(other);
        let ended = sum(&families, "sentinel_tasks_ended_total", &[]);
        let submitted = sum(&families, "sentinel_tasks_submitted_total", &[]);
        (ended >= 3.0 && submitted >= 3.0).then_some(families)
    });
    assert_eq!(worker.terminate(), Some(0));
    (stack, families)
}

#[test]
fn one_server_tells_of_the_whole_cluster_and_the_document_and_the_rules_know_all_of_it() {
    let (_stack, families) = eventful();
    check_numbers(&families);
    check_document(&families);
    check_rules(&families);
}

fn check_numbers(families: &Families) {
    let of = |name: &str, labels: &[(&str, &str)]| sum(families, name, labels);
    for (job, outcome, error) in
        [("count-primes", "COMPLETED", ""), ("hostile", "FAILED", "trap"), ("example-task", "CANCELLED", "")]
    {
        let labels = [("namespace", "default"), ("queue", "q"), ("job", job)];
        assert_eq!(of("sentinel_tasks_submitted_total", &labels), 1.0, "{job}");
        assert_eq!(of("sentinel_task_end_to_end_seconds_count", &labels), 1.0, "{job}");
        let [namespace, queue, job] = labels;
        let ended = [namespace, queue, job, ("outcome", outcome), ("error", error)];
        assert_eq!(of("sentinel_tasks_ended_total", &ended), 1.0, "{job:?}");
    }
    assert_eq!(of("sentinel_tasks_ended_total", &[]), 3.0);
    let hostile = [("job", "hostile")];
    assert_eq!(of("sentinel_attempts_retried_total", &hostile), 1.0);
    assert_eq!(of("sentinel_attempt_seconds_count", &hostile), 2.0, "two attempts");
    assert_eq!(of("sentinel_task_wait_seconds_count", &hostile), 2.0);
    let primes = [("job", "count-primes")];
    assert!(of("sentinel_attempt_cpu_seconds_total", &primes) > 0.0);
    assert!(of("sentinel_attempt_seconds_sum", &primes) > 0.0);
    assert!(of("sentinel_attempt_peak_memory_bytes", &primes) >= 65536.0);
    assert_eq!(of("sentinel_tasks", &[("state", "COMPLETED")]), 1.0);
    assert_eq!(of("sentinel_tasks", &[("state", "FAILED")]), 1.0);
    assert_eq!(of("sentinel_queue_depth", &[("queue", "q")]), 0.0);
    assert_eq!((of("sentinel_workers", &[]), of("sentinel_store_up", &[])), (1.0, 1.0));
    assert!(of("sentinel_worker_slots", &[]) >= 1.0);
    assert_eq!(of("sentinel_worker_plugins", &[("state", "admitted")]), 4.0);
    assert_eq!(of("sentinel_worker_admissions_total", &[]), 4.0);
    assert!(of("sentinel_worker_memory_budget_bytes", &[]) > 0.0);
    assert!(of("sentinel_worker_store_calls_total", &[("outcome", "answered")]) > 0.0);
    assert!(of("sentinel_store_call_seconds_count", &[("script", "sums")]) > 0.0);
}

/// The rows of the document's tables: name, type, labels.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let text = document("metrics.md");
    let rows = text.lines().filter(|line| line.starts_with("| `sentinel_"));
    let words = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let rows = rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, meaning] = cells[..] else { panic!("{row}") };
        assert!(meaning.ends_with('.'), "{row}");
        (words(name).remove(0), (kind.to_owned(), words(labels).into_iter().collect()))
    });
    rows.collect()
}

fn check_document(families: &Families) {
    let documented = documented();
    let told: BTreeSet<_> = families.keys().collect();
    assert_eq!(
        told,
        documented.keys().collect(),
        "docs/metrics.md tells of what is told, and of nothing else"
    );
    for (name, family) in families {
        let (kind, labels) = &documented[name];
        assert_eq!(kind, &family.kind, "{name}");
        for sample in &family.samples {
            let own = sample.labels.keys().filter(|label| *label != "le").cloned();
            assert_eq!(&own.collect::<BTreeSet<_>>(), labels, "{name}");
        }
    }
}

/// The words of a text that begin so.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("sentinel_")).collect()
}

fn check_rules(families: &Families) {
    let text = document("alerts.yml");
    let known: BTreeSet<&str> = families
        .iter()
        .flat_map(|(name, family)| {
            let parts = family.samples.iter().map(|sample| sample.name.as_str());
            parts.chain([name.as_str()]).collect::<Vec<_>>()
        })
        .collect();
    let unknown: Vec<_> = names(&text).into_iter().filter(|name| !known.contains(name)).collect();
    assert!(unknown.is_empty(), "docs/alerts.yml names what nobody tells: {unknown:?}");
    let rules: Vec<_> = text.split("\n      - alert: ").skip(1).collect();
    assert!(rules.len() >= 10);
    let mut seen = BTreeSet::new();
    for rule in rules {
        assert!(seen.insert(rule.lines().next().unwrap()), "{rule}");
        let (expr, rest) = rule.split_once("labels: { severity: ").unwrap_or_else(|| panic!("{rule}"));
        assert!(expr.contains("expr: ") && !names(expr).is_empty(), "{rule}");
        assert_eq!(expr.matches('(').count(), expr.matches(')').count(), "{rule}");
        for part in ["summary: ", "why: ", "do: "] {
            assert_eq!(rest.matches(&format!("\n          {part}")).count(), 1, "{part} in {rule}");
        }
    }
}
