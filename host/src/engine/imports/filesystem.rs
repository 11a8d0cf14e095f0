//! `wasi:filesystem` over the attempt's scratch directory, with a quota.
//!
//! Owns the counting of what a guest keeps there. Paths are wasmtime's business: it opens nothing
//! outside of the directory, whatever links say. Invariant: files and entries never hold more than
//! the quota. Everything that changes the directory does so while it holds the count, one after
//! the other; a file has one name only, and gives its bytes up when that goes, also if the guest
//! keeps it open.

mod writer;

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    sync::{Arc, Weak},
};

use tokio::sync::{Mutex, Semaphore};
use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::{
    filesystem::{Descriptor, WasiFilesystemCtxView},
    p2::{
        DynInputStream, DynOutputStream, FsError, FsResult, ReaddirIterator,
        bindings::filesystem::types::{
            self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode,
            Filesize, HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags,
            PathFlags,
        },
    },
    runtime::spawn_blocking,
};

use self::writer::{Place, Writer};
use crate::engine::host::Host;

/// What each name in the directory counts, besides the file's bytes: about what it takes on disk.
const ENTRY_BYTES: u64 = 4096;

/// How many files and directories may be open at once: each is a file descriptor of the worker's.
const OPEN: usize = 64;

/// How many files may be written at once: each may wait for its turn on a thread of the worker's.
const WRITERS: usize = 16;

/// How many directories may be listed at once: each listing is held whole.
const LISTINGS: usize = 8;

/// Puts the counting file system in the place of wasmtime's.
pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    types::add_to_linker::<Host, Counted>(linker, |host| {
        let (filesystem, scratch) = host.filesystem_and_scratch();
        Filesystem { filesystem, scratch }
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The count of one attempt's scratch directory.
pub(crate) struct Quota {
    used: Arc<Mutex<Used>>,
    open: Vec<Weak<File>>,
    listings: usize,
    writers: Arc<Semaphore>,
}

/// What is held, of what may be.
struct Used {
    bytes: u64,
    limit: u64,
}

impl Quota {
    /// For an empty directory.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            used: Arc::new(Mutex::new(Used { bytes: 0, limit })),
            open: Vec::new(),
            listings: 0,
            writers: Arc::new(Semaphore::new(WRITERS)),
        }
    }

    fn check_open(&mut self) -> Result<(), ErrorCode> {
        // A stream keeps its file open when the descriptor has gone.
        self.open.retain(|file| file.strong_count() > 0);
        if self.open.len() < OPEN { Ok(()) } else { Err(ErrorCode::Busy) }
    }
}

impl Used {
    fn take(&mut self, bytes: u64) -> io::Result<()> {
        match self.bytes.checked_add(bytes).filter(|sum| *sum <= self.limit) {
            Some(sum) => {
                self.bytes = sum;
                Ok(())
            }
            None => Err(rustix::io::Errno::NOSPC.into()),
        }
    }

    fn give_back(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// An entry that came to nothing counts nothing.
    fn settle_entry(&mut self, made: FsResult<()>) -> FsResult<()> {
        if made.is_err() {
            self.give_back(ENTRY_BYTES);
        }
        made
    }

    /// Writes all of `bytes`, or as much as the disk takes.
    fn write(&mut self, file: &File, bytes: &[u8], place: Place) -> io::Result<()> {
        let before = file.metadata()?.len();
        let start = match place {
            Place::At(start) => start,
            Place::End => before,
        };
        let end = start.checked_add(bytes.len() as u64).ok_or(rustix::io::Errno::FBIG)?;
        let growth = end.saturating_sub(before);
        self.take(growth)?;
        let written = file.write_all_at(bytes, start);
        if written.is_err() {
            let after = file.metadata().map_or(end.max(before), |metadata| metadata.len());
            self.give_back(growth.saturating_sub(after.saturating_sub(before)));
        }
        written
    }

    fn set_size(&mut self, file: &File, size: u64) -> io::Result<()> {
        let before = file.metadata()?.len();
        let growth = size.saturating_sub(before);
        self.take(growth)?;
        let changed = file.set_len(size);
        self.give_back(if changed.is_ok() { before.saturating_sub(size) } else { growth });
        changed
    }

    /// Takes what a file still holds, if it has no name any more.
    fn reclaim(&mut self, file: &File) -> io::Result<()> {
        let metadata = file.metadata()?;
        if metadata.nlink() == 0 {
            file.set_len(0)?;
            self.give_back(metadata.len().saturating_add(ENTRY_BYTES));
        }
        Ok(())
    }
}

/// Marks the data of the counting file system.
struct Counted;

impl HasData for Counted {
    type Data<'a> = Filesystem<'a>;
}

/// wasmtime's file system, and the count; without one there is no directory to be had.
pub(crate) struct Filesystem<'a> {
    filesystem: WasiFilesystemCtxView<'a>,
    scratch: Option<&'a mut Quota>,
}

type Fd = Resource<Descriptor>;

fn again(fd: &Fd) -> Fd {
    Resource::new_borrow(fd.rep())
}

impl Filesystem<'_> {
    fn quota(&mut self) -> Result<&mut Quota, ErrorCode> {
        self.scratch.as_deref_mut().ok_or(ErrorCode::NotPermitted)
    }

    /// A file that may be written.
    fn writable(&self, fd: &Fd) -> FsResult<Arc<File>> {
        match self.filesystem.table.get(fd)? {
            Descriptor::File(file) if file.perms.write_not_permitted() => Err(ErrorCode::NotPermitted.into()),
            Descriptor::File(file) => Ok(Arc::clone(&file.file)),
            Descriptor::Dir(_) => Err(ErrorCode::BadDescriptor.into()),
        }
    }

    /// Changes a file and the count with it, where waiting is allowed.
    async fn change<T: Send + 'static>(
        &mut self,
        file: Arc<File>,
        act: impl FnOnce(&mut Used, &File) -> io::Result<T> + Send + 'static,
    ) -> FsResult<T> {
        let mut used = Arc::clone(&self.quota()?.used).lock_owned().await;
        Ok(spawn_blocking(move || act(&mut used, &file)).await?)
    }

    /// The file of that name, to take its bytes when the name has gone; none for what has no bytes.
    async fn file_at(&mut self, fd: &Fd, path: &str) -> FsResult<Option<Arc<File>>> {
        let opened = self
            .filesystem
            .open_at(
                again(fd),
                PathFlags::empty(),
                path.to_owned(),
                OpenFlags::empty(),
                DescriptorFlags::WRITE,
            )
            .await;
        let Ok(opened) = opened else { return Ok(None) };
        let file = self.writable(&opened).ok();
        self.filesystem.table.delete(opened)?;
        Ok(file)
    }

    fn stream(&mut self, fd: &Fd, place: Place) -> FsResult<Resource<DynOutputStream>> {
        let file = self.writable(fd)?;
        let quota = self.quota()?;
        let permit = Arc::clone(&quota.writers).try_acquire_owned().map_err(|_| ErrorCode::Busy)?;
        let writer: DynOutputStream = Box::new(Writer::new(file, Arc::clone(&quota.used), place, permit));
        Ok(self.filesystem.table.push(writer)?)
    }
}

impl types::Host for Filesystem<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        self.filesystem.convert_error_code(error)
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        self.filesystem.filesystem_error_code(error)
    }
}

impl HostDirectoryEntryStream for Filesystem<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<ReaddirIterator>,
    ) -> FsResult<Option<DirectoryEntry>> {
        self.filesystem.read_directory_entry(stream).await
    }

    fn drop(&mut self, stream: Resource<ReaddirIterator>) -> wasmtime::Result<()> {
        if let Some(quota) = self.scratch.as_deref_mut() {
            quota.listings = quota.listings.saturating_sub(1);
        }
        HostDirectoryEntryStream::drop(&mut self.filesystem, stream)
    }
}

/// What only reads is wasmtime's.
impl HostDescriptor for Filesystem<'_> {
    async fn write(&mut self, fd: Fd, bytes: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        let file = self.writable(&fd)?;
        let length = bytes.len() as Filesize;
        self.change(file, move |used, file| used.write(file, &bytes, Place::At(offset))).await?;
        Ok(length)
    }

    async fn set_size(&mut self, fd: Fd, size: Filesize) -> FsResult<()> {
        let file = self.writable(&fd)?;
        self.change(file, move |used, file| used.set_size(file, size)).await
    }

    fn write_via_stream(&mut self, fd: Fd, offset: Filesize) -> FsResult<Resource<DynOutputStream>> {
        self.stream(&fd, Place::At(offset))
    }

    fn append_via_stream(&mut self, fd: Fd) -> FsResult<Resource<DynOutputStream>> {
        self.stream(&fd, Place::End)
    }

    async fn open_at(
        &mut self,
        fd: Fd,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Fd> {
        let quota = self.quota()?;
        quota.check_open()?;
        let mut used = Arc::clone(&quota.used).lock_owned().await;
        let there = self.filesystem.stat_at(again(&fd), path_flags, path.clone()).await.ok();
        let is_new = there.is_none() && open_flags.contains(OpenFlags::CREATE);
        if is_new {
            used.take(ENTRY_BYTES)?;
        }
        let opened = self.filesystem.open_at(fd, path_flags, path, open_flags, flags).await;
        match (&opened, there) {
            (Err(_), _) if is_new => used.give_back(ENTRY_BYTES),
            (Ok(_), Some(there)) if open_flags.contains(OpenFlags::TRUNCATE) => used.give_back(there.size),
            _ => {}
        }
        let opened = opened?;
        let file = match self.filesystem.table.get(&opened)? {
            Descriptor::File(file) => Arc::downgrade(&file.file),
            Descriptor::Dir(dir) => Arc::downgrade(&dir.dir),
        };
        self.quota()?.open.push(file);
        Ok(opened)
    }

    async fn create_directory_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        let mut used = Arc::clone(&self.quota()?.used).lock_owned().await;
        used.take(ENTRY_BYTES)?;
        let made = self.filesystem.create_directory_at(fd, path).await;
        used.settle_entry(made)
    }

    async fn symlink_at(&mut self, fd: Fd, from: String, to: String) -> FsResult<()> {
        let mut used = Arc::clone(&self.quota()?.used).lock_owned().await;
        used.take(ENTRY_BYTES)?;
        let made = self.filesystem.symlink_at(fd, from, to).await;
        used.settle_entry(made)
    }

    async fn link_at(&mut self, _: Fd, _: PathFlags, _: String, _: Fd, _: String) -> FsResult<()> {
        Err(ErrorCode::Unsupported.into())
    }

    async fn unlink_file_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        let mut used = Arc::clone(&self.quota()?.used).lock_owned().await;
        let file = self.file_at(&fd, &path).await?;
        self.filesystem.unlink_file_at(fd, path).await?;
        if let Some(file) = file {
            return Ok(spawn_blocking(move || used.reclaim(&file)).await?);
        }
        used.give_back(ENTRY_BYTES);
        Ok(())
    }

    async fn remove_directory_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        let mut used = Arc::clone(&self.quota()?.used).lock_owned().await;
        self.filesystem.remove_directory_at(fd, path).await?;
        used.give_back(ENTRY_BYTES);
        Ok(())
    }

    /// What an entry other than a file counted stays counted when another takes its name.
    async fn rename_at(&mut self, fd: Fd, from: String, to_fd: Fd, to: String) -> FsResult<()> {
        let mut used = Arc::clone(&self.quota()?.used).lock_owned().await;
        let replaced = self.file_at(&to_fd, &to).await?;
        self.filesystem.rename_at(fd, from, to_fd, to).await?;
        match replaced {
            Some(replaced) => Ok(spawn_blocking(move || used.reclaim(&replaced)).await?),
            None => Ok(()),
        }
    }

    async fn read_directory(&mut self, fd: Fd) -> FsResult<Resource<ReaddirIterator>> {
        let quota = self.quota()?;
        if quota.listings == LISTINGS {
            return Err(ErrorCode::Busy.into());
        }
        quota.listings += 1;
        let listing = self.filesystem.read_directory(fd).await;
        if listing.is_err() {
            self.quota()?.listings -= 1;
        }
        listing
    }

    fn read_via_stream(&mut self, fd: Fd, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        self.filesystem.read_via_stream(fd, offset)
    }

    async fn read(&mut self, fd: Fd, length: Filesize, offset: Filesize) -> FsResult<(Vec<u8>, bool)> {
        self.filesystem.read(fd, length, offset).await
    }

    async fn advise(&mut self, fd: Fd, offset: Filesize, length: Filesize, advice: Advice) -> FsResult<()> {
        self.filesystem.advise(fd, offset, length, advice).await
    }

    async fn sync_data(&mut self, fd: Fd) -> FsResult<()> {
        self.filesystem.sync_data(fd).await
    }

    async fn sync(&mut self, fd: Fd) -> FsResult<()> {
        self.filesystem.sync(fd).await
    }

    async fn get_flags(&mut self, fd: Fd) -> FsResult<DescriptorFlags> {
        self.filesystem.get_flags(fd).await
    }

    async fn get_type(&mut self, fd: Fd) -> FsResult<DescriptorType> {
        self.filesystem.get_type(fd).await
    }

    async fn set_times(&mut self, fd: Fd, access: NewTimestamp, change: NewTimestamp) -> FsResult<()> {
        self.filesystem.set_times(fd, access, change).await
    }

    async fn set_times_at(
        &mut self,
        fd: Fd,
        path_flags: PathFlags,
        path: String,
        access: NewTimestamp,
        change: NewTimestamp,
    ) -> FsResult<()> {
        self.filesystem.set_times_at(fd, path_flags, path, access, change).await
    }

    async fn stat(&mut self, fd: Fd) -> FsResult<DescriptorStat> {
        self.filesystem.stat(fd).await
    }

    async fn stat_at(&mut self, fd: Fd, path_flags: PathFlags, path: String) -> FsResult<DescriptorStat> {
        self.filesystem.stat_at(fd, path_flags, path).await
    }

    async fn readlink_at(&mut self, fd: Fd, path: String) -> FsResult<String> {
        self.filesystem.readlink_at(fd, path).await
    }

    async fn is_same_object(&mut self, one: Fd, other: Fd) -> wasmtime::Result<bool> {
        self.filesystem.is_same_object(one, other).await
    }

    async fn metadata_hash(&mut self, fd: Fd) -> FsResult<MetadataHashValue> {
        self.filesystem.metadata_hash(fd).await
    }

    async fn metadata_hash_at(
        &mut self,
        fd: Fd,
        path_flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        self.filesystem.metadata_hash_at(fd, path_flags, path).await
    }

    fn drop(&mut self, fd: Fd) -> wasmtime::Result<()> {
        HostDescriptor::drop(&mut self.filesystem, fd)
    }
}
