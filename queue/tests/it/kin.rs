//! Whom a task has to do with, on both homes; each call is sent twice.

use std::time::Duration;

use sentinel_queue::{
    Namespace, NewTask, TaskId,
    effects::Effects,
    lease::Settlement,
    steer::{Keep, Retention},
    task::Lineage,
};

use crate::bench::{Bench, Worker, done, ids, new_task, on_both_homes, settlement};

fn after(parents: &[TaskId]) -> NewTask {
    let mut task = new_task(0);
    task.spec.after = parents.to_vec();
    task
}

async fn below(bench: &Bench, id: TaskId, wanted: usize) -> Vec<TaskId> {
    let mut found = bench.queue.kin(&[id], wanted).await.unwrap();
    assert_eq!(found.len(), 1);
    let mut below = found.remove(0).below;
    below.sort_unstable();
    below
}

on_both_homes! {
    async fn those_below_a_task_are_known_also_when_they_wait_no_more(bench: &Bench) {
        let parent = bench.submit(0).await;
        let mut children = vec![bench.accept(&after(&[parent])).await, bench.accept(&after(&[parent])).await];
        children.sort_unstable();
        assert_eq!(below(bench, parent, 50).await, children);
        let mut worker = Worker::of(bench);
        for _ in 0..3 {
            let held = worker.claim(1).await;
            assert!(worker.settle(&held[0], done()).await);
            bench.queue.sweep().await.unwrap();
        }
        assert_eq!(below(bench, parent, 50).await, children);
        assert!(below(bench, children[0], 50).await.is_empty());
        // Those above are in what was submitted; the payload is not told.
        let kin = bench.queue.kin(&[children[0], TaskId::random(), parent], 0).await.unwrap();
        assert_eq!(kin.len(), 2, "an unknown one is left out");
        assert_eq!(kin[0].task.definition.spec.after, [parent]);
        assert!(kin[0].task.definition.spec.payload.as_bytes().is_empty() && kin[1].below.is_empty());
    }

    async fn what_an_attempt_submitted_is_below_it(bench: &Bench) {
        bench.submit(0).await;
        let mut worker = Worker::of(bench);
        let parent = worker.claim(1).await.remove(0);
        let id = parent.definition.id;
        let mut child = new_task(0);
        child.spec.lineage = Some(Lineage { parent: id, root: id, depth: 1 });
        let effects = Effects { children: vec![child.clone()], ..Effects::default() };
        let settlement = Settlement { effects, ..settlement(&parent, done()) };
        worker.turn(vec![settlement], 0).await;
        assert_eq!(below(bench, id, 50).await, [child.id]);
        assert_eq!(ids(&worker.claim(1).await), [child.id]);
    }

    async fn of_many_the_first_are_known_and_all_is_forgotten_with_the_task(bench: &Bench) {
        let parent = bench.submit(0).await;
        let children: Vec<_> = (0..150).map(|_| after(&[parent])).collect();
        bench.queue.submit(&children).await.unwrap();
        assert_eq!(below(bench, parent, 500).await.len(), 100);
        assert_eq!(below(bench, parent, 7).await.len(), 7);
        let mut worker = Worker::of(bench);
        for task in worker.claim(1).await {
            assert!(worker.settle(&task, done()).await);
        }
        while bench.queue.sweep().await.unwrap().more {}
        bench.advance(Duration::from_hours(1));
        let keep = Keep { age: Keep::FLOOR, count: 0 };
        let retention = Retention { completed: keep, ..Retention::default() };
        assert_eq!(bench.queue.retain(&Namespace::default(), &retention).await.unwrap().0, 1);
        assert!(bench.queue.kin(&[parent], 1).await.unwrap().is_empty());
        assert!(bench.scan("kin:").await.0.is_empty());
    }
}
