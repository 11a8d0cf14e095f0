//! What went wrong, as a page: for people at a browser, at the addresses of pages and at those where
//! there is nothing. The API answers in JSON, whoever asks.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::Response,
};

use super::{frame::Frame, show};
use crate::{
    App,
    auth::Caller,
    problem::{Code, FieldError, Problem},
};

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    frame: Frame,
    title: &'static str,
    status: u16,
    detail: &'a str,
    errors: &'a [FieldError],
    advice: &'static str,
    /// Whether the same may be answered a little later: the page looks again by itself.
    is_passing: bool,
    /// Whether one must log in, or as somebody else.
    is_about_key: bool,
}

/// Shows people what went wrong as a page.
pub(crate) async fn as_pages(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let is_page = match path {
        Some(path) => app.needs.is_page(path),
        None => !request.uri().path().starts_with("/v1/"),
    };
    if !is_page || !accepts_pages(request.headers()) {
        return next.run(request).await;
    }
    let (uri, headers) = (request.uri().clone(), request.headers().clone());
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let caller = response.extensions_mut().remove::<Arc<Caller>>();
    let mut page = show(&ErrorPage {
        frame: Frame::new(caller, &uri, &headers),
        title: problem.title(),
        status: response.status().as_u16(),
        detail: problem.detail(),
        errors: problem.errors(),
        advice: advice(problem.code()),
        is_passing: problem.code().is_passing(),
        is_about_key: matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
    });
    *page.status_mut() = response.status();
    for (name, value) in response.headers() {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            page.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
    }
    page
}

/// Whether this is a person at a browser: scripts and programs ask for anything.
pub(crate) fn accepts_pages(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|accepts| accepts.to_str().ok());
    accepts.is_some_and(|accepts| accepts.contains("text/html"))
}

/// What to do about it.
fn advice(code: Code) -> &'static str {
    match code {
        Code::StoreUnavailable => {
            "Nothing is lost: accepted tasks are in the store, and workers stop until it is back. See that the \
             store runs and that this server reaches it (`sentinel doctor` says which); its log has the reason."
        }
        Code::Unauthenticated => "The session is over, or the key was revoked. Log in again.",
        Code::Forbidden => "Log in with a key that may do this, or ask an administrator for one.",
        Code::CrossOrigin => "Go back, load the page again, and send the form from there.",
        Code::RateLimited => {
            "This key has a rate. Wait a moment; pages that are open in other tabs count, too."
        }
        Code::UnknownTask => {
            "Finished tasks are kept for a time (COMPLETED and CANCELLED a day, FAILED a month, unless set \
             otherwise), and a task of another namespace is not shown here."
        }
        Code::WrongState => "The task went on in the meantime. Go back to it to see where it is.",
        Code::Misdirected => "Allow the name by which you call this server: --allow-host NAME.",
        Code::Internal => {
            "This is a defect of Sentinel. The server's log has the request's id and says more."
        }
        Code::InvalidField => "Go back, change what is named above, and try again.",
        _ => "",
    }
}
