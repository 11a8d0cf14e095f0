//! What a guest writes to stdout and stderr.
//!
//! Owns the one bounded log of an attempt and the end of its stderr. Does not interpret it.
//! Invariant: writing never fails and never waits; what does not fit is dropped and counted.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use super::secret::{Cut, Secrets};

/// How much of the end of stderr is kept for a failure's message.
const TAIL_BYTES: usize = 2048;

/// What the guest may write at once. It also bounds what `write-zeroes` makes the host allocate.
const PERMIT: usize = 64 << 10;

/// The log of an attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The beginning of what was written, stdout and stderr interleaved as they came. Bytes that
    /// are not UTF-8 are replaced.
    pub text: String,
    /// How many bytes came after it and were dropped.
    pub dropped_bytes: u64,
}

/// The writing end, shared by both streams and the attempt.
#[derive(Clone, Debug)]
pub(crate) struct LogSink(Arc<Mutex<Written>>);

#[derive(Debug)]
struct Written {
    limit: usize,
    kept: Vec<u8>,
    dropped: u64,
    stderr_tail: Vec<u8>,
}

/// Which of the two streams.
#[derive(Clone, Copy, Debug)]
enum Source {
    Stdout,
    Stderr,
}

/// One of the guest's streams.
#[derive(Clone, Debug)]
pub(crate) struct LogStream {
    sink: LogSink,
    source: Source,
}

impl LogSink {
    pub(crate) fn new(limit: usize) -> Self {
        let (kept, stderr_tail) = (Vec::new(), Vec::new());
        Self(Arc::new(Mutex::new(Written { limit, kept, dropped: 0, stderr_tail })))
    }

    pub(crate) fn stdout(&self) -> LogStream {
        LogStream { sink: self.clone(), source: Source::Stdout }
    }

    pub(crate) fn stderr(&self) -> LogStream {
        LogStream { sink: self.clone(), source: Source::Stderr }
    }

    /// How many bytes the guest has written.
    pub(crate) fn written_bytes(&self) -> u64 {
        let written = self.lock();
        written.dropped.saturating_add(written.kept.len() as u64)
    }

    /// The last of stderr, without a cut line at its start and without secrets, trimmed.
    pub(crate) fn stderr_tail(&self, secrets: &Secrets) -> String {
        let tail = String::from_utf8_lossy(&self.lock().stderr_tail).into_owned();
        // Before it is cut again, and a secret with it.
        let tail = secrets.redacted(tail, Cut::Start);
        let start = tail.ceil_char_boundary(tail.len().saturating_sub(TAIL_BYTES));
        let tail = if start == 0 {
            tail.as_str()
        } else {
            let tail = &tail[start..];
            tail.split_once('\n').map_or(tail, |(_, whole_lines)| whole_lines)
        };
        tail.trim().to_owned()
    }

    /// Takes what was kept out of the sink, without secrets.
    pub(crate) fn take(&self, secrets: &Secrets) -> Log {
        let mut written = self.lock();
        let kept = std::mem::take(&mut written.kept);
        let text = String::from_utf8(kept)
            .unwrap_or_else(|invalid| String::from_utf8_lossy(invalid.as_bytes()).into_owned());
        let cut = if written.dropped == 0 { Cut::Nowhere } else { Cut::End };
        let mut text = secrets.redacted(text, cut);
        // What replaces a byte or a secret may be longer than it.
        let end = text.floor_char_boundary(written.limit);
        let dropped_bytes = written.dropped.saturating_add((text.len() - end) as u64);
        text.truncate(end);
        Log { text, dropped_bytes }
    }

    /// Takes what was kept as it is; none if something was dropped.
    pub(crate) fn take_whole(&self) -> Option<Vec<u8>> {
        let mut written = self.lock();
        (written.dropped == 0).then(|| std::mem::take(&mut written.kept))
    }

    fn write(&self, source: Source, bytes: &[u8]) {
        let mut written = self.lock();
        let room = written.limit.saturating_sub(written.kept.len());
        let (fits, rest) = bytes.split_at(bytes.len().min(room));
        written.kept.extend_from_slice(fits);
        written.dropped = written.dropped.saturating_add(rest.len() as u64);
        if matches!(source, Source::Stderr) {
            written.remember_tail(bytes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    fn remember_tail(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        // Twice the tail before it is cut, so that small writes do not move it each time.
        if self.stderr_tail.len() + bytes.len() > 2 * TAIL_BYTES {
            let cut = self.stderr_tail.len().saturating_sub(TAIL_BYTES);
            self.stderr_tail.drain(..cut);
        }
        self.stderr_tail.extend_from_slice(bytes);
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.sink.write(self.source, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

impl AsyncWrite for LogStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.sink.write(self.source, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let sink = LogSink::new(5);
        sink.write(Source::Stdout, b"abc");
        sink.write(Source::Stderr, b"defg");
        assert_eq!(sink.written_bytes(), 7);
        assert_eq!(sink.take(&Secrets::default()), Log { text: "abcde".into(), dropped_bytes: 2 });
    }

    #[test]
    fn the_end_of_stderr_outlives_a_full_log() {
        let sink = LogSink::new(10);
        for line in 0..1000 {
            sink.write(Source::Stderr, format!("line {line}\n").as_bytes());
        }
        sink.write(Source::Stdout, b"not this");
        sink.write(Source::Stderr, b"the end\n");
        let tail = sink.stderr_tail(&Secrets::default());
        assert!(tail.ends_with("line 999\nthe end"), "{tail}");
        assert!(tail.len() <= TAIL_BYTES && tail.starts_with("line "), "{tail}");
    }

    #[test]
    fn what_is_not_utf8_is_replaced_within_the_limit() {
        let sink = LogSink::new(5);
        sink.write(Source::Stdout, b"a\xffb\xff");
        assert_eq!(sink.take(&Secrets::default()), Log { text: "a\u{fffd}b".into(), dropped_bytes: 3 });
    }
}
