//! What a job does wrong, and what it is called. One test per abuse.

use std::{sync::Arc, time::Duration};

use sentinel_host::engine::{Clock, Fault, Outcome};

use super::lab::{act, assert_fault, lab};

const SHORT: Duration = Duration::from_secs(1);

#[test]
fn a_loop_is_a_timeout() {
    let failure = act("\"loop\"").limited(|limits| limits.wall = SHORT).fails();
    assert_fault(&failure, Fault::Timeout(Clock::Wall));
    assert!(failure.backtrace.is_some_and(|frames| frames.contains("hostile")), "where it was is shown");
}

#[test]
fn a_sleep_without_end_is_a_timeout() {
    let failure = act("\"sleep-forever\"").limited(|limits| limits.wall = SHORT).fails();
    assert_fault(&failure, Fault::Timeout(Clock::Wall));
}

#[test]
fn too_much_cpu_is_a_timeout_too() {
    let failure = act("\"loop\"").limited(|limits| limits.cpu = Some(Duration::from_millis(50))).fails();
    assert_fault(&failure, Fault::Timeout(Clock::Cpu));
}

#[test]
fn memory_without_end_is_a_memory_limit() {
    let failure = act("\"memory\"").fails();
    assert_fault(&failure, Fault::MemoryLimit);
}

#[test]
fn recursion_without_end_is_a_stack_overflow() {
    let failure = act("\"recurse\"").fails();
    assert_fault(&failure, Fault::StackOverflow);
    assert!(failure.backtrace.is_some_and(|frames| frames.contains("recurse")));
}

#[test]
fn a_guest_that_overflows_its_own_stack_traps() {
    assert_fault(&act("\"recurse-wide\"").fails(), Fault::Trap);
}

#[test]
fn a_trap_is_a_trap_with_the_guests_backtrace() {
    let failure = act("\"trap\"").fails();
    assert_fault(&failure, Fault::Trap);
    let frames = failure.backtrace.expect("a backtrace");
    assert!(frames.contains("hostile::act_out"), "functions are named: {frames}");
}

#[test]
fn a_panic_is_a_trap_with_the_last_of_stderr() {
    let failure = act("\"panic\",\"message\":\"out of cheese\"").fails();
    assert_fault(&failure, Fault::Trap);
    assert!(failure.message.contains("out of cheese"), "{}", failure.message);
}

#[test]
fn an_exit_with_a_code_is_retryable() {
    let failure = act("\"exit\",\"code\":3").fails();
    assert_fault(&failure, Fault::Retryable);
}

#[test]
fn an_exit_without_a_code_is_bad_output() {
    assert_fault(&act("\"exit\",\"code\":0").fails(), Fault::BadOutput);
}

#[test]
fn a_result_over_the_limit_is_an_output_limit() {
    let failure = act("\"return-big\",\"bytes\":1048577").fails();
    assert_fault(&failure, Fault::OutputLimit);
}

#[test]
fn a_result_too_large_to_take_is_an_output_limit() {
    let failure = act("\"return-big\",\"bytes\":20000000").fails();
    assert_fault(&failure, Fault::OutputLimit);
}

#[test]
fn a_result_of_a_hundred_mebibytes_is_an_output_limit_where_memory_allows_it() {
    let failure =
        act("\"return-big\",\"bytes\":104857600").limited(|limits| limits.memory_bytes = 512 << 20).fails();
    assert_fault(&failure, Fault::OutputLimit);
}

#[test]
fn a_result_as_large_as_the_limit_is_fine() {
    assert_eq!(act("\"return-big\",\"bytes\":1048576").returns().len(), 1 << 20);
}

#[test]
fn a_result_that_is_not_json_is_bad_output() {
    assert_fault(&act("\"return-not-json\"").fails(), Fault::BadOutput);
}

#[test]
fn a_flood_of_output_completes_and_is_truncated_and_counted() {
    let report = act("\"flood-log\",\"bytes\":10000000").run_among_neighbours();
    assert_eq!(report.outcome, Outcome::Completed("\"ok\"".into()));
    assert_eq!(report.log.text.len(), 64 << 10);
    assert_eq!(report.log.dropped_bytes, 20_000_000 - (64 << 10));
}

#[test]
fn a_million_reports_of_progress_are_one() {
    let mut call = act("\"progress\",\"times\":1000000").call();
    let progress = Arc::clone(&call.progress);
    call.limits.wall = Duration::from_mins(1);
    let report = lab().run(&lab().hostile, call);
    assert_eq!(report.outcome, Outcome::Completed("\"ok\"".into()));
    let latest = progress.take_news().expect("a report");
    assert_eq!((latest.percent, latest.message.as_str()), (99, "report 999999"));
    assert_eq!(progress.take_news(), None);
}

#[test]
fn a_long_message_of_progress_is_cut() {
    let call = act("\"big-string\",\"bytes\":100000").call();
    let progress = Arc::clone(&call.progress);
    lab().run(&lab().hostile, call);
    assert_eq!(progress.take_news().expect("a report").message.len(), 1024);
}

#[test]
fn leaked_handles_are_a_host_limit() {
    assert_fault(&act("\"leak-handles\"").fails(), Fault::HostLimit);
}

#[test]
fn too_much_randomness_is_a_host_limit() {
    assert_fault(&act("\"random\",\"bytes\":4294967296").fails(), Fault::HostLimit);
    assert_eq!(act("\"random\",\"bytes\":1000000").returns(), "1000000");
}

#[test]
fn a_string_too_long_for_the_host_is_a_host_limit() {
    let failure = act("\"big-string\",\"bytes\":33554432").fails();
    assert_fault(&failure, Fault::HostLimit);
}

#[test]
fn files_are_out_of_reach() {
    for path in ["../../etc/passwd", "/etc/passwd", ".", "/proc/self/environ"] {
        let result = act(&format!("\"read-file\",\"path\":\"{path}\"")).returns();
        assert!(result.len() < 200 && !result.contains("root:"), "{path}: {result}");
    }
}

#[test]
fn the_network_is_out_of_reach() {
    for attempt in ["\"socket\",\"address\":\"127.0.0.1:22\"", "\"socket\",\"address\":\"[::1]:80\""] {
        assert_ne!(act(attempt).returns(), "\"connected\"");
    }
    let result = act("\"resolve\",\"name\":\"localhost\"").returns();
    assert!(!result.contains("127.0.0.1"), "{result}");
}

#[test]
fn of_the_environment_and_arguments_a_guest_sees_its_own_name() {
    assert_eq!(act("\"env\"").returns(), r#"{"args":["hostile"],"env":{}}"#);
}

#[test]
fn nothing_is_left_in_a_global() {
    assert_eq!(act("\"global\"").returns(), "1");
    assert_eq!(act("\"global\"").returns(), "1");
}
