//! What surrounds every page: where one is, in whose tasks, as whom, and the links from there.

use std::{convert::Infallible, fmt, sync::Arc};

use axum::{
    extract::{FromRequestParts, Query},
    http::{HeaderMap, Uri, header, request::Parts},
};
use sentinel_queue::{JobName, Namespace, QueueName, Scope, TaskId};
use serde::Deserialize;

use super::words;
use crate::auth::Caller;

/// By which a browser remembers the theme.
pub(super) const THEME_COOKIE: &str = "sentinel_theme";

/// The parts of the dashboard, in the order of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Overview,
    Tasks,
}

impl Section {
    pub(crate) const ALL: [Self; 2] = [Self::Overview, Self::Tasks];

    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Tasks => "Tasks",
        }
    }

    /// Where it begins.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Overview => "/",
            Self::Tasks => "/tasks",
        }
    }

    /// Whether a page is in this part.
    pub(crate) fn is_of(self, frame: &Frame) -> bool {
        frame.section == Some(self)
    }

    /// The part that a path is in.
    fn of(path: &str) -> Option<Self> {
        let within = |section: &Self| match section {
            Self::Overview => path == "/",
            Self::Tasks => {
                path.strip_prefix(section.path()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        };
        Self::ALL.into_iter().find(within)
    }
}

/// How a page is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Theme {
    /// As the system says.
    #[default]
    System,
    Light,
    Dark,
}

impl Theme {
    pub(crate) const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    /// The word for it, in pages and in the cookie.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    pub(crate) fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.as_str() == word)
    }

    /// What a browser remembers.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
        let mut pairs =
            cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let theme = pairs.find(|(name, _)| *name == THEME_COOKIE).and_then(|(_, word)| Self::named(word));
        theme.unwrap_or_default()
    }
}

/// What a page may say was done: the word in its address, and the text. Nobody else's words get onto a
/// page by a link to it.
const NOTICES: &[(&str, &str)] = &[
    ("cancelled", "The task was cancelled."),
    ("redriven", "The task is QUEUED again, with fresh budgets."),
    ("rescheduled", "The task was rescheduled."),
    ("submitted", "The task was accepted."),
    ("paused", "Paused: nothing is handed out until it is resumed."),
    ("resumed", "Resumed."),
    ("saved", "The settings were saved."),
    ("deleted", "Deleted."),
];

/// What stands behind a page's `?` for the frame.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    done: String,
}

/// What surrounds a page.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Who looks at it. Nobody is known when the page says why something could not be shown.
    caller: Option<Arc<Caller>>,
    section: Option<Section>,
    theme: Theme,
    /// The page's own address.
    here: String,
}

impl Frame {
    pub(super) fn new(caller: Option<Arc<Caller>>, uri: &Uri, headers: &HeaderMap) -> Self {
        let here = uri.path_and_query().map_or("/", |here| here.as_str()).to_owned();
        Self { caller, section: Section::of(uri.path()), theme: Theme::of(headers), here }
    }

    pub(crate) fn theme(&self) -> &'static str {
        self.theme.as_str()
    }

    pub(crate) fn here(&self) -> &str {
        &self.here
    }

    /// What was just done, if the page is shown because of that.
    pub(crate) fn notice(&self) -> Option<&'static str> {
        let uri: Uri = self.here.parse().ok()?;
        let Query(asked) = Query::<Asked>::try_from_uri(&uri).ok()?;
        NOTICES.iter().find(|(word, _)| *word == asked.done).map(|(_, text)| *text)
    }

    /// Whether it is known who looks at the page.
    pub(crate) fn is_known(&self) -> bool {
        self.caller.is_some()
    }

    /// Whether who looks at it has shown a key.
    pub(crate) fn has_key(&self) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.key.is_some())
    }

    /// What people call who looks at it.
    pub(crate) fn who(&self) -> &str {
        self.caller.as_ref().map_or("nobody", |caller| caller.name())
    }

    /// Whose tasks the page shows.
    pub(crate) fn namespace(&self) -> Namespace {
        self.caller.as_ref().map(|caller| caller.namespace.clone()).unwrap_or_default()
    }

    /// Whether one may look at the tasks of others, too.
    pub(crate) fn may_switch(&self) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.grant().namespace.is_none())
    }

    /// Whether one may change what there is: a page that offers no more says no less.
    pub(crate) fn may_operate(&self) -> bool {
        self.allows(Scope::Operate)
    }

    fn allows(&self, scope: Scope) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.grant().allows(scope))
    }

    /// A link to a page of the same namespace.
    pub(crate) fn link(&self, path: &str) -> Link {
        let link = Link { text: path.to_owned(), has_query: path.contains('?') };
        let namespace = self.namespace();
        if self.may_switch() && namespace != Namespace::default() {
            return link.with("namespace", namespace);
        }
        link
    }

    /// The page of a task.
    pub(crate) fn task(&self, id: &TaskId) -> Link {
        self.link(&format!("/tasks/{id}"))
    }

    /// The tasks of a queue.
    pub(crate) fn queue(&self, name: &QueueName) -> Link {
        self.link("/tasks").with("queue", name)
    }

    /// The tasks of a job.
    pub(crate) fn job(&self, name: &JobName) -> Link {
        self.link("/tasks").with("job", name)
    }

    /// Whether what a page opens says which namespace it is about: forms that are sent by GET lose what
    /// stands behind the `?`.
    pub(crate) fn named_namespace(&self) -> Option<Namespace> {
        let namespace = self.namespace();
        (self.may_switch() && namespace != Namespace::default()).then_some(namespace)
    }
}

/// An address with what stands behind its `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    text: String,
    has_query: bool,
}

impl Link {
    /// The same with one more parameter.
    pub(crate) fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        self.text.push_str(name);
        self.text.push('=');
        self.text.push_str(&words::encoded(&value.to_string()));
        self
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Frame {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let caller = parts.extensions.get::<Arc<Caller>>().cloned();
        Ok(Self::new(caller, &parts.uri, &parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(caller: Caller) -> Frame {
        Frame::new(Some(Arc::new(caller)), &"/tasks?x=y".parse().unwrap(), &HeaderMap::new())
    }

    #[test]
    fn links_stay_in_the_namespace_that_was_chosen() {
        let of = |namespace: &str| frame(Caller { key: None, namespace: namespace.parse().unwrap() });
        assert_eq!(of("default").link("/tasks").as_str(), "/tasks");
        let link = of("team-a").link("/tasks").with("tag", "a=b&c d");
        assert_eq!(link.as_str(), "/tasks?namespace=team-a&tag=a%3Db%26c%20d");
        assert_eq!(
            of("team-a").link("/tasks?status=FAILED").as_str(),
            "/tasks?status=FAILED&namespace=team-a"
        );
    }

    #[test]
    fn a_page_knows_its_part() {
        for (path, section) in [
            ("/", Some(Section::Overview)),
            ("/tasks", Some(Section::Tasks)),
            ("/tasks/x/cancel", Some(Section::Tasks)),
            ("/tasksx", None),
            ("/login", None),
        ] {
            assert_eq!(Section::of(path), section, "{path}");
        }
    }

    #[test]
    fn a_theme_is_remembered_and_anything_else_is_the_systems() {
        let of = |cookie: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, cookie.parse().unwrap());
            Theme::of(&headers)
        };
        assert_eq!(of("a=b; sentinel_theme=dark"), Theme::Dark);
        assert_eq!(of("sentinel_theme=<script>"), Theme::System);
        assert_eq!(Theme::of(&HeaderMap::new()), Theme::System);
    }
}
