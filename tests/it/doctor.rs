//! `sentinel doctor`: what is wrong is found, told with the fix, and not changed.

use std::{fs, path::Path, process::Command};

use sentinel_testkit::{Authority, RedisServer, wait_for};
use serde_json::Value;

use crate::cluster::{self, Dev, Process, Stack, free_address};

/// What the doctor said.
struct Said {
    all: Value,
    text: String,
    code: Option<i32>,
}

impl Said {
    /// The verdict of a check, and what was seen; of more than one, of the first that is not well.
    fn of(&self, check: &str) -> (&str, &str) {
        let of_it: Vec<_> = self.findings().filter(|finding| finding["check"] == check).collect();
        let finding = of_it.iter().find(|finding| finding["verdict"] != "ok").or(of_it.first());
        let finding = finding.unwrap_or_else(|| panic!("{check} was not looked at: {}", self.all));
        let well = finding["verdict"] == "ok";
        assert_eq!(
            finding["fix"].as_str().is_none_or(str::is_empty),
            well,
            "a fix for what is not well: {finding}"
        );
        (finding["verdict"].as_str().expect("a verdict"), finding["says"].as_str().expect("words"))
    }

    fn findings(&self) -> impl Iterator<Item = &Value> {
        self.all["findings"].as_array().expect("findings").iter()
    }

    fn assert(&self, check: &str, verdict: &str, words: &str) {
        let (found, says) = self.of(check);
        assert!(found == verdict && says.contains(words), "{check}: {found}: {says}\n{}", self.all);
    }
}

/// The doctor, in a directory, by JSON; and for people, with the same verdict.
fn doctor(dir: &Path, args: &[&str]) -> Said {
    let run = |output: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sentinel"));
        // One slot, so that the machine of the test does not matter.
        let command = command.args(["doctor", "--concurrency", "1"]).args(args).args(output);
        command.current_dir(dir).env("XDG_CACHE_HOME", dir.join("caches")).output().expect("sentinel starts")
    };
    let (output, table) = (run(&["--output", "json"]), run(&[]));
    assert_eq!(output.status.code(), table.status.code());
    let said = String::from_utf8_lossy(&output.stdout);
    let all: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    let code = output.status.code();
    assert_eq!(all["ok"], code == Some(0), "{all}");
    Said { all, text: String::from_utf8_lossy(&table.stdout).into_owned(), code }
}

fn over(redis: &RedisServer) -> [String; 2] {
    ["--redis".into(), redis.url()]
}

/// With what a running server takes for granted: a free port and a directory of plugins.
fn examine(dir: &Path, redis: &RedisServer) -> Said {
    let (_, address) = free_address();
    let over = over(redis);
    doctor(dir, &[&["--listen", &address][..], &over.each_ref().map(String::as_str)].concat())
}

fn with_a_plugin() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    cluster::some_plugins(dir.path(), &["example-task"]);
    dir
}

#[test]
fn a_redis_that_is_as_it_should_be_is_well() {
    let dir = with_a_plugin();
    let redis = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let said = examine(dir.path(), &redis);
    for (check, words) in [
        ("store", "answers"),
        ("version", "edis "),
        ("durability", "always"),
        ("eviction", "noeviction"),
        ("memory", "used"),
        ("clock", "ms"),
        ("latency", "ms"),
        ("keys", "none"),
        ("port", "is free"),
        ("plugin", "example-task.wasm is admitted"),
        ("mappings", "vm.max_map_count"),
        ("concurrency", "1 slots"),
    ] {
        said.assert(check, "ok", words);
    }
    said.assert("workers", "warning", "none is alive");
    assert_eq!(said.code, Some(0), "{}", said.all);
    assert!(said.text.lines().last().expect("a line").ends_with("0 failed"), "{}", said.text);
}

#[test]
fn a_redis_that_drops_or_loses_tasks_is_found_and_nothing_in_it_is_changed() {
    let dir = with_a_plugin();
    let redis = RedisServer::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let said = examine(dir.path(), &redis);
    said.assert("eviction", "failed", "allkeys-lru");
    said.assert("durability", "warning", "none");
    said.assert("memory", "ok", "of 100.00 MiB");
    assert_eq!(said.code, Some(1));
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    assert_eq!(redis::cmd("DBSIZE").query::<u64>(&mut connection).unwrap(), 0);
    let info: String = redis::cmd("INFO").query(&mut connection).unwrap();
    let dirty = info.lines().find(|line| line.starts_with("rdb_changes_since_last_save:")).expect("a number");
    assert!(dirty.ends_with(":0"), "{dirty}");
}

#[test]
fn a_redis_that_syncs_each_second_or_is_almost_full_is_a_warning() {
    let dir = with_a_plugin();
    let redis = RedisServer::start(&["--appendonly", "yes", "--maxmemory", "1"]);
    let said = examine(dir.path(), &redis);
    said.assert("durability", "warning", "everysec");
    said.assert("memory", "failed", "submits are refused");
    assert_eq!(said.code, Some(1));
}

#[test]
fn a_redis_that_is_away_or_lets_nobody_in_is_told_without_its_password() {
    let dir = with_a_plugin();
    let (_, address) = free_address();
    let (nobody, _) = free_address();
    let url = format!("redis://:hunter2@127.0.0.1:{}", nobody.port);
    let said = doctor(dir.path(), &["--listen", &address, "--redis", &url]);
    said.assert("store", "failed", "(not shown)@127.0.0.1");
    assert_eq!(said.code, Some(1));
    assert!(!said.all.to_string().contains("hunter2") && !said.text.contains("hunter2"), "{}", said.text);
    let redis = RedisServer::start(&[]);
    let mut connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let set = redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("tr0ub4dor").to_owned();
    set.exec(&mut connection).unwrap();
    let url = format!("redis://:hunter2@127.0.0.1:{}", redis.port());
    let said = doctor(dir.path(), &["--listen", &address, "--redis", &url]);
    said.assert("store", "failed", "password");
    assert!(!said.all.to_string().contains("hunter2"), "{}", said.all);
}

#[test]
fn a_replica_is_no_store() {
    let dir = with_a_plugin();
    let primary = RedisServer::start(&[]);
    let redis = RedisServer::start(&["--replicaof", "127.0.0.1", &primary.port().to_string()]);
    examine(dir.path(), &redis).assert("role", "failed", "replica");
}

#[test]
fn a_cluster_that_runs_is_well_and_its_workers_are_known() {
    let stack = Stack::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    // One is enough, and compiled sooner.
    for job in cluster::JOBS.iter().filter(|job| **job != "example-task") {
        fs::remove_file(stack.dir.path().join(format!("plugins/{job}.wasm"))).unwrap();
    }
    let mut worker = stack.worker(&["--concurrency", "1"]);
    stack.api.wait_until_ready(1);
    let listen = format!("127.0.0.1:{}", stack.api.port);
    let said = doctor(stack.dir.path(), &["--listen", &listen, "--redis", &stack.redis.url()]);
    said.assert("port", "ok", "served by Sentinel");
    said.assert("workers", "ok", "1 alive, of this version");
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert_eq!(worker.terminate(), Some(0));
}

#[test]
fn a_plugin_that_no_worker_would_run_is_told_with_its_reason() {
    let dir = with_a_plugin();
    fs::write(dir.path().join("plugins/broken.wasm"), "nothing").unwrap();
    let (_, address) = free_address();
    let said = doctor(dir.path(), &["--listen", &address]);
    said.assert("plugin", "failed", "broken.wasm is refused");
    assert!(said.findings().any(|finding| finding["check"] == "plugin" && finding["verdict"] == "ok"));
    assert_eq!(said.code, Some(1));
}

#[test]
fn an_embedded_store_is_looked_at_and_not_touched() {
    let dir = with_a_plugin();
    let (_, address) = free_address();
    let fresh = doctor(dir.path(), &["--listen", &address]);
    fresh.assert("store", "ok", "made at the first start");
    assert!(!dir.path().join("sentinel-data").exists(), "it makes nothing");
    assert_eq!(fresh.code, Some(0), "{}", fresh.text);

    let mut dev = Dev::start(&["example-task"]);
    let listen = format!("127.0.0.1:{}", dev.api.port);
    doctor(dev.dir.path(), &["--listen", &listen]).assert("store", "ok", "open in the server that runs");
    // Held, but not by whoever would listen here.
    doctor(dev.dir.path(), &["--listen", &address]).assert("store", "warning", "open in another process");
    assert_eq!(dev.process.terminate(), Some(0));
    let file = dev.dir.path().join("sentinel-data/queue.redb");
    let before = fs::read(&file).unwrap();
    let said = doctor(dev.dir.path(), &["--listen", &listen]);
    said.assert("store", "ok", "nobody has it open");
    said.assert("keys", "ok", "none");
    assert!(fs::read(&file).unwrap() == before, "not a byte is changed");
    fs::write(&file, "nothing").unwrap();
    doctor(dev.dir.path(), &["--listen", &listen]).assert("store", "failed", "queue.redb");
}

#[test]
fn an_open_door_without_a_key_is_found() {
    let dir = with_a_plugin();
    let redis = RedisServer::start(&[]);
    let (api, _) = free_address();
    let everywhere = format!("0.0.0.0:{}", api.port);
    let over = over(&redis);
    let over = over.each_ref().map(String::as_str);
    let look = |args: &[&str]| doctor(dir.path(), &[&["--listen", &everywhere], &over[..], args].concat());
    look(&[]).assert("keys", "failed", "can be reached from other machines");
    look(&["--auth", "none"]).assert("auth", "warning", "may do anything");
    let mut key = Command::new(env!("CARGO_BIN_EXE_sentinel"));
    let made = key.args(["key", "create", "me", "--scope", "admin"]).args(over).output().unwrap();
    assert!(made.status.success());
    look(&[]).assert("keys", "ok", "1 API key is valid");
}

#[test]
fn a_certificate_that_ends_and_a_port_that_is_taken_are_found() {
    let dir = with_a_plugin();
    let authority = Authority::new();
    let write = |issued: sentinel_testkit::Issued| {
        fs::write(dir.path().join("cert.pem"), issued.cert).unwrap();
        fs::write(dir.path().join("key.pem"), issued.key).unwrap();
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    // Whoever is asked there hangs up.
    std::thread::spawn(move || taken.incoming().for_each(drop));
    let look =
        || doctor(dir.path(), &["--listen", &address, "--tls-cert", "cert.pem", "--tls-key", "key.pem"]);
    write(authority.issue_until(&["queue.example"], 2001));
    let said = look();
    said.assert("certificate", "failed", "not valid any more");
    said.assert("tls", "ok", "belong together");
    said.assert("port", "failed", "taken by another program");
    write(authority.issue(&["queue.example"]));
    look().assert("certificate", "ok", "more days");
}

/// As a server does that listens on an address of this machine's network.
#[test]
fn a_server_whose_certificate_is_of_the_name_that_others_call_is_known() {
    let dir = with_a_plugin();
    let issued = Authority::new().issue(&["queue.example"]);
    fs::write(dir.path().join("cert.pem"), issued.cert).unwrap();
    fs::write(dir.path().join("key.pem"), issued.key).unwrap();
    let (api, _) = free_address();
    // Loopback, but not written as one.
    let address = format!("[::ffff:127.0.0.1]:{}", api.port);
    let args = ["--listen", &address, "--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let mut dev = Process::start(&[&["dev"][..], &args].concat(), dir.path());
    wait_for("the port", || std::net::TcpStream::connect(&address).ok());
    doctor(dir.path(), &args).assert("port", "ok", "served by Sentinel");
    assert_eq!(dev.terminate(), Some(0));
}

#[test]
fn a_wrong_configuration_is_a_finding() {
    let dir = with_a_plugin();
    let said = doctor(dir.path(), &["--grace", "5"]);
    said.assert("config", "failed", "grace");
    assert_eq!(said.code, Some(1));
}

#[test]
fn slots_that_do_not_fit_this_machine_are_found() {
    let dir = with_a_plugin();
    let (_, address) = free_address();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sentinel"));
    let command =
        command.args(["doctor", "--concurrency", "4000000000", "--output", "json", "--listen", &address]);
    let output =
        command.current_dir(dir.path()).env("XDG_CACHE_HOME", dir.path().join("caches")).output().unwrap();
    let said = Said {
        all: serde_json::from_slice(&output.stdout).unwrap(),
        text: String::new(),
        code: output.status.code(),
    };
    said.assert("mappings", "failed", "vm.max_map_count");
    said.assert("concurrency", "failed", "do not fit");
    assert_eq!(said.code, Some(1));
}

/// The version of workers of an upgrade that is not finished.
#[test]
fn a_worker_of_another_version_is_a_warning() {
    let dir = with_a_plugin();
    let redis = RedisServer::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = sentinel_queue::store::redis::Redis::new(&redis.url()).unwrap();
    let queue = sentinel_queue::Queue::new(std::sync::Arc::new(store));
    let old = sentinel_queue::lease::Instance::random("old");
    let info = br#"{"version":"0.0.1","refused":[{"file":"a.wasm","reason":"\u001b[2J"}]}"#;
    runtime.block_on(queue.renew(&old, info.as_slice().into(), &[], &[])).unwrap();
    let said = examine(dir.path(), &redis);
    said.assert("workers", "warning", "1 of 0.0.1");
    assert!(!said.text.contains('\u{1b}'), "{}", said.text);
}
