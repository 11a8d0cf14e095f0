//! apalis-redis, as README.md beside this says what each command does.

use std::{
    env::args,
    error::Error,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use apalis::prelude::*;
use apalis_redis::{Config, RedisStorage};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Notify;

type Failure = Box<dyn Error + Send + Sync>;

/// How often the store is looked at.
const POLL: Duration = Duration::from_millis(5);

/// How many tasks are fetched at once.
const BATCH: usize = 100;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Noop {
    sent: f64,
    data: String,
}

/// What the worker has seen.
#[derive(Default)]
struct Seen {
    first: Option<Instant>,
    waits: Vec<f64>,
}

#[derive(Clone)]
struct Shared {
    tasks: usize,
    seen: Arc<Mutex<Seen>>,
    all: Arc<Notify>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = args().collect();
    let [_, command, url, tasks, option] = &args[..] else { return Err("usage: COMMAND URL TASKS OPTION".into()) };
    let (tasks, option): (usize, usize) = (tasks.parse()?, option.parse()?);
    match command.as_str() {
        "enqueue" => enqueue(url, tasks, option).await,
        "work" => work(url, tasks, option).await,
        "trickle" => trickle(url, tasks, Duration::from_millis(option as u64)).await,
        other => Err(format!("no such command: {other}").into()),
    }
}

/// With its locks on and its results kept, as Sentinel has them, and its events, by which idle workers wake.
async fn storage(url: &str) -> Result<RedisStorage<Noop>, Failure> {
    let connection = apalis_redis::connect(url).await?;
    let config = Config::default().queue("bench").batch_size(BATCH);
    Ok(RedisStorage::new(connection).with_config(config))
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64() * 1000.0)
}

fn task() -> Noop {
    Noop { sent: now(), data: "x".repeat(100 - 37) }
}

async fn enqueue(url: &str, tasks: usize, batch: usize) -> Result<(), Failure> {
    let mut storage = storage(url).await?;
    let began = Instant::now();
    for _ in 0..tasks / batch {
        if batch == 1 {
            storage.push(task()).await?;
        } else {
            storage.push_bulk((0..batch).map(|_| task()).collect()).await?;
        }
    }
    println!("{}", json!({ "seconds": began.elapsed().as_secs_f64() }));
    Ok(())
}

async fn work(url: &str, tasks: usize, concurrency: usize) -> Result<(), Failure> {
    let shared = Shared { tasks, seen: Arc::default(), all: Arc::default() };
    let worker = WorkerBuilder::new("bench")
        // Else it looks only as often as it says that it is alive.
        .backend(storage(url).await?.poll_with_interval(POLL))
        .data(shared.clone())
        .concurrency(concurrency)
        .build(run);
    println!("{}", json!({ "ready": true }));
    tokio::select! {
        ended = worker.run() => return Err(format!("the worker ended: {ended:?}").into()),
        () = shared.all.notified() => {}
    }
    let seen = shared.seen.lock().map_err(|_| "the job panicked")?;
    let seconds = seen.first.map_or(0.0, |first| first.elapsed().as_secs_f64());
    let waits = &seen.waits[seen.waits.len().saturating_sub(1000)..];
    println!("{}", json!({ "seconds": seconds, "waits_ms": waits }));
    Ok(())
}

async fn run(task: Noop, shared: Data<Shared>) -> Result<f64, Failure> {
    let wait = now() - task.sent;
    let mut seen = shared.seen.lock().map_err(|_| "the job panicked")?;
    seen.first.get_or_insert_with(Instant::now);
    seen.waits.push(wait);
    if seen.waits.len() == shared.tasks {
        shared.all.notify_one();
    }
    Ok(wait)
}

async fn trickle(url: &str, tasks: usize, pause: Duration) -> Result<(), Failure> {
    let mut storage = storage(url).await?;
    for _ in 0..tasks {
        tokio::time::sleep(pause).await;
        storage.push(task()).await?;
    }
    println!("{}", json!({}));
    Ok(())
}
