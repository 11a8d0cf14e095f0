//! The numbers of this HTTP server itself.
//!
//! Every label has a bounded number of values: a route is the path as it is declared, never the path as
//! it was asked for.

use std::{fmt, sync::Arc, time::Duration};

use axum::http::{Method, StatusCode};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Bounds of the times to answer, in seconds: a request may wait for a minute.
const BOUNDS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0];

/// The numbers of one server. Clones share them.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Numbers>);

/// Why a connection was not served.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    /// Its peer has as many as it may have.
    PeerShare,
    /// TLS was not agreed on.
    Tls,
}

/// Why a connection was ended by the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It never asked for anything.
    Silent,
    /// Nothing was asked for a while.
    Idle,
    /// A request's headers did not arrive in time.
    SlowHeaders,
    /// The client did not take its answer.
    Stalled,
}

struct Numbers {
    registry: Registry,
    connections: Gauge,
    accepted: Counter,
    refused: Family<Reason, Counter>,
    ended: Family<Reason, Counter>,
    requests: Family<Asked, Counter>,
    times: Family<Route, Histogram>,
    panics: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    route: String,
    method: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Refusal {
    fn reason(self) -> &'static str {
        match self {
            Self::PeerShare => "peer_share",
            Self::Tls => "tls",
        }
    }
}

impl Ending {
    fn reason(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Idle => "idle",
            Self::SlowHeaders => "slow_headers",
            Self::Stalled => "stalled",
        }
    }
}

impl Default for Numbers {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("sentinel_http");
        let (connections, accepted, panics) = (Gauge::default(), Counter::default(), Counter::default());
        let (refused, ended) = (Family::<Reason, Counter>::default(), Family::<Reason, Counter>::default());
        let requests = Family::default();
        // All there can be are told from the start on, so that the first is seen as a change.
        for reason in [Refusal::PeerShare, Refusal::Tls].map(Refusal::reason) {
            drop(refused.get_or_create(&Reason { reason }));
        }
        for reason in [Ending::Silent, Ending::Idle, Ending::SlowHeaders, Ending::Stalled].map(Ending::reason)
        {
            drop(ended.get_or_create(&Reason { reason }));
        }
        let times = Family::new_with_constructor((|| Histogram::new(BOUNDS)) as fn() -> Histogram);
        registry.register("connections", "Connections that are open", connections.clone());
        registry.register("connections_accepted", "Connections that were accepted", accepted.clone());
        registry.register("connections_refused", "Connections that were not served", refused.clone());
        registry.register(
            "connections_ended",
            "Connections that the server ended for what the client left undone",
            ended.clone(),
        );
        registry.register("requests", "Requests that were answered", requests.clone());
        registry.register_with_unit(
            "answer",
            "The time from a request's headers to those of its answer",
            Unit::Seconds,
            times.clone(),
        );
        registry.register("panics", "Requests whose handler panicked", panics.clone());
        Self { registry, connections, accepted, refused, ended, requests, times, panics }
    }
}

impl Metrics {
    /// Counts a connection for as long as this is held.
    pub(crate) fn connected(&self) -> Connected {
        self.0.accepted.inc();
        self.0.connections.inc();
        Connected(self.clone())
    }

    pub(crate) fn refused(&self, why: Refusal) {
        self.0.refused.get_or_create(&Reason { reason: why.reason() }).inc();
    }

    pub(crate) fn ended(&self, why: Ending) {
        self.0.ended.get_or_create(&Reason { reason: why.reason() }).inc();
    }

    /// Counts a request to a declared path; none: there is nothing at its address.
    pub(crate) fn answered(&self, route: Option<&str>, method: &Method, status: StatusCode, took: Duration) {
        let route = route.unwrap_or("other").to_owned();
        let asked = Asked { route: route.clone(), method: method_of(method), status: class_of(status) };
        self.0.requests.get_or_create(&asked).inc();
        self.0.times.get_or_create(&Route { route }).observe(took.as_secs_f64());
    }

    pub(crate) fn panicked(&self) {
        self.0.panics.inc();
    }

    /// All of them, as `OpenMetrics` text.
    ///
    /// # Panics
    ///
    /// Never: a string takes all that is written to it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        text::encode(&mut text, self.registry()).expect("a string takes all");
        text
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.0.registry
    }
}

/// One open connection.
pub(crate) struct Connected(Metrics);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.0.connections.dec();
    }
}

fn method_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn class_of(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

#[cfg(test)]
impl Metrics {
    /// The lines of the text that begin so.
    pub(crate) fn lines(&self, start: &str) -> Vec<String> {
        self.text().lines().filter(|line| line.starts_with(start)).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_declared_makes_no_new_numbers() {
        let metrics = Metrics::default();
        for number in 0..100 {
            let method = Method::from_bytes(format!("M{number}").as_bytes()).unwrap();
            metrics.answered(None, &method, StatusCode::NOT_FOUND, Duration::from_millis(3));
        }
        assert_eq!(
            metrics.lines("sentinel_http_requests_total"),
            [r#"sentinel_http_requests_total{route="other",method="other",status="4xx"} 100"#]
        );
        assert_eq!(
            metrics.lines("sentinel_http_answer_seconds_bucket{le=\"0.005\""),
            [r#"sentinel_http_answer_seconds_bucket{le="0.005",route="other"} 100"#]
        );
    }

    #[test]
    fn a_connection_is_counted_while_it_is_held() {
        let metrics = Metrics::default();
        let held = metrics.connected();
        assert_eq!(metrics.lines("sentinel_http_connections "), ["sentinel_http_connections 1"]);
        drop(held);
        assert_eq!(metrics.lines("sentinel_http_connections "), ["sentinel_http_connections 0"]);
        let ever = metrics.lines("sentinel_http_connections_accepted_total");
        assert_eq!(ever, ["sentinel_http_connections_accepted_total 1"]);
    }
}
