//! What surrounds all handlers: a request's name and span, what is counted, headers that protect
//! browsers, compression, and who of other origins may call.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, header},
    middleware::{self, Next},
    response::Response,
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer,
        predicate::{NotForContentType, Predicate, SizeAbove},
    },
    cors::{AllowOrigin, CorsLayer},
};
use tracing::Instrument;
use uuid::Uuid;

use crate::{ApiConfig, problem, spans::InTrace};

/// Smaller answers are sent as they are.
const COMPRESSED: u64 = 1024;

/// How long a client's name for a request may be.
const LONGEST_ID: usize = 128;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What an answer may load: nothing, since it is data.
const DATA: &str = "default-src 'none'; frame-ancestors 'none'";

/// What the pages of `/docs` may load: this server's own files. Nothing inline runs; the images of
/// Swagger UI's style sheet are in it.
const PAGES: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Two years: what lists of such servers ask for.
const ONLY_TLS: &str = "max-age=63072000";

/// On every answer, unless its handler says otherwise.
static HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// The name of a request: its client's, or a new one.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(Arc<str>);

impl RequestId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// A client's name for its request is kept if it is short and plain.
    fn of(request: &Request) -> Self {
        let named = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let named = named.filter(|id| (1..=LONGEST_ID).contains(&id.len()));
        match named.filter(|id| id.bytes().all(|byte| byte.is_ascii_graphic())) {
            Some(id) => Self(id.into()),
            None => Self::new(),
        }
    }

    /// A new one.
    pub(crate) fn new() -> Self {
        Self(Uuid::now_v7().to_string().into())
    }
}

/// Puts all of them around these routes.
pub(crate) fn around(routes: Router, config: &ApiConfig) -> Router {
    let metrics = config.metrics.clone();
    let compressed = SizeAbove::new(COMPRESSED).and(NotForContentType::SSE).and(NotForContentType::IMAGES);
    let routes = routes
        .layer(CatchPanicLayer::custom(move |_panic| {
            metrics.panicked();
            problem::internal("a handler panicked")
        }))
        .layer(CompressionLayer::new().compress_when(compressed));
    let routes = match &config.allowed_origins[..] {
        [] => routes,
        origins => routes.layer(cors(origins.iter().map(|origin| origin.as_header().clone()).collect())),
    };
    routes.layer(middleware::from_fn_with_state(config.clone(), outermost))
}

/// Never with credentials: a page of another origin brings its key itself.
fn cors(origins: Vec<HeaderValue>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("sentinel-namespace"),
            HeaderName::from_static("traceparent"),
            HeaderName::from_static("tracestate"),
        ])
        .expose_headers([header::LOCATION, header::RETRY_AFTER, REQUEST_ID])
}

async fn outermost(State(config): State<ApiConfig>, mut request: Request, next: Next) -> Response {
    let since = Instant::now();
    let id = RequestId::of(&request);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let is_page = request.uri().path().starts_with("/docs");
    // As important as the most important line in it, so that it is there whenever a line is.
    let span = tracing::error_span!(
        "request",
        id = id.as_str(),
        %method,
        path = request.uri().path(),
        trace_id = tracing::field::Empty,
        span_id = tracing::field::Empty
    );
    let (place, told) = InTrace::of(&config.traces, &request, route.as_ref().map(MatchedPath::as_str), &id);
    if let Some(place) = place {
        let (trace_id, span_id) = place.ids();
        span.record("trace_id", trace_id).record("span_id", span_id);
        request.extensions_mut().insert(place);
    }
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).instrument(span.clone()).await;
    span.in_scope(|| tracing::debug!(status = response.status().as_u16(), "answered"));
    let headers = response.headers_mut();
    for (name, value) in &HEADERS {
        headers.entry(name).or_insert_with(|| value.clone());
    }
    let policy = HeaderValue::from_static(if is_page { PAGES } else { DATA });
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
    if config.has_tls {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(ONLY_TLS));
    }
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert(REQUEST_ID, id);
    }
    let route = route.as_ref().map(MatchedPath::as_str);
    if let Some(told) = told {
        told.answered(response.status());
    }
    config.metrics.answered(route, &method, response.status(), since.elapsed());
    response
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        extract::Extension,
        http::StatusCode,
        response::Sse,
        routing::get,
    };
    use tower::ServiceExt;

    use super::*;
    use crate::problem::{Code, Problem};

    fn routes(config: &ApiConfig) -> Router {
        let routes = Router::new()
            .route("/ok", get(|| async { "x".repeat(4096) }))
            .route("/small", get(|| async { "x" }))
            .route("/kept", get(|| async { ([(header::CACHE_CONTROL, "max-age=60")], "x") }))
            .route(
                "/events",
                get(|| async { Sse::new(futures_util::stream::pending::<Result<_, axum::Error>>()) }),
            )
            .route("/named", get(|Extension(id): Extension<RequestId>| async move { id.as_str().to_owned() }))
            .route("/boom", get(|| async { panic!("boom") as &str }))
            .fallback(|| async { Problem::of(Code::NotFound, "nothing") });
        around(routes, config)
    }

    async fn ask(config: &ApiConfig, request: axum::http::request::Builder) -> Response {
        routes(config).oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn text(response: Response) -> String {
        String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_like_others_and_counted() {
        let config = ApiConfig::default();
        let response = ask(&config, Request::get("/boom")).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        for (name, value) in &HEADERS {
            assert_eq!(response.headers()[name], value);
        }
        assert!(text(response).await.contains("\"code\":\"internal\""));
        assert_eq!(config.metrics.lines("sentinel_http_panics_total"), ["sentinel_http_panics_total 1"]);
        let line = r#"sentinel_http_requests_total{route="/boom",method="GET",status="5xx"} 1"#;
        assert_eq!(config.metrics.lines("sentinel_http_requests_total"), [line]);
    }

    #[tokio::test]
    async fn a_request_has_its_clients_name_if_that_is_plain_and_a_new_one_otherwise() {
        let config = ApiConfig::default();
        let longest = "x".repeat(128);
        for kept in ["a", "order-7/3", &longest] {
            let response = ask(&config, Request::get("/named").header(REQUEST_ID, kept)).await;
            assert_eq!(response.headers()[REQUEST_ID], kept);
            assert_eq!(text(response).await, kept);
        }
        let too_long = "x".repeat(129);
        for replaced in ["", "a b", "é", "a\tb", &too_long] {
            let response = ask(&config, Request::get("/nowhere").header(REQUEST_ID, replaced)).await;
            let id = response.headers()[REQUEST_ID].to_str().unwrap();
            assert!(id.parse::<Uuid>().is_ok(), "{id}");
        }
    }

    #[tokio::test]
    async fn a_handler_may_say_otherwise() {
        let config = ApiConfig::default();
        let kept = ask(&config, Request::get("/kept")).await;
        assert_eq!(kept.headers()[header::CACHE_CONTROL], "max-age=60");
        assert_eq!(kept.headers()[header::X_FRAME_OPTIONS], "DENY");
    }

    #[tokio::test]
    async fn large_answers_are_compressed_and_events_are_not() {
        let config = ApiConfig::default();
        let asked = |path| Request::get(path).header(header::ACCEPT_ENCODING, "gzip");
        let large = ask(&config, asked("/ok")).await;
        assert_eq!(large.headers()[header::CONTENT_ENCODING], "gzip");
        assert!(to_bytes(large.into_body(), 1 << 20).await.unwrap().len() < 1000);
        for path in ["/small", "/events"] {
            assert!(
                !ask(&config, asked(path)).await.headers().contains_key(header::CONTENT_ENCODING),
                "{path}"
            );
        }
        let plain = ask(&config, Request::get("/ok")).await;
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
    }
}
