//! The `OpenAPI` document: what it says besides its routes, and what of a route follows from others.

use std::collections::BTreeMap;

use axum::http::Method;
use serde_json::json;
use utoipa::{
    OpenApi, PartialSchema, ToSchema,
    openapi::{
        ContentBuilder, Header, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder,
        example::ExampleBuilder,
        path::{Operation, PathItem},
        schema::{AllOfBuilder, Type},
        security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use crate::{
    problem::{Code, Problem},
    routes::Need,
};

/// What the document says besides its routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sentinel",
        description = "Runs tasks as sandboxed WebAssembly components. Errors are \
                       `application/problem+json` with a stable `code`.",
    ),
    components(schemas(Code, Problem))
)]
struct Document;

/// The document without its routes.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let components = document.components.get_or_insert_default();
    let mut key = Http::new(HttpAuthScheme::Bearer);
    key.description = Some("A key, made with `sentinel key create`.".to_owned());
    components.add_security_scheme("key", SecurityScheme::Http(key));
    let session =
        ApiKeyValue::with_description("sentinel_session", "What `/login` gives a browser for a key.");
    components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(session)));
    document
}

/// The operations of a path.
pub(crate) fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let PathItem { get, put, post, delete, .. } = item;
    [(Method::GET, get), (Method::PUT, put), (Method::POST, post), (Method::DELETE, delete)]
        .into_iter()
        .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Adds what follows from the rules for all routes: who may ask, and which errors there are.
pub(crate) fn complete(method: &Method, operation: &mut Operation, need: Need, own: &[Code]) {
    let mut codes = own.to_vec();
    codes.extend([Code::Misdirected, Code::Internal]);
    if !method.is_safe() {
        codes.push(Code::CrossOrigin);
    }
    if operation.request_body.is_some() {
        codes.extend([
            Code::MalformedJson,
            Code::Incomplete,
            Code::TooLarge,
            Code::NotJson,
            Code::InvalidField,
        ]);
    }
    if need != Need::Nothing {
        codes.extend([Code::Unauthenticated, Code::Forbidden, Code::RateLimited, Code::StoreUnavailable]);
        let scopes: Vec<&str> = match need {
            Need::Scope(scope) => vec![scope.as_str()],
            Need::Nothing | Need::Key => Vec::new(),
        };
        let security = ["key", "session"].map(|scheme| SecurityRequirement::new(scheme, scopes.clone()));
        operation.security = Some(security.into());
    }
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes {
        let codes = by_status.entry(code.status().as_u16()).or_default();
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    for (status, codes) in by_status {
        operation.responses.responses.insert(status.to_string(), RefOr::T(problem(&codes)));
    }
}

/// An answer with one of these codes.
fn problem(codes: &[Code]) -> Response {
    let words = codes.iter().map(|code| code.as_str());
    let narrow = ObjectBuilder::new()
        .property("code", ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)));
    let schema = AllOfBuilder::new().item(Ref::from_schema_name(Problem::name())).item(narrow);
    let mut content = ContentBuilder::new().schema(Some(schema));
    for &code in codes {
        let problem = Problem::of(code, "What happened this time, for people.");
        let example = ExampleBuilder::new().summary(code.title()).value(Some(json!(problem)));
        content = content.examples_from_iter([(code.as_str(), example)]);
    }
    let sentences = codes.iter().map(|code| format!("`{}`: {}.", code.as_str(), code.meaning()));
    let mut response = ResponseBuilder::new()
        .description(sentences.collect::<Vec<_>>().join(" "))
        .content("application/problem+json", content.build());
    if codes.iter().any(|code| code.is_passing()) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
        let mut after = Header::new(seconds);
        after.description = Some("When to ask again, in seconds.".to_owned());
        response = response.header("Retry-After", after);
    }
    response.build()
}

impl PartialSchema for Code {
    fn schema() -> RefOr<utoipa::openapi::Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("What kind of error it is. Codes are stable."))
            .enum_values(Some(Self::ALL.iter().map(|code| code.as_str())))
            .into()
    }
}

impl ToSchema for Code {}
