//! The engine, with real components and nothing mocked.

mod admission;
mod hostile;
pub(crate) mod lab;
mod limits;
mod stopping;
mod toolchains;
mod wat;

/// The engine runs from the command line, with no store at all.
#[test]
fn the_engine_knows_no_queue() {
    let source = std::path::PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("src/engine");
    let mut dirs = vec![source.clone()];
    let mut files = vec![source.with_extension("rs")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { dirs.push(path) } else { files.push(path) }
        }
    }
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("text");
        for word in ["sentinel_queue", "crate::worker"] {
            assert!(!text.contains(word), "{} mentions {word}", file.display());
        }
    }
}
