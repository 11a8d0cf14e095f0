//! Schedules, and what they submit.

use sentinel_queue::{Millis, Schedule, schedule::ScheduleInfo};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    kind,
    policy::{NewBackoff, PolicyView},
    raw, time,
};

/// A schedule; what is left out has its default.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(
    example = json!({
        "cron": "0 9 * * 1-5", "timezone": "Europe/Berlin", "catch_up": "latest",
        "task": { "payload": { "job": "example-task", "name": "Ada" }, "concurrency_key": "report" },
    })
)]
#[expect(dead_code, reason = "documents a request")]
pub(crate) struct NewSchedule {
    /// Five fields (minute, hour, day of month, month, day of week), six with the second in front, or
    /// `@yearly`, `@monthly`, `@weekly`, `@daily`, `@hourly`.
    #[schema(max_length = 200, example = "0 9 * * 1-5")]
    cron: String,
    /// On whose clocks: a name of the IANA database.
    #[schema(default = "UTC", example = "Europe/Berlin")]
    timezone: Option<String>,
    /// What becomes of ticks that were missed.
    #[schema(default = "latest")]
    catch_up: Option<kind::CatchUp>,
    /// A paused schedule has no ticks, and catches up none. Left out: as it was.
    paused: Option<bool>,
    /// What it submits.
    task: ScheduledTask,
}

/// What a schedule submits: a task without what says when it runs.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "documents a request")]
struct ScheduledTask {
    /// What the job is given.
    payload: kind::Payload,
    /// The queue to wait in.
    #[schema(default = "default")]
    queue: Option<kind::QueueName>,
    /// Higher runs first within a queue.
    #[schema(default = 0, minimum = -1000, maximum = 1000)]
    priority: Option<i32>,
    /// How long an attempt may take: from 1ms to 24h.
    timeout: Option<kind::Duration>,
    /// How often the task is tried at most.
    #[schema(default = 3, minimum = 1, maximum = 1000)]
    max_attempts: Option<u32>,
    /// How long it waits between tries.
    backoff: Option<NewBackoff>,
    /// Of the tasks of a queue with the same key, so many run at once as the queue says: one for a
    /// task that must not overlap with the one of the tick before.
    concurrency_key: Option<kind::ConcurrencyKey>,
    /// Words to find its tasks by, at most 9 different ones: `schedule:<name>` comes to them. At most 240
    /// characters with a comma between each two.
    tags: Option<Vec<kind::Tag>>,
}

/// A schedule.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScheduleView {
    /// Its name. Its tasks are tagged `schedule:<name>`.
    #[schema(value_type = kind::ScheduleName)]
    pub(crate) name: String,
    /// When: a cron expression,
    #[schema(example = "0 9 * * 1-5")]
    cron: String,
    /// on the clocks of this time zone.
    #[schema(example = "Europe/Berlin")]
    timezone: String,
    /// What becomes of ticks that were missed.
    #[schema(value_type = kind::CatchUp)]
    catch_up: &'static str,
    /// Whether it has no ticks for now.
    paused: bool,
    /// What it submits.
    task: ScheduledTaskView,
    /// Its next five ticks; none while it is paused.
    #[schema(value_type = Vec<kind::Time>, max_items = 5)]
    next_runs: Vec<String>,
    /// The last tick that had a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_run: Option<LastRunView>,
}

/// What a schedule submits.
#[derive(Serialize, ToSchema)]
struct ScheduledTaskView {
    /// The job that runs it.
    #[schema(value_type = kind::JobName)]
    job: String,
    /// As given, byte for byte; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<kind::Payload>)]
    payload: Option<Box<RawValue>>,
    /// The queue it waits in.
    #[schema(value_type = kind::QueueName)]
    queue: String,
    /// Higher runs first.
    #[schema(minimum = -1000, maximum = 1000)]
    priority: i32,
    #[serde(flatten)]
    policy: PolicyView,
    /// What it shares with tasks that must not run at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<kind::ConcurrencyKey>)]
    concurrency_key: Option<String>,
    /// Words to find it by, besides `schedule:<name>`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<kind::Tag>, max_items = 9)]
    tags: Vec<String>,
}

/// A tick that had a task.
#[derive(Serialize, ToSchema)]
struct LastRunView {
    /// The tick.
    #[schema(value_type = kind::Time)]
    at: String,
    /// The task.
    #[schema(value_type = kind::TaskId)]
    task_id: String,
}

impl ScheduleView {
    /// A schedule, looked at now.
    pub(crate) fn of(info: ScheduleInfo, now: Millis) -> Self {
        /// So many ticks are told.
        const NEXT: usize = 5;
        let ScheduleInfo { schedule, paused, last_run, .. } = info;
        let next_runs = if paused { Vec::new() } else { schedule.timing.next_runs(now, NEXT) };
        let Schedule { name, timing, catch_up, task } = schedule;
        Self {
            name: name.to_string(),
            cron: timing.cron.to_string(),
            timezone: timing.zone.to_string(),
            catch_up: catch_up.as_str(),
            paused,
            task: ScheduledTaskView {
                job: task.job.to_string(),
                payload: Some(task.payload.as_str()).filter(|text| !text.is_empty()).map(raw),
                queue: task.queue.to_string(),
                priority: task.priority.get(),
                policy: task.policy.into(),
                concurrency_key: task.concurrency_key.as_ref().map(ToString::to_string),
                tags: task.tags.iter().map(ToString::to_string).collect(),
            },
            next_runs: next_runs.into_iter().map(time).collect(),
            last_run: last_run.map(|run| LastRunView { at: time(run.at), task_id: run.task.to_string() }),
        }
    }
}
