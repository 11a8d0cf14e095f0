//! What is near the catalogue of abuse: what somebody would try next who writes a component by hand.

use std::time::Duration;

use sentinel_host::engine::{Clock, Fault, Outcome, Refusal};

use super::{
    lab::{MARGIN, act, assert_fault, failure, lab},
    wat::Job,
};

const SHORT: Duration = Duration::from_millis(300);

/// Runs for a short time, and must be stopped then.
fn assert_stopped(what: &str, job: &Job) {
    let report = job.run_for(SHORT);
    println!("{what}: stopped {:?} after its deadline", report.usage.wall.saturating_sub(SHORT));
    assert!(report.usage.wall < SHORT + MARGIN, "{what}: {:?}", report.usage);
    assert_fault(&failure(report), Fault::Timeout(Clock::Wall));
}

fn fault(job: &Job) -> Fault {
    failure(job.run()).fault
}

#[test]
fn what_is_called_besides_the_job_is_stopped_like_it() {
    assert_stopped("realloc", &Job { realloc: Some("(loop (br 0)) unreachable"), ..Job::default() });
    assert_stopped("post-return", &Job { post_return: Some("(loop (br 0))"), ..Job::default() });
    assert_eq!(fault(&Job { realloc: Some("unreachable"), ..Job::default() }), Fault::Trap);
    assert_eq!(fault(&Job { post_return: Some("unreachable"), ..Job::default() }), Fault::Trap);
    let recursion = Job { module: "(func $f (call $f) (call $f)) (start $f)", ..Job::default() };
    assert_eq!(fault(&recursion), Fault::StackOverflow);
}

/// The guest's own allocator is asked for room, and gives what it has not, or what is not aligned.
#[test]
fn room_that_is_not_there_ends_the_attempt() {
    for place in ["(i32.const 0x7ffffff0)", "(i32.const -1)", "(i32.const 65535)"] {
        let report = Job { realloc: Some(place), ..Job::default() }.run();
        assert!(matches!(report.outcome, Outcome::Failed(_)), "{place}: {report:?}");
    }
}

/// One instruction may take long; between two, it is stopped.
#[test]
fn long_instructions_do_not_put_the_deadline_off() {
    let memory = "(drop (memory.grow $memory (i32.const 1900)))";
    let (bytes, half) = ("(i32.const 124000000)", "(i32.const 62000000)");
    for (what, module, body) in [
        (
            "memory.fill",
            "",
            format!("{memory} (loop (memory.fill $memory (i32.const 0) (i32.const 1) {bytes}) (br 0))"),
        ),
        (
            "memory.copy",
            "",
            format!(
                "{memory} (loop (memory.copy $memory $memory (i32.const 9) (i32.const 0) {half}) (br 0))"
            ),
        ),
        (
            "table.fill",
            "(table $t 19000 funcref)",
            "(loop (table.fill $t (i32.const 0) (ref.null func) (i32.const 19000)) (br 0))".into(),
        ),
        ("memory.grow by nothing", "", "(loop (drop (memory.grow $memory (i32.const 0))) (br 0))".into()),
        (
            "memory.grow by too much",
            "",
            "(loop (drop (memory.grow $memory (i32.const 65536))) (br 0))".into(),
        ),
        (
            "table.grow by nothing",
            "(table $t 1 funcref)",
            "(loop (drop (table.grow $t (ref.null func) (i32.const 0))) (br 0))".into(),
        ),
        ("tail calls", "(func $f (return_call $g)) (func $g (return_call $f))", "(call $f)".into()),
    ] {
        assert_stopped(what, &Job { module, body: body.leak(), ..Job::default() });
    }
}

#[test]
fn memory_that_grows_page_by_page_is_the_same_memory() {
    let job = Job {
        body: "(loop (br_if 0 (i32.ne (memory.grow $memory (i32.const 1)) (i32.const -1)))) unreachable",
        ..Job::default()
    };
    let report = job.run();
    assert!(report.usage.peak_memory_bytes > 127 << 20, "{:?}", report.usage);
    assert_fault(&failure(report), Fault::MemoryLimit);
}

/// A job that returns this text.
fn returning(text: &str) -> Outcome {
    let escaped = text.bytes().fold(String::new(), |escaped, byte| escaped + &format!("\\{byte:02x}"));
    let module = format!("(data (memory $memory) (i32.const 2048) \"{escaped}\")");
    let body = format!(
        "(i32.store $memory (i32.const 8) (i32.const 2048)) (i32.store $memory (i32.const 12) (i32.const {}))",
        text.len()
    );
    Job { module: module.leak(), body: body.leak(), ..Job::default() }.run().outcome
}

#[test]
fn results_are_json_or_nothing() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for bad in ["NaN", "-Infinity", "{\"a\":1", "\u{feff}1", "1 2", "[\"\u{1}\"]", &nested(10_000)] {
        let outcome = returning(bad);
        assert!(
            matches!(&outcome, Outcome::Failed(it) if it.fault == Fault::BadOutput),
            "{bad:.20}: {outcome:?}"
        );
    }
    for good in ["1e99999", "{\"a\":1,\"a\":2}", "-0", "\"\\u0000\"", &nested(128)] {
        assert_eq!(returning(good), Outcome::Completed(good.to_owned()));
    }
}

/// A string of bytes that are no text, handed to the host; and a handle that is dropped twice.
#[test]
fn what_breaks_the_contract_with_the_host_ends_the_attempt() {
    let progress = r#"
      (import "sentinel:job/progress@0.1.0" (instance $progress
        (export "report" (func (param "percent" u8) (param "message" string)))))
      (core module $libc (memory (export "memory") 1) (data (i32.const 0) "\ff\fe\fd"))
      (core instance $libc (instantiate $libc))
      (core func $report (canon lower (func $progress "report") (memory (core memory $libc "memory"))))
      (core instance $progress_ (export "report" (func $report)))"#;
    let report = |body| Job {
        component: progress,
        with: r#"(with "progress" (instance $progress_))"#,
        module: r#"(import "progress" "report" (func $report (param i32 i32 i32)))"#,
        body,
        ..Job::default()
    };
    for body in [
        "(call $report (i32.const 1) (i32.const 0) (i32.const 3))",
        "(call $report (i32.const 1) (i32.const 65530) (i32.const 100))",
        "(call $report (i32.const 1) (i32.const 0) (i32.const -1))",
    ] {
        let failure = failure(report(body).run());
        assert!(matches!(failure.fault, Fault::HostLimit | Fault::Trap), "{failure:?}");
        assert!(failure.backtrace.is_some(), "where it was is shown");
    }
    // While room is asked for, nobody may be called.
    let reenters = Job {
        realloc: Some("(call $report (i32.const 1) (i32.const 0) (i32.const 0)) (i32.const 1024)"),
        ..report("")
    };
    assert_eq!(fault(&reenters), Fault::Trap);

    let clock = Job {
        component: r#"
          (import "wasi:io/poll@0.2.3" (instance $poll (export "pollable" (type (sub resource)))))
          (alias export $poll "pollable" (type $pollable))
          (import "wasi:clocks/monotonic-clock@0.2.3" (instance $clock
            (alias outer 1 $pollable (type $outer))
            (export "pollable" (type $p (eq $outer)))
            (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
          (core func $subscribe (canon lower (func $clock "subscribe-duration")))
          (core func $drop (canon resource.drop $pollable))
          (core instance $clock_ (export "subscribe" (func $subscribe)) (export "drop" (func $drop)))"#,
        with: r#"(with "clock" (instance $clock_))"#,
        module: r#"
          (import "clock" "subscribe" (func $subscribe (param i64) (result i32)))
          (import "clock" "drop" (func $drop (param i32)))
          (global $handle (mut i32) (i32.const 0))"#,
        body: "
          (global.set $handle (call $subscribe (i64.const -1)))
          (call $drop (global.get $handle)) (call $drop (global.get $handle))",
        ..Job::default()
    };
    let failure = failure(clock.run());
    assert!(matches!(failure.fault, Fault::HostLimit | Fault::Trap), "{failure:?}");
}

#[test]
fn what_is_turned_off_is_refused() {
    let refusal = |job: &Job| {
        let refused = lab().engine.admit_bytes("x".parse().expect("a name"), &job.bytes());
        refused.expect_err("a refusal").refusal
    };
    for module in [
        "(type $a (array (mut i64))) (func (drop (array.new_default $a (i32.const 100000000))))",
        "(type $s (struct)) (func (drop (struct.new $s)))",
        "(tag $e) (func (throw $e))",
        "(type $f (func)) (type $c (cont $f)) (func (param (ref $c)))",
        "(memory $large i64 1)",
        "(memory $custom 1 (pagesize 1))",
    ] {
        let refusal = refusal(&Job { module, ..Job::default() });
        assert!(matches!(refusal, Refusal::Invalid(_)), "{module}: {refusal}");
    }
    let task_return = "(core func $task_return (canon task.return))";
    let refusal = refusal(&Job { component: task_return, ..Job::default() });
    assert!(matches!(refusal, Refusal::Invalid(_)), "{refusal}");
}

/// Ten thousand of what a component may have many of.
#[test]
fn a_component_of_many_small_parts_is_a_plugin_or_refused() {
    let many =
        |item: &dyn Fn(usize) -> String| -> &'static str { (0..10_000).map(item).collect::<String>().leak() };
    let types = many(&|number| format!("(type $t{number} (list (tuple u8 string)))"));
    let functions = many(&|number| format!("(func $f{number} (export \"f{number}\"))"));
    let long = format!("(func (export \"{}\"))", "x".repeat(90_000)).leak();
    for job in [
        Job { component: types, ..Job::default() },
        Job { module: functions, ..Job::default() },
        Job { module: long, ..Job::default() },
    ] {
        if let Ok(plugin) = lab().engine.admit_bytes("many".parse().expect("a name"), &job.bytes()) {
            let call =
                sentinel_host::engine::Call::new(&plugin, super::lab::task("{}", Duration::from_secs(5)));
            assert_eq!(lab().run(&plugin, call).outcome, Outcome::Completed("42".into()));
        }
    }
}

#[test]
fn what_the_host_keeps_for_a_guest_is_bounded() {
    // A handle for each thing that is waited for.
    assert_fault(&act("\"poll\",\"times\":100000").fails(), Fault::HostLimit);
    assert_eq!(act("\"headers\",\"sets\":500,\"bytes\":30000").returns(), "500");
    assert_fault(&act("\"headers\",\"sets\":2000,\"bytes\":30000").fails(), Fault::HostLimit);
    assert_fault(&act("\"headers\",\"sets\":1,\"bytes\":40000").fails(), Fault::HostLimit);
    assert_fault(&act("\"streams\"").fails(), Fault::HostLimit);
    assert_fault(&act("\"random\",\"bytes\":18446744073709551615").fails(), Fault::HostLimit);
    assert_eq!(act("\"config-misses\",\"times\":100000").returns(), "\"ok\"");
}
