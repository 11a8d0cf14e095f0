//! Runs scripts that only read, and lists keys, off the writer, each time on a snapshot of its own.
//!
//! It owns the Lua states for that and keeps those it does not use for the next call.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use redb::ReadableDatabase;

use super::{
    commands,
    database::unavailable,
    keyspace::{Keyspace, ROWS, Rows, Trouble},
    lua::Interpreter,
};
use crate::store::{Reply, Scanned, Script, StoreError};

/// How many keys are listed at once.
const SCANNED: usize = 1000;

/// The readers; as many read at once as ask.
#[derive(Default)]
pub(super) struct Readers {
    idle: Mutex<Vec<Interpreter>>,
}

impl Readers {
    /// Runs a script. It blocks its thread while it reads from the disk.
    pub(super) fn run(
        &self,
        database: &impl ReadableDatabase,
        script: Script,
        args: &[Bytes],
    ) -> Result<Reply, StoreError> {
        let interpreter = self.idle().pop().unwrap_or_else(Interpreter::new);
        let answer = read(database, &interpreter, script, args);
        self.idle().push(interpreter);
        answer
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Interpreter>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some keys that begin with `prefix`, and the first of those that were not looked at.
pub(super) fn scan(
    database: &impl ReadableDatabase,
    prefix: &[u8],
    from: &[u8],
) -> Result<Scanned, StoreError> {
    let keys = snapshot(database)?.keys(prefix, from, SCANNED).map_err(|error| match error {
        Trouble::Refused(text) => StoreError::Broken(text),
        Trouble::Storage(error) => unavailable(error),
    })?;
    let last = if keys.len() < SCANNED { None } else { keys.last() };
    // Between a key and that with a zero behind it there is none.
    let next = last.map(|last| [last, b"\0".as_slice()].concat().into());
    Ok((keys, next))
}

fn read(
    database: &impl ReadableDatabase,
    interpreter: &Interpreter,
    script: Script,
    args: &[Bytes],
) -> Result<Reply, StoreError> {
    let keyspace = snapshot(database)?;
    interpreter.serve(
        |command, args| commands::read(&keyspace, command, args),
        |interpreter| interpreter.run(script, args),
    )
}

fn snapshot<D: ReadableDatabase>(database: &D) -> Result<Keyspace<impl Rows + use<D>>, StoreError> {
    let transaction = database.begin_read().map_err(unavailable)?;
    let rows = transaction.open_table(ROWS).map_err(unavailable)?;
    Ok(Keyspace::over(rows))
}
