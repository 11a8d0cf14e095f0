//! Where a browser trades a key for a session.
//!
//! The session is a cookie that no script can read and that no other site's page can have sent. It
//! stands for the key: when that is revoked or has expired, the session is over.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Redirect, Response},
};
use sentinel_queue::{keys::ApiKey, sessions::SessionToken};
use serde::Deserialize;

use crate::{
    App,
    dashboard::{self, Sent, Theme},
    problem::{CHALLENGE, Problem},
};

/// How long a session lasts.
const LIFETIME: Duration = Duration::from_hours(12);

/// The cookie's name; a browser that came by TLS sends it by TLS alone, and the prefix says that no
/// other host has set it.
const COOKIE: &str = "sentinel_session";
const SECURE_COOKIE: &str = "__Host-sentinel_session";

/// What the page sends.
#[derive(Deserialize)]
pub(crate) struct Login {
    key: String,
    /// Where to go on.
    #[serde(default)]
    next: String,
}

/// The page that asks for a key.
pub(crate) async fn show(request: Request) -> Response {
    let mut response = page(request.uri(), request.headers(), None);
    *response.status_mut() = StatusCode::OK;
    response
}

/// Trades a key for a session.
pub(crate) async fn log_in(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Sent(login): Sent<Login>,
) -> Result<Response, Problem> {
    let next = own_path(&login.next);
    let known = match login.key.trim().parse::<ApiKey>() {
        Ok(key) => app.keyring.key(key.id()).await?.filter(|known| known.is_of(&key)),
        Err(_) => None,
    };
    let Some(known) = known else {
        let uri = next.parse().unwrap_or_default();
        return Ok(page(&uri, &headers, Some("That is no valid key.")));
    };
    let token = SessionToken::generate();
    app.queue.open_session(&token, &known.id, LIFETIME).await?;
    tracing::info!(key = %known.id, name = known.name, "somebody logged in");
    let cookie = cookie(&headers, token.expose(), LIFETIME);
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(next)).into_response())
}

/// Ends a session.
pub(crate) async fn log_out(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Problem> {
    // Another's page could log a person out, too.
    dashboard::require_own_page(&headers)?;
    if let Some(token) = token(&headers) {
        app.queue.close_session(&token).await?;
    }
    let cookie = cookie(&headers, "", Duration::ZERO);
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/login")).into_response())
}

/// The session that a request shows.
pub(super) fn token(headers: &HeaderMap) -> Option<SessionToken> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let mut pairs =
        cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| [COOKIE, SECURE_COOKIE].contains(name)).and_then(|(_, value)| value.parse().ok())
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    theme: &'static str,
    /// Where to go on.
    next: &'a str,
    error: Option<&'a str>,
    /// Whether a link of another site led here: browsers then keep the session to themselves.
    is_from_elsewhere: bool,
}

/// A page that asks for a key, to whoever may not see what is at this address without one.
pub(super) fn page(next: &Uri, headers: &HeaderMap, error: Option<&str>) -> Response {
    let next = next.path_and_query().map_or("/", |next| next.as_str());
    let next = if next.starts_with("/login") { "/" } else { next };
    let theme = Theme::of(headers).as_str();
    let mut page = dashboard::show(&LoginPage {
        theme,
        next: own_path(next),
        error,
        is_from_elsewhere: headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site"),
    });
    *page.status_mut() = StatusCode::UNAUTHORIZED;
    page.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
    page
}

/// Where to go on, if that is here.
pub(crate) fn own_path(next: &str) -> &str {
    let is_path =
        next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\n', '\r', '\t']);
    let is_uri = next.parse::<Uri>().is_ok_and(|uri| uri.authority().is_none());
    if is_path && is_uri { next } else { "/" }
}

fn cookie(headers: &HeaderMap, value: &str, lifetime: Duration) -> HeaderValue {
    // A browser says by which way it came, also where a proxy ends TLS.
    let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
    let is_secure = origin.is_some_and(|origin| origin.starts_with(b"https://"));
    let (name, secure) = if is_secure { (SECURE_COOKIE, "; Secure") } else { (COOKIE, "") };
    let age = lifetime.as_secs();
    let cookie = format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::try_from(cookie).expect("hexadecimal digits are plain")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goes_on_here_alone() {
        for here in ["/", "/docs", "/v1/tasks?status=FAILED&limit=5"] {
            assert_eq!(own_path(here), here);
        }
        for elsewhere in ["", "docs", "//evil.example", "/\\evil.example", "https://evil.example", "/a\nb"] {
            assert_eq!(own_path(elsewhere), "/", "{elsewhere:?}");
        }
    }

    #[test]
    fn a_session_is_found_among_cookies() {
        let token = SessionToken::generate();
        let mut headers = HeaderMap::new();
        let cookies = format!("theme=dark; {COOKIE}={}; x=y", token.expose());
        headers.insert(header::COOKIE, cookies.parse().unwrap());
        assert_eq!(super::token(&headers).unwrap().expose(), token.expose());
        headers.insert(header::COOKIE, "sentinel_session=x".parse().unwrap());
        assert!(super::token(&headers).is_none());
    }
}
