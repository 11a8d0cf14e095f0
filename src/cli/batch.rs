//! `sentinel submit --batch`: a file of tasks, in as few requests as they fit in.

use std::{io::Read, ops::Range, process::ExitCode};

use anyhow::{Context, Error, Result, bail};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    client::{self, ApiError, Client},
    out::{self, cell},
    progress,
};

/// What one request may have.
const TASKS: usize = 1000;
const BYTES: usize = 16 << 20;

/// What a request has besides its tasks.
const AROUND: usize = r#"{"tasks":[]}"#.len();

pub(super) fn run(file: &str, client: &Client) -> Result<ExitCode> {
    let text = read(file)?;
    let tasks = parse(&text).with_context(|| format!("--batch {file}"))?;
    if tasks.is_empty() {
        bail!("--batch {file}: there is no task in it: it must be a JSON array of tasks, or one task a line");
    }
    let requests = requests(&tasks);
    if requests.len() > 1
        && let Some(index) = tasks.iter().position(|task| refers(task))
    {
        bail!(
            "--batch {file}: task {index} names another by its number (\"after\":[\"#0\"]), which works within \
             one request, and these {} tasks do not fit in one ({TASKS} tasks, {} MiB): divide the file so that \
             tasks and those they wait for are together",
            tasks.len(),
            BYTES >> 20,
        );
    }
    let bar = progress::bar(tasks.len() as u64, "{bar:30} {pos}/{len} tasks");
    for request in &requests {
        let answer = client.post("/v1/tasks/batch", Some(&body(&tasks[request.clone()])));
        let answer = answer.map_err(|error| {
            bar.abandon();
            refused(file, request, error)
        })?;
        bar.suspend(|| print(&answer, client))?;
        bar.set_position(request.end as u64);
    }
    bar.finish_and_clear();
    if !client.json {
        eprintln!("{} tasks accepted", tasks.len());
    }
    Ok(ExitCode::SUCCESS)
}

/// What became of the tasks when one request went wrong.
fn refused(file: &str, request: &Range<usize>, error: Error) -> Error {
    let Range { start, end } = request;
    let before = if *start == 0 { "no task".to_owned() } else { format!("the first {start} tasks") };
    match error.downcast::<ApiError>() {
        Ok(error) if !error.may_pass() => Error::from(error.in_file(*start))
            .context(format!("--batch {file}: {before} accepted, and none after")),
        Ok(error) => unknown(file, &before, *start, *end, error.into()),
        Err(error) => unknown(file, &before, *start, *end, error),
    }
}

fn unknown(file: &str, before: &str, start: usize, end: usize, error: Error) -> Error {
    error.context(format!(
        "--batch {file}: {before} accepted; whether tasks {start} to {} are (from 0) is not known: look with \
         `sentinel task list` before they are sent again, or give them idempotency keys",
        end - 1
    ))
}

fn print(answer: &str, client: &Client) -> Result<()> {
    if client.json {
        return out::line(answer);
    }
    for task in client::parse(answer)?["tasks"].as_array().into_iter().flatten() {
        out::line(format_args!("{}  {}", cell(&task["task_id"]), cell(&task["status"])))?;
    }
    Ok(())
}

fn read(file: &str) -> Result<String> {
    if file != "-" {
        return std::fs::read_to_string(file).with_context(|| format!("--batch {file}"));
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("--batch: standard input")?;
    Ok(text)
}

/// The tasks as they are: an array of them, or one after the other.
fn parse(text: &str) -> Result<Vec<&RawValue>> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).context("it is no JSON array of tasks");
    }
    let tasks = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.with_context(|| format!("task {} is not JSON", all.len()))?);
    }
    Ok(all)
}

/// Whether a task names another of its request.
fn refers(task: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Parents {
        #[serde(default)]
        after: Vec<String>,
    }
    // What is not like this is for the API to refuse.
    serde_json::from_str::<Parents>(task.get())
        .is_ok_and(|task| task.after.iter().any(|parent| parent.starts_with('#')))
}

/// The tasks of each request.
fn requests(tasks: &[&RawValue]) -> Vec<Range<usize>> {
    let mut requests: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (index, task) in tasks.iter().enumerate() {
        let size = task.get().len() + 1;
        match requests.last_mut() {
            Some(request) if request.len() < TASKS && bytes + size <= BYTES => {
                request.end += 1;
                bytes += size;
            }
            _ => {
                requests.push(index..index + 1);
                bytes = AROUND + size;
            }
        }
    }
    requests
}

fn body(tasks: &[&RawValue]) -> String {
    let tasks: Vec<_> = tasks.iter().map(|task| task.get()).collect();
    format!(r#"{{"tasks":[{}]}}"#, tasks.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_and_lines_are_the_same_and_stay_as_they_are() {
        let lines = parse("{\"n\": 1.0}\n\n{\"n\":\n2}\n").unwrap();
        let array = parse(" [{\"n\": 1.0},{\"n\":\n2}]").unwrap();
        assert_eq!(body(&lines), body(&array));
        assert_eq!(body(&lines), "{\"tasks\":[{\"n\": 1.0},{\"n\":\n2}]}");
        assert!(parse("{}\n{").is_err());
        assert!(parse("[{}").is_err());
    }

    #[test]
    fn a_request_has_so_many_tasks_and_so_many_bytes() {
        let small = vec!["{}"; 2500];
        let text = small.join("\n");
        assert_eq!(requests(&parse(&text).unwrap()), [0..1000, 1000..2000, 2000..2500]);
        let large = format!("\"{}\"", "x".repeat(6 << 20));
        let text = [&*large; 5].join("\n");
        let tasks = parse(&text).unwrap();
        let requests = requests(&tasks);
        assert_eq!(requests, [0..2, 2..4, 4..5]);
        assert!(requests.into_iter().all(|request| body(&tasks[request]).len() <= BYTES));
    }

    #[test]
    fn a_reference_is_seen() {
        let text = "{\"after\":[\"#0\"]}\n{\"after\":[\"0198c0de-0000-7000-8000-000000000000\"]}\n{}";
        assert_eq!(
            parse(text).unwrap().iter().map(|task| refers(task)).collect::<Vec<_>>(),
            [true, false, false]
        );
    }
}
