//! What the forms of pages send.
//!
//! A form is no JSON, so any page on the internet could send one to this server without asking. It is
//! taken from this server's own pages alone: browsers say by `Origin` where a form comes from, and that
//! this is here was checked before (`host.rs`, and for sessions `auth.rs`).

use axum::{
    Form,
    body::Body,
    extract::{FromRequest, Request},
    http::{HeaderMap, HeaderValue, header},
};
use serde::de::DeserializeOwned;

use crate::{
    body::{self, SMALL_BODY},
    problem::{Code, Problem},
};

/// What a small form of an own page sent.
pub(crate) struct Sent<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Sent<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        read(request, SMALL_BODY).await.map(Self)
    }
}

/// Reads what a form of an own page sent.
pub(crate) async fn read<T: DeserializeOwned>(request: Request, limit: usize) -> Result<T, Problem> {
    let (head, body) = request.into_parts();
    require_own_page(&head.headers)?;
    let bytes = body::read_form(&head.headers, body, limit).await?;
    let request = Request::from_parts(head, Body::from(bytes));
    let form = Form::<T>::from_request(request, &()).await;
    form.map(|Form(form)| form).map_err(|rejection| Problem::field("form", &rejection.body_text()))
}

/// Refuses what no page of this server can have sent.
pub(crate) fn require_own_page(headers: &HeaderMap) -> Result<(), Problem> {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if headers.contains_key(header::ORIGIN) && site.is_none_or(|site| site == b"same-origin") {
        return Ok(());
    }
    Err(Problem::of(
        Code::CrossOrigin,
        "this is for this server's own pages: programs use the API under /v1, with a key",
    ))
}
