//! Request bodies: their type, their size, their time.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use sentinel_queue::payload::MAX_PAYLOAD;

use crate::problem::{Code, Problem};

/// What a body of one task may have: its payload, and room for its other fields.
pub(crate) const TASK_BODY: usize = MAX_PAYLOAD + 16 * 1024;

/// What a batch may have.
pub(crate) const BATCH_BODY: usize = 16 * 1024 * 1024;

/// What any other body may have.
pub(crate) const SMALL_BODY: usize = 64 * 1024;

/// How long a body may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(30);

/// Reads a body that must be JSON and must not be larger than `limit`.
pub(crate) async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Problem> {
    require_json(headers)?;
    within(headers, body, limit).await
}

/// Reads what a form sent.
pub(crate) async fn read_form(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Problem::of(
            Code::NotJson,
            "this is what a page's form is sent to, and takes nothing else",
        ));
    }
    within(headers, body, limit).await
}

async fn within(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Problem> {
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    arrive(body, limit, ARRIVAL).await
}

async fn arrive(body: Body, limit: usize, within: Duration) -> Result<Bytes, Problem> {
    let arrived = tokio::time::timeout(within, collect(body, limit)).await;
    arrived.unwrap_or_else(|_| {
        Err(Problem::of(Code::Incomplete, format!("the body took longer than {within:?}")))
    })
}

async fn collect(body: Body, limit: usize) -> Result<Bytes, Problem> {
    use axum::body::HttpBody;
    let mut body = std::pin::pin!(body);
    let mut collected = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
        let frame = frame.map_err(|_| Problem::of(Code::Incomplete, "the body broke off"))?;
        if let Ok(data) = frame.into_data() {
            if collected.len() + data.len() > limit {
                return Err(too_large(limit));
            }
            collected.extend_from_slice(&data);
        }
    }
    Ok(collected.freeze())
}

fn too_large(limit: usize) -> Problem {
    Problem::of(
        Code::TooLarge,
        format!("the body may have {limit} bytes, of which the payload {MAX_PAYLOAD}"),
    )
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let mut parts = kind.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    let is_utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    if is_json && is_utf8 && !headers.contains_key(header::CONTENT_ENCODING) {
        return Ok(());
    }
    Err(Problem::of(
        Code::NotJson,
        "send the body as UTF-8, not encoded, with `Content-Type: application/json`",
    ))
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use futures_util::stream;

    use super::*;

    /// However often a byte comes: the whole has one deadline.
    #[tokio::test]
    async fn a_body_that_comes_byte_by_byte_is_not_waited_for() {
        let drips = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
        });
        let arrived = arrive(Body::from_stream(drips), SMALL_BODY, Duration::from_millis(100)).await;
        assert_eq!(arrived.unwrap_err().into_response().status(), 408);
    }
}
