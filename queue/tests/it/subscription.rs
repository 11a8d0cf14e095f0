//! What is said on a channel, and which keys there are, as a store tells it.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use sentinel_queue::{
    Queue,
    store::{Heard, Store, Subscription, embedded::Embedded, redis::Redis},
};
use sentinel_testkit::{RedisServer, wait_for};

use crate::bench::new_task;

const CHANNEL: Bytes = Bytes::from_static(b"{s0}:a channel");

/// A dead connection must be noticed, and a new one be made, within this.
const NOTICED: Duration = Duration::from_secs(10);

pub(crate) async fn heard(listener: &mut Subscription) -> Heard {
    tokio::time::timeout(Duration::from_secs(20), listener.next()).await.expect("something is heard")
}

async fn hears_nothing(listener: &mut Subscription) -> bool {
    tokio::time::timeout(Duration::from_millis(200), listener.next()).await.is_err()
}

fn message(text: &impl ToString) -> Heard {
    Heard::Message(Bytes::from(text.to_string()))
}

fn connect(server: &RedisServer) -> redis::Connection {
    redis::Client::open(server.url()).unwrap().get_connection().unwrap()
}

fn publish(connection: &mut redis::Connection, text: &impl ToString) {
    redis::cmd("PUBLISH").arg(&CHANNEL[..]).arg(text.to_string()).exec(connection).unwrap();
}

/// The connections of listeners.
fn listeners(connection: &mut redis::Connection) -> usize {
    let list: String = redis::cmd("CLIENT").arg("LIST").arg("TYPE").arg("pubsub").query(connection).unwrap();
    list.lines().count()
}

async fn the_first_thing_heard_is_a_gap(store: &dyn Store) {
    let mut listeners = [store.subscribe(CHANNEL), store.subscribe(CHANNEL)];
    for listener in &mut listeners {
        assert_eq!(heard(listener).await, Heard::Gap);
        assert!(hears_nothing(listener).await);
    }
}

#[tokio::test]
async fn the_first_thing_heard_is_a_gap_on_redis() {
    let server = RedisServer::start(&[]);
    the_first_thing_heard_is_a_gap(&Redis::new(&server.url()).unwrap()).await;
}

#[tokio::test]
async fn the_first_thing_heard_is_a_gap_embedded() {
    the_first_thing_heard_is_a_gap(&Embedded::in_memory()).await;
}

#[tokio::test]
async fn messages_are_heard_in_order_and_byte_for_byte() {
    let server = RedisServer::start(&[]);
    let mut speaker = connect(&server);
    let store = Redis::new(&server.url()).unwrap();
    publish(&mut speaker, &"early");
    let mut listener = store.subscribe(CHANNEL);
    let _other = store.subscribe(Bytes::from_static(b"another"));
    assert_eq!(heard(&mut listener).await, Heard::Gap);
    redis::cmd("PUBLISH").arg("another").arg("not this").exec(&mut speaker).unwrap();
    for number in 0..500 {
        publish(&mut speaker, &number);
    }
    for number in 0..500 {
        assert_eq!(heard(&mut listener).await, message(&number));
    }
    redis::cmd("PUBLISH").arg(&CHANNEL[..]).arg(b"\0\xff\r\n").exec(&mut speaker).unwrap();
    assert_eq!(heard(&mut listener).await, Heard::Message(Bytes::from_static(b"\0\xff\r\n")));
    assert!(hears_nothing(&mut listener).await);
}

#[tokio::test]
async fn a_listener_on_redis_that_is_too_slow_hears_a_gap_and_then_the_latest() {
    let server = RedisServer::start(&[]);
    let mut speaker = connect(&server);
    let store = Redis::new(&server.url()).unwrap();
    let mut listener = store.subscribe(CHANNEL);
    assert_eq!(heard(&mut listener).await, Heard::Gap);
    // The connection is read while nobody listens.
    let speaking = tokio::task::spawn_blocking(move || {
        for number in 0..5000 {
            publish(&mut speaker, &number);
        }
    });
    speaking.await.unwrap();
    // It may not have been read to its end yet.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut last = heard(&mut listener).await;
    assert_eq!(last, Heard::Gap);
    while last != message(&4999) {
        last = heard(&mut listener).await;
    }
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_a_gap_is_heard() {
    let server = RedisServer::start(&[]);
    let mut speaker = connect(&server);
    let store = Redis::new(&server.url()).unwrap();
    let mut listener = store.subscribe(CHANNEL);
    assert_eq!(heard(&mut listener).await, Heard::Gap);
    for round in 0..3 {
        publish(&mut speaker, &round);
        assert_eq!(heard(&mut listener).await, message(&round));
        let killed: usize =
            redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").query(&mut speaker).unwrap();
        assert_eq!(killed, 1);
        let since = Instant::now();
        assert_eq!(heard(&mut listener).await, Heard::Gap);
        assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    }
    publish(&mut speaker, &"at last");
    assert_eq!(heard(&mut listener).await, message(&"at last"));
}

#[tokio::test]
async fn a_listener_waits_for_a_server_that_is_away() {
    let mut server = RedisServer::start(&[]);
    let store = Redis::new(&server.url()).unwrap();
    server.kill();
    let mut listener = store.subscribe(CHANNEL);
    assert!(hears_nothing(&mut listener).await);
    server.start_again();
    assert_eq!(heard(&mut listener).await, Heard::Gap);
    publish(&mut connect(&server), &"there");
    assert_eq!(heard(&mut listener).await, message(&"there"));
}

/// Stands between a store and its server; once told so, it lets the connections that there are
/// fall silent, without closing them.
fn between(server: &RedisServer, silent: &Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let (port, silent) = (server.port(), Arc::clone(silent));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", port)).unwrap());
            let after_silence = silent.load(Ordering::Relaxed);
            for (from, to) in [(&client, &server), (&server, &client)] {
                let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                let silent = Arc::clone(&silent);
                std::thread::spawn(move || {
                    copy(from, to, || !after_silence && silent.load(Ordering::Relaxed));
                });
            }
        }
    });
    url
}

fn copy(mut from: TcpStream, mut to: TcpStream, is_silent: impl Fn() -> bool) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if !is_silent() && to.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_noticed() {
    let server = RedisServer::start(&[]);
    let silent = Arc::new(AtomicBool::new(false));
    let store = Redis::new(&between(&server, &silent)).unwrap();
    let mut listener = store.subscribe(CHANNEL);
    assert_eq!(heard(&mut listener).await, Heard::Gap);
    silent.store(true, Ordering::Relaxed);
    let mut speaker = connect(&server);
    publish(&mut speaker, &"lost");
    let since = Instant::now();
    assert_eq!(heard(&mut listener).await, Heard::Gap);
    assert!(since.elapsed() < NOTICED, "{:?}", since.elapsed());
    publish(&mut speaker, &"heard");
    assert_eq!(heard(&mut listener).await, message(&"heard"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_subscription_frees_its_connection() {
    let server = RedisServer::start(&[]);
    let mut connection = connect(&server);
    let store = Redis::new(&server.url()).unwrap();
    let mut kept = store.subscribe(CHANNEL);
    let mut dropped: Vec<_> = (0..5).map(|_| store.subscribe(CHANNEL)).collect();
    for listener in &mut dropped {
        assert_eq!(heard(listener).await, Heard::Gap);
    }
    assert_eq!(heard(&mut kept).await, Heard::Gap);
    assert_eq!(listeners(&mut connection), 6);
    drop(dropped);
    wait_for("the end of the connections", || (listeners(&mut connection) == 1).then_some(()));
    publish(&mut connection, &"still");
    assert_eq!(heard(&mut kept).await, message(&"still"));
    // Also one that was given up before it was in force.
    drop((store.subscribe(CHANNEL), kept));
    wait_for("the end of all connections", || (listeners(&mut connection) == 0).then_some(()));
}

/// All that is answered from the first call to the last; `between` comes after each call.
async fn scan_all(store: &dyn Store, prefix: &[u8], between: impl AsyncFn()) -> BTreeSet<Vec<u8>> {
    let (mut all, mut cursor) = (BTreeSet::new(), None);
    loop {
        let (keys, next) = store.scan(Bytes::copy_from_slice(prefix), cursor).await.unwrap();
        assert!(keys.iter().all(|key| key.starts_with(prefix)));
        all.extend(keys.into_iter().map(Vec::from));
        between().await;
        cursor = next;
        if cursor.is_none() {
            return all;
        }
    }
}

/// `keys` are all that the store holds, asked another way.
async fn all_keys_are_listed(store: Arc<dyn Store>, mut keys: impl FnMut() -> BTreeSet<Vec<u8>>) {
    let queue = Queue::new(Arc::clone(&store));
    let submit = async |count: usize| {
        let tasks: Vec<_> = (0..count).map(|_| new_task(0)).collect();
        queue.submit(&tasks).await.unwrap();
    };
    for _ in 0..30 {
        submit(100).await;
    }
    let before = keys();
    assert!(before.len() >= 3000);
    let longest = before.iter().max_by_key(|key| key.len()).unwrap();
    for prefix in [b"".as_slice(), b"{s0}:", &longest[..longest.len() / 4], longest, b"{s0}:*", b"x"] {
        let expected = before.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
        assert_eq!(scan_all(&*store, prefix, async || ()).await, expected);
    }
    // Those that come in between may be answered, and hide none.
    let scanned = scan_all(&*store, b"{s0}:", async || submit(20).await).await;
    assert!(before.is_subset(&scanned));
}

#[tokio::test]
async fn all_keys_are_listed_by_redis() {
    let server = RedisServer::start(&[]);
    let mut connection = connect(&server);
    let store = Arc::new(Redis::new(&server.url()).unwrap());
    all_keys_are_listed(store, || redis::cmd("KEYS").arg("*").query(&mut connection).unwrap()).await;
}

#[tokio::test]
async fn all_keys_are_listed_by_the_embedded_home() {
    let store = Arc::new(Embedded::in_memory());
    all_keys_are_listed(store.clone(), || store.dump().into_keys().collect()).await;
}

#[tokio::test]
async fn a_prefix_is_no_pattern() {
    let server = RedisServer::start(&[]);
    let mut connection = connect(&server);
    let strange: [&[u8]; 12] =
        [b"*", b"?", b"[a]", b"[^a]", b"[a-c]", b"\\", b"\\*", b"{a,b}", b"^", b"-", b"\xff\0", b"abc"];
    for key in strange {
        redis::cmd("SET").arg([key, b"end"].concat()).arg(1).exec(&mut connection).unwrap();
    }
    let store = Redis::new(&server.url()).unwrap();
    for prefix in strange {
        let found = scan_all(&store, prefix, async || ()).await;
        let expected =
            strange.iter().filter(|key| key.starts_with(prefix)).map(|key| [key, b"end".as_slice()].concat());
        assert_eq!(found, expected.collect(), "{}", prefix.escape_ascii());
    }
}
