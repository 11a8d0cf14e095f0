//! Refuses requests that are meant for another server.
//!
//! Where no key is needed, whoever reaches the API may use it; a page on the internet reaches a loopback
//! server by giving its own name this machine's address (DNS rebinding). Such a request carries the
//! page's name. A page can also send requests to this server by its right name, and even without reading
//! the answer do harm: such a request carries the page's origin.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    App,
    origin::Origin,
    problem::{Code, Problem},
};

/// Lets a request through if it is meant for this server, and, where it may change something, if no
/// page of another origin sent it.
pub(crate) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_known = host(&request).map(|host| is_ours(host, &app.config.allowed_hosts));
    let is_meant = match is_known {
        Some(true) => true,
        Some(false) => any_name_will_do(&app).await,
        None => false,
    };
    if !is_meant {
        let detail = "the Host header names another server: call this one as localhost, or allow the name with \
                      --allow-host";
        return Problem::of(Code::Misdirected, detail).into_response();
    }
    let host = host(&request).unwrap_or_default();
    if !request.method().is_safe() && !from_here(request.headers(), host, &app.config.allowed_origins) {
        let detail =
            "the Origin header names another origin than this server: its pages may not change anything";
        return Problem::of(Code::CrossOrigin, detail).into_response();
    }
    next.run(request).await
}

/// Whether it does not matter by which name the server is called: whoever may call it has a key, which
/// no page on the internet has, and nobody said which names there are.
async fn any_name_will_do(app: &App) -> bool {
    app.config.allowed_hosts.is_empty() && app.keyring.is_needed().await.unwrap_or(false)
}

/// The one host that a request names.
fn host(request: &Request) -> Option<&str> {
    let mut named = request.headers().get_all(header::HOST).iter();
    match (request.uri().authority(), named.next(), named.next()) {
        (Some(authority), _, None) => Some(authority.as_str()),
        (None, Some(host), None) => host.to_str().ok(),
        _ => None,
    }
}

/// Whether a request comes from one of this server's own pages, from one that is allowed, or from no
/// page at all.
fn from_here(headers: &HeaderMap, host: &str, allowed: &[Origin]) -> bool {
    headers.get_all(header::ORIGIN).iter().all(|origin| {
        if allowed.iter().any(|allowed| allowed.is(origin)) {
            return true;
        }
        let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        authority.is_some_and(|(_scheme, authority)| authority.eq_ignore_ascii_case(host))
    })
}

fn is_ours(host: &str, allowed: &[String]) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.is_ok_and(|address| address.to_canonical().is_loopback())
        || name.eq_ignore_ascii_case("localhost")
        || allowed.iter().any(|allowed| name.eq_ignore_ascii_case(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_and_allowed_names_are_ours() {
        let allowed = ["queue.example".to_owned()];
        for ours in
            ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.9.9.9", "[::1]:8000", "Queue.example:80"]
        {
            assert!(is_ours(ours, &allowed), "{ours}");
        }
        for other in
            ["evil.example", "localhost.evil.example", "10.0.0.1", "[fe80::1]", "", "127.0.0.1.evil.example"]
        {
            assert!(!is_ours(other, &allowed), "{other}");
        }
    }
}
