//! What lies between processes and Redis: a route that leads nowhere, requests and replies that
//! never come.

use std::time::Duration;

use sentinel_queue::store::Script;
use sentinel_testkit::{Proxy, RedisServer, wait_for};

use super::{assert_completed_at_once, hostile, wait_until_running};
use crate::cluster::{Process, Stack};

fn url(proxy: &Proxy) -> String {
    format!("redis://127.0.0.1:{}", proxy.port())
}

/// The hash by which a script is called.
fn hash(script: Script) -> Vec<u8> {
    redis::Script::new(script.source()).get_hash().as_bytes().to_vec()
}

/// What a process used of the processor so far.
fn processor_time(process: &Process) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).expect("it lives");
    let after_name = stat.rsplit(')').next().expect("a name").split_whitespace();
    let ticks: u64 = after_name.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    // Linux counts in hundredths of a second, whatever its own clock does.
    Duration::from_millis(ticks * 10)
}

#[test]
fn case_02_a_worker_killed_between_the_guests_return_and_the_settle_has_no_effect() {
    let stack = Stack::start(&[]);
    stack.set_lease(1000);
    let proxy = Proxy::start(stack.redis.port());
    let mut first = stack.worker_over(&url(&proxy), &["--concurrency", "1"]);
    stack.api.wait_until_ready(1);
    let id = stack.api.submit(&hostile(r#""do":"sleep","ms":300"#));
    wait_until_running(stack.api, &id);
    // Its only slot is taken: the next call of this kind brings the result.
    proxy.hold_requests(&hash(Script::SettleClaim));
    wait_for("the settle that is on its way", || (proxy.held() > 0).then_some(()));
    first.kill();
    assert_eq!(stack.api.task(&id)["status"], "IN_PROGRESS");
    let _second = stack.worker(&["--concurrency", "1"]);
    let task = stack.api.get(&format!("/v1/tasks/{id}?wait=30s")).json();
    assert_eq!((&task["status"], &task["attempt"]), (&"COMPLETED".into(), &2.into()), "{task}");
    assert_eq!((stack.ever("COMPLETED"), stack.ever("lost")), (1, 1));
    stack.assert_audit_clean();
}

/// Here the route is a proxy that holds everything up; `chaos` does it in a network namespace.
#[test]
fn case_17_a_worker_cut_from_redis_stops_its_guests_before_another_runs_them() {
    let stack = Stack::start(&[]);
    let api = stack.api;
    stack.set_lease(1000);
    let proxy = Proxy::start(stack.redis.port());
    let cut_off = stack.worker_over(&url(&proxy), &["--concurrency", "1"]);
    api.wait_until_ready(1);
    // It uses the processor for as long as it runs: so it is seen from outside whether it does.
    let body = r#"{"payload":{"job":"hostile","do":"spin","ms":3000},"timeout":"60s"}"#;
    let id = api.submit(body);
    wait_until_running(api, &id);
    wait_for("the guest on the processor", || {
        (processor_time(&cut_off) > Duration::from_millis(100)).then_some(())
    });
    proxy.blackhole();
    let other = stack.worker(&["--concurrency", "1"]);

    let mut redis = stack.connection();
    let mut claim =
        || redis::cmd("HGET").arg("{s0}:run").arg(&id).query::<Option<String>>(&mut redis).unwrap();
    let first = claim().expect("it runs");
    wait_for("the second claim", || claim().filter(|claim| *claim != first));
    let before = processor_time(&cut_off);
    let task = api.get(&format!("/v1/tasks/{id}?wait=30s")).json();
    assert_eq!((&task["status"], &task["attempt"]), (&"COMPLETED".into(), &2.into()), "{task}");
    assert_eq!(stack.ever("lost"), 1);
    let meanwhile = processor_time(&cut_off).saturating_sub(before);
    assert!(meanwhile < Duration::from_millis(300), "both ran it: {meanwhile:?} of three seconds");
    assert!(stack.log().contains("guests were stopped"), "{}", stack.log());

    // What was held up arrives now, and is refused; the worker works again.
    drop(other);
    proxy.pass();
    let next = api.submit(&hostile(r#""do":"ok""#));
    let next = api.get(&format!("/v1/tasks/{next}?wait=30s")).json();
    assert_eq!((&next["status"], &next["attempt"]), (&"COMPLETED".into(), &1.into()), "{next}");
    assert_eq!(stack.ever("COMPLETED"), 2);
    stack.assert_audit_clean();
}

/// A stack in which only the API's calls go through the proxy.
fn api_through_a_proxy() -> (Stack, Proxy) {
    let redis = RedisServer::start(&[]);
    let proxy = Proxy::start(redis.port());
    let stack = Stack::start_over(redis, &url(&proxy));
    (stack, proxy)
}

#[test]
fn case_18_a_submit_whose_reply_is_lost_makes_one_task() {
    const TASKS: usize = 20;
    let (stack, proxy) = api_through_a_proxy();
    let _worker = stack.worker(&[]);
    stack.api.wait_until_ready(1);
    // Scripts are loaded: what is called from now on is delivered, and done.
    let mut ids = vec![stack.api.submit(&hostile(r#""do":"ok""#))];
    for sent in 1..=TASKS {
        proxy.drop_replies(&hash(Script::Submit), 1);
        ids.push(stack.api.submit(&hostile(r#""do":"ok""#)));
        assert_eq!(proxy.dropped(), sent);
    }
    assert_eq!(stack.ever("submitted"), ids.len() as u64);
    assert_completed_at_once(&stack, &ids);
}

#[test]
fn case_18_a_cancel_whose_reply_is_lost_is_answered_as_done() {
    let (stack, proxy) = api_through_a_proxy();
    let _worker = stack.worker(&["--concurrency", "1"]);
    stack.api.wait_until_ready(1);
    let cancel = |id: &str| stack.api.post(&format!("/v1/tasks/{id}/cancel"), "");
    let running = stack.api.submit(&hostile(r#""do":"sleep-forever""#));
    wait_until_running(stack.api, &running);
    let waiting = stack.api.submit(&hostile(r#""do":"ok""#));
    let loads_the_script = stack.api.submit(&hostile(r#""do":"ok""#));
    assert_eq!(cancel(&loads_the_script).status, 200);
    for (number, id) in [waiting, running].iter().enumerate() {
        proxy.drop_replies(&hash(Script::Cancel), 1);
        let answer = cancel(id);
        assert_eq!((answer.status, proxy.dropped()), (200, number + 1), "{}", answer.text());
        assert_eq!(stack.api.task(id)["status"], "CANCELLED");
    }
    assert_eq!(stack.ever("CANCELLED"), 3);
    // The slot is free again.
    let next = stack.api.submit(&hostile(r#""do":"ok""#));
    assert_eq!(stack.api.get(&format!("/v1/tasks/{next}?wait=30s")).json()["status"], "COMPLETED");
    assert_eq!(stack.ever("lost"), 0);
    stack.assert_audit_clean();
}

#[test]
fn case_18_claims_and_settlements_whose_replies_are_lost_are_done_once() {
    const TASKS: usize = 60;
    const LOST: usize = 15;
    let stack = Stack::start(&[]);
    stack.set_lease(1000);
    let proxy = Proxy::start(stack.redis.port());
    let _worker = stack.worker_over(&url(&proxy), &["--concurrency", "2"]);
    stack.api.wait_until_ready(1);
    // Scripts are loaded.
    let mut ids = vec![stack.api.submit(&hostile(r#""do":"ok""#))];
    stack.api.get(&format!("/v1/tasks/{}?wait=30s", ids[0]));
    stack.api.post("/v1/queues/default/pause", "");
    ids.extend((0..TASKS).map(|_| stack.api.submit(&hostile(r#""do":"sleep","ms":20"#))));
    for sent in 1..=LOST {
        proxy.drop_replies(&hash(Script::SettleClaim), 1);
        if sent == 1 {
            stack.api.post("/v1/queues/default/resume", "");
        }
        wait_for("a call whose reply is dropped", || (proxy.dropped() == sent).then_some(()));
    }
    assert_completed_at_once(&stack, &ids);
}

#[test]
fn case_18_a_release_whose_reply_is_lost_burns_no_attempt() {
    let stack = Stack::start(&[]);
    let proxy = Proxy::start(stack.redis.port());
    let start = |over: &str| stack.worker_over(over, &["--concurrency", "3", "--grace", "100ms"]);
    let mut first = start(&url(&proxy));
    stack.api.wait_until_ready(1);
    // The first to be stopped loads the script: its release is sent whole.
    let ids: Vec<_> = (0..3).map(|_| stack.api.submit(&hostile(r#""do":"sleep","ms":1500"#))).collect();
    let running = || {
        for id in &ids {
            wait_until_running(stack.api, id);
        }
    };
    running();
    assert_eq!(first.terminate(), Some(0));
    let mut second = start(&url(&proxy));
    running();
    proxy.drop_replies(&hash(Script::Release), 1);
    assert_eq!(second.terminate(), Some(0));
    assert_eq!(proxy.dropped(), 1);
    assert_eq!((stack.api.count("IN_PROGRESS"), stack.api.count("QUEUED")), (0, 3));
    let _third = start(&stack.redis.url());
    assert_completed_at_once(&stack, &ids);
}
