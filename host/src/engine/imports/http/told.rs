//! What is told of a request: to its receiver, which trace it is part of; to whoever looks at the
//! attempt, where it went and how that ended.

use std::{future::Future, sync::Arc};

use hyper::{
    Method, Response,
    http::{HeaderMap, HeaderName, HeaderValue},
};
use wasmtime_wasi_http::{Error, WasiBody};

use super::{Sent, connection::Plan, origin::Host};
use crate::engine::{
    calls::{Begun, CallKind, Calls},
    grants::Grants,
    secret::Cut,
};

const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");

/// Who is told of an attempt's requests.
pub(super) struct Told {
    calls: Calls,
    grants: Arc<Grants>,
}

impl Told {
    pub(super) fn new(calls: &Calls, grants: &Arc<Grants>) -> Self {
        Self { calls: calls.clone(), grants: Arc::clone(grants) }
    }

    /// Notes that a request begins of which `plan` was made, and marks it as part of its trace,
    /// unless the guest did that itself.
    pub(super) fn begin(&self, plan: &Plan, method: &Method, headers: &mut HeaderMap) -> Begun {
        let call = self.calls.begin(|| CallKind::Http {
            method: word_of(method),
            // A guest may write into the name of a host what it likes.
            host: self.grants.secrets.redacted(name_of(&plan.target.host), Cut::Nowhere),
            port: plan.target.port,
            status: None,
        });
        if !headers.contains_key(TRACE_PARENT)
            && let Some((parent, state)) = self.calls.headers(&call)
            && let Ok(parent) = HeaderValue::try_from(parent)
        {
            headers.insert(TRACE_PARENT, parent);
            if let Some(state) = HeaderValue::from_str(state).ok().filter(|state| !state.is_empty()) {
                headers.insert(TRACE_STATE, state);
            }
        }
        call
    }

    /// Notes a request that is not sent.
    pub(super) fn refused(&self, method: &Method, error: &Error) {
        let kind = || CallKind::Http { method: word_of(method), host: String::new(), port: 0, status: None };
        self.calls.begin(kind).failed(reason(error));
    }
}

/// Notes how a request ends.
pub(super) async fn noted(call: Begun, sent: impl Future<Output = Sent>) -> Sent {
    let sent = sent.await;
    match &sent {
        Ok((response, _)) => call.answered(status_of(response)),
        Err(error) => call.failed(reason(error)),
    }
    sent
}

fn status_of(response: &Response<WasiBody>) -> u16 {
    response.status().as_u16()
}

fn name_of(host: &Host) -> String {
    match host {
        Host::Address(address) => address.to_string(),
        Host::Named(name) => name.clone(),
    }
}

/// Of the methods that everybody knows; a guest may make up others.
fn word_of(method: &Method) -> String {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
        Method::CONNECT,
    ];
    if known.contains(method) { method.to_string() } else { "_OTHER".to_owned() }
}

fn reason(error: &Error) -> &'static str {
    match error {
        Error::HttpRequestDenied => "not_granted",
        Error::HttpRequestMethodInvalid | Error::HttpRequestUriInvalid => "bad_request",
        Error::ConnectionLimitReached => "connection_limit",
        Error::DestinationIpProhibited => "address_not_granted",
        Error::DnsError { .. } | Error::DnsTimeout => "dns_error",
        Error::Connect(_) | Error::ConnectionRefused => "connection_refused",
        Error::ConnectionTimeout | Error::ConnectionReadTimeout => "timeout",
        Error::Tls(_) | Error::TlsProtocolError | Error::TlsCertificateError => "tls_error",
        Error::HttpRequestBodySize(_) | Error::HttpResponseBodySize(_) => "too_large",
        _ => "protocol_error",
    }
}
