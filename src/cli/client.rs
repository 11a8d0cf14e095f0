//! A client of the API: sends requests, and turns its errors into sentences.

use std::{fmt, net::IpAddr, time::Duration};

use anyhow::{Context, Result, bail};
use sentinel_queue::{ApiKey, Namespace, TraceContext};
use serde::Deserialize;
use serde_json::Value;
use ureq::{
    Agent, Body, RequestBuilder,
    http::{Response, StatusCode, Uri},
    tls::TlsConfig,
};

use super::out::printable;

/// Longer than any answer is waited for.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Whoever checks whether a server is well does not wait for longer.
const CHECK: Duration = Duration::from_secs(10);

/// A stream on which nothing is heard for so long is dead: the server says something every 15 s.
const SILENCE: Duration = Duration::from_secs(45);

/// More than the API ever answers.
const LONGEST: u64 = 256 << 20;

#[derive(Clone)]
pub(super) struct Client {
    agent: Agent,
    /// For answers that have no end.
    streams: Agent,
    server: String,
    /// Who asks.
    key: Option<ApiKey>,
    /// For which namespace, if not for the key's own or the default one.
    namespace: Option<Namespace>,
    /// The trace that what is submitted becomes part of.
    trace: Option<TraceContext>,
    /// Show what the API answered, not a table.
    pub(super) json: bool,
}

/// What the API says of an error.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    problem: Problem,
}

#[derive(Debug, Deserialize)]
struct Problem {
    code: String,
    detail: String,
    #[serde(default)]
    errors: Vec<FieldError>,
}

#[derive(Debug, Deserialize)]
struct FieldError {
    pointer: String,
    detail: String,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { code, detail, errors } = &self.problem;
        write!(f, "{code} ({}):", self.status)?;
        if errors.is_empty() {
            return write!(f, " {detail}");
        }
        errors.iter().try_for_each(|error| write!(f, "\n  {}: {}", error.pointer, error.detail))
    }
}

impl std::error::Error for ApiError {}

impl ApiError {
    /// The same, of a request whose first task is the `start`th of a file.
    pub(super) fn in_file(mut self, start: usize) -> Self {
        for error in &mut self.problem.errors {
            if let Some(pointer) = shifted(&error.pointer, start) {
                error.pointer = pointer;
            }
        }
        self
    }

    /// Whether the same request may be answered later.
    pub(super) fn may_pass(&self) -> bool {
        self.status.is_server_error()
    }

    /// Whether there is no such thing.
    pub(super) fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }
}

impl Client {
    pub(super) fn new(server: &str, json: bool) -> Self {
        Self::with_tls(server, json, &TlsConfig::default(), TIMEOUT)
    }

    /// A client that asks whether a server is well. A server of this machine is not asked to prove by
    /// its certificate who it is: that names it as others call it, and to whoever could answer
    /// in its place here nothing is told.
    pub(super) fn to_check(server: &str) -> Self {
        let uri = server.parse::<Uri>().ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let is_here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        if is_here {
            return Self::to_check_here(server);
        }
        Self::with_tls(server, false, &TlsConfig::default(), CHECK)
    }

    /// The same, of an address that is known to be one of this machine.
    pub(super) fn to_check_here(server: &str) -> Self {
        Self::with_tls(server, false, &TlsConfig::builder().disable_verification(true).build(), CHECK)
    }

    fn with_tls(server: &str, json: bool, tls: &TlsConfig, timeout: Duration) -> Self {
        // A key is for this server alone: wherever else it points, nobody follows.
        let config =
            || Agent::config_builder().http_status_as_error(false).max_redirects(0).tls_config(tls.clone());
        let agent = config().timeout_global(Some(timeout)).build().into();
        let streams = config().timeout_connect(Some(TIMEOUT)).timeout_per_read(Some(SILENCE)).build().into();
        let server = server.trim_end_matches('/').to_owned();
        Self { agent, streams, server, key: None, namespace: None, trace: None, json }
    }

    /// The same, of somebody who has a key, or asks for a namespace by its name.
    pub(super) fn of(self, key: Option<ApiKey>, namespace: Option<Namespace>) -> Self {
        Self { key, namespace, ..self }
    }

    /// The same, of somebody whose caller traces it (`TRACEPARENT` and `TRACESTATE` in the environment).
    pub(super) fn in_trace(&self) -> Self {
        let parent = std::env::var("TRACEPARENT").ok();
        let state = std::env::var("TRACESTATE").ok();
        let trace = parent.and_then(|parent| TraceContext::read(&parent, state.as_deref()));
        Self { trace, ..self.clone() }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server)
    }

    /// A request of whoever this is.
    fn signed<B>(&self, mut request: RequestBuilder<B>) -> RequestBuilder<B> {
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {}", key.expose()));
        }
        if let Some(namespace) = &self.namespace {
            request = request.header("sentinel-namespace", namespace.as_str());
        }
        request
    }

    /// The answer to a GET, as text.
    pub(super) fn get(&self, path: &str) -> Result<String> {
        self.get_with(path, &[])
    }

    /// The answer to a GET with parameters, as text.
    pub(super) fn get_with(&self, path: &str, parameters: &[(&str, &str)]) -> Result<String> {
        let request = self.signed(self.agent.get(self.url(path))).query_pairs(parameters.iter().copied());
        text(self.check(request.call())?)
    }

    /// The answer to a POST of JSON (or of nothing), as text.
    pub(super) fn post(&self, path: &str, body: Option<&str>) -> Result<String> {
        let mut request = self.signed(self.agent.post(self.url(path)));
        if let Some(trace) = &self.trace {
            request = request.header("traceparent", trace.to_string());
            if !trace.state().is_empty() {
                request = request.header("tracestate", trace.state());
            }
        }
        text(match body {
            Some(body) => self.send(request, body)?,
            None => self.check(request.send_empty())?,
        })
    }

    /// The answer to a PUT of JSON, as text.
    pub(super) fn put(&self, path: &str, body: &str) -> Result<String> {
        text(self.send(self.signed(self.agent.put(self.url(path))), body)?)
    }

    /// The answer to a DELETE, as text.
    pub(super) fn delete(&self, path: &str) -> Result<String> {
        text(self.check(self.signed(self.agent.delete(self.url(path))).call())?)
    }

    /// A stream of events, after one that was heard already.
    pub(super) fn stream(&self, path: &str, last_event_id: Option<&str>) -> Result<Body> {
        let mut request = self.signed(self.streams.get(self.url(path)));
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        Ok(self.check(request.call())?.into_body())
    }

    fn send(&self, request: RequestBuilder<ureq::typestate::WithBody>, body: &str) -> Result<Response<Body>> {
        self.check(request.content_type("application/json").send(body))
    }

    /// An answer that says that it was done.
    fn check(&self, response: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>> {
        let response = response.with_context(|| {
            format!(
                "the API at {} does not answer: start one with `sentinel dev`, or name another with --server",
                self.server
            )
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            let elsewhere = response.headers().get("location").and_then(|location| location.to_str().ok());
            bail!(
                "the API at {} sends elsewhere ({status}), where nobody follows: name the right one with --server: {}",
                self.server,
                printable(elsewhere.unwrap_or("it does not say where"))
            );
        }
        let text = text(response)?;
        let problem = serde_json::from_str(&text);
        let problem = problem.unwrap_or_else(|_| Problem {
            code: "not Sentinel".into(),
            detail: text,
            errors: Vec::new(),
        });
        Err(ApiError { status, problem }.into())
    }
}

fn shifted(pointer: &str, start: usize) -> Option<String> {
    let rest = pointer.strip_prefix("/tasks/")?;
    let (index, place) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    Some(format!("/tasks/{}{place}", start + index.parse::<usize>().ok()?))
}

fn text(mut response: Response<Body>) -> Result<String> {
    let body = response.body_mut().with_config().limit(LONGEST).lossy_utf8(true);
    body.read_to_string().context("the API's answer broke off")
}

/// Reads an answer of the API.
pub(super) fn parse(text: &str) -> Result<Value> {
    serde_json::from_str(text).context("the API's answer is not JSON")
}

/// A word of a path: names come from people, and nothing in one may become another path.
pub(super) fn segment(word: &str) -> String {
    word.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect()
}
