//! `sentinel config`: the reference, and the check of what is said.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use sentinel_testkit::Authority;
use serde_json::Value;

/// `sentinel config`, in a directory.
fn config(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sentinel"));
    command.arg("config").args(args).envs(env.iter().copied()).current_dir(dir);
    command.output().expect("sentinel starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What `config check` says as JSON, and its exit code.
fn check(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> (Value, Option<i32>) {
    let output = config(dir, &[&["check", "--output", "json"], args].concat(), env);
    let said = text(&output.stdout);
    let value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{}", text(&output.stderr)));
    (value, output.status.code())
}

/// The findings of one check, as verdict and words.
fn of<'a>(said: &'a Value, check: &str) -> Vec<(&'a str, &'a str)> {
    let findings = said["findings"].as_array().expect("findings");
    let findings = findings.iter().filter(|finding| finding["check"] == check);
    let word = |value: &'a Value| value.as_str().expect("a text");
    findings.map(|finding| (word(&finding["verdict"]), word(&finding["says"]))).collect()
}

/// A directory with an empty `plugins` in it and this `sentinel.toml`.
fn with(file: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join("plugins")).expect("a directory");
    fs::write(dir.path().join("sentinel.toml"), file).expect("written");
    dir
}

#[test]
fn the_document_holds_the_reference_as_it_is_printed() {
    const BEGIN: &str = "<!-- the reference begins -->\n```toml\n";
    const END: &str = "```\n<!-- the reference ends -->";
    let printed = text(&config(Path::new("."), &["reference"], &[]).stdout);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let document = fs::read_to_string(&path).expect("docs/configuration.md");
    let (before, rest) = document.split_once(BEGIN).expect("the beginning is marked");
    let (held, after) = rest.split_once(END).expect("the end is marked");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        return fs::write(&path, format!("{before}{BEGIN}{printed}{END}{after}")).expect("written");
    }
    assert!(
        held == printed,
        "docs/configuration.md differs from `sentinel config reference`: renew it with \
         UPDATE_SNAPSHOTS=1 cargo test --workspace --test it the_document_holds_the_reference"
    );
}

#[test]
fn the_reference_put_in_place_changes_nothing() {
    let dir = with("");
    let reference = text(&config(dir.path(), &["reference"], &[]).stdout);
    let before = check(dir.path(), &[], &[]);
    fs::write(dir.path().join("sentinel.toml"), reference).unwrap();
    assert_eq!(check(dir.path(), &[], &[]), before);
    assert_eq!(before.1, Some(0), "{}", before.0);
}

#[test]
fn what_is_in_force_names_who_said_it_and_shows_no_secret() {
    let dir = with(
        "grace = \"5s\"\nlog = \"json\"\n[ceilings]\nmemory = \"2GiB\"\n\
         [grants.a]\nsecrets = { key = { env = \"A_SECRET\" } }\nenv = { WORD = \"hunter3\" }",
    );
    let env = [
        ("SENTINEL_REDIS", "redis://worker:hunter2@localhost:1"),
        ("SENTINEL_LOG", "text"),
        ("A_SECRET", "hunter1"),
    ];
    let (said, code) = check(dir.path(), &["--concurrency", "1"], &env);
    let in_force = |key: &str| {
        let all = said["in_force"].as_array().unwrap();
        let one = all.iter().find(|one| one["key"] == key).unwrap_or_else(|| panic!("{key}: {said}"));
        (one["value"].as_str().unwrap().to_owned(), one["from"].as_str().unwrap().to_owned())
    };
    for (key, value, from) in [
        ("concurrency", "1", "flag"),
        ("log", "text", "environment"),
        ("redis", "redis://worker:(not shown)@localhost:1", "environment"),
        ("grace", "5s", "file"),
        ("listen", "127.0.0.1:8000", "default"),
        ("ceilings.memory", "2GiB", "file"),
        ("grants.a.env", "WORD", "file"),
    ] {
        assert_eq!(in_force(key), (value.into(), from.into()));
    }
    assert_eq!(of(&said, "grants"), [("warning", "grants.a: there is no a.wasm in the plugins directories")]);
    assert_eq!(code, Some(0), "a warning is no failure");
    let table = config(dir.path(), &["check"], &env);
    assert_eq!(table.status.code(), Some(0));
    assert!(text(&table.stdout).contains("environment"), "{}", text(&table.stdout));
    for word in ["hunter1", "hunter2", "hunter3"] {
        assert!(!said.to_string().contains(word) && !text(&table.stdout).contains(word), "{word}: {said}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_key_and_the_fix_and_fails() {
    for (file, args, words) in [
        ("concurency = 5", &[][..], &["concurency", "line 1"][..]),
        ("grace = \"5\"", &[], &["grace", "5"]),
        ("redis = \"redis://:hunter2@[", &[], &["redis"]),
        ("tls-cert = \"cert.pem\"", &[], &["tls-cert", "--tls-key"]),
        ("", &["--retain", "failed=1s"], &["retain", "failed=1s", "2m"]),
        ("[ceilings]\nmemory = 5", &[], &["ceilings.memory", "GiB"]),
        ("[grants.a]\nsecrets = { k = \"hunter2\" }", &[], &["grants.a.secrets.k", "env"]),
        ("", &["--config", "nowhere.toml"], &["config", "nowhere.toml"]),
    ] {
        let dir = with(file);
        let output = config(dir.path(), &[&["check"], args].concat(), &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{file}: {said}");
        assert!(words.iter().all(|word| said.contains(word)) && !said.contains("hunter2"), "{file}: {said}");
    }
}

#[test]
fn files_that_are_named_are_looked_at() {
    let dir = with("");
    let authority = Authority::new();
    let (one, other) = (authority.issue(&["a.example"]), authority.issue(&["a.example"]));
    for (name, text) in [
        ("cert.pem", &one.cert),
        ("key.pem", &one.key),
        ("other.pem", &other.key),
        ("ca.pem", &authority.pem().to_owned()),
        ("nothing.pem", &"nothing".to_owned()),
    ] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let tls = |cert, key| check(dir.path(), &["--tls-cert", cert, "--tls-key", key], &[]);
    assert_eq!(of(&tls("cert.pem", "key.pem").0, "tls")[0].0, "ok");
    for (cert, key, what) in [
        ("cert.pem", "other.pem", "it is not the key of the certificate"),
        ("nothing.pem", "key.pem", "there is no certificate"),
        ("cert.pem", "nowhere.pem", "nowhere.pem: No such file"),
    ] {
        let (said, code) = tls(cert, key);
        let (verdict, says) = of(&said, "tls")[0];
        assert!(verdict == "failed" && says.contains(what) && code == Some(1), "{said}");
    }
    let redis = |url, ca| check(dir.path(), &["--redis", url, "--redis-ca", ca], &[]);
    assert_eq!(of(&redis("rediss://localhost:1", "ca.pem").0, "redis")[0].0, "ok");
    for (url, ca, what) in [
        ("rediss://:hunter2@localhost:1", "nowhere.pem", "redis-ca: nowhere.pem"),
        ("rediss://:hunter2@localhost:1", "nothing.pem", "redis-ca: nothing.pem"),
        ("redis://:hunter2@localhost:1", "ca.pem", "rediss://"),
        ("http://:hunter2@localhost:1", "ca.pem", "redis"),
    ] {
        let (said, code) = redis(url, ca);
        let (verdict, says) = of(&said, "redis")[0];
        assert!(verdict == "failed" && says.contains(what) && code == Some(1), "{said}");
        assert!(!said.to_string().contains("hunter2"), "{said}");
    }
    let (said, code) = check(dir.path(), &["--plugins", "plugins,elsewhere"], &[]);
    let verdicts: Vec<_> = of(&said, "plugins").into_iter().map(|(verdict, _)| verdict).collect();
    assert_eq!((verdicts, code), (vec!["ok", "warning"], Some(0)), "{said}");
    fs::write(dir.path().join("sentinel.toml"), "[grants.a]\nsecrets = { k = { file = \"nowhere\" } }")
        .unwrap();
    let (said, code) = check(dir.path(), &[], &[]);
    assert!(of(&said, "grants")[0].1.contains("grants.a.secrets.k") && code == Some(1), "{said}");
}

#[test]
fn what_is_wrong_is_told_to_machines_as_what_is_right() {
    let (said, code) = check(with("grace = \"5\"").path(), &[], &[]);
    let (verdict, says) = of(&said, "config")[0];
    assert!(verdict == "failed" && says.contains("grace") && code == Some(1), "{said}");
}
