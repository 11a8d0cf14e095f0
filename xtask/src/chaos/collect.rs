//! What the store holds in the end: asked of the API, task by task, and of Redis for the names of
//! all there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
    thread,
};

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use super::{
    check::{Finals, Rule, Violation},
    cluster::Cluster,
    history::{Event, What},
    http::{Apis, Reply, Request},
    task::Found,
};
use crate::shell;

/// Tasks are read by so many at once.
const READERS: usize = 4;

/// Reads everything.
pub(crate) fn finals(apis: &Apis, cluster: &Cluster, events: &[Event]) -> Result<Finals> {
    let mut ids = stored(cluster)?;
    ids.extend(events.iter().filter_map(|event| match &event.what {
        What::Accepted { id, .. } => Some(id.clone()),
        _ => None,
    }));
    let ids: Vec<_> = ids.into_iter().collect();
    let slices = ids.chunks(ids.len().div_ceil(READERS).max(1));
    let tasks: Result<Vec<_>> = thread::scope(|scope| {
        let readers: Vec<_> = slices.map(|ids| scope.spawn(move || read(apis, ids))).collect();
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap_or_else(|_| Err(anyhow!("a reader panicked"))))
            .collect()
    });
    let stats = apis.get("/stats")?;
    let counts = stats["status_counts"].as_object().context("/stats has no status_counts")?;
    let lifetime: BTreeMap<String, u64> =
        redis::cmd("HGETALL").arg("{s0}:stats").query(&mut cluster.connection()?)?;
    Ok(Finals {
        tasks: tasks?.into_iter().flatten().map(|task| (task.id.clone(), task)).collect(),
        queue_size: stats["queue_size"].as_u64().context("/stats has no queue_size")?,
        status_counts: counts
            .iter()
            .map(|(status, count)| (status.clone(), count.as_u64().unwrap_or(0)))
            .collect(),
        lifetime: lifetime
            .into_iter()
            .filter_map(|(name, count)| Some((name.strip_prefix("default:")?.to_owned(), count)))
            .collect(),
    })
}

/// The ids of all tasks that the store knows.
fn stored(cluster: &Cluster) -> Result<BTreeSet<String>> {
    const PREFIX: &str = "{s0}:d:";
    let mut connection = cluster.connection()?;
    let mut ids = BTreeSet::new();
    let mut cursor = 0u64;
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{PREFIX}*")).arg("COUNT").arg(1000);
        let (next, keys): (u64, Vec<String>) = scan.query(&mut connection)?;
        ids.extend(keys.iter().filter_map(|key| key.strip_prefix(PREFIX)).map(str::to_owned));
        cursor = next;
        if cursor == 0 {
            return Ok(ids);
        }
    }
}

/// Those of the tasks that are there.
fn read(apis: &Apis, ids: &[String]) -> Result<Vec<Found>> {
    let mut tasks = Vec::new();
    for id in ids {
        let path = format!("/v1/tasks/{id}");
        let body = match apis.send(0, &Request::get(&path)) {
            Reply::Answer { status: 404, .. } => continue,
            Reply::Answer { status: 200, body } => body,
            _ => apis.get(&path)?,
        };
        tasks.push(Found::read(&body).with_context(|| format!("not a task: {body}"))?);
    }
    Ok(tasks)
}

/// Puts it beside the history, so that a run that failed can be looked at.
pub(crate) fn write(dir: &Path, finals: &Finals) -> Result<()> {
    Ok(std::fs::write(dir.join("finals.json"), serde_json::to_vec_pretty(finals)?)?)
}

/// What `sentinel audit` finds.
pub(crate) fn audit(cluster: &Cluster) -> Result<Option<Violation>> {
    let output = Command::new(shell::sentinel())
        .args(["audit", "--redis", &cluster.redis_url, "--output", "json"])
        .output()?;
    if output.status.success() {
        return Ok(None);
    }
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(Some(Violation::of(Rule::Audit, format!("{}: {said} {error}", output.status))))
}
