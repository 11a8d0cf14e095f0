//! Sessions of browsers, on both homes; each call is sent twice.

use std::time::Duration;

use sentinel_queue::{KeyId, sessions::SessionToken};

use crate::bench::{Bench, often, on_both_homes};

const HOUR: Duration = Duration::from_secs(3600);

fn key() -> KeyId {
    "0123456789ab".parse().unwrap()
}

async fn open(bench: &Bench, lifetime: Duration) -> SessionToken {
    let token = SessionToken::generate();
    bench.queue.open_session(&token, &key(), lifetime).await.unwrap();
    token
}

async fn open_often(bench: &Bench, times: usize, lifetime: Duration) {
    let open = || {
        let queue = bench.queue.clone();
        async move { queue.open_session(&SessionToken::generate(), &key(), lifetime).await.unwrap() }
    };
    often(times, open).await;
}

async fn is_open(bench: &Bench, token: &SessionToken) -> bool {
    bench.queue.session(token).await.unwrap().is_some()
}

on_both_homes! {
    async fn a_session_is_its_keys_until_it_is_over(bench: &Bench) {
        let token = open(bench, HOUR).await;
        assert_eq!(bench.queue.session(&token).await.unwrap(), Some(key()));
        assert!(!is_open(bench, &SessionToken::generate()).await);
        bench.advance(HOUR - Duration::from_millis(1));
        assert!(is_open(bench, &token).await);
        bench.advance(Duration::from_millis(1));
        assert!(!is_open(bench, &token).await);
    }

    async fn a_session_that_is_opened_again_lasts_no_longer(bench: &Bench) {
        let token = open(bench, HOUR).await;
        bench.advance(HOUR / 2);
        bench.queue.open_session(&token, &key(), HOUR).await.unwrap();
        bench.advance(HOUR / 2);
        assert!(!is_open(bench, &token).await);
    }

    async fn a_closed_session_is_nobodys(bench: &Bench) {
        let (token, other) = (open(bench, HOUR).await, open(bench, HOUR).await);
        bench.queue.close_session(&token).await.unwrap();
        assert!(!is_open(bench, &token).await);
        assert!(is_open(bench, &other).await);
        bench.queue.close_session(&other).await.unwrap();
        assert_eq!(bench.scan("sess").await.0, Vec::<String>::new(), "nothing is left of them");
    }

    async fn those_that_are_over_are_removed_when_others_are_opened(bench: &Bench) {
        open_often(bench, 150, HOUR).await;
        let long = open(bench, 3 * HOUR).await;
        bench.advance(HOUR);
        let mut opened = vec![long];
        for _ in 0..3 {
            opened.push(open(bench, HOUR).await);
        }
        for token in opened {
            assert!(is_open(bench, &token).await);
            bench.queue.close_session(&token).await.unwrap();
        }
        assert_eq!(bench.scan("sess").await.0, Vec::<String>::new());
    }

    async fn of_too_many_sessions_the_first_go(bench: &Bench) {
        let first = open(bench, 3 * HOUR).await;
        let second = open(bench, HOUR).await;
        // The order is that of their opening, whatever the clock says.
        bench.step_back(HOUR);
        open_often(bench, 9998, 2 * HOUR).await;
        assert!(is_open(bench, &first).await);
        let last = open(bench, HOUR).await;
        assert!(!is_open(bench, &first).await);
        assert!(is_open(bench, &second).await && is_open(bench, &last).await);
    }
}
