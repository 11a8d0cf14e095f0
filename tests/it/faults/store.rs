//! A Redis that refuses, pauses, cuts off or is full, and comes round again.

use std::{
    thread,
    time::{Duration, Instant},
};

use sentinel_testkit::wait_for;

use super::{Stop, assert_completed_at_once, hostile, wait_until_running};
use crate::cluster::{Process, Stack};

fn stack(redis: &[&str], workers: usize) -> (Stack, Vec<Process>) {
    let stack = Stack::start(redis);
    stack.set_lease(1000);
    let workers: Vec<_> = (0..workers).map(|_| stack.worker(&["--concurrency", "4"])).collect();
    stack.api.wait_until_ready(workers.len());
    (stack, workers)
}

/// Submits are refused with the wish to come back, and readiness is red.
fn assert_refused(stack: &Stack, why: &str) {
    let answer = stack.api.post("/submit-task", &hostile(r#""do":"ok""#));
    assert_eq!((answer.status, &answer.json()["code"]), (503, &"store_unavailable".into()), "{why}");
    assert!(answer.head.to_ascii_lowercase().contains("retry-after: 1"), "{why}: {}", answer.head);
    assert_eq!(stack.api.get("/readyz").status, 503, "{why}");
    assert!(stack.log().contains(why), "the log names {why}: {}", stack.log());
}

/// Everything is well again, and nothing that was accepted suffered.
fn assert_recovered(stack: &Stack, mut accepted: Vec<String>) {
    wait_for("readiness", || (stack.api.get("/readyz").status == 200).then_some(()));
    accepted.push(stack.api.submit(&hostile(r#""do":"ok""#)));
    assert_completed_at_once(stack, &accepted);
}

/// Some that run for a while and some that wait.
fn submit_some(stack: &Stack) -> Vec<String> {
    let ids: Vec<_> = (0..12).map(|_| stack.api.submit(&hostile(r#""do":"sleep","ms":400"#))).collect();
    wait_until_running(stack.api, &ids[0]);
    ids
}

/// A snapshot cannot be written, and Redis was told to take no writes then.
#[test]
fn case_13_a_redis_that_cannot_write_its_snapshot_is_waited_for() {
    let (stack, _workers) = stack(&["--save", "3600 100000"], 1);
    let accepted = submit_some(&stack);
    let mut redis = stack.connection();
    // Nothing can be renamed to where a directory is.
    let obstacle = stack.redis.dir().join("dump.rdb");
    std::fs::create_dir_all(obstacle.join("full")).unwrap();
    let mut save = |status: &str| {
        redis::cmd("BGSAVE").exec(&mut redis).unwrap();
        wait_for(status, || {
            let info: String = redis::cmd("INFO").arg("persistence").query(&mut redis).unwrap();
            info.contains(&format!("rdb_last_bgsave_status:{status}")).then_some(())
        });
    };
    save("err");
    assert_refused(&stack, "MISCONF");
    std::fs::remove_dir_all(&obstacle).unwrap();
    save("ok");
    assert_recovered(&stack, accepted);
}

#[test]
fn case_13_a_replica_is_waited_for() {
    let (stack, _workers) = stack(&[], 1);
    let accepted = submit_some(&stack);
    let mut redis = stack.connection();
    let mut replicate = |host: &str, port: &str| {
        redis::cmd("REPLICAOF").arg(host).arg(port).exec(&mut redis).unwrap();
    };
    replicate("127.0.0.1", "1");
    assert_refused(&stack, "read only replica");
    replicate("NO", "ONE");
    assert_recovered(&stack, accepted);
}

#[test]
fn case_13_a_redis_that_loads_is_waited_for() {
    // It looks at its clients after each kilobyte that it has loaded.
    let looks = ["--rdbcompression", "no", "--loading-process-events-interval-bytes", "1024"];
    let args = [&["--appendonly", "yes", "--appendfsync", "always"][..], &looks].concat();
    let (mut stack, _workers) = stack(&args, 1);
    // What there is so long to load: it is in the part of the file that is loaded so.
    let mut redis = stack.connection();
    let mut pipe = redis::pipe();
    for number in 0..1000 {
        pipe.cmd("SET").arg(format!("filler-{number}")).arg(&[b'x'; 1500]);
    }
    pipe.exec(&mut redis).unwrap();
    redis::cmd("BGREWRITEAOF").exec(&mut redis).unwrap();
    wait_for("the rewrite", || {
        let info: String = redis::cmd("INFO").arg("persistence").query(&mut redis).unwrap();
        let done = info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0");
        done.then_some(())
    });
    let accepted = submit_some(&stack);
    stack.redis.kill();
    stack.redis.add_args(&["--key-load-delay", "4000"]);
    thread::scope(|scope| {
        // It returns once Redis answers, some four seconds later.
        let Stack { redis, api, dir, server: _ } = &mut stack;
        let starting = scope.spawn(|| redis.start_again());
        let log = || std::fs::read_to_string(dir.path().join("log")).unwrap();
        wait_for("a refusal that says why", || {
            let answer = api.post("/submit-task", &hostile(r#""do":"ok""#));
            assert_eq!(answer.status, 503, "{}", answer.text());
            assert!(answer.head.to_ascii_lowercase().contains("retry-after: 1"), "{}", answer.head);
            log().contains("loading the dataset").then_some(())
        });
        assert_eq!(api.get("/readyz").status, 503);
        assert!(!starting.is_finished(), "it still loads");
        starting.join().unwrap();
    });
    assert_recovered(&stack, accepted);
}

#[test]
fn case_13_a_redis_busy_with_a_script_is_waited_for() {
    let (stack, _workers) = stack(&["--busy-reply-threshold", "50"], 1);
    let accepted = submit_some(&stack);
    let mut busy = stack.connection();
    let mut redis = stack.connection();
    let looping = thread::spawn(move || redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut busy));
    wait_for("a busy Redis", || redis::cmd("PING").exec(&mut redis).err());
    assert_refused(&stack, "BUSY");
    redis::cmd("SCRIPT").arg("KILL").exec(&mut redis).unwrap();
    looping.join().unwrap().unwrap_err();
    assert_recovered(&stack, accepted);
}

/// How many connections Redis ever accepted.
fn connections(redis: &mut redis::Connection) -> usize {
    let info: String = redis::cmd("INFO").arg("stats").query(redis).unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
    line.unwrap().parse().unwrap()
}

/// The pauses are to a lease of one second what 15 s are to the usual lease of ten, and more.
#[test]
fn case_15_pauses_longer_than_a_lease_convict_nobody() {
    const PAUSE: u64 = 2500;
    let (stack, _workers) = stack(&[], 2);
    let mut redis = stack.connection();
    let before = connections(&mut redis);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.extend((0..20).map(|_| stack.api.submit(&hostile(r#""do":"sleep","ms":300"#))));
        wait_until_running(stack.api, &ids[ids.len() - 20]);
        redis::cmd("CLIENT").arg("PAUSE").arg(PAUSE).arg("ALL").exec(&mut redis).unwrap();
        // It answers when the pause is over.
        redis::cmd("PING").exec(&mut redis).unwrap();
    }
    let after = connections(&mut redis);
    assert_completed_at_once(&stack, &ids);
    // A worker has a connection for calls, one for waiting and one for orders, the API as many;
    // each may be made again a few times in each pause.
    println!("{} connections were made", after - before);
    assert!(after - before <= 60, "{} connections were made", after - before);
}

#[test]
fn case_15_connections_killed_again_and_again_are_made_again_without_a_storm() {
    let (stack, _workers) = stack(&[], 2);
    let mut redis = stack.connection();
    let before = connections(&mut redis);
    let stop = Stop::default();
    let mut ids = Vec::new();
    let killed: usize = thread::scope(|scope| {
        let killing = scope.spawn(|| {
            let _stopping = stop.when_dropped();
            let mut redis = stack.connection();
            let until = Instant::now() + Duration::from_secs(3);
            let mut killed = 0;
            while Instant::now() < until {
                let mut kill = redis::cmd("CLIENT");
                kill.arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes");
                killed += kill.query::<usize>(&mut redis).unwrap();
                // So that some calls come through in between.
                thread::sleep(Duration::from_millis(20));
            }
            killed
        });
        while !stop.told() {
            let answer = stack.api.post("/submit-task", &hostile(r#""do":"sleep","ms":30"#));
            if answer.status == 200 {
                ids.push(answer.json()["task_id"].as_str().unwrap().to_owned());
            }
        }
        killing.join().unwrap()
    });
    let mut redis = stack.connection();
    let made = connections(&mut redis) - before;
    println!("{killed} connections were killed, {made} were made, {} tasks submitted", ids.len());
    assert!(killed > 100 && ids.len() > 20, "{killed} killed, {} submitted", ids.len());
    // Each that was killed is made again once.
    assert!(made <= killed + 20, "{made} were made for {killed} that were killed");
    assert_completed_at_once(&stack, &ids);
}

#[test]
fn case_16_at_maxmemory_renewals_and_settlements_land() {
    let (stack, _workers) = stack(&[], 1);
    // Longer than two leases: without renewals they would be lost.
    let mut accepted: Vec<_> =
        (0..4).map(|_| stack.api.submit(&hostile(r#""do":"sleep","ms":2500"#))).collect();
    for id in &accepted {
        wait_until_running(stack.api, id);
    }
    // What waits is claimed and settled as well: it makes room in the end.
    accepted.extend((0..10).map(|_| stack.api.submit(&hostile(r#""do":"ok""#))));
    let mut redis = stack.connection();
    let mut set = |bytes: u64| {
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).exec(&mut redis).unwrap();
    };
    set(1);
    let answer = stack.api.post("/submit-task", &hostile(r#""do":"ok""#));
    assert_eq!((answer.status, &answer.json()["code"]), (503, &"store_unavailable".into()));
    assert!(answer.head.to_ascii_lowercase().contains("retry-after: 1"), "{}", answer.head);
    assert_completed_at_once(&stack, &accepted);
    set(0);
    assert_recovered(&stack, accepted);
}
