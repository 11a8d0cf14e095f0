//! The one table of routes: it makes the router, the document, and who may ask for what.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use axum::{
    Router,
    http::Method,
    routing::{MethodRouter, get, post},
};
use sentinel_queue::keys::Scope::{self, Admin, Operate, Read, Submit};
use utoipa::openapi::{OpenApi, Response};
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter},
    routes,
};
use utoipa_swagger_ui::SwaggerUi;

#[allow(clippy::enum_glob_use, reason = "the table is read by its words")]
use crate::problem::Code::{self, *};
use crate::{
    App, actions, auth::login, dashboard, events, health, jobs, keys, metrics, openapi, operations, queues,
    schedules, steer, tasks, workers,
};

/// What a request must bring to be let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: whoever reaches the server may ask.
    Nothing,
    /// A key, whatever it may do.
    Key,
    /// A key that may do this.
    Scope(Scope),
}

/// What each route needs: by its path as it was declared, its methods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    needs: HashMap<String, Vec<(Method, Need)>>,
    /// The paths of pages for people.
    pages: HashSet<String>,
}

impl Needs {
    /// What a request needs. There is nothing at an address without a path, which is for whoever has a
    /// key to learn. A path that the table does not name is nobody's but an administrator's.
    pub(crate) fn of(&self, method: &Method, path: Option<&str>) -> Need {
        let Some(path) = path else { return Need::Key };
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let Some(methods) = self.needs.get(path) else { return Need::Scope(Admin) };
        if let Some((_, need)) = methods.iter().find(|(taken, _)| taken == method) {
            return *need;
        }
        // An address that is there and does not take the method says so to whoever may ask for it.
        if methods.iter().all(|(_, need)| *need == Need::Nothing) { Need::Nothing } else { Need::Key }
    }

    /// Whether there is a page for people at a path.
    pub(crate) fn is_page(&self, path: &str) -> bool {
        self.pages.contains(path)
    }

    fn add(&mut self, method: Method, path: &str, need: Need) {
        self.needs.entry(path.to_owned()).or_default().push((method, need));
    }
}

struct Table {
    router: OpenApiRouter<Arc<App>>,
    needs: Needs,
    /// What routes answer that was refused, by the names under which the document tells of it.
    problems: BTreeMap<String, Response>,
}

/// The routes, what each needs, and the document that tells of them.
pub(crate) fn table() -> (Router<Arc<App>>, Needs, OpenApi) {
    let Table { router, mut needs, problems } = Table::new()
        .route(Need::Nothing, &[], routes!(health::alive))
        .route(Need::Nothing, &[StoreUnavailable], routes!(health::ready))
        .route(Need::Scope(Submit), SUBMIT, routes!(tasks::submit))
        .route(Need::Scope(Submit), SUBMIT, routes!(tasks::create))
        .route(Need::Scope(Submit), SUBMIT, routes!(tasks::batch))
        .route(Need::Scope(Read), &[], routes!(metrics::read))
        .route(Need::Scope(Read), &[], routes!(tasks::stats))
        .route(Need::Scope(Read), &[], routes!(tasks::list))
        .route(Need::Scope(Read), &[UnknownTask], routes!(tasks::get))
        .route(Need::Scope(Read), &[UnknownTask, NotFinished, Failed, Cancelled], routes!(tasks::result))
        .route(Need::Scope(Read), &[UnknownTask, NoLog], routes!(tasks::logs))
        .route(Need::Scope(Read), &[UnknownTask, TooManyListeners], routes!(events::task))
        .route(Need::Scope(Read), &[TooManyListeners], routes!(events::ends))
        .route(Need::Scope(Operate), &[UnknownTask, WrongState], routes!(steer::cancel))
        .route(Need::Scope(Operate), &[UnknownTask, WrongState], routes!(steer::redrive))
        .route(Need::Scope(Operate), &[UnknownTask, WrongState], routes!(steer::reschedule))
        .route(Need::Scope(Operate), &[], routes!(operations::create))
        .route(Need::Scope(Read), &[UnknownOperation], routes!(operations::get))
        .route(Need::Scope(Read), &[], routes!(queues::list))
        .route(Need::Scope(Read), &[UnknownQueue], routes!(queues::get))
        .route(Need::Scope(Operate), &[NotEmpty], routes!(queues::set))
        .route(Need::Scope(Operate), &[UnknownQueue], routes!(queues::purge))
        .route(Need::Scope(Operate), &[], routes!(queues::pause))
        .route(Need::Scope(Operate), &[], routes!(queues::resume))
        .route(Need::Scope(Read), &[], routes!(schedules::list))
        .route(Need::Scope(Read), &[UnknownSchedule], routes!(schedules::get))
        .route(Need::Scope(Operate), &[UnknownJob, UnknownSchedule], routes!(schedules::set))
        .route(Need::Scope(Operate), &[UnknownSchedule], routes!(schedules::delete))
        .route(Need::Scope(Operate), &[UnknownSchedule], routes!(schedules::pause))
        .route(Need::Scope(Operate), &[UnknownSchedule], routes!(schedules::resume))
        .route(Need::Scope(Read), &[], routes!(jobs::list))
        .route(Need::Scope(Read), &[UnknownJobName], routes!(jobs::get))
        .route(Need::Scope(Read), &[], routes!(workers::list))
        .route(Need::Scope(Admin), &[TooManyKeys], routes!(keys::create))
        .route(Need::Scope(Admin), &[], routes!(keys::list))
        .route(Need::Scope(Admin), &[UnknownKey], routes!(keys::get))
        .route(Need::Scope(Admin), &[UnknownKey], routes!(keys::revoke))
        .route(Need::Scope(Admin), &[], routes!(actions::list))
        .pages();
    let (router, mut document) = router.split_for_parts();
    openapi::finish(&mut document, problems);
    for path in ["/docs", "/docs/", "/docs/{*rest}", "/openapi.json"] {
        needs.add(Method::GET, path, Need::Key);
    }
    let router = router.merge(SwaggerUi::new("/docs").url("/openapi.json", document.clone()));
    (router, needs, document)
}

/// Why a submit may be refused.
const SUBMIT: &[Code] = &[KeyReused, UnknownParent, UnknownJob, UnknownTask];

impl Table {
    fn new() -> Self {
        Self {
            router: OpenApiRouter::with_openapi(openapi::document()),
            needs: Needs::default(),
            problems: BTreeMap::new(),
        }
    }

    /// A route that the document tells of, with the errors of its own that it may answer. Those that
    /// follow from what it needs and takes are added to them.
    fn route(
        mut self,
        need: Need,
        codes: &[Code],
        (schemas, mut paths, methods): UtoipaMethodRouter<Arc<App>>,
    ) -> Self {
        for (path, item) in &mut paths.paths {
            for (method, operation) in openapi::operations(item) {
                self.problems.extend(openapi::complete(&method, operation, need, codes));
                self.needs.add(method, path, need);
            }
        }
        self.router = self.router.routes((schemas, paths, methods));
        self
    }

    /// The pages for people, of which the document does not tell.
    fn pages(self) -> Self {
        self.page(Need::Nothing, "/login", get(login::show))
            .form(Need::Nothing, "/login", post(login::log_in))
            .form(Need::Nothing, "/logout", post(login::log_out))
            .form(Need::Nothing, "/theme", post(dashboard::choose_theme))
            .page(Need::Nothing, "/assets/{set}/{file}", get(dashboard::asset))
            .page(Need::Scope(Read), "/live", get(dashboard::live::follow))
            .page(Need::Scope(Read), "/", get(dashboard::overview::show))
            .page(Need::Scope(Read), "/tasks", get(dashboard::tasks::list))
            .page(Need::Scope(Read), "/tasks/{id}", get(dashboard::task::show))
            .page(Need::Scope(Read), "/tasks/{id}/live", get(dashboard::task::follow))
            .page(Need::Scope(Read), "/tasks/{id}/json", get(dashboard::task::json))
            .page(Need::Scope(Read), "/tasks/{id}/payload", get(dashboard::task::payload))
            .page(Need::Scope(Read), "/tasks/{id}/result", get(tasks::result))
            .page(Need::Scope(Read), "/tasks/{id}/log", get(dashboard::task::log))
            .page(Need::Scope(Operate), "/tasks/{id}/cancel", get(dashboard::steer::ask_cancel))
            .form(Need::Scope(Operate), "/tasks/{id}/cancel", post(dashboard::steer::cancel))
            .page(Need::Scope(Operate), "/tasks/{id}/redrive", get(dashboard::steer::ask_redrive))
            .form(Need::Scope(Operate), "/tasks/{id}/redrive", post(dashboard::steer::redrive))
            .page(Need::Scope(Operate), "/tasks/{id}/reschedule", get(dashboard::steer::ask_reschedule))
            .form(Need::Scope(Operate), "/tasks/{id}/reschedule", post(dashboard::steer::reschedule))
            .form(Need::Scope(Operate), "/operations", post(dashboard::operations::start))
            .page(Need::Scope(Read), "/operations/{id}", get(dashboard::operations::show))
    }

    /// A page, or what one loads.
    fn page(self, need: Need, path: &str, show: MethodRouter<Arc<App>>) -> Self {
        self.for_people(Method::GET, need, path, show)
    }

    /// What a page's form is sent to.
    fn form(self, need: Need, path: &str, take: MethodRouter<Arc<App>>) -> Self {
        self.for_people(Method::POST, need, path, take)
    }

    fn for_people(mut self, method: Method, need: Need, path: &str, methods: MethodRouter<Arc<App>>) -> Self {
        self.needs.add(method, path, need);
        self.needs.pages.insert(path.to_owned());
        self.router = self.router.route(path, methods);
        self
    }
}
