//! The workers that are alive: their version, and what they do not run.
//!
//! What a worker says of itself is not trusted: it may be of another version, or of somebody else.

use std::collections::BTreeMap;

use sentinel_queue::{Queue, queue::WorkerInfo};
use serde::Deserialize;

use crate::cli::{finding::Finding, out::on_one_line};

const HERE: &str = env!("CARGO_PKG_VERSION");

/// So many refused plugins are named.
const NAMED: usize = 5;

/// What is read of a worker's own words.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Info {
    version: Option<String>,
    refused: Vec<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    file: String,
    reason: String,
}

pub(super) async fn look(queue: &Queue) -> Vec<Finding> {
    match queue.workers().await {
        Ok(workers) => judge(&workers),
        Err(error) => vec![Finding::failed("workers", error.to_string(), "look at the store first")],
    }
}

fn judge(workers: &[WorkerInfo]) -> Vec<Finding> {
    if workers.is_empty() {
        let fix = "start one: sentinel worker --redis URL";
        return vec![Finding::warning("workers", "none is alive: tasks wait", fix)];
    }
    let infos: Vec<Info> =
        workers.iter().map(|worker| serde_json::from_slice(&worker.info).unwrap_or_default()).collect();
    let mut others = BTreeMap::<_, usize>::new();
    for info in &infos {
        let version = info.version.as_deref().unwrap_or("unknown");
        if version != HERE {
            *others.entry(short(version)).or_default() += 1;
        }
    }
    let count = workers.len();
    let mut findings = vec![if others.is_empty() {
        Finding::ok("workers", format!("{count} alive, of this version ({HERE})"))
    } else {
        let others: Vec<_> =
            others.iter().take(NAMED).map(|(version, n)| format!("{n} of {version}")).collect();
        let says = format!("{count} alive, but {}, and this is {HERE}", others.join(", "));
        Finding::warning("workers", says, "finish the upgrade: all should run one version in the end")
    }];
    let refused: BTreeMap<_, _> = infos
        .iter()
        .flat_map(|info| &info.refused)
        .map(|Refusal { file, reason }| (file.as_str(), reason.as_str()))
        .collect();
    findings.extend(refused.iter().take(NAMED).map(|(file, reason)| {
        let says = format!("some do not run {}: {}", short(file), short(reason));
        Finding::warning("workers", says, "mend the plugin where they read it, or remove it there")
    }));
    findings
}

/// Enough of it, on one line.
fn short(text: &str) -> String {
    on_one_line(&text.chars().take(300).collect::<String>())
}

#[cfg(test)]
mod tests {
    use sentinel_queue::Millis;

    use super::*;
    use crate::cli::finding::Verdict;

    fn worker(info: &str) -> WorkerInfo {
        WorkerInfo { instance: "a".into(), seen_at: Millis(0), info: info.to_owned().into() }
    }

    fn verdicts(infos: &[&str]) -> Vec<Verdict> {
        let workers: Vec<_> = infos.iter().map(|info| worker(info)).collect();
        judge(&workers).iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn workers_of_other_versions_and_what_they_refuse_are_told() {
        let same = format!("{{\"version\":\"{HERE}\"}}");
        assert_eq!(verdicts(&[]), [Verdict::Warning]);
        assert_eq!(verdicts(&[&same]), [Verdict::Ok]);
        assert_eq!(verdicts(&[&same, "{\"version\":\"0.0.1\"}"]), [Verdict::Warning]);
        assert_eq!(verdicts(&["not JSON"]), [Verdict::Warning]);
        let refusing = format!(
            "{{\"version\":\"{HERE}\",\"refused\":[{{\"file\":\"a.wasm\",\"reason\":\"\\u001b[2J\"}}]}}"
        );
        assert_eq!(verdicts(&[&refusing]), [Verdict::Ok, Verdict::Warning]);
        let found = judge(&[worker(&refusing)]);
        assert!(!found[1].says.contains('\u{1b}'), "{:?}", found[1]);
    }
}
