//! Stores that are looked at and not changed: a store on disk, and what Redis says of itself.

use std::{fs, sync::Arc, time::Duration};

use sentinel_queue::{
    Namespace, Queue,
    store::{
        Durability, StoreError,
        embedded::{CannotRead, Embedded, ReadOnly},
        redis::Redis,
    },
};
use sentinel_testkit::RedisServer;

#[tokio::test]
async fn a_store_on_disk_is_read_without_a_change_and_never_beside_a_writer() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(ReadOnly::open(dir.path()), Err(CannotRead::Unfit(_))), "there is none");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "none is made");
    let queue = Queue::new(Arc::new(Embedded::open(dir.path()).unwrap()));
    let queue_name = "slow".parse().unwrap();
    queue.pause(&Namespace::default(), &queue_name).await.unwrap();
    assert!(matches!(ReadOnly::open(dir.path()), Err(CannotRead::Held)));
    drop(queue);

    let file = dir.path().join(Embedded::FILE);
    let before = fs::read(&file).unwrap();
    let looking = Queue::new(Arc::new(ReadOnly::open(dir.path()).unwrap()));
    let queues = looking.queues(&Namespace::default()).await.unwrap();
    assert!(queues.len() == 1 && queues[0].paused, "{queues:?}");
    let refused = looking.resume(&Namespace::default(), &queue_name).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unfit(_)), "{refused}");
    assert!(matches!(Embedded::open(dir.path()), Err(StoreError::Unfit(_))), "it is being read");
    drop(looking);
    assert!(fs::read(&file).unwrap() == before, "not a byte is changed");
    Embedded::open(dir.path()).unwrap();
}

#[tokio::test]
async fn what_redis_says_of_itself_is_what_it_is_judged_by() {
    let server = RedisServer::start(&[
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--maxmemory",
        "50mb",
        "--maxmemory-policy",
        "volatile-lru",
    ]);
    let redis = Redis::new(&server.url()).unwrap();
    let facts = redis.facts().await.unwrap();
    assert_eq!(facts.durability(), Durability::Always);
    assert!(facts.version().is_ok() && !facts.is_replica() && !facts.has_failing_log());
    let said = facts.eviction().unwrap_err().to_string();
    assert_eq!(
        Queue::new(Arc::new(Redis::new(&server.url()).unwrap())).check().await.unwrap_err().to_string(),
        said
    );
    let memory = facts.memory();
    assert_eq!(memory.limit, Some(50 << 20));
    assert!(memory.used > 0 && memory.machine.is_some_and(|machine| machine > memory.used), "{memory:?}");
    let asked = redis.clock().await.unwrap();
    let apart = asked.clock.duration_since(asked.here).unwrap_or_else(|behind| behind.duration());
    assert!(apart <= asked.round_trip + Duration::from_millis(1), "it is the same clock: {asked:?}");
}
