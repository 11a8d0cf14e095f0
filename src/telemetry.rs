//! What the servers tell of themselves: logs on stderr, as text for people or JSON for machines, and
//! spans to a collector. Control characters in any field of the log are escaped.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use anyhow::Result;
use clap::ValueEnum;
use sentinel_trace::{Collector, Traces};
use serde::Deserialize;
use serde_json::Value;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        FmtContext, FormattedFields, fmt,
        format::{Format, FormatEvent, Json, JsonFields, Writer},
    },
    registry::LookupSpan,
};

/// How long a server that ends waits for the collector to take its last spans.
pub(crate) const LAST_SPANS: Duration = Duration::from_secs(3);

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Starts logging. `RUST_LOG` chooses what is logged; the default is `info`.
pub(crate) fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => {
            let json = Format::default().json().flatten_event(true);
            log.fmt_fields(JsonFields::new())
                .event_format(WithTrace(json))
                .with_writer(|| Escaping(io::stderr()))
                .init();
        }
    }
}

/// Starts telling a collector of spans, if there is one, in the name of `service`.
pub(crate) fn traces(collector: Option<&Collector>, service: &'static str) -> Result<Traces> {
    Ok(collector.map(|collector| Traces::start(collector, service)).transpose()?.unwrap_or_default())
}

/// Lines of JSON that have the ids of their trace, if they are in one, where programs that link logs
/// to traces look for them: beside the message, as `trace_id` and `span_id`.
struct WithTrace(Format<Json>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> FormatEvent<S, JsonFields> for WithTrace {
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(ids) = ids(context) else { return self.0.format_event(context, writer, event) };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let object = line.trim_end().strip_suffix('}').ok_or(fmt::Error)?;
        writeln!(writer, "{object}{ids}}}")
    }
}

/// The ids of the innermost span that has any, as more fields of a line.
fn ids<S: Subscriber + for<'a> LookupSpan<'a>>(context: &FmtContext<'_, S, JsonFields>) -> Option<String> {
    context.event_scope()?.find_map(|span| {
        let extensions = span.extensions();
        let fields = extensions.get::<FormattedFields<JsonFields>>()?;
        let fields: Value =
            fields.fields.contains("trace_id").then(|| serde_json::from_str(&fields.fields).ok())??;
        Some(format!(",\"trace_id\":{},\"span_id\":{}", fields.get("trace_id")?, fields.get("span_id")?))
    })
}

/// Escapes what JSON may leave as it is in a text and a terminal acts on: DEL and the controls above it.
struct Escaping<W>(W);

impl<W: Write> Write for Escaping<W> {
    /// Takes whole lines, as they are logged.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let acts = |c: char| c.is_control() && c != '\n';
        if text.contains(acts) {
            let escape = |c: char| if acts(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
            self.0.write_all(text.chars().map(escape).collect::<String>().as_bytes())?;
        } else {
            self.0.write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
