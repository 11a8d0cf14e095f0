//! How long the store's calls take with a short and with a long backlog:
//! `cargo run --release -p sentinel-queue --example backlog -- redis://127.0.0.1:6379 1000000`.
//!
//! The Redis must be empty, and is left full.

use std::{
    env::args,
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use sentinel_queue::{
    NewTask, Payload, Queue, Spec, Status,
    lease::{Instance, Served, Settlement, Turn, Verdict},
    list::Filter,
    store::redis::Redis,
    task::AttemptReport,
};

const CALLS: u64 = 300;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (Some(url), Some(many)) = (args().nth(1), args().nth(2)) else {
        return Err("give the URL of an empty Redis, and how many tasks".into());
    };
    let queue = Queue::new(Arc::new(Redis::new(&url)?));
    let mut queued = 0;
    for backlog in [1000, many.parse()?] {
        while queued < backlog {
            let tasks: Vec<_> = (0..1000).map(|_| new_task()).collect();
            queued += queue.submit(&tasks).await?.len();
        }
        println!("{queued} tasks queued; p50, p99 and longest of {CALLS} calls in µs:");
        measure(&queue).await?;
    }
    Ok(())
}

async fn measure(queue: &Queue) -> Result<(), Box<dyn Error>> {
    let (mut submit, mut turns, mut list, mut stats) = (vec![], vec![], vec![], vec![]);
    let worker = Instance::random("backlog");
    let filter = Filter { statuses: vec![Status::Queued], ..Filter::default() };
    let (mut settlements, mut cursor) = (Vec::new(), None);
    for number in 1..=CALLS {
        let tasks: Vec<_> = (0..16).map(|_| new_task()).collect();
        timed(&mut submit, queue.submit(&tasks)).await?;
        let turn = Turn { number, settlements, wanted: 16 };
        let answer = timed(&mut turns, queue.settle_and_claim(&worker, &Served::All, &turn)).await?;
        let done = || Verdict::Complete(Bytes::from_static(b"1"));
        let settle = |task| Settlement::of(task, done(), AttemptReport::default(), Bytes::new());
        settlements = answer.claimed.iter().map(settle).collect();
        cursor = timed(&mut list, queue.list(&filter, 50, cursor.as_ref())).await?.next;
        timed(&mut stats, queue.counts(&filter.namespace)).await?;
    }
    let turn = Turn { number: CALLS + 1, settlements, wanted: 0 };
    queue.settle_and_claim(&worker, &Served::All, &turn).await?;
    for (what, mut times) in
        [("submit 16", submit), ("settle and claim 16", turns), ("list 50", list), ("count", stats)]
    {
        times.sort_unstable();
        let at = |part: usize| times[(times.len() - 1) * part / 100].as_micros();
        println!("  {what:<20} {:>6} {:>6} {:>6}", at(50), at(99), at(100));
    }
    Ok(())
}

async fn timed<T, E>(times: &mut Vec<Duration>, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let since = Instant::now();
    let answer = call.await;
    times.push(since.elapsed());
    answer
}

fn new_task() -> NewTask {
    let payload = Bytes::from_static(
        br#"{"job":"example-task","text":"a payload of about a hundred bytes, as many are"}"#,
    );
    let (payload, job) = Payload::parse(payload).expect("a payload");
    NewTask::new(Spec::new(job, payload))
}
