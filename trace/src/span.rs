//! One span, made after the fact: what it says is known when it has ended.

use std::{borrow::Cow, time::SystemTime};

pub use opentelemetry::trace::SpanKind as Kind;
use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use sentinel_queue::TraceContext;

/// What an error's description may have: it comes from jobs.
const DESCRIPTION: usize = 1024;

/// Something that was done, and when.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its trace and itself.
    pub context: TraceContext,
    /// The span under which it stands; none: it is the first of its trace.
    pub parent: Option<[u8; 8]>,
    /// Its name: one of few.
    pub name: Cow<'static, str>,
    /// Which side of a call it is.
    pub kind: Kind,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// What it was about.
    pub attributes: Vec<KeyValue>,
    /// What went wrong, if it did.
    pub error: Option<String>,
}

impl Span {
    pub(crate) fn into_data(self, scope: &InstrumentationScope) -> SpanData {
        let Self { context, parent, name, kind, start, end, attributes, error } = self;
        SpanData {
            span_context: SpanContext::new(
                TraceId::from_bytes(context.trace()),
                SpanId::from_bytes(context.span()),
                TraceFlags::SAMPLED,
                false,
                // One that the library does not take is of no use to the collector.
                context.state().parse::<TraceState>().unwrap_or_default(),
            ),
            parent_span_id: parent.map_or(SpanId::INVALID, SpanId::from_bytes),
            parent_span_is_remote: kind == Kind::Server || kind == Kind::Consumer,
            span_kind: kind,
            name,
            start_time: start,
            // Clocks are set back at times.
            end_time: end.max(start),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: error.map_or(Status::Unset, |error| Status::error(clipped(error))),
            instrumentation_scope: scope.clone(),
        }
    }
}

fn clipped(mut text: String) -> String {
    let mut end = DESCRIPTION.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_span_ends_no_earlier_than_it_began_and_says_no_more_of_an_error_than_is_read() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let span = Span {
            context: TraceContext::new([1; 16], [2; 8], true).unwrap(),
            parent: None,
            name: "x".into(),
            kind: Kind::Internal,
            start,
            end: SystemTime::UNIX_EPOCH,
            attributes: Vec::new(),
            error: Some("é".repeat(DESCRIPTION)),
        };
        let data = span.into_data(&InstrumentationScope::default());
        assert_eq!(data.end_time, start);
        assert_eq!(data.parent_span_id, SpanId::INVALID);
        assert_eq!(data.status, Status::error("é".repeat(DESCRIPTION / 2)));
    }
}
