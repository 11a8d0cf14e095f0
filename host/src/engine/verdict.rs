//! Turns the end of a call into an outcome.
//!
//! Owns the naming of failures. Knows wasmtime's error types and the engine's own; does not
//! know the store. Invariant: nothing is told apart by its text, which other people write.

use std::{fmt, time::Duration};

use serde::de::IgnoredAny;
use wasmtime::{OutOfMemory, PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::{
    bindings::sentinel::job::types,
    effects::EffectLimit,
    imports::NotGranted,
    interrupt::Reason,
    limiter::Refusal,
    outcome::{Clock, Failure, Fault, Outcome},
};

/// What is kept of a message.
const MESSAGE_BYTES: usize = 8 << 10;

/// What is kept of a backtrace: names of functions may be of any length.
const BACKTRACE_BYTES: usize = 16 << 10;

/// How deep a result may be nested; as deep as a payload.
const RESULT_DEPTH: usize = 128;

/// How far the attempt had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The component was being instantiated, start functions included.
    Loading,
    /// Its function had been called.
    Calling,
}

/// Why the engine itself ends a call. Raised by the epoch callback, or by the wait around it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Halt {
    Interrupted(Reason),
    CpuSpent,
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupted(_) => "stopped by the host",
            Self::CpuSpent => "its CPU time is over",
        })
    }
}

impl std::error::Error for Halt {}

/// What a command wrote cannot be its result.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BadOutput {
    TooMuch,
    NotText,
}

impl fmt::Display for BadOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooMuch => "more than the result may have",
            Self::NotText => "not UTF-8",
        })
    }
}

impl std::error::Error for BadOutput {}

/// What a call came to.
pub(crate) type Called = Result<Result<String, types::Failure>, (Phase, wasmtime::Error)>;

/// What is known besides the call's own result.
#[derive(Debug)]
pub(crate) struct Circumstances {
    pub(crate) refusal: Option<Refusal>,
    pub(crate) stderr_tail: String,
    pub(crate) result_limit: usize,
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

/// Names what happened.
pub(crate) fn of(called: Called, circumstances: &Circumstances) -> Outcome {
    match called {
        Ok(Ok(result)) => judge_result(result, circumstances.result_limit),
        Ok(Err(types::Failure::Retryable(message))) => failed(Fault::Retryable, &message),
        Ok(Err(types::Failure::RetryAfter((milliseconds, message)))) => {
            failed(Fault::RetryAfter(Duration::from_millis(milliseconds)), &message)
        }
        Ok(Err(types::Failure::Permanent(message))) => failed(Fault::Permanent, &message),
        Err((phase, error)) => judge_error(phase, &error, circumstances),
    }
}

fn judge_result(result: String, limit: usize) -> Outcome {
    if result.len() > limit {
        let message = format!("the result has {} bytes; {limit} are allowed", result.len());
        return failed(Fault::OutputLimit, &message);
    }
    match check_json(&result) {
        Ok(()) => Outcome::Completed(result),
        Err(reason) => failed(Fault::BadOutput, &format!("the result is not JSON: {reason}")),
    }
}

fn judge_error(phase: Phase, error: &wasmtime::Error, around: &Circumstances) -> Outcome {
    if let Some(halt) = error.downcast_ref::<Halt>() {
        return halted(*halt, error, around);
    }
    if let Some(bad) = error.downcast_ref::<BadOutput>() {
        return match bad {
            BadOutput::TooMuch => {
                let limit = around.result_limit;
                failed(
                    Fault::OutputLimit,
                    &format!("it wrote more to standard output than the {limit} bytes allowed"),
                )
            }
            BadOutput::NotText => failed(Fault::BadOutput, "its standard output is not UTF-8"),
        };
    }
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return exited(*code, around);
    }
    if let Some(not_granted) = error.downcast_ref::<NotGranted>() {
        return crashed(Fault::Permanent, &not_granted.to_string(), error, around);
    }
    if let Some(limit) = error.downcast_ref::<EffectLimit>() {
        return crashed(Fault::EffectLimit, &limit.to_string(), error, around);
    }
    if error.is::<PoolConcurrencyLimitError>() || error.is::<OutOfMemory>() {
        return Outcome::Pressure(format!("{error:#}"));
    }
    let trap = error.downcast_ref::<Trap>();
    if let (Some(refusal), true) = (around.refusal, trap.is_some() || phase == Phase::Loading)
        && trap != Some(&Trap::StackOverflow)
    {
        return refused(refusal, error, around);
    }
    if let Some(trap) = trap {
        let fault = if *trap == Trap::StackOverflow { Fault::StackOverflow } else { Fault::Trap };
        return crashed(fault, &trap.to_string(), error, around);
    }
    let message = format!("{:#}", error.root_cause());
    match phase {
        Phase::Loading if error.is::<rustix::io::Errno>() || error.is::<std::io::Error>() => {
            Outcome::Pressure(message)
        }
        Phase::Loading => crashed(Fault::LoadError, &message, error, around),
        // What fails in a call of the host's carries the guest's stack. Without one, the guest
        // had returned, and what it returned could not be taken.
        Phase::Calling if error.is::<WasmBacktrace>() => crashed(Fault::HostLimit, &message, error, around),
        Phase::Calling => failed(Fault::OutputLimit, &format!("the result cannot be taken: {message}")),
    }
}

fn halted(halt: Halt, error: &wasmtime::Error, around: &Circumstances) -> Outcome {
    let milliseconds = |time: Duration| time.as_millis();
    match halt {
        Halt::Interrupted(Reason::Cancelled) => Outcome::Cancelled,
        Halt::Interrupted(Reason::Stopped) => Outcome::Stopped,
        Halt::Interrupted(Reason::Deadline) => {
            let message = format!("it ran for longer than {} ms", milliseconds(around.wall));
            crashed(Fault::Timeout(Clock::Wall), &message, error, around)
        }
        Halt::CpuSpent => {
            let message = format!("it used more than {} ms of CPU time", milliseconds(around.cpu));
            crashed(Fault::Timeout(Clock::Cpu), &message, error, around)
        }
    }
}

fn refused(refusal: Refusal, error: &wasmtime::Error, around: &Circumstances) -> Outcome {
    let what = match refusal {
        Refusal::Memory => "it wanted more memory than it may have",
        Refusal::Tables => "it wanted more table elements than it may have",
        Refusal::Host => return Outcome::Pressure("the machine has no memory to give".into()),
    };
    let message = format!("{what}: {}", error.root_cause());
    crashed(Fault::MemoryLimit, &message, error, around)
}

fn exited(code: i32, around: &Circumstances) -> Outcome {
    let (fault, message) = match code {
        0 => (Fault::BadOutput, "it exited without a result".to_owned()),
        _ => (Fault::Retryable, format!("it exited with code {code}")),
    };
    failed(fault, &with_stderr(&message, &around.stderr_tail))
}

fn failed(fault: Fault, message: &str) -> Outcome {
    let message = clipped(message, MESSAGE_BYTES);
    Outcome::Failed(Failure { fault, message, backtrace: None })
}

fn crashed(fault: Fault, message: &str, error: &wasmtime::Error, around: &Circumstances) -> Outcome {
    let message = clipped(&with_stderr(message, &around.stderr_tail), MESSAGE_BYTES);
    Outcome::Failed(Failure { fault, message, backtrace: backtrace(error) })
}

fn with_stderr(message: &str, tail: &str) -> String {
    if tail.is_empty() { message.to_owned() } else { format!("{message}\n{tail}") }
}

fn backtrace(error: &wasmtime::Error) -> Option<String> {
    let backtrace = error.downcast_ref::<WasmBacktrace>()?;
    let text = backtrace.to_string();
    // wasmtime begins with a line of its own that says no more than that this is a backtrace.
    let frames = text.split_once('\n').map_or(text.as_str(), |(_, frames)| frames);
    Some(clipped(frames.trim_end(), BACKTRACE_BYTES))
}

/// `text`, or as much of it as fits, cut between characters.
pub(crate) fn clipped(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes)].to_owned()
}

fn check_json(text: &str) -> Result<(), String> {
    check_depth(text)?;
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|error| error.to_string())
}

/// `serde_json` skips values without recursion and so without a limit of its own.
fn check_depth(text: &str) -> Result<(), String> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > RESULT_DEPTH {
            return Err(format!("it is nested more than {RESULT_DEPTH} deep"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_from_what_is_not() {
        for json in ["1", "\"[\\\"[\"", " {\"a\": [1e999, null]}\n", "123456789012345678901234567890"] {
            assert_eq!(check_json(json), Ok(()), "{json}");
        }
        for other in ["", "x", "{}{}", "[1,]", "\"\u{1}\"", "\"\\x\""] {
            assert!(check_json(other).is_err(), "{other:?}");
        }
    }

    #[test]
    fn a_result_is_nested_as_deep_as_a_payload_may_be() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check_json(&nested(RESULT_DEPTH)), Ok(()));
        assert!(check_json(&nested(RESULT_DEPTH + 1)).is_err());
        assert_eq!(check_json(&format!("[{}]", vec!["[]"; 500].join(","))), Ok(()));
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(clipped("a\u{e9}b", 2), "a");
        assert_eq!(clipped("abc", 9), "abc");
    }
}
