//! What operators did, on both homes; each call is sent twice.

use std::time::Duration;

use sentinel_queue::{
    Millis, Namespace,
    actions::{ActionInfo, NewAction},
};

use crate::bench::{Bench, START, often, on_both_homes};

fn action(namespace: Option<&str>) -> NewAction {
    NewAction {
        key: Some("0123456789ab".parse().unwrap()),
        who: "ci".into(),
        namespace: namespace.map(|name| name.parse().unwrap()),
        what: "POST /v1/queues/{queue}/pause".into(),
        target: "/v1/queues/default/pause".into(),
        request_id: "r-1".into(),
        from: "127.0.0.1".into(),
    }
}

async fn begin(bench: &Bench, namespace: Option<&str>) -> u64 {
    bench.queue.begin_action(&action(namespace)).await.unwrap()
}

async fn begin_often(bench: &Bench, times: usize, namespace: Option<&str>) {
    let new = action(namespace);
    let begin = || {
        let (queue, new) = (bench.queue.clone(), new.clone());
        async move { drop(queue.begin_action(&new).await.unwrap()) }
    };
    often(times, begin).await;
}

/// The numbers of actions, page by page.
async fn pages(bench: &Bench, namespace: Option<&str>, limit: usize) -> Vec<Vec<u64>> {
    let namespace: Option<Namespace> = namespace.map(|name| name.parse().unwrap());
    let (mut pages, mut before) = (Vec::new(), None);
    loop {
        let page = bench.queue.actions(namespace.as_ref(), before, limit).await.unwrap();
        pages.push(page.actions.iter().map(|action| action.number).collect());
        if page.next.is_none() {
            return pages;
        }
        before = page.next;
    }
}

on_both_homes! {
    async fn an_action_is_told_before_and_after_it_is_done(bench: &Bench) {
        let new = action(Some("tenant"));
        let number = bench.queue.begin_action(&new).await.unwrap();
        let mut expected = ActionInfo { number, at: Millis(START), action: new, status: None };
        assert_eq!(bench.queue.actions(None, None, 10).await.unwrap().actions, [expected.clone()]);
        bench.advance(Duration::from_secs(1));
        bench.queue.end_action(number, 409).await.unwrap();
        bench.queue.end_action(number, 200).await.unwrap();
        expected.status = Some(409);
        assert_eq!(bench.queue.actions(None, None, 10).await.unwrap().actions, [expected]);
        bench.queue.end_action(number + 1, 200).await.unwrap();
        assert_eq!(pages(bench, None, 10).await, [[number]], "an end alone is nothing");
    }

    async fn actions_are_listed_newest_first_page_by_page(bench: &Bench) {
        assert_eq!(pages(bench, None, 10).await, [[0_u64; 0]]);
        for _ in 0..5 {
            begin(bench, None).await;
        }
        assert_eq!(pages(bench, None, 2).await, [vec![5, 4], vec![3, 2], vec![1]]);
        assert_eq!(pages(bench, None, 5).await, [[5, 4, 3, 2, 1]]);
        let beyond = bench.queue.actions(None, Some(99), 1).await.unwrap();
        assert_eq!((beyond.actions[0].number, beyond.next), (5, Some(5)));
        assert_eq!(bench.queue.actions(None, Some(1), 1).await.unwrap().actions, []);
    }

    async fn the_actions_of_one_namespace_are_found_among_many(bench: &Bench) {
        let mine = begin(bench, Some("mine")).await;
        begin_often(bench, 2500, Some("theirs")).await;
        begin(bench, None).await;
        let last = begin(bench, Some("mine")).await;
        // A thousand are looked at for each page.
        assert_eq!(pages(bench, Some("mine"), 10).await, [vec![last], vec![], vec![mine]]);
        assert_eq!(pages(bench, Some("mine"), 1).await[0], [last]);
        assert_eq!(pages(bench, Some("nobody"), 10).await.concat(), [0_u64; 0]);
    }

    async fn the_newest_ten_thousand_are_kept(bench: &Bench) {
        begin_often(bench, 10_001, None).await;
        let kept = pages(bench, None, 500).await.concat();
        assert_eq!(kept, (2..=10_001).rev().collect::<Vec<_>>());
    }

    async fn long_texts_are_cut(bench: &Bench) {
        let long = "é".repeat(2000);
        let new = NewAction {
            who: long.clone(),
            what: long.clone(),
            target: format!("/{long}"),
            request_id: long.clone(),
            from: long,
            ..action(None)
        };
        bench.queue.begin_action(&new).await.unwrap();
        let told = bench.queue.actions(None, None, 1).await.unwrap().actions.remove(0).action;
        assert_eq!(told.target, format!("/{}", "é".repeat(511)));
        for text in [&told.who, &told.what, &told.request_id, &told.from] {
            assert_eq!(*text, "é".repeat(128));
        }
    }
}
