//! The queue held against a machine that says in plain data what a queue is: random histories with
//! workers that die, pause and come back late, calls that are doubled, unanswered or late, outages,
//! and clocks that step.
//!
//! `SENTINEL_SEEDS=100000` tries that many histories, `SENTINEL_SEED=7` the seventh alone. A history
//! that fails is cut down to what is needed, and printed with its seed.

mod history;
mod machine;
mod world;

use std::{cell::RefCell, sync::Arc};

use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestError, TestRng, TestRunner},
};
use sentinel_queue::store::{Store, embedded::Embedded, redis::Redis};
use sentinel_testkit::RedisServer;
use tokio::runtime::Runtime;

use self::{
    history::{Step, history},
    world::World,
};
use crate::differential::{Both, keyspace};

/// How many histories the suite tries, over all its threads.
const SEEDS: u64 = 1200;

/// How many of them are tried in both homes at once, too.
const SEEDS_OF_BOTH: u64 = 120;

const THREADS: u64 = 2;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Tries those of so many histories that are one thread's; the one that fails is cut down first.
fn try_histories(seeds: u64, threads: u64, thread: u64, live: impl Fn(&[Step])) {
    let seeds = match setting("SENTINEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("SENTINEL_SEEDS").unwrap_or(seeds),
    };
    for seed in seeds.filter(|seed| seed % threads == thread) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let config = ProptestConfig {
            max_shrink_iters: 2000,
            failure_persistence: None,
            ..ProptestConfig::with_cases(1)
        };
        let outcome = TestRunner::new_with_rng(config, rng).run(&history(), |steps| {
            live(&steps);
            Ok(())
        });
        if let Err(TestError::Fail(reason, steps)) = outcome {
            for step in steps {
                eprintln!("{step:?}");
            }
            panic!("{reason}\nSENTINEL_SEED={seed} cargo test -p sentinel-queue --test it model");
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn live(store: Arc<dyn Store>, steps: &[Step]) {
    let mut world = World::over(store);
    for step in steps {
        world.take(step).await;
    }
    world.check_all().await;
}

fn live_embedded(thread: u64) {
    let runtime = runtime();
    try_histories(SEEDS, THREADS, thread, |steps| {
        runtime.block_on(live(Arc::new(Embedded::in_memory()), steps));
    });
}

#[test]
fn histories_go_as_the_machine_says() {
    live_embedded(0);
}

#[test]
fn more_histories_go_as_the_machine_says() {
    live_embedded(1);
}

/// Each call in both homes, with equal answers; and in the end every key is equal.
#[test]
fn the_same_histories_go_the_same_in_both_homes() {
    // One server for all histories; each empties it.
    let server = RedisServer::start(&[]);
    let url = server.url();
    let connection = RefCell::new(redis::Client::open(url.as_str()).unwrap().get_connection().unwrap());
    let runtime = runtime();
    try_histories(SEEDS_OF_BOTH, 1, 0, |steps| {
        redis::cmd("FLUSHALL").exec(&mut connection.borrow_mut()).unwrap();
        let both = Arc::new(Both { redis: Redis::new(&url).unwrap(), embedded: Embedded::in_memory() });
        runtime.block_on(live(both.clone(), steps));
        assert_eq!(both.embedded.dump(), keyspace(&mut connection.borrow_mut()));
    });
}
