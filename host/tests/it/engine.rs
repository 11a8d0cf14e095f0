//! The engine, with real components and nothing mocked.

mod admission;
mod command;
mod describe;
mod hostile;
mod http;
pub(crate) mod lab;
mod limits;
mod neighbours;
mod scratch;
mod secrets;
mod stopping;
mod toolchains;
pub(crate) mod wat;

/// The engine runs from the command line, with no store at all.
#[test]
fn the_engine_knows_no_queue() {
    let source = crate::source();
    let mut files = crate::files_in(&source.join("engine"));
    files.push(source.join("engine.rs"));
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("text");
        for word in ["sentinel_queue", "crate::worker", "sentinel_trace", "opentelemetry"] {
            assert!(!text.contains(word), "{} mentions {word}", file.display());
        }
    }
}
