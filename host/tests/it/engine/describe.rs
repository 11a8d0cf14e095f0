//! What jobs say of themselves, asked once and in a sandbox.

use std::time::{Duration, Instant};

use sentinel_host::engine::{Plugin, Said};

use super::{
    lab::{MARGIN, built, lab},
    wat::Job,
};

fn describe(plugin: &Plugin) -> Result<Option<Said>, String> {
    lab().guests.block_on(plugin.describe())
}

#[test]
fn a_job_of_the_sdk_says_what_its_types_say() {
    let plugin = lab().engine.admit(&built("example_task")).unwrap();
    let said = describe(&plugin).unwrap().unwrap();
    assert_eq!(said.summary, "Greets, and describes a list of numbers.");
    let schema = said.payload_schema.unwrap();
    for word in ["\"name\"", "\"numbers\"", "Who is greeted", "additionalProperties"] {
        assert!(schema.contains(word), "{schema}");
    }
    assert!(said.result_schema.unwrap().contains("greeting"));
}

#[test]
fn one_that_says_nothing_is_no_error() {
    assert_eq!(describe(&lab().hostile), Ok(None));
}

#[test]
fn whatever_it_does_instead_the_call_ends() {
    let job = |describe| Job { describe: Some(describe), ..Job::default() }.plugin();
    let nothing = Said { summary: String::new(), payload_schema: None, result_schema: None };
    let answers =
        "(i64.store $memory (i32.const 0) (i64.const 0)) (i32.store8 $memory (i32.const 8) (i32.const 0))";
    let zero = "(i32.store8 $memory (i32.const 20) (i32.const 0))";
    let answers: &str = format!("{answers} {zero}").leak();
    assert_eq!(describe(&job(answers)), Ok(Some(nothing)));
    let since = Instant::now();
    for (body, named) in [
        ("(loop (br 0))", "CPU time"),
        ("unreachable", "unreachable"),
        // A text outside of the memory.
        ("(i32.store $memory (i32.const 4) (i32.const 0x7fffffff))", "out of bounds"),
    ] {
        let reason = describe(&job(body)).unwrap_err();
        assert!(reason.contains(named), "{reason}");
    }
    assert!(since.elapsed() < Duration::from_secs(5) + MARGIN, "{:?}", since.elapsed());
}
