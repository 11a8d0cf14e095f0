//! The home that needs no server: the same scripts, run in this process over a file or in memory.
//!
//! It owns one database, one thread that writes to it, the Lua states of those who read and the
//! channels on which scripts speak to those who listen.
//! It knows as little of tasks as any store: it implements the Redis commands that scripts use
//! (`commands`) over a small ordered table (`keyspace`), and no more.
//!
//! Invariant: a call that wrote is answered when it is on disk; calls that wait together share
//! one transaction and its fsync.

mod channels;
mod commands;
mod database;
pub mod dump;
mod keyspace;
mod lua;
mod number;
mod read_only;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    path::Path,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use redb::{Database, ReadableDatabase};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, timeout_at},
};

pub use self::read_only::{CannotRead, ReadOnly};
use self::{
    channels::Channels,
    database::Handle,
    dump::Dump,
    keyspace::{Keyspace, ROWS},
    reader::Readers,
    writer::{Call, Job, Taker, Which, Writer},
};
use super::{Answer, Durability, Reply, Scanned, Script, Store, StoreError, Subscription};

/// A store in this process. Its methods need a tokio runtime around them.
pub struct Embedded {
    handle: Arc<Handle>,
    readers: Arc<Readers>,
    /// There until it is dropped: the writer ends when nobody is left to ask it.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    marked: watch::Receiver<()>,
    channels: Arc<Channels>,
}

impl Embedded {
    /// The name of its file in its directory.
    pub const FILE: &str = database::FILE;

    /// The store kept in a directory (as `queue.redb`), which is made if it is not there.
    ///
    /// `Unfit` if it cannot be opened, above all because another process has it open. After a
    /// crash this reads the whole file, to make sure of it.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        Handle::in_directory(directory).map(Self::over)
    }

    /// A store that ends with this value.
    pub fn in_memory() -> Self {
        Self::over(Handle::in_memory())
    }

    fn over(handle: Handle) -> Self {
        let handle = Arc::new(handle);
        let (jobs, queue) = mpsc::channel();
        let (marked, watched) = watch::channel(());
        let channels = Arc::<Channels>::default();
        let writer = Writer {
            handle: Arc::clone(&handle),
            jobs: queue,
            marked,
            channels: Arc::clone(&channels),
            failing: false,
        };
        let writer = thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run())
            .expect("a thread can be started");
        Self {
            handle,
            readers: Arc::default(),
            jobs: Some(jobs),
            writer: Some(writer),
            marked: watched,
            channels,
        }
    }

    /// All keys and what they hold: for tests.
    ///
    /// # Panics
    ///
    /// If the database cannot be read.
    #[doc(hidden)]
    pub fn dump(&self) -> Dump {
        let database = self.handle.get().expect("the database is open");
        let rows = database.begin_read().expect("it can be read").open_table(ROWS).expect("it is prepared");
        Keyspace::over(rows).dump().expect("it can be read")
    }

    /// Asks the writer, unless that would have to wait for a database that is away.
    async fn ask<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Job,
    ) -> Result<T, StoreError> {
        self.handle.get()?;
        let (answer, answered) = oneshot::channel();
        self.tell(job(answer));
        answered.await.unwrap_or_else(|_| Err(writer_gone()))
    }

    fn tell(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // If the writer has gone, so has the sender of the answer, and whoever waits for it
            // is told by that.
            drop(jobs.send(job));
        }
    }

    /// Reads off the writer, on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        what: &'static str,
        read: impl FnOnce(&Database, &Readers) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (database, readers) = (self.handle.get()?, Arc::clone(&self.readers));
        let run = tokio::task::spawn_blocking(move || read(&database, &readers));
        let answer = run.await.unwrap_or_else(|error| Err(StoreError::Broken(format!("{what}: {error}"))));
        if let Err(StoreError::Unavailable(_)) = answer {
            self.tell(Job::Reopen);
        }
        answer
    }
}

impl Store for Embedded {
    fn run(&self, script: Script, args: Vec<Bytes>) -> Answer<'_, Reply> {
        Box::pin(async move {
            if script.reads_only() {
                self.read(script.name(), move |database, readers| readers.run(database, script, &args)).await
            } else {
                self.ask(|answer| Job::Run(Call { script: Which::Script(script), args, answer })).await
            }
        })
    }

    fn take_marker(&self, keys: Vec<Bytes>, timeout: Duration) -> Answer<'_, bool> {
        Box::pin(async move {
            let deadline = Instant::now() + timeout;
            let mut marked = self.marked.clone();
            loop {
                // First this, then the look: a marker that is set in between is not missed.
                marked.mark_unchanged();
                let keys = keys.clone();
                if self.ask(|answer| Job::Take(Taker { keys, answer })).await? {
                    return Ok(true);
                }
                match timeout_at(deadline, marked.changed()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Err(writer_gone()),
                    Err(_elapsed) => return Ok(false),
                }
            }
        })
    }

    fn subscribe(&self, channel: Bytes) -> Subscription {
        self.channels.subscribe(channel)
    }

    fn scan(&self, prefix: Bytes, cursor: Option<Bytes>) -> Answer<'_, Scanned> {
        let from = cursor.unwrap_or_default();
        Box::pin(self.read("scan", move |database, _| reader::scan(database, &prefix, &from)))
    }

    fn check(&self) -> Answer<'_, Durability> {
        Box::pin(async move {
            self.handle.get()?;
            Ok(if self.handle.is_durable() { Durability::Always } else { Durability::None })
        })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.jobs.take();
        let panicked = self.writer.take().is_some_and(|writer| writer.join().is_err());
        if panicked {
            tracing::error!("the embedded store's writer panicked");
        }
    }
}

fn writer_gone() -> StoreError {
    StoreError::Broken("the embedded store's writer has stopped".into())
}
