//! The embedded home by itself; that it behaves as the other does is shown in `tests/it/`.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use redb::{Database, ReadableDatabase};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::{
    Embedded, commands,
    database::Handle,
    dump::Value,
    keyspace::{Keyspace, ROWS},
    lua::Interpreter,
    writer::{Call, Job, Taker, Which},
};
use crate::store::{Durability, Heard, Reply, Script, Store, StoreError, Subscription};

const SOON: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(60);

/// Runs a script's source in a transaction of its own.
fn eval(database: &Database, source: &str) -> Result<Reply, StoreError> {
    let interpreter = Interpreter::new();
    let transaction = database.begin_write().unwrap();
    let mut keyspace = Keyspace::over(transaction.open_table(ROWS).unwrap());
    let answer = interpreter.serve(
        |command, args| commands::write(&mut keyspace, command, args),
        |interpreter| interpreter.eval(source, &[]),
    );
    drop(keyspace);
    transaction.commit().unwrap();
    answer
}

fn eval_reading(database: &Database, source: &str) -> Result<Reply, StoreError> {
    let transaction = database.begin_read().unwrap();
    let keyspace = Keyspace::over(transaction.open_table(ROWS).unwrap());
    Interpreter::new().serve(
        |command, args| commands::read(&keyspace, command, args),
        |interpreter| interpreter.eval(source, &[]),
    )
}

fn memory() -> Arc<Database> {
    Handle::in_memory().get().unwrap()
}

fn shown(answer: &Result<Reply, StoreError>) -> String {
    match answer {
        Ok(Reply::Nil) => "nil".into(),
        Ok(Reply::Int(number)) => number.to_string(),
        Ok(Reply::Bytes(bytes)) => format!("'{}'", bytes.escape_ascii()),
        Ok(Reply::Array(items)) => {
            let items: Vec<_> = items.iter().map(|item| shown(&Ok(item.clone()))).collect();
            format!("[{}]", items.join(", "))
        }
        Err(StoreError::Broken(text)) => {
            let text = text.trim_start_matches("test: ").split(" (test:").next();
            format!("! {}", text.unwrap_or_default())
        }
        Err(other) => panic!("{other}"),
    }
}

/// What Redis says of the calling script, not of the command; ours differs.
fn is_of_the_caller(error: &str) -> bool {
    ["! ERR Wrong number of args", "! ERR user_script", "! ERR Lua redis lib", "! ERR a table"]
        .iter()
        .any(|start| error.starts_with(start))
}

#[test]
fn scripts_get_the_replies_that_redis_gives() {
    let database = memory();
    for case in
        include_str!("tests/cases.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (source, expected) = case.split_once(" => ").expect("a case has a reply");
        let ours = shown(&eval(&database, &format!("local c = redis.call; {source}")));
        if is_of_the_caller(expected) {
            assert!(ours.starts_with("! "), "{source}: {ours}");
        } else {
            assert_eq!(ours, expected, "{source}");
        }
    }
}

#[test]
fn an_error_names_the_script_and_the_command() {
    let database = memory();
    for (source, part) in [
        (
            "return redis.call('GET')",
            "test: ERR wrong number of arguments for 'get' command (test:1: in main chunk)",
        ),
        ("return redis.call('FLUSHALL')", "test: ERR the embedded store has no command FLUSHALL"),
        ("return redis.call('KEYS', '*')", "test: ERR the embedded store has no command KEYS"),
        ("return redis.call('SCAN', 0)", "test: ERR the embedded store has no command SCAN"),
        ("return redis.call('ZCOUNT', 'z', 1, 2)", "test: ERR the embedded store has no command ZCOUNT"),
        (
            "return redis.call('ZREMRANGEBYRANK', 'z', 1, 2)",
            "test: ERR the embedded store removes from the first on, by rank",
        ),
        ("return redis.call('ZRANK', 'z', 'a')", "test: ERR the embedded store has no command ZRANK"),
        ("\nreturn nowhere", "test:2: script attempted to access nonexistent global variable 'nowhere'"),
        ("somewhere = 1", "write the global variable 'somewhere'"),
        ("string = nil", "write the global variable 'string'"),
        ("\nerror('stop')", "test: test:2: stop"),
        ("return (", "test: "),
    ] {
        let Err(StoreError::Broken(text)) = eval(&database, source) else { panic!("{source}") };
        assert!(text.contains(part) && !text.contains('\n'), "{text}");
    }
}

#[test]
fn scripts_have_no_access_to_the_world_or_to_chance() {
    let database = memory();
    for name in
        ["os", "io", "require", "load", "loadstring", "dofile", "pairs", "pcall", "setfenv", "_G", "print"]
    {
        assert!(eval(&database, &format!("return {name}")).is_err(), "{name}");
    }
    assert_eq!(shown(&eval(&database, "return math.random")), "nil");
}

#[test]
fn a_failing_script_keeps_what_it_wrote() {
    let database = memory();
    eval(&database, "redis.call('SET', 'a', 1); error('late')").unwrap_err();
    assert_eq!(shown(&eval(&database, "return redis.call('GET', 'a')")), "'1'");
}

#[test]
fn a_reading_script_cannot_write() {
    let database = memory();
    eval(&database, "redis.call('SET', 'a', 1)").unwrap();
    assert_eq!(shown(&eval_reading(&database, "return redis.call('GET', 'a')")), "'1'");
    let refused = shown(&eval_reading(&database, "return redis.call('SET', 'a', 2)"));
    assert_eq!(refused, "! ERR Write commands are not allowed from read-only scripts: SET");
    let refused = shown(&eval_reading(&database, "return redis.call('PUBLISH', 'a', 2)"));
    assert_eq!(refused, "! ERR Write commands are not allowed from read-only scripts: PUBLISH");
}

#[test]
fn members_are_removed_by_rank_from_the_first_on() {
    let source = "local c = redis.call
        c('ZADD', 'z', 2, 'b', 1, 'c', 3, 'a')
        local removed = c('ZREMRANGEBYRANK', 'z', 0, 1)
        return { removed, c('ZRANGE', 'z', 0, 9), c('ZREMRANGEBYRANK', 'z', 0, 9), c('EXISTS', 'z') }";
    assert_eq!(shown(&eval(&memory(), source)), "[2, ['a'], 1, 0]");
}

#[test]
fn removed_collections_leave_no_rows_behind() {
    use redb::ReadableTableMetadata;
    let database = memory();
    let source = "local c = redis.call
        c('ZADD', 'z', 1, 'a', 2, 'b'); c('ZADD', 'z', 3, 'a'); c('HSET', 'h', 'a', 1, 'b', 2)
        c('ZADD', 'y', 1, 'a'); c('ZPOPMIN', 'y', 5); c('HSET', 'g', 'a', 1); c('HDEL', 'g', 'a')
        c('SET', 'z', 'x'); c('DEL', 'z', 'h')";
    eval(&database, source).unwrap();
    let rows = database.begin_read().unwrap().open_table(ROWS).unwrap().len().unwrap();
    assert_eq!(rows, 0);
}

async fn set_lease(store: &Embedded, length: &'static str) {
    let args = vec![Bytes::new(), Bytes::from_static(length.as_bytes())];
    store.run(Script::SetLease, args).await.unwrap();
}

/// Sets a queue's marker as the scripts do.
async fn submit(store: &Embedded, id: &str, queue: &'static str) {
    let args = [Bytes::new(), Bytes::copy_from_slice(id.as_bytes()), Bytes::from_static(queue.as_bytes())];
    let rest = ["0", "", "header", "body", ""].map(|arg| Bytes::from_static(arg.as_bytes()));
    store.run(Script::Submit, args.into_iter().chain(rest).collect()).await.unwrap();
}

fn markers(queues: &[&str]) -> Vec<Bytes> {
    queues.iter().map(|queue| Bytes::from(format!("{{s0}}:wake:{queue}"))).collect()
}

fn lease_in(store: &Embedded) -> Option<Value> {
    store.dump().remove(b"{s0}:lease".as_slice())
}

#[tokio::test]
async fn what_was_answered_is_there_when_it_is_opened_again() {
    let directory = TempDir::new().unwrap();
    let place = directory.path().join("made/for/it");
    let store = Embedded::open(&place).unwrap();
    assert_eq!(store.check().await.unwrap(), Durability::Always);
    set_lease(&store, "4321").await;
    submit(&store, "a", "ns:q").await;
    let before = store.dump();
    drop(store);
    assert_eq!(Embedded::open(&place).unwrap().dump(), before);
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_crash_and_what_was_not_committed_is_not() {
    let directory = TempDir::new().unwrap();
    let store = Embedded::open(directory.path()).unwrap();
    set_lease(&store, "4321").await;
    let transaction = store.handle.get().unwrap().begin_write().unwrap();
    let mut keyspace = Keyspace::over(transaction.open_table(ROWS).unwrap());
    keyspace.set(b"{s0}:lease", b"1").unwrap();
    // What the disk holds at this moment is what a crash would leave.
    let crashed = directory.path().join("crashed");
    fs::create_dir(&crashed).unwrap();
    fs::copy(directory.path().join("queue.redb"), crashed.join("queue.redb")).unwrap();
    drop(keyspace);
    transaction.abort().unwrap();
    let opened = Embedded::open(&crashed).unwrap();
    assert_eq!(lease_in(&opened), Some(Value::String(b"4321".to_vec())));
}

#[tokio::test]
async fn a_second_opener_is_told_where_and_what_to_do() {
    let directory = TempDir::new().unwrap();
    let store = Embedded::open(directory.path()).unwrap();
    let Err(StoreError::Unfit(text)) = Embedded::open(directory.path()) else { panic!("opened twice") };
    let file = directory.path().join("queue.redb");
    assert_eq!(
        text,
        format!(
            "{} is open in another process: stop that one, or choose another data directory",
            file.display()
        )
    );
    drop(store);
    Embedded::open(directory.path()).unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("queue.redb");
    fs::write(&file, "something else").unwrap();
    assert!(matches!(Embedded::open(directory.path()), Err(StoreError::Unfit(_))));
    assert_eq!(fs::read(&file).unwrap(), b"something else");
}

#[tokio::test]
async fn memory_promises_nothing() {
    assert_eq!(Embedded::in_memory().check().await.unwrap(), Durability::None);
}

#[tokio::test]
async fn a_marker_is_taken_once_from_the_first_key_that_holds_one() {
    let store = Embedded::in_memory();
    let keys = || markers(&["ns:a", "ns:b"]);
    assert!(!store.take_marker(keys(), Duration::ZERO).await.unwrap());
    submit(&store, "1", "ns:b").await;
    submit(&store, "2", "ns:a").await;
    assert!(store.take_marker(keys(), LONG).await.unwrap());
    assert!(store.dump().contains_key(b"{s0}:wake:ns:b".as_slice()));
    assert!(store.take_marker(keys(), LONG).await.unwrap());
    assert!(!store.take_marker(keys(), SOON).await.unwrap());
}

#[tokio::test]
async fn a_waiter_is_woken_and_no_wake_up_is_lost() {
    let store = Arc::new(Embedded::in_memory());
    let since = Instant::now();
    for round in 0..500 {
        let waiting = Arc::clone(&store);
        let waiter = tokio::spawn(async move { waiting.take_marker(markers(&["ns:q"]), LONG).await });
        // Now before the waiter looks, now while it does, now after.
        for _ in 0..round % 7 {
            tokio::task::yield_now().await;
        }
        submit(&store, &round.to_string(), "ns:q").await;
        assert!(waiter.await.unwrap().unwrap());
    }
    assert!(since.elapsed() < LONG);
}

#[tokio::test]
async fn one_marker_wakes_one_of_many() {
    let store = Arc::new(Embedded::in_memory());
    let waiters: Vec<_> = (0..8)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(
                async move { store.take_marker(markers(&["ns:q"]), Duration::from_millis(300)).await },
            )
        })
        .collect();
    tokio::task::yield_now().await;
    submit(&store, "1", "ns:q").await;
    let mut woken = 0;
    for waiter in waiters {
        woken += usize::from(waiter.await.unwrap().unwrap());
    }
    assert_eq!(woken, 1);
}

#[tokio::test]
async fn who_has_gone_takes_no_marker() {
    let store = Embedded::in_memory();
    let keys = || markers(&["ns:q"]);
    let gone = tokio::time::timeout(SOON, store.take_marker(keys(), LONG)).await;
    assert!(gone.is_err());
    submit(&store, "1", "ns:q").await;
    let (answer, dropped) = oneshot::channel();
    drop(dropped);
    store.tell(Job::Take(Taker { keys: keys(), answer }));
    assert!(store.take_marker(keys(), Duration::ZERO).await.unwrap());
}

#[tokio::test]
async fn calls_made_together_are_each_answered() {
    let store = Arc::new(Embedded::in_memory());
    let calls: Vec<_> = (0..3000)
        .map(|id| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { submit(&store, &format!("{id:08}"), "ns:q").await })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    let Some(Value::Zset(ready)) = store.dump().remove(b"{s0}:r:ns:q".as_slice()) else { panic!() };
    assert_eq!(ready.len(), 3000);
}

#[tokio::test]
async fn a_store_that_failed_says_so_at_once_and_comes_back_with_what_it_held() {
    let directory = TempDir::new().unwrap();
    let store = Embedded::open(directory.path()).unwrap();
    set_lease(&store, "4321").await;
    // Somebody who still reads keeps it from being opened again.
    let reader = store.handle.get().unwrap();
    let mut listener = store.subscribe(Bytes::from_static(b"c"));
    assert_eq!(heard(&mut listener).await, Heard::Gap);
    store.tell(Job::Reopen);
    let since = Instant::now();
    while store.check().await.is_ok() {
        tokio::task::yield_now().await;
        assert!(since.elapsed() < LONG);
    }
    let args = vec![Bytes::new(), Bytes::from_static(b"1")];
    assert!(matches!(store.run(Script::SetLease, args).await, Err(StoreError::Unavailable(_))));
    let args = vec![Bytes::new(), Bytes::from_static(b"ns")];
    assert!(matches!(store.run(Script::Stats, args).await, Err(StoreError::Unavailable(_))));
    drop(reader);
    while store.check().await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(since.elapsed() < LONG);
    }
    assert_eq!(lease_in(&store), Some(Value::String(b"4321".to_vec())));
    set_lease(&store, "1").await;
    assert_eq!(heard(&mut listener).await, Heard::Gap);
}

/// Runs a script's source as the store runs scripts.
async fn run(store: &Embedded, source: &'static str, args: Vec<Bytes>) -> Result<Reply, StoreError> {
    store.ask(|answer| Job::Run(Call { script: Which::Source(source), args, answer })).await
}

async fn heard(listener: &mut Subscription) -> Heard {
    tokio::time::timeout(LONG, listener.next()).await.expect("something is heard")
}

async fn hears_nothing(listener: &mut Subscription) -> bool {
    tokio::time::timeout(SOON, listener.next()).await.is_err()
}

fn message(text: &impl ToString) -> Heard {
    Heard::Message(Bytes::from(text.to_string()))
}

#[tokio::test]
async fn a_listener_hears_a_gap_and_then_what_is_said_on_its_channel() {
    let store = Embedded::in_memory();
    run(&store, "redis.call('PUBLISH', 'a', 'early')", vec![]).await.unwrap();
    let mut listener = store.subscribe(Bytes::from_static(b"a"));
    let mut other = store.subscribe(Bytes::from_static(b"a"));
    // Whether anybody listens, a script is answered the same.
    let source = "local c = redis.call
        return { c('PUBLISH', 'a', 1), c('PUBLISH', 'b', 2), c('PUBLISH', 'a', '\\0\\255'), c('PUBLISH', 'a', '') }";
    assert_eq!(shown(&run(&store, source, vec![]).await), "[0, 0, 0, 0]");
    for listener in [&mut listener, &mut other] {
        assert_eq!(heard(listener).await, Heard::Gap);
        assert_eq!(heard(listener).await, message(&1));
        assert_eq!(heard(listener).await, Heard::Message(Bytes::from_static(b"\0\xff")));
        assert_eq!(heard(listener).await, message(&""));
        assert!(hears_nothing(listener).await);
    }
}

#[tokio::test]
async fn what_a_failing_script_said_is_heard() {
    let store = Embedded::in_memory();
    let mut listener = store.subscribe(Bytes::from_static(b"a"));
    let source = "redis.call('PUBLISH', 'a', 1); error('late')";
    assert!(matches!(run(&store, source, vec![]).await, Err(StoreError::Broken(_))));
    run(&store, "redis.call('PUBLISH', 'a', 2)", vec![]).await.unwrap();
    assert_eq!(heard(&mut listener).await, Heard::Gap);
    assert_eq!(heard(&mut listener).await, message(&1));
    assert_eq!(heard(&mut listener).await, message(&2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_heard_of_can_be_read() {
    let directory = TempDir::new().unwrap();
    let store = Arc::new(Embedded::open(directory.path()).unwrap());
    let mut listener = store.subscribe(Bytes::from_static(b"a"));
    let speaking = Arc::clone(&store);
    let speaker = tokio::spawn(async move {
        let source = "redis.call('SET', 'n', ARGV[1]); redis.call('PUBLISH', 'a', ARGV[1])";
        for number in 1..=200 {
            run(&speaking, source, vec![Bytes::from(number.to_string())]).await.unwrap();
        }
    });
    assert_eq!(heard(&mut listener).await, Heard::Gap);
    for number in 1..=200_u32 {
        assert_eq!(heard(&mut listener).await, message(&number));
        let Some(Value::String(there)) = store.dump().remove(b"n".as_slice()) else { panic!("not there") };
        assert!(String::from_utf8(there).unwrap().parse::<u32>().unwrap() >= number);
    }
    speaker.await.unwrap();
}

#[tokio::test]
async fn a_listener_that_is_too_slow_hears_a_gap_and_then_the_latest() {
    let store = Embedded::in_memory();
    let mut listener = store.subscribe(Bytes::from_static(b"a"));
    assert_eq!(heard(&mut listener).await, Heard::Gap);
    run(&store, "for n = 1, 5000 do redis.call('PUBLISH', 'a', n) end", vec![]).await.unwrap();
    assert_eq!(heard(&mut listener).await, Heard::Gap);
    let Heard::Message(first) = heard(&mut listener).await else { panic!("two gaps") };
    let first: u32 = String::from_utf8(first.to_vec()).unwrap().parse().unwrap();
    assert!(first > 1);
    for number in first + 1..=5000 {
        assert_eq!(heard(&mut listener).await, message(&number));
    }
    assert!(hears_nothing(&mut listener).await);
}

#[tokio::test]
async fn a_channel_is_forgotten_with_its_last_listener() {
    let store = Embedded::in_memory();
    let [a, b, c] = [b"x", b"x", b"y"].map(|channel| store.subscribe(Bytes::from_static(channel)));
    assert_eq!(store.channels.len(), 2);
    drop((a, c));
    assert_eq!(store.channels.len(), 1);
    drop(b);
    assert_eq!(store.channels.len(), 0);
    run(&store, "redis.call('PUBLISH', 'x', 1)", vec![]).await.unwrap();
}

#[tokio::test]
async fn keys_are_listed_by_prefix() {
    let store = Embedded::in_memory();
    let source = "for n = 1, 2000 do redis.call('SET', 'a:' .. n, n) end
        redis.call('HSET', 'a;', 'f', 1); redis.call('SET', 'a', 1); redis.call('SET', '\\255\\255x', 1)";
    run(&store, source, vec![]).await.unwrap();
    for (prefix, pages, count) in [
        ("a:".as_bytes(), vec![1000, 1000, 0], 2000),
        (b"a:1", vec![1000, 111], 1111),
        (b"a", vec![1000, 1000, 2], 2002),
        (b"a;", vec![1], 1),
        (b"b", vec![0], 0),
        (b"\xff\xff", vec![1], 1),
        (b"", vec![1000, 1000, 3], 2003),
    ] {
        let (mut sizes, mut all, mut cursor) = (Vec::new(), Vec::new(), None);
        loop {
            let (keys, next) = store.scan(Bytes::from_static(prefix), cursor).await.unwrap();
            sizes.push(keys.len());
            all.extend(keys);
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(sizes, pages, "{}", prefix.escape_ascii());
        assert!(all.iter().all(|key| key.starts_with(prefix)));
        assert!(all.is_sorted_by(|a, b| a < b));
        assert_eq!(all.len(), count);
    }
    // A cursor that is none of ours does no harm.
    let strange = store.scan(Bytes::from_static(b"a"), Some(Bytes::from_static(b"zz"))).await.unwrap();
    assert_eq!(strange, (vec![], None));
}
