//! A real worker over a real store, with real components.

mod apart;
mod effects;
mod reload;
mod rig;

use std::time::{Duration, Instant};

use sentinel_queue::{
    ErrorKind, Namespace, Policy, QueueName, QueueSettings, Status,
    lease::Served,
    retry::{Backoff, BackoffKind},
    steer::Steered,
    task::{AfterPolicy, Ended, Task, TaskState, When},
};

use self::rig::{Home, Rig, task};

const MARGIN: Duration = Duration::from_secs(1);

fn once(timeout: Duration) -> Policy {
    Policy { timeout: Some(timeout), max_attempts: Some(1), backoff: None }
}

fn error_of(task: &Task) -> (ErrorKind, Option<&str>) {
    match &task.state {
        TaskState::Failed { error, .. } => (error.kind, error.report.detail.as_deref()),
        other => panic!("not failed: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_run_as_a_component_and_its_result_is_kept() {
    let rig = Rig::start(Home::Redis, 4);
    let id = rig.submit(task(r#"{"job":"hostile","do":"echo","n":9007199254740993}"#)).await;
    let task = rig.ended(id).await;
    let TaskState::Completed { ended, result } = &task.state else { panic!("{task:?}") };
    assert!(std::str::from_utf8(result).unwrap().contains("hostile"));
    assert_eq!(ended.attempt, 1);
    assert_eq!(ended.plugin_digest.as_ref().map(String::len), Some(64));
    assert!(ended.usage.unwrap().peak_memory_bytes > 0);
    rig.stop().await;
}

/// One worker, one slot, a thousand tasks of mixed priority that arrived while the queue was
/// paused: they run in exact (priority, arrival) order.
async fn a_thousand_tasks_run_in_exact_order(home: Home) {
    let mut rig = Rig::prepare(home, 1);
    let (ns, queue) = (Namespace::default(), QueueName::default());
    rig.queue.pause(&ns, &queue).await.unwrap();
    rig.work();
    let mut expected = Vec::new();
    for number in 0..1000_i64 {
        let priority = number * 7919 % 41 - 20;
        let mut new = task(r#"{"job":"hostile","do":"ok"}"#);
        new.spec.priority = sentinel_queue::Priority::new(priority).unwrap();
        expected.push((-priority, number, rig.submit(new).await));
    }
    expected.sort_unstable_by_key(|(priority, number, _)| (*priority, *number));
    assert!(rig.claimed().is_empty(), "a paused queue hands out nothing");
    rig.queue.resume(&ns, &queue).await.unwrap();
    rig.until_done(1000).await;
    let order: Vec<_> = expected.iter().map(|(_, _, id)| *id).collect();
    assert_eq!(rig.claimed(), order);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_tasks_run_in_exact_order_on_redis() {
    a_thousand_tasks_run_in_exact_order(Home::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_tasks_run_in_exact_order_embedded() {
    a_thousand_tasks_run_in_exact_order(Home::Embedded).await;
}

/// What misbehaves ends by its name and in time, and who behaves beside it is not disturbed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_jobs_end_by_name_while_their_neighbours_finish() {
    let rig = Rig::start(Home::Embedded, 16);
    let second = Duration::from_secs(1);
    let since = Instant::now();
    let mut hostile = Vec::new();
    for (act, kind, detail) in [
        (r#""do":"trap""#, ErrorKind::Trap, None),
        (r#""do":"loop""#, ErrorKind::Timeout, Some("cpu")),
        (r#""do":"memory""#, ErrorKind::MemoryLimit, None),
        (r#""do":"recurse""#, ErrorKind::StackOverflow, None),
        (r#""do":"sleep-forever""#, ErrorKind::Timeout, Some("wall")),
        (r#""do":"return-not-json""#, ErrorKind::BadOutput, None),
        (r#""do":"permanent""#, ErrorKind::Permanent, None),
    ] {
        let mut new = task(&format!(r#"{{"job":"hostile",{act}}}"#));
        new.spec.policy = once(second);
        hostile.push((rig.submit(new).await, kind, detail));
    }
    let mut neighbours = Vec::new();
    for _ in 0..10 {
        neighbours.push(rig.submit(task(r#"{"job":"hostile","do":"spin","ms":5}"#)).await);
    }
    for id in neighbours {
        assert_eq!(rig.ended(id).await.state.status(), Status::Completed);
    }
    for (id, kind, detail) in hostile {
        let ended = rig.ended(id).await;
        let (ended_kind, ended_detail) = error_of(&ended);
        assert_eq!(ended_kind, kind);
        // Which clock of a busy guest runs out first depends on what runs beside it.
        if detail == Some("wall") {
            assert_eq!(ended_detail, detail);
        }
    }
    assert!(since.elapsed() < second + MARGIN, "all within the deadline: {:?}", since.elapsed());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_task_is_tried_as_often_as_it_may_be() {
    let rig = Rig::start(Home::Embedded, 2);
    let mut new = task(r#"{"job":"hostile","do":"retryable"}"#);
    let quick = Backoff { kind: BackoffKind::Fixed, base: Duration::from_millis(20), ..Backoff::default() };
    new.spec.policy = Policy { max_attempts: Some(3), backoff: Some(quick), timeout: None };
    let id = rig.submit(new).await;
    let ended = rig.ended(id).await;
    assert_eq!(error_of(&ended).0, ErrorKind::Retryable);
    assert_eq!((ended.progression.failures, rig.claimed().len()), (2, 3), "the third settled it");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_nobody_has_waits_and_costs_no_attempt() {
    let rig = Rig::start(Home::Embedded, 2);
    let id = rig.submit(task(r#"{"job":"nobody-has-this"}"#)).await;
    let waiting = rig.until(id, |task| task.progression.last_kind.is_some()).await;
    assert_eq!(waiting.state, TaskState::Scheduled);
    assert_eq!(waiting.last_error().unwrap().kind, ErrorKind::UnknownJob);
    assert_eq!(waiting.progression.ended, 0);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_told_to_stop_lets_attempts_finish_within_the_grace_period() {
    let mut rig = Rig::prepare(Home::Embedded, 2);
    rig.config.grace = Duration::from_secs(20);
    rig.work();
    let running = rig.submit(task(r#"{"job":"hostile","do":"sleep","ms":700}"#)).await;
    rig.until(running, |task| task.state.status() == Status::InProgress).await;
    let queue = rig.queue.clone();
    rig.stop().await;
    let ended = queue.get(running).await.unwrap().unwrap();
    assert_eq!(ended.state.status(), Status::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_finish_in_time_is_given_back_and_no_attempt_is_counted() {
    let mut rig = Rig::prepare(Home::Embedded, 2);
    rig.config.grace = Duration::from_millis(50);
    rig.work();
    let running = rig.submit(task(r#"{"job":"hostile","do":"sleep-forever"}"#)).await;
    rig.until(running, |task| task.state.status() == Status::InProgress).await;
    let queue = rig.queue.clone();
    rig.stop().await;
    let given_back = queue.get(running).await.unwrap().unwrap();
    assert_eq!(given_back.state, TaskState::Queued);
    assert_eq!(given_back.progression.ended, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_renewed_for_as_long_as_its_guest_runs() {
    let mut rig = Rig::prepare(Home::Redis, 2);
    rig.queue.set_lease(Duration::from_secs(1)).await.unwrap();
    rig.work();
    let id = rig.submit(task(r#"{"job":"hostile","do":"sleep","ms":3000}"#)).await;
    let ended = rig.ended(id).await;
    assert_eq!(ended.state.status(), Status::Completed);
    assert_eq!((rig.claims(id), ended.progression.lost), (1, 0));
    rig.stop().await;
}

/// Case 15: the store is away for longer than a lease. Guests are stopped before their leases can
/// end, and their tasks are given back with their token: no crash, no attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_goes_away_convicts_nobody() {
    let mut rig = Rig::prepare(Home::Redis, 2);
    rig.queue.set_lease(Duration::from_secs(1)).await.unwrap();
    rig.work();
    let mut new = task(r#"{"job":"hostile","do":"sleep","ms":1500}"#);
    new.spec.policy = once(Duration::from_secs(20));
    let id = rig.submit(new).await;
    rig.until(id, |task| task.state.status() == Status::InProgress).await;
    rig.pause_store(Duration::from_millis(2500));
    let ended = rig.ended(id).await;
    assert_eq!(ended.state.status(), Status::Completed);
    assert_eq!(ended.progression.failures, 0);
    assert!(rig.claims(id) >= 2, "its guest was stopped in time, and it was claimed again");
    rig.stop().await;
}

/// A worker that lost a lease may claim the same task again while the old guest still ends: what
/// is told of the old claim must not touch the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_a_worker_lost_and_claimed_again_is_renewed() {
    let mut rig = Rig::prepare(Home::Embedded, 4);
    let lease = Duration::from_secs(1);
    rig.queue.set_lease(lease).await.unwrap();
    rig.work();
    let mut new = task(r#"{"job":"hostile","do":"sleep","ms":3000}"#);
    new.spec.policy = once(Duration::from_secs(20));
    let id = rig.submit(new).await;
    rig.until(id, |task| task.state.status() == Status::InProgress).await;
    // As if the lease had ended: the task is ready again, and this worker is the only one there.
    let (ns, queue) = (Namespace::default(), QueueName::default());
    rig.queue.pause(&ns, &queue).await.unwrap();
    rig.queue.reopen().await.unwrap();
    rig.queue.resume(&ns, &queue).await.unwrap();
    let ended = rig.ended(id).await;
    assert_eq!(ended.state.status(), Status::Completed);
    assert_eq!((rig.claims(id), ended.progression.lost), (2, 0), "the second claim was renewed to its end");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_runs_only_what_waits_in_its_queues() {
    let mut rig = Rig::prepare(Home::Embedded, 2);
    let mine: QueueName = "mine".parse().unwrap();
    rig.config.served = Served::Only(vec![(Namespace::default(), mine.clone(), 1)]);
    rig.work();
    let other = rig.submit(task(r#"{"job":"hostile","do":"ok"}"#)).await;
    let mut new = task(r#"{"job":"hostile","do":"ok"}"#);
    new.spec.queue = mine;
    let id = rig.submit(new).await;
    rig.ended(id).await;
    assert_eq!(rig.queue.get(other).await.unwrap().unwrap().state, TaskState::Queued);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_starts_a_task_at_once() {
    for home in [Home::Redis, Home::Embedded] {
        let rig = Rig::start(home, 2);
        let warm = rig.submit(task(r#"{"job":"hostile","do":"ok"}"#)).await;
        rig.ended(warm).await;
        // Far below the fallback poll of one second, were no marker to wake it.
        let since = Instant::now();
        for _ in 0..5 {
            let id = rig.submit(task(r#"{"job":"hostile","do":"ok"}"#)).await;
            rig.ended(id).await;
        }
        assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
        // One that is put off starts when it is due, not at the next look of somebody.
        let mut late = Duration::ZERO;
        for _ in 0..5 {
            let mut new = task(r#"{"job":"hostile","do":"ok"}"#);
            new.when = Some(When::After(Duration::from_millis(100)));
            let ended = {
                let id = rig.submit(new).await;
                rig.ended(id).await
            };
            let TaskState::Completed { ended: Ended { started_at: Some(at), .. }, .. } = ended.state else {
                panic!("{ended:?}");
            };
            late += Duration::from_millis(at.0 - ended.progression.due.unwrap().0);
        }
        assert!(late < Duration::from_millis(500), "{late:?} in five");
        rig.stop().await;
    }
}

async fn a_running_task_that_is_cancelled_is_stopped_at_once(home: Home) {
    let rig = Rig::start(home, 4);
    // Whoever computes and whoever waits in the host.
    for act in [r#""do":"loop""#, r#""do":"sleep-forever""#] {
        let mut new = task(&format!(r#"{{"job":"hostile",{act}}}"#));
        new.spec.policy = once(Duration::from_secs(60));
        let id = rig.submit(new).await;
        rig.until(id, |task| task.state.status() == Status::InProgress).await;
        assert_eq!(rig.queue.cancel(id).await.unwrap(), Steered::Done);
        let since = Instant::now();
        let cancelled = rig.queue.get(id).await.unwrap().unwrap();
        assert_eq!(cancelled.state.status(), Status::Cancelled);
        while rig.busy() > 0 {
            assert!(since.elapsed() < MARGIN, "its guest still runs");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Nothing is told of it afterwards.
        let after = rig.queue.get(id).await.unwrap().unwrap();
        assert_eq!(after, cancelled);
    }
    let next = rig.submit(task(r#"{"job":"hostile","do":"ok"}"#)).await;
    assert_eq!(rig.ended(next).await.state.status(), Status::Completed);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_task_that_is_cancelled_is_stopped_at_once_on_redis() {
    a_running_task_that_is_cancelled_is_stopped_at_once(Home::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_task_that_is_cancelled_is_stopped_at_once_embedded() {
    a_running_task_that_is_cancelled_is_stopped_at_once(Home::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_task_leaves_out_its_job_says_and_then_its_queue() {
    let mut rig = Rig::prepare(Home::Embedded, 2);
    rig.manifest = Some("[retry]\nbackoff = { kind = \"fixed\", base = \"1ms\" }\nmax_attempts = 2".into());
    let defaults = Policy { max_attempts: Some(9), timeout: Some(Duration::from_millis(300)), backoff: None };
    let settings = QueueSettings { defaults, ..QueueSettings::default() };
    let (ns, queue) = (Namespace::default(), QueueName::default());
    assert!(rig.queue.set_queue(&ns, &queue, &settings).await.unwrap());
    rig.work();
    let by_job = rig.submit(task(r#"{"job":"hostile","do":"retryable"}"#)).await;
    let mut own = task(r#"{"job":"hostile","do":"retryable"}"#);
    own.spec.policy.max_attempts = Some(4);
    let by_task = rig.submit(own).await;
    let by_queue = rig.submit(task(r#"{"job":"hostile","do":"sleep-forever"}"#)).await;
    assert_eq!(rig.ended(by_job).await.progression.failures, 1, "the second settled it");
    assert_eq!(rig.ended(by_task).await.progression.failures, 3, "the fourth settled it");
    let ended = rig.ended(by_queue).await;
    assert_eq!(error_of(&ended), (ErrorKind::Timeout, Some("wall")));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_reads_its_parents_results_and_no_others() {
    let rig = Rig::start(Home::Embedded, 4);
    let good = rig.submit(task(r#"{"job":"hostile","do":"memory-to","mib":3}"#)).await;
    let bad = rig.submit(task(r#"{"job":"hostile","do":"permanent"}"#)).await;
    let child = |act: &str| {
        let mut child = task(act);
        child.spec.after = vec![good, bad];
        child.spec.after_policy = AfterPolicy::Always;
        child
    };
    let reads = rig.submit(child(r#"{"job":"hostile","do":"parents"}"#)).await;
    let TaskState::Completed { result, .. } = rig.ended(reads).await.state else { panic!() };
    let expected = r#"[{"job":"hostile","result":3,"status":"Status::Completed"},{"job":"hostile","result":null,"status":"Status::Failed"}]"#;
    assert_eq!(result, expected);
    let other = rig.submit(task(r#"{"job":"hostile","do":"ok"}"#)).await;
    rig.ended(other).await;
    let spies = rig.submit(child(&format!(r#"{{"job":"hostile","do":"result-of","id":"{other}"}}"#))).await;
    let TaskState::Completed { result, .. } = rig.ended(spies).await.state else { panic!() };
    assert_eq!(result, "null", "it is no parent");
    let alone = rig.submit(task(r#"{"job":"hostile","do":"parents"}"#)).await;
    let TaskState::Completed { result, .. } = rig.ended(alone).await.state else { panic!() };
    assert_eq!(result, "[]");
    rig.stop().await;
}
