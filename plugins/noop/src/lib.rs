//! `noop`: does nothing, and says when it was asked to. For trying an installation, and for
//! measuring it: `sentinel bench` runs this job.
//!
//! `{"job": "noop", "sleep_ms": 1000}` does nothing for a second.

use std::{
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sentinel_job::Failure;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Input {
    /// For how long nothing is done.
    #[serde(default)]
    sleep_ms: u64,
}

#[derive(Serialize)]
struct Output {
    /// When the job's function was entered: microseconds since 1970, by the worker's clock.
    entered_us: u64,
}

/// Does nothing, and says when it was asked to.
#[sentinel_job::job]
fn run(input: Input) -> Result<Output, Failure> {
    let entered = SystemTime::now().duration_since(UNIX_EPOCH)?;
    if input.sleep_ms > 0 {
        thread::sleep(Duration::from_millis(input.sleep_ms));
    }
    Ok(Output { entered_us: u64::try_from(entered.as_micros())? })
}
