//! An hour in the life of a shop, in a moment: tasks that came, ran and failed, so that pages have something
//! to show. The queue is the real one; its clock is told, and the workers are played.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use sentinel_queue::{
    ErrorKind, NewTask, Payload, Queue, Spec, TaskId,
    lease::{Claimed, Held, Instance, Served, Settlement, Turn, Verdict},
    store::redis::Redis,
    task::{AttemptReport, ErrorReport, TaskError, Usage},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::cluster::Stack;

const HOUR: u64 = 3600 * 1000;
const SLOTS: usize = 8;

/// What there is to run: job, queue, how often a minute, how long in milliseconds, how much memory.
const KINDS: [(&str, &str, u64, u64, u64); 5] = [
    ("resize-image", "media", 14, 420, 61 << 20),
    ("send-invoice", "billing", 6, 130, 9 << 20),
    ("sync-crm", "default", 9, 760, 14 << 20),
    ("render-report", "reports", 3, 2900, 96 << 20),
    ("index-document", "search", 18, 60, 22 << 20),
];

/// A store in which an hour has passed, with an API over it and workers that are alive.
pub(super) struct Story {
    pub(super) stack: Stack,
    /// A task that failed with something to read.
    pub(super) failed: TaskId,
    /// One whose family is worth a look.
    pub(super) parent: TaskId,
    is_over: Arc<AtomicBool>,
    workers: Option<JoinHandle<()>>,
}

impl Drop for Story {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        drop(self.workers.take().map(JoinHandle::join));
    }
}

impl Story {
    pub(super) fn tell() -> Self {
        let stack = Stack::start(&[]);
        stack.api.wait_until_ready(0);
        // What runs at the end of the story goes on for as long as somebody looks.
        stack.set_lease(600_000);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut shop = Shop::new(&stack);
        runtime.block_on(shop.live());
        let (failed, parent) = (shop.failed.expect("something failed"), shop.parent.expect("a family"));
        let is_over = Arc::new(AtomicBool::new(false));
        let workers = std::thread::spawn({
            let is_over = Arc::clone(&is_over);
            move || keep_alive(&runtime, &shop, &is_over)
        });
        Self { stack, failed, parent, is_over, workers: Some(workers) }
    }
}

/// The shop, its queue and its clock.
struct Shop {
    queue: Queue,
    clock: Arc<AtomicU64>,
    end: u64,
    random: u64,
    instances: [Instance; 2],
    turns: HashMap<String, u64>,
    /// By when they end.
    running: BTreeMap<(u64, TaskId), (usize, Claimed)>,
    failed: Option<TaskId>,
    parent: Option<TaskId>,
}

impl Shop {
    fn new(stack: &Stack) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
        let end = u64::try_from(now.as_millis()).expect("a time");
        let clock = Arc::new(AtomicU64::new(end - HOUR));
        let store = Arc::new(Redis::new(&stack.redis.url()).expect("a URL"));
        Self {
            queue: Queue::with_clock(store, Arc::clone(&clock)),
            clock,
            end,
            random: 0x2545_f491_4f6c_dd1d,
            instances: [Instance::random("worker-1"), Instance::random("worker-2")],
            turns: HashMap::new(),
            running: BTreeMap::new(),
            failed: None,
            parent: None,
        }
    }

    /// A number below another.
    fn chance(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    async fn live(&mut self) {
        let start = self.end - HOUR;
        for second in 0..3600 {
            let now = start + second * 1000;
            // A rush in the middle, for which there are too few slots.
            let rush = if (1900..2260).contains(&second) { 4 } else { 1 };
            for (job, queue, often, ..) in KINDS {
                if self.chance(60) < often * rush {
                    let at = now + self.chance(1000);
                    self.catch_up(at).await;
                    self.submit(job, queue).await;
                    self.claim().await;
                }
            }
            if second % 30 == 29 {
                self.queue.observe().await.expect("the store answers");
            }
        }
        self.family().await;
        self.catch_up(self.end - 1500).await;
        self.claim().await;
        self.queue.observe().await.expect("the store answers");
    }

    /// Ends what ends before this time, and begins what then has room.
    async fn catch_up(&mut self, until: u64) {
        while let Some((&(end, id), _)) = self.running.first_key_value() {
            if end > until {
                break;
            }
            let (worker, task) = self.running.remove(&(end, id)).expect("it is there");
            self.clock.store(end, Ordering::Relaxed);
            self.settle(worker, task).await;
            self.claim().await;
        }
        self.clock.store(until, Ordering::Relaxed);
    }

    async fn submit(&mut self, job: &str, queue: &str) {
        let number = 10_000 + self.chance(90_000);
        let payload = match job {
            "resize-image" => {
                json!({ "job": job, "image": format!("s3://photos/{number}.jpg"), "width": 640 })
            }
            "sync-crm" => {
                json!({ "job": job, "customer": number, "fields": ["email", "plan", "mrr"], "since": "2026-01-31T00:00:00Z" })
            }
            _ => json!({ "job": job, "id": number }),
        };
        let mut spec = spec(job, &payload);
        spec.queue = queue.parse().expect("a name");
        spec.tags = format!("customer:{}", number % 400).parse().expect("tags");
        self.queue.submit(&[NewTask::new(spec)]).await.expect("it is accepted");
    }

    async fn claim(&mut self) {
        let now = self.clock.load(Ordering::Relaxed);
        for worker in 0..self.instances.len() {
            let busy = self.running.values().filter(|(whose, _)| *whose == worker).count();
            let wanted = SLOTS / 2 - busy;
            if wanted > 0 {
                let claimed = self.turn(worker, vec![], wanted).await;
                for task in claimed {
                    let long = how_long(task.definition.spec.job.as_str());
                    let end = now + long / 2 + self.chance(long);
                    self.running.insert((end, task.definition.id), (worker, task));
                }
            }
        }
    }

    async fn turn(&mut self, worker: usize, settlements: Vec<Settlement>, wanted: usize) -> Vec<Claimed> {
        let instance = &self.instances[worker];
        let number = self.turns.entry(instance.as_str().to_owned()).or_default();
        *number += 1;
        let turn = Turn { number: *number, settlements, wanted };
        self.queue.settle_and_claim(instance, &Served::All, &turn).await.expect("the store answers").claimed
    }

    async fn settle(&mut self, worker: usize, task: Claimed) {
        let spec = &task.definition.spec;
        let job = spec.job.to_string();
        let now = self.clock.load(Ordering::Relaxed);
        let wall = now.saturating_sub(task.claimed_at.0) * 1000;
        let memory = KINDS.iter().find(|kind| kind.0 == job).map_or(8 << 20, |kind| kind.4);
        let usage = Usage {
            cpu_us: wall * (20 + self.chance(70)) / 100,
            wall_us: wall,
            wait_us: wall / 10,
            peak_memory_bytes: memory + self.chance(memory / 3),
            transfer_bytes: 2_000 + self.chance(90_000),
        };
        let last = task.progression.attempt() >= 3;
        let id = task.definition.id.to_string();
        let (verdict, log) = self.verdict(&job, &id, last);
        if let Verdict::Fail(error) = &verdict
            && error.kind == ErrorKind::Trap
        {
            self.failed = Some(task.definition.id);
        }
        let error = match &verdict {
            Verdict::Fail(error) | Verdict::Retry(error, _) => error.report.clone(),
            _ => ErrorReport::default(),
        };
        let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let report = AttemptReport { usage, plugin_digest: Some(digest.into()), error };
        let settlement = Settlement::of(&task, verdict, report, Bytes::from(log));
        self.turn(worker, vec![settlement], 0).await;
    }

    /// How an attempt goes, and what it prints.
    fn verdict(&mut self, job: &str, id: &str, is_last: bool) -> (Verdict, String) {
        let (now, chance) = (self.clock.load(Ordering::Relaxed), self.chance(1000));
        // For some minutes of the hour the customers' database was away.
        let is_away = (self.end - 23 * 60_000..self.end - 16 * 60_000).contains(&now);
        let failure = match job {
            "sync-crm" if is_away && chance < 700 => Some((
                ErrorKind::Retryable,
                "503 from crm.example: upstream connect error, reset before headers",
                None,
            )),
            "sync-crm" if id.ends_with('7') && chance < 995 => Some((
                ErrorKind::Trap,
                "wasm trap: wasm `unreachable` instruction executed",
                Some(
                    "0: sync_crm::merge_fields\n       at src/lib.rs:87:31\n1: sync_crm::run\n       at src/lib.rs:41:5\n2: sentinel:job/handler@0.1.0#run",
                ),
            )),
            "render-report" if id.ends_with('3') => {
                Some((ErrorKind::MemoryLimit, "the guest asked for more than 128 MiB of memory", None))
            }
            "resize-image" if chance < 12 => {
                Some((ErrorKind::Permanent, "not an image: the header is none of PNG, JPEG, WebP", None))
            }
            "index-document" if chance < 9 => {
                Some((ErrorKind::Timeout, "the attempt took longer than 30 s", None))
            }
            _ => None,
        };
        let Some((kind, message, backtrace)) = failure else {
            return (Verdict::Complete(Bytes::from_static(b"{\"ok\":true}")), format!("{job}: done\n"));
        };
        let log = format!(
            "{job}: starting\n{job}: read 3 fields of customer 48213\n{job}: merging email, plan, mrr\n{message}\n"
        );
        let report =
            ErrorReport { message: message.into(), detail: None, backtrace: backtrace.map(str::to_owned) };
        let error = TaskError { kind, report };
        if is_last || kind == ErrorKind::Permanent {
            return (Verdict::Fail(error), log);
        }
        (Verdict::Retry(error, Duration::from_secs(4 + self.chance(9))), log)
    }

    /// A report that waits for its parts, and whom it is sent to.
    async fn family(&mut self) {
        let mut parts = Vec::new();
        for part in ["orders", "refunds", "stock"] {
            parts.push(NewTask::new(spec("collect", &json!({ "job": "collect", "part": part }))));
        }
        let mut report =
            NewTask::new(spec("assemble-report", &json!({ "job": "assemble-report", "day": "2026-01-31" })));
        report.spec.after = parts.iter().map(|part| part.id).collect();
        self.parent = Some(report.id);
        let mut all = parts;
        for to in ["finance", "board"] {
            let mut mail = NewTask::new(spec("send-mail", &json!({ "job": "send-mail", "to": to })));
            mail.spec.after = vec![report.id];
            all.push(mail);
        }
        all.insert(3, report);
        self.queue.submit(&all).await.expect("they are accepted");
    }
}

fn spec(job: &str, payload: &Value) -> Spec {
    let payload = Payload::parse(Bytes::from(payload.to_string())).expect("a payload");
    Spec::new(job.parse().expect("a name"), payload.0)
}

fn how_long(job: &str) -> u64 {
    KINDS.iter().find(|kind| kind.0 == job).map_or(900, |kind| kind.3)
}

/// The workers' signs of life, from now on by the true clock.
fn keep_alive(runtime: &Runtime, shop: &Shop, is_over: &AtomicBool) {
    let jobs: Vec<_> = KINDS.iter().map(|kind| Bytes::from_static(kind.0.as_bytes())).collect();
    let mut beats = 0_u64;
    while !is_over.load(Ordering::Relaxed) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
        shop.clock.store(u64::try_from(now.as_millis()).expect("a time"), Ordering::Relaxed);
        for (number, instance) in shop.instances.iter().enumerate() {
            let held: Vec<_> = shop.running.values().filter(|(worker, _)| *worker == number).collect();
            let info = info(number, held.len(), shop.end);
            let held = held.into_iter().map(|(_, task)| Held {
                id: task.definition.id,
                token: task.token.clone(),
                progress: None,
            });
            let held: Vec<_> = held.collect();
            // The server goes before the workers do.
            drop(runtime.block_on(shop.queue.renew(instance, info.clone(), &jobs, &held)));
        }
        beats += 1;
        std::thread::sleep(Duration::from_millis(if beats < 3 { 50 } else { 500 }));
    }
}

fn info(number: usize, busy: usize, end: u64) -> Bytes {
    let jobs = KINDS.iter().map(|kind| json!({
        "name": kind.0, "digest": format!("{:0<64}", format!("{:x}", kind.3 * 7919)), "admitted_at_ms": end - 3 * HOUR,
        "limits": { "timeout_ms": 30_000, "memory_bytes": 128 << 20 }, "withheld": [],
    }));
    let info = json!({
        "version": "0.1.0", "hostname": format!("worker-{}", number + 1), "pid": 7 + number, "started_at_ms": end - 3 * HOUR,
        "slots": SLOTS / 2, "busy": busy, "memory_bytes": 1_u64 << 30, "memory_reserved_bytes": 512_u64 << 20, "queues": [],
        "jobs": jobs.collect::<Vec<_>>(),
        "refused": if number == 0 { json!([]) } else { json!([{ "file": "old-report.wasm", "reason": "not a component: the file ends early" }]) },
    });
    Bytes::from(info.to_string())
}
