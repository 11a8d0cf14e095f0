//! A request's place in a trace: read from its headers, told of when it is answered, and handed to
//! the tasks that it submits.
//!
//! Owns which requests are spans: those that submit tasks, and those whose clients trace. Does not
//! know where spans go. Invariant: a header that is not acceptable is none, and refuses nobody.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, Method, StatusCode},
};
use sentinel_queue::{NewTask, TraceContext, queue::Accepted};
use sentinel_trace::{KeyValue, Kind, Span, Traces};

use crate::layers::RequestId;

/// What requests that submit tasks ask for: they begin a trace if their client has none.
const SUBMITS: [&str; 3] = ["/submit-task", "/v1/tasks", "/v1/tasks/batch"];

const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");

/// The place of a request in a trace, for its handler.
#[derive(Clone, Debug)]
pub(crate) struct InTrace {
    context: TraceContext,
    /// What its handler says of it; none: nobody is told.
    about: Option<Arc<Mutex<Vec<KeyValue>>>>,
}

/// A request that is told of when it is answered.
pub(crate) struct Told {
    traces: Traces,
    place: InTrace,
    parent: Option<[u8; 8]>,
    start: SystemTime,
    method: Method,
    route: String,
    path: String,
    id: String,
}

impl InTrace {
    /// The place of a request, and what is told of it. None for most: nobody traces them.
    pub(crate) fn of(
        traces: &Traces,
        request: &Request,
        route: Option<&str>,
        id: &RequestId,
    ) -> (Option<Self>, Option<Told>) {
        let parent = context_of(request.headers());
        let route = route.unwrap_or_default();
        let own = match &parent {
            Some(parent) => traces.child(parent),
            None if traces.is_on() && submits(request, route) => traces.root(),
            None => None,
        };
        let Some(context) = own else {
            // It is passed on all the same.
            return (parent.map(|context| Self { context, about: None }), None);
        };
        if !context.is_sampled() {
            return (Some(Self { context, about: None }), None);
        }
        let place = Self { context, about: Some(Arc::default()) };
        let told = Told {
            traces: traces.clone(),
            place: place.clone(),
            parent: parent.map(|parent| parent.span()),
            start: SystemTime::now(),
            method: request.method().clone(),
            route: route.to_owned(),
            path: request.uri().path().to_owned(),
            id: id.as_str().to_owned(),
        };
        (Some(place), Some(told))
    }

    /// The trace's id, and the span's.
    pub(crate) fn ids(&self) -> (String, String) {
        (self.context.trace_id(), self.context.span_id())
    }

    /// Puts tasks into the trace of the request that submits them.
    pub(crate) fn enter(place: Option<&Self>, tasks: &mut [NewTask]) {
        let Some(place) = place else { return };
        for task in tasks {
            task.spec.trace = Some(Box::new(place.context.clone()));
        }
    }

    /// Says which tasks the store has now.
    pub(crate) fn accepted(place: Option<&Self>, tasks: &[NewTask], accepted: &[Accepted]) {
        let Some(about) = place.and_then(|place| place.about.as_ref()) else { return };
        let mut about = about.lock().unwrap_or_else(PoisonError::into_inner);
        about.push(KeyValue::new("messaging.system", "sentinel"));
        about.push(KeyValue::new("messaging.operation.type", "send"));
        about.push(KeyValue::new("messaging.operation.name", "submit"));
        if let ([task], [accepted]) = (tasks, accepted) {
            about.push(KeyValue::new("messaging.destination.name", task.spec.queue.to_string()));
            about.push(KeyValue::new("messaging.message.id", accepted.id.to_string()));
            about.push(KeyValue::new("sentinel.namespace", task.spec.namespace.to_string()));
            about.push(KeyValue::new("sentinel.job", task.spec.job.to_string()));
            about.push(KeyValue::new("sentinel.deduplicated", accepted.deduplicated));
        } else {
            let count = i64::try_from(tasks.len()).unwrap_or(i64::MAX);
            about.push(KeyValue::new("messaging.batch.message_count", count));
        }
    }
}

impl Told {
    /// Tells of the request.
    pub(crate) fn answered(self, status: StatusCode) {
        let about = self
            .place
            .about
            .as_deref()
            .map(|about| std::mem::take(&mut *about.lock().unwrap_or_else(PoisonError::into_inner)));
        let mut attributes = about.unwrap_or_default();
        attributes.push(KeyValue::new("http.request.method", self.method.to_string()));
        attributes.push(KeyValue::new("http.route", self.route.clone()));
        attributes.push(KeyValue::new("url.path", self.path));
        attributes.push(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        attributes.push(KeyValue::new("sentinel.request_id", self.id));
        let is_error = status.is_server_error();
        if is_error {
            attributes.push(KeyValue::new("error.type", status.as_str().to_owned()));
        }
        self.traces.tell(Span {
            context: self.place.context,
            parent: self.parent,
            name: Cow::Owned(format!("{} {}", self.method, self.route).trim_end().to_owned()),
            kind: Kind::Server,
            start: self.start,
            end: SystemTime::now(),
            attributes,
            error: is_error.then(|| status.to_string()),
        });
    }
}

fn submits(request: &Request, route: &str) -> bool {
    request.method() == Method::POST && SUBMITS.contains(&route)
}

/// What the headers `traceparent` and `tracestate` say. Two parents are none.
fn context_of(headers: &HeaderMap) -> Option<TraceContext> {
    let mut parents = headers.get_all(TRACE_PARENT).iter();
    let parent = parents.next()?.to_str().ok()?;
    if parents.next().is_some() {
        return None;
    }
    let state: Vec<_> = headers.get_all(TRACE_STATE).iter().filter_map(|state| state.to_str().ok()).collect();
    TraceContext::read(parent.trim(), Some(&state.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(headers: &[(&'static str, &'static str)]) -> Option<(String, String)> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        context_of(&map).map(|context| (context.to_string(), context.state().to_owned()))
    }

    #[test]
    fn one_parent_is_a_context_and_its_states_are_one() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[("tracestate", "a=1")]), None);
        assert_eq!(read(&[("traceparent", PARENT)]), Some((PARENT.into(), String::new())));
        let headers = [("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")];
        assert_eq!(read(&headers), Some((PARENT.into(), "a=1,b=2".into())));
        assert_eq!(read(&[("traceparent", PARENT), ("traceparent", PARENT)]), None);
        assert_eq!(read(&[("traceparent", "nonsense")]), None);
    }

    #[test]
    fn who_does_not_trace_passes_on_what_came_and_begins_nothing() {
        let of = |headers: &[(&str, &str)]| {
            let mut request = Request::post("/submit-task");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(axum::body::Body::empty()).unwrap();
            InTrace::of(&Traces::default(), &request, Some("/submit-task"), &RequestId::new())
        };
        let (place, told) = of(&[]);
        assert!(place.is_none() && told.is_none());
        let (place, told) = of(&[("traceparent", PARENT)]);
        assert_eq!(place.unwrap().context.to_string(), PARENT);
        assert!(told.is_none());
    }
}
