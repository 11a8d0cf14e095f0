//! The one thread that writes: it runs all calls that wait in one transaction, and answers them
//! when that is on disk.
//!
//! It owns the order of calls and the life of the database. It does not know what scripts do.
//!
//! Invariants: no call that wrote is answered before its transaction is durable, and nothing that
//! it said is heard before; when anything fails, none of a batch's calls is answered as done, and
//! those who listen hear a gap once the database is there again.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use redb::{Database, Durability};
use tokio::sync::{oneshot, watch};

use super::{
    channels::Channels,
    commands,
    database::{Handle, unavailable},
    keyspace::{Keyspace, ROWS, Said, Trouble, Writable},
    lua::Interpreter,
};
use crate::store::{Reply, Script, StoreError};

/// How many calls one transaction holds at most.
const BATCH: usize = 1000;

/// The pause before a database that failed is opened again doubles from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// What the writer is asked.
pub(super) enum Job {
    /// To run a script.
    Run(Call),
    /// To take a marker.
    Take(Taker),
    /// To open the database again: a reader found that it failed.
    Reopen,
}

/// A script that is to be run.
pub(super) struct Call {
    pub(super) script: Which,
    pub(super) args: Vec<Bytes>,
    pub(super) answer: oneshot::Sender<Result<Reply, StoreError>>,
}

/// Which script a call runs.
pub(super) enum Which {
    /// One of the queue's.
    Script(Script),
    /// A test's.
    #[cfg(test)]
    Source(&'static str),
}

/// Somebody who takes a marker from the first of these keys that holds one.
pub(super) struct Taker {
    pub(super) keys: Vec<Bytes>,
    pub(super) answer: oneshot::Sender<Result<bool, StoreError>>,
}

/// The writer, until its thread runs it.
pub(super) struct Writer {
    pub(super) handle: Arc<Handle>,
    pub(super) jobs: Receiver<Job>,
    /// Told each time that a marker was set where there was none.
    pub(super) marked: watch::Sender<()>,
    pub(super) channels: Arc<Channels>,
    /// Whether the last that was heard of the database is that it failed.
    pub(super) failing: bool,
}

/// All jobs that waited.
#[derive(Default)]
struct Batch {
    calls: Vec<Call>,
    takers: Vec<Taker>,
    reopen: bool,
}

impl Batch {
    fn add(&mut self, job: Job) {
        match job {
            Job::Run(call) => self.calls.push(call),
            Job::Take(taker) => self.takers.push(taker),
            Job::Reopen => self.reopen = true,
        }
    }
}

impl Writer {
    /// Works until nobody is left to ask.
    pub(super) fn run(mut self) {
        let interpreter = Interpreter::new();
        while let Ok(first) = self.jobs.recv() {
            let mut batch = Batch::default();
            batch.add(first);
            self.jobs.try_iter().take(BATCH - 1).for_each(|job| batch.add(job));
            if let Err(error) = self.work(&interpreter, batch) {
                self.reopen(&error);
            }
        }
    }

    fn work(&mut self, interpreter: &Interpreter, batch: Batch) -> Result<(), StoreError> {
        let Batch { calls, mut takers, reopen } = batch;
        let database = self.handle.get();
        let outcome = database.and_then(|database| {
            if !calls.is_empty() {
                self.run_calls(&database, interpreter, calls)?;
            }
            // In a transaction of their own: nothing is lost if a marker comes back after a
            // crash, so takers need not wait for the disk.
            take_markers(&database, &mut takers).map_err(unavailable)
        });
        if let Err(error) = &outcome {
            for taker in takers {
                send(taker.answer, Err(error.clone()));
            }
        }
        if reopen && outcome.is_ok() {
            return Err(StoreError::Unavailable("a reader could not read".into()));
        }
        outcome
    }

    /// Runs calls and answers them, whatever the outcome is.
    fn run_calls(
        &mut self,
        database: &Database,
        interpreter: &Interpreter,
        calls: Vec<Call>,
    ) -> Result<(), StoreError> {
        match transact(database, interpreter, &calls) {
            Ok(Done { answers, changed, marked, said }) => {
                self.channels.say(said);
                for (call, answer) in calls.into_iter().zip(answers) {
                    send(call.answer, answer);
                }
                if marked {
                    self.marked.send_replace(());
                }
                if changed && self.failing {
                    self.failing = false;
                    tracing::info!("the embedded store takes writes again");
                }
                Ok(())
            }
            Err(error) => {
                for call in calls {
                    send(call.answer, Err(error.clone()));
                }
                Err(error)
            }
        }
    }

    /// Opens the database again, for as long as it takes and somebody is there to ask.
    fn reopen(&mut self, error: &StoreError) {
        // Said once, not at every write to a full disk.
        if !self.failing {
            self.failing = true;
            tracing::error!(%error, "the embedded store failed and is opened again until it takes writes");
        }
        self.handle.drop_database();
        let mut pause = FIRST_PAUSE;
        while self.refuse_for(pause, error) {
            match self.handle.reopen() {
                // It may hold what was written when it failed, and then nobody heard of that.
                Ok(()) => return self.channels.say_gap(),
                Err(reason) => tracing::warn!(reason, "cannot open the embedded store again"),
            }
            pause = LAST_PAUSE.min(pause * 2);
        }
    }

    /// Refuses all jobs for a while; `false` if nobody is left to ask.
    fn refuse_for(&self, pause: Duration, error: &StoreError) -> bool {
        let until = Instant::now() + pause;
        loop {
            match self.jobs.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Job::Run(call)) => send(call.answer, Err(error.clone())),
                Ok(Job::Take(taker)) => send(taker.answer, Err(error.clone())),
                Ok(Job::Reopen) => {}
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }
}

/// What one transaction came to.
struct Done {
    answers: Vec<Result<Reply, StoreError>>,
    changed: bool,
    marked: bool,
    said: Vec<Said>,
}

/// Runs calls in one transaction, which is durable on return.
fn transact(database: &Database, interpreter: &Interpreter, calls: &[Call]) -> Result<Done, StoreError> {
    let transaction = database.begin_write().map_err(unavailable)?;
    let mut keyspace = Keyspace::over(transaction.open_table(ROWS).map_err(unavailable)?);
    let answers = interpreter.serve(
        |command, args| commands::write(&mut keyspace, command, args),
        |interpreter| {
            // A script that fails keeps what it wrote and said, as in Redis; a store that fails
            // ends all.
            let answer = |call: &Call| match run(interpreter, call) {
                Err(error @ StoreError::Unavailable(_)) => Err(error),
                answer => Ok(answer),
            };
            calls.iter().map(answer).collect::<Result<Vec<_>, _>>()
        },
    )?;
    let (changed, marked, said) = (keyspace.changed(), keyspace.marked(), keyspace.take_said());
    drop(keyspace);
    if changed {
        transaction.commit().map_err(unavailable)?;
    } else {
        transaction.abort().map_err(unavailable)?;
    }
    Ok(Done { answers, changed, marked, said })
}

fn run(interpreter: &Interpreter, call: &Call) -> Result<Reply, StoreError> {
    match call.script {
        Which::Script(script) => interpreter.run(script, &call.args),
        #[cfg(test)]
        Which::Source(source) => interpreter.eval(source, &call.args),
    }
}

/// Takes a marker for each who still waits for one, and leaves in `takers` those that an error
/// left without an answer.
fn take_markers(database: &Database, takers: &mut Vec<Taker>) -> Result<(), redb::Error> {
    // A marker must not be taken for somebody who has gone.
    takers.retain(|taker| !taker.answer.is_closed());
    if takers.is_empty() {
        return Ok(());
    }
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::None)?;
    let mut keyspace = Keyspace::over(transaction.open_table(ROWS)?);
    let mut taken = Vec::with_capacity(takers.len());
    for taker in &*takers {
        taken.push(match take_marker(&mut keyspace, &taker.keys) {
            Ok(found) => Ok(found),
            Err(Trouble::Refused(text)) => Err(StoreError::Broken(text)),
            Err(Trouble::Storage(error)) => return Err(error.into()),
        });
    }
    let changed = keyspace.changed();
    drop(keyspace);
    if changed {
        transaction.commit()?;
    } else {
        transaction.abort()?;
    }
    for (taker, found) in takers.drain(..).zip(taken) {
        send(taker.answer, found);
    }
    Ok(())
}

fn take_marker(keyspace: &mut Keyspace<Writable<'_>>, keys: &[Bytes]) -> Result<bool, Trouble> {
    for key in keys {
        if !keyspace.pop_members(key, 1)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn send<T>(to: oneshot::Sender<T>, answer: T) {
    // Whoever asked may have gone; what was done stays done.
    drop(to.send(answer));
}
