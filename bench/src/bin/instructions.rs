//! Runs one part of Sentinel so many times, and nothing else: under a counter of instructions, the
//! difference between two numbers of times is what one time takes.
//!
//! Arguments: which part, how many times, the file of the job `noop`.

#![forbid(unsafe_code)]

use std::path::Path;

use anyhow::{Context, Result, bail};
use sentinel_bench::parts::{Attempts, Calls, Requests};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [part, times, noop] = &args[..] else { bail!("usage: instructions PART TIMES NOOP.WASM") };
    let times: u32 = times.parse().with_context(|| format!("{times:?} is not a number of times"))?;
    let mut once = once(part, Path::new(noop))?;
    (0..times).try_for_each(|_| once())
}

fn once(part: &str, noop: &Path) -> Result<Box<dyn FnMut() -> Result<()>>> {
    Ok(match part {
        "attempt" => {
            let attempts = Attempts::new(noop, None)?;
            Box::new(move || attempts.once())
        }
        "submit" => {
            let calls = Calls::embedded()?;
            Box::new(move || calls.submit(1))
        }
        "round" => {
            let mut calls = Calls::embedded()?;
            Box::new(move || calls.round())
        }
        "request" => {
            let requests = Requests::new()?;
            Box::new(move || requests.submit())
        }
        _ => bail!("{part:?}: there are attempt, submit, round and request"),
    })
}
