//! The way to the collector: OTLP over HTTP, on the thread of whoever exports.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use ureq::Agent;

use crate::collector::{Collector, Wrong};

/// What a collector's answer may have.
const ANSWER: u64 = 64 << 10;

/// An exporter to this collector. What is sent to it besides (`OTEL_EXPORTER_OTLP_HEADERS`) and
/// whether it is compressed, the library reads itself.
pub(crate) fn exporter(collector: &Collector) -> Result<SpanExporter, Wrong> {
    let builder = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&collector.url)
        .with_timeout(collector.timeout)
        .with_http_client(Client::new(collector.timeout));
    builder.build().map_err(|error| Wrong::new("OTEL_EXPORTER_OTLP", error.to_string()))
}

/// The HTTP client that the command line has already, with its TLS.
#[derive(Debug)]
struct Client(Agent);

impl Client {
    fn new(timeout: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(timeout))
            .build();
        Self(config.into())
    }
}

#[async_trait]
impl HttpClient for Client {
    /// Blocks: it is called by a thread that does nothing else.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let response = self.0.run(Request::from_parts(head, &body[..]))?;
        let (head, mut body) = response.into_parts();
        let body = body.with_config().limit(ANSWER).read_to_vec()?;
        Ok(Response::from_parts(head, body.into()))
    }
}
