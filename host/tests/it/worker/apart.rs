//! What becomes of a task whose own process does what it should not. Here a shell stands in for
//! that process; what the real one does is seen in the binary's tests.

use std::time::{Duration, Instant};

use sentinel_host::worker::Apart;
use sentinel_queue::{
    ErrorKind, TaskId,
    lease::{Instance, Served, Turn},
    task::TaskState,
};

use super::{
    error_of, once,
    rig::{Home, Rig, task},
};

/// A worker whose task has lost two others, and whose children run this script. They take their
/// order, and can say that the guest has begun.
async fn suspected(script: &str, timeout: Duration) -> (Rig, TaskId) {
    let mut rig = Rig::prepare(Home::Embedded, 2);
    let mut new = task(r#"{"job":"hostile","do":"ok"}"#);
    new.spec.policy = once(timeout);
    let id = rig.submit(new).await;
    rig.queue.set_lease(Duration::from_millis(100)).await.unwrap();
    for lost in 1..=2 {
        let turn = Turn { number: 1, settlements: vec![], wanted: 1 };
        let gone = Instance::random("gone");
        let answer = rig.queue.settle_and_claim(&gone, &Served::All, &turn).await.unwrap();
        assert_eq!(answer.claimed.len(), 1);
        while rig.queue.get(id).await.unwrap().unwrap().progression.lost < lost {
            rig.queue.sweep().await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    rig.queue.set_lease(Duration::from_secs(1)).await.unwrap();
    let script = format!(
        "exec 3<&0; cat <&3 >/dev/null & begin() {{ printf '\\007\\000\\000\\000\"Begun\"'; }}; {script}"
    );
    rig.config.apart = Apart { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()] };
    rig.work();
    (rig, id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_ends_its_process_is_convicted_with_the_cause_of_death() {
    for (script, cause) in [
        ("begin; kill -SEGV $$", "SIGSEGV"),
        ("begin; kill -KILL $$", "SIGKILL"),
        ("begin; exit 0", "exit status: 0"),
    ] {
        let (rig, id) = suspected(script, Duration::from_secs(30)).await;
        let ended = rig.ended(id).await;
        let TaskState::Failed { ended, error } = &ended.state else { panic!("{ended:?}") };
        assert_eq!((error.kind, ended.attempt), (ErrorKind::WorkerLost, 3));
        assert!(error.report.message.contains(cause), "{}", error.report.message);
        assert_eq!(ended.plugin_digest.as_ref().map(String::len), Some(64));
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_ends_before_its_guest_began_convicts_nobody() {
    for script in ["exit 1", "kill -SEGV $$", "printf '\\377\\377\\377\\377'"] {
        let (rig, id) = suspected(script, Duration::from_secs(30)).await;
        let since = Instant::now();
        while rig.claims(id) < 4 {
            assert!(since.elapsed() < Duration::from_secs(20), "it is not tried again");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let queue = rig.queue.clone();
        rig.stop().await;
        let given_back = queue.get(id).await.unwrap().unwrap();
        assert_eq!(given_back.state, TaskState::Queued);
        assert_eq!((given_back.progression.ended, given_back.progression.lost), (2, 2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_does_not_mind_the_deadline_is_killed_and_the_attempt_counts() {
    let (rig, id) = suspected("begin; exec sleep 600", Duration::from_millis(100)).await;
    let since = Instant::now();
    let ended = rig.ended(id).await;
    assert_eq!(error_of(&ended), (ErrorKind::Timeout, Some("wall")));
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_stopped_on_purpose_convicts_nobody() {
    let (rig, id) = suspected("begin; exec sleep 600", Duration::from_secs(300)).await;
    rig.until(id, |task| matches!(task.state, TaskState::InProgress { .. })).await;
    rig.queue.cancel(id).await.unwrap();
    assert!(matches!(rig.ended(id).await.state, TaskState::Cancelled { .. }));
    rig.stop().await;
}
