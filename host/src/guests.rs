//! The runtime that guests run on.

use std::{io, num::NonZeroUsize};

use tokio::runtime::{Builder, Runtime};

/// A runtime for guests, with so many threads.
pub fn runtime(threads: NonZeroUsize) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .thread_name("guest")
        .worker_threads(threads.get())
        // With the defaults a busy runtime looks at its timers only every 61 polls, and a poll here
        // may last as long as a guest's time slice.
        .event_interval(1)
        .global_queue_interval(1)
        .enable_all()
        .build()
}
