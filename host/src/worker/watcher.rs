//! Hears from the system what happens in the plugins directories.
//!
//! Knows no plugins. What it does not hear (mounts that say nothing, a directory that is not there
//! yet, a system that watches no more) is found by looking again and again.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf, sync::mpsc::Sender};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};

use super::library::Wake;

/// Wakes whoever looks at the directories when something happens in one.
pub(super) struct Watcher {
    system: Option<RecommendedWatcher>,
    dirs: Vec<Watched>,
}

/// A directory and, if it is watched, which one it was then.
struct Watched {
    dir: PathBuf,
    inode: Option<(u64, u64)>,
}

impl Watcher {
    pub(super) fn new(dirs: &[PathBuf], wake: Sender<Wake>) -> Self {
        let on_event = move |event: notify::Result<Event>| {
            // An error may mean that something was missed. Nobody may be listening any more.
            if event.is_ok_and(|event| is_nothing(event.kind)) {
                return;
            }
            drop(wake.send(Wake::Changed));
        };
        let system = notify::recommended_watcher(on_event)
            .inspect_err(|error| {
                tracing::warn!(%error, "plugins directories cannot be watched: changes are noticed within 5 s");
            })
            .ok();
        let dirs = dirs.iter().map(|dir| Watched { dir: dir.clone(), inode: None }).collect();
        Self { system, dirs }
    }

    /// Watches what is there now: a directory may have come, or another may have taken its place.
    pub(super) fn watch(&mut self) {
        let Some(system) = &mut self.system else { return };
        for Watched { dir, inode } in &mut self.dirs {
            let now = fs::metadata(&*dir).ok().map(|metadata| (metadata.dev(), metadata.ino()));
            if *inode == now {
                continue;
            }
            if inode.is_some() {
                // The system may have let go of it itself.
                drop(system.unwatch(dir));
            }
            *inode = now.filter(|_| {
                system
                    .watch(dir, RecursiveMode::NonRecursive)
                    .inspect_err(|error| {
                        tracing::warn!(
                            dir = %dir.display(), %error,
                            "a plugins directory cannot be watched: changes are noticed within 5 s"
                        );
                    })
                    .is_ok()
            });
        }
    }
}

/// That a file is read changes nothing; and this program reads them.
fn is_nothing(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}
