//! Random histories: what may happen, as plain data. Who or what is meant is picked when a step is
//! taken (`pick` modulo what is there), so that a history can be cut short anywhere.

use proptest::{prelude::*, strategy::LazyJust};
use sentinel_queue::steer::OperationKind;

/// How a call and its answer travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// As they should.
    Fine,
    /// The request is delivered twice.
    Doubled,
    /// The answer is lost, and the caller asks again.
    Unanswered,
    /// The request is delivered, and a copy of it much later.
    Copied,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    Complete,
    Fail,
    Retry,
    Elsewhere,
}

/// What a submitted task asks for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) queue: usize,
    pub(crate) priority: i64,
    pub(crate) delay: Option<u64>,
    pub(crate) expires: Option<u64>,
    pub(crate) idempotency: Option<u8>,
    pub(crate) payload: bool,
    pub(crate) key: Option<u8>,
    pub(crate) parents: Vec<usize>,
    pub(crate) always: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Several are a batch; `chained`: each waits for the one before it.
    Submit {
        wishes: Vec<Wish>,
        chained: bool,
        wire: Wire,
    },
    SubmitAgain {
        pick: usize,
    },
    Turn {
        worker: usize,
        settle: usize,
        ending: Ending,
        wanted: usize,
        wire: Wire,
    },
    /// A copy of an old call arrives.
    Late {
        pick: usize,
    },
    /// A worker settles what it lost.
    Stale {
        pick: usize,
        ending: Ending,
    },
    Renew {
        worker: usize,
        advertises: bool,
        wire: Wire,
    },
    Release {
        worker: usize,
        pick: usize,
        wire: Wire,
    },
    /// The worker is gone with all it holds, and another one comes.
    Die {
        worker: usize,
    },
    Sweep,
    Cancel {
        pick: usize,
        wire: Wire,
    },
    Redrive {
        pick: usize,
        wire: Wire,
    },
    Reschedule {
        pick: usize,
        delay: Option<u64>,
        priority: Option<i64>,
        wire: Wire,
    },
    Pause {
        queue: usize,
        paused: bool,
    },
    Set {
        queue: usize,
        rate: Option<u32>,
        concurrency: Option<u32>,
        per_key: u32,
        aging: bool,
    },
    Operate {
        kind: OperationKind,
        queue: usize,
    },
    Retain {
        count: u64,
        seconds: u64,
    },
    /// Also an outage: nobody calls anything meanwhile.
    Advance {
        millis: u64,
    },
    TurnBack {
        millis: u64,
    },
    /// Everybody goes on as they should for a while: sweeps twice in a heartbeat.
    Pass {
        seconds: u64,
    },
    Reopen,
}

fn wire() -> impl Strategy<Value = Wire> {
    prop_oneof![
        6 => Just(Wire::Fine), 1 => Just(Wire::Doubled), 1 => Just(Wire::Unanswered), 1 => Just(Wire::Copied),
    ]
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        4 => Just(Ending::Complete), 1 => Just(Ending::Fail),
        3 => Just(Ending::Retry), 1 => Just(Ending::Elsewhere),
    ]
}

fn rarely<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.2, value)
}

fn wish() -> impl Strategy<Value = Wish> {
    let time = (rarely(0..30_000_u64), rarely(0..60_000_u64));
    let keys = (rarely(0..3_u8), prop::bool::weighted(0.9), rarely(0..2_u8));
    let parents = (prop::collection::vec(any::<usize>(), 0..3), prop::bool::weighted(0.3), any::<bool>());
    (0..3_usize, -2..=2_i64, time, keys, parents).prop_map(
        |(queue, priority, (delay, expires), (idempotency, payload, key), (parents, dependent, always))| {
            Wish {
                queue,
                priority,
                delay,
                expires,
                idempotency,
                payload,
                key,
                parents: if dependent { parents } else { Vec::new() },
                always,
            }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let queue = 0..3_usize;
    let worker = 0..3_usize;
    let pick = any::<usize>();
    let kind =
        prop_oneof![Just(OperationKind::Cancel), Just(OperationKind::Redrive), Just(OperationKind::Purge),];
    let submit = (prop::collection::vec(wish(), 1..5), prop::bool::weighted(0.2), wire())
        .prop_map(|(wishes, chained, wire)| Step::Submit { wishes, chained, wire });
    let turn = (worker.clone(), 0..4_usize, ending(), 0..20_usize, wire()).prop_map(
        |(worker, settle, ending, wanted, wire)| Step::Turn { worker, settle, ending, wanted, wire },
    );
    let millis = prop_oneof![0..50_u64, 0..12_000_u64, Just(45_000_u64), Just(3_700_000), Just(90_000_000)];
    let set = (queue.clone(), rarely(1..6_u32), rarely(0..3_u32), 1..3_u32, prop::bool::weighted(0.2))
        .prop_map(|(queue, rate, concurrency, per_key, aging)| Step::Set {
            queue,
            rate,
            concurrency: concurrency.map(|limit| limit + 1),
            per_key,
            aging,
        });
    prop_oneof![
        8 => submit,
        1 => pick.prop_map(|pick| Step::SubmitAgain { pick }),
        14 => turn,
        2 => pick.prop_map(|pick| Step::Late { pick }),
        2 => (pick, ending()).prop_map(|(pick, ending)| Step::Stale { pick, ending }),
        3 => (worker.clone(), any::<bool>(), wire())
            .prop_map(|(worker, advertises, wire)| Step::Renew { worker, advertises, wire }),
        2 => (worker.clone(), pick, wire()).prop_map(|(worker, pick, wire)| Step::Release { worker, pick, wire }),
        1 => worker.prop_map(|worker| Step::Die { worker }),
        5 => LazyJust::new(|| Step::Sweep),
        3 => (pick, wire()).prop_map(|(pick, wire)| Step::Cancel { pick, wire }),
        3 => (pick, wire()).prop_map(|(pick, wire)| Step::Redrive { pick, wire }),
        2 => (pick, rarely(0..30_000_u64), rarely(-2..=2_i64), wire()).prop_map(
            |(pick, delay, priority, wire)| Step::Reschedule { pick, delay, priority, wire }),
        1 => (queue.clone(), any::<bool>()).prop_map(|(queue, paused)| Step::Pause { queue, paused }),
        2 => set,
        1 => (kind, queue).prop_map(|(kind, queue)| Step::Operate { kind, queue }),
        1 => (0..4_u64, 0..1000_u64).prop_map(|(count, seconds)| Step::Retain { count, seconds }),
        7 => millis.prop_map(|millis| Step::Advance { millis }),
        1 => (0..60_000_u64).prop_map(|millis| Step::TurnBack { millis }),
        3 => (1..25_u64).prop_map(|seconds| Step::Pass { seconds }),
        1 => LazyJust::new(|| Step::Reopen),
    ]
}

/// A history.
pub(crate) fn history() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..100)
}
