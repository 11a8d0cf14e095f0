//! What the store holds in the end: asked of the API, task by task, and of Redis for the names of
//! all there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use crate::{
    check::{Finals, Rule, Violation},
    cluster::Cluster,
    history::{Event, What},
    http::{Apis, Reply, Request},
    task::Found,
};

/// Tasks are read by so many at once.
const READERS: usize = 4;

/// So often a task that cannot be read is asked for.
const TRIES: usize = 5;

/// Reads everything.
pub(crate) fn finals(apis: &Apis, cluster: &Cluster, events: &[Event]) -> Result<Finals> {
    let mut ids = stored(cluster)?;
    ids.extend(events.iter().filter_map(|event| match &event.what {
        What::Accepted { id, .. } => Some(id.clone()),
        _ => None,
    }));
    let ids: Vec<_> = ids.into_iter().collect();
    let slices = ids.chunks(ids.len().div_ceil(READERS).max(1));
    let mut finals = Finals::default();
    thread::scope(|scope| {
        let read_all = |ids: &[String]| -> Vec<_> { ids.iter().map(|id| read(apis, id)).collect() };
        let readers: Vec<_> = slices.map(|ids| (ids, scope.spawn(move || read_all(ids)))).collect();
        for (ids, reader) in readers {
            let tasks = reader.join().map_err(|_| anyhow!("a reader panicked"))?;
            for (id, task) in ids.iter().zip(tasks) {
                match task {
                    None => {}
                    Some(Ok(task)) => _ = finals.tasks.insert(id.clone(), task),
                    Some(Err(said)) => _ = finals.unreadable.insert(id.clone(), said),
                }
            }
        }
        Ok::<_, anyhow::Error>(())
    })?;
    let stats = apis.get("/stats")?;
    let counts = stats["status_counts"].as_object().context("/stats has no status_counts")?;
    let lifetime: BTreeMap<String, u64> =
        redis::cmd("HGETALL").arg("{s0}:stats").query(&mut cluster.connection()?)?;
    Ok(Finals {
        queue_size: stats["queue_size"].as_u64().context("/stats has no queue_size")?,
        status_counts: counts
            .iter()
            .map(|(status, count)| (status.clone(), count.as_u64().unwrap_or(0)))
            .collect(),
        lifetime: lifetime
            .into_iter()
            .filter_map(|(name, count)| Some((name.strip_prefix("default:")?.to_owned(), count)))
            .collect(),
        ..finals
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

/// The task with this id, none if there is none, or what the API says instead of showing it.
fn read(apis: &Apis, id: &str) -> Option<Result<Found, String>> {
    let mut said = String::new();
    for attempt in 0..TRIES {
        match apis.send(attempt, &Request::get(&format!("/v1/tasks/{id}"))) {
            Reply::Answer { status: 404, .. } => return None,
            Reply::Answer { status: 200, body } => {
                return Some(Found::read(&body).ok_or_else(|| format!("not a task: {body}")));
            }
            Reply::Answer { status, body } => said = format!("{status}: {body}"),
            Reply::NotSent => said = "no API is there".into(),
            Reply::Lost(why) => said = why,
        }
        thread::sleep(Duration::from_millis(100));
    }
    Some(Err(said))
}

/// Puts it beside the history, so that a run that failed can be looked at.
pub(crate) fn write(dir: &Path, finals: &Finals) -> Result<()> {
    Ok(std::fs::write(dir.join("finals.json"), serde_json::to_vec_pretty(finals)?)?)
}

/// What `sentinel audit` finds.
pub(crate) fn audit(cluster: &Cluster) -> Result<Option<Violation>> {
    let output = Command::new(&cluster.sentinel)
        .args(["audit", "--redis", &cluster.redis_url, "--output", "json"])
        .output()?;
    if output.status.success() {
        return Ok(None);
    }
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(Some(Violation::of(Rule::Audit, format!("{}: {said} {error}", output.status))))
}
