//! Which parts of the contract the servers under test have: what they refuse is left out of the
//! load, and named in the report.

use std::process::Command;

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    history::{Act, History, What, Wish, now},
    http::{Apis, Reply, Request},
    task::rfc3339,
};
use crate::shell;

/// What the load and the checks make use of, besides plain submits and reads.
#[derive(Clone, Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is there or not, whatever the others are")]
pub(crate) struct Features {
    pub(crate) batch: bool,
    pub(crate) delay: bool,
    pub(crate) after: bool,
    pub(crate) idempotency_key: bool,
    pub(crate) cancel: bool,
    pub(crate) redrive: bool,
    pub(crate) reschedule: bool,
    pub(crate) expires_at: bool,
    pub(crate) concurrency_key: bool,
    /// `sentinel audit`.
    pub(crate) audit: bool,
}

impl Features {
    /// Asks the servers.
    pub(crate) fn probe(apis: &Apis, history: &History) -> Result<Self> {
        let probe = Probe { apis, history };
        let plain = json!({});
        let Some(id) = probe.submit("plain", "/v1/tasks", &plain)? else {
            bail!("the API does not take a plain task");
        };
        let takes =
            |name, fields| Ok::<_, anyhow::Error>(probe.submit(name, "/v1/tasks", &fields)?.is_some());
        Ok(Self {
            batch: probe.submit("batch", "/v1/tasks/batch", &plain)?.is_some(),
            delay: takes("delay", json!({ "delay": "10ms" }))?,
            after: takes("after", json!({ "after": [id] }))?,
            idempotency_key: takes("idempotency", json!({ "idempotency_key": "probe" }))?,
            expires_at: takes("expiry", json!({ "expires_at": rfc3339(now() + 60_000) }))?,
            concurrency_key: takes("concurrency", json!({ "concurrency_key": "probe" }))?,
            // None can be done to a task that is COMPLETED: a server that knows them says so.
            cancel: probe.steer(&id, "cancel", &Value::Null)?,
            redrive: probe.steer(&id, "redrive", &Value::Null)?,
            reschedule: probe.steer(&id, "reschedule", &json!({ "priority": 1 }))?,
            audit: has_audit()?,
        })
    }

    /// The names of what is not there.
    pub(crate) fn missing(&self) -> Vec<String> {
        let all = json!(self);
        let missing = all.as_object().into_iter().flatten().filter(|(_, there)| **there == json!(false));
        missing.map(|(name, _)| name.clone()).collect()
    }
}

struct Probe<'a> {
    apis: &'a Apis,
    history: &'a History,
}

impl Probe<'_> {
    /// Submits a task that has these fields besides; answers its id unless it was refused.
    fn submit(&self, name: &str, path: &str, fields: &Value) -> Result<Option<String>> {
        let wish = Wish::plain(&format!("probe-{name}"), Act::Echo);
        let mut task = fields.clone();
        task["payload"] = wish.payload();
        let is_batch = path.ends_with("batch");
        let body = if is_batch { json!({ "tasks": [task] }) } else { task };
        match self.apis.send(0, &Request::post(path, &body)) {
            Reply::Answer { status: 201, body } => {
                let task = if is_batch { &body["tasks"][0] } else { &body };
                let id = task["task_id"].as_str().unwrap_or_default().to_owned();
                self.history.note(What::Wished(wish.clone()));
                self.history.note(What::Accepted { mark: wish.mark, id: id.clone(), deduplicated: false });
                Ok(Some(id))
            }
            Reply::Answer { status: 404 | 405 | 422, .. } => Ok(None),
            other => bail!("probing {name}: {other:?}"),
        }
    }

    fn steer(&self, id: &str, verb: &str, body: &Value) -> Result<bool> {
        self.apis.get(&format!("/v1/tasks/{id}?wait=30s"))?;
        match self.apis.send(0, &Request::post(&format!("/v1/tasks/{id}/{verb}"), body)) {
            Reply::Answer { status: 409, .. } => Ok(true),
            Reply::Answer { status: 404 | 405, .. } => Ok(false),
            other => bail!("probing {verb}: {other:?}"),
        }
    }
}

fn has_audit() -> Result<bool> {
    let help = Command::new(shell::sentinel()).arg("--help").output()?;
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    Ok(help.lines().any(|line| line.trim_start().starts_with("audit ")))
}
