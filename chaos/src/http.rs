//! Requests to the API, each with what is known of its fate.

use std::{io::ErrorKind, time::Duration};

use serde_json::Value;
use ureq::Agent;

/// What came of a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The API's answer.
    Answer { status: u16, body: Value },
    /// No server was there to take it.
    NotSent,
    /// It may have been taken, and nobody said so.
    Lost(String),
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) path: &'a str,
    /// A POST of this; a GET without.
    pub(crate) body: Option<&'a Value>,
    pub(crate) idempotency_key: Option<&'a str>,
    pub(crate) timeout: Duration,
}

impl<'a> Request<'a> {
    pub(crate) fn get(path: &'a str) -> Self {
        Self { path, body: None, idempotency_key: None, timeout: TIMEOUT }
    }

    pub(crate) fn post(path: &'a str, body: &'a Value) -> Self {
        Self { body: Some(body), ..Self::get(path) }
    }
}

/// Longer than the API keeps trying while the store is away.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Some APIs over one store.
#[derive(Clone)]
pub(crate) struct Apis {
    agent: Agent,
    ports: Vec<u16>,
}

impl Apis {
    pub(crate) fn new(ports: Vec<u16>) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).max_idle_age(Duration::from_secs(2));
        Self { agent: config.build().into(), ports }
    }

    pub(crate) fn count(&self) -> usize {
        self.ports.len()
    }

    /// Sends to one of them, once.
    pub(crate) fn send(&self, api: usize, request: &Request<'_>) -> Reply {
        let url = format!("http://127.0.0.1:{}{}", self.ports[api % self.ports.len()], request.path);
        let sent = match request.body {
            None => self.agent.get(url).config().timeout_global(Some(request.timeout)).build().call(),
            Some(body) => {
                let mut post = self.agent.post(url).content_type("application/json");
                if let Some(key) = request.idempotency_key {
                    post = post.header("Idempotency-Key", key);
                }
                post.config().timeout_global(Some(request.timeout)).build().send(body.to_string())
            }
        };
        let read = sent.and_then(|mut response| {
            let status = response.status().as_u16();
            Ok((status, response.body_mut().read_to_string()?))
        });
        match read {
            Ok((status, text)) => {
                let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
                Reply::Answer { status, body }
            }
            Err(ureq::Error::Io(error)) if error.kind() == ErrorKind::ConnectionRefused => Reply::NotSent,
            Err(error) => Reply::Lost(error.to_string()),
        }
    }

    /// Gets something that must be there, trying all of them for a while.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        let mut last = None;
        for attempt in 0..100 {
            match self.send(attempt, &Request::get(path)) {
                Reply::Answer { status: 200, body } => return Ok(body),
                Reply::Answer { status: 404, body } => anyhow::bail!("GET {path}: 404: {body}"),
                other => last = Some(other),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        anyhow::bail!("GET {path}: {last:?}")
    }
}
