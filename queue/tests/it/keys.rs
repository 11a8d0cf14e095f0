//! API keys, and how often each may ask, on both homes; each call is sent twice.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use sentinel_queue::{
    ApiKey, Grant, KeyInfo, Millis, Scope,
    keys::{CHANGED, RequestRate},
    request,
    store::{Heard, StoreError},
};

use crate::bench::{Bench, START, often, on_both_homes};

fn new_key(name: &str) -> (ApiKey, KeyInfo) {
    let key = ApiKey::generate();
    let info = KeyInfo {
        id: key.id().clone(),
        name: name.to_owned(),
        hash: key.hash(),
        grant: Grant { scopes: BTreeSet::from([Scope::Read]), ..Grant::default() },
        created_at: Millis(7),
        expires_at: None,
        revoked_at: Some(Millis(8)),
    };
    (key, info)
}

async fn add(bench: &Bench, name: &str) -> KeyInfo {
    let (_, info) = new_key(name);
    let created_at = bench.queue.add_key(&info).await.unwrap().expect("there is room");
    KeyInfo { created_at, revoked_at: None, ..info }
}

async fn all(bench: &Bench) -> Vec<KeyInfo> {
    bench.queue.keys(None).await.unwrap().keys.expect("no version is known")
}

fn rate(requests: u32, millis: u64) -> RequestRate {
    RequestRate { requests, per: Duration::from_millis(millis) }
}

/// How many are admitted in a row.
async fn admitted(bench: &Bench, key: &KeyInfo, rate: RequestRate) -> u32 {
    for count in 0.. {
        let admission = bench.queue.admit(&key.id, rate).await.unwrap();
        if !admission.is_admitted {
            assert_eq!(admission.left, 0);
            assert!(!admission.next_in.is_zero());
            return count;
        }
        assert_eq!(admission.next_in.is_zero(), admission.left > 0);
    }
    unreachable!()
}

on_both_homes! {
    async fn a_key_is_read_back_as_it_was_made(bench: &Bench) {
        let (key, mut info) = new_key("the ✓ key");
        info.grant = Grant {
            scopes: BTreeSet::from([Scope::Submit, Scope::Operate]),
            namespace: Some("tenant".parse().unwrap()),
            jobs: Some(BTreeSet::from(["a".parse().unwrap(), "b".parse().unwrap()])),
            queues: Some(BTreeSet::from(["q".parse().unwrap()])),
            rate: Some(rate(100, 1000)),
        };
        info.expires_at = Some(Millis(START + 5000));
        assert_eq!(bench.queue.add_key(&info).await.unwrap(), Some(Millis(START)));
        let read = bench.queue.keys(None).await.unwrap();
        assert_eq!(read.now, Millis(START));
        let expected = KeyInfo { created_at: Millis(START), revoked_at: None, ..info };
        assert_eq!(read.keys, Some(vec![expected.clone()]));
        assert!(expected.is_of(&key));
    }

    async fn a_key_that_is_made_again_later_stays_as_it_is(bench: &Bench) {
        let key = add(bench, "k").await;
        bench.advance(Duration::from_secs(5));
        assert_eq!(bench.queue.add_key(&key).await.unwrap(), Some(Millis(START)));
        assert_eq!(bench.queue.revoke_key(&key.id).await.unwrap(), Some(Millis(START + 5000)));
        assert_eq!(bench.queue.add_key(&key).await.unwrap(), Some(Millis(START)), "and revoked");
        assert_eq!(all(bench).await, [KeyInfo { revoked_at: Some(Millis(START + 5000)), ..key.clone() }]);
        let other = KeyInfo { id: key.id, ..new_key("another").1 };
        let taken = bench.queue.add_key(&other).await;
        assert!(matches!(taken, Err(StoreError::Broken(_))), "{taken:?}");
    }

    async fn a_key_is_revoked_once_and_for_ever(bench: &Bench) {
        let (key, other) = (add(bench, "k").await, add(bench, "other").await);
        bench.advance(Duration::from_secs(1));
        for _ in 0..2 {
            assert_eq!(bench.queue.revoke_key(&key.id).await.unwrap(), Some(Millis(START + 1000)));
            bench.advance(Duration::from_secs(1));
        }
        let revoked = KeyInfo { revoked_at: Some(Millis(START + 1000)), ..key };
        let mut expected = [revoked, other];
        expected.sort_by_key(|key| key.id.clone());
        assert_eq!(all(bench).await, expected);
        assert_eq!(bench.queue.revoke_key(&new_key("unknown").1.id).await.unwrap(), None);
    }

    async fn every_change_has_a_version_and_nothing_else_has(bench: &Bench) {
        let empty = bench.queue.keys(None).await.unwrap();
        assert_eq!(empty.keys, Some(vec![]));
        assert_eq!(bench.queue.keys(Some(empty.version)).await.unwrap().keys, None);
        let mut versions = vec![empty.version];
        let key = add(bench, "k").await;
        versions.push(bench.queue.keys(None).await.unwrap().version);
        bench.queue.revoke_key(&key.id).await.unwrap();
        versions.push(bench.queue.keys(None).await.unwrap().version);
        // Also when the clock steps back.
        bench.step_back(Duration::from_secs(60));
        add(bench, "another").await;
        versions.push(bench.queue.keys(None).await.unwrap().version);
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        bench.queue.revoke_key(&key.id).await.unwrap();
        bench.queue.admit(&key.id, rate(1, 1000)).await.unwrap();
        let known = bench.queue.keys(Some(versions[3])).await.unwrap();
        assert_eq!((known.version, known.keys), (versions[3], None));
        let old = bench.queue.keys(Some(versions[2])).await.unwrap();
        assert_eq!(old.keys.map(|keys| keys.len()), Some(2));
    }

    async fn a_version_is_the_time_so_that_a_store_that_lost_some_gives_none_again(bench: &Bench) {
        add(bench, "k").await;
        assert_eq!(bench.queue.keys(None).await.unwrap().version, START);
        bench.advance(Duration::from_secs(1));
        add(bench, "another").await;
        assert_eq!(bench.queue.keys(None).await.unwrap().version, START + 1000);
    }

    async fn changes_are_said(bench: &Bench) {
        let mut heard = bench.queue.subscribe(Bytes::from_static(CHANGED.as_bytes()));
        assert_eq!(heard.next().await, Heard::Gap);
        let key = add(bench, "k").await;
        assert_eq!(heard.next().await, Heard::Message(Bytes::from(START.to_string())));
        bench.queue.revoke_key(&key.id).await.unwrap();
        assert_eq!(heard.next().await, Heard::Message(Bytes::from((START + 1).to_string())));
    }

    async fn there_is_an_end_to_keys(bench: &Bench) {
        let first = add(bench, "first").await;
        let add_another = || {
            let queue = bench.queue.clone();
            async move { drop(queue.add_key(&new_key("k").1).await.unwrap().expect("there is room")) }
        };
        often(9999, add_another).await;
        assert_eq!(bench.queue.add_key(&new_key("too many").1).await.unwrap(), None);
        assert_eq!(all(bench).await.len(), 10_000);
        assert_eq!(bench.queue.add_key(&first).await.unwrap(), Some(Millis(START)), "it is there");
        bench.queue.revoke_key(&first.id).await.unwrap();
        add(bench, "in its place").await;
        assert_eq!(bench.queue.add_key(&new_key("too many").1).await.unwrap(), None);
    }

    async fn of_revoked_keys_the_last_thousand_are_kept(bench: &Bench) {
        let kept = add(bench, "kept").await;
        let first = [add(bench, "first").await.id, add(bench, "second").await.id];
        for id in &first {
            bench.queue.revoke_key(id).await.unwrap();
        }
        // By the order in which they were revoked, whatever the clock says.
        bench.step_back(Duration::from_secs(60));
        let add_and_revoke = || {
            let queue = bench.queue.clone();
            async move {
                let key = new_key("k").1;
                queue.add_key(&key).await.unwrap();
                assert!(queue.revoke_key(&key.id).await.unwrap().is_some());
            }
        };
        often(999, add_and_revoke).await;
        let keys = all(bench).await;
        assert_eq!(keys.len(), 1001);
        assert!(keys.iter().any(|key| key.id == kept.id));
        assert!(keys.iter().all(|key| key.id != first[0]) && keys.iter().any(|key| key.id == first[1]));
        assert_eq!(bench.queue.revoke_key(&first[0]).await.unwrap(), None);
    }

    async fn a_full_bucket_is_admitted_at_once_and_then_one_by_one(bench: &Bench) {
        let key = add(bench, "k").await;
        let rate = rate(4, 1000);
        for left in [3, 2, 1, 0] {
            let admission = bench.queue.admit(&key.id, rate).await.unwrap();
            assert!(admission.is_admitted);
            assert_eq!(admission.left, left);
            assert_eq!(admission.full_in, Duration::from_millis(u64::from(4 - left) * 250));
            assert_eq!(admission.next_in, Duration::from_millis(if left > 0 { 0 } else { 250 }));
        }
        for _ in 0..10 {
            bench.advance(Duration::from_millis(249));
            let early = bench.queue.admit(&key.id, rate).await.unwrap();
            assert!(!early.is_admitted);
            assert_eq!((early.left, early.next_in), (0, Duration::from_millis(1)));
            assert_eq!(early.full_in, Duration::from_millis(751), "nothing was taken");
            bench.advance(Duration::from_millis(1));
            assert_eq!(admitted(bench, &key, rate).await, 1);
        }
        bench.advance(Duration::from_millis(999));
        assert_eq!(admitted(bench, &key, rate).await, 3);
        bench.advance(Duration::from_secs(86_400));
        assert_eq!(admitted(bench, &key, rate).await, 4, "never more than a full bucket");
    }

    async fn nothing_is_rounded(bench: &Bench) {
        // A third of a millisecond for each; and one that nothing divides.
        let key = add(bench, "k").await;
        let thirds = rate(30, 10);
        assert_eq!(admitted(bench, &key, thirds).await, 30);
        for _ in 0..30 {
            bench.advance(Duration::from_millis(1));
            assert_eq!(admitted(bench, &key, thirds).await, 3);
        }
        let key = add(bench, "another").await;
        let sevenths = rate(7, 100);
        assert_eq!(admitted(bench, &key, sevenths).await, 7);
        for round in 0..3 {
            let mut count = 0;
            for _ in 0..100 {
                bench.advance(Duration::from_millis(1));
                count += admitted(bench, &key, sevenths).await;
            }
            assert_eq!(count, 7, "in period {round}");
        }
    }

    async fn the_largest_rates_are_counted_exactly(bench: &Bench) {
        let key = add(bench, "k").await;
        let most = rate(1_000_000, 1000);
        let first = bench.queue.admit(&key.id, most).await.unwrap();
        assert_eq!((first.left, first.full_in), (999_999, Duration::from_millis(1)));
        let second = bench.queue.admit(&key.id, most).await.unwrap();
        assert_eq!((second.left, second.full_in), (999_998, Duration::from_millis(1)));
        bench.advance(Duration::from_millis(1));
        assert_eq!(bench.queue.admit(&key.id, most).await.unwrap(), first);
        let key = add(bench, "slow").await;
        let slow = rate(1, 86_400_000);
        assert_eq!(admitted(bench, &key, slow).await, 1);
        bench.advance(Duration::from_millis(86_399_999));
        assert_eq!(admitted(bench, &key, slow).await, 0);
        bench.advance(Duration::from_millis(1));
        assert_eq!(admitted(bench, &key, slow).await, 1);
    }

    async fn whoever_waits_as_long_as_was_said_is_admitted(bench: &Bench) {
        let key = add(bench, "k").await;
        let sevenths = rate(7, 1000);
        assert_eq!(admitted(bench, &key, sevenths).await, 7);
        for _ in 0..50 {
            let refused = bench.queue.admit(&key.id, sevenths).await.unwrap();
            bench.advance(refused.next_in - Duration::from_millis(1));
            assert_eq!(admitted(bench, &key, sevenths).await, 0, "and not sooner");
            bench.advance(Duration::from_millis(1));
            assert_eq!(admitted(bench, &key, sevenths).await, 1);
        }
        let refused = bench.queue.admit(&key.id, sevenths).await.unwrap();
        bench.advance(refused.full_in);
        assert_eq!(admitted(bench, &key, sevenths).await, 7);
    }

    async fn a_clock_that_steps_back_admits_nothing_and_locks_out_for_a_period_at_most(bench: &Bench) {
        let key = add(bench, "k").await;
        let rate = rate(10, 1000);
        // By less than is missing: what is missing then is more by the step.
        assert!(bench.queue.admit(&key.id, rate).await.unwrap().is_admitted);
        bench.step_back(Duration::from_millis(300));
        assert_eq!(admitted(bench, &key, rate).await, 6);
        // By an hour: the bucket is empty, and full after a period.
        bench.step_back(Duration::from_secs(3600));
        let refused = bench.queue.admit(&key.id, rate).await.unwrap();
        assert!(!refused.is_admitted);
        assert_eq!(
            (refused.next_in, refused.full_in),
            (Duration::from_millis(100), Duration::from_millis(1000))
        );
        bench.advance(Duration::from_millis(100));
        assert_eq!(admitted(bench, &key, rate).await, 1);
        bench.advance(Duration::from_millis(1000));
        assert_eq!(admitted(bench, &key, rate).await, 10);
    }

    async fn each_key_has_a_bucket_of_its_own_until_it_is_revoked(bench: &Bench) {
        let (one, other) = (add(bench, "one").await, add(bench, "other").await);
        let rate = rate(2, 60_000);
        assert_eq!(admitted(bench, &one, rate).await, 2);
        assert_eq!(admitted(bench, &other, rate).await, 2);
        bench.queue.revoke_key(&one.id).await.unwrap();
        let refused = bench.queue.admit(&one.id, rate).await.unwrap();
        assert!(!refused.is_admitted);
        assert_eq!((refused.left, refused.next_in), (0, rate.per));
        assert!(!bench.queue.admit(&new_key("unknown").1.id, rate).await.unwrap().is_admitted);
        assert_eq!(bench.scan("buckets").await.0.len(), 1);
        bench.queue.revoke_key(&other.id).await.unwrap();
        bench.queue.admit(&other.id, rate).await.unwrap();
        assert_eq!(bench.scan("buckets").await.0, Vec::<String>::new());
    }
}

#[test]
fn a_new_key_says_what_it_may() {
    let full = br#"{"name":"ci","scopes":["submit","read","read"],"namespace":"t","jobs":["a","b"],
        "queues":["q"],"rate":{"requests":100,"per":"1s"},"expires_at":"2030-01-31T12:00:00Z"}"#;
    let key = request::new_key(&Bytes::from_static(full)).unwrap();
    assert_eq!(key.name, "ci");
    assert_eq!(key.expires_at, Some(Millis(1_896_091_200_000)));
    let expected = Grant {
        scopes: BTreeSet::from([Scope::Submit, Scope::Read]),
        namespace: Some("t".parse().unwrap()),
        jobs: Some(BTreeSet::from(["a".parse().unwrap(), "b".parse().unwrap()])),
        queues: Some(BTreeSet::from(["q".parse().unwrap()])),
        rate: Some(rate(100, 1000)),
    };
    assert_eq!(key.grant, expected);
    let least = request::new_key(&Bytes::from_static(br#"{"name":"x","scopes":["admin"]}"#)).unwrap();
    assert_eq!(least.expires_at, None);
    assert_eq!(least.grant, Grant { scopes: BTreeSet::from([Scope::Admin]), ..Grant::default() });
}

#[test]
fn each_field_of_a_new_key_is_refused_by_its_name_and_range() {
    let long = "n".repeat(65);
    let names = format!("[{}]", vec!["\"a\""; 101].join(","));
    let cases = [
        ("", "", "/name: is missing"),
        ("name", "\"\"", "must be a string of 1 to 64 characters"),
        ("name", &format!("\"{long}\""), "must be a string of 1 to 64 characters"),
        ("name", r#""a\nb""#, "without control characters"),
        ("name", "5", "must be a string of 1 to 64 characters"),
        ("scopes", "[]", r#"must be an array of one or more of "submit", "read", "operate", "admin""#),
        ("scopes", "\"read\"", "must be an array of one or more of"),
        ("scopes", "[\"Read\"]", "must be an array of one or more of"),
        ("scopes", "null", "must be an array of one or more of"),
        ("namespace", "\"A\"", "must match [a-z0-9][a-z0-9._-]{0,63}"),
        ("namespace", "null", "must be a string"),
        ("jobs", "[]", "must be an array of 1 to 100 strings"),
        ("jobs", &names, "must be an array of 1 to 100 strings"),
        ("jobs", "[\"../x\"]", "that match [a-z0-9][a-z0-9._-]{0,63}"),
        ("queues", "[]", "must be an array of 1 to 100 strings"),
        ("queues", "[1]", "must be an array of 1 to 100 strings"),
        ("rate", "5", "must be an object"),
        ("rate", "{\"per\":\"1s\"}", "/rate/requests: is missing"),
        ("rate", "{\"requests\":0,\"per\":\"1s\"}", "must be an integer from 1 to 1000000"),
        ("rate", "{\"requests\":1000001,\"per\":\"1s\"}", "must be an integer from 1 to 1000000"),
        ("rate", "{\"requests\":1,\"per\":\"999ms\"}", "must be a duration from 1s to 1d"),
        ("rate", "{\"requests\":1,\"per\":\"25h\"}", "must be a duration from 1s to 1d"),
        ("rate", "{\"requests\":1,\"per\":\"1s\",\"burst\":2}", "/rate/burst: is not a known field"),
        ("expires_at", "\"tomorrow\"", "must be a time in RFC 3339"),
        ("expires_at", "5", "must be a time in RFC 3339"),
        ("scope", "[]", "did you mean \"scopes\"?"),
    ];
    for (field, value, rule) in cases {
        let mut fields = vec![("name", "\"n\""), ("scopes", "[\"read\"]")];
        fields.retain(|(name, _)| *name != field && !(field.is_empty() && *name == "name"));
        if !field.is_empty() {
            fields.push((field, value));
        }
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let body = Bytes::from(format!("{{{}}}", fields.join(",")));
        let refused = request::new_key(&body).unwrap_err();
        assert!(refused.detail.starts_with(&format!("/{field}")), "{field} {value}: {refused}");
        assert!(refused.detail.contains(rule), "{field} {value}: {refused}");
    }
}
