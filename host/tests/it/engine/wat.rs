//! Jobs written by hand, for what no compiler makes.

use std::time::Duration;

use sentinel_host::engine::{Clock, Fault, Outcome, Plugin, Report};

use super::lab::{assert_fault, failure, lab, task};

/// The text of a component that is a job. Its parts default to a job that returns `42`.
#[derive(Clone, Default)]
pub(crate) struct Job {
    /// The handler's version; `0.1.0` if empty.
    pub(crate) version: &'static str,
    /// The type of the function's parameter; the record `task` if empty.
    pub(crate) parameter: &'static str,
    /// Items of the component before the module, such as imports.
    pub(crate) component: &'static str,
    /// Arguments of the module's instantiation.
    pub(crate) with: &'static str,
    /// Items of the core module, imports first.
    pub(crate) module: &'static str,
    /// Instructions of the core function `run`, before it returns.
    pub(crate) body: &'static str,
    /// Instructions of the core function `realloc`, which is asked for room for the task; else there is.
    pub(crate) realloc: Option<&'static str>,
    /// Instructions of the function that is called when the result has been taken, if there is one.
    pub(crate) post_return: Option<&'static str>,
    /// Instructions of the core function `describe`, before it returns; without, there is none.
    pub(crate) describe: Option<&'static str>,
}

const TYPES: &str = r#"
    (type $task_ (record
      (field "id" string) (field "job" string) (field "queue" string) (field "priority" s32)
      (field "attempt" u32) (field "max-attempts" u32) (field "timeout-ms" u64)
      (field "payload" string)))
    (type $failure_ (variant
      (case "retryable" string) (case "retry-after" (tuple u64 string)) (case "permanent" string)))"#;

const DESCRIBED: &str = r#"
    (type $description_ (record
      (field "summary" string) (field "payload-schema" (option string)) (field "result-schema" (option string))))
    (func $describe (result $description_)
      (canon lift (core func $i "describe") (memory (core memory $i "memory"))))
    (component $described
      (type $description_ (record
        (field "summary" string) (field "payload-schema" (option string)) (field "result-schema" (option string))))
      (import "description" (type $description (eq $description_)))
      (import "describe" (func $describe (result $description)))
      (export $d "description" (type $description))
      (export "describe" (func $describe) (func (result $d))))
    (instance $descriptions (instantiate $described
      (with "description" (type $description_)) (with "describe" (func $describe))))
    (export "sentinel:job/describe@0.1.0" (instance $descriptions))"#;

impl Job {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let Self { component, with, module, body, .. } = self;
        let version = if self.version.is_empty() { "0.1.0" } else { self.version };
        let (parameter, flat) = match self.parameter {
            "" => ("$task_", "i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32"),
            other => (other, "i32"),
        };
        let imported = parameter.replace("$task_", "$task");
        let realloc = self.realloc.unwrap_or("(i32.const 1024)");
        let (post, post_return) = self.post_return.map_or_else(Default::default, |body| {
            let function = format!("(func (export \"post\") (param i32) {body})");
            (function, "(post-return (core func $i \"post\"))")
        });
        let (describe, described) = self.describe.map_or_else(Default::default, |body| {
            let function = format!("(func (export \"describe\") (result i32) {body} (i32.const 0))");
            (function, DESCRIBED)
        });
        let text = format!(
            r#"(component
              {component}
              (core module $m
                {module}
                (memory $memory (export "memory") 1)
                (data (memory $memory) (i32.const 0) "\00\00\00\00\00\00\00\00\20\00\00\00\02\00\00\00")
                (data (memory $memory) (i32.const 32) "42")
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) {realloc})
                {post}
                (func (export "run") (param {flat}) (result i32) {body} (i32.const 0))
                {describe})
              (core instance $i (instantiate $m {with}))
              {TYPES}
              (func $run (param "task" {parameter}) (result (result string (error $failure_)))
                (canon lift (core func $i "run") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))
                  {post_return}))
              (component $named
                {TYPES}
                (import "task" (type $task (eq $task_)))
                (import "failure" (type $failure (eq $failure_)))
                (import "run" (func $run (param "task" {imported}) (result (result string (error $failure)))))
                (export $t "task" (type $task))
                (export $f "failure" (type $failure))
                (export "run" (func $run)
                  (func (param "task" {exported}) (result (result string (error $f))))))
              (instance $handler (instantiate $named
                (with "task" (type $task_)) (with "failure" (type $failure_)) (with "run" (func $run))))
              (export "sentinel:job/handler@{version}" (instance $handler))
              {described})"#,
            exported = parameter.replace("$task_", "$t"),
        );
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    pub(crate) fn plugin(&self) -> Plugin {
        let name = "by-hand".parse().expect("a name");
        lab().engine.admit_bytes(name, &self.bytes()).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn run(&self) -> Report {
        self.run_for(Duration::from_secs(2))
    }

    /// Runs it with so much time.
    pub(crate) fn run_for(&self, time: Duration) -> Report {
        let plugin = self.plugin();
        lab().run(&plugin, sentinel_host::engine::Call::new(&plugin, task("{}", time)))
    }
}

#[test]
fn a_job_by_hand_runs() {
    assert_eq!(Job::default().run().outcome, Outcome::Completed("42".into()));
}

#[test]
fn two_memories_that_pass_the_limit_together_are_a_memory_limit() {
    let half_and_more =
        "(if (i32.eq (memory.grow MEMORY (i32.const 1200)) (i32.const -1)) (then unreachable))";
    let body = [half_and_more.replace("MEMORY", "$a"), half_and_more.replace("MEMORY", "$b")].concat();
    let job = Job { module: "(memory $a 1) (memory $b 1)", body: body.leak(), ..Job::default() };
    let report = job.run();
    assert!(report.usage.peak_memory_bytes > 1200 << 16, "the first is held: {:?}", report.usage);
    assert_fault(&failure(report), Fault::MemoryLimit);
}

#[test]
fn memory_that_is_too_large_from_the_start_is_a_memory_limit() {
    let report = Job { module: "(memory 3000)", ..Job::default() }.run();
    assert_fault(&failure(report), Fault::MemoryLimit);
}

#[test]
fn tables_without_end_are_a_memory_limit() {
    let job = Job {
        module: "(table $t 1 funcref)",
        body: "(loop (br_if 0 (i32.ne (table.grow $t (ref.null func) (i32.const 500)) (i32.const -1)))) unreachable",
        ..Job::default()
    };
    assert_fault(&failure(job.run()), Fault::MemoryLimit);
}

#[test]
fn a_start_function_that_loops_is_a_timeout() {
    let job = Job { module: "(func $start (loop (br 0))) (start $start)", ..Job::default() };
    assert_fault(&failure(job.run()), Fault::Timeout(Clock::Wall));
}

#[test]
fn a_start_function_that_traps_is_a_trap() {
    let job = Job { module: "(func $start unreachable) (start $start)", ..Job::default() };
    assert_fault(&failure(job.run()), Fault::Trap);
}

#[test]
fn a_result_outside_of_the_memory_cannot_be_taken() {
    let job = Job { body: "(i32.store $memory (i32.const 12) (i32.const 0x7fffffff))", ..Job::default() };
    assert_fault(&failure(job.run()), Fault::OutputLimit);
}

#[test]
fn a_result_that_is_not_utf8_cannot_be_taken() {
    let job = Job { body: "(i32.store $memory (i32.const 32) (i32.const 0xffff))", ..Job::default() };
    assert_fault(&failure(job.run()), Fault::OutputLimit);
}

#[test]
fn a_later_handler_of_the_same_line_is_accepted() {
    let job = Job { version: "0.1.7", ..Job::default() };
    assert_eq!(job.run().outcome, Outcome::Completed("42".into()));
}

/// Imports what is known and never provided, with the shape that matters: a resource of its own, one
/// of another interface's, and a function.
pub(crate) const REFUSED: &str = r#"
    (import "wasi:io/poll@0.2.3" (instance $poll (export "pollable" (type (sub resource)))))
    (alias export $poll "pollable" (type $pollable))
    (import "wasi:http/incoming-handler@0.2.3" (instance $http
      (export "fields" (type (sub resource)))
      (export "pollable" (type (eq $pollable)))
      (export "http-error-code" (func (param "x" u32) (result u32)))))
    (core func $call (canon lower (func $http "http-error-code")))
    (core instance $http_ (export "call" (func $call)))"#;

#[test]
fn what_is_refused_loads() {
    let job = Job { component: REFUSED, ..Job::default() };
    assert_eq!(job.run().outcome, Outcome::Completed("42".into()));
}

#[test]
fn what_is_refused_refuses_by_name() {
    let job = Job {
        component: REFUSED,
        with: r#"(with "http" (instance $http_))"#,
        module: r#"(import "http" "call" (func $call (param i32) (result i32)))"#,
        body: "(drop (call $call (i32.const 1)))",
        ..Job::default()
    };
    let failure = failure(job.run());
    assert_fault(&failure, Fault::Permanent);
    assert!(
        failure.message.contains("wasi:http/incoming-handler@0.2.3#http-error-code"),
        "{}",
        failure.message
    );
}

#[test]
fn the_config_store_is_there_and_empty() {
    let job = Job {
        component: r#"
          (import "wasi:config/store@0.2.0-rc.1" (instance $config
            (type $error_ (variant (case "upstream" string) (case "io" string)))
            (export "error" (type $error (eq $error_)))
            (export "get" (func (param "key" string) (result (result (option string) (error $error)))))))
          (core module $libc (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable))
          (core instance $libc (instantiate $libc))
          (alias core export $libc "memory" (core memory $memory))
          (core func $get (canon lower (func $config "get")
            (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
          (core instance $config_ (export "get" (func $get)) (export "memory" (memory $memory)))"#,
        with: r#"(with "config" (instance $config_))"#,
        module: r#"
          (import "config" "get" (func $get (param i32 i32 i32)))
          (import "config" "memory" (memory $config 1))"#,
        // The key is empty and the answer comes to 8: ok, and then none.
        body: "
          (i64.store $config (i32.const 8) (i64.const -1))
          (call $get (i32.const 0) (i32.const 0) (i32.const 8))
          (if (i32.load8_u $config (i32.const 8)) (then unreachable))
          (if (i32.load8_u $config (i32.const 12)) (then unreachable))",
        ..Job::default()
    };
    let outcome = job.run().outcome;
    assert_eq!(outcome, Outcome::Completed("42".into()));
}
