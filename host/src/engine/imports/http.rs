//! `wasi:http/outgoing-handler`: requests to where the job has been granted to go.
//!
//! Owns the decision about each request, and its `Idempotency-Key`. `connection.rs` sends what has
//! been decided; redirects are the guest's business, and each request is decided by itself.
//! Invariant: a request that was not granted reaches no network, and the guest sees an error.

mod address;
mod connection;
mod origin;
mod told;

use std::{
    future::Future,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hyper::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response,
    header::{HOST, TE, TRAILER},
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx,
    WasiHttpCtxView, WasiHttpHooks, WasiHttpView, p2::bindings::http::types::ErrorCode,
};

use self::{
    address::Class,
    connection::Plan,
    origin::{Host as TargetHost, Target},
    told::Told,
};
use crate::engine::{calls::Calls, grants::Grants, host::Host, limits::Limits};

pub use self::origin::{NoOrigin, Origin};

/// How many connections an attempt may have at once: each is a file descriptor of the worker's.
const CONNECTIONS: usize = 16;

/// No ceiling is above a day.
const LONGEST: Duration = Duration::from_hours(24);

/// How much longer than its attempt a wait may be: the attempt's own deadline comes first, and ends
/// both.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// What the guest may write of a body at once.
const CHUNK: usize = 64 << 10;

/// What the host keeps of one set of headers: a guest may have as many sets as it may have handles,
/// and they are not of its memory.
const FIELDS: usize = 32 << 10;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Where a job's requests may go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpGrant {
    /// The origin, or a pattern of them.
    pub origin: Origin,
    /// Whether it may be at an address of the operator's own networks. An address that belongs to
    /// nobody in particular, such as a cloud's metadata, must be named as such besides.
    pub private: bool,
}

impl HttpGrant {
    /// Whether `origin` is an address that requests reach only where `private` is said.
    pub fn needs_private(origin: &Origin) -> bool {
        origin.address().is_some_and(|address| Class::of(address) != Class::Public)
    }
}

/// The HTTP of one attempt.
pub(crate) struct Http {
    context: WasiHttpCtx,
    pub(crate) outgoing: Outgoing,
}

/// Decides about requests.
pub(crate) struct Outgoing {
    /// How many requests have been given a number.
    pub(crate) numbered: u64,
    /// None: nothing has been granted.
    access: Option<Access>,
    told: Told,
}

struct Access {
    grants: Arc<Grants>,
    task: String,
    deadline: Instant,
    traffic: Arc<Traffic>,
}

/// What an attempt's requests carry and hold, together.
struct Traffic {
    bytes: AtomicU64,
    limit: u64,
    connections: Arc<Semaphore>,
}

impl Http {
    /// For an attempt at a task that begins now.
    pub(crate) fn new(
        grants: &Arc<Grants>,
        task: &str,
        limits: &Limits,
        numbered: u64,
        calls: &Calls,
    ) -> Self {
        let access = (!grants.http.is_empty()).then(|| Access {
            grants: Arc::clone(grants),
            task: task.to_owned(),
            deadline: Instant::now() + limits.wall.min(LONGEST) + AFTERWARDS,
            traffic: Arc::new(Traffic {
                bytes: AtomicU64::new(0),
                limit: limits.transfer_bytes as u64,
                connections: Arc::new(Semaphore::new(CONNECTIONS)),
            }),
        });
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(FIELDS);
        let told = Told::new(calls, grants);
        Self { context, outgoing: Outgoing { numbered, access, told } }
    }

    /// What bodies carried, both ways.
    pub(crate) fn carried_bytes(&self) -> u64 {
        self.outgoing.access.as_ref().map_or(0, |access| access.traffic.bytes.load(Ordering::Relaxed))
    }
}

impl Traffic {
    /// Counts bytes of a body; false when that is too much.
    fn carry(&self, bytes: usize) -> bool {
        let before = self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        before.saturating_add(bytes as u64) <= self.limit
    }
}

impl Outgoing {
    /// Decides about a request, and makes it what is sent.
    fn decide(
        &mut self,
        request: &mut Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<Plan, Error> {
        let access = self.access.as_ref().ok_or(Error::HttpRequestDenied)?;
        let target = Target::of(request.uri()).ok_or(Error::HttpRequestUriInvalid)?;
        let mut granted = access.grants.http.iter().filter(|grant| grant.origin.allows(&target)).peekable();
        granted.peek().ok_or(Error::HttpRequestDenied)?;
        let private = granted.any(|grant| grant.private);
        if request.method() == Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let host = HeaderValue::try_from(target.to_string()).map_err(|_| Error::HttpRequestUriInvalid)?;
        let has_effects = ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
        let headers = request.headers_mut();
        headers.insert(HOST, host);
        if has_effects {
            mark(headers, &access.task, &mut self.numbered)?;
        }
        let permit = Arc::clone(&access.traffic.connections)
            .try_acquire_owned()
            .map_err(|_| Error::ConnectionLimitReached)?;
        Ok(Plan {
            target,
            private,
            options: options.unwrap_or_default(),
            deadline: access.deadline.into(),
            traffic: Arc::clone(&access.traffic),
            permit,
        })
    }
}

/// Gives a request the key by which its receiver knows it again when a later attempt repeats it:
/// its number, or the guest's own key, of this task.
fn mark(headers: &mut HeaderMap, task: &str, numbered: &mut u64) -> Result<(), Error> {
    let key = if let Some(own) = headers.get(IDEMPOTENCY_KEY) {
        [task.as_bytes(), b":", own.as_bytes()].concat()
    } else {
        *numbered += 1;
        format!("{task}:{numbered}").into_bytes()
    };
    let key = HeaderValue::from_bytes(&key).map_err(|_| Error::HttpProtocolError)?;
    headers.insert(IDEMPOTENCY_KEY, key);
    Ok(())
}

/// Whether a connection to `address` is part of what was granted.
fn may_reach(target: &Target, private: bool, address: IpAddr) -> bool {
    let address = address.to_canonical();
    match Class::of(address) {
        Class::Public => true,
        Class::Private => private,
        Class::Special => private && target.host == TargetHost::Address(address),
    }
}

/// What sending a request comes to: its response, and what has to go on for its body to arrive.
type Sent = Result<(Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

impl WasiHttpHooks for Outgoing {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(|name| DEFAULT_FORBIDDEN_HEADERS.contains(name) || [TE, TRAILER].contains(name))
    }

    fn send_request(
        &mut self,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let method = request.method().clone();
        match self.decide(&mut request, options) {
            Ok(plan) => {
                let call = self.told.begin(&plan, &method, request.headers_mut());
                Box::new(told::noted(call, connection::send(plan, request)))
            }
            Err(error) => {
                self.told.refused(&method, &error);
                Box::new(std::future::ready(Err(error)))
            }
        }
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }

    // What goes wrong on the network is told to the guest; logging it would let guests fill the log.
    fn p2_error_from_hyper(&mut self, _: &hyper::Error) -> ErrorCode {
        ErrorCode::HttpProtocolError
    }

    fn p2_error_from_connect(&mut self, _: &std::io::Error) -> ErrorCode {
        ErrorCode::ConnectionRefused
    }

    fn p2_error_from_tls(&mut self, _: &std::io::Error) -> ErrorCode {
        ErrorCode::TlsProtocolError
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let (http, resources) = self.http_and_resources();
        WasiHttpCtxView { ctx: &mut http.context, table: resources, hooks: &mut http.outgoing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_again_by_its_number_or_by_the_guests_own_key() -> Result<(), Error> {
        let mut numbered = 4;
        let mut key = |own: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(own) = own {
                headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_static(own));
            }
            mark(&mut headers, "id", &mut numbered)?;
            Ok::<_, Error>(headers[IDEMPOTENCY_KEY].to_str().map(str::to_owned).unwrap_or_default())
        };
        assert_eq!(key(None)?, "id:5");
        assert_eq!(key(Some("order-7"))?, "id:order-7");
        assert_eq!(key(None)?, "id:6");
        Ok(())
    }

    #[test]
    fn an_address_is_reached_only_if_it_is_public_or_granted() {
        let target = |uri: &str| Target::of(&uri.parse().unwrap()).unwrap();
        let named = target("http://example.org");
        for (address, private, expected) in [
            ("8.8.8.8", false, true),
            ("10.0.0.1", false, false),
            ("::ffff:10.0.0.1", false, false),
            ("10.0.0.1", true, true),
            ("::ffff:10.0.0.1", true, true),
            ("169.254.169.254", true, false),
        ] {
            assert_eq!(may_reach(&named, private, address.parse().unwrap()), expected, "{address}");
        }
        let metadata = target("http://169.254.169.254");
        assert!(may_reach(&metadata, true, [169, 254, 169, 254].into()));
        assert!(!may_reach(&metadata, false, [169, 254, 169, 254].into()));
    }
}
