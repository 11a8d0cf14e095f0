//! `example-task`: greets, and describes a list of numbers.
//!
//! Everything in the payload is optional, so `{"job": "example-task"}` is enough;
//! `{"job": "example-task", "name": "Ada", "numbers": [3, 1, 2]}` shows all of it.
//!
//! This crate is meant to be copied: it is a whole job, and has a test.

use sentinel_job::{Failure, Task, progress, schemars::JsonSchema};
use serde::{Deserialize, Serialize};

/// The payload, apart from its `job`. One that does not fit is refused before `run` sees it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "sentinel_job::schemars")]
struct Input {
    /// Who is greeted; the world, if nobody is named.
    name: Option<String>,
    /// What is described.
    #[serde(default)]
    numbers: Vec<f64>,
}

/// The task's result.
#[derive(Debug, PartialEq, JsonSchema, Serialize)]
#[schemars(crate = "sentinel_job::schemars")]
struct Output {
    greeting: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    statistics: Option<Statistics>,
}

#[derive(Debug, PartialEq, JsonSchema, Serialize)]
#[schemars(crate = "sentinel_job::schemars")]
struct Statistics {
    count: usize,
    min: f64,
    max: f64,
    mean: f64,
}

/// Greets, and describes a list of numbers.
#[sentinel_job::job]
fn run(task: Task, input: Input) -> Result<Output, Failure> {
    println!("task {}, attempt {} of {}", task.id, task.attempt, task.max_attempts);

    let greeting = format!("Hello, {}!", input.name.as_deref().unwrap_or("world"));
    progress::report(50, "greeted");

    let statistics = statistics(&input.numbers)?;
    progress::report(100, "done");

    Ok(Output { greeting, statistics })
}

/// Describes the numbers, if there are any.
fn statistics(numbers: &[f64]) -> Result<Option<Statistics>, Failure> {
    let Some((min, max)) = numbers
        .iter()
        .map(|&number| (number, number))
        .reduce(|(min, max), (number, _)| (min.min(number), max.max(number)))
    else {
        return Ok(None);
    };
    let count = numbers.len();
    let sum: f64 = numbers.iter().sum();
    if !sum.is_finite() {
        // The same input would fail every time, so there is no use in trying again.
        return Err(Failure::permanent("the sum of `numbers` is too large"));
    }
    #[allow(clippy::cast_precision_loss, reason = "a payload has no room for 2^53 numbers")]
    let mean = sum / count as f64;
    Ok(Some(Statistics { count, min, max, mean }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_described() {
        let expected = Statistics { count: 3, min: 1.0, max: 3.0, mean: 2.0 };
        assert_eq!(statistics(&[3.0, 1.0, 2.0]), Ok(Some(expected)));
    }

    #[test]
    fn no_numbers_are_nothing_to_describe() {
        assert_eq!(statistics(&[]), Ok(None));
    }

    #[test]
    fn a_sum_out_of_range_fails_for_good() {
        let failure = statistics(&[1e308, 1e308]);
        assert!(matches!(failure, Err(Failure::Permanent(_))));
    }
}
