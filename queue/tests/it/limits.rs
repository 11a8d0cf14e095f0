//! What may run at once and how often something may start, on both homes; each call is sent twice.

use std::time::Duration;

use sentinel_queue::{
    ErrorKind, NewTask, QueueSettings, Status, TaskId,
    lease::{Claimed, Served, Verdict},
    settings::Rate,
    steer::Steered,
};

use crate::bench::{Bench, LEASE, Worker, done, failure, ids, new_task, on_both_homes};

async fn set(bench: &Bench, settings: QueueSettings) -> bool {
    let task = new_task(0).spec;
    bench.queue.set_queue(&task.namespace, &task.queue, &settings).await.unwrap()
}

fn keyed(key: &str, priority: i64) -> NewTask {
    let mut task = new_task(priority);
    task.spec.concurrency_key = Some(key.parse().unwrap());
    task
}

async fn submit_many(bench: &Bench, count: usize) -> Vec<TaskId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(bench.submit(0).await);
    }
    ids
}

on_both_homes! {
    async fn a_queue_starts_no_more_in_any_period_than_its_rate(bench: &Bench) {
        let rate = Rate { starts: 10, per: Duration::from_secs(1) };
        assert!(set(bench, QueueSettings { rate: Some(rate), ..QueueSettings::default() }).await);
        submit_many(bench, 60).await;
        let mut worker = Worker::of(bench);
        let mut starts: Vec<u64> = Vec::new();
        for step in 0..600_u64 {
            let turn = worker.turn(vec![], 7).await;
            starts.extend(std::iter::repeat_n(step * 10, turn.claimed.len()));
            if turn.claimed.is_empty() && starts.len() < 60 {
                assert!(turn.next_due.is_some_and(|wait| wait <= Duration::from_millis(1060)), "{turn:?}");
            }
            bench.advance(Duration::from_millis(10));
        }
        assert_eq!(starts.len(), 60, "all started");
        for (first, at) in starts.iter().enumerate() {
            let within = starts[first..].iter().take_while(|start| **start < at + 1000).count();
            assert!(within <= 10, "{within} starts within a second of {at}");
        }
        assert!(starts[59] <= 5_600, "and no slower than it may be: {}", starts[59]);
    }

    async fn no_more_run_at_once_than_a_queue_allows(bench: &Bench) {
        let running_before = submit_many(bench, 1).await;
        let mut first = Worker::of(bench);
        let before = first.claim(1).await;
        assert_eq!(ids(&before), running_before);
        assert!(set(bench, QueueSettings { concurrency: Some(3), ..QueueSettings::default() }).await);
        submit_many(bench, 10).await;
        let mut second = Worker::of(bench);
        let mut held = second.claim(10).await;
        assert_eq!(held.len(), 2, "one ran when the limit was set");
        assert!(first.claim(10).await.is_empty());
        // Whoever leaves makes room, in whatever way.
        assert!(first.settle(&before[0], done()).await);
        held.extend(first.claim(10).await);
        assert_eq!(held.len(), 3);
        let release = held.pop().unwrap();
        bench.queue.release(&[(release.definition.id, release.token.clone())]).await.unwrap();
        held.extend(first.claim(10).await);
        let cancelled = held.pop().unwrap();
        assert_eq!(bench.queue.cancel(cancelled.definition.id).await.unwrap(), Steered::Done);
        held.extend(first.claim(10).await);
        assert_eq!(held.len(), 3);
        let retry = Verdict::Retry(failure(ErrorKind::Trap), Duration::from_secs(60));
        assert!(second.settle(&held[0], retry).await);
        assert_eq!(second.claim(10).await.len(), 1);
        assert_eq!(bench.pass(LEASE).await.len(), 3);
        assert_eq!(second.claim(10).await.len(), 3, "and so do those that are lost");
        let task = new_task(0).spec;
        let info = bench.queue.queue(&task.namespace, &task.queue).await.unwrap().unwrap();
        assert_eq!(info.running, Some(3));
        assert!(set(bench, QueueSettings::default()).await);
        assert_eq!(second.claim(10).await.len(), 5, "without a limit all the rest");
    }

    async fn tasks_of_one_key_run_one_after_another_in_their_order(bench: &Bench) {
        let first = bench.accept(&keyed("a", 0)).await;
        let second = bench.accept(&keyed("a", 0)).await;
        let urgent = bench.accept(&keyed("a", 5)).await;
        let other = bench.accept(&keyed("b", 0)).await;
        let plain = bench.submit(0).await;
        let mut worker = Worker::of(bench);
        let held = worker.claim(10).await;
        assert_eq!(ids(&held), [urgent, other, plain]);
        for id in [first, second] {
            assert_eq!(bench.status(id).await, Status::Queued);
        }
        let task = new_task(0).spec;
        let info = bench.queue.queue(&task.namespace, &task.queue).await.unwrap().unwrap();
        assert_eq!((info.depth, info.parked), (2, 2));
        assert!(worker.claim(10).await.is_empty());
        let mut last: Claimed = held[0].clone();
        for id in [first, second] {
            assert!(worker.settle(&last, done()).await);
            let next = worker.claim(10).await;
            assert_eq!(ids(&next), [id]);
            last = next[0].clone();
        }
    }

    async fn a_key_is_free_again_however_its_holder_leaves(bench: &Bench) {
        let mut worker = Worker::of(bench);
        let mut waiting = Vec::new();
        for _ in 0..6 {
            waiting.push(bench.accept(&keyed("a", 0)).await);
        }
        let hold = worker.claim(5).await;
        assert_eq!(ids(&hold), [waiting[0]]);
        bench.queue.release(&[(waiting[0], hold[0].token.clone())]).await.unwrap();
        let hold = worker.claim(5).await;
        assert_eq!(ids(&hold), [waiting[0]], "it returned to its place");
        bench.queue.cancel(waiting[0]).await.unwrap();
        let hold = worker.claim(5).await;
        assert_eq!(ids(&hold), [waiting[1]]);
        let retry = Verdict::Retry(failure(ErrorKind::Trap), Duration::from_secs(600));
        assert!(worker.settle(&hold[0], retry).await);
        assert_eq!(ids(&worker.claim(5).await), [waiting[2]]);
        // One that is parked can be cancelled, too.
        assert_eq!(bench.queue.cancel(waiting[3]).await.unwrap(), Steered::Done);
        assert_eq!(bench.pass(LEASE).await.len(), 1);
        assert_eq!(ids(&worker.claim(5).await), [waiting[2]], "the lost one is first again");
        bench.queue.cancel(waiting[2]).await.unwrap();
        assert_eq!(ids(&worker.claim(5).await), [waiting[4]]);
    }

    async fn a_higher_limit_per_key_frees_those_that_wait(bench: &Bench) {
        for _ in 0..5 {
            bench.accept(&keyed("a", 0)).await;
        }
        let mut worker = Worker::of(bench);
        assert_eq!(worker.claim(5).await.len(), 1);
        assert!(set(bench, QueueSettings { per_key: 3, ..QueueSettings::default() }).await);
        assert_eq!(worker.claim(5).await.len(), 2);
    }

    async fn aging_lets_time_weigh_against_priority(bench: &Bench) {
        let aging = QueueSettings { aging: Some(Duration::from_secs(10)), ..QueueSettings::default() };
        assert!(set(bench, aging.clone()).await);
        let old = bench.submit(0).await;
        bench.advance(Duration::from_secs(25));
        let three = bench.submit(3).await;
        let two = bench.submit(2).await;
        assert!(!set(bench, QueueSettings::default()).await, "not while tasks are ready");
        assert!(set(bench, QueueSettings { per_key: 2, ..aging }).await, "but all else");
        assert_eq!(ids(&Worker::of(bench).claim(5).await), [three, old, two]);
        assert!(set(bench, QueueSettings::default()).await);
    }

    async fn queues_get_their_shares_first_and_then_what_is_left(bench: &Bench) {
        let named = |name: &str| {
            let mut task = new_task(0);
            task.spec.queue = name.parse().unwrap();
            task
        };
        let of = |name: &str, share| {
            let spec = named(name).spec;
            (spec.namespace, spec.queue, share)
        };
        for _ in 0..100 {
            bench.queue.submit(&[named("a"), named("b")]).await.unwrap();
        }
        let mut worker = Worker::of(bench);
        worker.served = Served::Only(vec![of("a", 3), of("b", 1), of("empty", 4)]);
        let count = |tasks: &[Claimed], name: &str| {
            tasks.iter().filter(|task| task.definition.spec.queue.as_str() == name).count()
        };
        let claimed = worker.claim(40).await;
        assert_eq!(claimed.len(), 40, "no slot stays empty");
        assert!(count(&claimed, "a") >= 15 && count(&claimed, "b") >= 5, "each has its share");
        let mut one_by_one = Vec::new();
        for _ in 0..30 {
            one_by_one.extend(worker.claim(2).await);
        }
        assert!(count(&one_by_one, "a") >= 20 && count(&one_by_one, "b") >= 10, "both go on");
    }

    async fn when_more_of_each_key_may_run_all_that_wait_are_freed_in_slices(bench: &Bench) {
        let parked = async || {
            let spec = new_task(0).spec;
            bench.queue.queue(&spec.namespace, &spec.queue).await.unwrap().unwrap().parked
        };
        // Many tasks of one key come first, then one or two of many keys.
        let mut tasks: Vec<_> = (0..700).map(|_| keyed("one", 0)).collect();
        tasks.extend((0..1600).map(|number| keyed(&(number % 800).to_string(), 0)));
        for tasks in tasks.chunks(1000) {
            bench.queue.submit(tasks).await.unwrap();
        }
        let mut worker = Worker::of(bench);
        let mut running = 0;
        for _ in 0..10 {
            running += worker.claim(500).await.len();
        }
        assert_eq!((running, parked().await), (801, 699 + 800));
        set(bench, QueueSettings { per_key: 500, ..QueueSettings::default() }).await;
        assert!(parked().await > 0, "one call does not do all of it");
        let mut sweeps = 0;
        while bench.queue.sweep().await.unwrap().more {
            sweeps += 1;
            assert!(sweeps < 50);
        }
        for _ in 0..10 {
            running += worker.claim(500).await.len();
        }
        assert_eq!((running, parked().await), (500 + 1600, 200), "all but those of the one key that are too many");
    }
}
