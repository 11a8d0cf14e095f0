//! The proof: random histories, taken by the real queue and by a model of it (`machine`) at once,
//! must never differ.
//!
//! A failing history is shortened and printed with its seed:
//!
//! ```text
//! SENTINEL_SEED=<n> cargo test -p sentinel-queue --test it model     one history, told step by step
//! SENTINEL_SEEDS=<n> cargo test -p sentinel-queue --test it model    so many histories
//! ```
//!
//! The same histories also run over both homes at once.

mod check;
mod history;
mod machine;
mod wire;
mod world;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use sentinel_queue::store::{Store, embedded::Embedded, redis::Redis};
use sentinel_testkit::RedisServer;

use self::{
    history::{Step, histories},
    world::World,
};
use crate::differential::{Both, keyspace};

/// How many histories are taken when nobody says,
const HISTORIES: u64 = 1200;

/// and how many in both homes at once.
const HISTORIES_IN_BOTH: u64 = 120;

/// What happened, how often.
type Notes = BTreeMap<&'static str, u64>;

/// What must happen in all these histories together, and how often at least: where it does not
/// happen nothing is proved of it.
const MUST_HAPPEN: &[(&str, u64)] = &[
    ("submitted", 10_000),
    ("sent again", 1_000),
    ("a double", 400),
    ("a conflict", 1_000),
    ("no parent", 100),
    ("waited for another", 1_500),
    ("COMPLETED", 5_000),
    ("FAILED", 2_500),
    ("CANCELLED", 2_500),
    ("retry", 400),
    ("unknown", 3_000),
    ("of an unknown job", 200),
    ("expired", 1_500),
    ("lost", 7_000),
    ("convicted", 100),
    ("a lease that ended", 2_000),
    ("a lease spared by an outage", 1_500),
    ("released", 150),
    ("a release refused", 200),
    ("a settlement refused", 1_000),
    ("a superseded call", 100),
    ("a claim, sent again", 1_000),
    ("a late copy", 300),
    ("a late copy of a renewal", 100),
    ("a late copy of a submit", 300),
    ("a late copy of a turn", 600),
    ("a late copy of what was purged", 5),
    ("a double of what was removed", 20),
    ("a wrong state", 1_000),
    ("redriven", 1_000),
    ("an operation on something", 400),
    ("removed by retention", 500),
    ("removed", 1_000),
    ("parked", 150),
    ("a rate used up", 900),
    ("aging refused", 80),
    ("woken", 600),
];

#[test]
fn the_queue_does_what_the_model_says() {
    let (seeds, tell) = seeds(HISTORIES);
    let count = seeds.end - seeds.start;
    let next = AtomicU64::new(seeds.start);
    let (notes, failed) = (Mutex::new(Notes::new()), Mutex::new(None));
    let take = async |steps: &[Step], tell: bool| {
        let store: Arc<dyn Store> = Arc::new(Embedded::in_memory());
        let history = play(store, steps, tell, || Ok(())).await?;
        let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        for (what, count) in history {
            *notes.entry(what).or_default() += count;
        }
        Ok(())
    };
    let work = || {
        while failed.lock().is_ok_and(|failed| failed.is_none()) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if !seeds.contains(&seed) {
                break;
            }
            if let Err(failure) = run(seed, tell, &take) {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    if let Some(failure) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        panic!("{failure}");
    }
    if count >= HISTORIES {
        let notes = notes.into_inner().unwrap_or_else(PoisonError::into_inner);
        let happened = |what: &str| notes.get(what).copied().unwrap_or(0);
        let missing: Vec<_> = MUST_HAPPEN.iter().filter(|(what, least)| happened(what) < *least).collect();
        assert!(missing.is_empty(), "{missing:?} did not happen so often: {notes:#?}");
    }
}

/// Each call is answered the same by both homes, and they hold the same keys.
#[test]
fn both_homes_do_what_the_model_says() {
    // One server for all histories; each empties it.
    let server = RedisServer::start(&[]);
    let url = server.url();
    let connection = RefCell::new(redis::Client::open(url.as_str()).unwrap().get_connection().unwrap());
    let take = async |steps: &[Step], tell: bool| {
        redis::cmd("FLUSHALL").exec(&mut connection.borrow_mut()).unwrap();
        let both = Arc::new(Both { redis: Redis::new(&url).unwrap(), embedded: Embedded::in_memory() });
        let hold_the_same = || {
            prop_assert_eq!(both.embedded.dump(), keyspace(&mut connection.borrow_mut()));
            Ok(())
        };
        play(both.clone(), steps, tell, hold_the_same).await.map(drop)
    };
    let (seeds, tell) = seeds(HISTORIES_IN_BOTH);
    for seed in seeds {
        if let Err(failure) = run(seed, tell, &take) {
            panic!("{failure}");
        }
    }
}

/// Those that are asked for, or so many; and whether they are to be told.
fn seeds(count: u64) -> (Range<u64>, bool) {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse().expect("a number"));
    match number("SENTINEL_SEED") {
        Some(seed) => (seed..seed + 1, true),
        None => (0..number("SENTINEL_SEEDS").unwrap_or(count), false),
    }
}

/// Takes a history from its beginning to its end; `look` is called in between, too.
async fn play(
    store: Arc<dyn Store>,
    steps: &[Step],
    tell: bool,
    look: impl Fn() -> Result<(), TestCaseError>,
) -> Result<Notes, TestCaseError> {
    let mut world = World::over(store, tell);
    for (at, step) in steps.iter().enumerate() {
        world.take(step).await?;
        if at % 10 == 9 {
            look()?;
        }
    }
    look()?;
    world.end().await?;
    look()?;
    Ok(world.notes)
}

/// Makes the history of a seed, the same everywhere, and takes it. One that fails is shortened
/// and, on request, told.
fn run(
    seed: u64,
    tell: bool,
    take: &impl AsyncFn(&[Step], bool) -> Result<(), TestCaseError>,
) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let take = |steps: &[Step], tell| {
        let taken = catch_unwind(AssertUnwindSafe(|| runtime.block_on(take(steps, tell))));
        taken.unwrap_or_else(|_| Err(TestCaseError::fail("it panicked")))
    };
    let config = Config { cases: 1, failure_persistence: None, max_shrink_iters: 600, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let has_failed = Cell::new(false);
    let outcome = TestRunner::new_with_rng(config, random).run(&histories(), |steps| {
        take(&steps, false).inspect_err(|reason| {
            if !has_failed.replace(true) {
                eprintln!("seed {seed}, to be shortened: {reason}");
            }
        })
    });
    let (reason, steps) = match outcome {
        Ok(()) => return Ok(()),
        Err(TestError::Abort(reason)) => return Err(format!("seed {seed}: {reason}")),
        Err(TestError::Fail(reason, steps)) => shorten(reason.to_string(), steps, |steps| take(steps, false)),
    };
    if tell {
        drop(take(&steps, true));
    }
    let steps: Vec<_> = steps.iter().map(|step| format!("  {step:?}\n")).collect();
    let again = format!("SENTINEL_SEED={seed} cargo test -p sentinel-queue --test it model");
    Err(format!("{reason}\n{}{again}", steps.concat()))
}

/// Leaves out the steps that were needed only before others had become simpler.
fn shorten(
    mut reason: String,
    mut steps: Vec<Step>,
    take: impl Fn(&[Step]) -> Result<(), TestCaseError>,
) -> (String, Vec<Step>) {
    let mut at = 0;
    while at < steps.len() {
        let mut shorter = steps.clone();
        shorter.remove(at);
        match take(&shorter) {
            Err(failure) => (reason, steps, at) = (failure.to_string(), shorter, 0),
            Ok(()) => at += 1,
        }
    }
    (reason, steps)
}
