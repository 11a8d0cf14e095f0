//! The plugins directories, as they change.
//!
//! Owns the one thread that looks at them, admits what is new, one file at a time, and then puts
//! another [`Plugins`] in the place of the last. Invariants: nothing of this happens on a task's
//! path or keeps control waiting; a file that changes while it is read is not admitted; a file that
//! is refused takes nothing away from what was admitted before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use sentinel_queue::{JobName, Policy};
use tokio::sync::watch;

use super::{
    admit::{self, Admitter},
    grants::Granted,
    memory::MemoryBudget,
    plugins::{Job, Plugins, Refusal},
    watcher::Watcher,
};
use crate::engine::{Engine, Plugin, PoolUse};

/// How often directories are looked at, for not every mount says what happens in it.
const RESCAN: Duration = Duration::from_secs(5);

/// How long a file must have been as it is until it is read: it may still be written.
const QUIET: Duration = Duration::from_millis(300);

/// What happens in a directory comes in bursts: the first of it is followed by so long a pause.
const BURST: Duration = Duration::from_millis(20);

/// What is kept of the reason for which a file is refused.
const REASON_BYTES: usize = 2 << 10;

/// The plugins of some directories; where two hold the same file, the first wins.
#[derive(Debug)]
pub struct Library {
    engine: Engine,
    shelf: Arc<Shelf>,
    wake: Sender<Wake>,
}

/// Why the thread looks again before it is time.
#[derive(Debug)]
pub(super) enum Wake {
    /// Something happened in a directory.
    Changed,
    /// Nobody needs it any more.
    Stop,
}

/// What the thread and everybody else share.
#[derive(Debug)]
struct Shelf {
    current: watch::Sender<Arc<Plugins>>,
    files: Mutex<Files>,
    budget: OnceLock<Arc<MemoryBudget>>,
}

/// What became of the files, by their names.
#[derive(Debug, Default)]
struct Files {
    known: BTreeMap<OsString, Known>,
    is_complete: bool,
}

/// What became of a file.
#[derive(Debug)]
struct Known {
    /// How it looked then.
    sight: Sight,
    admitted: Option<Job>,
    refused: Option<Refused>,
}

#[derive(Debug)]
struct Refused {
    reason: String,
    /// When the file itself is not to blame: try again then.
    retry_at: Option<Instant>,
}

impl Refused {
    /// What is wrong names what the file says of itself, which may be anything; and it is told with
    /// every sign of life.
    fn within_bounds(mut self) -> Self {
        if self.reason.len() > REASON_BYTES {
            self.reason.truncate(self.reason.floor_char_boundary(REASON_BYTES));
            self.reason.push('…');
        }
        self
    }
}

/// What a plugin looks like from outside. If this is the same, so is the plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sight {
    path: PathBuf,
    wasm: Stamp,
    manifest: Option<Stamp>,
}

/// What of a file changes when the file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    bytes: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Library {
    /// Begins to admit the plugins in `dirs`, each with what it asks for and is granted, and goes on with what comes later until it is dropped.
    pub fn open(engine: Engine, dirs: Vec<PathBuf>, granted: Granted) -> io::Result<Self> {
        let shelf = Arc::new(Shelf {
            current: watch::Sender::default(),
            files: Mutex::default(),
            budget: OnceLock::new(),
        });
        let (wake, wakes) = mpsc::channel();
        let watcher = Watcher::new(&dirs, wake.clone());
        let mut looker = Looker {
            admitter: Admitter::new(engine.clone(), granted)?,
            dirs,
            shelf: Arc::clone(&shelf),
            watcher,
            unsettled: BTreeMap::new(),
        };
        std::thread::Builder::new().name("plugins".into()).spawn(move || looker.watch(&wakes))?;
        Ok(Self { engine, shelf, wake })
    }

    /// The plugins as they are now. They may be others a moment later.
    pub fn current(&self) -> Arc<Plugins> {
        Arc::clone(&self.shelf.current.borrow())
    }

    /// The plugins as they are, and as they change.
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Plugins>> {
        self.shelf.current.subscribe()
    }

    /// The plugin that runs a job now, and what its tasks ask for when they do not say.
    pub fn get(&self, job: &JobName) -> Option<(Plugin, Policy)> {
        self.shelf.current.borrow().get(job).map(|job| (job.plugin.clone(), job.manifest.policy.clone()))
    }

    /// How much of the engine's pool is in use.
    pub(super) fn pool(&self) -> Option<PoolUse> {
        self.engine.pool()
    }

    /// Waits until every file that was there at first was admitted or refused, but no longer than
    /// `patience`. Says whether that is so.
    pub async fn complete(&self, patience: Duration) -> bool {
        let mut current = self.shelf.current.subscribe();
        let complete = current.wait_for(|plugins| plugins.is_complete);
        tokio::time::timeout(patience, complete).await.is_ok()
    }

    /// Refuses from now on what can never run in this budget.
    pub(super) fn keep_within(&self, budget: Arc<MemoryBudget>) {
        self.shelf.budget.get_or_init(|| budget);
        self.shelf.publish(&self.shelf.lock());
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // If the thread is gone, it has stopped.
        drop(self.wake.send(Wake::Stop));
    }
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes it known what became of the files.
    fn publish(&self, files: &Files) {
        let mut plugins = Plugins { is_complete: files.is_complete, ..Plugins::default() };
        for (file, known) in &files.known {
            let file = file.to_string_lossy();
            let mut refuse =
                |reason| plugins.refused.push(Refusal { file: file.clone().into_owned(), reason });
            if let Some(Refused { reason, .. }) = &known.refused {
                refuse(match known.admitted {
                    Some(_) => format!("{reason} (what was admitted before it stays)"),
                    None => reason.clone(),
                });
            }
            let Some(job) = &known.admitted else { continue };
            let memory_bytes = job.plugin.limits().memory_bytes;
            if self.budget.get().is_some_and(|budget| !budget.ever_fits(memory_bytes)) {
                refuse(format!(
                    "its memory limit of {memory_bytes} bytes is more than this worker's budget leaves: give the \
                     worker more memory, fewer slots (--concurrency), or lower the limit"
                ));
            } else if let Ok(name) = job.plugin.name().as_str().parse() {
                // The engine's rule for names is the queue's.
                plugins.jobs.insert(name, job.clone());
            }
        }
        plugins.tell_news(&self.current.borrow());
        self.current.send_replace(Arc::new(plugins));
    }
}

/// The thread that looks.
struct Looker {
    admitter: Admitter,
    dirs: Vec<PathBuf>,
    shelf: Arc<Shelf>,
    watcher: Watcher,
    /// Files that look otherwise than what is known of them.
    unsettled: BTreeMap<OsString, Unsettled>,
}

/// A file that has changed, and may still be changing.
struct Unsettled {
    /// How it looks; none: it is gone.
    sight: Option<Sight>,
    /// Since when.
    since: Instant,
    /// Whether it takes no time to admit it.
    is_compiled: bool,
}

impl Looker {
    fn watch(&mut self, wakes: &Receiver<Wake>) {
        loop {
            let pause = self.look();
            let mut wake = wakes.recv_timeout(pause);
            if matches!(wake, Ok(Wake::Changed)) {
                std::thread::sleep(BURST);
            }
            while let Ok(Wake::Changed) = wake {
                wake = wakes.try_recv().map_err(|_| RecvTimeoutError::Timeout);
            }
            if !matches!(wake, Err(RecvTimeoutError::Timeout)) {
                return;
            }
        }
    }

    /// Sees what has changed and settles one change, so that a file that takes long to compile keeps
    /// no more than one other from being noticed. Says when to look again.
    fn look(&mut self) -> Duration {
        self.watcher.watch();
        self.compare();
        if let Some(file) = self.next() {
            self.settle(file);
            return Duration::ZERO;
        }
        let mut files = self.shelf.lock();
        if !files.is_complete {
            files.is_complete = true;
            self.shelf.publish(&files);
        }
        let waits = self.unsettled.values().map(|unsettled| QUIET.saturating_sub(unsettled.since.elapsed()));
        waits.min().unwrap_or(RESCAN)
    }

    /// Finds out what looks otherwise than it is known.
    fn compare(&mut self) {
        let shared = Arc::clone(&self.shelf);
        let files = shared.lock();
        let seen = self.sights(&files);
        let names: BTreeSet<&OsString> = seen.keys().chain(files.known.keys()).collect();
        let mut unsettled = BTreeMap::new();
        for name in names {
            let (sight, known) = (seen.get(name), files.known.get(name));
            let retry_at = known.and_then(|known| known.refused.as_ref()?.retry_at);
            let is_known = known.map(|known| &known.sight) == sight;
            if is_known && retry_at.is_none_or(|at| at > Instant::now()) {
                continue;
            }
            let now = match self.unsettled.remove(name) {
                Some(before) if before.sight.as_ref() == sight => before,
                _ => Unsettled {
                    sight: sight.cloned(),
                    since: Instant::now(),
                    is_compiled: sight.is_none_or(|sight| self.admitter.engine().is_compiled(&sight.path)),
                },
            };
            unsettled.insert(name.clone(), now);
        }
        self.unsettled = unsettled;
    }

    /// All plugins in the directories, by their files' names.
    fn sights(&self, files: &Files) -> BTreeMap<OsString, Sight> {
        let mut sights = BTreeMap::new();
        for dir in &self.dirs {
            match plugins_in(dir) {
                Ok(paths) => {
                    for path in paths {
                        let name = path.file_name().unwrap_or_default().to_owned();
                        // What is gone again was not there.
                        if let Some(sight) = Sight::of(path) {
                            sights.entry(name).or_insert(sight);
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(dir = %dir.display(), %error, "a plugins directory is not readable");
                    // What cannot be seen is not gone.
                    let inside =
                        files.known.iter().filter(|(_, known)| known.sight.path.parent() == Some(dir));
                    for (name, known) in inside {
                        sights.entry(name.clone()).or_insert_with(|| known.sight.clone());
                    }
                }
            }
        }
        sights
    }

    /// The change to settle next, if one has been quiet for long enough: first what takes no time.
    fn next(&self) -> Option<OsString> {
        // What is there at first is not waited for: if it is being written, it will be seen again.
        let quiet = if self.shelf.lock().is_complete { QUIET } else { Duration::ZERO };
        let due = self.unsettled.iter().filter(|(_, unsettled)| unsettled.since.elapsed() >= quiet);
        let bytes = |unsettled: &Unsettled| unsettled.sight.as_ref().map_or(0, |sight| sight.wasm.bytes);
        let first = due.min_by_key(|(_, unsettled)| (!unsettled.is_compiled, bytes(unsettled)));
        first.map(|(file, _)| file.clone())
    }

    /// Admits, refuses or removes a file.
    fn settle(&mut self, file: OsString) {
        let Some(Unsettled { sight, .. }) = self.unsettled.remove(&file) else { return };
        let Some(sight) = sight else {
            let mut files = self.shelf.lock();
            files.known.remove(&file);
            return self.shelf.publish(&files);
        };
        let admitted = self.admitter.admit(&sight.path);
        if Sight::of(sight.path.clone()).as_ref() != Some(&sight) {
            // It has changed meanwhile: what was read may be half of it.
            return;
        }
        let mut files = self.shelf.lock();
        let known = files.known.entry(file).or_insert_with(|| Known {
            sight: sight.clone(),
            admitted: None,
            refused: None,
        });
        known.sight = sight;
        match admitted {
            Ok(job) => {
                let withheld = &job.plugin.grants().withheld;
                if !withheld.is_empty() {
                    let withheld = withheld.join("; ");
                    tracing::warn!(job = %job.plugin.name(), withheld, "the plugin asks for more than it is granted");
                }
                (known.admitted, known.refused) = (Some(job), None);
            }
            Err(admit::Refused { reason, retry_after, .. }) => {
                let retry_at = retry_after.map(|pause| Instant::now() + pause);
                known.refused = Some(Refused { reason, retry_at }.within_bounds());
            }
        }
        self.shelf.publish(&files);
    }
}

impl Sight {
    /// None: it is not there, or cannot be seen.
    fn of(path: PathBuf) -> Option<Self> {
        let wasm = Stamp::of(&path)?;
        let manifest = Stamp::of(&path.with_extension("toml"));
        Some(Self { path, wasm, manifest })
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        // To open a pipe may take for ever.
        let metadata = fs::metadata(path).ok().filter(|metadata| !metadata.file_type().is_fifo())?;
        Some(Self {
            inode: (metadata.dev(), metadata.ino()),
            bytes: metadata.len(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            // Also when it is made to look older than it is.
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// The files that are meant as plugins. A directory that is not there has none.
pub fn plugins_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        // A `.cwasm` is machine code: it is refused with its reason, not passed over.
        if matches!(path.extension().and_then(OsStr::to_str), Some("wasm" | "cwasm")) {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::engine::EngineConfig;

    /// A looker without its thread, over a directory of its own.
    fn looker() -> (Looker, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let dirs = vec![dir.path().to_owned()];
        let shelf = Shelf {
            current: watch::Sender::default(),
            files: Mutex::new(Files { is_complete: true, ..Files::default() }),
            budget: OnceLock::new(),
        };
        let looker = Looker {
            admitter: Admitter::new(
                Engine::new(EngineConfig::new(NonZeroU32::MIN)).unwrap(),
                Granted::default(),
            )
            .unwrap(),
            watcher: Watcher::new(&dirs, mpsc::channel().0),
            dirs,
            shelf: Arc::new(shelf),
            unsettled: BTreeMap::new(),
        };
        (looker, dir)
    }

    /// As if nothing had happened for a while.
    fn let_it_be_quiet(looker: &mut Looker) {
        for unsettled in looker.unsettled.values_mut() {
            unsettled.since = unsettled.since.checked_sub(QUIET).unwrap();
        }
    }

    fn is_known(looker: &Looker, file: &str) -> bool {
        looker.shelf.lock().known.contains_key(OsStr::new(file))
    }

    #[test]
    fn a_file_that_is_being_written_is_not_read() {
        let (mut looker, dir) = looker();
        for part in [&b"\0asm"[..], b"\0asm\x0d", b"\0asm\x0d\0"] {
            fs::write(dir.path().join("job.wasm"), part).unwrap();
            looker.compare();
            assert_eq!(looker.next(), None, "it has just changed");
            let_it_be_quiet(&mut looker);
            assert!(looker.next().is_some());
        }
        looker.compare();
        assert!(looker.next().is_some(), "it is as it was the last time");
        assert_eq!(looker.look(), Duration::ZERO, "there may be more to do");
        assert!(is_known(&looker, "job.wasm") && looker.unsettled.is_empty());
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_read_again() {
        let (mut looker, dir) = looker();
        fs::write(dir.path().join("job.wasm"), b"half").unwrap();
        looker.compare();
        fs::write(dir.path().join("job.wasm"), b"the whole").unwrap();
        looker.settle("job.wasm".into());
        assert!(!is_known(&looker, "job.wasm"), "what was read is not what is there");
        looker.compare();
        looker.settle("job.wasm".into());
        assert!(is_known(&looker, "job.wasm"));
    }

    #[test]
    fn a_file_that_is_replaced_by_way_of_its_removal_is_never_gone() {
        let (mut looker, dir) = looker();
        let file = dir.path().join("job.wasm");
        fs::write(&file, b"old").unwrap();
        looker.compare();
        looker.settle("job.wasm".into());
        fs::remove_file(&file).unwrap();
        looker.compare();
        assert_eq!(looker.next(), None, "it may come back");
        fs::write(&file, b"new").unwrap();
        let_it_be_quiet(&mut looker);
        looker.compare();
        assert_eq!(looker.next(), None, "it came back, and has just changed");
        assert!(is_known(&looker, "job.wasm"));
        fs::remove_file(&file).unwrap();
        looker.compare();
        let_it_be_quiet(&mut looker);
        looker.look();
        assert!(!is_known(&looker, "job.wasm"));
    }

    #[test]
    fn a_directory_that_cannot_be_read_takes_nothing_away() {
        let (mut looker, dir) = looker();
        let inner = dir.path().join("plugins");
        looker.dirs = vec![inner.clone()];
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("job.wasm"), b"?").unwrap();
        looker.compare();
        looker.settle("job.wasm".into());
        fs::remove_dir_all(&inner).unwrap();
        // No directory at all: not readable, whoever asks.
        fs::write(&inner, b"").unwrap();
        looker.compare();
        assert!(looker.unsettled.is_empty() && is_known(&looker, "job.wasm"));
        fs::remove_file(&inner).unwrap();
        looker.compare();
        assert!(!looker.unsettled.is_empty(), "now there is none, and no plugin in it");
    }
}
