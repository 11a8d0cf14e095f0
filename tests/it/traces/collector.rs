//! A collector of spans: it takes OTLP over HTTP as others do, and tells what it was told.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::span::SpanKind,
};
use prost::Message;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use sentinel_testkit::{Issued, wait_for};

/// A span, as the collector was told of it.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) service: String,
    pub(super) name: String,
    pub(super) kind: SpanKind,
    pub(super) trace: String,
    pub(super) id: String,
    /// Empty: it is the first of its trace.
    pub(super) parent: String,
    /// In nanoseconds since 1970.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) error: Option<String>,
}

impl Span {
    /// An attribute as text; empty if it is not there.
    pub(super) fn get(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

/// A collector on this machine.
pub(super) struct Collector {
    pub(super) url: String,
    told: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// Starts one. It ends with the test's process.
    pub(super) fn start() -> Self {
        Self::behind("http", |stream| stream)
    }

    /// Starts one that is reached by TLS alone.
    pub(super) fn start_with(issued: &Issued) -> Self {
        let certificates = CertificateDer::pem_slice_iter(issued.cert.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(certificates.collect::<Result<_, _>>().expect("certificates"), key);
        let config = Arc::new(config.expect("a certificate and its key"));
        Self::behind("https", move |stream| {
            StreamOwned::new(ServerConnection::new(Arc::clone(&config)).expect("a connection"), stream)
        })
    }

    fn behind<S: Read + Write>(scheme: &str, open: impl Fn(TcpStream) -> S + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("{scheme}://{}", listener.local_addr().expect("a bound port"));
        let told = Arc::<Mutex<Vec<Span>>>::default();
        let tell = Arc::clone(&told);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (tell, open) = (Arc::clone(&tell), open.clone());
                // Who exports may be gone before it is answered.
                thread::spawn(move || drop(take_all(open(stream), &tell)));
            }
        });
        Self { url, told }
    }

    /// What it was told so far, in the order in which things began.
    pub(super) fn told(&self) -> Vec<Span> {
        let mut spans = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        spans.sort_by_key(|span| span.start);
        spans
    }

    /// Waits until it was told of so many spans.
    pub(super) fn wait_for(&self, count: usize) -> Vec<Span> {
        wait_for("the spans", || Some(self.told()).filter(|told| told.len() >= count))
    }
}

/// Takes one request after the other.
fn take_all(stream: impl Read + Write, told: &Mutex<Vec<Span>>) -> io::Result<()> {
    let mut requests = BufReader::new(stream);
    loop {
        let head = head_of(&mut requests)?;
        assert!(head.starts_with("post /v1/traces "), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.expect("its length")];
        requests.read_exact(&mut body)?;
        let request = ExportTraceServiceRequest::decode(&body[..]).map_err(io::Error::other)?;
        told.lock().unwrap_or_else(PoisonError::into_inner).extend(spans_of(request));
        requests.get_mut().write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n",
        )?;
    }
}

fn head_of(requests: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if requests.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.trim().is_empty() {
            return Ok(head);
        }
        head += &line.replace("\r\n", "\n").to_ascii_lowercase();
    }
}

fn spans_of(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource in request.resource_spans {
        let about = attributes(resource.resource.map(|resource| resource.attributes).unwrap_or_default());
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(Span {
                service: about["service.name"].clone(),
                kind: span.kind(),
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                start: span.start_time_unix_nano,
                end: span.end_time_unix_nano,
                error: span.status.filter(|status| status.code == 2).map(|status| status.message),
                attributes: attributes(span.attributes),
                name: span.name,
            });
        }
    }
    spans
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value| match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(is) => is.to_string(),
        other => format!("{other:?}"),
    };
    pairs.into_iter().filter_map(|pair| Some((pair.key, text(pair.value?.value?)))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}
