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

use crate::cluster::{Process, Stack, free_address, plugins};

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

/// Case 13: a store that takes no writes makes readiness red, and recovers by itself.
#[test]
fn a_redis_that_only_reads_is_not_ready() {
    let (stack, _worker) = ready(&[]);
    let mut connection = stack.connection();
    let mut replicate = |host: &str, port: &str| {
        redis::cmd("REPLICAOF").arg(host).arg(port).exec(&mut connection).unwrap();
    };
    replicate("127.0.0.1", "1");
    assert_eq!(stack.api.get("/readyz").status, 503);
    let answer = stack.api.post("/submit-task", r#"{"payload":{"job":"example-task"}}"#);
    assert_eq!((answer.status, &answer.json()["code"]), (503, &"store_unavailable".into()));
    replicate("NO", "ONE");
    assert_eq!(stack.api.get("/readyz").status, 200);
    let id = stack.api.submit(r#"{"payload":{"job":"example-task"}}"#);
    assert_eq!(stack.api.get(&format!("/v1/tasks/{id}?wait=30s")).json()["status"], "COMPLETED");
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

/// Case 16: when memory is full, submits are refused and what runs lands all the same.
#[test]
fn a_full_redis_refuses_submits_and_takes_results() {
    let (stack, _worker) = ready(&[]);
    let running = stack.api.submit(r#"{"payload":{"job":"hostile","do":"sleep","ms":500}}"#);
    wait_for("the task in progress", || (stack.api.task(&running)["status"] == "IN_PROGRESS").then_some(()));
    let mut connection = stack.connection();
    let mut set = |bytes: u64| {
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).exec(&mut connection).unwrap();
    };
    set(1);
    let answer = stack.api.post("/submit-task", r#"{"payload":{"job":"example-task"}}"#);
    assert_eq!((answer.status, &answer.json()["code"]), (503, &"store_unavailable".into()));
    let task = stack.api.get(&format!("/v1/tasks/{running}?wait=30s")).json();
    assert_eq!((&task["status"], &task["attempt"]), (&"COMPLETED".into(), &1.into()), "{task}");
    set(0);
    let id = stack.api.submit(r#"{"payload":{"job":"example-task"}}"#);
    assert_eq!(stack.api.get(&format!("/v1/tasks/{id}?wait=30s")).json()["status"], "COMPLETED");
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

/// Case 9.
#[test]
fn few_file_descriptors_are_backpressure_and_no_crash() {
    let (stack, _worker) = ready(&[]);
    let (api, address) = free_address();
    // The shell's limit is the server's.
    let command = format!(
        "ulimit -n 64; exec {} api --listen {address} --redis {}",
        env!("CARGO_BIN_EXE_sentinel"),
        stack.redis.url()
    );
    let mut server = Command::new("sh")
        .args(["-c", &command])
        .current_dir(stack.dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    api.wait_until_ready(1);
    let silent: Vec<_> =
        (0..100).filter_map(|_| std::net::TcpStream::connect(("127.0.0.1", api.port)).ok()).collect();
    assert!(silent.len() > 64, "more than it has descriptors for");
    drop(silent);
    wait_for("an answer after the flood", || {
        api.request("GET", "/readyz", None).ok().filter(|answer| answer.status == 200)
    });
    assert!(server.try_wait().unwrap().is_none(), "it still runs");
    server.kill().unwrap();
    server.wait().unwrap();
}
