//! Attempts that are stopped from outside, and attempts for which there is no room.

use std::time::{Duration, Instant};

use sentinel_host::engine::{Call, Engine, EngineConfig, Outcome, Reason};

use super::lab::{MARGIN, act, built, lab, slots, task};

/// Starts it, waits until it has begun, stops it, and says how it ended.
fn stopped(what: &str, reason: Reason) -> Outcome {
    let lab = lab();
    // A report of progress would say that it has begun; these acts make none, so give it time
    // that it does not need.
    let call = act(what).call();
    let interrupt = call.interrupt.clone();
    let attempt = lab.guests.spawn(lab.hostile.run(call, &lab.deadlines));
    std::thread::sleep(Duration::from_millis(50));
    let raised = Instant::now();
    interrupt.raise(reason);
    let report = lab.guests.block_on(attempt).expect("no panic");
    assert!(raised.elapsed() < MARGIN, "took {:?}", raised.elapsed());
    report.outcome
}

#[test]
fn a_busy_guest_is_cancelled() {
    assert_eq!(stopped("\"loop\"", Reason::Cancelled), Outcome::Cancelled);
}

#[test]
fn a_waiting_guest_is_cancelled() {
    assert_eq!(stopped("\"sleep-forever\"", Reason::Cancelled), Outcome::Cancelled);
}

#[test]
fn a_guest_that_the_host_lets_go_of_has_not_failed() {
    assert_eq!(stopped("\"loop\"", Reason::Stopped), Outcome::Stopped);
    assert_eq!(stopped("\"sleep-forever\"", Reason::Stopped), Outcome::Stopped);
}

#[test]
fn what_was_cancelled_before_it_began_does_not_begin() {
    let call = act("\"loop\"").call();
    call.interrupt.raise(Reason::Cancelled);
    let report = lab().run(&lab().hostile, call);
    assert_eq!(report.outcome, Outcome::Cancelled);
    assert_eq!(report.usage.peak_memory_bytes, 0);
}

#[test]
fn a_full_pool_is_pressure_and_passes() {
    let lab = lab();
    let engine = Engine::new(EngineConfig::new(slots(1))).expect("an engine");
    let plugin = engine.admit(&built("hostile")).expect("admitted");
    let start = |what: &str| {
        let call = Call::new(&plugin, task(act(what).payload(), Duration::from_secs(20)));
        lab.guests.spawn(plugin.run(call, &lab.deadlines))
    };
    let many: Vec<_> = (0..20).map(|_| start("\"sleep\",\"ms\":500")).collect();
    let ends: Vec<_> = many
        .into_iter()
        .map(|attempt| lab.guests.block_on(attempt).expect("no panic").outcome)
        .collect();
    let completed = ends.iter().filter(|end| matches!(end, Outcome::Completed(_))).count();
    let pressed = ends.iter().filter(|end| matches!(end, Outcome::Pressure(_))).count();
    assert_eq!(completed + pressed, ends.len(), "{ends:?}");
    assert!(completed > 0 && pressed > 0, "{ends:?}");
    let after = lab.guests.block_on(start("\"ok\"")).expect("no panic").outcome;
    assert_eq!(after, Outcome::Completed("\"ok\"".into()));
}
