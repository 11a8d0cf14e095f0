//! Between whoever tells of a span and the thread that sends it.
//!
//! Owns the bound on what waits, and the count of what was dropped. Invariant: nobody waits here;
//! a collector that is away costs a line in the log now and then, and the spans.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter as Exporter, SpanProcessor},
};

use crate::{
    collector::{Collector, Wrong},
    export::exporter,
};

/// How often it is said that spans are dropped, while they are.
const SAID_EVERY: Duration = Duration::from_mins(1);

/// Lets spans through to the thread that sends them.
#[derive(Debug)]
pub(crate) struct Gate {
    processor: BatchSpanProcessor,
    account: Arc<Account>,
    room: usize,
}

impl Gate {
    /// Starts the thread.
    pub(crate) fn open(collector: &Collector, service: &'static str) -> Result<Self, Wrong> {
        let account = Arc::<Account>::default();
        let exporter = Counted { exporter: exporter(collector)?, account: Arc::clone(&account) };
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(collector.queue)
            .with_scheduled_delay(collector.delay)
            .build();
        let mut processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        processor.set_resource(&resource(service));
        Ok(Self { processor, account, room: collector.queue })
    }

    /// Lets a span through, or drops it if too many wait.
    pub(crate) fn pass(&self, span: SpanData) {
        if self.account.waiting.fetch_add(1, Ordering::Relaxed) < self.room {
            self.processor.on_end(span);
        } else {
            self.account.waiting.fetch_sub(1, Ordering::Relaxed);
            self.account.lose(1, "too many spans wait for it");
        }
    }

    /// Sends what waits, for so long at most.
    pub(crate) fn close(&self, patience: Duration) {
        let outcome = self.processor.shutdown_with_timeout(patience);
        let left = if outcome.is_err() { self.account.waiting.load(Ordering::Relaxed) as u64 } else { 0 };
        let lost = self.account.lost.load(Ordering::Relaxed) + left;
        if lost > 0 {
            tracing::warn!(lost, "spans did not reach the collector");
        }
    }
}

/// Who speaks: what the environment says (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`), and
/// what it leaves out.
fn resource(service: &'static str) -> Resource {
    let said = Resource::builder().build();
    let has = |key: &'static str| said.get(&Key::from_static_str(key)).is_some();
    let is_named = said
        .get(&Key::from_static_str("service.name"))
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let mut resource = Resource::builder();
    if !is_named {
        resource = resource.with_service_name(service);
    }
    if !has("service.version") {
        resource = resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    }
    resource.with_attribute(KeyValue::new("process.pid", i64::from(std::process::id()))).build()
}

/// What waits, and what was lost.
#[derive(Debug, Default)]
struct Account {
    waiting: AtomicUsize,
    lost: AtomicU64,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    /// When it was last said that spans are dropped; none: they arrive.
    away_at: Option<Instant>,
    /// How many had been lost when they last arrived.
    before: u64,
}

impl Account {
    fn lose(&self, spans: u64, reason: &str) {
        let lost = self.lost.fetch_add(spans, Ordering::Relaxed) + spans;
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.away_at.is_none_or(|at| at.elapsed() >= SAID_EVERY) {
            said.away_at = Some(Instant::now());
            tracing::warn!(lost, reason, "the collector does not take spans: they are dropped");
        }
    }

    fn arrive(&self) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.away_at.take().is_some() {
            let lost = self.lost.load(Ordering::Relaxed);
            tracing::info!(lost = lost - said.before, "the collector takes spans again");
            said.before = lost;
        }
    }
}

/// Counts what is sent, and says of what could not be only now and then.
#[derive(Debug)]
struct Counted {
    exporter: SpanExporter,
    account: Arc<Account>,
}

impl Exporter for Counted {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        let count = spans.len();
        let sent = self.exporter.export(spans).await;
        self.account.waiting.fetch_sub(count, Ordering::Relaxed);
        match sent {
            Ok(()) => self.account.arrive(),
            Err(error) => self.account.lose(count as u64, &error.to_string()),
        }
        Ok(())
    }

    fn shutdown_with_timeout(&self, patience: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(patience)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
