//! A client of the API: sends requests, and turns its errors into sentences.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use ureq::{Agent, http::Response};

/// Longer than any answer is waited for.
const TIMEOUT: Duration = Duration::from_secs(90);

pub(super) struct Client {
    agent: Agent,
    server: String,
    /// Show what the API answered, not a table.
    pub(super) json: bool,
}

/// What the API says of an error.
#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: Option<String>,
    #[serde(default)]
    errors: Vec<FieldError>,
}

#[derive(Deserialize)]
struct FieldError {
    pointer: String,
    detail: String,
}

impl Client {
    pub(super) fn new(server: &str, json: bool) -> Self {
        let config =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT)).build();
        Self { agent: config.into(), server: server.trim_end_matches('/').to_owned(), json }
    }

    /// The answer to a GET, as text.
    pub(super) fn get(&self, path: &str) -> Result<String> {
        self.answer(self.agent.get(format!("{}{path}", self.server)).call())
    }

    /// The answer to a POST of JSON (or of nothing), as text.
    pub(super) fn post(&self, path: &str, body: Option<&str>) -> Result<String> {
        let request = self.agent.post(format!("{}{path}", self.server));
        self.answer(match body {
            Some(body) => request.content_type("application/json").send(body),
            None => request.send_empty(),
        })
    }

    /// The answer to a PUT of JSON, as text.
    pub(super) fn put(&self, path: &str, body: &str) -> Result<String> {
        let request = self.agent.put(format!("{}{path}", self.server));
        self.answer(request.content_type("application/json").send(body))
    }

    /// The answer to a DELETE, as text.
    pub(super) fn delete(&self, path: &str) -> Result<String> {
        self.answer(self.agent.delete(format!("{}{path}", self.server)).call())
    }

    fn answer(&self, response: Result<Response<ureq::Body>, ureq::Error>) -> Result<String> {
        let mut response = response.with_context(|| {
            format!(
                "the API at {} does not answer: is `sentinel dev` running? (--server names another)",
                self.server
            )
        })?;
        let status = response.status();
        let text = response.body_mut().read_to_string().context("the answer broke off")?;
        if status.is_success() {
            return Ok(text);
        }
        let Ok(problem) = serde_json::from_str::<Problem>(&text) else {
            bail!("the API answered {status}: {text}");
        };
        let fields: Vec<_> =
            problem.errors.iter().map(|error| format!("\n  {}: {}", error.pointer, error.detail)).collect();
        bail!("{} ({status}): {}{}", problem.code, problem.detail.unwrap_or_default(), fields.concat());
    }
}

/// Reads an answer of the API.
pub(super) fn parse(text: &str) -> Result<Value> {
    serde_json::from_str(text).context("the API's answer is not JSON")
}
