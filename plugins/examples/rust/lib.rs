use sentinel_job::{Failure, Task, progress, schemars::JsonSchema};

/// The payload without its `job`. One that does not fit is refused when it is submitted.
#[derive(serde::Deserialize, JsonSchema)]
#[schemars(crate = "sentinel_job::schemars")]
struct Input {
    /// Who is greeted.
    name: String,
}

#[derive(Debug, PartialEq, serde::Serialize, JsonSchema)]
#[schemars(crate = "sentinel_job::schemars")]
struct Output {
    greeting: String,
}

/// Greets somebody.
///
/// What is printed is kept as the attempt's log; what is returned is the task's result.
#[sentinel_job::job]
fn run(task: &Task, input: Input) -> Result<Output, Failure> {
    println!("attempt {} of {}", task.attempt, task.max_attempts);
    if input.name.is_empty() {
        return Err(Failure::permanent("`name` is empty"));
    }
    progress::report(100, "greeted");
    Ok(Output { greeting: format!("Hello, {}!", input.name) })
}
