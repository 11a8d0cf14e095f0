//! Runs scripts that only read, off the writer, each time on a snapshot of its own.
//!
//! It owns the Lua states for that and keeps those it does not use for the next call.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use redb::{Database, ReadableDatabase};

use super::{
    commands,
    database::unavailable,
    keyspace::{Keyspace, ROWS, Rows},
    lua::Interpreter,
};
use crate::store::{Reply, Script, StoreError};

/// The readers; as many read at once as ask.
#[derive(Default)]
pub(super) struct Readers {
    idle: Mutex<Vec<Interpreter>>,
}

impl Readers {
    /// Runs a script. It blocks its thread while it reads from the disk.
    pub(super) fn run(
        &self,
        database: &Database,
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

fn read(
    database: &Database,
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

fn snapshot(database: &Database) -> Result<Keyspace<impl Rows + use<>>, StoreError> {
    let transaction = database.begin_read().map_err(unavailable)?;
    let rows = transaction.open_table(ROWS).map_err(unavailable)?;
    Ok(Keyspace::over(rows))
}
