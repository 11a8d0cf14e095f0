//! Commands: components of `wasi:cli/command`, and core modules of WASI preview 1.

use std::time::Duration;

use sentinel_host::engine::{Call, Clock, Fault, Grants, Outcome, Plugin, Report, Stdout};

use super::lab::{assert_fault, built, failure, lab, task};

/// A module of preview 1 whose `_start` does this.
fn module(body: &str) -> Plugin {
    let text = format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1)
          (data (i32.const 16) "[1, 2]\n")
          (data (i32.const 32) "no JSON\ff")
          (func $print (param $fd i32) (param $at i32) (param $bytes i32)
            (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $bytes))
            (drop (call $write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
          (func (export "_start") {body}))"#
    );
    let bytes = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"));
    lab().engine.admit_bytes("command".parse().unwrap(), &bytes).unwrap_or_else(|error| panic!("{error}"))
}

fn run(plugin: &Plugin, payload: &str) -> Report {
    lab().run(plugin, Call::new(plugin, task(payload, Duration::from_secs(2))))
}

fn completed(json: &str) -> Outcome {
    Outcome::Completed(json.into())
}

#[test]
fn what_a_command_prints_is_its_result() {
    let echo = "(i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 1000))
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 12)))
        (call $print (i32.const 1) (i32.const 64) (i32.load (i32.const 12)))";
    let payload = r#"{"job":"command","n":9007199254740993}"#;
    assert_eq!(run(&module(echo), payload).outcome, completed(payload), "its payload is its input");
    let two = module("(call $print (i32.const 1) (i32.const 16) (i32.const 7)) (call $exit (i32.const 0))");
    let report = run(&two, "{}");
    assert_eq!((report.outcome, report.log.text), (completed("[1, 2]"), String::new()));
    let text = two.with_stdout(Stdout::Text);
    assert_eq!(run(&text, "{}").outcome, completed(r#""[1, 2]\n""#));
}

#[test]
fn arguments_come_after_its_name() {
    let prints = "(drop (call $args (i32.const 64) (i32.const 128)))
        (call $print (i32.const 1) (i32.load (i32.const 68)) (i32.const 6))
        (call $print (i32.const 2) (i32.load (i32.const 64)) (i32.const 7))";
    let args = vec!["\"-\u{e9}c\"".into(), "2".into()];
    let plugin = module(prints).with_grants(Grants { args, ..Grants::default() });
    let report = run(&plugin, "{}");
    assert_eq!((report.outcome, report.log.text), (completed("\"-\u{e9}c\""), "hostile".into()));
}

#[test]
fn what_cannot_be_a_result_is_named() {
    let no_json = module("(call $print (i32.const 1) (i32.const 32) (i32.const 7))");
    assert_fault(&failure(run(&no_json, "{}")), Fault::BadOutput);
    let no_text =
        module("(call $print (i32.const 1) (i32.const 32) (i32.const 8))").with_stdout(Stdout::Text);
    assert_fault(&failure(run(&no_text, "{}")), Fault::BadOutput);
    let nothing = module("");
    assert_fault(&failure(run(&nothing, "{}")), Fault::BadOutput);
    assert_eq!(run(&nothing.with_stdout(Stdout::Text), "{}").outcome, completed(r#""""#));
    let flood = module("(loop (call $print (i32.const 1) (i32.const 0) (i32.const 4096)) (br 0))");
    let failed = failure(run(&flood, "{}"));
    assert_fault(&failed, Fault::Timeout(Clock::Wall));
    let much = "(local $n i32) (loop (call $print (i32.const 1) (i32.const 0) (i32.const 4096))
        (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 300))))";
    assert_fault(&failure(run(&module(much), "{}")), Fault::OutputLimit);
}

/// Which code it was, WASI 0.2 does not tell.
#[test]
fn a_code_other_than_zero_is_a_failure_that_is_tried_again_with_the_last_of_stderr() {
    let failed = failure(run(
        &module("(call $print (i32.const 2) (i32.const 32) (i32.const 7)) (call $exit (i32.const 3))"),
        "{}",
    ));
    assert_fault(&failed, Fault::Retryable);
    assert!(failed.message.contains("code 1") && failed.message.contains("no JSON"), "{failed:?}");
    assert_fault(&failure(run(&module("unreachable"), "{}")), Fault::Trap);
    assert_fault(&failure(run(&module("(loop (br 0))"), "{}")), Fault::Timeout(Clock::Wall));
}

#[test]
fn a_component_of_the_command_world_runs_alike() {
    let upper = lab().engine.admit(&built("upper")).unwrap();
    let report = run(&upper, r#"{"job":"upper","text":"abc"}"#);
    assert_eq!(report.outcome, completed(r#""ABC""#));
    assert!(report.log.text.contains("3 letters"), "{:?}", report.log);
    let failed = failure(run(&upper, r#"{"job":"upper"}"#));
    assert_fault(&failed, Fault::Retryable);
    assert!(failed.message.contains("no `text`"), "{failed:?}");
}
