//! The documentation is true: what README.md and docs/*.md tell people to type is typed here, against
//! real servers; what they tell people to write into files is read by the program; where they point
//! to, there is something.
//!
//! A page that is new is tried without a word here. What a test cannot do as it is written (a port, a
//! directory, a container) is mapped or listed in `docs/mapping.rs`, for all to see.

pub(crate) mod blocks;
mod compose;
pub(crate) mod lab;
mod links;
mod mapping;
mod servers;
mod shell;
mod texts;
mod units;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use self::{blocks::Page, lab::Lab};

/// The repository's top.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md and docs/*.md.
fn pages() -> Vec<Page> {
    let docs = fs::read_dir(root().join("docs")).expect("docs/");
    let mut files: Vec<PathBuf> = docs.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    files.push(root().join("README.md"));
    files.sort();
    files.iter().map(|file| Page::read(root(), file)).collect()
}

/// Fails with everything that was found, each on lines of its own.
fn assert_none(found: &[String], how: &str) {
    assert!(found.is_empty(), "\n\n{}\n\n{how}\n", found.join("\n\n"));
}

/// How many headings are tried at once: most of the time is waiting.
const AT_ONCE: usize = 4;

/// Asked for by `cargo xtask docs`: it takes all of the machine for minutes, which the other tests need.
#[test]
fn every_command_of_the_docs_runs_or_is_listed() {
    let Ok(wanted) = std::env::var(mapping::WANTED) else { return };
    let pages = pages();
    let mut chapters: Vec<_> = pages.iter().flat_map(Page::chapters).collect();
    chapters.retain(|chapter| chapter.to_string().contains(&wanted));
    let next = AtomicUsize::new(0);
    let (failures, ran) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(chapter) = chapters.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let since = Instant::now();
                    let played = Lab::play_all(chapter);
                    println!("{chapter}: {} commands, {:.1?}", played.ran, since.elapsed());
                    ran.fetch_add(played.ran, Ordering::Relaxed);
                    failures.lock().expect("failures").extend(played.failures);
                }
            });
        }
    });
    assert_none(&failures.into_inner().expect("failures"), mapping::HELP);
    let ran = ran.into_inner();
    assert!(
        ran > 60 || !wanted.is_empty(),
        "only {ran} commands were found: the docs are not read as they should be"
    );
}

#[test]
fn what_a_page_says_wrongly_is_told() {
    let page = Page::of(
        "page.md".to_owned(),
        r#"
```sh
make coffee
sentinel job frobnicate
curl -s localhost:8000/v1/tasks/nobody
curl -s localhost:8000/healthz
# {"status":"unwell"}
cat /etc/passwd
cargo xtask coffee
```
```sh
sentinel submit "example-task
```
```sh
sentinel submit example-task \
    --wait          # this is as it should be
# {"greeting":"Hello, …!"}
id=$(sentinel submit example-task)
test -n "$id"
```
"#,
    );
    let played = Lab::play_all(&page.chapters()[0]);
    let failures = &played.failures;
    for (index, (place, what)) in [
        ("page.md:12", "this is not shell"),
        ("page.md:3", "`make` is not known"),
        ("page.md:4", "unrecognized subcommand"),
        ("page.md:5", "unknown_task"),
        (
            "page.md:6",
            r#"it answered
{"status":"ok"}"#,
        ),
        ("page.md:8", "/etc/passwd is outside"),
        ("page.md:9", "no command \"coffee\""),
    ]
    .into_iter()
    .enumerate()
    {
        let failure = failures.get(index).map_or("nothing", |failure| failure);
        assert!(failure.starts_with(place) && failure.contains(what), "{place}, {what}: {failure}");
    }
    assert_eq!((failures.len(), played.ran), (7, 3), "{failures:?}");
}

#[test]
fn every_command_in_the_text_of_the_docs_is_one_that_sentinel_takes() {
    let failures: Vec<_> = pages().iter().flat_map(texts::wrong_commands).collect();
    assert_none(&failures, "A command in the text of a page must be one that `sentinel` takes.");
}

#[test]
fn every_file_in_the_docs_is_one_that_sentinel_reads() {
    let pages = pages();
    let failures: Vec<_> = pages.iter().flat_map(|page| &page.blocks).filter_map(texts::wrong).collect();
    assert_none(
        &failures,
        "A `toml` block must be a sentinel.toml or a plugin's manifest that is taken as it is, a `json` block must be \
         JSON. What is shortened, or is something else, is a `text` block.",
    );
}

#[test]
fn every_link_leads_to_something() {
    assert_none(&links::broken(root()), "A link must lead to a file, and to a heading that is in it.");
}
