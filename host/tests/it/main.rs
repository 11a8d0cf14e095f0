//! The host's integration tests.

mod engine;
mod worker;

use std::path::{Path, PathBuf};

/// Case 19: a worker's wall clock may be wrong and may step. It has no say: leases are counted by
/// the store's clock, and waits by one that only goes on. The looks at the wall clock are for people
/// (when the worker was started, and when a plugin was admitted), for the age of cached code, and for the times of spans,
/// which collectors compare with those of other programs.
#[test]
fn the_wall_clock_has_no_say() {
    let mut looks: Vec<_> = files_in(&source())
        .into_iter()
        .filter_map(|file| {
            let text = std::fs::read_to_string(&file).expect("text");
            let looks = text.matches("SystemTime::now").count() + text.matches("Utc::now").count();
            (looks > 0).then(|| (file.file_name().expect("a name").to_owned(), looks))
        })
        .collect();
    looks.sort_unstable();
    assert_eq!(
        looks,
        [("admit.rs".into(), 1), ("cache.rs".into(), 3), ("spans.rs".into(), 4), ("worker.rs".into(), 1)]
    );
}

/// Where this crate's source is.
fn source() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says it")).join("src")
}

/// All files below a directory.
fn files_in(directory: &Path) -> Vec<PathBuf> {
    let mut directories = vec![directory.to_owned()];
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    files
}
