//! The `OpenAPI` document: what it says besides its routes, and what of a route follows from others.

mod links;

use std::collections::BTreeMap;

use axum::http::Method;
use serde_json::json;
use utoipa::{
    OpenApi, PartialSchema, ToSchema,
    openapi::{
        Array, ContentBuilder, Header, Object, ObjectBuilder, OneOf, Ref, RefOr, Required, Response,
        ResponseBuilder, Schema,
        example::ExampleBuilder,
        path::{Operation, Parameter, ParameterIn, PathItem},
        schema::{AllOfBuilder, SchemaType, Type},
        security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use crate::{
    problem::{Code, Problem},
    routes::Need,
    wire::kind,
};

/// What the document says besides its routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sentinel",
        description = "Runs tasks as sandboxed WebAssembly components.\n\nErrors are `application/problem+json` \
                       with a stable `code`. What may be left out is never null: leave it out. Fields and \
                       parameters that are not known are refused; answers may get more fields.\n\nA range \
                       that a pattern cannot tell, such as that of a duration, is told beside it.",
    ),
    tags(
        (name = "tasks", description = "Submit tasks, read them, wait for them, follow them, steer them."),
        (name = "operations", description = "The same done to many tasks: begun at once, carried out by and by."),
        (name = "queues", description = "What tasks wait in: how fast it is emptied, and whether."),
        (name = "schedules", description = "Tasks that are submitted again and again."),
        (name = "jobs", description = "What the workers can run."),
        (name = "workers", description = "Who runs it."),
        (name = "keys", description = "Who may do what, and what was done."),
        (name = "health", description = "Whether the server is there, and can be used."),
    ),
    components(schemas(Code, Problem))
)]
struct Document;

/// The document without its routes.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let components = document.components.get_or_insert_default();
    kind::add(components);
    components.headers = headers();
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

/// Adds what follows from the rules for all routes: who may ask, by which headers, which errors there
/// are, and where to go on. Gives the errors, to which it refers, by their names.
pub(crate) fn complete(
    method: &Method,
    operation: &mut Operation,
    need: Need,
    own: &[Code],
) -> BTreeMap<String, Response> {
    let codes = codes(method, operation, need, own);
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(Parameter { schema: Some(schema), .. }) = parameter {
            forbid_null(schema);
        }
    }
    if need != Need::Nothing {
        operation.parameters.get_or_insert_default().push(RefOr::T(namespace()));
        let scopes: Vec<&str> = match need {
            Need::Scope(scope) => vec![scope.as_str()],
            Need::Nothing | Need::Key => Vec::new(),
        };
        let security = ["key", "session"].map(|scheme| SecurityRequirement::new(scheme, scopes.clone()));
        operation.security = Some(security.into());
    }
    let name = operation.operation_id.clone().unwrap_or_default();
    let responses = &mut operation.responses.responses;
    for response in responses.values_mut() {
        if let RefOr::T(response) = response {
            response.headers.extend(header_names(need).map(|name| (name.to_owned(), header(name))));
            response.links.extend(links::of(&name));
        }
    }
    let mut problems = BTreeMap::new();
    for (status, codes) in codes {
        let words: Vec<_> = codes.iter().map(|code| code.as_str()).collect();
        // Where no key is needed, none is told of its rate.
        let suffix = if need == Need::Nothing { ".open" } else { "" };
        let name = format!("{}{suffix}", words.join("."));
        responses.insert(status.to_string(), Ref::from_response_name(name.clone()).into());
        problems.insert(name, problem(need, &codes));
    }
    problems
}

/// The errors that an operation can answer, by their status.
fn codes(method: &Method, operation: &Operation, need: Need, own: &[Code]) -> BTreeMap<u16, Vec<Code>> {
    let mut codes = own.to_vec();
    codes.extend([Code::Misdirected, Code::Internal]);
    if !method.is_safe() {
        codes.push(Code::CrossOrigin);
    }
    let is_in_path = |parameter: &RefOr<Parameter>| {
        matches!(parameter, RefOr::T(Parameter { parameter_in: ParameterIn::Path, .. }))
    };
    if operation.parameters.iter().flatten().any(is_in_path) {
        codes.push(Code::NotFound);
    }
    if operation.request_body.is_some() {
        codes.extend([Code::MalformedJson, Code::Incomplete, Code::TooLarge, Code::NotJson]);
    }
    if need != Need::Nothing {
        // Of a session, reading is refused to pages of other origins, too. The field that is not
        // acceptable may be the namespace.
        codes.extend([Code::Unauthenticated, Code::Forbidden, Code::CrossOrigin, Code::InvalidField]);
        codes.extend([Code::RateLimited, Code::StoreUnavailable]);
    }
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes {
        let codes = by_status.entry(code.status().as_u16()).or_default();
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    by_status
}

/// The parameter by which a request says whose tasks it is about.
fn namespace() -> Parameter {
    let mut namespace = Parameter::new("Sentinel-Namespace");
    namespace.parameter_in = ParameterIn::Header;
    namespace.required = Required::False;
    let description = "Whose tasks this is about: `default` unless said; for a key that is bound to a \
                       namespace, that one alone.";
    namespace.description = Some(description.to_owned());
    namespace.schema = Some(Ref::from_schema_name(kind::Namespace::name()).into());
    namespace
}

const RATE: [&str; 2] = ["RateLimit-Policy", "RateLimit"];

/// The headers of every answer.
fn header_names(need: Need) -> impl Iterator<Item = &'static str> {
    let rate = if need == Need::Nothing { &[] } else { &RATE[..] };
    ["X-Request-Id"].into_iter().chain(rate.iter().copied())
}

fn header(name: &str) -> RefOr<Header> {
    RefOr::Ref(Ref::new(format!("#/components/headers/{name}")))
}

/// What these headers are.
fn headers() -> BTreeMap<String, RefOr<Header>> {
    let header = |name: &str, schema: ObjectBuilder, description: &str| {
        let mut header = Header::new(schema);
        header.description = Some(description.to_owned());
        (name.to_owned(), RefOr::T(header))
    };
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
    let id = "The request's name: the one that it brought, or a new one.";
    let policy = "How often the key may ask, if that is bounded: `q` times in `w` seconds.";
    let left = "How many requests the key has left (`r`), and in how many seconds all (`t`).";
    [
        header("X-Request-Id", kind::text("^[!-~]{1,128}$"), id),
        header(RATE[0], kind::text("^\"key\";q=[0-9]+;w=[0-9]+$"), policy),
        header(RATE[1], kind::text("^\"key\";r=[0-9]+;t=[0-9]+$"), left),
        header("Retry-After", seconds, "When to ask again, in seconds."),
        header("WWW-Authenticate", kind::text("^Bearer "), "How one shows who one is."),
    ]
    .into()
}

/// Adds what answers have in common, and says of all shapes that what may be left out is never null.
pub(crate) fn finish(document: &mut utoipa::openapi::OpenApi, problems: BTreeMap<String, Response>) {
    let components = document.components.get_or_insert_default();
    components.responses.extend(problems.into_iter().map(|(name, problem)| (name, problem.into())));
    for schema in components.schemas.values_mut() {
        if let RefOr::T(schema) = schema {
            forbid_nulls_in(schema);
        }
    }
}

fn forbid_nulls_in(schema: &mut Schema) {
    match schema {
        Schema::Object(Object { properties, required, .. }) => {
            for (name, property) in properties {
                if !required.contains(name) {
                    forbid_null(property);
                }
            }
        }
        Schema::AllOf(all) => {
            for item in &mut all.items {
                if let RefOr::T(item) = item {
                    forbid_nulls_in(item);
                }
            }
        }
        _ => {}
    }
}

fn forbid_null(schema: &mut RefOr<Schema>) {
    let RefOr::T(nullable) = schema else { return };
    match nullable {
        Schema::Object(Object { schema_type, .. }) | Schema::Array(Array { schema_type, .. }) => {
            if let SchemaType::Array(types) = schema_type {
                types.retain(|kind| *kind != Type::Null);
                if let [only] = &types[..] {
                    *schema_type = SchemaType::Type(only.clone());
                }
            }
        }
        // Of what is described elsewhere: that, or null.
        Schema::OneOf(OneOf { items, default, .. }) => {
            if let Some(RefOr::Ref(found)) = items.iter().find(|item| matches!(item, RefOr::Ref(_))) {
                let mut found = found.clone();
                found.default = default.take();
                *schema = RefOr::Ref(found);
            }
        }
        _ => {}
    }
}

/// An answer with one of these codes.
fn problem(need: Need, codes: &[Code]) -> Response {
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
    let sentences = codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.meaning()));
    let mut response = ResponseBuilder::new()
        .description(sentences.collect::<Vec<_>>().join(" "))
        .content("application/problem+json", content.build())
        .build();
    let is_any = |is: fn(&Code) -> bool| codes.iter().any(is);
    let passing = is_any(|code| code.is_passing()).then_some("Retry-After");
    let unknown = is_any(|code| *code == Code::Unauthenticated).then_some("WWW-Authenticate");
    let names = header_names(need).chain(passing).chain(unknown);
    response.headers = names.map(|name| (name.to_owned(), header(name))).collect();
    response
}

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("What kind of error it is. Codes are stable."))
            .enum_values(Some(Self::ALL.iter().map(|code| code.as_str())))
            .into()
    }
}

impl ToSchema for Code {}
