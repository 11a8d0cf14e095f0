//! Directories that attempts have to themselves.
//!
//! Owns where they are, from before an attempt to after it. Invariants: what an attempt left is
//! removed before its report is out; what a process left that died is removed by the next one that
//! looks, which knows by a lock that its owner is gone.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use rustix::fs::{FlockOperation, flock};
use tempfile::{Builder, TempDir};
use wasmtime_wasi::runtime::spawn_blocking;

/// Where the directories of all attempts of this process are made.
#[derive(Debug)]
pub(crate) struct ScratchRoot {
    /// Shared with other processes; none: somewhere among the system's temporary directories.
    parent: Option<PathBuf>,
    own: OnceLock<Own>,
}

/// This process's directory, locked for as long as it lives.
#[derive(Debug)]
struct Own {
    dir: TempDir,
    _lock: Option<File>,
}

/// One attempt's directory.
#[derive(Debug)]
pub(crate) struct Scratch(TempDir);

impl ScratchRoot {
    /// Removes what others have left. Makes nothing until it is needed.
    pub(crate) fn new(parent: Option<&Path>) -> Self {
        let root = Self { parent: parent.map(Path::to_owned), own: OnceLock::new() };
        root.sweep();
        root
    }

    /// Removes the directories of processes that are gone.
    pub(crate) fn sweep(&self) {
        let Some(parent) = self.parent.as_deref().filter(|parent| parent.exists()) else { return };
        if let Err(error) = remove_abandoned(parent) {
            tracing::warn!(dir = %parent.display(), %error, "old scratch directories cannot be removed");
        }
    }

    /// An empty directory that nobody else may look into. Blocks.
    pub(crate) fn make(&self) -> io::Result<Scratch> {
        if self.own.get().is_none() {
            // Of two that come at once, one directory is not needed, and goes.
            drop(self.own.set(Own::make(self.parent.as_deref())?));
        }
        let own = self.own.get().ok_or(io::ErrorKind::NotFound)?;
        private().tempdir_in(own.dir.path()).map(Scratch)
    }
}

impl Own {
    fn make(parent: Option<&Path>) -> io::Result<Self> {
        let Some(parent) = parent else { return Ok(Self { dir: private().tempdir()?, _lock: None }) };
        fs::create_dir_all(parent)?;
        // Nobody takes it for abandoned before it is locked.
        let _sweeping = locked(parent, FlockOperation::LockExclusive)?;
        let dir = private().tempdir_in(parent)?;
        let lock = locked(dir.path(), FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { dir, _lock: Some(lock) })
    }
}

impl Scratch {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Removes it with all that is in it.
    pub(crate) async fn remove(self) {
        let path = self.path().to_owned();
        let removed = spawn_blocking(move || {
            // Something that the guest began may still be making an entry.
            (0..3).find_map(|_| fs::remove_dir_all(self.path()).ok()).ok_or_else(|| self.0.close())
        });
        if let Err(Err(error)) = removed.await {
            tracing::error!(dir = %path.display(), %error, "a scratch directory cannot be removed");
        }
    }
}

fn private<'a>() -> Builder<'a, 'a> {
    let mut builder = Builder::new();
    builder.prefix("").permissions(Permissions::from_mode(0o700));
    builder
}

fn locked(dir: &Path, how: FlockOperation) -> io::Result<File> {
    let file = File::open(dir)?;
    flock(&file, how)?;
    Ok(file)
}

fn remove_abandoned(parent: &Path) -> io::Result<()> {
    let _sweeping = locked(parent, FlockOperation::LockExclusive)?;
    for entry in fs::read_dir(parent)? {
        let dir = entry?.path();
        // One that is locked belongs to a process that lives.
        if let Ok(_gone) = locked(&dir, FlockOperation::NonBlockingLockExclusive) {
            fs::remove_dir_all(&dir)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    #[tokio::test]
    async fn a_directory_is_private_and_goes_with_what_is_in_it() {
        let parent = tempfile::tempdir().unwrap();
        let root = ScratchRoot::new(Some(parent.path()));
        let scratch = root.make().unwrap();
        let path = scratch.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        fs::create_dir(path.join("a")).unwrap();
        fs::write(path.join("a/b"), "c").unwrap();
        scratch.remove().await;
        assert!(!path.exists());
        drop(root);
        assert_eq!(count(parent.path()), 0);
    }

    #[test]
    fn what_the_dead_left_is_removed_and_what_the_living_have_is_not() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir_all(parent.path().join("abandoned/attempt")).unwrap();
        let root = ScratchRoot::new(Some(parent.path()));
        assert_eq!(count(parent.path()), 0);
        let scratch = root.make().unwrap();
        fs::create_dir(parent.path().join("abandoned")).unwrap();
        drop(ScratchRoot::new(Some(parent.path())));
        assert!(scratch.path().exists());
        assert_eq!(count(parent.path()), 1);
    }
}
