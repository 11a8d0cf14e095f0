//! The part of a path that names something.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

use crate::problem::{Code, Problem};

/// A path's one parameter, as text.
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        // What is not UTF-8 names nothing.
        path.map(|Path(text)| Self(text))
            .map_err(|rejection| Problem::of(Code::NotFound, rejection.body_text()))
    }
}
