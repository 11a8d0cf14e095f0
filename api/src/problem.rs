//! Errors as clients see them: `application/problem+json` (RFC 9457) with a stable code.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sentinel_queue::{
    queue::SubmitError,
    request::{self, Refused, Why},
    store::StoreError,
};
use serde::Serialize;
use utoipa::ToSchema;

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $code:ident = $word:literal $status:ident $title:literal),* $(,)?) => {
        /// What kind of error it is. Codes are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        pub enum Code {
            $($(#[doc = $doc])* #[serde(rename = $word)] $code),*
        }

        impl Code {
            /// All there are.
            pub const ALL: &[Code] = &[$(Code::$code),*];

            /// The word for it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => $word),*
                }
            }

            pub(crate) fn status(self) -> StatusCode {
                match self {
                    $(Self::$code => StatusCode::$status),*
                }
            }

            /// When it is answered.
            pub(crate) fn meaning(self) -> &'static str {
                match self {
                    $(Self::$code => concat!($($doc),*).trim_ascii()),*
                }
            }

            pub(crate) fn title(self) -> &'static str {
                match self {
                    $(Self::$code => $title),*
                }
            }
        }
    };
}

codes! {
    /// The body is not JSON, not UTF-8, too deep, or has a key twice.
    MalformedJson = "malformed_json" BAD_REQUEST "The body is not acceptable JSON",
    /// The request broke off or came too slowly.
    Incomplete = "incomplete_request" REQUEST_TIMEOUT "The request did not arrive",
    /// There is nothing at this address.
    NotFound = "not_found" NOT_FOUND "Not found",
    /// No task has this id.
    UnknownTask = "unknown_task" NOT_FOUND "No such task",
    /// No worker has this job.
    UnknownJobName = "unknown_job_name" NOT_FOUND "No such job",
    /// No task was ever submitted to this queue.
    UnknownQueue = "unknown_queue" NOT_FOUND "No such queue",
    /// The address does not take this method.
    MethodNotAllowed = "method_not_allowed" METHOD_NOT_ALLOWED "Method not allowed",
    /// No operation has this id, or it ended more than a day ago.
    UnknownOperation = "unknown_operation" NOT_FOUND "No such operation",
    /// The attempt printed nothing, or its log is not kept any more.
    NoLog = "no_log" NOT_FOUND "No such log",
    /// No schedule has this name.
    UnknownSchedule = "unknown_schedule" NOT_FOUND "No such schedule",
    /// The task is in a state in which this cannot be done.
    WrongState = "wrong_state" CONFLICT "Not in this state",
    /// The queue holds tasks that this would put in disorder.
    NotEmpty = "queue_not_empty" CONFLICT "The queue is not empty",
    /// The idempotency key belongs to a task with another queue or payload.
    KeyReused = "idempotency_key_reused" UNPROCESSABLE_ENTITY "The idempotency key was used before",
    /// A task to wait for is not there.
    UnknownParent = "unknown_parent" UNPROCESSABLE_ENTITY "No such task to wait for",
    /// So many clients listen already.
    TooManyListeners = "too_many_listeners" SERVICE_UNAVAILABLE "Too many listeners",
    /// The task has not ended yet.
    NotFinished = "not_finished" CONFLICT "The task has not ended",
    /// The task failed, so there is no result.
    Failed = "failed" CONFLICT "The task failed",
    /// The task was cancelled, so there is no result.
    Cancelled = "cancelled" CONFLICT "The task was cancelled",
    /// The body or the payload is too large.
    TooLarge = "too_large" PAYLOAD_TOO_LARGE "Too large",
    /// The body is not declared as JSON.
    NotJson = "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE "The body must be JSON",
    /// The Host header names another server.
    Misdirected = "misdirected_request" MISDIRECTED_REQUEST "This is not that host",
    /// A page of another origin asked for a change.
    CrossOrigin = "cross_origin" FORBIDDEN "Not from another origin",
    /// The request shows no key, or none that is valid.
    Unauthenticated = "unauthenticated" UNAUTHORIZED "Who is asking?",
    /// The key may not do this.
    Forbidden = "forbidden" FORBIDDEN "The key may not do this",
    /// The key asks too often.
    RateLimited = "rate_limited" TOO_MANY_REQUESTS "Too many requests",
    /// No key has this id.
    UnknownKey = "unknown_key" NOT_FOUND "No such key",
    /// There are as many keys as there may be.
    TooManyKeys = "too_many_keys" CONFLICT "Too many keys",
    /// A field is missing, unknown or out of its range.
    InvalidField = "invalid_field" UNPROCESSABLE_ENTITY "A field is not acceptable",
    /// No worker has advertised the job lately.
    UnknownJob = "unknown_job" UNPROCESSABLE_ENTITY "No worker has this job",
    /// The store is away; nothing was accepted, or nobody knows: send it again.
    StoreUnavailable = "store_unavailable" SERVICE_UNAVAILABLE "The store is away",
    /// A defect; the log says more.
    Internal = "internal" INTERNAL_SERVER_ERROR "Internal error",
}

/// How one shows who one is (RFC 6750).
pub(crate) const CHALLENGE: &str = "Bearer realm=\"sentinel\"";

/// An error as clients see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// A URI that names the kind of error.
    #[serde(rename = "type")]
    #[schema(example = "urn:sentinel:error:invalid_field")]
    kind: String,
    /// The kind, for people.
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 422)]
    status: u16,
    /// What happened this time, for people.
    detail: String,
    /// The kind, for programs.
    code: Code,
    /// Each field that is not acceptable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// Where it is in the body, as a JSON Pointer (RFC 6901); for a parameter, its name.
    #[schema(example = "/priority")]
    pub(crate) pointer: String,
    /// What it is and what it must be.
    #[schema(example = "1001 must be an integer from -1000 to 1000")]
    pub(crate) detail: String,
    /// In a batch: which task, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<usize>,
}

impl FieldError {
    pub(crate) fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into(), index: None }
    }
}

impl Code {
    /// Whether the same request may be answered a little later.
    pub(crate) fn is_passing(self) -> bool {
        matches!(self, Self::StoreUnavailable | Self::TooManyListeners | Self::RateLimited)
    }
}

impl Problem {
    /// Whether it is of this kind.
    pub(crate) fn is(&self, code: Code) -> bool {
        self.code == code
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    pub(crate) fn title(&self) -> &'static str {
        self.title
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    pub(crate) fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    pub(crate) fn of(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:sentinel:error:{}", code.as_str()),
            title: code.title(),
            status: code.status().as_u16(),
            detail: detail.into(),
            code,
            errors: Vec::new(),
        }
    }

    /// The same, of one task of a batch.
    pub(crate) fn in_batch(mut self, index: usize) -> Self {
        self = self.within(&format!("/tasks/{index}"));
        for error in &mut self.errors {
            error.index = Some(index);
        }
        self
    }

    /// The same, of what stands at this place.
    pub(crate) fn within(mut self, place: &str) -> Self {
        for error in &mut self.errors {
            error.pointer = format!("{place}{}", error.pointer);
        }
        self
    }

    /// The same, of one field.
    pub(crate) fn about(mut self, pointer: &str) -> Self {
        self.errors.push(FieldError::at(pointer, self.detail.clone()));
        self
    }

    /// Why a batch was not accepted.
    pub(crate) fn of_batch(error: SubmitError) -> Self {
        match error {
            SubmitError::Store(error) => error.into(),
            SubmitError::Conflict { index } | SubmitError::NoParent { index, .. } => {
                Self::from(error).in_batch(index)
            }
        }
    }

    /// One field is not acceptable.
    pub(crate) fn field(pointer: &str, detail: &impl ToString) -> Self {
        Refused::fields(vec![request::FieldError::at(pointer, detail.to_string())]).into()
    }
}

impl From<request::FieldError> for FieldError {
    fn from(error: request::FieldError) -> Self {
        let request::FieldError { pointer, detail, index } = error;
        Self { pointer, detail, index }
    }
}

/// Why a request is not acceptable.
impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let code = match refused.why {
            Why::Malformed => Code::MalformedJson,
            Why::TooLarge => Code::TooLarge,
            Why::Field => Code::InvalidField,
        };
        let errors = refused.errors.into_iter().map(Into::into).collect();
        Self { errors, ..Self::of(code, refused.detail) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).expect("plain data becomes JSON");
        let kind = HeaderValue::from_static("application/problem+json");
        let mut response = (self.code.status(), [(header::CONTENT_TYPE, kind)], body).into_response();
        if self.code.is_passing() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.is(Code::Unauthenticated) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        }
        // For those who show it to people as a page.
        response.extensions_mut().insert(self);
        response
    }
}

/// What the store says is for the log; clients learn whether to come back.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(reason) => {
                tracing::warn!(reason, "the store is away");
                Self::of(Code::StoreUnavailable, "the store does not answer now; send the request again")
            }
            StoreError::Unfit(reason) => {
                tracing::error!(reason, "the store is not fit for use");
                Self::of(Code::StoreUnavailable, "the store is not fit for use; the operator's log says why")
            }
            StoreError::Broken(reason) => {
                tracing::error!(reason, "the store misbehaved");
                Self::of(Code::Internal, "the log says more")
            }
        }
    }
}

/// Why a task was not accepted.
impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        let detail = error.to_string();
        let (code, pointer) = match error {
            SubmitError::Store(error) => return error.into(),
            SubmitError::Conflict { .. } => (Code::KeyReused, "/idempotency_key"),
            SubmitError::NoParent { .. } => (Code::UnknownParent, "/after"),
        };
        Self { errors: vec![FieldError::at(pointer, &detail)], ..Self::of(code, detail) }
    }
}

/// A defect, told to the log and not to the client.
pub(crate) fn internal(what: &str) -> Response {
    tracing::error!(what, "internal error");
    Problem::of(Code::Internal, "the log says more").into_response()
}
