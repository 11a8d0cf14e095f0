//! What was compiled, kept for the next start.
//!
//! Owns a directory of artefacts that only its user may write, each led by its own digest and named
//! by the component's and by what engine it is for. Invariant: what it gives out is whole, and was
//! put there by a process of the same user. What has not been used for [`KEPT`], or lately enough
//! to be among the [`MAX_BYTES`] of the last, is removed.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tracing::warn;

use crate::engine::digest::Digest;

/// How long an artefact is kept that nobody uses.
const KEPT: Duration = Duration::from_hours(30 * 24);

/// How much is kept in all, in bytes.
const MAX_BYTES: u64 = 2 << 30;

/// What an artefact is made of. Those of another form are not found.
const FORM: u8 = 2;

/// How the name of an artefact ends.
const ARTEFACT: &str = ".cwasm";

/// How the name of one ends that is being written.
const PART: &str = ".part";

/// A directory of artefacts, each led by its own digest.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
    /// Tells apart what engines of other settings, versions or machines compiled.
    compatibility: u64,
}

/// Why a directory is not used as a cache. Completes "the cache is …".
#[derive(Debug, thiserror::Error)]
pub(super) enum CacheRefusal {
    #[error("not usable: {0}")]
    Io(#[from] io::Error),
    #[error("no directory")]
    NotADirectory,
    #[error("not owned by the user that runs this process")]
    NotOwned,
    #[error("writable by others: run `chmod go-w` on it")]
    WritableByOthers,
    #[error("inside the plugins directory {}: move it out", .0.display())]
    AmongPlugins(PathBuf),
}

impl Cache {
    pub(super) fn open(
        dir: &Path,
        plugin_dirs: &[PathBuf],
        engine: &wasmtime::Engine,
    ) -> Result<Self, CacheRefusal> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let dir = dir.canonicalize()?;
        let metadata = fs::symlink_metadata(&dir)?;
        if !metadata.is_dir() {
            return Err(CacheRefusal::NotADirectory);
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(CacheRefusal::NotOwned);
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(CacheRefusal::WritableByOthers);
        }
        // A plugins directory that is not there has nothing in it.
        let mut plugin_dirs = plugin_dirs.iter().filter_map(|plugins| plugins.canonicalize().ok());
        if let Some(plugins) = plugin_dirs.find(|plugins| dir.starts_with(plugins)) {
            return Err(CacheRefusal::AmongPlugins(plugins));
        }
        let mut hasher = DefaultHasher::new();
        FORM.hash(&mut hasher);
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { dir, compatibility: hasher.finish() })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{digest}-{:016x}{ARTEFACT}", self.compatibility))
    }

    /// Whether the artefact is there; it may be damaged.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// The artefact, if it is there and whole.
    pub(super) fn get(&self, digest: &Digest) -> Option<Vec<u8>> {
        let mut file = File::open(self.path(digest)).ok()?;
        let mut sum = [0; 32];
        file.read_exact(&mut sum).ok()?;
        let mut artefact = Vec::new();
        file.read_to_end(&mut artefact).ok()?;
        if *Digest::of(&artefact).as_bytes() != sum {
            return None;
        }
        // Its age counts from its last use. Were that not noted, it would be compiled again one day.
        drop(file.set_modified(SystemTime::now()));
        Some(artefact)
    }

    pub(super) fn put(&self, digest: &Digest, artefact: &[u8]) {
        let kept = self.write(&self.path(digest), artefact).and_then(|()| self.clean(MAX_BYTES));
        if let Err(error) = kept {
            warn!(dir = %self.dir.display(), %error, "what was compiled could not be kept");
        }
    }

    /// Beside its place and then into it, so that nobody reads half of it.
    fn write(&self, path: &Path, artefact: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new().suffix(PART).tempfile_in(&self.dir)?;
        file.write_all(Digest::of(artefact).as_bytes())?;
        file.write_all(artefact)?;
        file.persist(path)?;
        Ok(())
    }

    /// Removes what was not used for long, and of the rest what was used the longest ago, until no
    /// more than `max_bytes` are left. Other processes may do the same at the same time.
    fn clean(&self, max_bytes: u64) -> io::Result<()> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Nothing else is there unless somebody put it there.
            if name.ends_with(ARTEFACT) || name.ends_with(PART) {
                let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
                kept.push((metadata.modified()?, metadata.len(), path));
            }
        }
        kept.sort_unstable_by(|a, b| b.cmp(a));
        let now = SystemTime::now();
        let mut bytes = 0;
        for (used, len, path) in kept {
            bytes += len;
            // What is of the future was used just now, by a clock that went wrong.
            if bytes > max_bytes || now.duration_since(used).is_ok_and(|age| age > KEPT) {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => tracing::debug!(file = %path.display(), "removed from the compile cache"),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::engine::{EngineConfig, compile::Compiler, needs::Needs};

    const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn compiler(cache: &Path, plugin_dirs: &[PathBuf]) -> Compiler {
        let config = EngineConfig {
            cache_dir: Some(cache.into()),
            plugin_dirs: plugin_dirs.to_vec(),
            ..EngineConfig::new(NonZeroU32::MIN)
        };
        Compiler::new(&wasmtime::Engine::default(), &config)
    }

    fn is_cached(compiler: &Compiler) -> bool {
        let digest = Digest::of(EMPTY_COMPONENT);
        match compiler.component("empty", &digest, EMPTY_COMPONENT) {
            Ok(component) => component.code.from_cache,
            Err(error) => panic!("{error:?}"),
        }
    }

    #[test]
    fn the_second_time_nothing_is_compiled() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let cache = dir.path().join("deep/cache");
        assert!(!is_cached(&compiler(&cache, &[])));
        assert!(is_cached(&compiler(&cache, &[])));
        assert_eq!(fs::metadata(&cache)?.mode() & 0o777, 0o700);
        Ok(())
    }

    #[test]
    fn a_damaged_artefact_is_compiled_again() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let compiler = compiler(dir.path(), &[]);
        let damages: [fn(&mut Vec<u8>); 3] =
            [|file| file.truncate(10), |file| file.truncate(100), |file| file[200] ^= 1];
        for damage in damages {
            is_cached(&compiler);
            assert!(is_cached(&compiler));
            let path = fs::read_dir(dir.path())?.next().ok_or(io::ErrorKind::NotFound)??.path();
            let mut file = fs::read(&path)?;
            damage(&mut file);
            fs::write(&path, file)?;
            assert!(!is_cached(&compiler));
        }
        Ok(())
    }

    #[test]
    fn an_artefact_of_another_engine_is_compiled_again() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let compiler = compiler(dir.path(), &[]);
        let Some(cache) = &compiler.cache else { panic!("no cache") };
        let mut artefact = b"whole, but no machine code".to_vec();
        Needs::default().append_to(&mut artefact);
        cache.put(&Digest::of(EMPTY_COMPONENT), &artefact);
        assert!(!is_cached(&compiler));
        Ok(())
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_not_used() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777))?;
        assert!(compiler(dir.path(), &[]).cache.is_none());
        Ok(())
    }

    #[test]
    fn a_directory_among_the_plugins_is_not_used() -> io::Result<()> {
        let plugins = tempfile::tempdir()?;
        assert!(compiler(&plugins.path().join("cache"), &[plugins.path().into()]).cache.is_none());
        Ok(())
    }

    #[test]
    fn what_is_not_used_is_removed_the_oldest_first() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let compiler = compiler(dir.path(), &[]);
        let Some(cache) = &compiler.cache else { panic!("no cache") };
        let ages = [("new", 0), ("day", 24), ("week", 7 * 24), ("month", 31 * 24)];
        for (number, (_, hours)) in ages.iter().enumerate() {
            let digest = Digest::of(&[u8::try_from(number).unwrap()]);
            cache.write(&cache.path(&digest), &[0; 1000])?;
            let used = SystemTime::now() - Duration::from_hours(*hours);
            File::options().write(true).open(cache.path(&digest))?.set_modified(used)?;
        }
        fs::write(dir.path().join("README"), "somebody's")?;
        let is_kept = |number: u8| cache.path(&Digest::of(&[number])).exists();
        cache.clean(MAX_BYTES)?;
        assert_eq!([0, 1, 2, 3].map(is_kept), [true, true, true, false], "a month is too long");
        assert!(cache.get(&Digest::of(&[2])).is_some(), "used: now it is the newest");
        cache.clean(2 * 1032)?;
        assert_eq!([0, 1, 2].map(is_kept), [true, false, true], "there is room for two");
        assert!(dir.path().join("README").exists());
        Ok(())
    }
}
