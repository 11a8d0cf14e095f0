//! Sends one request over a connection of its own.
//!
//! Owns the way from a decision to a response: resolve, check, connect, send. Invariants: the
//! connection goes to the very address that was checked, so what a name resolves to later does not
//! matter; no wait outlasts the attempt.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{
    body::{Body, Frame, SizeHint},
    http::{Request, uri::PathAndQuery},
};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep, sleep_until, timeout_at},
};
use tokio_rustls::TlsConnector;
use wasmtime_wasi::runtime::spawn;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, io::TokioIo};

use super::{Sent, Target, TargetHost, Traffic, may_reach};

/// What may be held of a response that the guest does not read.
const READ_AHEAD: usize = 64 << 10;

/// What has been decided about a request.
pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) private: bool,
    pub(super) options: RequestOptions,
    pub(super) deadline: Instant,
    pub(super) traffic: Arc<Traffic>,
    /// One of the connections that the attempt may have.
    pub(super) permit: OwnedSemaphorePermit,
}

impl Plan {
    /// The end of a wait that begins now.
    fn until(&self, patience: Option<Duration>) -> Instant {
        patience
            .and_then(|patience| Instant::now().checked_add(patience))
            .unwrap_or(self.deadline)
            .min(self.deadline)
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(super) async fn send(plan: Plan, mut request: Request<WasiBody>) -> Sent {
    let connecting = connect(&plan);
    let stream = timeout_at(plan.until(plan.options.connect_timeout), connecting)
        .await
        .map_err(|_| Error::ConnectionTimeout)??;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(READ_AHEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| named(&error))?;

    // A server is asked for a path; only a proxy is told of the rest.
    let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    *request.uri_mut() = PathAndQuery::try_from(path).map_err(|_| Error::HttpRequestUriInvalid)?.into();
    let traffic = Arc::clone(&plan.traffic);
    let request =
        request.map(|body| Counted { body, traffic, too_much: Error::HttpRequestBodySize, patience: None });

    let (first_byte, deadline) = (plan.until(plan.options.first_byte_timeout), plan.deadline);
    let between = plan.options.between_bytes_timeout;
    let patience = Patience { between, deadline, sleep: Box::pin(sleep_until(plan.until(between))) };
    let Plan { traffic, permit, .. } = plan;
    let driver = spawn(async move {
        // Whoever waits for the response or reads its body is told what went wrong.
        drop(connection.await);
        drop(permit);
    });
    let response = timeout_at(first_byte, sender.send_request(request))
        .await
        .map_err(|_| Error::ConnectionReadTimeout)?
        .map_err(|error| named(&error))?;
    let response = response.map(|body| {
        let mut patience = patience;
        patience.again();
        let (body, patience) = (body.map_err(|error| named(&error)).boxed_unsync(), Some(patience));
        Counted { body, traffic, too_much: Error::HttpResponseBodySize, patience }.boxed_unsync()
    });
    let going_on = async move {
        driver.await;
        Ok(())
    };
    Ok((response, Box::new(going_on)))
}

async fn connect(plan: &Plan) -> Result<Box<dyn Stream>, Error> {
    let addresses = resolve(&plan.target).await?;
    let mut reachable = addresses
        .into_iter()
        .filter(|address| may_reach(&plan.target, plan.private, address.ip()))
        .peekable();
    reachable.peek().ok_or(Error::DestinationIpProhibited)?;
    let mut last = io::ErrorKind::ConnectionRefused.into();
    for address in reachable {
        match TcpStream::connect(address).await {
            Ok(stream) if plan.target.is_tls() => return encrypt(&plan.target, stream).await,
            Ok(stream) => return Ok(Box::new(stream)),
            Err(error) => last = error,
        }
    }
    Err(Error::Connect(last))
}

async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, Error> {
    let name = match &target.host {
        TargetHost::Address(address) => return Ok(vec![(*address, target.port).into()]),
        TargetHost::Named(name) => name,
    };
    let found = lookup_host((name.as_str(), target.port)).await;
    let found = found.map_err(|_| Error::DnsError { rcode: None, info_code: None })?;
    Ok(found.collect())
}

async fn encrypt(target: &Target, stream: TcpStream) -> Result<Box<dyn Stream>, Error> {
    let name = match &target.host {
        TargetHost::Address(address) => ServerName::from(*address),
        TargetHost::Named(name) => {
            ServerName::try_from(name.clone()).map_err(|_| Error::HttpRequestUriInvalid)?
        }
    };
    let stream = TlsConnector::from(tls()?).connect(name, stream).await.map_err(|error| {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
            _ => Error::TlsProtocolError,
        }
    })?;
    Ok(Box::new(stream))
}

/// Trusts whom browsers trust.
fn tls() -> Result<Arc<ClientConfig>, Error> {
    static CONFIG: OnceLock<Option<Arc<ClientConfig>>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
        Some(Arc::new(builder.ok()?.with_root_certificates(roots).with_no_client_auth()))
    });
    config.clone().ok_or(Error::ConfigurationError)
}

/// What hyper's error means; its own words are nobody's business.
fn named(error: &hyper::Error) -> Error {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<Error>());
    match cause {
        Some(Error::HttpRequestBodySize(size)) => Error::HttpRequestBodySize(*size),
        _ if error.is_incomplete_message() => Error::HttpResponseIncomplete,
        _ if error.is_closed() || error.is_canceled() => Error::ConnectionTerminated,
        _ => Error::HttpProtocolError,
    }
}

/// A body whose bytes are counted, and which is not waited for too long.
struct Counted {
    body: WasiBody,
    traffic: Arc<Traffic>,
    /// The error when there are too many.
    too_much: fn(Option<u64>) -> Error,
    patience: Option<Patience>,
}

struct Patience {
    between: Option<Duration>,
    deadline: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Patience {
    fn again(&mut self) {
        let end = self.between.and_then(|between| Instant::now().checked_add(between));
        self.sleep.as_mut().reset(end.unwrap_or(self.deadline).min(self.deadline));
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            let Some(patience) = &mut self.patience else { return Poll::Pending };
            ready!(patience.sleep.as_mut().poll(context));
            return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
        };
        if let Some(patience) = &mut self.patience {
            patience.again();
        }
        let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
        if self.traffic.carry(bytes) {
            Poll::Ready(frame)
        } else {
            Poll::Ready(Some(Err((self.too_much)(Some(self.traffic.limit)))))
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
