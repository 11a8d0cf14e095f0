//! The way to the collector: OTLP over HTTP, on the thread of whoever exports.

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use ureq::{
    Agent,
    tls::{PemItem, RootCerts, TlsConfig, parse_pem},
};

use crate::collector::{CERTIFICATE, Collector, Wrong};

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
        .with_http_client(Client::new(collector)?);
    builder.build().map_err(|error| Wrong::new("OTEL_EXPORTER_OTLP", error.to_string()))
}

/// The HTTP client that the command line has already, with its TLS.
#[derive(Debug)]
struct Client(Agent);

impl Client {
    fn new(collector: &Collector) -> Result<Self, Wrong> {
        let roots = collector.authority.as_deref().map_or(Ok(RootCerts::WebPki), certificates);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(collector.timeout))
            .tls_config(TlsConfig::builder().root_certs(roots?).build())
            .build();
        Ok(Self(config.into()))
    }
}

/// Those of a file.
fn certificates(file: &Path) -> Result<RootCerts, Wrong> {
    let wrong = |reason: String| Wrong::new(CERTIFICATE, format!("{}: {reason}", file.display()));
    let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let items = parse_pem(&pem).collect::<Result<Vec<_>, _>>().map_err(|error| wrong(error.to_string()))?;
    let certificates: Vec<_> = items
        .into_iter()
        .filter_map(
            |item| if let PemItem::Certificate(certificate) = item { Some(certificate) } else { None },
        )
        .collect();
    if certificates.is_empty() {
        return Err(wrong("there is no certificate in it".to_owned()));
    }
    Ok(RootCerts::new_with_certs(&certificates))
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
