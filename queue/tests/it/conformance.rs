//! What the store promises, shown on both homes; each call is sent twice (see [`crate::bench`]).

use std::time::Duration;

use bytes::Bytes;
use sentinel_queue::{
    Backoff, ErrorKind, Namespace, Policy, QueueName, Status, TraceContext,
    lease::{Held, Served, Turn, Verdict},
    task::{Progress, TaskState},
};

use crate::bench::{LEASE, Worker, done, failure, ids, job, new_task, on_both_homes, settlement};

on_both_homes! {
    async fn a_submitted_task_is_read_back_as_it_was(bench: &Bench) {
        let mut task = new_task(7);
        task.spec.policy = Policy {
            timeout: Some(Duration::from_millis(1500)),
            max_attempts: Some(9),
            backoff: Some(Backoff { jitter: false, ..Backoff::default() }),
        };
        bench.queue.submit(std::slice::from_ref(&task)).await.unwrap();
        let read = bench.get(task.id).await;
        assert_eq!(read.definition.spec.payload, task.spec.payload);
        assert_eq!(read.definition.spec.policy, task.spec.policy);
        assert_eq!(read.definition.spec.priority, task.spec.priority);
        assert_eq!(read.definition.spec.job, job("j"));
        assert_eq!(read.definition.created_at.0, crate::bench::START);
        assert_eq!(read.state, TaskState::Queued);
    }

    async fn a_task_stands_where_it_came_from_in_its_trace_in_every_attempt(bench: &Bench) {
        const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut task = new_task(0);
        task.spec.trace = TraceContext::read(PARENT, Some("client=1")).map(Box::new);
        assert!(task.spec.trace.is_some());
        bench.queue.submit(std::slice::from_ref(&task)).await.unwrap();
        assert_eq!(bench.get(task.id).await.definition.spec.trace, task.spec.trace);
        let mut worker = Worker::of(bench);
        for _ in 0..2 {
            let claimed = worker.claim(1).await;
            assert_eq!(claimed[0].definition.spec.trace, task.spec.trace);
            let retry = Verdict::Retry(failure(ErrorKind::Trap), Duration::ZERO);
            assert!(worker.settle(&claimed[0], retry).await);
        }
    }

    async fn an_unknown_task_is_not_there(bench: &Bench) {
        assert_eq!(bench.queue.get(new_task(0).id).await.unwrap(), None);
    }

    async fn a_submit_that_is_sent_again_later_changes_nothing(bench: &Bench) {
        let task = new_task(0);
        let first = bench.queue.submit(std::slice::from_ref(&task)).await.unwrap();
        bench.advance(Duration::from_secs(5));
        let mut worker = Worker::of(bench);
        assert_eq!(worker.claim(1).await.len(), 1);
        let again = bench.queue.submit(std::slice::from_ref(&task)).await.unwrap();
        assert_eq!(first, again);
        assert_eq!(worker.claim(1).await.len(), 0);
    }

    async fn higher_priority_comes_first_then_arrival(bench: &Bench) {
        let mut expected = Vec::new();
        // All within one millisecond: the arrival sequence breaks the ties.
        for priority in [0, 5, -1000, 5, 1000, 0, -3, 1000] {
            expected.push((priority, bench.submit(priority).await));
        }
        bench.advance(Duration::from_secs(3600 * 24 * 365));
        expected.push((5, bench.submit(5).await));
        expected.sort_by_key(|(priority, _)| -priority);
        let claimed = Worker::of(bench).claim(100).await;
        assert_eq!(ids(&claimed), expected.iter().map(|(_, id)| *id).collect::<Vec<_>>());
    }

    async fn a_clock_that_steps_back_breaks_no_order(bench: &Bench) {
        let first = bench.submit(0).await;
        bench.step_back(Duration::from_secs(3600));
        let second = bench.submit(0).await;
        assert_eq!(ids(&Worker::of(bench).claim(2).await), [first, second]);
    }

    async fn a_claimed_task_is_in_progress_and_nobody_elses(bench: &Bench) {
        let id = bench.submit(0).await;
        let mut worker = Worker::of(bench);
        let claimed = worker.claim(5).await;
        assert_eq!(ids(&claimed), [id]);
        assert!(Worker::of(bench).claim(5).await.is_empty());
        let TaskState::InProgress { worker: name, started_at, .. } = bench.get(id).await.state else {
            panic!("not in progress");
        };
        assert_eq!((name.as_str(), started_at.0), (worker.instance.as_str(), crate::bench::START));
    }

    async fn a_completed_task_keeps_its_result_byte_for_byte(bench: &Bench) {
        let id = bench.submit(0).await;
        let mut worker = Worker::of(bench);
        let claimed = worker.claim(1).await;
        bench.advance(Duration::from_millis(250));
        assert!(worker.settle(&claimed[0], done()).await);
        let TaskState::Completed { ended, result } = bench.get(id).await.state else {
            panic!("not completed");
        };
        assert_eq!(result, Bytes::from_static(b"{\"n\": 9007199254740993}\n"));
        assert_eq!((ended.attempt, ended.worker.as_deref()), (1, Some(worker.instance.as_str())));
        assert_eq!(ended.finished_at.0 - ended.started_at.unwrap().0, 250);
    }

    async fn a_stale_attempt_cannot_settle(bench: &Bench) {
        let id = bench.submit(0).await;
        let (mut slow, mut quick) = (Worker::of(bench), Worker::of(bench));
        let lost = slow.claim(1).await;
        bench.advance(LEASE);
        assert_eq!(bench.queue.sweep().await.unwrap().reaped.len(), 1);
        let held = quick.claim(1).await;
        assert_eq!(held[0].progression.attempt(), 2);
        assert!(!slow.settle(&lost[0], Verdict::Fail(failure(ErrorKind::Permanent))).await);
        assert_eq!(bench.get(id).await.state.status(), Status::InProgress);
        assert!(quick.settle(&held[0], done()).await);
        assert!(!slow.settle(&lost[0], done()).await);
        assert_eq!(bench.get(id).await.state.status(), Status::Completed);
    }

    async fn a_settlement_that_is_sent_again_in_a_later_call_is_answered_the_same(bench: &Bench) {
        bench.submit(0).await;
        bench.submit(0).await;
        let mut worker = Worker::of(bench);
        let claimed = worker.claim(2).await;
        let retry = Verdict::Retry(failure(ErrorKind::Trap), Duration::from_secs(1));
        for _ in 0..2 {
            assert!(worker.settle(&claimed[0], done()).await);
            assert!(worker.settle(&claimed[1], retry.clone()).await);
        }
        assert_eq!(bench.get(claimed[1].definition.id).await.progression.failures, 1);
    }

    async fn a_retried_task_waits_and_keeps_its_error(bench: &Bench) {
        let id = bench.submit(3).await;
        let mut worker = Worker::of(bench);
        let claimed = worker.claim(1).await;
        assert_eq!(claimed[0].progression.last_attempt(&Policy::default()), 3);
        let retry = Verdict::Retry(failure(ErrorKind::Trap), Duration::from_secs(2));
        assert!(worker.settle(&claimed[0], retry).await);
        let task = bench.get(id).await;
        assert_eq!(task.state, TaskState::Scheduled);
        assert_eq!(task.progression.due.unwrap().0, crate::bench::START + 2000);

        let early = worker.turn(vec![], 1).await;
        assert!(early.claimed.is_empty());
        assert_eq!(early.next_due, Some(Duration::from_secs(2)));
        bench.advance(Duration::from_secs(2));
        let again = worker.claim(1).await;
        assert_eq!(again[0].progression.attempt(), 2);
        assert_eq!(again[0].progression.last_attempt(&Policy::default()), 3);
        assert_eq!(again[0].progression.last_kind, Some(ErrorKind::Trap));
        assert!(worker.settle(&again[0], done()).await);
        let task = bench.get(id).await;
        assert_eq!(task.state.status(), Status::Completed);
        assert_eq!(task.last_error(), Some(failure(ErrorKind::Trap)));
    }

    async fn a_failed_task_stays_with_its_error(bench: &Bench) {
        let id = bench.submit(0).await;
        let mut worker = Worker::of(bench);
        let claimed = worker.claim(1).await;
        assert!(worker.settle(&claimed[0], Verdict::Fail(failure(ErrorKind::BadOutput))).await);
        let TaskState::Failed { error, .. } = bench.get(id).await.state else { panic!("not failed") };
        assert_eq!(error, failure(ErrorKind::BadOutput));
    }

    async fn a_renewed_lease_lives_and_shows_progress(bench: &Bench) {
        let id = bench.submit(0).await;
        let mut worker = Worker::of(bench);
        let claimed = worker.claim(1).await;
        let held = Held {
            id,
            token: claimed[0].token.clone(),
            progress: Some(Progress { percent: 40, message: "a b".into() }),
        };
        for _ in 0..5 {
            bench.advance(Duration::from_secs(5));
            let jobs = [Bytes::from_static(b"j")];
            let info = Bytes::from_static(b"{}");
            let renewed = bench.queue.renew(&worker.instance, info, &jobs, std::slice::from_ref(&held)).await;
            assert!(renewed.unwrap().lost.is_empty());
            assert!(bench.queue.sweep().await.unwrap().reaped.is_empty());
        }
        let TaskState::InProgress { progress, .. } = bench.get(id).await.state else { panic!() };
        assert_eq!(progress, held.progress);
        assert!(worker.settle(&claimed[0], done()).await);

        assert_eq!(bench.queue.workers().await.unwrap()[0].instance, worker.instance.as_str());
        assert_eq!(bench.queue.jobs().await.unwrap()[0].name, job("j"));
        bench.advance(Duration::from_secs(601));
        assert!(bench.queue.jobs().await.unwrap().is_empty());
        assert!(bench.queue.workers().await.unwrap().is_empty());
    }

    async fn a_renewal_names_the_leases_that_are_lost(bench: &Bench) {
        let id = bench.submit(0).await;
        let mut worker = Worker::of(bench);
        let token = worker.claim(1).await[0].token.clone();
        bench.advance(LEASE);
        bench.queue.sweep().await.unwrap();
        let held = [Held { id, token, progress: None }];
        let renewed = bench.queue.renew(&worker.instance, Bytes::new(), &[], &held).await.unwrap();
        assert_eq!(renewed.lost, [id]);
    }

    async fn a_renewal_by_the_one_who_lost_a_lease_prolongs_nobody_elses(bench: &Bench) {
        let id = bench.submit(0).await;
        let mut slow = Worker::of(bench);
        let token = slow.claim(1).await[0].token.clone();
        bench.advance(LEASE);
        bench.queue.sweep().await.unwrap();
        Worker::of(bench).claim(1).await;
        bench.pass(LEASE / 2).await;
        let held = [Held { id, token, progress: Some(Progress { percent: 1, message: "mine".into() }) }];
        let renewed = bench.queue.renew(&slow.instance, Bytes::new(), &[], &held).await.unwrap();
        assert_eq!(renewed.lost, [id]);
        let TaskState::InProgress { progress, .. } = bench.get(id).await.state else { panic!() };
        assert_eq!(progress, None);
        assert_eq!(bench.pass(LEASE / 2).await.len(), 1, "the other's lease ended on time");
    }

    async fn a_released_task_returns_to_its_place_and_no_attempt_is_counted(bench: &Bench) {
        let first = bench.submit(5).await;
        let second = bench.submit(5).await;
        let mut worker = Worker::of(bench);
        let claimed = worker.claim(1).await;
        assert_eq!(ids(&claimed), [first]);
        bench.advance(Duration::from_secs(1));
        let leases = [(first, claimed[0].token.clone())];
        assert_eq!(bench.queue.release(&leases).await.unwrap(), [true]);
        assert_eq!(bench.queue.release(&leases).await.unwrap(), [true]);
        assert!(!worker.settle(&claimed[0], done()).await);
        let again = worker.claim(2).await;
        assert_eq!(ids(&again), [first, second]);
        assert_eq!(again[0].progression.attempt(), 1);
        assert_eq!(bench.queue.release(&leases).await.unwrap(), [true], "the same call, the same answer");
        assert_eq!(bench.get(first).await.state.status(), Status::InProgress);
    }

    async fn losses_and_failures_have_budgets_of_their_own(bench: &Bench) {
        let id = bench.submit(0).await;
        Worker::of(bench).claim(1).await;
        bench.advance(LEASE);
        bench.queue.sweep().await.unwrap();
        let mut worker = Worker::of(bench);
        let claimed = worker.claim(1).await;
        let retry = Verdict::Retry(failure(ErrorKind::Trap), Duration::ZERO);
        assert!(worker.settle(&claimed[0], retry).await);
        let progression = bench.get(id).await.progression;
        assert_eq!((progression.lost, progression.failures, progression.attempt()), (1, 1, 3));
        assert_eq!(progression.last_attempt(&Policy::default()), 4);
    }

    async fn a_lease_beyond_reason_is_cut_when_the_clock_stepped_back(bench: &Bench) {
        bench.submit(0).await;
        Worker::of(bench).claim(1).await;
        bench.step_back(Duration::from_secs(3600));
        assert!(bench.pass(LEASE.saturating_sub(Duration::from_millis(1))).await.is_empty(), "a living worker has time to renew");
        assert_eq!(bench.pass(LEASE / 2).await.len(), 1);
    }

    async fn a_paused_queue_accepts_and_hands_out_nothing(bench: &Bench) {
        let (ns, queue) = (Namespace::default(), QueueName::default());
        bench.queue.pause(&ns, &queue).await.unwrap();
        bench.submit(0).await;
        let mut worker = Worker::of(bench);
        assert!(worker.claim(1).await.is_empty());
        let listed = bench.queue.queues(&ns).await.unwrap();
        assert_eq!((listed[0].paused, listed[0].depth), (true, 1));
        bench.queue.resume(&ns, &queue).await.unwrap();
        assert_eq!(worker.claim(1).await.len(), 1);
    }

    async fn a_worker_serves_the_queues_it_names(bench: &Bench) {
        let mut other = new_task(0);
        other.spec.queue = "other".parse().unwrap();
        bench.queue.submit(&[new_task(0), other.clone()]).await.unwrap();
        let mut worker = Worker::of(bench);
        worker.served = Served::Only(vec![(other.spec.namespace.clone(), other.spec.queue.clone(), 1)]);
        assert_eq!(ids(&worker.claim(5).await), [other.id]);
        assert_eq!(Worker::of(bench).claim(5).await.len(), 1);
    }

    async fn thousands_of_queues_stop_nobody(bench: &Bench) {
        for batch in 0..9 {
            let tasks: Vec<_> = (0..1000)
                .map(|number| {
                    let mut task = new_task(0);
                    task.spec.queue = format!("q{}", batch * 1000 + number).parse().unwrap();
                    task
                })
                .collect();
            bench.queue.submit(&tasks).await.unwrap();
        }
        assert_eq!(Worker::of(bench).claim(10).await.len(), 10);
    }

    async fn every_queue_gets_its_turn(bench: &Bench) {
        for name in ["a", "b", "c"] {
            let tasks = [0; 3].map(|priority| {
                let mut task = new_task(priority);
                task.spec.queue = name.parse().unwrap();
                task
            });
            bench.queue.submit(&tasks).await.unwrap();
        }
        let mut worker = Worker::of(bench);
        let mut served = Vec::new();
        for _ in 0..3 {
            served.push(worker.claim(1).await[0].definition.spec.queue.to_string());
        }
        served.sort();
        assert_eq!(served, ["a", "b", "c"]);
    }

    async fn counts_tell_where_tasks_are(bench: &Bench) {
        let ns = Namespace::default();
        for _ in 0..5 {
            bench.submit(0).await;
        }
        let mut worker = Worker::of(bench);
        let claimed = worker.claim(4).await;
        let verdicts = [
            done(),
            Verdict::Fail(failure(ErrorKind::Permanent)),
            Verdict::Retry(failure(ErrorKind::Trap), Duration::from_secs(1)),
        ];
        let settlements = claimed.iter().zip(verdicts).map(|(task, verdict)| settlement(task, verdict));
        assert_eq!(worker.turn(settlements.collect(), 0).await.settled, [true; 3]);
        let counts = bench.queue.counts(&ns).await.unwrap();
        let held = Status::ALL.iter().map(|&status| counts.of(status)).collect::<Vec<_>>();
        // QUEUED, SCHEDULED, BLOCKED, IN_PROGRESS, COMPLETED, FAILED, CANCELLED
        assert_eq!(held, [1, 1, 0, 1, 1, 1, 0]);
    }

    async fn an_older_call_of_an_instance_is_superseded(bench: &Bench) {
        bench.submit(0).await;
        let mut worker = Worker::of(bench);
        worker.number = 5;
        worker.claim(1).await;
        bench.submit(0).await;
        let late = Turn { number: 5, settlements: vec![], wanted: 1 };
        let answer = bench.queue.settle_and_claim(&worker.instance, &Served::All, &late).await.unwrap();
        assert!(answer.superseded && answer.claimed.is_empty());
    }

    async fn a_claim_that_is_sent_again_gives_only_what_it_still_holds(bench: &Bench) {
        let kept = bench.submit(1).await;
        let gone = bench.submit(0).await;
        let mut worker = Worker::of(bench);
        let claimed = worker.claim(2).await;
        bench.queue.release(&[(gone, claimed[1].token.clone())]).await.unwrap();
        let again = Turn { number: worker.number, settlements: vec![], wanted: 2 };
        let answer = bench.queue.settle_and_claim(&worker.instance, &Served::All, &again).await.unwrap();
        assert_eq!(ids(&answer.claimed), [kept]);
    }

    async fn a_large_claim_stops_near_four_mebibytes_and_wakes_another(bench: &Bench) {
        let text = format!(r#"{{"job":"j","x":"{}"}}"#, "x".repeat(512 * 1024));
        for _ in 0..40 {
            let mut task = new_task(0);
            task.spec.payload = sentinel_queue::Payload::parse(Bytes::from(text.clone())).unwrap().0;
            bench.queue.submit(&[task]).await.unwrap();
        }
        let claimed = Worker::of(bench).claim(40).await.len();
        assert!((8..=24).contains(&claimed), "{claimed}");
        let queues = [Bytes::from_static(b"default:default")];
        assert!(bench.queue.wait(&queues, Duration::from_millis(10)).await.unwrap());
    }

    async fn a_submit_wakes_one_idle_worker(bench: &Bench) {
        let queues = [Bytes::from_static(b"default:default")];
        let (woken, _) = tokio::join!(
            bench.queue.wait(&queues, Duration::from_secs(10)),
            bench.submit(0),
        );
        assert!(woken.unwrap());
        // The new queue's own marker, for those who did not know it.
        assert!(bench.queue.wait(&[], Duration::from_millis(100)).await.unwrap());
        assert!(!bench.queue.wait(&queues, Duration::from_millis(10)).await.unwrap());
    }

    async fn opening_a_store_alone_ends_all_leases_uncounted(bench: &Bench) {
        let id = bench.submit(0).await;
        let mut worker = Worker::of(bench);
        let claimed = worker.claim(1).await;
        bench.queue.reopen().await.unwrap();
        assert!(!worker.settle(&claimed[0], done()).await);
        let again = worker.claim(1).await;
        assert_eq!((again[0].definition.id, again[0].progression.attempt()), (id, 1));
    }

    async fn the_length_of_a_lease_is_the_stores(bench: &Bench) {
        bench.queue.set_lease(Duration::from_secs(1)).await.unwrap();
        bench.submit(0).await;
        let answer = Worker::of(bench).turn(vec![], 1).await;
        assert_eq!(answer.lease, Duration::from_secs(1));
        bench.advance(Duration::from_secs(1));
        assert_eq!(bench.queue.sweep().await.unwrap().reaped.len(), 1);
    }
}
