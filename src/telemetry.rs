//! Logs, on stderr: text for people or JSON for machines. Control characters in any field are
//! escaped in both.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Deserialize;
use tracing_subscriber::{EnvFilter, fmt};

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
        LogFormat::Json => log.json().flatten_event(true).with_writer(|| Escaping(io::stderr())).init(),
    }
}

/// Escapes what JSON may leave as it is in a text and a terminal acts on: DEL and the controls above it.
struct Escaping<W>(W);

impl<W: Write> Write for Escaping<W> {
    /// Takes whole lines, as they are logged.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let acts = |c: char| c.is_control() && c != '\n';
        match text.contains(acts) {
            false => self.0.write_all(line)?,
            true => {
                let escaped = text.chars().fold(String::new(), |escaped, c| match acts(c) {
                    true => escaped + &format!("\\u{:04x}", u32::from(c)),
                    false => escaped + c.encode_utf8(&mut [0; 4]),
                });
                self.0.write_all(escaped.as_bytes())?;
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
