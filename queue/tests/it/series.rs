//! What happened, in numbers, on both homes; each call is sent twice (see [`crate::bench`]), and counted once.

use std::time::Duration;

use bytes::Bytes;
use sentinel_queue::{
    ErrorKind, Millis, Namespace, NewTask, QueueSettings, Status, TaskId,
    effects::Effects,
    lease::{Claimed, Settlement, Verdict},
    list::Filter,
    schedule::{CatchUp, Schedule, Scheduler, Timing, Zone},
    series::{KEPT, PairPoint, Point, SPAN},
    steer::OperationKind,
    task::{AttemptReport, Usage, When},
};

use crate::bench::{Bench, LEASE, START, Worker, done, failure, new_task, on_both_homes, settlement};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The settlement of an attempt that was measured.
fn measured(task: &Claimed, verdict: Verdict) -> Settlement {
    let usage = Usage { cpu_us: 1_500, wall_us: 20_000, peak_memory_bytes: 1 << 20, ..Usage::default() };
    let report = AttemptReport { usage, ..AttemptReport::default() };
    Settlement::of(task, verdict, report, Bytes::new())
}

fn of_job(job: &str) -> NewTask {
    let mut task = new_task(0);
    task.spec.job = job.parse().unwrap();
    task
}

fn in_queue(queue: &str, priority: i64) -> NewTask {
    let mut task = new_task(priority);
    task.spec.queue = queue.parse().unwrap();
    task
}

async fn last_hour(bench: &Bench) -> Vec<Point> {
    bench.queue.observe().await.unwrap();
    bench.queue.series(&Namespace::default(), HOUR).await.unwrap()
}

/// What ever happened to the job of [`new_task`] in the default queue.
async fn ever(bench: &Bench) -> PairPoint {
    bench.queue.observe().await.unwrap();
    let sums = bench.queue.sums(&Namespace::default()).await.unwrap();
    sums.into_iter().find(|pair| (&pair.queue[..], &pair.job[..]) == ("default", "j")).unwrap_or_default()
}

/// Submits a task and claims it.
async fn claim(bench: &Bench, worker: &mut Worker<'_>) -> Claimed {
    bench.submit(0).await;
    worker.claim(1).await.remove(0)
}

/// What the scripts themselves counted, against what the numbers say: submitted, and ends by status.
async fn assert_whole(bench: &Bench) {
    let all = ever(bench).await;
    let counts = bench.queue.counts(&Namespace::default()).await.unwrap();
    let failed: u64 = all.failed.values().sum();
    let numbers = [all.submitted, all.completed, failed, all.cancelled];
    assert_eq!(numbers, ["submitted", "COMPLETED", "FAILED", "CANCELLED"].map(|what| counts.ever(what)));
    assert_eq!(all.end_to_end.count(), all.completed + failed + all.cancelled);
}

on_both_homes! {
    async fn what_happened_is_told_and_read_back(bench: &Bench) {
        let mut worker = Worker::of(bench);
        for _ in 0..3 {
            bench.submit(0).await;
        }
        assert_eq!(bench.queue.series(&Namespace::default(), HOUR).await.unwrap(), [], "nobody has told");
        bench.advance(2 * SECOND);
        let tasks = worker.claim(2).await;
        bench.advance(SECOND);
        let retry = Verdict::Retry(failure(ErrorKind::Trap), 9 * SECOND);
        worker.turn(vec![measured(&tasks[0], done()), measured(&tasks[1], retry)], 0).await;
        let points = last_hour(bench).await;
        assert_eq!(points.len(), 1);
        assert_eq!(points[0].at, Millis(START));
        let [pair] = &points[0].pairs[..] else { panic!("{points:?}") };
        assert_eq!((&pair.queue[..], &pair.job[..]), ("default", "j"));
        assert_eq!((pair.submitted, pair.completed, pair.cancelled), (3, 1, 0));
        assert_eq!((pair.failed.len(), &pair.retried), (0, &[(ErrorKind::Trap, 1)].into()));
        assert_eq!((pair.cpu_ms, pair.peak_memory_bytes), (3, 1 << 20));
        assert_eq!((pair.wait.count(), pair.wait.sum_ms()), (2, 4_000));
        assert_eq!((pair.run.count(), pair.run.sum_ms()), (2, 40));
        assert_eq!((pair.end_to_end.count(), pair.end_to_end.sum_ms()), (1, 3_000));
        // A retried attempt waits from when it is due.
        bench.advance(10 * SECOND);
        let again = worker.claim(2).await;
        let again = again.iter().find(|task| task.progression.failures == 1).unwrap();
        worker.turn(vec![measured(again, done())], 0).await;
        assert_eq!(ever(bench).await.wait.sum_ms(), 5_000);
    }

    async fn each_way_in_which_an_attempt_ends_is_counted_once(bench: &Bench) {
        let mut worker = Worker::of(bench);
        let stale = |task: &Claimed, verdict| Settlement {
            effects: Effects {
                reads: [("a".to_owned(), 7)].into(),
                conflict_wait: SECOND,
                failure_wait: Some(SECOND),
                ..Effects::default()
            },
            ..measured(task, verdict)
        };
        let completed = claim(bench, &mut worker).await;
        worker.turn(vec![measured(&completed, done())], 0).await;
        let permanent = claim(bench, &mut worker).await;
        worker.turn(vec![measured(&permanent, Verdict::Fail(failure(ErrorKind::Permanent)))], 0).await;
        let conflict = claim(bench, &mut worker).await;
        worker.turn(vec![stale(&conflict, done())], 0).await;
        let unknown = claim(bench, &mut worker).await;
        let elsewhere = Verdict::Elsewhere(failure(ErrorKind::UnknownJob), HOUR);
        worker.turn(vec![settlement(&unknown, elsewhere.clone())], 0).await;
        // A child that waits for what is not there is refused with all other effects.
        let refused = claim(bench, &mut worker).await;
        let mut child = new_task(0);
        child.spec.after = vec![TaskId::random()];
        let effects = Effects { children: vec![child], failure_wait: None, ..Effects::default() };
        worker.turn(vec![Settlement { effects, ..measured(&refused, done()) }], 0).await;
        // A retry that would start too late has expired.
        let mut expires = new_task(0);
        expires.spec.expires_at = Some(Millis(START + 500));
        bench.accept(&expires).await;
        let late = worker.claim(1).await.remove(0);
        worker.turn(vec![measured(&late, Verdict::Retry(failure(ErrorKind::Trap), SECOND))], 0).await;
        let all = ever(bench).await;
        let failed = [(ErrorKind::Permanent, 1), (ErrorKind::EffectLimit, 1), (ErrorKind::Expired, 1)];
        assert_eq!(all.failed, failed.into());
        assert_eq!(all.retried, [(ErrorKind::Conflict, 1), (ErrorKind::UnknownJob, 1)].into());
        assert_eq!((all.completed, all.cancelled, all.submitted), (1, 0, 6));
        assert_eq!((all.run.count(), all.wait.count()), (5, 5), "but for the one whose job is unknown");
        assert_whole(bench).await;
    }

    async fn the_end_of_patience_with_an_unknown_job_or_conflicts_is_counted_as_what_it_is(bench: &Bench) {
        let mut worker = Worker::of(bench);
        let unknown = bench.submit(0).await;
        let mut misses = 0;
        while bench.status(unknown).await != Status::Failed {
            bench.advance(61 * SECOND);
            let task = worker.claim(1).await.remove(0);
            misses += 1;
            let elsewhere = Verdict::Elsewhere(failure(ErrorKind::UnknownJob), SECOND);
            worker.turn(vec![settlement(&task, elsewhere)], 0).await;
        }
        let all = ever(bench).await;
        assert_eq!(all.failed, [(ErrorKind::UnknownJob, 1)].into());
        assert_eq!(all.retried, [(ErrorKind::UnknownJob, misses - 1)].into());
        let id = bench.submit(0).await;
        let mut attempts = 0;
        while bench.status(id).await != Status::Failed {
            bench.advance(SECOND);
            let task = worker.claim(1).await.remove(0);
            attempts += 1;
            let effects = Effects {
                reads: [("a".to_owned(), 7)].into(),
                conflict_wait: SECOND,
                failure_wait: None,
                ..Effects::default()
            };
            worker.turn(vec![Settlement { effects, ..measured(&task, done()) }], 0).await;
        }
        let all = ever(bench).await;
        assert_eq!((attempts, all.failed[&ErrorKind::Conflict], all.retried[&ErrorKind::Conflict]), (20, 1, 19));
        assert_whole(bench).await;
    }

    async fn what_ends_without_its_worker_is_counted_by_the_script_that_ends_it(bench: &Bench) {
        let mut worker = Worker::of(bench);
        // Cancelled while it waits, and while it runs: what its worker says later changes nothing.
        let waiting = bench.submit(0).await;
        bench.queue.cancel(waiting).await.unwrap();
        let running = claim(bench, &mut worker).await;
        bench.advance(3 * SECOND);
        bench.queue.cancel(running.definition.id).await.unwrap();
        worker.turn(vec![measured(&running, done())], 0).await;
        let all = ever(bench).await;
        assert_eq!((all.cancelled, all.completed, all.end_to_end.sum_ms()), (2, 0, 3_000));
        // A parent that fails, and its child.
        let parent = claim(bench, &mut worker).await;
        let mut child = new_task(0);
        child.spec.after = vec![parent.definition.id];
        bench.accept(&child).await;
        worker.turn(vec![measured(&parent, Verdict::Fail(failure(ErrorKind::Trap)))], 0).await;
        assert_eq!(ever(bench).await.cancelled, 3);
        // One that did not start in time; many that an operator cancels.
        let mut expires = new_task(0);
        expires.spec.expires_at = Some(Millis(START + 4_000));
        bench.accept(&expires).await;
        bench.advance(2 * SECOND);
        bench.queue.sweep().await.unwrap();
        for _ in 0..7 {
            bench.submit(0).await;
        }
        let filter = Filter { namespace: Namespace::default(), ..Filter::default() };
        bench.queue.start_operation(OperationKind::Cancel, &filter, false).await.unwrap();
        while bench.queue.operate().await.unwrap() {}
        let all = ever(bench).await;
        assert_eq!((all.cancelled, &all.failed), (10, &[(ErrorKind::Trap, 1), (ErrorKind::Expired, 1)].into()));
        assert_whole(bench).await;
    }

    async fn a_lost_worker_is_counted_by_who_reaps_and_a_late_settlement_is_not(bench: &Bench) {
        bench.submit(0).await;
        for loss in 1..=10 {
            let mut worker = Worker::of(bench);
            let task = worker.claim(1).await.remove(0);
            bench.pass(LEASE).await;
            worker.turn(vec![measured(&task, done())], 0).await;
            let all = ever(bench).await;
            assert_eq!(all.retried.get(&ErrorKind::WorkerLost).copied().unwrap_or(0), loss.min(9));
            assert_eq!((all.completed, all.run.count()), (0, 0));
        }
        assert_eq!(ever(bench).await.failed, [(ErrorKind::WorkerLost, 1)].into());
        assert_whole(bench).await;
    }

    async fn tasks_that_no_client_submits_are_counted_as_submitted(bench: &Bench) {
        let mut worker = Worker::of(bench);
        let spec = new_task(0).spec;
        let schedule = Schedule {
            name: "s".parse().unwrap(),
            timing: Timing { cron: "* * * * *".parse().unwrap(), zone: Zone::default() },
            catch_up: CatchUp::default(),
            task: spec,
        };
        bench.queue.put_schedule(&schedule, None).await.unwrap();
        bench.advance(60 * SECOND);
        Scheduler::default().run(&bench.queue).await.unwrap();
        let parent = worker.claim(1).await.remove(0);
        let effects = Effects { children: vec![new_task(0), new_task(0)], ..Effects::default() };
        worker.turn(vec![Settlement { effects, ..measured(&parent, done()) }], 0).await;
        assert_eq!(ever(bench).await.submitted, 3);
        assert_whole(bench).await;
    }

    async fn a_double_is_not_counted_as_submitted(bench: &Bench) {
        let mut keyed = new_task(0);
        keyed.spec.idempotency_key = Some("k".parse().unwrap());
        bench.accept(&keyed).await;
        let mut double = new_task(0);
        double.spec.idempotency_key = Some("k".parse().unwrap());
        bench.accept(&double).await;
        assert_eq!(ever(bench).await.submitted, 1);
    }

    async fn what_happens_later_is_told_apart_and_forgotten_in_time(bench: &Bench) {
        bench.submit(0).await;
        last_hour(bench).await;
        bench.advance(SPAN);
        bench.submit(0).await;
        bench.submit(0).await;
        let points = last_hour(bench).await;
        let seen: Vec<_> = points.iter().map(|point| (point.at.0 - START, point.pairs[0].submitted)).collect();
        assert_eq!(seen, [(0, 1), (30_000, 2)]);
        // Spans in which nothing happened are left out.
        bench.advance(HOUR);
        bench.submit(0).await;
        let points = last_hour(bench).await;
        assert_eq!(points.iter().map(|point| point.pairs[0].submitted).collect::<Vec<_>>(), [2, 1]);
        let all = bench.queue.series(&Namespace::default(), DAY).await.unwrap();
        assert_eq!(all.len(), 3, "of as much as is kept");
        assert_eq!(bench.scan("n:").await.0.len(), 3);
        bench.advance(KEPT + SPAN);
        bench.queue.sweep().await.unwrap();
        assert_eq!(bench.scan("n:").await.0, [""; 0]);
        assert_eq!(ever(bench).await.submitted, 4, "sums stay");
        // Until nothing is heard of them for a day.
        bench.advance(DAY);
        bench.queue.sweep().await.unwrap();
        assert_eq!(bench.queue.sums(&Namespace::default()).await.unwrap(), []);
        for nothing in ["spans", "summed", "sums:", "told", "tellers"] {
            assert_eq!(bench.scan(nothing).await.0, [""; 0]);
        }
    }

    async fn very_many_jobs_are_counted_as_one_beyond_a_bound(bench: &Bench) {
        for hundred in 0..7 {
            let tasks: Vec<_> = (0..100).map(|number| of_job(&format!("job{hundred}{number:02}"))).collect();
            bench.queue.submit(&tasks).await.unwrap();
            bench.queue.observe().await.unwrap();
        }
        // One that is known stays known.
        bench.queue.submit(&[of_job("job000")]).await.unwrap();
        // So many at once are counted as one before they are told.
        let tasks: Vec<_> = (0..600).map(|number| of_job(&format!("more{number:03}"))).collect();
        bench.queue.submit(&tasks).await.unwrap();
        let points = last_hour(bench).await;
        let sums = bench.queue.sums(&Namespace::default()).await.unwrap();
        for pairs in [&points[0].pairs, &sums] {
            assert_eq!(pairs.len(), 501);
            let of = |queue: &str, job: &str| {
                pairs.iter().find(|pair| pair.queue == queue && pair.job == job).map(|pair| pair.submitted)
            };
            assert_eq!(of("other", "other"), Some(800));
            assert_eq!((of("default", "job000"), of("default", "job499")), (Some(2), Some(1)));
            assert_eq!(pairs.iter().map(|pair| pair.submitted).sum::<u64>(), 1_301);
        }
    }

    async fn a_long_series_is_read_in_slices(bench: &Bench) {
        for _ in 0..30 {
            let tasks: Vec<_> = (0..400).map(|number| of_job(&format!("job{number:03}"))).collect();
            bench.queue.submit(&tasks).await.unwrap();
            bench.queue.observe().await.unwrap();
            bench.advance(SPAN);
        }
        let points = last_hour(bench).await;
        assert_eq!(points.len(), 30);
        assert!(points.is_sorted_by_key(|point| point.at));
        assert!(points.iter().all(|point| point.pairs.len() == 400 && point.pairs.is_sorted_by_key(|pair| pair.job.clone())));
    }

    async fn each_namespace_has_its_own_numbers(bench: &Bench) {
        let mut other = new_task(0);
        // A name that scripts use for something else must do no harm.
        other.spec.namespace = "order".parse().unwrap();
        bench.accept(&other).await;
        bench.submit(0).await;
        bench.submit(0).await;
        bench.queue.cancel(other.id).await.unwrap();
        let points = last_hour(bench).await;
        assert_eq!((points[0].pairs[0].submitted, points[0].pairs[0].cancelled), (2, 0));
        let points = bench.queue.series(&other.spec.namespace, HOUR).await.unwrap();
        assert_eq!((points[0].pairs[0].submitted, points[0].pairs[0].cancelled), (1, 1));
        assert_eq!(bench.queue.series(&"nobody".parse().unwrap(), HOUR).await.unwrap(), []);
    }

    async fn memory_is_what_attempts_had_lately(bench: &Bench) {
        let mut worker = Worker::of(bench);
        let task = claim(bench, &mut worker).await;
        worker.turn(vec![measured(&task, done())], 0).await;
        assert_eq!(ever(bench).await.peak_memory_bytes, 1 << 20);
        bench.advance(SPAN * 3);
        let later = ever(bench).await;
        assert_eq!((later.peak_memory_bytes, later.completed), (0, 1));
    }

    async fn the_oldest_that_waits_is_found_behind_more_urgent_ones(bench: &Bench) {
        bench.accept(&in_queue("q", -3)).await;
        bench.advance(10 * SECOND);
        bench.accept(&in_queue("q", 5)).await;
        bench.accept(&in_queue("q", 1000)).await;
        bench.accept(&in_queue("a", 0)).await;
        let mut put_off = in_queue("q", 0);
        put_off.when = Some(When::After(HOUR));
        bench.accept(&put_off).await;
        bench.queue.pause(&Namespace::default(), &"a".parse().unwrap()).await.unwrap();
        bench.advance(SECOND);
        let waiting = bench.queue.waiting(&Namespace::default()).await.unwrap();
        let [a, q] = &waiting.queues[..] else { panic!("{waiting:?}") };
        assert_eq!((a.queue.as_str(), a.depth, a.paused, a.oldest), ("a", 1, true, Some(SECOND)));
        assert_eq!((q.queue.as_str(), q.depth, q.paused, q.oldest), ("q", 3, false, Some(11 * SECOND)));
        assert_eq!(waiting.elsewhere, 0);
        bench.queue.cancel(put_off.id).await.unwrap();
        Worker::of(bench).claim(10).await;
        let waiting = bench.queue.waiting(&Namespace::default()).await.unwrap();
        assert_eq!((waiting.queues[1].depth, waiting.queues[1].oldest), (0, None));
    }

    async fn parked_tasks_wait_as_well_and_where_waiting_is_worth_priority_the_first_is_looked_at(bench: &Bench) {
        let keyed = || {
            let mut task = in_queue("q", 0);
            task.spec.concurrency_key = Some("k".parse().unwrap());
            task
        };
        bench.accept(&keyed()).await;
        bench.accept(&keyed()).await;
        assert_eq!(Worker::of(bench).claim(10).await.len(), 1);
        let aging = QueueSettings { aging: Some(SECOND), ..QueueSettings::default() };
        let (namespace, aged) = (Namespace::default(), "aged".parse().unwrap());
        assert!(bench.queue.set_queue(&namespace, &aged, &aging).await.unwrap());
        bench.accept(&in_queue("aged", 0)).await;
        bench.advance(20 * SECOND);
        bench.accept(&in_queue("aged", 10)).await;
        bench.advance(SECOND);
        let waiting = bench.queue.waiting(&namespace).await.unwrap();
        let [aged, q] = &waiting.queues[..] else { panic!("{waiting:?}") };
        assert_eq!((aged.depth, aged.oldest), (2, Some(21 * SECOND)));
        assert_eq!((q.depth, q.parked, q.oldest), (1, 1, Some(21 * SECOND)));
    }

    async fn of_very_many_queues_those_are_told_in_which_most_waits(bench: &Bench) {
        let tasks: Vec<_> = (0..510).map(|number| in_queue(&format!("q{number:03}"), 0)).collect();
        bench.queue.submit(&tasks).await.unwrap();
        let more: Vec<_> = (500..510).map(|number| in_queue(&format!("q{number:03}"), 0)).collect();
        bench.queue.submit(&more).await.unwrap();
        let waiting = bench.queue.waiting(&Namespace::default()).await.unwrap();
        assert_eq!((waiting.queues.len(), waiting.elsewhere), (500, 10));
        assert!(waiting.queues.is_sorted_by_key(|queue| queue.queue.clone()));
        assert_eq!(waiting.queues.iter().filter(|queue| queue.depth == 2).count(), 10);
    }
}
