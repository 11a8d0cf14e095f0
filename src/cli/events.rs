//! `sentinel events`: the ends of all tasks, as they come.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;

use super::{
    client::{self, Client},
    follow::{Heard, follow},
    out::{self, cell},
};

#[derive(Args)]
pub(super) struct EventsArgs {
    /// Go on after this event (the `id` that `--output json` shows); from now on by default
    #[arg(long, value_name = "ID")]
    last_event_id: Option<String>,
}

pub(super) fn run(args: EventsArgs, client: &Client) -> Result<ExitCode> {
    if let Some(id) = &args.last_event_id
        && !may_be_id(id)
    {
        bail!("--last-event-id {id:?} is no id of an event: `--output json` shows them");
    }
    let mut last = None;
    let followed = follow(client, "/v1/events", args.last_event_id, |heard| {
        let event = match heard {
            Heard::Event(event) => event,
            Heard::Away(error) => {
                eprintln!("sentinel: {error:#}\nsentinel: trying again");
                return Ok(true);
            }
        };
        last = event.id.clone().or(last.take());
        let id = event.id.as_deref().unwrap_or_default();
        if client.json {
            let (id, name) = (Value::from(id), Value::from(event.name.as_str()));
            out::line(format_args!(r#"{{"id":{id},"event":{name},"data":{}}}"#, event.data))?;
        } else {
            out::line(told(&client::parse(&event.data)?))?;
        }
        Ok(true)
    });
    let error = match (followed, last) {
        (Ok(()), _) => return Ok(ExitCode::SUCCESS),
        (Err(error), None) => error,
        (Err(error), Some(id)) => {
            error.context(format!("the stream ended; `sentinel events --last-event-id {id}` goes on"))
        }
    };
    Err(error)
}

/// What is not even this cannot be sent.
fn may_be_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

fn told(task: &Value) -> String {
    let text = format!(
        "{}  {:9}  {}  {}  {}  attempt {}  {}",
        cell(&task["finished_at"]),
        cell(&task["status"]),
        cell(&task["task_id"]),
        cell(&task["job"]),
        cell(&task["queue"]),
        task["attempt"],
        out::error(task),
    );
    text.trim_end().to_owned()
}
