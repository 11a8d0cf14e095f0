//! Lists, operations, retention and the audit, on both homes.

use std::time::Duration;

use sentinel_queue::{
    ErrorKind, Millis, Namespace, NewTask, Status, TaskId,
    lease::Verdict,
    list::Filter,
    steer::{Keep, OperationKind, Retention},
    task::When,
};

use crate::bench::{Bench, START, Worker, done, failure, new_task, on_both_homes, settlement};

/// All tasks of a list, page by page.
async fn listed(bench: &Bench, filter: &Filter, limit: usize) -> Vec<TaskId> {
    let mut ids = Vec::new();
    let mut cursor = None;
    loop {
        let slice = bench.queue.list(filter, limit, cursor.as_ref()).await.unwrap();
        assert!(slice.tasks.len() <= limit && slice.undefined.is_empty());
        ids.extend(slice.tasks.iter().map(|task| task.definition.id));
        cursor = slice.next;
        if cursor.is_none() {
            return ids;
        }
    }
}

fn of(status: Status) -> Filter {
    Filter { statuses: vec![status], ..Filter::default() }
}

async fn clean(bench: &Bench) {
    let audit = bench.queue.audit(|_| {}).await.unwrap();
    assert_eq!(audit.problems, Vec::<String>::new());
}

on_both_homes! {
    async fn a_list_of_many_that_came_at_once_is_whole_and_in_order(bench: &Bench) {
        let mut expected = Vec::new();
        for _ in 0..3 {
            let tasks: Vec<_> = (0..700).map(|_| new_task(0)).collect();
            bench.queue.submit(&tasks).await.unwrap();
            expected.extend(tasks.iter().map(|task| task.id));
        }
        assert_eq!(listed(bench, &of(Status::Queued), 50).await, expected);
        assert_eq!(listed(bench, &of(Status::Queued), 499).await, expected);
    }

    async fn a_list_goes_on_where_it_was_though_its_tasks_go(bench: &Bench) {
        let tasks: Vec<_> = (0..200).map(|_| new_task(0)).collect();
        bench.queue.submit(&tasks).await.unwrap();
        let first = bench.queue.list(&of(Status::Queued), 100, None).await.unwrap();
        // All that were listed, the cursor's own among them, and some beyond are claimed.
        assert_eq!(Worker::of(bench).claim(120).await.len(), 120);
        let rest = bench.queue.list(&of(Status::Queued), 100, first.next.as_ref()).await.unwrap();
        let rest: Vec<_> = rest.tasks.iter().map(|task| task.definition.id).collect();
        assert_eq!(rest, tasks[120..].iter().map(|task| task.id).collect::<Vec<_>>());
    }

    async fn a_list_looks_at_a_thousand_tasks_at_most(bench: &Bench) {
        for number in 0..3 {
            let tasks: Vec<_> = (0..1000)
                .map(|_| {
                    let mut task = new_task(0);
                    if number == 2 {
                        task.spec.tags = "rare".parse().unwrap();
                    }
                    task
                })
                .collect();
            bench.queue.submit(&tasks[..if number == 2 { 2 } else { 1000 }]).await.unwrap();
        }
        let rare = Filter { tag: Some("rare".parse().unwrap()), ..of(Status::Queued) };
        let first = bench.queue.list(&rare, 50, None).await.unwrap();
        assert!(first.tasks.is_empty() && first.next.is_some(), "short, and not the end");
        assert_eq!(listed(bench, &rare, 50).await.len(), 2);
    }

    async fn finished_tasks_come_newest_first_and_others_by_their_order(bench: &Bench) {
        let mut worker = Worker::of(bench);
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(bench.submit(0).await);
            let held = worker.claim(1).await;
            assert!(worker.settle(&held[0], done()).await);
            bench.advance(Duration::from_millis(1));
        }
        ids.reverse();
        assert_eq!(listed(bench, &of(Status::Completed), 2).await, ids);
        let late = |seconds| Some(When::After(Duration::from_secs(seconds)));
        let mut put_off = Vec::new();
        for seconds in [3, 1, 2] {
            let mut task = new_task(0);
            task.when = late(seconds);
            put_off.push(bench.accept(&task).await);
        }
        assert_eq!(listed(bench, &of(Status::Scheduled), 2).await, [put_off[1], put_off[2], put_off[0]]);
        let running = bench.submit(0).await;
        worker.claim(1).await;
        assert_eq!(listed(bench, &of(Status::InProgress), 2).await, [running]);
        assert_eq!(listed(bench, &Filter::default(), 3).await.len(), 9);
        let since = Filter { since: Some(Millis(START + 2)), before: Some(Millis(START + 4)), ..Filter::default() };
        assert_eq!(listed(bench, &since, 3).await.len(), 2);
    }

    async fn an_operation_is_carried_on_by_whoever_comes(bench: &Bench) {
        let mut tasks: Vec<_> = (0..900).map(|_| new_task(0)).collect();
        for (number, task) in tasks.iter_mut().enumerate() {
            match number % 3 {
                0 => task.spec.queue = "other".parse().unwrap(),
                1 => task.when = Some(When::After(Duration::from_secs(60))),
                _ => {}
            }
        }
        bench.queue.submit(&tasks).await.unwrap();
        let running = Worker::of(bench).claim(10).await.len() as u64;
        let filter = Filter { queue: Some("default".parse().unwrap()), ..Filter::default() };
        let dry = bench.queue.start_operation(OperationKind::Cancel, &filter, true).await.unwrap();
        bench.advance(Duration::from_millis(1));
        let id = bench.queue.start_operation(OperationKind::Cancel, &filter, false).await.unwrap();
        bench.advance(Duration::from_secs(1));
        let late = bench.submit(0).await;
        let mut steps = 0;
        while bench.queue.operate().await.unwrap() {
            steps += 1;
            assert!(steps < 100);
        }
        assert!(steps > 3, "slice by slice");
        let counted = bench.queue.operation(&dry).await.unwrap().unwrap();
        assert_eq!(counted.done, 0);
        let operation = bench.queue.operation(&id).await.unwrap().unwrap();
        assert!(operation.finished_at.is_some());
        assert_eq!((operation.matched, operation.done), (counted.matched, counted.matched));
        let counts = bench.queue.counts(&Namespace::default()).await.unwrap();
        assert_eq!(counts.of(Status::Cancelled), operation.done);
        assert_eq!(bench.status(late).await, Status::Queued, "what came later is not meant");
        assert!(running > 0 && counts.of(Status::InProgress) < running);
        let id = bench.queue.start_operation(OperationKind::Redrive, &filter, false).await.unwrap();
        while bench.queue.operate().await.unwrap() {}
        assert_eq!(bench.queue.operation(&id).await.unwrap().unwrap().done, operation.done);
        clean(bench).await;
    }

    async fn a_purge_removes_what_waits_and_cancels_whom_others_wait_for(bench: &Bench) {
        let parent = bench.submit(0).await;
        let mut child = new_task(0);
        child.spec.queue = "other".parse().unwrap();
        child.spec.after = vec![parent];
        let child = bench.accept(&child).await;
        for _ in 0..300 {
            bench.submit(0).await;
        }
        let running = {
            let mut task = new_task(9);
            task.spec.priority = sentinel_queue::Priority::new(9).unwrap();
            bench.accept(&task).await
        };
        let held = Worker::of(bench).claim(1).await;
        assert_eq!(held[0].definition.id, running);
        let filter = Filter { queue: Some("default".parse().unwrap()), ..Filter::default() };
        let id = bench.queue.start_operation(OperationKind::Purge, &filter, false).await.unwrap();
        while bench.queue.operate().await.unwrap() {}
        assert_eq!(bench.queue.operation(&id).await.unwrap().unwrap().done, 301);
        while bench.queue.sweep().await.unwrap().more {}
        assert_eq!(bench.status(running).await, Status::InProgress);
        assert_eq!(bench.status(parent).await, Status::Cancelled);
        assert_eq!(bench.status(child).await, Status::Cancelled);
        let counts = bench.queue.counts(&Namespace::default()).await.unwrap();
        assert_eq!((counts.held(), counts.ever("removed"), counts.ever("submitted")), (3, 300, 303));
        clean(bench).await;
    }

    async fn what_is_old_or_too_much_is_removed_whole(bench: &Bench) {
        let ns = Namespace::default();
        let mut worker = Worker::of(bench);
        let mut ids = Vec::new();
        for _ in 0..10 {
            ids.push(bench.submit(0).await);
            let held = worker.claim(1).await;
            let retry = Verdict::Retry(failure(ErrorKind::Trap), Duration::ZERO);
            assert!(worker.settle(&held[0], retry).await);
            let held = worker.claim(1).await;
            assert!(worker.settle(&held[0], done()).await);
            bench.advance(Duration::from_mins(1));
        }
        let keep = |age, count| Retention { completed: Keep { age, count }, ..Retention::default() };
        let hour = Duration::from_hours(1);
        assert_eq!(bench.queue.retain(&ns, &keep(hour, 8)).await.unwrap(), (2, false), "by number");
        assert_eq!(bench.queue.retain(&ns, &keep(Duration::from_mins(5), 100)).await.unwrap(), (4, false), "by age");
        // Never within two minutes.
        assert_eq!(bench.queue.retain(&ns, &keep(Duration::ZERO, 100)).await.unwrap(), (3, false));
        for id in &ids[..9] {
            assert!(bench.queue.get(*id).await.unwrap().is_none());
        }
        assert_eq!(listed(bench, &Filter::default(), 10).await, [ids[9]]);
        clean(bench).await;
        let (keys, _) = bench.scan("").await;
        let leftovers: Vec<_> = keys.iter().filter(|key| ids[..9].iter().any(|id| key.contains(&id.to_string()))).collect();
        assert_eq!(leftovers, Vec::<&String>::new());
    }

    async fn no_namespace_keeps_more_than_is_kept(bench: &Bench) {
        let mut worker = Worker::of(bench);
        for name in ["default", "team"] {
            let mut task = new_task(0);
            task.spec.namespace = name.parse().unwrap();
            bench.queue.submit(&[task]).await.unwrap();
            let held = worker.claim(1).await;
            assert!(worker.settle(&held[0], done()).await);
        }
        bench.advance(Duration::from_hours(1));
        let short = Keep { age: Duration::from_mins(5), count: 100 };
        let retention = Retention { completed: short, ..Retention::default() };
        assert_eq!(bench.queue.retain_all(&retention).await.unwrap(), (2, false));
        clean(bench).await;
    }

    async fn each_namespace_counts_its_own(bench: &Bench) {
        let names = ["default", "team", "team2", "idle"].map(|name| name.parse::<Namespace>().unwrap());
        let mut worker = Worker::of(bench);
        for (more, namespace) in (0..3).zip(&names) {
            let of = |change: &dyn Fn(&mut NewTask)| {
                let mut task = new_task(0);
                task.spec.namespace = namespace.clone();
                change(&mut task);
                task
            };
            bench.queue.submit(&[of(&|_| {}), of(&|_| {})]).await.unwrap();
            let held = worker.claim(2).await;
            assert!(worker.settle(&held[0], done()).await);
            for _ in 0..=more {
                let later = of(&|task| task.when = Some(When::After(Duration::from_mins(1))));
                let child = of(&|task| task.spec.after = vec![held[1].definition.id]);
                bench.queue.submit(&[later, child]).await.unwrap();
            }
        }
        let statuses = [Status::InProgress, Status::Scheduled, Status::Blocked, Status::Completed];
        for (namespace, expected) in names.iter().zip([[1, 1, 1, 1], [1, 2, 2, 1], [1, 3, 3, 1], [0; 4]]) {
            let counts = bench.queue.counts(namespace).await.unwrap();
            assert_eq!(statuses.map(|status| counts.of(status)), expected, "of {namespace}");
        }
    }

    async fn an_audit_finds_nothing_where_nothing_is_wrong(bench: &Bench) {
        for priority in 0..20 {
            bench.submit(priority).await;
        }
        let mut worker = Worker::of(bench);
        let held = worker.claim(5).await;
        assert!(worker.settle(&held[0], done()).await);
        bench.queue.cancel(held[1].definition.id).await.unwrap();
        let audit = bench.queue.audit(|_| {}).await.unwrap();
        assert_eq!((audit.tasks, audit.submitted, audit.held, audit.removed), (20, 20, 20, 0));
        clean(bench).await;
    }

    async fn an_audit_looks_at_all_namespaces(bench: &Bench) {
        for name in ["default", "team", "team2"] {
            let tasks: Vec<_> = (0..6)
                .map(|number| {
                    let mut task = new_task(0);
                    task.spec.namespace = name.parse().unwrap();
                    task.when = (number == 5).then_some(When::After(Duration::from_mins(1)));
                    task
                })
                .collect();
            bench.queue.submit(&tasks).await.unwrap();
        }
        let mut worker = Worker::of(bench);
        let held = worker.claim(9).await;
        for task in &held[..4] {
            assert!(worker.settle(task, done()).await);
        }
        bench.queue.cancel(held[4].definition.id).await.unwrap();
        let audit = bench.queue.audit(|_| {}).await.unwrap();
        assert_eq!((audit.tasks, audit.submitted, audit.held, audit.removed), (18, 18, 18, 0));
        clean(bench).await;
    }

    async fn of_a_worker_that_never_renewed_nothing_is_left(bench: &Bench) {
        bench.submit(0).await;
        let mut worker = Worker::of(bench);
        let held = worker.claim(1).await;
        assert!(worker.settle(&held[0], done()).await);
        assert_eq!(bench.scan("c:").await.0.len(), 1);
        bench.advance(Duration::from_mins(59));
        bench.queue.sweep().await.unwrap();
        assert_eq!(bench.scan("c:").await.0.len(), 1, "its last call may still come again");
        bench.advance(Duration::from_mins(1));
        bench.queue.sweep().await.unwrap();
        assert_eq!(bench.scan("c").await.0, Vec::<String>::new());
    }

    async fn the_order_of_ends_outlasts_a_clock_that_steps_back(bench: &Bench) {
        let ns = Namespace::default();
        let mut worker = Worker::of(bench);
        let mut cursor = bench.queue.endings(&ns, None, 10).await.unwrap().next;
        bench.advance(Duration::from_secs(10_000));
        let mut expected = Vec::new();
        let mut heard = Vec::new();
        for step in 0..24 {
            for _ in 0..3 {
                bench.submit(0).await;
            }
            let held = worker.claim(3).await;
            let verdicts = [done(), Verdict::Fail(failure(ErrorKind::Trap)), done()];
            let settlements: Vec<_> =
                held.iter().zip(verdicts).map(|(task, verdict)| settlement(task, verdict)).collect();
            worker.turn(settlements, 0).await;
            expected.extend(held.iter().map(|task| task.definition.id));
            if step % 2 == 0 {
                bench.advance(Duration::from_millis(1));
            }
            loop {
                let slice = bench.queue.endings(&ns, Some(&cursor), 2).await.unwrap();
                cursor = slice.next;
                if slice.endings.is_empty() {
                    break;
                }
                heard.extend(slice.endings.into_iter().map(|ending| ending.task.definition.id));
            }
            if step % 2 == 0 {
                assert_eq!(heard.len(), expected.len(), "they are heard at once, whatever the clock says");
            }
            // Two seconds, then two hours.
            match step {
                9 => bench.step_back(Duration::from_secs(2)),
                17 => bench.step_back(Duration::from_hours(2)),
                _ => {}
            }
        }
        bench.advance(Duration::from_millis(1));
        let last = bench.queue.endings(&ns, Some(&cursor), 10).await.unwrap();
        heard.extend(last.endings.into_iter().map(|ending| ending.task.definition.id));
        heard.sort();
        expected.sort();
        assert_eq!(heard, expected, "each once");
    }
}
