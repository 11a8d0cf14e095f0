//! Where a browser trades a key for a session.
//!
//! The session is a cookie that no script can read and that no other site's page can have sent. It
//! stands for the key: when that is revoked or has expired, the session is over.

use std::{sync::Arc, time::Duration};

use axum::{
    Form,
    extract::{Request, State, rejection::FormRejection},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use sentinel_queue::{keys::ApiKey, sessions::SessionToken};
use serde::Deserialize;

use crate::{
    App,
    problem::{CHALLENGE, Code, Problem},
};

/// How long a session lasts.
const LIFETIME: Duration = Duration::from_hours(12);

/// The cookie's name; a browser that came by TLS sends it by TLS alone, and the prefix says that no
/// other host has set it.
const COOKIE: &str = "sentinel_session";
const SECURE_COOKIE: &str = "__Host-sentinel_session";

/// The pages' style.
const STYLE: &str = include_str!("login.css");

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
    let mut response = page(request.uri(), None);
    *response.status_mut() = StatusCode::OK;
    response
}

/// Trades a key for a session.
pub(crate) async fn log_in(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    form: Result<Form<Login>, FormRejection>,
) -> Result<Response, Problem> {
    require_own_page(&headers)?;
    let Form(login) = form.map_err(|error| Problem::field("key", &error.body_text()))?;
    let next = own_path(&login.next);
    let known = match login.key.trim().parse::<ApiKey>() {
        Ok(key) => app.keyring.key(key.id()).await?.filter(|known| known.is_of(&key)),
        Err(_) => None,
    };
    let Some(known) = known else {
        let uri = next.parse().unwrap_or_default();
        return Ok(page(&uri, Some("That is no valid key.")));
    };
    let token = SessionToken::generate();
    app.queue.open_session(&token, &known.id, LIFETIME).await?;
    tracing::info!(key = %known.id, name = known.name, "somebody logged in");
    let cookie = cookie(&headers, token.expose(), LIFETIME);
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(next)).into_response())
}

/// Ends a session.
pub(crate) async fn log_out(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Problem> {
    require_own_page(&headers)?;
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

/// A page that asks for a key, to whoever may not see what is at this address without one.
pub(super) fn page(next: &Uri, error: Option<&str>) -> Response {
    let next = next.path_and_query().map_or("/", |next| next.as_str());
    let next = if next.starts_with("/login") { "/" } else { next };
    let error = error.map(|error| format!("<p role=\"alert\">{error}</p>")).unwrap_or_default();
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Sentinel: log in</title><link rel=\"stylesheet\" \
         href=\"/assets/login.css\"><main><h1>Sentinel</h1>{error}<form method=\"post\" action=\"/login\">\
         <label>Key <input type=\"password\" name=\"key\" required autofocus autocomplete=\"current-password\"></label>\
         <input type=\"hidden\" name=\"next\" value=\"{}\"><button>Log in</button></form>\
         <p>Keys are made with <code>sentinel key create</code>.</p></main>",
        escaped(next)
    );
    let policy =
        "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    let headers = [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
        (header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE)),
    ];
    (StatusCode::UNAUTHORIZED, headers, Html(html)).into_response()
}

/// The pages' style.
pub(crate) async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

/// Who logs in or out does so on this server's own page: another's could log a person in as somebody
/// else.
fn require_own_page(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    Err(Problem::of(
        Code::CrossOrigin,
        "this is for this server's own pages: send a key with each request instead",
    ))
}

/// Where to go on, if that is here.
fn own_path(next: &str) -> &str {
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

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
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
