//! A store on disk that is looked at and not changed, not even by opening it.
//!
//! For whoever asks about a store that nobody serves. It answers questions and refuses the rest.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use redb::{DatabaseError, ReadOnlyDatabase};

use super::{
    channels::Channels,
    database::FILE,
    reader::{self, Readers},
};
use crate::store::{Answer, Durability, Reply, Scanned, Script, Store, StoreError, Subscription};

/// A store that is only read.
pub struct ReadOnly {
    database: Arc<ReadOnlyDatabase>,
    readers: Arc<Readers>,
    channels: Arc<Channels>,
}

/// Why a store cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CannotRead {
    /// Another process has it open.
    #[error("another process has it open")]
    Held,
    /// Whoever had it open crashed: whoever opens it next mends it, which takes writing.
    #[error("it was not closed, and is looked through when it is next opened")]
    NotClosed,
    /// It is damaged, or something else.
    #[error("{0}")]
    Unfit(String),
}

impl ReadOnly {
    /// The store kept in a directory. While this is there, nobody can open it to write.
    pub fn open(directory: &Path) -> Result<Self, CannotRead> {
        let database = ReadOnlyDatabase::open(directory.join(FILE)).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => CannotRead::Held,
            DatabaseError::RepairAborted => CannotRead::NotClosed,
            error => CannotRead::Unfit(error.to_string()),
        })?;
        Ok(Self { database: Arc::new(database), readers: Arc::default(), channels: Arc::default() })
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadOnlyDatabase, &Readers) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (database, readers) = (Arc::clone(&self.database), Arc::clone(&self.readers));
        let run = tokio::task::spawn_blocking(move || read(&database, &readers));
        run.await.unwrap_or_else(|error| Err(StoreError::Broken(error.to_string())))
    }
}

fn refused() -> StoreError {
    StoreError::Unfit("it is only read here".into())
}

impl Store for ReadOnly {
    fn run(&self, script: Script, args: Vec<Bytes>) -> Answer<'_, Reply> {
        Box::pin(async move {
            if !script.reads_only() {
                return Err(refused());
            }
            self.read(move |database, readers| readers.run(database, script, &args)).await
        })
    }

    fn take_marker(&self, _: Vec<Bytes>, _: Duration) -> Answer<'_, bool> {
        Box::pin(async { Err(refused()) })
    }

    fn subscribe(&self, channel: Bytes) -> Subscription {
        self.channels.subscribe(channel)
    }

    fn scan(&self, prefix: Bytes, cursor: Option<Bytes>) -> Answer<'_, Scanned> {
        let from = cursor.unwrap_or_default();
        Box::pin(self.read(move |database, _| reader::scan(database, &prefix, &from)))
    }

    fn check(&self) -> Answer<'_, Durability> {
        Box::pin(async { Ok(Durability::Always) })
    }
}
