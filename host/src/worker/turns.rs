//! The worker's loop: tell the store what has ended, take what is ready, start it.
//!
//! A slot is taken before a task is claimed. One call is in flight at a time; what ends in the
//! meantime goes with the next one, so that batches grow with the load and an idle worker waits
//! for nothing.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use sentinel_queue::{
    Millis, TaskId,
    lease::{Claimed, MAX_CALL, Settlement, Token, Turn, TurnAnswer},
    queue::chance,
    store::StoreError,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
};

use super::{
    Shared,
    attempt::{self, Claim},
    settle::Done,
    spans::{Attempted, Taken, Unsettled},
};

/// Idle workers look this often even if nobody wakes them.
const POLL: Duration = Duration::from_secs(1);

/// How long a worker that could not start what it claimed claims nothing, unless an attempt ends.
const PRESSURE: Duration = Duration::from_secs(1);

/// How much a call may carry, besides its last settlement.
const CALL_BYTES: usize = 4 * 1024 * 1024;

/// An attempt that ended.
pub(super) struct Ended {
    pub(super) id: TaskId,
    pub(super) token: Token,
    pub(super) done: Done,
    /// It could not start for want of room.
    pub(super) pressure: bool,
    /// What is told to whoever traces it.
    pub(super) told: Option<Box<Attempted>>,
}

/// The loop's own state.
pub(super) struct Turns {
    shared: Arc<Shared>,
    slots: Arc<Semaphore>,
    ended: mpsc::UnboundedReceiver<Ended>,
    report: mpsc::UnboundedSender<Ended>,
    settlements: VecDeque<Settlement>,
    /// What is told of these once the store has them.
    told: HashMap<(TaskId, Token), Box<Attempted>>,
    releases: Vec<(TaskId, Token)>,
    /// The call that nobody has answered yet, with the slots for what it may bring.
    unanswered: Option<(Turn, Vec<OwnedSemaphorePermit>)>,
    number: u64,
    /// There may be something to claim.
    hungry: bool,
    draining: bool,
    pressed_until: Option<Instant>,
    /// The queues that had nothing when they were last asked, and when a task is due.
    asked: Vec<Bytes>,
    next_due: Option<Instant>,
    waiter: Option<JoinHandle<Result<bool, StoreError>>>,
}

impl Turns {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (report, ended) = mpsc::unbounded_channel();
        Self {
            slots: Arc::new(Semaphore::new(shared.config.slots.get() as usize)),
            shared,
            ended,
            report,
            settlements: VecDeque::new(),
            told: HashMap::new(),
            releases: Vec::new(),
            unanswered: None,
            number: 0,
            hungry: true,
            draining: false,
            pressed_until: None,
            asked: Vec::new(),
            next_due: None,
            waiter: None,
        }
    }

    /// Works until `drain` ends, then until what runs has ended or been given back.
    pub(super) async fn run(mut self, drain: impl Future<Output = ()>) {
        let mut drain = std::pin::pin!(drain);
        loop {
            self.collect();
            // Looked at each time: a busy worker never waits below.
            let told_to_stop = tokio::select! {
                biased;
                () = &mut drain => true,
                () = std::future::ready(()) => false,
            };
            if told_to_stop {
                return self.drain().await;
            }
            self.give_back().await;
            if self.unanswered.is_some() || !self.settlements.is_empty() || self.may_claim() {
                self.turn().await;
                continue;
            }
            tokio::select! {
                () = self.something_happens() => {}
                () = &mut drain => return self.drain().await,
            }
        }
    }

    /// Claims nothing more; lets what runs finish within the grace period, and gives back the rest.
    async fn drain(mut self) {
        self.draining = true;
        self.shared.draining.store(true, Ordering::Relaxed);
        if let Some(waiter) = self.waiter.take() {
            waiter.abort();
        }
        let since = Instant::now();
        let grace = since + self.shared.config.grace;
        let mut stopped = false;
        tracing::info!(running = self.shared.leases.count(), "draining: no new tasks are claimed");
        loop {
            self.collect();
            if self.shared.leases.count() == 0 && self.unanswered.is_none() && self.releases.is_empty() {
                return;
            }
            let left = grace.saturating_duration_since(Instant::now());
            if left.is_zero() && !stopped {
                stopped = true;
                self.shared.leases.stop_all();
            } else if left.is_zero() && grace.elapsed() > self.shared.lease() {
                // The store has been away all the while: what is left is run again elsewhere.
                tracing::warn!(tasks = self.shared.leases.count(), "leases are left to end by themselves");
                return;
            } else if self.shared.leases.count() == 0 && since.elapsed() > self.shared.lease() {
                tracing::warn!("the store does not say whether a last claim brought tasks");
                return;
            }
            // These may have been the last.
            if !self.releases.is_empty() {
                self.give_back().await;
                continue;
            }
            if self.unanswered.is_some() || !self.settlements.is_empty() {
                self.turn().await;
                if self.unanswered.is_some() {
                    // The store is away.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                continue;
            }
            let wait = if stopped { Duration::from_millis(100) } else { left };
            if let Ok(Some(ended)) = tokio::time::timeout(wait, self.ended.recv()).await {
                self.note(ended);
            }
        }
    }

    /// Takes note of everything that has ended.
    fn collect(&mut self) {
        while let Ok(ended) = self.ended.try_recv() {
            self.note(ended);
        }
    }

    fn note(&mut self, ended: Ended) {
        self.pressed_until = ended.pressure.then(|| Instant::now() + PRESSURE);
        match ended.done {
            Done::Settle(settlement) => {
                if let Some(told) = ended.told {
                    self.told.insert((ended.id, ended.token), told);
                }
                self.settlements.push_back(*settlement);
            }
            Done::Release => {
                tell(ended.told, Unsettled::Released);
                self.releases.push((ended.id, ended.token));
            }
            Done::Forget => {
                tell(ended.told, Unsettled::Cancelled);
                self.shared.leases.remove(ended.id, &ended.token);
            }
        }
    }

    fn may_claim(&self) -> bool {
        let pressed = self.pressed_until.is_some_and(|until| until > Instant::now());
        self.hungry && !self.draining && !pressed && self.slots.available_permits() > 0
    }

    async fn give_back(&mut self) {
        if self.releases.is_empty() {
            return;
        }
        let batch: Vec<_> = self.releases.iter().take(MAX_CALL).cloned().collect();
        match self.shared.queue.release(&batch).await {
            Ok(_held) => {
                self.releases.drain(..batch.len());
                for (id, token) in batch {
                    self.shared.leases.remove(id, &token);
                }
            }
            Err(error) => {
                tracing::warn!(%error, tasks = self.releases.len(), "tasks could not be given back yet");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// One settle + claim; again the one before, if nobody answered that.
    async fn turn(&mut self) {
        let (turn, mut permits) = match self.unanswered.take() {
            Some(unanswered) => unanswered,
            None => self.next_turn(),
        };
        let Some((answer, sent)) = self.exchange(&turn).await else {
            // Nobody knows whether it was done. Under another number the store would not tell
            // which tasks it brought: they would be lost.
            self.unanswered = Some((turn, permits));
            return;
        };
        if answer.superseded {
            // Told again under a new number, settlements are not done twice.
            turn.settlements.into_iter().rev().for_each(|settlement| self.settlements.push_front(settlement));
            return;
        }
        for (settlement, taken) in turn.settlements.iter().zip(&answer.settled) {
            self.settled(settlement, if *taken { Taken::InTime } else { Taken::TooLate }, sent, &turn);
        }
        if turn.wanted > 0 {
            self.hungry = answer.claimed.len() == turn.wanted;
            self.asked = answer.asked;
            self.next_due = answer.next_due.map(|due| Instant::now() + due);
        }
        self.shared.set_lease(answer.lease);
        for task in answer.claimed {
            if self.draining {
                self.releases.push((task.definition.id, task.token));
                continue;
            }
            let slot = permits.pop().expect("no more tasks are claimed than slots are taken");
            self.start(task, slot, sent, answer.now);
        }
    }

    /// The store has answered a settlement.
    fn settled(&mut self, settlement: &Settlement, taken: Taken, sent: Instant, turn: &Turn) {
        let Settlement { id, token, .. } = settlement;
        let told = if self.told.is_empty() { None } else { self.told.remove(&(*id, token.clone())) };
        if matches!(taken, Taken::TooLate) {
            let log = told.as_ref().map_or_else(tracing::Span::none, |told| told.log_span());
            log.in_scope(|| tracing::warn!(task = %id, "a result came too late: the lease is another's"));
        }
        if let Some(told) = told {
            told.settled(settlement, taken, sent, turn.settlements.len());
        }
        self.shared.leases.remove(*id, token);
    }

    fn next_turn(&mut self) -> (Turn, Vec<OwnedSemaphorePermit>) {
        let settlements = self.next_batch();
        // What guests bring must not pile up faster than the store takes it.
        let permits = if self.settlements.is_empty() { self.free_slots() } else { Vec::new() };
        self.number += 1;
        (Turn { number: self.number, settlements, wanted: permits.len() }, permits)
    }

    /// The oldest settlements that fit in one call.
    fn next_batch(&mut self) -> Vec<Settlement> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < MAX_CALL && bytes < CALL_BYTES {
            let Some(settlement) = self.settlements.pop_front() else { break };
            bytes += settlement.size();
            batch.push(settlement);
        }
        batch
    }

    fn free_slots(&self) -> Vec<OwnedSemaphorePermit> {
        let pressed = self.pressed_until.is_some_and(|until| until > Instant::now());
        if self.draining || pressed {
            return Vec::new();
        }
        let free = self.slots.available_permits().min(MAX_CALL);
        std::iter::from_fn(|| Arc::clone(&self.slots).try_acquire_owned().ok()).take(free).collect()
    }

    /// Makes the call, and the same call again while nobody answers, for one lease at most: there
    /// is more to do than this. With the answer comes when it was asked for last: leases are no
    /// older than that.
    async fn exchange(&self, turn: &Turn) -> Option<(TurnAnswer, Instant)> {
        let shared = &self.shared;
        let since = Instant::now();
        let mut wait = Duration::from_millis(20);
        loop {
            let sent = Instant::now();
            match shared.queue.settle_and_claim(&shared.instance, &shared.config.served, turn).await {
                Ok(answer) => return Some((answer, sent)),
                Err(error) => {
                    if wait == Duration::from_millis(20) {
                        tracing::warn!(%error, "the store did not answer a claim; asking again");
                    }
                    // A worker that drains has other things to look at, too.
                    if self.draining || since.elapsed() > shared.lease() {
                        return None;
                    }
                }
            }
            tokio::time::sleep(wait.mul_f64(0.5 + chance() / 2.0)).await;
            // What it may have brought must be known before its lease ends.
            wait = (wait * 2).min(shared.lease() / 10);
        }
    }

    fn start(&self, task: Claimed, slot: OwnedSemaphorePermit, sent: Instant, now: Millis) {
        let claim = Claim { task, slot, sent, now };
        attempt::start(Arc::clone(&self.shared), claim, self.report.clone());
    }

    /// Waits until there is something to tell or to take.
    async fn something_happens(&mut self) {
        let idle = !self.draining && self.pressed_until.is_none() && self.slots.available_permits() > 0;
        if idle && self.waiter.is_none() {
            self.waiter = Some(self.wait_for_work());
        }
        let pressed = self.pressed_until;
        tokio::select! {
            Some(ended) = self.ended.recv() => self.note(ended),
            woken = join(&mut self.waiter) => {
                self.waiter = None;
                match woken {
                    // Another worker may have room for it.
                    Ok(true) if self.slots.available_permits() == 0 || self.pressed_until.is_some() => {
                        self.pass_on().await;
                    }
                    Ok(_) => self.hungry = true,
                    Err(_) => {
                        tokio::time::sleep(Duration::from_millis(100).mul_f64(0.5 + chance())).await;
                        self.hungry = true;
                    }
                }
            }
            () = until(pressed) => {
                self.pressed_until = None;
                self.hungry = true;
            }
        }
    }

    fn wait_for_work(&self) -> JoinHandle<Result<bool, StoreError>> {
        let poll = POLL.mul_f64(0.75 + chance() / 2.0);
        let due = self.next_due.map_or(poll, |due| due.saturating_duration_since(Instant::now()));
        let queue = self.shared.queue.clone();
        let asked = self.asked.clone();
        tokio::spawn(async move { queue.wait(&asked, poll.min(due)).await })
    }

    async fn pass_on(&self) {
        if let Err(error) = self.shared.queue.wake(&self.asked).await {
            // Idle workers look by themselves within a second.
            tracing::debug!(%error, "a marker could not be passed on");
        }
    }
}

fn tell(told: Option<Box<Attempted>>, how: Unsettled) {
    if let Some(told) = told {
        told.unsettled(how);
    }
}

/// The outcome of a waiter; for ever if there is none.
async fn join(waiter: &mut Option<JoinHandle<Result<bool, StoreError>>>) -> Result<bool, StoreError> {
    match waiter {
        Some(waiter) => waiter.await.unwrap_or(Ok(false)),
        None => std::future::pending().await,
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
