//! The one handle to the database, for the writer and for those who read.
//!
//! It owns where the database is and how it is opened; what is in it is the keyspace's.
//!
//! Invariant: a database that failed is dropped before it is opened again, since redb refuses
//! every call after one I/O error.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use redb::{Builder, Database, DatabaseError, ReadableDatabase, backends::InMemoryBackend};

use super::keyspace::ROWS;
use crate::store::StoreError;

/// How much of the database is kept in memory.
const CACHE: usize = 64 << 20;

/// The database's name in its directory.
pub(super) const FILE: &str = "queue.redb";

/// Where the database is, and the handle to it while it is open.
pub(super) struct Handle {
    file: Option<PathBuf>,
    database: RwLock<Option<Arc<Database>>>,
}

impl Handle {
    /// A database in a directory, which is made if it is not there.
    pub(super) fn in_directory(directory: &Path) -> Result<Self, StoreError> {
        let unfit = |error: &dyn std::fmt::Display| {
            StoreError::Unfit(format!("cannot open the queue in {}: {error}", directory.display()))
        };
        fs::create_dir_all(directory).map_err(|error| unfit(&error))?;
        let file = directory.join(FILE);
        let database = open(&file).map_err(|error| match error {
            redb::Error::DatabaseAlreadyOpen => StoreError::Unfit(format!(
                "{} is open in another process: stop that one, or choose another data directory",
                file.display()
            )),
            error => unfit(&error),
        })?;
        // Without this a power cut could take the new file's name, and all that is in it.
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(|error| unfit(&error))?;
        Ok(Self { file: Some(file), database: RwLock::new(Some(Arc::new(database))) })
    }

    /// A database that nobody can open again.
    pub(super) fn in_memory() -> Self {
        let database = Builder::new()
            .set_cache_size(CACHE)
            .create_with_backend(InMemoryBackend::new())
            .map_err(redb::Error::from)
            .and_then(prepared)
            .expect("a database in memory needs nothing but memory");
        Self { file: None, database: RwLock::new(Some(Arc::new(database))) }
    }

    /// Whether it outlives the process.
    pub(super) fn is_durable(&self) -> bool {
        self.file.is_some()
    }

    /// The database, unless it is away.
    pub(super) fn get(&self) -> Result<Arc<Database>, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        database
            .clone()
            .ok_or_else(|| StoreError::Unavailable("the database failed and is being opened again".into()))
    }

    /// Lets go of a database that failed.
    pub(super) fn drop_database(&self) {
        self.database.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Opens the database again, once the last reader of the old one has let go of it.
    pub(super) fn reopen(&self) -> Result<(), String> {
        let file = self.file.as_ref().ok_or("what was in memory is lost")?;
        let database = open(file).map_err(|error| error.to_string())?;
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(database));
        Ok(())
    }
}

fn open(file: &Path) -> Result<Database, redb::Error> {
    let database: Result<_, DatabaseError> = Builder::new().set_cache_size(CACHE).create(file);
    prepared(database?)
}

/// Makes the table, but writes only if it is not there: a full disk can be read.
fn prepared(database: Database) -> Result<Database, redb::Error> {
    if database.begin_read()?.open_table(ROWS).is_err() {
        let transaction = database.begin_write()?;
        transaction.open_table(ROWS)?;
        transaction.commit()?;
    }
    Ok(database)
}

/// What an error of the database means for whoever called.
pub(super) fn unavailable(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Unavailable(error.into().to_string())
}
