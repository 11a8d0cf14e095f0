//! The faults: planned from the seed alone, then done as time goes by.
//!
//! A plan is a list of actions, each at its time. Whatever begins also ends within the plan, and
//! nothing is done to a process that another fault has in its hands.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Result;
use fastrand::Rng;
use rustix::process::Signal;

use crate::{
    cluster::{APIS, Cluster, GRACE, Process, WORKERS},
    history::{History, What},
    proxy::Mode,
    recovery::Losses,
};

/// The pause between the beginnings of two faults, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 600..2600;

/// A process that has just been started is left alone for so long.
const SETTLE: Duration = Duration::from_millis(1500);

/// How long a process may take to end after SIGTERM, whatever is the matter with the store.
const LONGEST_END: Duration = Duration::from_secs(30);

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Worker(usize),
    Api(usize),
    Redis,
}

/// All there are.
const ALL: [Target; WORKERS + APIS + 1] = [
    Target::Worker(0),
    Target::Worker(1),
    Target::Worker(2),
    Target::Worker(3),
    Target::Api(0),
    Target::Api(1),
    Target::Redis,
];

/// What one fault at a time has in its hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    Process(Target),
    Proxy,
    Link,
}

/// Something that is done at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Kill(Target),
    Start(Target),
    /// SIGSTOP.
    Freeze(Target),
    /// SIGCONT.
    Thaw(Target),
    /// SIGTERM; it is started again as soon as it has ended.
    Terminate(Target),
    FlushScripts,
    KillClients(&'static str),
    PauseClients(u64),
    Cut,
    Join,
    Proxy(Mode),
}

impl Action {
    /// The kind of fault that begins, in the report's words; none if one ends.
    pub(crate) fn fault(self) -> Option<&'static str> {
        Some(match self {
            Self::Kill(Target::Worker(_)) => "worker killed",
            Self::Kill(Target::Api(_)) => "api killed",
            Self::Kill(Target::Redis) => "redis killed",
            Self::Freeze(Target::Worker(_)) => "worker stopped and continued",
            Self::Freeze(Target::Api(_)) => "api stopped and continued",
            Self::Freeze(Target::Redis) => "redis stopped and continued",
            Self::Terminate(Target::Worker(_)) => "worker told to end",
            Self::Terminate(_) => "api told to end",
            Self::FlushScripts => "scripts flushed",
            Self::KillClients("pubsub") => "subscriptions killed",
            Self::KillClients(_) => "connections killed",
            Self::PauseClients(_) => "redis paused",
            Self::Cut => "worker cut off",
            Self::Proxy(Mode::Deaf) => "replies dropped",
            Self::Proxy(Mode::Silent) => "connection silent",
            Self::Start(_) | Self::Thaw(_) | Self::Join | Self::Proxy(Mode::Open) => return None,
        })
    }
}

/// An action and when it is done, counted from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) at: Duration,
    pub(crate) action: Action,
}

/// What happens in a run of this length.
pub(crate) fn plan(seed: u64, length: Duration, lease: Duration) -> Vec<Planned> {
    let mut planner = Planner { rng: Rng::with_seed(seed), lease, busy: BTreeMap::new(), plan: Vec::new() };
    let mut at = Duration::from_secs(1);
    while at < length {
        planner.fault(at);
        at += Duration::from_millis(planner.rng.u64(PAUSE_MS));
    }
    let mut plan = planner.plan;
    for planned in &mut plan {
        planned.at = planned.at.min(length);
    }
    plan.sort_by_key(|planned| planned.at);
    plan
}

struct Planner {
    rng: Rng,
    lease: Duration,
    /// Until when something is in a fault's hands.
    busy: BTreeMap<Held, Duration>,
    plan: Vec<Planned>,
}

impl Planner {
    /// Begins a fault, if its target is free.
    fn fault(&mut self, at: Duration) {
        let worker = Target::Worker(self.rng.usize(..WORKERS));
        let api = Target::Api(self.rng.usize(..APIS));
        let leases = |rng: &mut Rng, from: f64, to: f64| self.lease.mul_f64(from + (to - from) * rng.f64());
        let rng = &mut self.rng;
        match rng.u32(0..100) {
            0..21 => self.kill(worker, at, 100..2500),
            21..28 => self.kill(api, at, 100..2500),
            28..35 => self.kill(Target::Redis, at, 50..1500),
            35..37 => ALL.into_iter().for_each(|target| self.kill(target, at, 50..2500)),
            37..48 => {
                let (target, most) = match rng.u32(0..11) {
                    0..7 => (worker, 3.0),
                    7..9 => (api, 2.0),
                    _ => (Target::Redis, 1.5),
                };
                let length = leases(rng, 0.2, most);
                self.span(Held::Process(target), at, length, Action::Freeze(target), Action::Thaw(target));
            }
            48..55 => self.push(at, Action::FlushScripts),
            55..61 => self.push(at, Action::KillClients("normal")),
            61..64 => self.push(at, Action::KillClients("pubsub")),
            64..70 => {
                let length = leases(rng, 0.1, 2.0);
                let pause = Action::PauseClients(u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
                if self.take(Held::Process(Target::Redis), at, length) {
                    self.push(at, pause);
                }
            }
            70..80 => {
                let length = leases(rng, 0.2, 3.0);
                self.span(Held::Link, at, length, Action::Cut, Action::Join);
            }
            80..91 => {
                let length = leases(rng, 0.05, 2.0);
                let mode = if rng.u32(0..3) == 0 { Mode::Silent } else { Mode::Deaf };
                self.span(Held::Proxy, at, length, Action::Proxy(mode), Action::Proxy(Mode::Open));
            }
            91..97 => self.terminate(worker, at),
            _ => self.terminate(api, at),
        }
    }

    /// Whether it was free; from now on it is not.
    fn take(&mut self, held: Held, at: Duration, length: Duration) -> bool {
        let busy = self.busy.entry(held).or_default();
        let free = *busy <= at;
        if free {
            *busy = at + length + SETTLE;
        }
        free
    }

    fn push(&mut self, at: Duration, action: Action) {
        self.plan.push(Planned { at, action });
    }

    fn span(&mut self, held: Held, at: Duration, length: Duration, begin: Action, end: Action) {
        if self.take(held, at, length) {
            self.push(at, begin);
            self.push(at + length, end);
        }
    }

    fn kill(&mut self, target: Target, at: Duration, away_ms: std::ops::Range<u64>) {
        let away = Duration::from_millis(self.rng.u64(away_ms));
        self.span(Held::Process(target), at, away, Action::Kill(target), Action::Start(target));
    }

    fn terminate(&mut self, target: Target, at: Duration) {
        if self.take(Held::Process(target), at, GRACE + 3 * self.lease) {
            self.push(at, Action::Terminate(target));
        }
    }
}

/// Does what is planned, and watches the processes meanwhile.
pub(crate) struct Injector<'a> {
    cluster: &'a mut Cluster,
    history: &'a History,
    losses: &'a mut Losses,
    /// Processes that were told to end, and when.
    ending: BTreeMap<Target, Instant>,
    /// Redis was started and has not answered yet.
    redis_starts: bool,
    /// How often each kind of fault was done.
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl<'a> Injector<'a> {
    pub(crate) fn new(cluster: &'a mut Cluster, history: &'a History, losses: &'a mut Losses) -> Self {
        Self {
            cluster,
            history,
            losses,
            ending: BTreeMap::new(),
            redis_starts: false,
            counts: BTreeMap::new(),
        }
    }

    /// Until all is done and every process that was told to end has.
    pub(crate) fn run(&mut self, plan: &[Planned]) -> Result<()> {
        let start = Instant::now();
        let mut left = plan.iter().peekable();
        while left.peek().is_some() || !self.ending.is_empty() || self.redis_starts {
            while let Some(planned) = left.next_if(|planned| planned.at <= start.elapsed()) {
                self.act(planned.action);
            }
            self.look()?;
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Takes care that everything runs that should.
    pub(crate) fn look(&mut self) -> Result<()> {
        for target in ALL {
            let process = process(self.cluster, target);
            let told = self.ending.get(&target);
            let Some(status) = process.ended()? else {
                if told.is_some_and(|told| told.elapsed() > LONGEST_END) {
                    let what = format!("it did not end within {LONGEST_END:?} of SIGTERM");
                    self.history.note(What::Misbehaved { process: process.name.clone(), what });
                    self.ending.remove(&target);
                    process.kill()?;
                    process.start()?;
                }
                continue;
            };
            let what = match told {
                Some(_) if status.success() => None,
                Some(_) => Some(format!("told to end, it ended with {status}")),
                None => Some(format!("it ended by itself with {status}")),
            };
            if let Some(what) = what {
                self.history.note(What::Misbehaved { process: process.name.clone(), what });
            }
            self.ending.remove(&target);
            process.start()?;
            self.history.fault(format!("Start({target:?})"));
        }
        if self.redis_starts && self.redis(&redis::cmd("PING")).is_ok() {
            self.redis_starts = false;
            self.losses.redis_is_back();
            self.history.fault("redis answers again");
        }
        Ok(())
    }

    fn act(&mut self, action: Action) {
        match self.try_act(action) {
            Ok(()) => {
                self.history.fault(format!("{action:?}"));
                if let Some(fault) = action.fault() {
                    *self.counts.entry(fault).or_default() += 1;
                }
            }
            // Redis may be away, for one.
            Err(error) => self.history.fault(format!("{action:?} could not be done: {error:#}")),
        }
    }

    fn try_act(&mut self, action: Action) -> Result<()> {
        match action {
            Action::Kill(target) => {
                anyhow::ensure!(!self.ending.contains_key(&target), "it is ending");
                let process = process(self.cluster, target);
                match (target, process.pid()) {
                    (Target::Worker(_), Some(pid)) => self.losses.kill(pid, || process.kill())?,
                    (Target::Redis, _) => {
                        process.kill()?;
                        self.losses.redis_went();
                    }
                    _ => process.kill()?,
                }
            }
            Action::Start(target) => {
                process(self.cluster, target).start()?;
                self.redis_starts |= target == Target::Redis;
            }
            Action::Freeze(target) => {
                process(self.cluster, target).signal(Signal::STOP)?;
                if target == Target::Redis {
                    self.losses.redis_went();
                }
            }
            Action::Thaw(target) => {
                process(self.cluster, target).signal(Signal::CONT)?;
                if target == Target::Redis {
                    self.losses.redis_answers();
                }
            }
            Action::Terminate(target) => {
                process(self.cluster, target).signal(Signal::TERM)?;
                self.ending.insert(target, Instant::now());
            }
            Action::FlushScripts => self.redis(redis::cmd("SCRIPT").arg("FLUSH"))?,
            Action::KillClients(kind) => {
                self.redis(redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg(kind).arg("SKIPME").arg("yes"))?;
            }
            Action::PauseClients(ms) => {
                self.redis(redis::cmd("CLIENT").arg("PAUSE").arg(ms).arg("ALL"))?;
                self.losses.redis_paused(ms);
            }
            Action::Cut => match &self.cluster.link {
                Some(link) => link.cut()?,
                None => self.cluster.proxy.set(Mode::Silent),
            },
            Action::Join => match &self.cluster.link {
                Some(link) => link.join()?,
                None => self.cluster.proxy.set(Mode::Open),
            },
            Action::Proxy(mode) => self.cluster.proxy.set(mode),
        }
        Ok(())
    }

    fn redis(&self, command: &redis::Cmd) -> Result<()> {
        Ok(command.exec(&mut self.cluster.connection()?)?)
    }
}

fn process(cluster: &mut Cluster, target: Target) -> &mut Process {
    match target {
        Target::Worker(number) => &mut cluster.workers[number],
        Target::Api(number) => &mut cluster.apis[number],
        Target::Redis => &mut cluster.redis,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_mins(10);
    const LEASE: Duration = Duration::from_secs(1);

    #[test]
    fn a_seed_is_a_plan() {
        assert_eq!(plan(7, LENGTH, LEASE), plan(7, LENGTH, LEASE));
        assert_ne!(plan(7, LENGTH, LEASE), plan(8, LENGTH, LEASE));
    }

    #[test]
    fn a_long_plan_has_faults_of_every_kind_and_several_in_ten_seconds() {
        let mut kinds = BTreeMap::new();
        for planned in plan(1, LENGTH, LEASE) {
            if let Some(fault) = planned.action.fault() {
                *kinds.entry(fault).or_insert(0) += 1;
            }
        }
        assert_eq!(kinds.len(), 15, "{kinds:?}");
        assert!(kinds.values().sum::<i32>() > 180, "{kinds:?}");
    }

    #[test]
    fn what_begins_ends() {
        for seed in 0..50 {
            let mut down = BTreeMap::new();
            for planned in plan(seed, Duration::from_secs(30), LEASE) {
                let (target, change) = match planned.action {
                    Action::Kill(target) | Action::Freeze(target) => (Held::Process(target), 1),
                    Action::Start(target) | Action::Thaw(target) => (Held::Process(target), -1),
                    Action::Cut => (Held::Link, 1),
                    Action::Join => (Held::Link, -1),
                    Action::Proxy(mode) => (Held::Proxy, if mode == Mode::Open { -1 } else { 1 }),
                    _ => continue,
                };
                let count = down.entry(target).or_insert(0);
                *count += change;
                assert!((0..=1).contains(count), "seed {seed}: {planned:?}");
            }
            assert!(down.values().all(|&count| count == 0), "seed {seed}: {down:?}");
        }
    }
}
