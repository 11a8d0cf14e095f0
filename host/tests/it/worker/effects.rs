//! What jobs do through the store, by a real worker with a real component (`plugins/ledger`).

use std::time::Duration;

use sentinel_queue::{
    ErrorKind, Namespace, NewTask, Status, Task, TaskId,
    task::{Lineage, TaskState},
};
use serde_json::{Value, json};

use super::rig::{Home, Rig, task};

fn ledger(act: &Value) -> NewTask {
    let mut payload = act.clone();
    payload["job"] = json!("ledger");
    task(&payload.to_string())
}

async fn run(rig: &Rig, act: &Value) -> Task {
    let id = rig.submit(ledger(act)).await;
    rig.ended(id).await
}

fn result(task: &Task) -> Value {
    match &task.state {
        TaskState::Completed { result, .. } => serde_json::from_slice(result).unwrap(),
        other => panic!("not completed: {other:?}"),
    }
}

fn failure(task: &Task) -> (ErrorKind, &str) {
    match &task.state {
        TaskState::Failed { error, .. } => (error.kind, &error.report.message),
        other => panic!("not failed: {other:?}"),
    }
}

async fn get(rig: &Rig, key: &str) -> Value {
    result(&run(rig, &json!({ "do": "get", "key": key })).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_is_there_for_later_tasks_when_an_attempt_completes_and_not_when_it_fails() {
    let rig = Rig::start(Home::Redis, 4);
    let set =
        async |key: &str, then: &str| run(&rig, &json!({ "do": "set-and", "key": key, "then": then })).await;
    let task = set("a", "complete").await;
    assert_eq!(get(&rig, "a").await, json!(task.definition.id.to_string()));
    set("b", "fail").await;
    assert_eq!(get(&rig, "b").await, Value::Null);
    let mut trap = ledger(&json!({ "do": "set-and", "key": "c", "then": "trap" }));
    trap.spec.policy.max_attempts = Some(1);
    let trap = rig.submit(trap).await;
    assert_eq!(failure(&rig.ended(trap).await).0, ErrorKind::Trap);
    assert_eq!(get(&rig, "c").await, Value::Null);
    let again = set("d", "fail-once").await;
    assert_eq!(get(&rig, "d").await, json!(again.definition.id.to_string()));
    // An attempt sees what it did itself.
    let count = json!({ "do": "get-and-count", "key": "n", "by": 3 });
    assert_eq!(result(&run(&rig, &count).await), json!([null, 3]));
    assert_eq!(result(&run(&rig, &count).await), json!([3, 6]));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_at_the_same_time_conserve_the_sum() {
    const TASKS: usize = 150;
    const ACCOUNTS: usize = 4;
    let rig = Rig::start(Home::Embedded, 16);
    let account = |number: usize| format!("account{}", number % ACCOUNTS);
    let transfers = (0..TASKS).map(|number| {
        let (from, to) = (account(number), account(number * 7 + 1 + number / 4));
        let mut task =
            ledger(&json!({ "do": "transfer", "from": from, "to": to, "amount": number % 13, "ms": 2 }));
        task.spec.policy.max_attempts = Some(1000);
        task
    });
    let ids: Vec<TaskId> = {
        let mut ids = Vec::new();
        for transfer in transfers {
            ids.push(rig.submit(transfer).await);
        }
        ids
    };
    let mut conflicts = 0;
    for id in ids {
        let task = rig.ended(id).await;
        result(&task);
        conflicts += task.progression.ended;
    }
    assert!(conflicts > 10, "they were in each other's way: {conflicts}");
    let mut sum = 0;
    for number in 0..ACCOUNTS {
        sum += get(&rig, &account(number)).await.as_i64().unwrap_or(1000);
    }
    assert_eq!(sum, 1000 * 4);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_at_the_same_time_all_count_at_the_first_try() {
    let rig = Rig::start(Home::Redis, 16);
    let mut ids = Vec::new();
    for _ in 0..200 {
        ids.push(rig.submit(ledger(&json!({ "do": "count", "key": "n", "by": 1 }))).await);
    }
    for id in ids {
        assert_eq!(rig.ended(id).await.progression.ended, 0, "no conflict");
    }
    assert_eq!(get(&rig, "n").await, json!(200));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_are_submitted_once_with_their_parents_completion() {
    let rig = Rig::start(Home::Redis, 4);
    let child =
        json!({ "payload": { "job": "ledger", "do": "get", "key": "x" }, "priority": 7, "tags": ["t"] });
    let submit = |tasks: Value, then: &str| json!({ "do": "submit", "tasks": tasks, "then": then });
    let parent = run(&rig, &submit(json!([child, child]), "fail-once")).await;
    assert_eq!(parent.progression.ended, 1, "its first attempt failed");
    let ids: Vec<TaskId> = serde_json::from_value::<Vec<String>>(result(&parent))
        .unwrap()
        .iter()
        .map(|id| id.parse().unwrap())
        .collect();
    for &id in &ids {
        let child = rig.ended(id).await;
        let spec = &child.definition.spec;
        let lineage = Lineage { parent: parent.definition.id, root: parent.definition.id, depth: 1 };
        assert_eq!(
            (spec.lineage, spec.priority.get(), spec.tags.to_string()),
            (Some(lineage), 7, "t".into())
        );
    }
    let counts = rig.queue.counts(&Namespace::default()).await.unwrap();
    assert_eq!(counts.ever("submitted"), 3, "nothing of the attempt that failed");
    run(&rig, &submit(json!([child]), "fail")).await;
    assert_eq!(rig.queue.counts(&Namespace::default()).await.unwrap().ever("submitted"), 4);

    let refused = async |task: Value| result(&run(&rig, &submit(json!([task]), "complete")).await);
    for (task, word) in [
        (json!({ "payload": { "job": "other" } }), "[grants.ledger]"),
        (json!({ "payload": { "job": "ledger" }, "priority": 5000 }), "/priority"),
        (json!({ "payload": { "job": "ledger" }, "idempotency_key": "k" }), "/idempotency_key"),
        (json!({ "payload": {} }), "/payload/job"),
        (json!([]), "expected a JSON object"),
    ] {
        let said = refused(task.clone()).await;
        assert!(said.as_str().is_some_and(|said| said.contains(word)), "{task}: {said}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_granted_may_be_submitted() {
    let mut rig = Rig::prepare(Home::Embedded, 2);
    rig.config.submits.insert("ledger".parse().unwrap(), ["other".parse().unwrap()].into());
    rig.work();
    let act = json!({ "do": "submit", "tasks": [{ "payload": { "job": "other" } }], "then": "complete" });
    let parent = run(&rig, &act).await;
    let id: TaskId = result(&parent)[0].as_str().unwrap().parse().unwrap();
    assert_eq!(rig.queue.get(id).await.unwrap().unwrap().definition.spec.job.as_str(), "other");
    rig.stop().await;
}

/// Case 12 of "Abuse", and its neighbours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_12_too_many_effects_fail_the_task_and_commit_nothing() {
    let rig = Rig::start(Home::Embedded, 4);
    let too_many: Vec<Value> = vec![json!({ "payload": { "job": "ledger", "do": "get", "key": "x" } }); 1001];
    let too_large = json!({ "payload": { "job": "ledger", "pad": "x".repeat(900_000) } });
    for (act, word) in [
        (json!({ "do": "submit", "tasks": too_many, "then": "complete" }), "more than 1000 tasks"),
        (json!({ "do": "fill", "keys": 17, "bytes": 65536 }), "1048576 bytes of state"),
        (json!({ "do": "fill", "keys": 1, "bytes": 65537 }), "65537 bytes"),
        (json!({ "do": "fill", "keys": 1001, "bytes": 1 }), "1000 keys"),
        (json!({ "do": "count", "key": "k".repeat(257), "by": 1 }), "256 bytes"),
        (json!({ "do": "count", "key": "", "by": 1 }), "256 bytes"),
        (json!({ "do": "count", "key": "n", "by": i64::MAX }), "9007199254740991"),
        (json!({ "do": "save", "bytes": 1_100_000 }), "1048576 are allowed"),
    ] {
        let task = run(&rig, &act).await;
        let (kind, message) = failure(&task);
        assert_eq!(kind, ErrorKind::EffectLimit, "{message}");
        assert!(message.contains(word), "{message}");
        assert_eq!(task.progression.ended, 0, "it is not tried again");
    }
    // Larger than a payload may be: in five of them.
    let act = json!({ "do": "submit", "tasks": [too_large], "then": "complete" });
    result(&run(&rig, &act).await);
    assert_eq!(get(&rig, "fill0").await, Value::Null);
    let counts = rig.queue.counts(&Namespace::default()).await.unwrap();
    assert_eq!(counts.ever("submitted"), 11, "eight, the one with a child, the child, and the look");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generations_are_bounded() {
    let rig = Rig::start(Home::Embedded, 8);
    rig.submit(ledger(&json!({ "do": "fan", "width": 1, "depth": 20 }))).await;
    let namespace = Namespace::default();
    let failed = async || rig.queue.counts(&namespace).await.unwrap().of(Status::Failed) == 1;
    while !failed().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let counts = rig.queue.counts(&namespace).await.unwrap();
    // The first of the family, and sixteen generations, of which the last may have none.
    assert_eq!((counts.of(Status::Completed), counts.of(Status::Failed)), (16, 1));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_goes_on_where_the_last_attempt_was_and_with_its_effects() {
    let rig = Rig::start(Home::Redis, 2);
    // Each attempt has time for some steps, and none for all.
    let mut new = ledger(&json!({ "do": "steps", "steps": 10, "ms": 100 }));
    new.spec.policy.timeout = Some(Duration::from_millis(450));
    new.spec.policy.max_attempts = Some(20);
    new.spec.policy.backoff =
        Some(sentinel_queue::Backoff { base: Duration::ZERO, ..sentinel_queue::Backoff::default() });
    let id = rig.submit(new).await;
    let task = rig.ended(id).await;
    assert!(result(&task).as_u64() > Some(0), "the last attempt began where another was");
    assert!(task.progression.ended >= 2, "{task:?}");
    for step in 0..10 {
        assert_eq!(get(&rig, &format!("{id}:{step}")).await, json!(1), "step {step} was done once");
    }
    let counts = rig.queue.counts(&Namespace::default()).await.unwrap();
    assert_eq!(counts.ever("submitted"), 1 + 10 + 10, "each step's task was submitted once");
    assert_eq!(rig.queue.load(id).await.unwrap(), None);
    rig.stop().await;
}
