//! `ledger`: a job that keeps state, submits tasks and saves what to go on from, to test the host
//! with: `{"job": "ledger", "do": "transfer", "from": "a", "to": "b", "amount": 1}` and so on.

use std::time::Duration;

use sentinel_job::{Failure, Task, checkpoint, outbox::NewTask, state};
use serde::Deserialize;
use serde_json::{Value, json};

/// What an account has that nobody has used yet.
const FIRST_BALANCE: i64 = 1000;

/// What to do. Names are those of the payload's `do`, the fields those beside it.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
enum Act {
    /// Moves an amount from one account to another, unless that would overdraw it; sleeps in between.
    Transfer {
        from: String,
        to: String,
        amount: i64,
        #[serde(default)]
        ms: u64,
    },
    /// Adds to a number without reading it.
    Count { key: String, by: i64 },
    /// Returns a value, or null.
    Get { key: String },
    /// Returns a number before and after it adds to it.
    GetAndCount { key: String, by: i64 },
    /// Sets values of so many bytes.
    Fill { keys: u32, bytes: usize },
    /// Sets a value, then ends as it is told.
    SetAnd { key: String, then: End },
    /// Goes through steps that count themselves, and saves after each.
    Steps { steps: u32, ms: u64 },
    /// Saves so many bytes, and loads them again; so many times, or once.
    Save { bytes: usize, times: Option<u32> },
    /// Reads so many values, of which there are none.
    Misses { keys: u32 },
    /// Submits so many of itself, each of which does the same, so many generations deep.
    Fan { width: u32, depth: u32 },
    /// Submits tasks; returns their ids, or what is wrong with the first that is refused.
    Submit { tasks: Vec<Value>, then: End },
}

/// How an attempt ends.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum End {
    Complete,
    Fail,
    Trap,
    /// The first attempt fails and is tried again.
    FailOnce,
}

impl End {
    fn reach(self, task: &Task) -> Result<(), Failure> {
        match self {
            Self::Complete => Ok(()),
            Self::Fail => Err(Failure::permanent("as it was told")),
            Self::Trap => panic!("as it was told"),
            Self::FailOnce if task.attempt > 1 => Ok(()),
            Self::FailOnce => Err(Failure::retry_after(Duration::ZERO, "as it was told")),
        }
    }
}

#[sentinel_job::job]
fn run(task: &Task, act: Act) -> Result<Value, Failure> {
    Ok(match act {
        Act::Transfer { from, to, amount, ms } => {
            let balance = |account: &str| Ok::<_, Failure>(state::get(account)?.unwrap_or(FIRST_BALANCE));
            let (has, gets) = (balance(&from)?, balance(&to)?);
            std::thread::sleep(Duration::from_millis(ms));
            if has < amount || from == to {
                return Ok(json!("nothing"));
            }
            state::set(&from, &(has - amount))?;
            state::set(&to, &(gets + amount))?;
            json!("moved")
        }
        Act::Count { key, by } => {
            state::increment(&key, by);
            Value::Null
        }
        Act::Get { key } => state::get(&key)?.unwrap_or_default(),
        Act::GetAndCount { key, by } => {
            let before: Option<i64> = state::get(&key)?;
            state::increment(&key, by);
            json!([before, state::get::<i64>(&key)?])
        }
        Act::Fill { keys, bytes } => {
            for number in 0..keys {
                state::set_bytes(&format!("fill{number}"), &vec![b'x'; bytes]);
            }
            Value::Null
        }
        Act::SetAnd { key, then } => {
            state::set(&key, &task.id)?;
            then.reach(task)?;
            Value::Null
        }
        Act::Steps { steps, ms } => {
            let first: u32 = checkpoint::load()?.unwrap_or(0);
            for step in first..steps {
                state::increment(&format!("{}:{step}", task.id), 1);
                NewTask::of("ledger")?.field("do", "get")?.field("key", &format!("{step}"))?.submit()?;
                checkpoint::save(&(step + 1))?;
                std::thread::sleep(Duration::from_millis(ms));
            }
            json!(first)
        }
        Act::Save { bytes, times } => {
            let saved = "x".repeat(bytes);
            for _ in 0..times.unwrap_or(1) {
                checkpoint::save(&saved)?;
                checkpoint::load::<String>()?;
            }
            Value::Null
        }
        Act::Misses { keys } => {
            for number in 0..keys {
                state::get::<Value>(&format!("miss{number}"))?;
            }
            Value::Null
        }
        Act::Fan { width, depth } => {
            for _ in 0..if depth == 0 { 0 } else { width } {
                let child = json!({ "do": "fan", "width": width, "depth": depth - 1 });
                NewTask::with("ledger", &child)?.submit()?;
            }
            Value::Null
        }
        Act::Submit { tasks, then } => {
            let mut ids = Vec::new();
            for task in &tasks {
                match sentinel_job::outbox::submit_json(&task.to_string()) {
                    Ok(id) => ids.push(id),
                    Err(reason) => return Ok(json!(reason)),
                }
            }
            then.reach(task)?;
            json!(ids)
        }
    })
}
