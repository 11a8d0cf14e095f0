use std::time::Duration;

/// What an attempt may know of the task it works on, besides the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The task's UUID. All attempts of a task share it, which makes it the idempotency key for
    /// what the job does to the world.
    pub id: String,
    /// The job's name.
    pub job: String,
    /// The queue that the task came through.
    pub queue: String,
    /// −1000 to 1000; a higher one runs first.
    pub priority: i32,
    /// The number of this attempt, counted from 1.
    pub attempt: u32,
    /// The number of the last attempt that the task may have, as things stand.
    pub max_attempts: u32,
    /// How long this attempt may take before it is stopped.
    pub timeout: Duration,
}

impl Task {
    /// Whether a retryable failure of this attempt would be final.
    pub const fn is_last_attempt(&self) -> bool {
        self.attempt >= self.max_attempts
    }
}
