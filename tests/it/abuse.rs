//! Abuse by plugins: everything in the catalogue, done to real workers while other tasks run beside
//! it. Each row must end as it is named, in time; its neighbours must complete; the plugin must run
//! again; and what the worker holds of memory and descriptors must be as it was.
//!
//! Here each row is tried twice. `cargo xtask abuse` tries them for longer, and prints what was
//! measured: `SENTINEL_ABUSE` is then for how many seconds each row is repeated.

mod beside;
mod rows;

use std::{
    fmt, fs,
    time::{Duration, Instant},
};

use sentinel_testkit::{WebServer, wait_for};
use serde_json::{Value, json};

use self::{
    beside::{Beside, Latencies},
    rows::{cases, neighbours},
};
use crate::cluster::{Api, Process, Stack, some_plugins};

/// What a test machine that is busy with other tests may add to a deadline.
const MARGIN: Duration = Duration::from_secs(3);

/// A worker that all this is done to, and another that serves another queue.
struct House {
    stack: Stack,
    /// Serves the queue `default`, in so many slots.
    worker: Process,
    _other: Process,
    /// What a job has been granted to talk to, and what it has not.
    web: [WebServer; 2],
}

const SLOTS: usize = 8;

/// The queue of the other worker.
const OTHER: &str = "other";

impl House {
    fn build() -> Self {
        let stack = Stack::start(&[]);
        stack.set_lease(2000);
        let web = [WebServer::start(), WebServer::start()];
        let plugins = some_plugins(stack.dir.path(), &["hostile", "ledger", "example-task"]);
        let write = |file: &str, bytes: &[u8]| fs::write(plugins.join(file), bytes).unwrap();
        // The hostile job once more, with grants.
        fs::copy(plugins.join("hostile.wasm"), plugins.join("granted.wasm")).unwrap();
        let origin = web[0].url("");
        let manifest = format!("http = [{origin:?}]\nscratch = \"4MiB\"\n[limits]\nmemory = \"512MiB\"");
        write("granted.toml", manifest.as_bytes());
        let grants = format!(
            "[grants.granted]\nhttp = [{{ origin = {origin:?}, private = true }}]\nscratch = \"4MiB\""
        );
        fs::write(stack.dir.path().join("sentinel.toml"), grants).unwrap();
        write("tables.wasm", &rows::tables());
        write("memories.wasm", &rows::memories());
        for job in ["count-primes", "resize-image"] {
            fs::remove_file(plugins.join(format!("{job}.wasm"))).unwrap();
        }
        let worker = stack.worker(&["--queues", "default", "--concurrency", &SLOTS.to_string()]);
        stack.api.wait_until_ready(1);
        let other = stack.worker(&["--queues", OTHER, "--concurrency", "2"]);
        stack.api.wait_until_ready(2);
        Self { stack, worker, _other: other, web }
    }

    fn api(&self) -> Api {
        self.stack.api
    }

    /// Submits a task; answers it when it has ended.
    fn run(&self, task: &Value) -> Value {
        self.ended(&self.api().submit(&task.to_string()))
    }

    fn ended(&self, id: &str) -> Value {
        let task = self.api().get(&format!("/v1/tasks/{id}?wait=60s")).json();
        assert!(task["finished_at"].is_string(), "it does not end: {task}");
        task
    }

    /// A plugin does something harmless after whatever it has done.
    fn still_runs(&self, job: &str) {
        let payload = match job {
            "ledger" => json!({ "job": job, "do": "get", "key": "none" }),
            "hostile" | "granted" => json!({ "job": job, "do": "ok" }),
            // These can do one thing only.
            _ => return,
        };
        let task = self.run(&json!({ "payload": payload }));
        assert_eq!(task["status"], "COMPLETED", "after its abuse: {task}");
    }
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    memory_kib: u64,
    descriptors: usize,
    threads: usize,
    mappings: usize,
}

impl Held {
    fn by(pid: u32) -> Self {
        let of = |file: &str| format!("/proc/{pid}/{file}");
        let count = |dir: &str| fs::read_dir(of(dir)).expect("it lives").count();
        let statm = fs::read_to_string(of("statm")).expect("it lives");
        let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
        Self {
            memory_kib: pages * 4,
            descriptors: count("fd"),
            threads: count("task"),
            mappings: fs::read_to_string(of("maps")).expect("it lives").lines().count(),
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>4} MiB, {:>3} descriptors, {:>3} threads, {:>4} mappings",
            self.memory_kib / 1024,
            self.descriptors,
            self.threads,
            self.mappings
        )
    }
}

/// When something was, in milliseconds.
fn millis(time: &Value) -> i64 {
    let time: jiff::Timestamp = time.as_str().expect("a time").parse().expect("a time");
    time.as_millisecond()
}

/// How long a task's last attempt took, by the store's clock.
fn took(task: &Value) -> Duration {
    let millis = millis(&task["finished_at"]) - millis(&task["started_at"]);
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// A row that was tried.
struct Tried {
    row: &'static str,
    name: &'static str,
    /// As what it ended.
    ended: String,
    /// By how much it was later than its deadline, if it was to be stopped there.
    over: Option<Duration>,
    beside: Latencies,
    held: Held,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = self.over.map_or_else(String::new, |over| format!("+{} ms", over.as_millis()));
        let Self { row, name, ended, beside, held, .. } = self;
        write!(f, "{row:>3} {name:<40} {ended:<22} {over:>8}  {beside}  {held}")
    }
}

/// How long each row is repeated; none: each is tried once.
fn repeated() -> Option<Duration> {
    let seconds = std::env::var("SENTINEL_ABUSE").ok()?;
    Some(Duration::from_secs_f64(seconds.parse().expect("seconds")))
}

#[test]
fn every_row_of_the_catalogue_ends_as_named_and_harms_nobody() {
    let house = House::build();
    let long = repeated();
    let before = Beside::start(house.api(), "default").for_at_least(long.unwrap_or(Duration::from_secs(1)));
    let fresh = Held::by(house.worker.pid());
    println!("{:<70} {before}  {fresh}", "before");
    let first = all_rows(&house, long, &before);
    let second = all_rows(&house, long, &before);
    // Threads that waited for a file or a name are kept for ten seconds.
    let after = wait_for("the worker's return to what it held", || {
        let now = Held::by(house.worker.pid());
        let is_back = now.descriptors <= first.descriptors
            && now.threads <= first.threads
            && now.mappings <= first.mappings + 16
            && now.memory_kib <= first.memory_kib + (24 << 10);
        is_back.then_some(now)
    });
    println!(
        "after the first pass:  {first}\nafter the second pass: {second}\nin the end:            {after}"
    );
    assert_eq!(house.stack.ever("lost"), 0, "leases were renewed all the time");
    let said = house.stack.log();
    assert!(!said.contains("panicked") && !said.contains("\u{1b}[31m"), "{said}");
    house.stack.assert_audit_clean();
}

/// Answers what the worker holds after all of them.
fn all_rows(house: &House, long: Option<Duration>, before: &Latencies) -> Held {
    let pid = house.worker.pid();
    let tell = |tried: Tried| {
        println!("{tried}");
        // Speed is not asserted, but that they are not held up.
        let bound = before.p99() * 20 + MARGIN;
        assert!(tried.beside.p99() < bound, "row {}: {} of {before}", tried.row, tried.beside);
    };
    for case in cases(&house.web).into_iter().chain(neighbours()) {
        let beside = Beside::start(house.api(), "default");
        let since = Instant::now();
        let mut over = None;
        let ended = loop {
            let task = house.run(&case.task);
            let ended = case.check(&task);
            over = over.max(case.over(&task));
            if long.is_none_or(|long| since.elapsed() > long) {
                break ended;
            }
        };
        house.still_runs(case.job());
        let beside = beside.end();
        tell(Tried { row: case.row, name: case.name, ended, over, beside, held: Held::by(pid) });
    }
    for (row, name, act) in [
        ("12", "children of children without end", generations as fn(&House) -> String),
        ("16", "leaves state in a global, runs again", a_global),
        ("17", "what is no plugin", no_plugins),
        ("18", "is cancelled in the middle", cancelled),
    ] {
        let beside = Beside::start(house.api(), "default");
        let ended = act(house);
        let beside = beside.end();
        tell(Tried { row, name, ended, over: None, beside, held: Held::by(pid) });
    }
    let beside = Beside::start(house.api(), OTHER);
    let (ended, over) = all_slots(house);
    let beside = beside.end();
    let name = "all slots, and as many that wait";
    tell(Tried { row: "19", name, ended, over: Some(over), beside, held: Held::by(pid) });
    wait_for("an idle worker", || (house.api().count("IN_PROGRESS") == 0).then_some(()));
    Held::by(pid)
}

/// The first of a family has a child, which has one, and so on, until that is too many.
fn generations(house: &House) -> String {
    let failed = || {
        let list = house.api().get("/v1/tasks?status=FAILED&job=ledger&limit=500").json();
        let tasks = list["tasks"].as_array().expect("a list").iter();
        let errors = tasks.map(|task| task["error"].clone());
        errors.filter(|error| error.to_string().contains("generations")).collect::<Vec<_>>()
    };
    let before = failed().len();
    house.run(&json!({ "payload": { "job": "ledger", "do": "fan", "width": 1, "depth": 20 } }));
    let errors = wait_for("the last generation's end", || Some(failed()).filter(|all| all.len() > before));
    assert!(errors.iter().all(|error| error["kind"] == "effect_limit"), "{errors:?}");
    house.still_runs("ledger");
    "FAILED effect_limit".into()
}

fn a_global(house: &House) -> String {
    for _ in 0..2 {
        let task = house.run(&json!({ "payload": { "job": "hostile", "do": "global" } }));
        assert_eq!(task["result"], 1, "{task}");
    }
    "COMPLETED".into()
}

/// What takes minutes to compile has tests of its own, in `admission`.
fn no_plugins(house: &House) -> String {
    let plugins = house.stack.dir.path().join("plugins");
    let good = fs::read(plugins.join("hostile.wasm")).expect("it is there");
    let files = rows::no_plugins(&good);
    for (file, bytes, _) in &files {
        fs::write(plugins.join(file), bytes).expect("it can be written");
    }
    let large = fs::File::create(plugins.join("large.wasm")).expect("it can be written");
    large.set_len(100 << 20).expect("it can be that large");
    let pipe = std::process::Command::new("mkfifo").arg(plugins.join("pipe.wasm")).status();
    assert!(pipe.expect("it runs").success());
    let refused = wait_for("the refusals", || {
        let workers = house.api().get("/v1/workers").json();
        let refused: Vec<Value> = workers["workers"]
            .as_array()?
            .iter()
            .flat_map(|worker| worker["refused"].as_array().cloned().unwrap_or_default())
            .collect();
        // By both workers.
        (refused.len() >= 2 * (files.len() + 1)).then_some(refused)
    });
    let reason = |file: &str| {
        let refusal = refused.iter().find(|refusal| refusal["file"] == file);
        refusal.unwrap_or_else(|| panic!("{file} is not refused"))["reason"].as_str().unwrap().to_owned()
    };
    for (file, _, word) in &files {
        let reason = reason(file);
        assert!(reason.contains(word), "{file}: {reason}");
        assert!(reason.len() < 3000, "{file}: {} bytes", reason.len());
    }
    assert!(reason("large.wasm").contains("67108864 bytes"));
    house.still_runs("hostile");
    house.still_runs("granted");
    for file in files.iter().map(|(file, ..)| *file).chain(["large.wasm", "pipe.wasm"]) {
        fs::remove_file(plugins.join(file)).expect("it can be removed");
    }
    wait_for("no refusals", || {
        let workers = house.api().get("/v1/workers").json();
        let workers = workers["workers"].as_array()?;
        workers.iter().all(|worker| worker["refused"] == json!([])).then_some(())
    });
    "refused".into()
}

/// All slots run something: how long does it take from the first request until another task runs?
fn cancelled(house: &House) -> String {
    let ids: Vec<String> = (0..SLOTS)
        .map(|number| {
            let act = ["loop", "sleep-forever"][number % 2];
            let payload = json!({ "job": "hostile", "do": act });
            house.api().submit(&json!({ "payload": payload, "timeout": "60s" }).to_string())
        })
        .collect();
    for id in &ids {
        wait_for("it to run", || (house.api().task(id)["status"] == "IN_PROGRESS").then_some(()));
    }
    let next = house.api().submit(&json!({ "payload": { "job": "hostile", "do": "ok" } }).to_string());
    let since = jiff::Timestamp::now().as_millisecond();
    for id in &ids {
        house.api().post(&format!("/v1/tasks/{id}/cancel"), "");
    }
    for id in &ids {
        let task = house.ended(id);
        assert_eq!(task["status"], "CANCELLED", "{task}");
    }
    let task = house.ended(&next);
    assert_eq!(task["status"], "COMPLETED", "{task}");
    let millis = millis(&task["started_at"]) - since;
    assert!(u128::try_from(millis).unwrap_or(0) < MARGIN.as_millis(), "{millis} ms");
    format!("CANCELLED in {millis} ms")
}

/// All slots of a worker run what must be stopped, and as many tasks wait for them: meanwhile the API
/// answers, and the other queue's worker works.
fn all_slots(house: &House) -> (String, Duration) {
    let timeout = Duration::from_millis(1500);
    let act = |number: usize| ["loop", "sleep-forever", "memory", "progress"][number % 4];
    let ids: Vec<String> = (0..2 * SLOTS)
        .map(|number| {
            let payload = json!({ "job": "hostile", "do": act(number), "times": 1_000_000_000 });
            let task = json!({ "payload": payload, "timeout": "1500ms", "max_attempts": 1 });
            house.api().submit(&task.to_string())
        })
        .collect();
    let mut slowest = Duration::ZERO;
    while house.api().count("IN_PROGRESS") > 0 {
        let since = Instant::now();
        assert_eq!(house.api().get("/healthz").status, 200);
        slowest = slowest.max(since.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(slowest < MARGIN, "{slowest:?}");
    let mut over = Duration::ZERO;
    for id in &ids {
        let task = house.ended(id);
        assert_eq!(task["status"], "FAILED", "{task}");
        over = over.max(took(&task).saturating_sub(timeout));
    }
    assert!(over < MARGIN, "{over:?}");
    house.still_runs("hostile");
    ("FAILED, each".into(), over)
}
