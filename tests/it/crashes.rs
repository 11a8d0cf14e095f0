//! Processes that are killed: nothing accepted is lost, nothing is settled twice.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use sentinel_testkit::wait_for;

use crate::cluster::{Api, Process, Stack, free_address, plugins};

/// Three workers with two slots each, default leases; each second for ten seconds one of them is
/// killed while it holds leases, and replaced.
#[test]
fn workers_that_are_killed_again_and_again_lose_nothing() {
    const KILLS: u32 = 10;
    // Six slots, a tenth of a second each, for about twenty seconds.
    const TASKS: usize = 1200;
    let stack = Stack::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let api = stack.api;
    let worker = || stack.worker(&["--concurrency", "2"]);
    let mut workers = [worker(), worker(), worker()];
    api.wait_until_ready(3);
    let body = r#"{"payload":{"job":"hostile","do":"sleep","ms":100}}"#;
    let ids: Vec<_> = (0..TASKS).map(|_| api.submit(body)).collect();

    let mut watch = Watch::new(&stack);
    let mut with_leases = 0;
    for round in 0..KILLS {
        let next = Instant::now() + Duration::from_secs(1);
        let victim = &mut workers[round as usize % 3];
        let pid = victim.pid();
        let held = wait_for("the victim's leases", || {
            let held = watch.held_by(api, pid);
            (!held.is_empty() || Instant::now() >= next).then_some(held)
        });
        victim.kill();
        with_leases += u32::from(!held.is_empty());
        watch.killed(&held);
        *victim = worker();
        // The rhythm is the case's: one kill a second.
        while Instant::now() < next {
            watch.look();
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert!(with_leases >= 8, "only {with_leases} kills hit a worker that held leases");

    let patience = Instant::now() + Duration::from_secs(90);
    while api.count("COMPLETED") < TASKS as u64 {
        watch.look();
        assert!(Instant::now() < patience, "stuck: {}", api.get("/stats").text());
        std::thread::sleep(Duration::from_millis(5));
    }
    let waits = watch.waits();
    let stats = api.get("/stats").json();
    assert_eq!(stats["status_counts"]["COMPLETED"], TASKS);
    assert_eq!(stats["status_counts"]["FAILED"], 0);
    assert_eq!(watch.settled(), TASKS as u64, "none was settled twice");
    let run_again = ids.iter().filter(|id| api.task(id)["attempt"].as_u64() > Some(1)).count();
    assert!(run_again > 0);
    println!(
        "{with_leases} kills with leases held; {run_again} tasks ran again; they waited (s): {waits:.1?}"
    );
    let longest = waits.iter().copied().fold(0.0, f64::max);
    assert!(longest <= 12.0, "a lost task waited {longest:.1} s");
    for worker in &mut workers {
        assert_eq!(worker.terminate(), Some(0));
    }
}

/// Sees in Redis which leases a worker held when it was killed, and when those tasks are claimed
/// again.
struct Watch {
    redis: redis::Connection,
    lost: HashMap<String, (String, Instant)>,
    waits: Vec<f64>,
}

impl Watch {
    fn new(stack: &Stack) -> Self {
        Self { redis: stack.connection(), lost: HashMap::new(), waits: Vec::new() }
    }

    fn runs(&mut self) -> HashMap<String, String> {
        redis::cmd("HGETALL").arg("{s0}:run").query(&mut self.redis).unwrap()
    }

    /// The leases of the worker with this process id, each with its claim.
    fn held_by(&mut self, api: Api, pid: u32) -> Vec<(String, String)> {
        let workers = api.get("/v1/workers").json();
        let mut workers = workers["workers"].as_array().unwrap().iter();
        let Some(worker) = workers.find(|worker| worker["pid"] == pid) else { return Vec::new() };
        let prefix = format!("{}-", worker["instance"].as_str().unwrap());
        self.runs().into_iter().filter(|(_, run)| run.starts_with(&prefix)).collect()
    }

    /// What of it is still held after the kill was lost with the worker.
    fn killed(&mut self, held: &[(String, String)]) {
        let runs = self.runs();
        for (id, run) in held {
            if runs.get(id) == Some(run) {
                self.lost.insert(id.clone(), (run.clone(), Instant::now()));
            }
        }
    }

    fn look(&mut self) {
        if self.lost.is_empty() {
            return;
        }
        let runs = self.runs();
        let waits = &mut self.waits;
        self.lost.retain(|id, (run, since)| {
            let again = runs.get(id).is_some_and(|now| now != run);
            if again {
                waits.push(since.elapsed().as_secs_f64());
            }
            !again
        });
    }

    /// How long each lost task waited to run again.
    fn waits(&mut self) -> Vec<f64> {
        // What was claimed and done between two looks has been claimed by now.
        let rest = std::mem::take(&mut self.lost);
        self.waits.extend(rest.into_values().map(|(_, since)| since.elapsed().as_secs_f64()));
        self.waits.clone()
    }

    /// How many settlements completed a task.
    fn settled(&mut self) -> u64 {
        redis::cmd("HGET").arg("{s0}:stats").arg("default:COMPLETED").query(&mut self.redis).unwrap()
    }
}

#[test]
fn a_dev_server_that_is_killed_in_the_middle_of_submits_keeps_every_acknowledged_task() {
    const TASKS: usize = 1000;
    let dir = tempfile::tempdir().unwrap();
    plugins(dir.path());
    let (api, address) = free_address();
    let start = || Process::start(&["dev", "--listen", &address], dir.path());
    let mut dev = start();
    api.wait_until_ready(1);

    let mut acknowledged = HashSet::new();
    for number in 0..TASKS {
        if number == TASKS / 2 {
            let victim = std::thread::spawn(move || {
                dev.kill();
            });
            // The rest meets a server that is dying, dead, or starting.
            submit_some(api, 50, &mut acknowledged);
            victim.join().unwrap();
            dev = start();
            api.wait_until_ready(1);
        }
        submit_some(api, 1, &mut acknowledged);
    }
    assert!(acknowledged.len() >= TASKS, "{} were acknowledged", acknowledged.len());
    for id in &acknowledged {
        let task = api.get(&format!("/v1/tasks/{id}?wait=60s")).json();
        assert_eq!(task["status"], "COMPLETED", "{task}");
    }
    assert_eq!(dev.terminate(), Some(0));
}

fn submit_some(api: Api, count: usize, acknowledged: &mut HashSet<String>) {
    for _ in 0..count {
        let body = r#"{"payload":{"job":"example-task"}}"#;
        if let Ok(answer) = api.request("POST", "/submit-task", Some(body))
            && answer.status == 200
        {
            acknowledged.insert(answer.json()["task_id"].as_str().unwrap().to_owned());
        }
    }
}

#[test]
fn a_worker_that_is_told_to_stop_under_load_burns_no_attempt() {
    const TASKS: usize = 3000;
    let stack = Stack::start(&[]);
    let api = stack.api;
    let worker = || stack.worker(&["--concurrency", "4", "--grace", "100ms"]);
    let mut first = worker();
    api.wait_until_ready(1);
    api.post("/v1/queues/default/pause", "");
    // Two that outlast the grace period, and so many short ones that the worker never rests.
    let long = r#"{"payload":{"job":"hostile","do":"sleep","ms":700},"priority":1}"#;
    let short = r#"{"payload":{"job":"hostile","do":"spin","ms":2}}"#;
    let ids: Vec<_> = (0..TASKS).map(|n| api.submit(if n < 2 { long } else { short })).collect();
    api.post("/v1/queues/default/resume", "");
    wait_for("tasks in progress", || (api.count("COMPLETED") > 0).then_some(()));
    assert_eq!(first.terminate(), Some(0));
    assert_eq!(api.count("IN_PROGRESS"), 0, "what it held was given back");
    assert!(api.count("QUEUED") > 2, "it stopped in the middle of its work");
    let _second = worker();
    for id in ids {
        let task = api.get(&format!("/v1/tasks/{id}?wait=60s")).json();
        assert_eq!((&task["status"], &task["attempt"]), (&"COMPLETED".into(), &1.into()), "{task}");
    }
}

/// Case 3: a worker that was stopped past its lease is refused when it comes back, and goes on.
#[test]
fn a_worker_that_slept_through_its_lease_settles_nothing_and_goes_on() {
    let stack = Stack::start(&[]);
    let api = stack.api;
    stack.set_lease(1000);
    let worker = || stack.worker(&["--concurrency", "1"]);
    let sleeper = worker();
    api.wait_until_ready(1);
    let id = api.submit(r#"{"payload":{"job":"hostile","do":"sleep","ms":400}}"#);
    wait_for("the task in progress", || (api.task(&id)["status"] == "IN_PROGRESS").then_some(()));
    sleeper.signal(rustix::process::Signal::STOP);
    // The API sweeps: the lease ends although no other worker is there.
    wait_for("the end of the lease", || (api.task(&id)["status"] == "QUEUED").then_some(()));
    sleeper.signal(rustix::process::Signal::CONT);
    let task = api.get(&format!("/v1/tasks/{id}?wait=30s")).json();
    assert_eq!((&task["status"], &task["attempt"]), (&"COMPLETED".into(), &2.into()));
    let settled: u64 =
        redis::cmd("HGET").arg("{s0}:stats").arg("default:COMPLETED").query(&mut stack.connection()).unwrap();
    assert_eq!(settled, 1);
}

/// Case 11: Redis is killed and comes back with what was on its disk.
#[test]
fn a_redis_that_is_killed_and_comes_back_lost_nothing() {
    const TASKS: usize = 100;
    let mut stack = Stack::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let api = stack.api;
    let _worker = stack.worker(&[]);
    api.wait_until_ready(1);
    let body = r#"{"payload":{"job":"hostile","do":"sleep","ms":300}}"#;
    let ids: Vec<_> = (0..TASKS).map(|_| api.submit(body)).collect();
    stack.redis.kill();
    let refused = api.post("/submit-task", body);
    assert_eq!(refused.status, 503);
    assert!(refused.head.to_ascii_lowercase().contains("retry-after: 1"), "{}", refused.head);
    assert_eq!(api.get("/readyz").status, 503);
    stack.redis.start_again();
    for id in ids {
        let task = api.get(&format!("/v1/tasks/{id}?wait=60s")).json();
        assert_eq!((&task["status"], &task["attempt"]), (&"COMPLETED".into(), &1.into()), "{task}");
    }
}
