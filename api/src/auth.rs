//! Who asks, and whether they may: wraps the whole router.

mod caller;
mod keyring;
pub(crate) mod login;
mod rate;

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sentinel_queue::{
    keys::{ApiKey, KeyInfo, Scope},
    sessions::SessionToken,
};

pub(crate) use self::{caller::Caller, keyring::Keyring};
use crate::{
    App, actions, dashboard,
    problem::{Code, Problem},
    routes::Need,
};

/// Who may call the API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// Anybody who reaches it, until there is a key; then whoever has one.
    #[default]
    UntilKeys,
    /// Whoever has a key.
    Keys,
    /// Anybody who reaches it.
    Nobody,
}

/// How somebody showed who they are.
#[derive(Clone, Debug)]
enum Shown {
    /// By a key, with the request.
    Key(ApiKey),
    /// By a session: a browser, which also sends it when another page asks it to.
    Session(SessionToken),
}

/// Lets a request through if whoever sent it may ask for that, and has not asked too often; tells the
/// handler who it is.
pub(crate) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    let path = head.extensions.get::<MatchedPath>().cloned();
    let need = app.needs.of(&head.method, path.as_ref().map(MatchedPath::as_str));
    if need == Need::Nothing {
        return next.run(Request::from_parts(head, body)).await;
    }
    let is_page = path.as_ref().is_some_and(|path| app.needs.is_page(path.as_str()));
    let caller = match caller(&app, &head, is_page).await {
        Ok(caller) => Arc::new(caller),
        Err(problem) => return refusal(problem, &head),
    };
    if let Some(scope) = missing(&caller, need) {
        let detail = format!("this needs a key with the scope {scope}: this one does not have it");
        return known(Problem::of(Code::Forbidden, detail).into_response(), caller);
    }
    let admission = match rate::admit(&app, &caller).await {
        Ok(admission) => admission,
        Err(problem) => return known(problem.into_response(), caller),
    };
    if let Some(refused) = admission.as_ref().and_then(rate::Admission::refusal) {
        return known(refused, caller);
    }
    head.extensions.insert(Arc::clone(&caller));
    let request = Request::from_parts(head, body);
    let mut response = match need {
        Need::Scope(Scope::Operate | Scope::Admin) if !request.method().is_safe() => {
            actions::recorded(&app, &caller, path.as_ref(), request, next).await
        }
        _ => next.run(request).await,
    };
    if let Some(admission) = admission {
        admission.tell(response.headers_mut());
    }
    known(response, caller)
}

/// Tells those who show a refusal to people whom they show it to.
fn known(mut response: Response, caller: Arc<Caller>) -> Response {
    response.extensions_mut().insert(caller);
    response
}

fn missing(caller: &Caller, need: Need) -> Option<Scope> {
    match need {
        Need::Scope(scope) if !caller.grant().allows(scope) => Some(scope),
        _ => None,
    }
}

/// Who sent a request.
async fn caller(app: &App, head: &Parts, is_page: bool) -> Result<Caller, Problem> {
    let headers = &head.headers;
    let named = || if is_page { caller::named_by_page(&head.uri) } else { caller::named(headers) };
    if !app.keyring.is_needed().await? {
        return named().map(Caller::anybody);
    }
    match shown(headers)? {
        Shown::Key(key) => {
            let known = app.keyring.key(key.id()).await?;
            let known = known.filter(|known| known.is_of(&key)).ok_or_else(unauthenticated)?;
            Caller::of(known, named()?)
        }
        Shown::Session(token) => {
            if !is_from_here(&head.method, headers) {
                let detail = "a session is for this server's own pages: send a key instead";
                return Err(Problem::of(Code::CrossOrigin, detail));
            }
            Caller::of(session(app, &token).await?, named()?)
        }
    }
}

/// The key that a session stands for.
async fn session(app: &App, token: &SessionToken) -> Result<Arc<KeyInfo>, Problem> {
    let id = app.queue.session(token).await?.ok_or_else(unauthenticated)?;
    app.keyring.key(&id).await?.ok_or_else(unauthenticated)
}

/// What a request shows: a key before a session.
fn shown(headers: &HeaderMap) -> Result<Shown, Problem> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    match (given.next(), given.next()) {
        (Some(given), None) => {
            let text = given.to_str().ok().and_then(|text| {
                let (scheme, key) = text.split_once(' ')?;
                scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
            });
            text.and_then(|text| text.parse().ok()).map(Shown::Key).ok_or_else(unauthenticated)
        }
        (None, _) => login::token(headers).map(Shown::Session).ok_or_else(unauthenticated),
        (Some(_), Some(_)) => Err(unauthenticated()),
    }
}

/// Whether a browser's request comes from a page of this server: it says so of every change, and of
/// what it reads if it can. That the origin is this server's was checked before.
fn is_from_here(method: &Method, headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let is_own = site.is_none_or(|site| matches!(site, b"same-origin" | b"none"));
    is_own && (method.is_safe() || headers.contains_key(header::ORIGIN))
}

fn unauthenticated() -> Problem {
    let detail = "this needs a valid key: send it as `Authorization: Bearer sentinel_…`, or log in at /login; \
                  keys are made with `sentinel key create`";
    Problem::of(Code::Unauthenticated, detail)
}

/// A person at a browser is shown where to log in.
fn refusal(problem: Problem, head: &Parts) -> Response {
    if dashboard::accepts_pages(&head.headers) && head.method.is_safe() && problem.is(Code::Unauthenticated) {
        return login::page(&head.uri, &head.headers, None);
    }
    problem.into_response()
}
