//! Refuses requests that are meant for another server.
//!
//! Without keys, whoever reaches the API may use it; a page on the internet reaches a loopback
//! server by giving its own name this machine's address (DNS rebinding). Such a request carries the
//! page's name.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    App,
    problem::{Code, Problem},
};

pub(crate) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let named = request.uri().authority().map(Authority::as_str);
    let host = named.or_else(|| request.headers().get(header::HOST)?.to_str().ok());
    if host.is_some_and(|host| is_ours(host, &app.config.allowed_hosts)) {
        return next.run(request).await;
    }
    let detail = "the Host header names another server: call this one as localhost, or allow the name with --allow-host";
    Problem::of(Code::Misdirected, detail).into_response()
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
