//! What goes on on one connection, and when it has to end for what its client leaves undone.
//!
//! It is told by the service when a request begins, by the answer's body when it is asked for more and
//! when it is gone, and by the stream of bytes that pass; it knows neither HTTP nor sockets.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use tokio::{
    io::{self, AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::limits::Limits;
use crate::metrics::Ending;

/// One connection's.
pub(super) struct Activity {
    limits: Limits,
    state: Mutex<State>,
}

struct State {
    /// When the last request was over, or the connection began.
    quiet_since: Instant,
    has_asked: bool,
    in_flight: usize,
    /// When the first byte of the next request's headers came, where requests come one by one.
    heading_since: Option<Instant>,
    comes_one_by_one: bool,
    /// When each answer's body was asked for more.
    asked: BTreeMap<u64, Instant>,
    answers: u64,
    written: u64,
    /// When it was looked how much had been written, and how much it was.
    mark: (Instant, u64),
    is_leaving: bool,
}

/// What has to be done about a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Look again then.
    Later(Instant),
    /// Take no more requests.
    Leave(Ending),
    /// End it.
    End(Option<Ending>),
}

impl Activity {
    pub(super) fn new(limits: Limits) -> Self {
        let now = Instant::now();
        let state = State {
            quiet_since: now,
            has_asked: false,
            in_flight: 0,
            heading_since: None,
            comes_one_by_one: false,
            asked: BTreeMap::new(),
            answers: 0,
            written: 0,
            mark: (now, 0),
            is_leaving: false,
        };
        Self { limits, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins; it is over when this is dropped.
    pub(super) fn begin(self: &Arc<Self>, comes_one_by_one: bool) -> InFlight {
        let mut state = self.state();
        if state.in_flight == 0 {
            state.mark = (Instant::now(), state.written);
        }
        state.in_flight += 1;
        state.has_asked = true;
        state.heading_since = None;
        state.comes_one_by_one = comes_one_by_one;
        state.answers += 1;
        InFlight { activity: Arc::clone(self), number: state.answers }
    }

    /// When the headers that have begun must be there; earlier than was known before.
    pub(super) fn headers_due(&self) -> Option<Instant> {
        self.state().heading_since.map(|since| since + self.limits.headers)
    }

    /// The server lets go of it: nothing that is asked from now on keeps it.
    pub(super) fn leave(&self) {
        let mut state = self.state();
        state.is_leaving = true;
        state.mark = (Instant::now(), state.written);
    }

    /// What has to be done now.
    pub(super) fn look(&self) -> Due {
        let (now, limits) = (Instant::now(), &self.limits);
        let mut state = self.state();
        if state.in_flight > 0 {
            return state.look_at_answers(now, limits);
        }
        if state.is_leaving {
            // What was answered may still be on its way.
            let due = state.mark.0 + limits.leave;
            return match now < due {
                true => Due::Later(due),
                false if state.takes(now, limits.least_rate) => Due::Later(now + limits.leave),
                false => Due::End(None),
            };
        }
        let idle = state.quiet_since + limits.idle;
        let (due, ending) = match (state.has_asked, state.heading_since) {
            (false, _) => (state.quiet_since + limits.first_request, Ending::Silent),
            (true, Some(since)) => (since + limits.headers, Ending::SlowHeaders),
            (true, None) => (idle, Ending::Idle),
        };
        match ending {
            _ if now < due => Due::Later(due),
            Ending::SlowHeaders => Due::End(Some(ending)),
            _ => Due::Leave(ending),
        }
    }
}

impl State {
    fn look_at_answers(&mut self, now: Instant, limits: &Limits) -> Due {
        let due = self.mark.0 + limits.stalled;
        if now < due {
            return Due::Later(due);
        }
        let waits = self.asked.values().any(|&asked| asked + limits.stalled <= now);
        if self.takes(now, limits.least_rate) || !waits {
            Due::Later(now + limits.stalled)
        } else {
            Due::End(Some(Ending::Stalled))
        }
    }

    /// Whether the client took so much a second since the last mark; sets the next.
    fn takes(&mut self, now: Instant, least_rate: u64) -> bool {
        let (since, before) = std::mem::replace(&mut self.mark, (now, self.written));
        let taken = u128::from(self.written - before) * 1000;
        taken >= (now - since).as_millis() * u128::from(least_rate)
    }
}

/// One request, until its answer is handed over.
pub(super) struct InFlight {
    activity: Arc<Activity>,
    number: u64,
}

impl InFlight {
    /// The answer's body is asked for more.
    pub(super) fn asked(&self) {
        self.activity.state().asked.insert(self.number, Instant::now());
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.asked.remove(&self.number);
        state.in_flight -= 1;
        state.quiet_since = Instant::now();
        if state.is_leaving {
            state.mark = (state.quiet_since, state.written);
        }
    }
}

/// A stream whose bytes are seen as they pass.
pub(super) struct Seen<I> {
    stream: I,
    activity: Arc<Activity>,
}

impl<I> Seen<I> {
    pub(super) fn new(stream: I, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }

    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.activity.state().written += *bytes as u64;
        }
        written
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Seen<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            let mut state = self.activity.state();
            if state.comes_one_by_one && state.in_flight == 0 {
                state.heading_since.get_or_insert_with(Instant::now);
            }
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Seen<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[std::io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
