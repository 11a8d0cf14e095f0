//! Random histories: what happens, in an order that proptest can shorten. What a step means (which
//! task, which claim) is decided when it is taken, from what is there then.

use proptest::prelude::*;
use sentinel_queue::steer::OperationKind;

/// How a call crosses the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wire {
    /// As it should.
    Once,
    /// Delivered twice, one right after the other.
    Twice,
    /// Done, but the answer is lost: the caller sends it again when it next acts.
    Unanswered,
}

/// A point in time, from now.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Time {
    After(u64),
    At(i64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Parent {
    /// One that was accepted some time ago.
    Known(usize),
    /// An earlier one of the same batch.
    Batch(usize),
    Itself,
    Nobody,
}

/// A task to be submitted.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) queue: u8,
    pub(crate) priority: i64,
    pub(crate) job: u8,
    pub(crate) when: Option<Time>,
    pub(crate) expires: Option<i64>,
    pub(crate) idempotency: Option<u8>,
    pub(crate) key: Option<u8>,
    pub(crate) after: Vec<Parent>,
    pub(crate) always: bool,
    pub(crate) tagged: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    Complete,
    Fail,
    Retry(u64),
    Elsewhere(u64),
}

/// What an operator sets for a queue.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) rate: Option<(u32, u64)>,
    pub(crate) concurrency: Option<u32>,
    pub(crate) per_key: u32,
    pub(crate) aging: Option<u64>,
}

/// Which tasks an operation means.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Among {
    All,
    Queue(u8),
    Tagged,
    Job(u8),
    /// The first half of the states that it may mean.
    Some,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Submit {
        tasks: Vec<Draft>,
        wire: Wire,
    },
    /// Something that was submitted before, and something new, in one call.
    SubmitAgain {
        pick: usize,
        with: Draft,
    },
    /// A worker settles what it holds and claims more.
    Turn {
        worker: usize,
        endings: Vec<Ending>,
        wanted: usize,
        wire: Wire,
    },
    /// A worker settles an attempt that it, or another, lost or settled before.
    SettleLate {
        worker: usize,
        pick: usize,
        ending: Ending,
    },
    Renew {
        worker: usize,
        jobs: bool,
        progress: bool,
        wire: Wire,
    },
    Release {
        worker: usize,
        pick: usize,
        wire: Wire,
    },
    ReleaseLate {
        pick: usize,
    },
    /// A worker dies, and another process takes its place.
    Die {
        worker: usize,
    },
    /// A worker dies with each of some tasks, so many times, while others live.
    Crash {
        times: usize,
    },
    /// A worker gets the same tasks so many times, and nobody has their job.
    Unknown {
        worker: usize,
        times: usize,
    },
    /// An idle worker waits for a sign, and claims if there is one.
    Wait {
        worker: usize,
        wanted: usize,
    },
    Sweep,
    Cancel {
        pick: usize,
        wire: Wire,
    },
    CancelHeld {
        worker: usize,
        pick: usize,
    },
    Redrive {
        pick: usize,
        wire: Wire,
    },
    Reschedule {
        pick: usize,
        when: Option<Time>,
        priority: Option<i64>,
        wire: Wire,
    },
    Pause {
        queue: u8,
        paused: bool,
    },
    SetQueue {
        queue: u8,
        limits: Limits,
        wire: Wire,
    },
    StartOperation {
        kind: OperationKind,
        among: Among,
        dry: bool,
        at_once: bool,
        wire: Wire,
    },
    Operate,
    Retain {
        age: u64,
        count: u64,
    },
    Watch {
        pick: usize,
    },
    Reopen,
    /// A copy of an earlier call, which the network had kept.
    Straggler {
        pick: usize,
    },
    /// Time passes, and nobody calls.
    Advance {
        millis: u64,
    },
    /// Time passes while somebody sweeps, as somebody always does.
    Pass {
        millis: u64,
    },
    /// The clock steps back.
    TurnBack {
        millis: u64,
    },
    /// Everything is looked at.
    Look {
        page: usize,
    },
}

fn wire() -> impl Strategy<Value = Wire> {
    prop_oneof![4 => Just(Wire::Once), 2 => Just(Wire::Twice), 1 => Just(Wire::Unanswered)]
}

fn queue() -> impl Strategy<Value = u8> {
    prop_oneof![4 => Just(0_u8), 2 => Just(1), 1 => Just(2)]
}

fn span() -> impl Strategy<Value = u64> {
    prop_oneof![
        2 => Just(0_u64), 1 => Just(1), 2 => 0..3_000_u64, 2 => Just(5_000), 2 => 5_000..30_000_u64,
        1 => Just(61_000), 1 => Just(3_600_000),
    ]
}

fn time() -> impl Strategy<Value = Time> {
    prop_oneof![
        3 => span().prop_map(Time::After),
        1 => span().prop_map(|span| Time::At(i64::try_from(span).expect("small"))),
        1 => (1..100_000_i64).prop_map(|before| Time::At(-before)),
    ]
}

fn parent() -> impl Strategy<Value = Parent> {
    prop_oneof![
        60 => any::<usize>().prop_map(Parent::Known),
        60 => any::<usize>().prop_map(Parent::Batch),
        1 => Just(Parent::Itself),
        1 => Just(Parent::Nobody),
    ]
}

fn priority() -> impl Strategy<Value = i64> {
    prop_oneof![4 => Just(0_i64), 2 => -2..=2_i64, 1 => Just(1000), 1 => Just(-1000)]
}

fn draft() -> impl Strategy<Value = Draft> {
    let after = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(parent(), 1..4)];
    (
        (queue(), priority(), prop_oneof![5 => Just(0_u8), 1 => Just(1)]),
        prop_oneof![4 => Just(None), 1 => time().prop_map(Some)],
        prop_oneof![
            6 => Just(None), 1 => span().prop_map(|span| Some(i64::try_from(span).expect("small"))),
            1 => (-500..30_000_i64).prop_map(Some)
        ],
        prop_oneof![4 => Just(None), 1 => (0..3_u8).prop_map(Some)],
        prop_oneof![2 => Just(None), 2 => (0..2_u8).prop_map(Some)],
        after,
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.3),
    )
        .prop_map(|((queue, priority, job), when, expires, idempotency, key, after, always, tagged)| {
            Draft { queue, priority, job, when, expires, idempotency, key, after, always, tagged }
        })
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        4 => Just(Ending::Complete), 2 => Just(Ending::Fail),
        3 => span().prop_map(Ending::Retry), 1 => (100..500_u64).prop_map(Ending::Elsewhere),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let rate = prop_oneof![
        2 => Just(None),
        2 => (1..4_u32, prop_oneof![Just(10_u64), Just(1_000), Just(7_000), Just(60_000)]).prop_map(Some),
    ];
    let concurrency = prop_oneof![2 => Just(None), 1 => (1..4_u32).prop_map(Some)];
    let aging =
        prop_oneof![6 => Just(None), 1 => prop_oneof![Just(1_u64), Just(1_000), Just(60_000)].prop_map(Some)];
    (rate, concurrency, 1..4_u32, aging).prop_map(|(rate, concurrency, per_key, aging)| Limits {
        rate,
        concurrency,
        per_key,
        aging,
    })
}

fn kind() -> impl Strategy<Value = OperationKind> {
    prop_oneof![Just(OperationKind::Cancel), Just(OperationKind::Redrive), Just(OperationKind::Purge)]
}

fn among() -> impl Strategy<Value = Among> {
    prop_oneof![
        2 => Just(Among::All), 2 => queue().prop_map(Among::Queue), 2 => Just(Among::Tagged),
        1 => (0..2_u8).prop_map(Among::Job), 1 => Just(Among::Some),
    ]
}

fn worker() -> impl Strategy<Value = usize> {
    0..4_usize
}

fn by_workers() -> impl Strategy<Value = Step> {
    let endings = || prop::collection::vec(ending(), 0..5);
    prop_oneof![
        20 => (worker(), endings(), 0..12_usize, wire())
            .prop_map(|(worker, endings, wanted, wire)| Step::Turn { worker, endings, wanted, wire }),
        3 => (worker(), any::<usize>(), ending())
            .prop_map(|(worker, pick, ending)| Step::SettleLate { worker, pick, ending }),
        6 => (worker(), any::<bool>(), any::<bool>(), wire())
            .prop_map(|(worker, jobs, progress, wire)| Step::Renew { worker, jobs, progress, wire }),
        3 => (worker(), any::<usize>(), wire())
            .prop_map(|(worker, pick, wire)| Step::Release { worker, pick, wire }),
        1 => any::<usize>().prop_map(|pick| Step::ReleaseLate { pick }),
        2 => worker().prop_map(|worker| Step::Die { worker }),
        1 => (1..12_usize).prop_map(|times| Step::Crash { times }),
        1 => (worker(), 1..20_usize).prop_map(|(worker, times)| Step::Unknown { worker, times }),
        3 => (worker(), 1..4_usize).prop_map(|(worker, wanted)| Step::Wait { worker, wanted }),
    ]
}

fn by_operators() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<usize>(), wire()).prop_map(|(pick, wire)| Step::Cancel { pick, wire }),
        2 => (worker(), any::<usize>()).prop_map(|(worker, pick)| Step::CancelHeld { worker, pick }),
        5 => (any::<usize>(), wire()).prop_map(|(pick, wire)| Step::Redrive { pick, wire }),
        5 => (any::<usize>(), prop::option::of(time()), prop::option::of(priority()), wire())
            .prop_map(|(pick, when, priority, wire)| Step::Reschedule { pick, when, priority, wire }),
        2 => (queue(), any::<bool>()).prop_map(|(queue, paused)| Step::Pause { queue, paused }),
        5 => (queue(), limits(), wire()).prop_map(|(queue, limits, wire)| Step::SetQueue { queue, limits, wire }),
        4 => (kind(), among(), prop::bool::weighted(0.2), prop::bool::weighted(0.6), wire()).prop_map(
            |(kind, among, dry, at_once, wire)| Step::StartOperation { kind, among, dry, at_once, wire }),
        3 => Just(Step::Operate),
        2 => (prop_oneof![Just(0_u64), Just(300_000), Just(100_000_000)], prop_oneof![Just(0_u64), Just(3), Just(1000)])
            .prop_map(|(age, count)| Step::Retain { age, count }),
        1 => any::<usize>().prop_map(|pick| Step::Watch { pick }),
    ]
}

fn by_itself() -> impl Strategy<Value = Step> {
    let silence = prop_oneof![
        6 => 0..50_u64, 4 => 0..4_000_u64, 2 => Just(6_000), 2 => Just(9_999), 2 => Just(10_000),
        2 => 5_000..25_000_u64, 1 => Just(61_000), 1 => Just(601_000), 1 => Just(3_700_000), 1 => Just(90_000_000),
    ];
    let pass = prop_oneof![2 => 0..6_000_u64, 3 => Just(10_000), 2 => Just(23_000)];
    prop_oneof![
        8 => Just(Step::Sweep),
        10 => silence.prop_map(|millis| Step::Advance { millis }),
        5 => pass.prop_map(|millis| Step::Pass { millis }),
        1 => prop_oneof![0..60_000_u64, Just(7_200_000)].prop_map(|millis| Step::TurnBack { millis }),
        1 => Just(Step::Reopen),
        8 => any::<usize>().prop_map(|pick| Step::Straggler { pick }),
        4 => (1..30_usize).prop_map(|page| Step::Look { page }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (prop::collection::vec(draft(), 1..6), wire()).prop_map(|(tasks, wire)| Step::Submit { tasks, wire }),
        1 => (any::<usize>(), draft()).prop_map(|(pick, with)| Step::SubmitAgain { pick, with }),
        12 => by_workers(),
        8 => by_operators(),
        9 => by_itself(),
    ]
}

pub(crate) fn histories() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 20..120)
}
