//! From a component's bytes to code that can be instantiated.
//!
//! Owns compilation, which takes seconds and is done at admission only, and the cache of what
//! was compiled. Does not know what a plugin may import or export. Invariant: machine code is
//! loaded only when this process made it, when it comes whole from a directory that nobody else
//! can write to, or from the process that started this one.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use io::Write;
use tracing::warn;
use wasmtime::component::Component;

use super::digest::Digest;

/// Compiles, and remembers.
#[derive(Debug)]
pub(crate) struct Compiler {
    engine: wasmtime::Engine,
    cache: Option<Cache>,
}

/// A component, ready to be linked.
pub(crate) struct Compiled {
    pub(crate) component: Component,
    pub(crate) took: Duration,
    pub(crate) from_cache: bool,
}

/// Why there is no component.
#[derive(Debug)]
pub(crate) enum CompileError {
    /// It is no valid component, or uses what is turned off.
    Invalid(wasmtime::Error),
    /// It needs more than the engine has for one instance.
    TooLarge(wasmtime::Error),
}

impl Compiler {
    /// Compiles for `engine`. A cache directory that cannot be trusted is not used.
    pub(crate) fn new(engine: &wasmtime::Engine, cache: Option<&Path>, plugin_dirs: &[PathBuf]) -> Self {
        let cache = cache.and_then(|dir| {
            Cache::open(dir, plugin_dirs, engine)
                .inspect_err(|reason| {
                    warn!(dir = %dir.display(), "plugins are compiled at every start, because the cache is {reason}");
                })
                .ok()
        });
        Self { engine: engine.clone(), cache }
    }

    /// The component in `bytes`, whose digest is `digest`. Blocks for as long as compiling takes.
    pub(crate) fn component(&self, digest: &Digest, bytes: &[u8]) -> Result<Compiled, CompileError> {
        let started = Instant::now();
        if let Some(artefact) = self.cache.as_ref().and_then(|cache| cache.get(digest)) {
            // Stale or not for this machine: compiled again, like one that was never there.
            if let Ok(component) = load(&self.engine, &artefact) {
                return Ok(Compiled { component, took: started.elapsed(), from_cache: true });
            }
        }
        let artefact = self.engine.precompile_component(bytes).map_err(CompileError::Invalid)?;
        let component = load(&self.engine, &artefact).map_err(CompileError::TooLarge)?;
        if let Some(cache) = &self.cache {
            cache.put(digest, &artefact);
        }
        Ok(Compiled { component, took: started.elapsed(), from_cache: false })
    }

    /// The component whose machine code the process that started this one handed over.
    pub(crate) fn take_over(&self, code: &[u8]) -> Result<Compiled, CompileError> {
        let started = Instant::now();
        let component = load(&self.engine, code).map_err(CompileError::TooLarge)?;
        Ok(Compiled { component, took: started.elapsed(), from_cache: true })
    }
}

#[allow(unsafe_code, reason = "machine code cannot be checked when it is loaded")]
fn load(engine: &wasmtime::Engine, artefact: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes were made by `precompile_component`, either just now or by a process of
    // the same user, who alone can write to the cache (`Cache::open`), and are whole
    // (`Cache::get`); or they are what the worker itself runs, which it wrote to the pipe that it
    // made for this process (`Compiler::take_over`). Being in memory, they do not change while
    // they are in use.
    unsafe { Component::deserialize(engine, artefact) }
}

/// A directory of artefacts, each led by its own digest.
#[derive(Debug)]
struct Cache {
    dir: PathBuf,
    /// Tells apart what engines of other settings, versions or machines compiled.
    compatibility: u64,
}

/// Why a directory is not used as a cache. Completes "the cache is …".
#[derive(Debug, thiserror::Error)]
enum CacheRefusal {
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
    fn open(dir: &Path, plugin_dirs: &[PathBuf], engine: &wasmtime::Engine) -> Result<Self, CacheRefusal> {
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
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { dir, compatibility: hasher.finish() })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{digest}-{:016x}.cwasm", self.compatibility))
    }

    /// The artefact, if it is there and whole.
    fn get(&self, digest: &Digest) -> Option<Vec<u8>> {
        let mut file = fs::read(self.path(digest)).ok()?;
        let (sum, artefact) = file.split_first_chunk::<32>()?;
        if Digest::of(artefact).as_bytes() != sum {
            return None;
        }
        file.drain(..sum.len());
        Some(file)
    }

    fn put(&self, digest: &Digest, artefact: &[u8]) {
        if let Err(error) = self.write(&self.path(digest), artefact) {
            warn!(dir = %self.dir.display(), %error, "what was compiled could not be kept");
        }
    }

    /// Beside its place and then into it, so that nobody reads half of it.
    fn write(&self, path: &Path, artefact: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(Digest::of(artefact).as_bytes())?;
        file.write_all(artefact)?;
        file.persist(path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn compiler(cache: &Path, plugin_dirs: &[PathBuf]) -> Compiler {
        Compiler::new(&wasmtime::Engine::default(), Some(cache), plugin_dirs)
    }

    fn is_cached(compiler: &Compiler) -> bool {
        let digest = Digest::of(EMPTY_COMPONENT);
        match compiler.component(&digest, EMPTY_COMPONENT) {
            Ok(component) => component.from_cache,
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
        cache.put(&Digest::of(EMPTY_COMPONENT), b"whole, but no machine code");
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
}
