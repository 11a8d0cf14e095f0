//! What may happen to a task between its submit and its end, on both homes; each call is sent twice.

use std::time::Duration;

use sentinel_queue::{
    ErrorKind, Millis, NewTask, Policy, Priority, Status, TaskId,
    lease::Verdict,
    queue::SubmitError,
    steer::Steered,
    task::{AfterPolicy, Event, TaskState, When},
};

use crate::bench::{Bench, LEASE, START, Worker, done, failure, ids, new_task, on_both_homes};

fn with(change: impl FnOnce(&mut NewTask)) -> NewTask {
    let mut task = new_task(0);
    change(&mut task);
    task
}

fn after(parents: &[TaskId]) -> NewTask {
    with(|task| task.spec.after = parents.to_vec())
}

async fn fail(bench: &Bench, worker: &mut Worker<'_>) -> TaskId {
    let task = worker.claim(1).await.remove(0);
    assert!(worker.settle(&task, Verdict::Fail(failure(ErrorKind::Permanent))).await);
    let id = task.definition.id;
    assert_eq!(bench.status(id).await, Status::Failed);
    id
}

async fn complete(worker: &mut Worker<'_>) -> TaskId {
    let task = worker.claim(1).await.remove(0);
    assert!(worker.settle(&task, done()).await);
    task.definition.id
}

on_both_homes! {
    async fn a_task_that_is_put_off_is_ready_when_it_is_due(bench: &Bench) {
        let later = bench.accept(&with(|task| task.when = Some(When::After(Duration::from_secs(5))))).await;
        let at = bench.accept(&with(|task| task.when = Some(When::At(Millis(START + 7000))))).await;
        let past = bench.accept(&with(|task| task.when = Some(When::At(Millis(1))))).await;
        assert_eq!(bench.status(later).await, Status::Scheduled);
        assert_eq!(bench.get(later).await.progression.due, Some(Millis(START + 5000)));
        let mut worker = Worker::of(bench);
        let turn = worker.turn(vec![], 5).await;
        assert_eq!((ids(&turn.claimed), turn.next_due), (vec![past], Some(Duration::from_secs(5))));
        bench.advance(Duration::from_millis(4999));
        assert!(worker.claim(5).await.is_empty());
        bench.advance(Duration::from_millis(1));
        assert_eq!(ids(&worker.claim(5).await), [later]);
        bench.advance(Duration::from_secs(2));
        assert_eq!(bench.queue.sweep().await.unwrap().promoted, 1);
        assert_eq!(bench.status(at).await, Status::Queued);
    }

    async fn a_due_task_comes_behind_those_that_came_before_its_time(bench: &Bench) {
        let later = bench.accept(&with(|task| task.when = Some(When::After(Duration::from_secs(2))))).await;
        bench.advance(Duration::from_secs(1));
        let early = bench.submit(0).await;
        bench.advance(Duration::from_secs(2));
        let late = bench.submit(0).await;
        assert_eq!(ids(&Worker::of(bench).claim(5).await), [early, later, late]);
    }

    async fn a_task_that_has_not_started_in_time_expires_even_in_a_paused_queue(bench: &Bench) {
        let expires = |task: &mut NewTask| task.spec.expires_at = Some(Millis(START + 1000));
        let queued = bench.accept(&with(expires)).await;
        let put_off = bench.accept(&with(|task| {
            expires(task);
            task.when = Some(When::After(Duration::from_secs(60)));
        })).await;
        let blocked = bench.accept(&with(|task| {
            expires(task);
            task.spec.after = vec![put_off];
        })).await;
        let task = &with(|_| {}).spec;
        bench.queue.pause(&task.namespace, &task.queue).await.unwrap();
        bench.advance(Duration::from_millis(999));
        bench.queue.sweep().await.unwrap();
        assert_eq!(bench.status(queued).await, Status::Queued);
        bench.advance(Duration::from_millis(1));
        bench.queue.sweep().await.unwrap();
        for id in [queued, put_off, blocked] {
            let task = bench.get(id).await;
            assert_eq!(task.state.status(), Status::Failed);
            let error = task.error().unwrap();
            assert_eq!(error.kind, ErrorKind::Expired);
            assert!(error.report.message.contains("expired"));
            let TaskState::Failed { ended, .. } = task.state else { panic!() };
            assert_eq!((ended.attempt, ended.worker, ended.started_at), (0, None, None));
        }
    }

    async fn a_claim_hands_out_nothing_that_has_expired(bench: &Bench) {
        for _ in 0..3 {
            bench.accept(&with(|task| task.spec.expires_at = Some(Millis(START + 1000)))).await;
        }
        bench.advance(Duration::from_secs(1));
        let plain = bench.submit(0).await;
        assert_eq!(ids(&Worker::of(bench).claim(10).await), [plain]);
    }

    async fn expiry_stops_no_attempt_but_the_next(bench: &Bench) {
        let id = bench.accept(&with(|task| task.spec.expires_at = Some(Millis(START + 1000)))).await;
        let mut worker = Worker::of(bench);
        let held = worker.claim(1).await;
        bench.advance(Duration::from_secs(2));
        bench.queue.sweep().await.unwrap();
        assert_eq!(bench.status(id).await, Status::InProgress);
        let retry = Verdict::Retry(failure(ErrorKind::Trap), Duration::from_secs(1));
        assert!(worker.settle(&held[0], retry).await);
        let task = bench.get(id).await;
        assert_eq!((task.state.status(), task.error().unwrap().kind), (Status::Failed, ErrorKind::Expired));
        let Event::Attempt { error, .. } = &task.history[0] else { panic!("{:?}", task.history) };
        assert_eq!(error.as_ref().unwrap().kind, ErrorKind::Trap);
    }

    async fn a_released_task_expires_as_well(bench: &Bench) {
        let id = bench.accept(&with(|task| task.spec.expires_at = Some(Millis(START + 1000)))).await;
        let held = Worker::of(bench).claim(1).await;
        bench.advance(Duration::from_secs(2));
        bench.queue.sweep().await.unwrap();
        assert_eq!(bench.queue.release(&[(id, held[0].token.clone())]).await.unwrap(), [true]);
        bench.queue.sweep().await.unwrap();
        assert_eq!(bench.status(id).await, Status::Failed);
    }

    async fn an_idempotency_key_stands_for_one_task(bench: &Bench) {
        let keyed = |task: &mut NewTask| task.spec.idempotency_key = Some("k".parse().unwrap());
        let (first, second) = (with(keyed), with(keyed));
        assert_eq!(bench.accept(&first).await, first.id);
        bench.advance(Duration::from_secs(60));
        let accepted = bench.queue.submit(std::slice::from_ref(&second)).await.unwrap()[0];
        assert_eq!((accepted.id, accepted.deduplicated, accepted.at), (first.id, true, Millis(START)));
        let again = bench.queue.submit(std::slice::from_ref(&first)).await.unwrap()[0];
        assert!(!again.deduplicated, "the same submit, sent again");
        let other = with(|task| {
            keyed(task);
            task.spec.queue = "other".parse().unwrap();
        });
        let refused = bench.queue.submit(&[new_task(0), other]).await;
        assert!(matches!(refused, Err(SubmitError::Conflict { index: 1 })), "{refused:?}");
        let counts = bench.queue.counts(&first.spec.namespace).await.unwrap();
        assert_eq!((counts.held(), counts.ever("submitted")), (1, 1), "nothing else was accepted");
    }

    async fn a_key_lives_until_its_window_and_its_task_are_gone(bench: &Bench) {
        let keyed = || with(|task| task.spec.idempotency_key = Some("k".parse().unwrap()));
        let first = bench.accept(&keyed()).await;
        complete(&mut Worker::of(bench)).await;
        let retention = sentinel_queue::steer::Retention {
            completed: sentinel_queue::steer::Keep { age: Duration::from_hours(1), count: 10 },
            ..Default::default()
        };
        bench.advance(Duration::from_hours(2));
        let ns = new_task(0).spec.namespace;
        assert_eq!(bench.queue.retain(&ns, &retention).await.unwrap(), (1, false));
        assert!(bench.queue.get(first).await.unwrap().is_none());
        let double = bench.queue.submit(&[keyed()]).await.unwrap()[0];
        assert_eq!((double.id, double.deduplicated, double.at), (first, true, Millis(START)));
        assert_eq!(double.removed, Some(Status::Completed), "within the window it stands for the task that was");
        bench.advance(Duration::from_hours(22));
        let second = bench.queue.submit(&[keyed()]).await.unwrap()[0];
        assert_eq!((second.deduplicated, second.removed), (false, None), "though nobody has swept");
        let second = second.id;
        bench.queue.sweep().await.unwrap();
        assert_eq!(bench.accept(&keyed()).await, second, "and no sweep takes it away");
        bench.advance(Duration::from_hours(48));
        bench.queue.sweep().await.unwrap();
        assert_eq!(bench.accept(&keyed()).await, second, "a task that is there keeps its key");
    }

    async fn a_child_waits_for_all_its_parents(bench: &Bench) {
        let (a, b) = (bench.submit(0).await, bench.submit(0).await);
        let child = bench.accept(&after(&[a, b])).await;
        let mut worker = Worker::of(bench);
        assert_eq!(bench.status(child).await, Status::Blocked);
        complete(&mut worker).await;
        assert_eq!(bench.status(child).await, Status::Blocked);
        complete(&mut worker).await;
        assert_eq!(bench.status(child).await, Status::Queued);
        assert_eq!(ids(&worker.claim(5).await), [child]);
        let late = bench.accept(&after(&[a, b])).await;
        assert_eq!(bench.status(late).await, Status::Queued, "its parents had ended before");
    }

    async fn a_blocked_task_waits_for_its_time_as_well(bench: &Bench) {
        let parent = bench.submit(0).await;
        let child = with(|task| {
            task.spec.after = vec![parent];
            task.when = Some(When::After(Duration::from_secs(60)));
        });
        let child = bench.accept(&child).await;
        complete(&mut Worker::of(bench)).await;
        assert_eq!(bench.status(child).await, Status::Scheduled);
        bench.advance(Duration::from_secs(60));
        bench.queue.sweep().await.unwrap();
        assert_eq!(bench.status(child).await, Status::Queued);
    }

    async fn the_end_of_a_parent_that_did_not_complete_reaches_all_below(bench: &Bench) {
        let parent = bench.submit(0).await;
        let child = bench.accept(&after(&[parent])).await;
        let grandchild = bench.accept(&after(&[child])).await;
        let always = bench.accept(&with(|task| {
            task.spec.after = vec![parent, child];
            task.spec.after_policy = AfterPolicy::Always;
        })).await;
        fail(bench, &mut Worker::of(bench)).await;
        while bench.queue.sweep().await.unwrap().more {}
        for (id, cause) in [(child, parent), (grandchild, child)] {
            let task = bench.get(id).await;
            assert_eq!(task.state.status(), Status::Cancelled);
            assert!(task.error().unwrap().report.message.contains(&cause.to_string()));
        }
        assert_eq!(bench.status(always).await, Status::Queued);
        // A parent that lives again revives nobody.
        assert_eq!(bench.queue.redrive(parent).await.unwrap(), Steered::Done);
        assert_eq!(bench.status(child).await, Status::Cancelled);
    }

    async fn a_parent_with_thousands_of_children_frees_them_all_in_slices(bench: &Bench) {
        let parent = bench.submit(0).await;
        let children: Vec<_> = (0..1000).map(|_| after(&[parent])).collect();
        for _ in 0..2 {
            bench.queue.submit(&children).await.unwrap();
        }
        complete(&mut Worker::of(bench)).await;
        let mut sweeps = 0;
        while bench.queue.sweep().await.unwrap().more {
            sweeps += 1;
            assert!(sweeps < 50);
        }
        let counts = bench.queue.counts(&children[0].spec.namespace).await.unwrap();
        assert_eq!((counts.of(Status::Queued), counts.of(Status::Blocked)), (1000, 0));
    }

    async fn a_child_needs_a_parent_that_is_there(bench: &Bench) {
        let nobody = TaskId::random();
        let refused = bench.queue.submit(&[new_task(0), after(&[nobody])]).await;
        assert!(matches!(refused, Err(SubmitError::NoParent { index: 1, parent }) if parent == nobody));
        let (parent, other) = (new_task(0), new_task(0));
        let child = after(&[parent.id]);
        let refused = bench.queue.submit(&[child.clone(), parent.clone()]).await;
        assert!(matches!(refused, Err(SubmitError::NoParent { index: 0, .. })), "a later one is no parent");
        bench.queue.submit(&[parent, other, child.clone()]).await.unwrap();
        assert_eq!(bench.status(child.id).await, Status::Blocked);
    }

    async fn a_child_of_a_double_waits_for_the_one_that_was_there(bench: &Bench) {
        let keyed = || with(|task| task.spec.idempotency_key = Some("k".parse().unwrap()));
        let first = bench.accept(&keyed()).await;
        let double = keyed();
        let child = after(&[double.id]);
        let accepted = bench.queue.submit(&[double, child.clone()]).await.unwrap();
        assert_eq!((accepted[0].id, accepted[1].id), (first, child.id));
        assert_eq!(bench.get(child.id).await.definition.spec.after, [first]);
        complete(&mut Worker::of(bench)).await;
        assert_eq!(bench.status(child.id).await, Status::Queued);
    }

    async fn a_task_is_cancelled_wherever_it_is(bench: &Bench) {
        let queued = bench.submit(5).await;
        let put_off = bench.accept(&with(|task| task.when = Some(When::After(LEASE)))).await;
        let blocked = bench.accept(&after(&[put_off])).await;
        let child = bench.accept(&after(&[blocked])).await;
        let running = bench.submit(9).await;
        let mut worker = Worker::of(bench);
        let held = worker.claim(1).await;
        assert_eq!(ids(&held), [running]);
        for id in [queued, blocked, running, put_off] {
            assert_eq!(bench.queue.cancel(id).await.unwrap(), Steered::Done);
            let task = bench.get(id).await;
            assert_eq!((task.state.status(), task.error().unwrap().kind), (Status::Cancelled, ErrorKind::Cancelled));
            assert_eq!(bench.queue.cancel(id).await.unwrap(), Steered::WrongState(Status::Cancelled));
        }
        assert!(!worker.settle(&held[0], done()).await, "a cancelled attempt commits nothing");
        assert_eq!(bench.status(running).await, Status::Cancelled);
        let TaskState::Cancelled { ended, .. } = bench.get(running).await.state else { panic!() };
        assert_eq!((ended.attempt, ended.worker.as_deref()), (1, Some(worker.instance.as_str())));
        while bench.queue.sweep().await.unwrap().more {}
        assert_eq!(bench.status(child).await, Status::Cancelled);
        assert!(worker.claim(9).await.is_empty());
        assert_eq!(bench.queue.cancel(TaskId::random()).await.unwrap(), Steered::Unknown);
        let done = bench.submit(0).await;
        complete(&mut worker).await;
        assert_eq!(bench.queue.cancel(done).await.unwrap(), Steered::WrongState(Status::Completed));
    }

    async fn a_redriven_task_has_another_life_and_remembers_the_first(bench: &Bench) {
        let id = bench.submit(3).await;
        let mut worker = Worker::of(bench);
        let held = worker.claim(1).await;
        assert!(worker.settle(&held[0], Verdict::Retry(failure(ErrorKind::Trap), Duration::ZERO)).await);
        assert_eq!(fail(bench, &mut worker).await, id);
        bench.advance(Duration::from_secs(1));
        assert_eq!(bench.queue.redrive(id).await.unwrap(), Steered::Done);
        let task = bench.get(id).await;
        assert_eq!((task.state.status(), task.progression.attempt()), (Status::Queued, 3));
        assert_eq!((task.progression.failures, task.progression.lost), (0, 0));
        assert_eq!(bench.queue.redrive(id).await.unwrap(), Steered::WrongState(Status::Queued));
        let held = worker.claim(1).await;
        assert_eq!(held[0].progression.last_attempt(&Policy::default()), 5, "a fresh budget");
        assert!(worker.settle(&held[0], done()).await);
        let task = bench.get(id).await;
        assert_eq!(task.state.status(), Status::Completed);
        let told: Vec<_> = task.history.iter().map(|event| match event {
            Event::Attempt { ended, outcome, error } => {
                format!("{} {outcome} {:?}", ended.attempt, error.as_ref().unwrap().kind)
            }
            Event::End { status, .. } => format!("end {status}"),
            Event::Redriven { .. } => "redriven".into(),
        }).collect();
        assert_eq!(told, ["1 FAILED Trap", "2 FAILED Permanent", "redriven"]);
        assert_eq!(bench.queue.redrive(id).await.unwrap(), Steered::WrongState(Status::Completed));
        let counts = bench.queue.counts(&task.definition.spec.namespace).await.unwrap();
        assert_eq!((counts.held(), counts.of(Status::Completed), counts.ever("redriven")), (1, 1, 1));
    }

    async fn a_redriven_task_expires_no_more(bench: &Bench) {
        let id = bench.accept(&with(|task| task.spec.expires_at = Some(Millis(START + 10)))).await;
        bench.advance(Duration::from_secs(1));
        bench.queue.sweep().await.unwrap();
        assert_eq!(bench.status(id).await, Status::Failed);
        assert_eq!(bench.queue.redrive(id).await.unwrap(), Steered::Done);
        bench.queue.sweep().await.unwrap();
        assert_eq!(bench.status(id).await, Status::Queued);
        assert_eq!(complete(&mut Worker::of(bench)).await, id);
    }

    async fn a_waiting_task_is_rescheduled(bench: &Bench) {
        let id = bench.submit(0).await;
        let reschedule = async |when, priority| bench.queue.reschedule(id, when, priority).await.unwrap();
        assert_eq!(reschedule(Some(When::After(LEASE)), None).await, Steered::Done);
        assert_eq!(bench.status(id).await, Status::Scheduled);
        assert_eq!(reschedule(Some(When::At(Millis(START))), Some(Priority::new(8).unwrap())).await, Steered::Done);
        let task = bench.get(id).await;
        assert_eq!((task.state.status(), task.definition.spec.priority.get()), (Status::Queued, 8));
        bench.submit(7).await;
        let mut worker = Worker::of(bench);
        assert_eq!(ids(&worker.claim(1).await), [id], "by its new priority");
        assert_eq!(reschedule(None, None).await, Steered::WrongState(Status::InProgress));
    }

    async fn a_lost_task_is_run_again_and_convicted_by_ten_losses_only(bench: &Bench) {
        let first = bench.submit(5).await;
        let second = bench.submit(5).await;
        for attempt in 1..=10 {
            let claimed = Worker::of(bench).claim(1).await;
            assert_eq!(ids(&claimed), [first]);
            assert_eq!(claimed[0].progression.attempt(), attempt);
            assert_eq!(claimed[0].must_run_apart(), attempt > 2);
            assert!(bench.pass(LEASE.saturating_sub(Duration::from_millis(1))).await.is_empty());
            let reaped = bench.pass(Duration::from_millis(1)).await;
            assert_eq!((reaped[0].id, reaped[0].failed), (first, attempt == 10));
        }
        let task = bench.get(first).await;
        assert_eq!(task.error().unwrap().kind, ErrorKind::WorkerLost);
        assert_eq!(task.history.len(), 10);
        assert_eq!(ids(&Worker::of(bench).claim(1).await), [second]);
    }

    async fn a_silence_of_everybody_convicts_nobody(bench: &Bench) {
        let id = bench.submit(0).await;
        let mut worker = Worker::of(bench);
        bench.queue.sweep().await.unwrap();
        let held = worker.claim(1).await;
        // The store is away for an hour: nobody renews, nobody sweeps.
        bench.advance(Duration::from_hours(1));
        assert!(bench.queue.sweep().await.unwrap().reaped.is_empty());
        // The worker has stopped the guest long ago and gives the task back when it can.
        assert!(bench.pass(Duration::from_secs(5)).await.is_empty());
        assert_eq!(bench.queue.release(&[(id, held[0].token.clone())]).await.unwrap(), [true]);
        assert_eq!(worker.claim(1).await[0].progression.attempt(), 1, "nothing was counted");
        // Who does not come back within a lease is lost.
        let reaped = bench.pass(LEASE).await;
        assert_eq!(reaped.len(), 1);
    }

    async fn a_job_that_no_worker_has_is_waited_for_ten_minutes(bench: &Bench) {
        let id = bench.submit(0).await;
        let mut worker = Worker::of(bench);
        let mut waits = Vec::new();
        let mut waited = Duration::ZERO;
        loop {
            let Some(held) = worker.claim(1).await.pop() else { break };
            assert_eq!(held.progression.attempt(), 1, "no attempt is counted");
            let elsewhere = Verdict::Elsewhere(failure(ErrorKind::UnknownJob), Duration::from_millis(250));
            assert!(worker.settle(&held, elsewhere).await);
            let task = bench.get(id).await;
            let Some(due) = task.progression.due.filter(|_| task.state == TaskState::Scheduled) else { break };
            let wait = Duration::from_millis(due.0 - START).saturating_sub(waited);
            waits.push(wait.as_secs());
            bench.advance(wait);
            waited += wait;
        }
        assert_eq!(waits[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!((600..=660).contains(&waited.as_secs()), "{waited:?}");
        assert_eq!(bench.get(id).await.error().unwrap().kind, ErrorKind::UnknownJob);
    }

    async fn a_job_that_another_worker_has_is_left_to_it_at_once(bench: &Bench) {
        let id = bench.submit(0).await;
        let jobs = [bytes::Bytes::from_static(b"j")];
        let other = Worker::of(bench);
        bench.queue.renew(&other.instance, bytes::Bytes::new(), &jobs, &[]).await.unwrap();
        let mut worker = Worker::of(bench);
        for _ in 0..20 {
            let held = worker.claim(1).await.remove(0);
            let elsewhere = Verdict::Elsewhere(failure(ErrorKind::UnknownJob), Duration::from_millis(250));
            assert!(worker.settle(&held, elsewhere).await);
            let due = bench.get(id).await.progression.due.unwrap();
            bench.advance(Duration::from_millis(250));
            let TaskState::Scheduled = bench.get(id).await.state else { panic!() };
            bench.queue.sweep().await.unwrap();
            assert_eq!(bench.status(id).await, Status::Queued);
            assert!(due.0 > START);
        }
    }

    async fn a_release_that_comes_again_is_answered_the_same_whatever_came_in_between(bench: &Bench) {
        let id = bench.submit(0).await;
        let first = Worker::of(bench).claim(1).await.remove(0);
        let release = async || bench.queue.release(&[(id, first.token.clone())]).await.unwrap();
        assert_eq!(release().await, [true]);
        let mut other = Worker::of(bench);
        let second = other.claim(1).await.remove(0);
        assert_eq!(release().await, [true]);
        assert_eq!(bench.status(id).await, Status::InProgress, "and nothing is taken from the next one");
        assert!(other.settle(&second, Verdict::Retry(failure(ErrorKind::Trap), Duration::ZERO)).await);
        bench.advance(Duration::from_secs(50));
        assert_eq!(release().await, [true]);
        assert_eq!(bench.queue.release(&[(id, second.token.clone())]).await.unwrap(), [false]);
        complete(&mut other).await;
        assert_eq!(release().await, [true]);
        assert_eq!(bench.status(id).await, Status::Completed);
    }

    async fn a_child_that_was_cancelled_with_its_parent_runs_when_it_is_redriven(bench: &Bench) {
        let parent = bench.submit(0).await;
        let child = bench.accept(&after(&[parent])).await;
        let mut worker = Worker::of(bench);
        fail(bench, &mut worker).await;
        while bench.queue.sweep().await.unwrap().more {}
        assert_eq!(bench.status(child).await, Status::Cancelled);
        assert_eq!(bench.queue.redrive(child).await.unwrap(), Steered::Done);
        assert_eq!(bench.status(parent).await, Status::Failed);
        assert_eq!(complete(&mut worker).await, child, "whoever asks for it does not wait for its parents");
    }

    async fn a_history_keeps_its_beginning_and_its_newest_part(bench: &Bench) {
        let id = bench.submit(0).await;
        let mut worker = Worker::of(bench);
        for _ in 0..130 {
            fail(bench, &mut worker).await;
            bench.advance(Duration::from_millis(1));
            assert_eq!(bench.queue.redrive(id).await.unwrap(), Steered::Done);
            bench.advance(Duration::from_millis(1));
        }
        let parts = async || {
            let (mut attempts, mut others) = (Vec::new(), Vec::new());
            for event in bench.get(id).await.history {
                match event {
                    Event::Attempt { ended, .. } => attempts.push(ended.attempt),
                    other => others.push(other.at().0 - START),
                }
            }
            (attempts, others)
        };
        let (attempts, redrives) = parts().await;
        assert_eq!(attempts, [1].into_iter().chain(32..=130).collect::<Vec<_>>());
        assert_eq!(redrives, [1].into_iter().chain((31..130).map(|cycle| cycle * 2 + 1)).collect::<Vec<_>>());
        for _ in 0..70 {
            assert_eq!(bench.queue.cancel(id).await.unwrap(), Steered::Done);
            assert_eq!(bench.queue.redrive(id).await.unwrap(), Steered::Done);
            bench.advance(Duration::from_millis(1));
        }
        let (attempts, others) = parts().await;
        assert_eq!((attempts.len(), others.len()), (100, 100));
        assert_eq!((others[0], others[99]), (1, 260 + 69));
    }
}
