//! Processes that are killed, replaced, starved of processor or of descriptors.

use std::{
    collections::HashSet,
    net::TcpStream,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sentinel_testkit::wait_for;

use super::{Stop, assert_completed_at_once, hostile, wait_until_running};
use crate::cluster::{Api, Process, Stack, free_address};

/// One try to submit, while the API may be dying; the task's id if that was answered.
fn try_submit(api: Api, body: &str) -> Option<String> {
    let answer = api.request("POST", "/submit-task", Some(body)).ok()?;
    (answer.status == 200).then(|| answer.json()["task_id"].as_str().expect("an id").to_owned())
}

#[test]
fn case_05_an_api_killed_in_the_middle_of_posts_takes_each_key_once() {
    const KEYS: usize = 400;
    const CLIENTS: usize = 4;
    const KILLS: usize = 5;
    let mut stack = Stack::start(&[]);
    let _worker = stack.worker(&["--concurrency", "4"]);
    let api = stack.api;
    api.wait_until_ready(1);

    let answered = AtomicUsize::new(0);
    let retried = AtomicUsize::new(0);
    let ids = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (answered, retried, ids) = (&answered, &retried, &ids);
            scope.spawn(move || {
                for key in (client..KEYS).step_by(CLIENTS) {
                    let body = format!(
                        r#"{{"payload":{{"job":"hostile","do":"ok"}},"idempotency_key":"key-{key}","tags":["five"]}}"#
                    );
                    let mut tries = 0;
                    let id = wait_for("an answer", || {
                        tries += 1;
                        try_submit(api, &body)
                    });
                    retried.fetch_add(usize::from(tries > 1), Ordering::Relaxed);
                    answered.fetch_add(1, Ordering::Relaxed);
                    ids.lock().unwrap().push(id);
                }
            });
        }
        for kill in 1..=KILLS {
            let due = KEYS * kill / (KILLS + 1);
            wait_for("some answers", || (answered.load(Ordering::Relaxed) >= due).then_some(()));
            stack.server.kill();
            stack.server = stack.api_at(api);
        }
    });
    assert!(retried.into_inner() >= KILLS, "a kill met nobody's request");

    let ids: HashSet<_> = ids.into_inner().unwrap().into_iter().collect();
    assert_eq!(ids.len(), KEYS, "each key has a task of its own");
    assert_eq!(stack.ever("submitted"), KEYS as u64);
    let mut listed = 0;
    let mut cursor = String::new();
    loop {
        let page = api.get(&format!("/v1/tasks?tag=five&limit=500{cursor}")).json();
        listed += page["tasks"].as_array().unwrap().len();
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(listed, KEYS);
    assert_completed_at_once(&stack, &ids.into_iter().collect::<Vec<_>>());
}

#[test]
fn case_06_everything_killed_and_started_again_drains() {
    const ROUNDS: usize = 2;
    let mut stack = Stack::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    stack.set_lease(1000);
    let api = stack.api;
    let worker = |stack: &Stack| stack.worker(&["--concurrency", "4"]);
    let mut workers = [worker(&stack), worker(&stack)];
    api.wait_until_ready(2);
    let body = hostile(r#""do":"sleep","ms":20"#);
    let mut acknowledged = HashSet::new();
    for round in 1..=ROUNDS {
        let stop = Stop::default();
        let more = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let stopping = stop.when_dropped();
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.told() {
                        let id = try_submit(api, &body);
                        more.lock().unwrap().extend(id);
                    }
                });
            }
            wait_for("a load", || (more.lock().unwrap().len() >= 200).then_some(()));
            wait_for("tasks in progress", || (stack.ever("COMPLETED") >= 20 * round as u64).then_some(()));
            let [first, second] = &mut workers;
            first.kill();
            stack.redis.kill();
            second.kill();
            stack.server.kill();
            drop(stopping);
        });
        acknowledged.extend(more.into_inner().unwrap());
        stack.redis.start_again();
        stack.server = stack.api_at(api);
        workers = [worker(&stack), worker(&stack)];
    }
    api.wait_until_ready(2);
    for id in &acknowledged {
        let task = api.get(&format!("/v1/tasks/{id}?wait=60s")).json();
        assert_eq!(task["status"], "COMPLETED", "{task}");
    }
    // What was submitted and never answered may be there as well, and ends as well.
    let submitted = stack.ever("submitted");
    assert!(submitted >= acknowledged.len() as u64);
    wait_for("the rest", || (stack.ever("COMPLETED") == submitted).then_some(()));
    stack.assert_audit_clean();
}

/// Both sides have the same version here; that records of another version are read or refused is
/// tested in the queue, by their version byte.
#[test]
fn case_07_a_rolling_restart_burns_no_attempt() {
    let mut stack = Stack::start(&[]);
    let (second_api, _) = free_address();
    let apis = [stack.api, second_api];
    let mut second_server = stack.api_at(second_api);
    // So long a grace period that what runs may end.
    let worker = |stack: &Stack| stack.worker(&["--concurrency", "2", "--grace", "20s"]);
    let mut workers = [worker(&stack), worker(&stack)];
    for api in apis {
        api.wait_until_ready(2);
    }

    let stop = Stop::default();
    let ids = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let stopping = stop.when_dropped();
        for client in 0..2 {
            let (stop, ids) = (&stop, &ids);
            scope.spawn(move || {
                let mut number = 0;
                while !stop.told() {
                    number += 1;
                    let body = format!(
                        r#"{{"payload":{{"job":"hostile","do":"sleep","ms":50}},"idempotency_key":"{client}-{number}"}}"#
                    );
                    // Whoever cannot be reached is tried again; the other may be there.
                    let mut turn = number;
                    let id = wait_for("an answer", || {
                        turn += 1;
                        try_submit(apis[turn % 2], &body)
                    });
                    ids.lock().unwrap().push(id);
                    // As fast as four slots work.
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
        wait_for("a load", || (stack.ever("COMPLETED") > 10).then_some(()));
        for old in &mut workers {
            let new = worker(&stack);
            apis[0].wait_until_ready(3);
            assert_eq!(old.terminate(), Some(0));
            *old = new;
        }
        assert_eq!(stack.server.terminate(), Some(0));
        stack.server = stack.api_at(apis[0]);
        apis[0].wait_until_ready(2);
        assert_eq!(second_server.terminate(), Some(0));
        second_server = stack.api_at(apis[1]);
        apis[1].wait_until_ready(2);
        drop(stopping);
    });
    assert_completed_at_once(&stack, &ids.into_inner().unwrap());
    for process in workers.iter_mut().chain([&mut stack.server, &mut second_server]) {
        assert_eq!(process.terminate(), Some(0));
    }
}

/// Members of a sorted set with their scores.
type Scored = Vec<(String, f64)>;

#[test]
fn case_08_guests_on_every_core_do_not_hold_up_heartbeats() {
    const LEASE: f64 = 1000.0;
    let stack = Stack::start(&[]);
    let api = stack.api;
    stack.set_lease(1000);
    let _worker = stack.worker(&["--concurrency", "8"]);
    api.wait_until_ready(1);
    let body = r#"{"payload":{"job":"hostile","do":"spin","ms":5000},"timeout":"60s"}"#;
    let ids: Vec<_> = (0..8).map(|_| api.submit(body)).collect();
    for id in &ids {
        wait_until_running(api, id);
    }
    let mut redis = stack.connection();
    let mut oldest = 0_f64;
    let mut looks = 0;
    while api.count("IN_PROGRESS") == 8 {
        // At one moment: the time, the last sign of life, the lease that ends first.
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("TIME");
        pipe.cmd("ZRANGE").arg("{s0}:w").arg(-1).arg(-1).arg("WITHSCORES");
        pipe.cmd("ZRANGE").arg("{s0}:l").arg(0).arg(0).arg("WITHSCORES");
        let ((seconds, micros), seen, lease): ((f64, f64), Scored, Scored) = pipe.query(&mut redis).unwrap();
        let now = seconds * 1000.0 + micros / 1000.0;
        oldest = oldest.max(now - seen[0].1);
        if let Some((_, until)) = lease.first() {
            assert!(*until > now, "a lease has ended");
        }
        looks += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(looks > 50, "they ran together for a while: {looks}");
    assert!(oldest < LEASE, "a sign of life was {oldest} ms old");
    assert_completed_at_once(&stack, &ids);
    println!("the oldest sign of life was {oldest:.0} ms old");
}

#[test]
fn case_09_few_descriptors_are_backpressure_and_said_clearly() {
    const TASKS: usize = 200;
    let mut stack = Stack::start(&[]);
    let api = stack.api;
    stack.server.kill();
    let address = format!("127.0.0.1:{}", api.port);
    let url = stack.redis.url();
    let limited = |args: &[&str]| Process::start_after("ulimit -n 64", args, stack.dir.path());
    let mut server = limited(&["api", "--listen", &address, "--redis", &url]);
    let mut worker = limited(&["worker", "--concurrency", "8", "--redis", &url]);
    api.wait_until_ready(1);

    // More connections than the API has descriptors for, which say nothing.
    let silent: Vec<_> = (0..100).filter_map(|_| TcpStream::connect(("127.0.0.1", api.port)).ok()).collect();
    assert_eq!(silent.len(), 100, "they are accepted, or wait");
    wait_for("a word in the log", || {
        stack.log().contains("a connection could not be accepted").then_some(())
    });
    assert!(stack.log().contains("Too many open files"), "{}", stack.log());
    // A client that comes now waits, and is served once there is room.
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let since = Instant::now();
            (api.submit(&hostile(r#""do":"ok""#)), since.elapsed())
        });
        std::thread::sleep(Duration::from_millis(300));
        assert!(!waits.is_finished(), "there is no room");
        drop(silent);
        let (_, waited) = waits.join().unwrap();
        assert!(waited < Duration::from_secs(5), "{waited:?}");
    });
    // The log is not flooded: ten lines a second at most.
    let lines = stack.log().lines().filter(|line| line.contains("could not be accepted")).count();
    assert!(lines < 100, "{lines}");

    let ids: Vec<_> = (0..TASKS).map(|_| api.submit(&hostile(r#""do":"sleep","ms":5"#))).collect();
    for id in &ids {
        let task = api.get(&format!("/v1/tasks/{id}?wait=60s")).json();
        assert_eq!((&task["status"], &task["attempt"]), (&"COMPLETED".into(), &1.into()), "{task}");
    }
    assert_eq!(stack.ever("COMPLETED"), TASKS as u64 + 1);
    assert_eq!((server.terminate(), worker.terminate()), (Some(0), Some(0)));
}
