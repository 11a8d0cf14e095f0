//! What an attempt costs: `cargo run --release -p sentinel-host --example attempt_cost -- FILE [PAYLOAD]`.
//!
//! Runs a plugin again and again, one attempt after the other and then on two threads at once, and prints the times of a whole attempt: from the call to the report.

use std::{
    io,
    num::NonZeroU32,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use sentinel_host::engine::{Call, Deadlines, Engine, EngineConfig, GuestTask, Outcome, Plugin};
use tokio::runtime::Builder;

const ATTEMPTS: usize = 20_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("say which plugin")?;
    let payload = arguments.next().unwrap_or_else(|| r#"{"job":"hostile","do":"echo"}"#.to_owned());

    let control = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let slots = NonZeroU32::new(16).ok_or("no slots")?;
    let engine = Engine::new(EngineConfig::new(slots))?;
    let plugin = engine.admit(Path::new(&file))?;
    println!("compiled in {:?}", plugin.code().compile_time);
    let deadlines: &'static Deadlines = Box::leak(Box::new(Deadlines::start(control.handle())));

    for tasks in [1, 2] {
        let began = Instant::now();
        // A thread and a runtime each, so that none waits for another's turn.
        let lanes: Vec<_> = (0..tasks)
            .map(|_| {
                let (plugin, payload) = (plugin.clone(), payload.clone());
                thread::spawn(move || -> io::Result<_> {
                    let guests = Builder::new_current_thread().enable_all().build()?;
                    Ok(guests.block_on(lane(plugin, payload, deadlines)))
                })
            })
            .collect();
        let mut times = Vec::new();
        for one in lanes {
            times.extend(one.join().map_err(|_| "an attempt failed")??);
        }
        let took = began.elapsed();
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 1000];
        println!(
            "{tasks} at once: p50 {:?}, p99 {:?}, p99.9 {:?}, {:?} for each on the whole",
            at(500),
            at(990),
            at(999),
            took / u32::try_from(times.len())?,
        );
    }
    Ok(())
}

async fn lane(plugin: Plugin, payload: String, deadlines: &Deadlines) -> Vec<Duration> {
    let mut times = Vec::with_capacity(ATTEMPTS);
    for _ in 0..ATTEMPTS {
        let began = Instant::now();
        let report = plugin.run(Call::new(&plugin, task(&payload)), deadlines).await;
        times.push(began.elapsed());
        assert!(matches!(report.outcome, Outcome::Completed(_)), "{report:?}");
    }
    times
}

fn task(payload: &str) -> GuestTask {
    GuestTask {
        id: "0198c5f0-0000-7000-8000-000000000000".into(),
        job: "hostile".into(),
        queue: "default".into(),
        priority: 0,
        attempt: 1,
        max_attempts: 3,
        timeout: Duration::from_secs(30),
        payload: payload.into(),
    }
}
