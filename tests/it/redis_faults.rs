//! A Redis that misbehaves, or is not fit for use.

use std::{
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sentinel_testkit::{RedisServer, wait_for};

use crate::cluster::{LOG, Process, Stack, free_address, plugins};

/// A stack with one worker that is ready.
fn ready(redis: &[&str]) -> (Stack, Process) {
    let stack = Stack::start(redis);
    let worker = stack.worker(&[]);
    stack.api.wait_until_ready(1);
    (stack, worker)
}

/// Runs `sentinel` until it gives up; answers what it said.
fn refused(args: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_sentinel")).args(args).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

/// Case 16.
#[test]
fn a_redis_that_may_drop_keys_is_refused_with_the_fix() {
    let redis = RedisServer::start(&["--maxmemory-policy", "allkeys-lru"]);
    for server in ["api", "worker"] {
        let said = refused(&[server, "--redis", &redis.url(), "--listen", "127.0.0.1:0"]);
        assert!(said.contains("allkeys-lru") && said.contains("noeviction"), "{said}");
    }
}

/// Case 12.
#[test]
fn readiness_names_what_an_accepted_task_survives() {
    for (args, level) in [
        (&["--appendonly", "yes", "--appendfsync", "always"][..], "always"),
        (&["--appendonly", "yes", "--appendfsync", "everysec"], "everysec"),
        (&[], "none"),
    ] {
        let (stack, _worker) = ready(args);
        assert_eq!(stack.api.get("/readyz").json()["durability"], level);
    }
}

/// Cases 14, 15 and 18: scripts are flushed and connections cut again and again. Calls are sent
/// again and answered the same: nobody sees an error, and nothing runs twice for it.
#[test]
fn flushed_scripts_and_cut_connections_are_not_seen() {
    const TASKS: usize = 300;
    let (stack, _worker) = ready(&[]);
    let stop = Arc::new(AtomicBool::new(false));
    let trouble = std::thread::spawn({
        let stop = Arc::clone(&stop);
        let mut connection = stack.connection();
        move || {
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                redis::cmd("SCRIPT").arg("FLUSH").exec(&mut connection).unwrap();
                let kill = redis::cmd("CLIENT")
                    .arg("KILL")
                    .arg("TYPE")
                    .arg("NORMAL")
                    .arg("SKIPME")
                    .arg("yes")
                    .to_owned();
                kill.exec(&mut connection).unwrap();
                rounds += 1;
                std::thread::sleep(Duration::from_millis(100));
            }
            rounds
        }
    });
    let body = r#"{"payload":{"job":"hostile","do":"sleep","ms":20}}"#;
    let ids: Vec<_> = (0..TASKS).map(|_| stack.api.submit(body)).collect();
    for id in ids {
        let task = stack.api.get(&format!("/v1/tasks/{id}?wait=60s")).json();
        assert_eq!((&task["status"], &task["attempt"]), (&"COMPLETED".into(), &1.into()), "{task}");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(trouble.join().unwrap() > 1);
    let mut connection = stack.connection();
    let settled: usize =
        redis::cmd("HGET").arg("{s0}:stats").arg("default:COMPLETED").query(&mut connection).unwrap();
    assert_eq!(settled, TASKS);
}

#[test]
fn a_worker_that_is_told_to_stop_while_redis_is_away_ends() {
    let mut stack = Stack::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    stack.set_lease(1000);
    let api = stack.api;
    let mut worker = stack.worker(&["--grace", "200ms"]);
    api.wait_until_ready(1);
    let id = api.submit(r#"{"payload":{"job":"hostile","do":"sleep","ms":300}}"#);
    wait_for("the task in progress", || (api.task(&id)["status"] == "IN_PROGRESS").then_some(()));
    stack.redis.kill();
    assert_eq!(worker.terminate(), Some(0));
    stack.redis.start_again();
    let _other = stack.worker(&[]);
    assert_eq!(api.get(&format!("/v1/tasks/{id}?wait=60s")).json()["status"], "COMPLETED");
}

#[test]
fn servers_that_wait_for_redis_end_well_when_they_are_told_to() {
    let nobody = format!("redis://{}", free_address().1);
    let dir = tempfile::tempdir().unwrap();
    for args in [&["worker"][..], &["api", "--listen", "127.0.0.1:0"]] {
        let mut server = Process::start(&[args, &["--redis", &nobody]].concat(), dir.path());
        wait_for("its word that it waits", || {
            let log = std::fs::read_to_string(dir.path().join(LOG)).unwrap_or_default();
            log.contains("waiting for Redis").then_some(())
        });
        assert_eq!(server.terminate(), Some(0));
        std::fs::remove_file(dir.path().join(LOG)).unwrap();
    }
}

#[test]
fn more_slots_than_memory_holds_are_refused_with_the_number_that_fits() {
    let dir = tempfile::tempdir().unwrap();
    plugins(dir.path());
    let plugins = dir.path().join("plugins");
    let data = dir.path().join("data");
    let said = refused(&[
        "dev",
        "--listen",
        "127.0.0.1:0",
        "--concurrency",
        "5000",
        "--plugins",
        plugins.to_str().unwrap(),
        "--data-dir",
        data.to_str().unwrap(),
    ]);
    assert!(said.contains("concurrency") && said.contains("at most"), "{said}");
}

#[test]
fn a_second_server_on_the_same_embedded_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    plugins(dir.path());
    let (api, address) = free_address();
    let _first = Process::start(&["dev", "--listen", &address, "--data-dir", "data"], dir.path());
    api.wait_until_ready(1);
    let data = dir.path().join("data");
    let said = refused(&["dev", "--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()]);
    assert!(said.contains(data.to_str().unwrap()), "{said}");
}
