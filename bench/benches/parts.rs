//! How long parts of Sentinel take, each alone: `cargo xtask bench --parts`.

use std::{path::PathBuf, sync::Arc};

use divan::{AllocProfiler, Bencher, counter::ItemsCount};
use sentinel_bench::parts::{Attempts, Calls, Requests, TASKS};
use sentinel_queue::store::redis::Redis;
use sentinel_testkit::RedisServer;

/// Says how often each part asks for memory.
#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// The engine: store, instance, call, drop.
#[divan::bench]
fn attempt(bencher: Bencher) {
    let noop = PathBuf::from(std::env::var_os("NOOP").expect("NOOP names the file of the job `noop`"));
    let attempts = Attempts::new(&noop, None).expect("a job");
    bencher.bench_local(|| attempts.once().expect("an attempt"));
}

/// The API: from a request to its answer, without a socket; the store is in memory.
#[divan::bench]
fn request(bencher: Bencher) {
    let requests = Requests::new().expect("a router");
    bencher.bench_local(|| requests.submit().expect("a submit"));
}

/// The queue's scripts, in Redis: with the client, the socket and the server.
mod redis {
    use super::{Arc, Bencher, Calls, Redis, RedisServer, TASKS, calls};

    #[divan::bench(args = [1, TASKS])]
    fn submit(bencher: Bencher, tasks: usize) {
        let (_server, calls) = over_redis();
        calls::submit(bencher, &calls, tasks);
    }

    #[divan::bench]
    fn settle_and_claim(bencher: Bencher) {
        let (_server, calls) = over_redis();
        calls::settle_and_claim(bencher, calls);
    }

    fn over_redis() -> (RedisServer, Calls) {
        let server = RedisServer::start(&[]);
        let store = Calls::over(|| Ok(Arc::new(Redis::new(&server.url())?)));
        (server, store.expect("a queue"))
    }
}

/// The same in the embedded store: Lua and the keyspace, without a disk.
mod embedded {
    use super::{Bencher, Calls, TASKS, calls};

    #[divan::bench(args = [1, TASKS])]
    fn submit(bencher: Bencher, tasks: usize) {
        calls::submit(bencher, &Calls::embedded().expect("a queue"), tasks);
    }

    #[divan::bench]
    fn settle_and_claim(bencher: Bencher) {
        calls::settle_and_claim(bencher, Calls::embedded().expect("a queue"));
    }
}

mod calls {
    use super::{Bencher, Calls, ItemsCount, TASKS};

    pub(super) fn submit(bencher: Bencher, calls: &Calls, tasks: usize) {
        bencher.counter(ItemsCount::new(tasks)).bench_local(|| calls.submit(tasks).expect("a submit"));
    }

    /// Settles [`TASKS`] and claims as many.
    pub(super) fn settle_and_claim(bencher: Bencher, calls: Calls) {
        let calls = std::cell::RefCell::new(calls);
        bencher
            .counter(ItemsCount::new(TASKS))
            .with_inputs(|| calls.borrow().submit(TASKS).expect("a submit"))
            .bench_local_values(|()| calls.borrow_mut().turn().expect("a turn"));
    }
}
