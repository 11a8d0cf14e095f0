//! How often a key may ask, counted in the store for all servers, and told in the `RateLimit` fields
//! (draft-ietf-httpapi-ratelimit-headers) of every answer.

use std::time::Duration;

use axum::{
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use sentinel_queue::keys::{self, RequestRate};

use super::Caller;
use crate::{
    App,
    problem::{Code, Problem},
};

/// What a key's rate says of one request.
pub(super) struct Admission {
    rate: RequestRate,
    answer: keys::Admission,
}

/// Counts a request, if its key has a rate.
pub(super) async fn admit(app: &App, caller: &Caller) -> Result<Option<Admission>, Problem> {
    let Some(key) = &caller.key else { return Ok(None) };
    let Some(rate) = key.grant.rate else { return Ok(None) };
    let answer = app.queue.admit(&key.id, rate).await?;
    Ok(Some(Admission { rate, answer }))
}

impl Admission {
    /// The answer to a request that came too soon.
    pub(super) fn refusal(&self) -> Option<Response> {
        if self.answer.is_admitted {
            return None;
        }
        let wait = seconds(self.answer.next_in);
        let detail = format!(
            "this key may ask {} times in {}: ask again in {wait} s",
            self.rate.requests,
            sentinel_queue::duration::format(self.rate.per)
        );
        let mut response = Problem::of(Code::RateLimited, detail).into_response();
        self.tell(response.headers_mut());
        response.headers_mut().insert(header::RETRY_AFTER, number(wait));
        Some(response)
    }

    /// Says how many requests are left, and when all will be.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        let window = seconds(self.rate.per);
        let policy = format!("\"key\";q={};w={window}", self.rate.requests);
        let left = format!("\"key\";r={};t={}", self.answer.left, seconds(self.answer.full_in));
        for (name, value) in [("ratelimit-policy", policy), ("ratelimit", left)] {
            headers.insert(name, HeaderValue::try_from(value).expect("numbers are plain"));
        }
    }
}

fn number(number: u64) -> HeaderValue {
    number.into()
}

/// Whole seconds, so that whoever waits so long has waited long enough.
fn seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}
