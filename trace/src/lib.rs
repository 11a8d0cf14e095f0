//! Spans: what happened to a task, and when, told to a collector over OTLP.
//!
//! Owns the way of a span from whoever made it to the collector, and the decision whether there is
//! one. Does not know what the spans are about. Invariant: whoever tells of a span never waits for
//! the collector; what it does not take is dropped and counted.

#![forbid(unsafe_code)]

mod collector;
mod export;
mod gate;
mod sampling;
mod span;

use std::{sync::Arc, time::Duration};

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use sentinel_queue::{TaskId, TraceContext};

pub use self::{
    collector::{Collector, Wrong},
    span::{Kind, Span},
};
use self::{gate::Gate, sampling::Sampling};
pub use opentelemetry::{KeyValue, Value};

/// Where spans are told. Off unless it was started; cheap to clone, and clones are one.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    sampling: Sampling,
    scope: InstrumentationScope,
    gate: Gate,
}

impl Traces {
    /// Tells this collector from now on, in the name of `service` unless the environment says
    /// another (`OTEL_SERVICE_NAME`).
    pub fn start(collector: &Collector, service: &'static str) -> Result<Self, Wrong> {
        let gate = Gate::open(collector, service)?;
        tracing::info!(collector = collector.place(), "spans are told to a collector");
        let scope = InstrumentationScope::builder("sentinel").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Self(Some(Arc::new(Inner { sampling: collector.sampling.clone(), scope, gate }))))
    }

    /// Whether anybody is told.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A new span of a trace that others began. None if nobody is told of anything; one that is not
    /// sampled is passed on, and not told of.
    pub fn child(&self, parent: &TraceContext) -> Option<TraceContext> {
        let inner = self.0.as_ref()?;
        Some(parent.under(Self::new_span(), inner.sampling.of(parent)))
    }

    /// The first span of a new trace.
    pub fn root(&self) -> Option<TraceContext> {
        let inner = self.0.as_ref()?;
        let trace = RandomIdGenerator::default().new_trace_id().to_bytes();
        TraceContext::new(trace, Self::new_span(), inner.sampling.of_root(trace))
    }

    /// A new span of a task that came without a trace: each of its attempts is in the same.
    pub fn of_task(&self, id: TaskId) -> Option<TraceContext> {
        let inner = self.0.as_ref()?;
        let context = TraceContext::of_task(id);
        Some(context.under(Self::new_span(), inner.sampling.of_root(context.trace())))
    }

    /// The id of a new span.
    pub fn new_span() -> [u8; 8] {
        RandomIdGenerator::default().new_span_id().to_bytes()
    }

    /// Tells of a span that has ended, if it is sampled.
    pub fn tell(&self, span: Span) {
        if let Some(inner) = &self.0
            && span.context.is_sampled()
        {
            inner.gate.pass(span.into_data(&inner.scope));
        }
    }

    /// Tells what has not been told yet, for so long at most; nothing after that.
    pub fn close(&self, patience: Duration) {
        if let Some(inner) = &self.0 {
            inner.gate.close(patience);
        }
    }
}
