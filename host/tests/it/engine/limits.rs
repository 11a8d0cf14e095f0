//! What an attempt is given, what it says, and what it is charged.

use std::time::Duration;

use sentinel_host::engine::{Call, Fault, Limits, Outcome};

use super::lab::{act, assert_fault, failure, lab, task};

#[test]
fn a_result_is_kept_byte_for_byte() {
    let echo = act("\"echo\", \"n\" : 123456789012345678901234567890, \"e\":[{ }]");
    assert_eq!(echo.returns(), echo.payload());
}

#[test]
fn a_job_fails_as_it_asks() {
    let fault = |ask| failure(act(ask).run());
    assert_fault(&fault("\"retryable\""), Fault::Retryable);
    assert_fault(&fault("\"permanent\""), Fault::Permanent);
    let later = fault("\"retry-after\",\"ms\":1500");
    assert_fault(&later, Fault::RetryAfter(Duration::from_millis(1500)));
    assert_eq!(later.message, "as asked");
}

#[test]
fn sleeping_is_not_charged_as_cpu() {
    let report =
        act("\"sleep\",\"ms\":300").limited(|limits| limits.cpu = Some(Duration::from_millis(100))).run();
    assert_eq!(report.outcome, Outcome::Completed("\"ok\"".into()));
    let usage = report.usage;
    assert!(usage.wait >= Duration::from_millis(290) && usage.wall >= usage.wait, "{usage:?}");
    assert!(usage.cpu < Duration::from_millis(100), "{usage:?}");
}

#[test]
fn computing_is_charged_as_cpu_and_not_as_waiting() {
    let usage = act("\"spin\",\"ms\":100").run().usage;
    assert!(usage.cpu > Duration::from_millis(5) && usage.cpu <= usage.wall, "{usage:?}");
    assert!(usage.wait < Duration::from_millis(5), "{usage:?}");
}

#[test]
fn memory_is_measured_at_its_peak() {
    let report = act("\"memory-to\",\"mib\":64").run();
    assert_eq!(report.outcome, Outcome::Completed("64".into()));
    let peak = report.usage.peak_memory_bytes;
    assert!((64 << 20..80 << 20).contains(&peak), "{peak}");
}

#[test]
fn a_guest_may_live_with_being_refused_memory() {
    let mebibytes: u32 = act("\"memory-refused\"").returns().parse().expect("a number");
    assert!((100..128).contains(&mebibytes), "{mebibytes}");
}

#[test]
fn what_crosses_the_boundary_is_counted() {
    let echo = act("\"echo\"");
    let usage = echo.run().usage;
    assert_eq!(usage.transfer_bytes, 2 * echo.payload().len() as u64);
}

#[test]
fn a_task_s_timeout_replaces_the_wall_time_up_to_the_ceiling() {
    let plugin = &lab().hostile;
    assert_eq!(plugin.limits_for(Duration::from_mins(5)).wall, Duration::from_mins(5));
    assert_eq!(plugin.limits_for(Duration::MAX).wall, Duration::from_hours(24));
    let call = Call::new(plugin, task("{}", Duration::from_secs(7)));
    assert_eq!(call.limits, Limits { wall: Duration::from_secs(7), ..Limits::default() });
}

#[test]
fn a_plugin_gets_the_limits_it_asks_for_up_to_the_ceilings() {
    let asked = Limits { memory_bytes: 256 << 20, handles: usize::MAX, ..Limits::default() };
    let plugin = lab().hostile.with_limits(&asked);
    assert_eq!(plugin.limits().memory_bytes, 256 << 20);
    assert_eq!(plugin.limits().handles, 10_000);
    let call = Call::new(&plugin, task(act("\"memory-to\",\"mib\":200").payload(), Duration::from_secs(30)));
    assert_eq!(lab().run(&plugin, call).outcome, Outcome::Completed("200".into()));
}
