//! What attempts do through the store, on both homes; each call is sent twice.

use std::time::Duration;

use bytes::Bytes;
use sentinel_queue::{
    ErrorKind, NewTask, Status, TaskId,
    effects::{Effects, Versioned, Write},
    lease::{Claimed, Settlement, Verdict},
    task::{Event, Lineage, TaskState},
};

use crate::bench::{Bench, LEASE, Worker, done, failure, ids, new_task, on_both_homes, settlement};

/// What the settlement's attempt did.
fn with(task: &Claimed, effects: Effects) -> Settlement {
    let waits = Effects {
        conflict_wait: Duration::from_millis(50),
        failure_wait: Some(Duration::from_secs(1)),
        ..effects
    };
    Settlement { effects: waits, ..settlement(task, done()) }
}

fn reads(key: &str, version: u64) -> Effects {
    Effects { reads: [(key.to_owned(), version)].into(), ..Effects::default() }
}

fn writes(key: &str, write: Write) -> Effects {
    Effects { writes: [(key.to_owned(), write)].into(), ..Effects::default() }
}

fn set(key: &str, value: &'static str) -> Effects {
    writes(key, Write::Set(Bytes::from_static(value.as_bytes())))
}

async fn state(bench: &Bench, key: &str) -> Versioned {
    let spec = new_task(0).spec;
    bench.queue.state(&spec.namespace, &spec.job, &[key]).await.unwrap().remove(0)
}

async fn value(bench: &Bench, key: &str) -> Option<String> {
    state(bench, key).await.value.map(|value| String::from_utf8(value.into()).unwrap())
}

/// Claims one task, fresh unless one waits.
async fn claim(bench: &Bench, worker: &mut Worker<'_>) -> Claimed {
    bench.submit(0).await;
    worker.claim(1).await.remove(0)
}

async fn commit(bench: &Bench, worker: &mut Worker<'_>, effects: Effects) -> TaskId {
    let task = claim(bench, worker).await;
    assert_eq!(worker.turn(vec![with(&task, effects)], 0).await.settled, [true]);
    task.definition.id
}

async fn error_of(bench: &Bench, id: TaskId) -> (ErrorKind, String) {
    let task = bench.get(id).await;
    let TaskState::Failed { error, .. } = task.state else { panic!("{:?}", task.state) };
    (error.kind, error.report.message)
}

on_both_homes! {
    async fn state_is_written_with_the_completion_and_read_back(bench: &Bench) {
        let mut worker = Worker::of(bench);
        assert_eq!(state(bench, "a").await, Versioned::default());
        commit(bench, &mut worker, set("a", "one\0\u{e9}")).await;
        let first = state(bench, "a").await;
        assert_eq!(first.value.as_deref(), Some("one\0\u{e9}".as_bytes()));
        commit(bench, &mut worker, set("a", "")).await;
        let second = state(bench, "a").await;
        assert_eq!(second.value.as_deref(), Some(&b""[..]));
        assert!(second.version > first.version);
        commit(bench, &mut worker, writes("a", Write::Delete)).await;
        assert_eq!(state(bench, "a").await, Versioned::default());
        commit(bench, &mut worker, set("a", "again")).await;
        assert!(state(bench, "a").await.version > second.version, "versions are never used again");
        // Another job has a state of its own.
        let spec = new_task(0).spec;
        let other = bench.queue.state(&spec.namespace, &crate::bench::job("other"), &["a"]).await.unwrap();
        assert_eq!(other, [Versioned::default()]);
    }

    async fn what_does_not_complete_changes_nothing(bench: &Bench) {
        let mut worker = Worker::of(bench);
        let child = new_task(0);
        let both = || Effects { children: vec![child.clone()], ..set("a", "x") };
        for verdict in [
            Verdict::Fail(failure(ErrorKind::Permanent)),
            Verdict::Retry(failure(ErrorKind::Trap), Duration::from_secs(60)),
        ] {
            let task = claim(bench, &mut worker).await;
            let settlement = Settlement { verdict, ..with(&task, both()) };
            assert_eq!(worker.turn(vec![settlement], 0).await.settled, [true]);
        }
        // Nor does one whose lease is another's.
        let task = claim(bench, &mut worker).await;
        bench.pass(LEASE * 2).await;
        assert_eq!(worker.turn(vec![with(&task, both())], 0).await.settled, [false]);
        assert_eq!(state(bench, "a").await, Versioned::default());
        assert_eq!(bench.queue.get(child.id).await.unwrap(), None);
    }

    async fn one_of_two_that_read_the_same_is_a_conflict_and_is_tried_again(bench: &Bench) {
        let mut worker = Worker::of(bench);
        bench.submit(0).await;
        bench.submit(0).await;
        let tasks = worker.claim(2).await;
        let seen = state(bench, "a").await.version;
        let change = |value| Effects { reads: reads("a", seen).reads, ..set("a", value) };
        // In one call: the second is judged by what the first wrote.
        let settlements = vec![with(&tasks[0], change("first")), with(&tasks[1], change("second"))];
        assert_eq!(worker.turn(settlements, 0).await.settled, [true, true]);
        assert_eq!(value(bench, "a").await.as_deref(), Some("first"));
        let ids = ids(&tasks);
        assert_eq!(bench.status(ids[0]).await, Status::Completed);
        let loser = bench.get(ids[1]).await;
        assert_eq!(loser.state, TaskState::Scheduled);
        assert_eq!((loser.progression.attempt(), loser.progression.failures), (2, 0), "not counted as a failure");
        let Event::Attempt { error: Some(error), outcome, .. } = &loser.history[0] else { panic!("{loser:?}") };
        assert_eq!((error.kind, outcome.as_str()), (ErrorKind::Conflict, "FAILED"));
        assert!(error.report.message.contains("changed"), "{error:?}");
        bench.advance(Duration::from_millis(50));
        let again = worker.claim(1).await.remove(0);
        let seen = state(bench, "a").await.version;
        let change = Effects { reads: reads("a", seen).reads, ..set("a", "second") };
        worker.turn(vec![with(&again, change)], 0).await;
        assert_eq!(value(bench, "a").await.as_deref(), Some("second"));
        assert_eq!(bench.status(ids[1]).await, Status::Completed);
    }

    async fn a_failure_that_came_of_what_was_read_too_late_is_a_conflict(bench: &Bench) {
        let mut worker = Worker::of(bench);
        commit(bench, &mut worker, set("a", "x")).await;
        let seen = state(bench, "a").await.version;
        let fail = |task: &Claimed, version| Settlement {
            verdict: Verdict::Fail(failure(ErrorKind::Permanent)),
            ..with(task, reads("a", version))
        };
        let fresh = claim(bench, &mut worker).await;
        worker.turn(vec![fail(&fresh, seen)], 0).await;
        assert_eq!(error_of(bench, fresh.definition.id).await.0, ErrorKind::Permanent);
        let stale = claim(bench, &mut worker).await;
        worker.turn(vec![fail(&stale, seen - 1)], 0).await;
        assert_eq!(bench.status(stale.definition.id).await, Status::Scheduled);
    }

    async fn every_twentieth_conflict_is_a_failure(bench: &Bench) {
        let mut worker = Worker::of(bench);
        let id = bench.submit(0).await;
        let mut attempts = 0;
        while bench.status(id).await != Status::Failed {
            bench.advance(Duration::from_secs(1));
            let task = worker.claim(1).await.remove(0);
            attempts += 1;
            assert_eq!(task.progression.failures, (attempts - 1) / 20);
            let mut settlement = with(&task, reads("a", 7));
            if task.progression.attempt() >= task.progression.last_attempt(&task.definition.spec.policy) {
                settlement.effects.failure_wait = None;
            }
            worker.turn(vec![settlement], 0).await;
        }
        // The worker says that no failure is left when two were counted.
        assert_eq!(attempts, 60);
        assert_eq!(error_of(bench, id).await.0, ErrorKind::Conflict);
    }

    async fn increments_meet_no_conflict_and_stay_exact(bench: &Bench) {
        let mut worker = Worker::of(bench);
        for _ in 0..3 {
            bench.submit(0).await;
        }
        let tasks = worker.claim(3).await;
        let settlements = tasks.iter().map(|task| with(task, writes("n", Write::Add(-5)))).collect();
        assert_eq!(worker.turn(settlements, 0).await.settled, [true; 3]);
        assert_eq!(value(bench, "n").await.as_deref(), Some("-15"));
        commit(bench, &mut worker, writes("n", Write::Add((1 << 53) - 1))).await;
        assert_eq!(value(bench, "n").await.as_deref(), Some("9007199254740976"));
        commit(bench, &mut worker, set("text", "1.5")).await;
        for (key, by) in [("n", 17), ("text", 1)] {
            let id = commit(bench, &mut worker, writes(key, Write::Add(by))).await;
            let (kind, message) = error_of(bench, id).await;
            assert_eq!(kind, ErrorKind::EffectLimit, "{message}");
        }
        assert_eq!(value(bench, "n").await.as_deref(), Some("9007199254740976"));
        commit(bench, &mut worker, writes("n", Write::Add(-9_007_199_254_740_976))).await;
        assert_eq!(value(bench, "n").await.as_deref(), Some("0"));
    }

    async fn the_state_of_a_job_is_bounded(bench: &Bench) {
        let mut worker = Worker::of(bench);
        let large = |key: &str| writes(key, Write::Set(Bytes::from(vec![b'x'; 1024 * 1024])));
        for number in 0..63 {
            commit(bench, &mut worker, large(&format!("key{number:02}"))).await;
        }
        let id = commit(bench, &mut worker, large("one more")).await;
        let (kind, message) = error_of(bench, id).await;
        assert_eq!((kind, message.contains("64 MiB")), (ErrorKind::EffectLimit, true), "{message}");
        // What is replaced or removed makes room.
        commit(bench, &mut worker, large("key00")).await;
        commit(bench, &mut worker, writes("key01", Write::Delete)).await;
        let id = commit(bench, &mut worker, large("one more")).await;
        assert_eq!(bench.status(id).await, Status::Completed);
    }

    async fn children_are_there_when_their_parent_has_completed_and_not_before(bench: &Bench) {
        let mut worker = Worker::of(bench);
        let parent = claim(bench, &mut worker).await;
        let id = parent.definition.id;
        let lineage = Lineage { parent: id, root: id, depth: 1 };
        let child = |change: &dyn Fn(&mut NewTask)| {
            let mut task = new_task(3);
            task.spec.lineage = Some(lineage);
            change(&mut task);
            task
        };
        let first = child(&|_| ());
        let second = child(&|task| task.spec.after = vec![first.id, id]);
        let children = vec![first.clone(), second.clone()];
        let effects = Effects { children, ..Effects::default() };
        assert_eq!(bench.queue.get(first.id).await.unwrap(), None);
        worker.turn(vec![with(&parent, effects)], 0).await;
        assert_eq!(bench.status(id).await, Status::Completed);
        assert_eq!(bench.status(second.id).await, Status::Blocked);
        let run = worker.claim(5).await;
        assert_eq!(ids(&run), [first.id]);
        assert_eq!(run[0].definition.spec.lineage, Some(lineage));
        assert_eq!(run[0].definition.spec.priority.get(), 3);
        worker.settle(&run[0], done()).await;
        assert_eq!(ids(&worker.claim(5).await), [second.id]);
        assert_eq!(bench.queue.counts(&parent.definition.spec.namespace).await.unwrap().ever("submitted"), 3);
    }

    async fn a_child_that_waits_for_nobody_fails_its_parent(bench: &Bench) {
        let mut worker = Worker::of(bench);
        let mut child = new_task(0);
        child.spec.after = vec![TaskId::random()];
        let effects = Effects { children: vec![child.clone()], ..set("a", "x") };
        let id = commit(bench, &mut worker, effects).await;
        let (kind, message) = error_of(bench, id).await;
        assert_eq!(kind, ErrorKind::EffectLimit, "{message}");
        assert_eq!(state(bench, "a").await, Versioned::default(), "all or nothing");
    }

    async fn a_family_is_bounded(bench: &Bench) {
        let mut worker = Worker::of(bench);
        let root = bench.submit(0).await;
        let mut task = worker.claim(1).await.remove(0);
        // Played by one who settles the same root's children again and again.
        for round in 0..=100 {
            let lineage = Lineage { parent: task.definition.id, root, depth: 1 };
            let children = (0..1000).map(|_| {
                let mut child = new_task(0);
                child.spec.lineage = Some(lineage);
                child
            });
            let effects = Effects { children: children.collect(), ..Effects::default() };
            worker.turn(vec![with(&task, effects)], 0).await;
            let id = task.definition.id;
            if round < 100 {
                assert_eq!(bench.status(id).await, Status::Completed, "round {round}");
                task = worker.claim(1).await.remove(0);
                assert_eq!(task.definition.spec.lineage.map(|lineage| lineage.root), Some(root));
            } else {
                let (kind, message) = error_of(bench, id).await;
                assert_eq!(kind, ErrorKind::EffectLimit);
                assert!(message.contains("100000") && message.contains(&root.to_string()), "{message}");
            }
        }
    }

    async fn a_checkpoint_is_its_holders_and_lasts_until_the_task_completes(bench: &Bench) {
        let mut worker = Worker::of(bench);
        let task = claim(bench, &mut worker).await;
        let id = task.definition.id;
        let saved = |text: &'static str| Bytes::from_static(text.as_bytes());
        assert_eq!(bench.queue.load(id).await.unwrap(), None);
        assert!(bench.queue.save(id, &task.token, saved("one")).await.unwrap());
        assert!(bench.queue.save(id, &task.token, saved("two")).await.unwrap());
        bench.pass(LEASE * 2).await;
        assert!(!bench.queue.save(id, &task.token, saved("late")).await.unwrap());
        let again = worker.claim(1).await.remove(0);
        assert_eq!(bench.queue.load(id).await.unwrap(), Some(saved("two")));
        let effects = Effects { has_checkpoint: true, ..Effects::default() };
        worker.turn(vec![with(&again, effects)], 0).await;
        assert_eq!(bench.queue.load(id).await.unwrap(), None);
    }
}
