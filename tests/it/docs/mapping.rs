//! What of the docs a test cannot do as it is written, and what stands for it. All of it is here.

/// How to go on when a command is not known.
pub(super) const HELP: &str = "\
Each command of a `sh`, `bash` or `console` block in README.md and docs/*.md is run by this test, after those above it
under the same heading, in a directory and with servers that are this heading's own: `sentinel dev`, unless the first
command starts another or GIVEN says so. If a command fails, mend the page. If it cannot run here as it is written,
extend tests/it/docs/mapping.rs:
  RUNS         programs that may be run
  STANDS_FOR   a port, an address, a directory, an id of the docs -> its counterpart of the test
  GOES_ON      commands that do not end by themselves
  IS_A_SERVER  commands that serve until they are told to stop
  GIVEN        what is there before the first command: files, a certificate, servers of the units of systemd
  LISTED       commands that cannot run in the gate, each with the reason
  ENDS_WITH    commands whose exit code is meant not to be 0
What is no command is a `text` block. SENTINEL_DOCS='docs/operations.md, Scale' tries one heading alone.";

/// The variable that names headings to try alone; empty, all.
pub(super) const WANTED: &str = "SENTINEL_DOCS";

/// Programs that are run. A command that begins with another must be listed below.
pub(super) const RUNS: &[&str] = &[
    "sentinel",
    "curl",
    "redis-cli",
    "cd",
    "cp",
    "cat",
    "echo",
    "export",
    "grep",
    "ls",
    "mkdir",
    "mv",
    "printf",
    "rm",
    "sleep",
    "tar",
    "test",
    "until",
    "while",
    "for",
];

/// Commands that serve until they are told to stop. One that listens where another does replaces it.
pub(super) const IS_A_SERVER: &[&str] = &["sentinel dev", "sentinel api", "sentinel worker", "redis-server"];

/// Commands that go on by themselves: started, and stopped at the end of the page.
pub(super) const GOES_ON: &[&str] = &["sentinel events", "curl -N"];

/// Commands that are meant to end with this exit code.
pub(super) const ENDS_WITH: &[(&str, i32)] = &[];

/// Commands that are not run: how they begin, and the reason. Of `cargo xtask` it is looked whether its usage names the
/// command, of `docker compose` whether there are the services, of `sentinel` whether it takes the flags.
pub(super) const LISTED: &[(&str, &str)] = &[
    ("cargo xtask", "is the gate, or takes minutes and the network"),
    ("cargo build", "has been done by the gate"),
    ("docker ", "wants containers (`cargo xtask compose-test` tries them)"),
    ("podman ", "wants containers"),
    ("kubectl ", "wants a cluster"),
    ("systemctl ", "wants systemd (units of ours are started without it)"),
    ("journalctl ", "wants systemd"),
    ("apt-get ", "installs something"),
    ("apt ", "installs something"),
    ("sudo ", "changes the machine"),
    ("useradd ", "changes the machine"),
    ("valgrind ", "wants a program that need not be there"),
    ("promtool ", "wants a program that need not be there"),
];

/// What is there before the first command under a heading. The bundled jobs that are named, `example-task` and `noop`
/// are in `./plugins` in any case.
#[derive(Clone, Copy)]
pub(super) enum Given {
    /// A certificate of the test's own authority.
    Certificate,
    /// Files of these names and texts.
    Files(&'static [(&'static str, &'static str)]),
    /// Servers, as the units of docs/operations.md start them: `systemctl` is played by the test.
    Units(&'static [&'static str]),
}

/// Where docs/operations.md has its units.
pub(super) const UNITS: &str = "docs/operations.md";

/// By page and heading; none: all of the page that has no other.
pub(super) const GIVEN: &[(&str, Option<&str>, Given)] = &[
    ("docs/performance.md", Some("Measuring"), Given::Files(&[("picture.json", PICTURE)])),
    ("README.md", Some("Containers"), Given::Certificate),
    ("docs/operations.md", Some("The embedded store"), Given::Units(&["sentinel"])),
    ("docs/operations.md", None, Given::Units(&["sentinel-api", "sentinel-worker"])),
    ("docs/security.md", None, Given::Units(&["sentinel-api", "sentinel-worker"])),
];

/// A payload of `resize-image`: a PNG of four by four pixels.
const PICTURE: &str = r#"{"width":2,"image":"iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAAEElEQVR42mNocFCAIwbiOAByQw4BRINaMgAAAABJRU5ErkJggg=="}"#;

/// What the lab of a page has in the place of what the page names.
pub(super) struct Counterparts<'a> {
    /// The ports of the first API server and of a second one.
    pub(super) api: [u16; 2],
    /// The ports of Redis and of a second one.
    pub(super) redis: [u16; 2],
    /// Where Redis keeps its files.
    pub(super) redis_dir: &'a str,
    /// The directory in which everything happens.
    pub(super) dir: &'a str,
    /// The last task, key and key's id that a command told of.
    pub(super) task: &'a str,
    pub(super) key: &'a str,
    pub(super) key_id: &'a str,
}

/// Text of the docs, and what stands for it; the first that fits comes first.
pub(super) fn stands_for(lab: &Counterparts<'_>) -> Vec<(&'static str, String)> {
    let local = |port| format!("127.0.0.1:{port}");
    let [first, second] = lab.api;
    let [redis, other_redis] = lab.redis.map(|port| port.to_string());
    let within = |path: &str| format!("{}{path}", lab.dir);
    vec![
        ("cargo run --release -- ", "sentinel ".into()),
        ("cargo run -- ", "sentinel ".into()),
        ("sentinel bench ", "sentinel bench --runs 1 --shrink 500 ".into()),
        ("0.0.0.0:8000", local(first)),
        ("127.0.0.1:8000", local(first)),
        ("localhost:8000", local(first)),
        ("127.0.0.1:8001", local(second)),
        ("localhost:8001", local(second)),
        ("redis://localhost:6380", format!("redis://127.0.0.1:{other_redis}")),
        ("redis://localhost:6379", format!("redis://127.0.0.1:{redis}")),
        ("redis://localhost", format!("redis://127.0.0.1:{redis}")),
        ("6380", other_redis),
        ("6379", redis),
        ("/usr/local/bin/sentinel", "sentinel".into()),
        ("/usr/share/sentinel/plugins", within("/plugins")),
        ("/var/lib/redis", lab.redis_dir.to_owned()),
        ("/var/lib/sentinel", within("/var/lib/sentinel")),
        ("/etc/sentinel", within("/etc/sentinel")),
        ("/backup", within("/backup")),
        ("<task_id>", lab.task.to_owned()),
        ("sentinel_4f1d09a3c2b7_…", lab.key.to_owned()),
        ("8a02c41b77de", lab.key_id.to_owned()),
        ("<key_id>", lab.key_id.to_owned()),
    ]
}

/// What the docs show of answers, and is another each time: `…` stands for anything.
pub(super) const ANY: &[&str] = &["01981d3c-", "4f1d09a3c2b7_", "8a02c41b77de"];
