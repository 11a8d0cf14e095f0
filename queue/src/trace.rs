//! Where a task stands in somebody's trace, as [W3C Trace Context] writes it.
//!
//! Owns the context: how it is read from headers, kept with a task and passed on. Does not know
//! who tells whom of a trace. Invariant: what does not read as a context is none; nobody is refused
//! anything for it.
//!
//! [W3C Trace Context]: https://www.w3.org/TR/trace-context/

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::names::TaskId;

/// What is kept of `tracestate`.
pub const MAX_STATE: usize = 512;

/// How many members a `tracestate` may have.
const MAX_MEMBERS: usize = 32;

/// The flags that are passed on: `sampled`, and that the trace's id is random.
const SAMPLED: u8 = 1;
const KNOWN: u8 = 0b11;

/// A trace, and the span in it under which what comes next stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
    state: String,
}

impl TraceContext {
    /// Of these ids. None if one of them is all zeros, which means that there is none.
    pub fn new(trace: [u8; 16], span: [u8; 8], is_sampled: bool) -> Option<Self> {
        let flags = if is_sampled { SAMPLED } else { 0 };
        let is_valid = trace != [0; 16] && span != [0; 8];
        is_valid.then(|| Self { trace, span, flags, state: String::new() })
    }

    /// Reads the headers `traceparent` and `tracestate`. A state that is not acceptable is left out;
    /// without a parent there is no context.
    pub fn read(parent: &str, state: Option<&str>) -> Option<Self> {
        let bytes = parent.as_bytes();
        let version = hex_of::<1>(bytes.get(..2)?)?[0];
        let rest = bytes.get(55..)?;
        // A later version may have more, behind another dash.
        let fits = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.first().is_none_or(|&byte| byte == b'-'),
        };
        let dashes = [2, 35, 52].iter().all(|&at| bytes[at] == b'-');
        if !fits || !dashes {
            return None;
        }
        let flags = hex_of::<1>(&bytes[53..55])?[0] & KNOWN;
        let context = Self::new(hex_of(&bytes[3..35])?, hex_of(&bytes[36..52])?, false)?;
        let state = state.map(str::trim).filter(|state| is_state(state)).unwrap_or_default();
        Some(Self { flags, state: state.to_owned(), ..context })
    }

    /// That of a task which came with none: its trace is the same in every attempt, whoever makes
    /// it. What is told under it has no parent.
    pub fn of_task(id: TaskId) -> Self {
        let digest = Sha256::new().chain_update("trace ").chain_update(id.to_string()).finalize();
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        trace.copy_from_slice(&digest[..16]);
        span.copy_from_slice(&digest[16..24]);
        // All zeros comes from no task that anybody will see.
        Self { trace, span, flags: 0, state: String::new() }
    }

    /// The same trace, under another span; what comes next is told of, or it is not.
    #[must_use]
    pub fn under(&self, span: [u8; 8], is_sampled: bool) -> Self {
        let flags = self.flags & !SAMPLED | if is_sampled { SAMPLED } else { 0 };
        Self { span, flags, ..self.clone() }
    }

    /// The trace.
    pub fn trace(&self) -> [u8; 16] {
        self.trace
    }

    /// The span.
    pub fn span(&self) -> [u8; 8] {
        self.span
    }

    /// The flags, as the header `traceparent` has them.
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// Whether what happened so far is told of.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// What the header `tracestate` says; empty: nothing.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// The trace's id in hexadecimal digits.
    pub fn trace_id(&self) -> String {
        hex::encode(self.trace)
    }

    /// The span's id in hexadecimal digits.
    pub fn span_id(&self) -> String {
        hex::encode(self.span)
    }
}

/// As the header `traceparent` has it.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id(), self.span_id(), self.flags)
    }
}

/// Lowercase digits alone, as the standard has them.
fn hex_of<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let is_lower = !digits.iter().any(u8::is_ascii_uppercase);
    (is_lower && hex::decode_to_slice(digits, &mut bytes).is_ok()).then_some(bytes)
}

fn is_state(state: &str) -> bool {
    let fits =
        (1..=MAX_STATE).contains(&state.len()) && state.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let mut members = state.split(',').map(str::trim).filter(|member| !member.is_empty());
    fits && state.split(',').count() <= MAX_MEMBERS
        && members.all(|member| member.find('=').is_some_and(|at| at > 0))
}

/// As it is kept: the parent, and behind a space the state, if there is one.
impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.state.is_empty() {
            return serializer.collect_str(self);
        }
        serializer.collect_str(&format_args!("{self} {}", self.state))
    }
}

/// Reads what is kept: what a later version wrote otherwise is none, and the task runs all the same.
pub(crate) fn kept<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Box<TraceContext>>, D::Error> {
    let kept = serde_json::Value::deserialize(deserializer)?;
    Ok(kept.as_str().and_then(|kept| {
        let (parent, state) =
            kept.split_once(' ').map_or((kept, None), |(parent, state)| (parent, Some(state)));
        TraceContext::read(parent, state).map(Box::new)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(parent: &str) -> Option<String> {
        TraceContext::read(parent, None).map(|context| context.to_string())
    }

    #[test]
    fn a_parent_reads_and_is_passed_on_as_it_came() {
        let context = TraceContext::read(PARENT, Some(" vendor=a:b,other=1 ")).unwrap();
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id(), "00f067aa0ba902b7");
        assert!(context.is_sampled());
        assert_eq!(context.state(), "vendor=a:b,other=1");
        assert_eq!(context.to_string(), PARENT);
    }

    #[test]
    fn what_the_standard_does_not_allow_is_no_parent() {
        for wrong in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-00",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-é",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    /// Of a later version what this one knows is read, and of the flags those it knows.
    #[test]
    fn a_later_version_reads_as_this_one() {
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-what-comes";
        assert_eq!(read(later).as_deref(), Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03"));
        let same = PARENT.replacen("00", "01", 1);
        assert_eq!(read(&same).as_deref(), Some(PARENT));
    }

    #[test]
    fn a_state_that_is_not_acceptable_is_left_out_and_the_parent_stays() {
        let state = |state: &str| TraceContext::read(PARENT, Some(state)).unwrap().state;
        let longest = format!("a={}", "x".repeat(MAX_STATE - 2));
        for kept in ["a=1", "a=1,b=2", "a=1, b=2", "a=1,,b=2", &longest] {
            assert_eq!(state(kept), kept);
        }
        let many = vec!["a=1"; MAX_MEMBERS + 1].join(",");
        for dropped in ["", "a", "=1", "a=1,b", "a=é", "a=\t1", &format!("{longest}x"), &many] {
            assert_eq!(state(dropped), "", "{dropped:?}");
        }
    }

    #[test]
    fn what_is_kept_is_read_again_and_what_nobody_understands_is_none() {
        #[derive(Deserialize)]
        struct Head {
            #[serde(default, deserialize_with = "kept")]
            trace: Option<Box<TraceContext>>,
        }
        let again = |json: &str| serde_json::from_str::<Head>(json).unwrap().trace;
        for state in [None, Some("a=1, b=\"2\"")] {
            let context = TraceContext::read(PARENT, state).unwrap();
            let json = serde_json::json!({ "trace": context }).to_string();
            assert_eq!(again(&json).as_deref(), Some(&context));
        }
        for other in ["{}", r#"{"trace":null}"#, r#"{"trace":"later"}"#, r#"{"trace":{"later":1}}"#] {
            assert_eq!(again(other), None, "{other}");
        }
    }

    #[test]
    fn a_step_down_keeps_the_trace_and_its_state() {
        let context = TraceContext::read(PARENT, Some("a=1")).unwrap();
        let under = context.under([7; 8], false);
        assert_eq!(under.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0707070707070707-00");
        assert_eq!(under.state(), "a=1");
        assert_eq!(under.under(context.span(), true), context);
    }

    #[test]
    fn a_task_that_came_with_none_has_the_same_trace_each_time() {
        let id = TaskId::random();
        assert_eq!(TraceContext::of_task(id), TraceContext::of_task(id));
        assert_ne!(TraceContext::of_task(id).trace(), TraceContext::of_task(TaskId::random()).trace());
    }
}
