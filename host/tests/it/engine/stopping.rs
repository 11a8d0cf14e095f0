//! Attempts that are stopped from outside, and attempts for which there is no room.

use std::time::{Duration, Instant};

use sentinel_host::engine::{Call, Engine, EngineConfig, Outcome, Reason, Report};
use tokio::task::JoinHandle;

use super::lab::{MARGIN, act, built, lab, slots, task};

/// Starts it, waits until it has begun, stops it, and says how it ended.
fn stopped(what: &str, reason: Reason) -> Outcome {
    let lab = lab();
    // Nothing tells from outside that it has begun; its memory does afterwards.
    let call = act(what).call();
    let interrupt = call.interrupt.clone();
    let attempt = lab.guests.spawn(lab.hostile.run(call, &lab.deadlines));
    std::thread::sleep(Duration::from_millis(50));
    let raised = Instant::now();
    interrupt.raise(reason);
    let report = lab.guests.block_on(attempt).expect("no panic");
    assert!(raised.elapsed() < MARGIN, "took {:?}", raised.elapsed());
    assert!(report.usage.peak_memory_bytes > 0, "it had begun");
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
    let ends: Vec<_> =
        many.into_iter().map(|attempt| lab.guests.block_on(attempt).expect("no panic").outcome).collect();
    let completed = ends.iter().filter(|end| matches!(end, Outcome::Completed(_))).count();
    let pressed = ends.iter().filter(|end| matches!(end, Outcome::Pressure(_))).count();
    assert_eq!(completed + pressed, ends.len(), "{ends:?}");
    assert!(completed > 0 && pressed > 0, "{ends:?}");
    let after = lab.guests.block_on(start("\"ok\"")).expect("no panic").outcome;
    assert_eq!(after, Outcome::Completed("\"ok\"".into()));
}

#[test]
fn deadlines_hold_and_turns_are_fair_when_every_slot_is_busy() {
    let lab = lab();
    // Long enough for each to have many turns, also beside other tests.
    let wall = Duration::from_secs(2);
    let start = |what: &str| {
        let call = act(what).limited(|limits| limits.wall = wall).call();
        lab.guests.spawn(lab.hostile.run(call, &lab.deadlines))
    };
    let busy: Vec<_> = (0..8).map(|_| start("\"loop\"")).collect();
    let waiting: Vec<_> = (0..8).map(|_| start("\"sleep-forever\"")).collect();
    let usage = |attempts: Vec<JoinHandle<Report>>| -> Vec<_> {
        attempts.into_iter().map(|attempt| lab.guests.block_on(attempt).expect("no panic").usage).collect()
    };
    let (busy, waiting) = (usage(busy), usage(waiting));
    for usage in busy.iter().chain(&waiting) {
        assert!(usage.wall < wall + MARGIN, "{usage:?}");
    }
    let (least, most) = (busy.iter().map(|usage| usage.cpu).min(), busy.iter().map(|usage| usage.cpu).max());
    assert!(most < least.map(|least| 4 * least), "from {least:?} to {most:?}");
}

#[test]
fn hostile_attempts_leave_no_file_descriptor_behind() {
    let open = || std::fs::read_dir("/proc/self/fd").expect("a list").count();
    let try_all = || {
        for what in [
            "\"socket\",\"address\":\"127.0.0.1:9\"",
            "\"resolve\",\"name\":\"localhost\"",
            "\"read-file\",\"path\":\"/etc/passwd\"",
            "\"leak-handles\"",
        ] {
            act(what).run();
        }
    };
    try_all();
    let before = open();
    (0..50).for_each(|_| try_all());
    // Tests beside this one open files, too; two hundred attempts would show.
    assert!(open() < before + 150, "{before} and then {}", open());
}
