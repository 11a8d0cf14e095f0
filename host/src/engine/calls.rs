//! What an attempt asked of its host, and when: told with the report, to whoever wanted to know.
//!
//! Owns the list and its bounds, and the header by which a request's receiver knows the trace that
//! it is part of ([W3C Trace Context](https://www.w3.org/TR/trace-context/)). Does not know who
//! looks at either. Invariant: the list has nothing of a payload, a key or a secret in it, and no
//! more room than a bound; an attempt of which nobody wants to know pays nothing.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// How many calls are told of, besides reports of progress.
const CALLS: usize = 128;

/// How many reports of progress are.
const REPORTS: usize = 16;

/// Far from each other, and never the same within a trace: the spans of an attempt's calls are
/// counted from its own in such steps.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where an attempt stands in a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The trace.
    pub trace: [u8; 16],
    /// The attempt's span in it.
    pub span: [u8; 8],
    /// The flags that go with them.
    pub flags: u8,
    /// What is told to receivers of requests besides, as `tracestate`.
    pub state: String,
    /// Whether the attempt and its calls are told of.
    pub is_told: bool,
}

impl Place {
    /// The header `traceparent` of a request that is sent under this span.
    fn header(&self, span: [u8; 8]) -> String {
        format!("00-{}-{}-{:02x}", hex::encode(self.trace), hex::encode(span), self.flags)
    }

    fn span_of(&self, number: usize) -> [u8; 8] {
        let step = STEP.wrapping_mul(number as u64 + 1);
        u64::from_be_bytes(self.span).wrapping_add(step).max(1).to_be_bytes()
    }
}

/// Something that an attempt asked of its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCall {
    /// What.
    pub kind: CallKind,
    /// Its span.
    pub span: [u8; 8],
    /// When, from the attempt's start.
    pub at: Duration,
    /// How long it took; none: the attempt ended before it did.
    pub took: Option<Duration>,
    /// What went wrong, in a word of the host's.
    pub error: Option<String>,
}

/// What an attempt may ask of its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallKind {
    /// An HTTP request, up to the head of its response.
    Http {
        /// Its method.
        method: String,
        /// The host that it went to.
        host: String,
        /// The port.
        port: u16,
        /// What it was answered.
        status: Option<u16>,
    },
    /// A value of the job's state was read.
    StateGet,
    /// A task was handed over to be submitted.
    OutboxSubmit,
    /// A checkpoint was saved.
    CheckpointSave,
    /// The last checkpoint was loaded.
    CheckpointLoad,
    /// The tasks that it had waited for were looked up.
    ParentsAll,
    /// The result of one was.
    ParentsResult,
    /// Progress was reported.
    Progress,
}

/// All that an attempt asked of its host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCalls {
    /// The first of them, in the order in which they began.
    pub calls: Vec<HostCall>,
    /// How many more there were.
    pub dropped: u64,
}

/// The calls of a running attempt, if anybody wants to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls(Option<Arc<Recorder>>);

#[derive(Debug)]
struct Recorder {
    place: Place,
    started: Instant,
    told: Mutex<HostCalls>,
}

/// A call that has begun; nothing is behind it if nobody wants to know, or if it is one too many.
#[must_use]
#[derive(Debug)]
pub(crate) struct Begun(Option<(Arc<Recorder>, usize)>);

impl Calls {
    /// Those of an attempt that starts now.
    pub(crate) fn new(place: Option<Place>) -> Self {
        let recorder = |place| Arc::new(Recorder { place, started: Instant::now(), told: Mutex::default() });
        Self(place.map(recorder))
    }

    /// Notes that a call begins.
    pub(crate) fn begin(&self, kind: impl FnOnce() -> CallKind) -> Begun {
        let recorder = self.0.as_ref().filter(|recorder| recorder.place.is_told);
        Begun(recorder.and_then(|recorder| Some((Arc::clone(recorder), recorder.push(kind())?))))
    }

    /// The headers `traceparent` and `tracestate` of a request that is this call; none without a
    /// trace.
    pub(crate) fn headers(&self, call: &Begun) -> Option<(String, &str)> {
        let place = &self.0.as_ref()?.place;
        let span = call.0.as_ref().map_or(place.span, |(_, index)| place.span_of(*index));
        Some((place.header(span), &place.state))
    }

    /// All of them, if anybody wants to know and there are any.
    pub(crate) fn take(&self) -> Option<Box<HostCalls>> {
        let told = std::mem::take(&mut *self.0.as_ref()?.lock());
        (told != HostCalls::default()).then(|| Box::new(told))
    }
}

impl Recorder {
    fn push(&self, kind: CallKind) -> Option<usize> {
        let mut told = self.lock();
        let of_its_kind =
            |call: &&HostCall| (call.kind == CallKind::Progress) == (kind == CallKind::Progress);
        let most = if kind == CallKind::Progress { REPORTS } else { CALLS };
        let has_room = told.calls.len() < most || told.calls.iter().filter(of_its_kind).count() < most;
        if !has_room {
            told.dropped += 1;
            return None;
        }
        let index = told.calls.len();
        let (span, at) = (self.place.span_of(index), self.started.elapsed());
        told.calls.push(HostCall { kind, span, at, took: None, error: None });
        Some(index)
    }

    fn lock(&self) -> MutexGuard<'_, HostCalls> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Begun {
    /// Notes that a request was answered.
    pub(crate) fn answered(self, answer: u16) {
        self.note(|call| {
            if let CallKind::Http { status, .. } = &mut call.kind {
                *status = Some(answer);
            }
        });
    }

    /// Notes that it failed, so.
    pub(crate) fn failed(self, error: &'static str) {
        self.note(|call| call.error = Some(error.to_owned()));
    }

    /// Notes that it ended well.
    pub(crate) fn done(self) {
        self.note(|_| ());
    }

    fn note(self, change: impl FnOnce(&mut HostCall)) {
        let Some((recorder, index)) = self.0 else { return };
        let took = recorder.started.elapsed();
        // The attempt may have ended before.
        if let Some(call) = recorder.lock().calls.get_mut(index) {
            call.took = Some(took.saturating_sub(call.at));
            change(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(is_told: bool) -> Calls {
        let flags = u8::from(is_told);
        Calls::new(Some(Place { trace: [1; 16], span: [0xff; 8], flags, state: "a=1".into(), is_told }))
    }

    #[test]
    fn an_attempt_of_which_nobody_wants_to_know_notes_nothing_and_passes_its_trace_on() {
        let none = Calls::default();
        assert!(none.headers(&none.begin(|| unreachable!())).is_none());
        let calls = calls(false);
        let call = calls.begin(|| unreachable!());
        assert_eq!(calls.take(), None);
        let (parent, state) = calls.headers(&call).unwrap();
        assert_eq!(parent, "00-01010101010101010101010101010101-ffffffffffffffff-00");
        assert_eq!(state, "a=1");
    }

    #[test]
    fn a_request_says_its_own_span() {
        let calls = calls(true);
        let call = calls.begin(|| CallKind::StateGet);
        let (parent, _) = calls.headers(&call).unwrap();
        let told = calls.take().unwrap();
        assert_eq!(parent, format!("00-{}-{}-01", "01".repeat(16), hex::encode(told.calls[0].span)));
        assert_ne!(told.calls[0].span, [0xff; 8]);
    }

    #[test]
    fn what_has_not_ended_is_told_of_as_such() {
        let calls = calls(true);
        let kept = calls.begin(|| CallKind::StateGet);
        calls.begin(|| CallKind::CheckpointSave).failed("x");
        let told = calls.take().unwrap().calls;
        assert_eq!(told[0].took, None);
        assert!(told[1].took.is_some());
        assert_eq!(told[1].error.as_deref(), Some("x"));
        // Too late, and to nobody.
        kept.done();
    }

    #[test]
    fn many_reports_of_progress_leave_room_for_other_calls_and_all_are_bounded() {
        let calls = calls(true);
        for _ in 0..1000 {
            calls.begin(|| CallKind::Progress).done();
        }
        for _ in 0..1000 {
            calls.begin(|| CallKind::StateGet).done();
        }
        let told = calls.take().unwrap();
        assert_eq!(told.calls.len(), CALLS + REPORTS);
        assert_eq!(told.dropped, 2000 - (CALLS + REPORTS) as u64);
    }
}
