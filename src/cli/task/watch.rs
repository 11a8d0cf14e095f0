//! `sentinel task watch`: tasks as they change, until all have ended.

use std::{
    collections::HashMap,
    io::IsTerminal,
    process::ExitCode,
    sync::mpsc::{self, Sender},
    thread,
};

use anyhow::{Error, Result, bail};
use clap::Args;
use indicatif::{MultiProgress, ProgressBar};
use serde_json::Value;

use super::{
    super::{
        client::{self, Client},
        follow::{Heard, follow},
        out::{self, cell, on_one_line},
        progress,
    },
    path,
};

/// Each task is a stream, of which the server has a thousand for everybody.
const MOST: usize = 100;

#[derive(Args)]
pub(in crate::cli) struct WatchArgs {
    /// The tasks' ids
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

/// What a thread that follows a task has to say of it.
enum Told {
    /// It changed; this is it.
    Changed(String),
    /// It has ended; this is it.
    Ended(String),
    /// The server is away.
    Away(String),
    /// It cannot be followed.
    Lost(Error),
}

pub(super) fn run(mut args: WatchArgs, client: &Client) -> Result<ExitCode> {
    let mut known = std::collections::HashSet::new();
    args.ids.retain(|id| known.insert(id.clone()));
    if args.ids.len() > MOST {
        bail!(
            "{} tasks are too many to watch: watch {MOST}, or all ends with `sentinel events`",
            args.ids.len()
        );
    }
    let (tell, told) = mpsc::channel();
    for id in &args.ids {
        let (id, client, tell) = (id.clone(), client.clone(), tell.clone());
        thread::spawn(move || watch(&id, &client, &tell));
    }
    drop(tell);
    let screen = Screen::new(&args.ids, client.json);
    let mut said = HashMap::new();
    let mut is_away = false;
    let mut all_completed = true;
    // Each thread ends with its task.
    for (id, told) in told {
        match told {
            Told::Changed(task) | Told::Ended(task) if said.get(&id) == Some(&task) => {}
            Told::Changed(task) => {
                is_away = false;
                screen.show(&id, &task, false)?;
                said.insert(id, task);
            }
            Told::Ended(task) => {
                let status = screen.show(&id, &task, true)?;
                all_completed &= status == "COMPLETED";
            }
            Told::Away(error) => {
                if !is_away {
                    screen.remark(&format!("sentinel: {error}\nsentinel: trying again"));
                }
                is_away = true;
            }
            Told::Lost(error) => {
                screen.remark(&format!("sentinel: task {id}: {error:#}"));
                all_completed = false;
            }
        }
    }
    Ok(if all_completed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Follows one task to its end.
fn watch(id: &str, client: &Client, tell: &Sender<(String, Told)>) {
    // Nobody listens any more when the command is at its end.
    let say = |told| tell.send((id.to_owned(), told)).map_err(Error::from);
    let followed = follow(client, &format!("{}/events", path(id)), None, |heard| match heard {
        Heard::Away(error) => say(Told::Away(format!("{error:#}"))).map(|()| true),
        Heard::Event(event) if event.name == "end" => say(Told::Ended(event.data.clone())).map(|()| false),
        Heard::Event(event) => say(Told::Changed(event.data.clone())).map(|()| true),
    });
    if let Err(error) = followed {
        drop(say(Told::Lost(error)));
    }
}

/// Where it is shown: a live line for each task on a terminal, else a line for each change.
enum Screen {
    Live(MultiProgress, HashMap<String, ProgressBar>),
    Lines { json: bool },
}

impl Screen {
    fn new(ids: &[String], json: bool) -> Self {
        if json || !std::io::stdout().is_terminal() || !std::io::stderr().is_terminal() {
            return Self::Lines { json };
        }
        let screen = MultiProgress::new();
        let style = progress::style("{prefix} {bar:20} {pos:>3}% {wide_msg}");
        let bars = ids.iter().map(|id| {
            let bar = screen.add(ProgressBar::new(100).with_style(style.clone()));
            (id.clone(), bar)
        });
        let bars = bars.collect();
        Self::Live(screen, bars)
    }

    /// Shows a task; answers its status.
    fn show(&self, id: &str, task: &str, has_ended: bool) -> Result<String> {
        let parsed = client::parse(task)?;
        let status = cell(&parsed["status"]);
        let head = format!("{id}  {status:11}  attempt {}", parsed["attempt"]);
        let percent = parsed["progress"]["percent"].as_u64();
        let remark = remark(&parsed);
        match self {
            Self::Lines { json: true } => out::line(task)?,
            Self::Lines { json: false } => {
                let percent = percent.map(|percent| format!("  {percent:>3}%")).unwrap_or_default();
                out::line(format!("{head}{percent}  {remark}").trim_end())?;
            }
            Self::Live(_, bars) => {
                let Some(bar) = bars.get(id) else { return Ok(status) };
                bar.set_prefix(head);
                bar.set_message(remark);
                if has_ended {
                    bar.set_style(progress::style("{prefix}  {wide_msg}"));
                    bar.abandon();
                } else {
                    bar.set_position(percent.unwrap_or(0));
                }
            }
        }
        Ok(status)
    }

    /// Says something besides.
    fn remark(&self, text: &str) {
        match self {
            Self::Live(screen, _) => screen.suspend(|| eprintln!("{text}")),
            Self::Lines { .. } => eprintln!("{text}"),
        }
    }
}

/// How far it says it is, when it is due, or why it failed.
fn remark(task: &Value) -> String {
    if let Some(message) = task["progress"]["message"].as_str() {
        return on_one_line(message);
    }
    match task["run_at"].as_str() {
        Some(due) => format!("due {due}"),
        None => out::error(task),
    }
}
