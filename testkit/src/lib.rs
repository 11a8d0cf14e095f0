//! What Sentinel's tests share: real servers of their own, on free ports, in their own
//! directories, gone when the test is.

mod certificates;
mod proxy;
mod redis;
mod web;

pub use {base64, fantoccini, http, hyper_util, url};

pub use self::{
    certificates::{Authority, Issued},
    proxy::Proxy,
    redis::RedisServer,
    web::WebServer,
};

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

/// How long a thing that a test waits for may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A port that was free a moment ago.
///
/// # Panics
///
/// If there is none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound port").port()
}

/// Looks again and again until `ready` gives something.
///
/// # Panics
///
/// After twenty seconds, naming what did not come.
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(since.elapsed() < PATIENCE, "{what} did not come within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
