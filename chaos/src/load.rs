//! The clients: they submit, cancel, redrive and read, and note what they were told.
//!
//! What a client does follows from the seed alone; what it is told, and when, does not. A request
//! whose fate is unknown is sent again if it carries an idempotency key, and only then. Each
//! client steers the tasks that it submitted itself, one request at a time.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use fastrand::Rng;
use serde_json::{Value, json};

use crate::{
    history::{Act, AfterPolicy, History, Steer, Steered, What, Wish, now},
    http::{Apis, Reply, Request},
    task,
};

/// How many clients there are.
const CLIENTS: u64 = 6;

/// Clients hold back while more tasks than this wait: the run must drain in the end.
const BACKLOG: u64 = 600;

/// How long a client thinks between two requests, at most.
const THINK_MS: u64 = 60;

/// How long clients send again what has a key, once the faults are over.
const INSIST: Duration = Duration::from_secs(30);

const QUEUES: [&str; 3] = ["default", "mail", "bulk"];

const CONCURRENCY_KEYS: [&str; 3] = ["red", "green", "blue"];

/// All clients, at work.
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

pub(crate) struct Shared {
    pub(crate) apis: Apis,
    pub(crate) history: Arc<History>,
    stop: AtomicBool,
    backlog: AtomicU64,
}

impl Load {
    pub(crate) fn start(seed: u64, apis: &Apis, history: &Arc<History>) -> Self {
        let shared = Arc::new(Shared {
            apis: apis.clone(),
            history: Arc::clone(history),
            stop: AtomicBool::new(false),
            backlog: AtomicU64::new(0),
        });
        let watch = Arc::clone(&shared);
        let mut threads = vec![thread::spawn(move || watch_backlog(&watch))];
        threads.extend((0..CLIENTS).map(|number| {
            let mut client = Client::new(number, seed, Arc::clone(&shared));
            thread::spawn(move || client.work())
        }));
        Self { shared, threads }
    }

    /// Asks for nothing new; waits until the last answers are there.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?;
        }
        Ok(())
    }
}

impl Shared {
    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn watch_backlog(shared: &Shared) {
    let mut api = 0;
    while !shared.is_stopping() {
        if let Reply::Answer { status: 200, body } = shared.apis.send(api, &Request::get("/stats")) {
            let counts = &body["status_counts"];
            let waiting =
                ["QUEUED", "BLOCKED", "SCHEDULED"].map(|status| counts[status].as_u64().unwrap_or(0));
            shared.backlog.store(waiting.iter().sum(), Ordering::Relaxed);
        }
        api += 1;
        thread::sleep(Duration::from_millis(200));
    }
}

/// A task that the client knows to be there.
struct Own {
    id: String,
    wish: Wish,
    cancelled: bool,
}

/// One client.
struct Client {
    number: u64,
    /// Gives each of its acts a source of chance, whatever came of the acts before.
    acts: Rng,
    rng: Rng,
    shared: Arc<Shared>,
    /// How many wishes it had.
    wishes: u64,
    own: Vec<Own>,
    ids: HashMap<String, String>,
    stopping_since: Option<Instant>,
}

impl Client {
    fn new(number: u64, seed: u64, shared: Arc<Shared>) -> Self {
        let mut acts = Rng::with_seed(seed.wrapping_mul(31).wrapping_add(number));
        Self {
            number,
            rng: acts.fork(),
            acts,
            shared,
            wishes: 0,
            own: Vec::new(),
            ids: HashMap::new(),
            stopping_since: None,
        }
    }

    fn work(&mut self) {
        while !self.shared.is_stopping() {
            if self.shared.backlog.load(Ordering::Relaxed) < BACKLOG {
                self.act();
            }
            thread::sleep(Duration::from_millis(self.rng.u64(0..THINK_MS)));
        }
    }

    fn act(&mut self) {
        self.rng = self.acts.fork();
        match self.rng.u32(0..100) {
            0..58 => self.submit_one(),
            58..66 => self.submit_batch(),
            66..76 => self.steer(Steer::Cancel),
            76..81 => self.steer(Steer::Redrive),
            81..83 => self.steer(Steer::Reschedule),
            83..86 => self.submit_again(),
            _ => self.read(),
        }
    }

    fn wish(&mut self, parents: &[String]) -> Wish {
        let rng = &mut self.rng;
        self.wishes += 1;
        let act = act(rng);
        let mut after = Vec::new();
        if !parents.is_empty() && rng.u32(0..100) < 15 {
            for _ in 0..rng.usize(1..=3) {
                let parent = rng.choice(parents).cloned().unwrap_or_default();
                if !after.contains(&parent) {
                    after.push(parent);
                }
            }
        }
        let mut percent = |count: u32| rng.u32(0..100) < count;
        let delayed = percent(10);
        let expires = percent(5);
        let is_limited = percent(4);
        let always = percent(30);
        let keyed = percent(75);
        let max_attempts = match act {
            Act::OkFrom { attempt } => attempt + rng.u64(0..3),
            _ => rng.u64(1..=3),
        };
        Wish {
            max_attempts,
            queue: rng.choice(QUEUES).unwrap_or(QUEUES[0]),
            priority: rng.i64(-10..=10),
            delay_ms: delayed.then(|| rng.u64(50..2500)),
            after,
            after_policy: if always { AfterPolicy::Always } else { AfterPolicy::Completed },
            expires_at: expires.then(|| now() + rng.u64(100..4000)),
            concurrency_key: rng.choice(CONCURRENCY_KEYS).filter(|_| is_limited),
            keyed,
            ..Wish::plain(&format!("c{}-{}", self.number, self.wishes), act)
        }
    }

    /// Tasks that a new one may wait for: some of the last that are known to be there.
    fn parents(&self) -> Vec<String> {
        self.own.iter().rev().take(40).map(|own| own.wish.mark.clone()).collect()
    }

    fn submit_one(&mut self) {
        let parents = self.parents();
        let wish = self.wish(&parents);
        self.shared.history.note(What::Wished(wish.clone()));
        let mut body = self.body(&wish, &[]);
        let path = if self.rng.u32(0..100) < 25 { "/submit-task" } else { "/v1/tasks" };
        // The key goes either way.
        let key = wish.mark.clone();
        let in_header = wish.keyed && self.rng.bool();
        if in_header && let Some(fields) = body.as_object_mut() {
            fields.remove("idempotency_key");
        }
        let mut request = Request::post(path, &body);
        request.idempotency_key = in_header.then_some(key.as_str());
        let created = if path == "/v1/tasks" { 201 } else { 200 };
        let outcome = self.insist(&request, wish.keyed, |status, body| {
            ([200, created].contains(&status)).then(|| vec![accepted(body)]).and_then(all)
        });
        self.conclude(vec![wish], outcome);
    }

    fn submit_batch(&mut self) {
        let count = self.rng.usize(2..=12);
        let keyed = self.rng.u32(0..100) < 75;
        let mut wishes: Vec<Wish> = Vec::new();
        for _ in 0..count {
            let mut parents: Vec<_> = wishes.iter().map(|wish| wish.mark.clone()).collect();
            parents.extend(self.parents().into_iter().take(parents.len()));
            let mut wish = self.wish(&parents);
            // All or none: a batch can be sent again if all of it has keys.
            wish.keyed = keyed;
            wishes.push(wish);
        }
        let marks: Vec<_> = wishes.iter().map(|wish| wish.mark.clone()).collect();
        for wish in &wishes {
            self.shared.history.note(What::Wished(wish.clone()));
        }
        let tasks: Vec<_> = wishes.iter().map(|wish| self.body(wish, &marks)).collect();
        let body = json!({ "tasks": tasks });
        let outcome = self.insist(&Request::post("/v1/tasks/batch", &body), keyed, |status, body| {
            let tasks = body["tasks"].as_array().filter(|tasks| status == 201 && tasks.len() == count)?;
            all(tasks.iter().map(accepted))
        });
        self.conclude(wishes, outcome);
    }

    /// Sends again what was accepted before: the same task must stand for it.
    fn submit_again(&mut self) {
        let keyed: Vec<_> = self.own.iter().filter(|own| own.wish.keyed).map(|own| &own.wish).collect();
        let Some(wish) = self.rng.choice(keyed).cloned() else { return };
        let body = self.body(&wish, &[]);
        let outcome = self.insist(&Request::post("/submit-task", &body), true, |status, body| {
            (status == 200).then(|| vec![accepted(body)]).and_then(all)
        });
        if let Outcome::Accepted(answers) = outcome {
            for (id, deduplicated) in answers {
                if !deduplicated {
                    let request = format!("{:?}, sent again", wish.mark);
                    let answer = "not `deduplicated`".into();
                    self.shared.history.note(What::Unexpected { request, answer });
                }
                self.shared.history.note(What::Accepted { mark: wish.mark.clone(), id, deduplicated });
            }
        }
    }

    /// The request for a wish; `batch` are the marks of the tasks that go with it.
    fn body(&self, wish: &Wish, batch: &[String]) -> Value {
        let mut body = json!({ "payload": wish.payload(), "priority": wish.priority, "queue": wish.queue });
        if wish.act.is_retried() {
            body["max_attempts"] = json!(wish.max_attempts);
            body["backoff"] = json!({ "kind": "fixed", "base": "50ms" });
        }
        if wish.act == Act::Loop {
            body["timeout"] = json!("150ms");
        }
        if let Some(delay) = wish.delay_ms {
            body["delay"] = json!(format!("{delay}ms"));
        }
        if let Some(at) = wish.expires_at {
            body["expires_at"] = json!(task::rfc3339(at));
        }
        if let Some(key) = wish.concurrency_key {
            body["concurrency_key"] = json!(key);
        }
        if wish.keyed {
            body["idempotency_key"] = json!(wish.mark);
        }
        if !wish.after.is_empty() {
            let id = |mark: &String| match batch.iter().position(|other| other == mark) {
                Some(index) => format!("#{index}"),
                None => self.ids.get(mark).cloned().unwrap_or_default(),
            };
            body["after"] = wish.after.iter().map(id).collect();
            body["after_policy"] = json!(wish.after_policy);
        }
        body
    }

    fn conclude(&mut self, wishes: Vec<Wish>, outcome: Outcome) {
        let history = Arc::clone(&self.shared.history);
        match outcome {
            Outcome::Accepted(answers) => {
                for (wish, (id, deduplicated)) in wishes.into_iter().zip(answers) {
                    self.ids.insert(wish.mark.clone(), id.clone());
                    history.note(What::Accepted { mark: wish.mark.clone(), id: id.clone(), deduplicated });
                    self.own.push(Own { id, wish, cancelled: false });
                }
            }
            Outcome::Unknown(why) => {
                for Wish { mark, .. } in wishes {
                    history.note(What::Unknown { mark, why: why.clone() });
                }
            }
            Outcome::NotSent => {
                for Wish { mark, .. } in wishes {
                    history.note(What::NotSent { mark });
                }
            }
        }
    }

    fn steer(&mut self, steer: Steer) {
        let may = |own: &&mut Own| {
            let wish = &own.wish;
            steer != Steer::Redrive || own.cancelled || wish.act.failure().is_some() || !wish.after.is_empty()
        };
        // Among the latest, so that this meets tasks that wait, that run and that end.
        let among = if steer == Steer::Redrive { 60 } else { 4 };
        let latest: Vec<_> = self.own.iter_mut().rev().filter(may).take(among).collect();
        let Some(own) = self.rng.choice(latest) else { return };
        let body = match (steer, self.rng.bool()) {
            (Steer::Reschedule, true) => json!({ "priority": self.rng.i64(-10..=10) }),
            (Steer::Reschedule, false) => json!({ "delay": format!("{}ms", self.rng.u64(0..1500)) }),
            _ => Value::Null,
        };
        let path = format!("/v1/tasks/{}/{}", own.id, json!(steer).as_str().unwrap_or_default());
        let request = Request { timeout: timeout(&mut self.rng), ..Request::post(&path, &body) };
        let outcome = match self.shared.apis.send(self.rng.usize(..), &request) {
            Reply::NotSent => return,
            Reply::Answer { status: 200, .. } => Steered::Done,
            Reply::Answer { status: 409, .. } => Steered::WrongState,
            Reply::Answer { status: 503, .. } | Reply::Lost(_) => Steered::Unknown,
            Reply::Answer { status, body } => {
                let answer = format!("{status}: {body}");
                return self.shared.history.note(What::Unexpected { request: path, answer });
            }
        };
        own.cancelled |= steer == Steer::Cancel && outcome != Steered::WrongState;
        self.shared.history.note(What::Steered { id: own.id.clone(), steer, outcome });
    }

    /// Reads a task, or waits for its end.
    fn read(&mut self) {
        let among = self.own.len().saturating_sub(100)..self.own.len();
        let Some(own) = self.rng.choice(&self.own[among]) else { return };
        let wait = if self.rng.u32(0..100) < 30 { "?wait=500ms" } else { "" };
        let path = format!("/v1/tasks/{}{wait}", own.id);
        match self.shared.apis.send(self.rng.usize(..), &Request::get(&path)) {
            Reply::NotSent | Reply::Lost(_) | Reply::Answer { status: 503, .. } => {}
            Reply::Answer { status: 200, body } => {
                if let Some(found) = task::Found::read(&body)
                    && let Some(finished_at) = found.finished_at
                {
                    self.shared.history.note(What::Observed {
                        id: found.id,
                        status: found.status,
                        attempt: found.attempt,
                        finished_at,
                    });
                }
            }
            Reply::Answer { status, body } => {
                let answer = format!("{status}: {body}");
                self.shared.history.note(What::Unexpected { request: path, answer });
            }
        }
    }

    /// Sends until its fate is known, if it may be sent again.
    fn insist(
        &mut self,
        request: &Request<'_>,
        keyed: bool,
        accepted: impl Fn(u16, &Value) -> Option<Vec<(String, bool)>>,
    ) -> Outcome {
        let mut sent = false;
        loop {
            let request = Request { timeout: timeout(&mut self.rng), ..request.clone() };
            let why = match self.shared.apis.send(self.rng.usize(..), &request) {
                Reply::Answer { status, body } => {
                    if let Some(answers) = accepted(status, &body) {
                        return Outcome::Accepted(answers);
                    }
                    let answer = format!("{status}: {body}");
                    if status != 503 {
                        let request = format!("{} {}", request.path, request.body.unwrap_or(&Value::Null));
                        self.shared.history.note(What::Unexpected { request, answer: answer.clone() });
                        return Outcome::Unknown(answer);
                    }
                    Some(answer)
                }
                Reply::Lost(why) => Some(why),
                Reply::NotSent => None,
            };
            sent |= why.is_some();
            let over = match self.stopping_since {
                Some(since) => since.elapsed() > INSIST,
                None if self.shared.is_stopping() => {
                    self.stopping_since = Some(Instant::now());
                    false
                }
                None => false,
            };
            if over || (sent && !keyed) {
                return if sent { Outcome::Unknown(why.unwrap_or_default()) } else { Outcome::NotSent };
            }
            thread::sleep(Duration::from_millis(self.rng.u64(20..300)));
        }
    }
}

/// What became of a submit.
enum Outcome {
    /// Per task its id, and whether it was there before.
    Accepted(Vec<(String, bool)>),
    Unknown(String),
    NotSent,
}

/// Most clients are patient; some give up at once, and ask again.
fn timeout(rng: &mut Rng) -> Duration {
    let patient = rng.u32(0..100) < 95;
    Duration::from_millis(if patient { 8000 } else { rng.u64(2..40) })
}

fn act(rng: &mut Rng) -> Act {
    match rng.u32(0..100) {
        0..30 => Act::Echo,
        30..60 => Act::Sleep { ms: rng.u64(1..400) },
        60..66 => Act::Spin { ms: rng.u64(1..40) },
        66..76 => Act::OkFrom { attempt: rng.u64(1..=3) },
        76..82 => Act::Retryable,
        82..90 => Act::Permanent,
        90..94 => Act::Trap,
        94..97 => Act::ReturnNotJson,
        _ => Act::Loop,
    }
}

/// The id in an answer, and whether the task was there before.
fn accepted(task: &Value) -> Option<(String, bool)> {
    Some((task["task_id"].as_str()?.to_owned(), task["deduplicated"] == true))
}

fn all<T>(answers: impl IntoIterator<Item = Option<T>>) -> Option<Vec<T>> {
    answers.into_iter().collect()
}
