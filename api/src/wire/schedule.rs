//! Schedules, and what they submit.

use sentinel_queue::{Millis, Schedule, schedule::ScheduleInfo};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    policy::{NewBackoff, PolicyView},
    raw, time,
};

/// A schedule; what is left out has its default.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents a request")]
pub(crate) struct NewSchedule {
    /// Five fields (minute, hour, day of month, month, day of week), six with the second in front, or
    /// `@yearly`, `@monthly`, `@weekly`, `@daily`, `@hourly`.
    #[schema(example = "0 9 * * 1-5")]
    cron: String,
    /// On whose clocks: a name of the IANA database.
    #[schema(default = "UTC", example = "Europe/Berlin")]
    timezone: Option<String>,
    /// What becomes of ticks that are more than a minute late, because all was down: `latest` (one
    /// task, for the latest of them), `all` (one for each), `none`.
    #[schema(default = "latest")]
    catch_up: Option<String>,
    /// A paused schedule has no ticks, and catches up none. Left out: as it was.
    paused: Option<bool>,
    /// What it submits.
    task: ScheduledTask,
}

/// What a schedule submits: a task without what says when it runs.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents a request")]
struct ScheduledTask {
    /// Any JSON object with a string `job`.
    #[schema(value_type = Object, example = json!({"job": "example-task"}))]
    payload: serde_json::Value,
    /// The queue to wait in.
    #[schema(default = "default", pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")]
    queue: Option<String>,
    /// Higher runs first within a queue.
    #[schema(default = 0, minimum = -1000, maximum = 1000)]
    priority: Option<i32>,
    /// How long an attempt may take: a duration from 1ms to 24h.
    timeout: Option<String>,
    /// How often the task is tried at most.
    #[schema(default = 3, minimum = 1, maximum = 1000)]
    max_attempts: Option<u32>,
    /// How long it waits between tries.
    backoff: Option<NewBackoff>,
    /// Of the tasks of a queue with the same key, so many run at once as the queue says: one for a
    /// task that must not overlap with the one of the tick before.
    #[schema(min_length = 1, max_length = 128)]
    concurrency_key: Option<String>,
    /// Words to find its tasks by, at most 9: `schedule:<name>` comes to them.
    #[schema(max_items = 9)]
    tags: Option<Vec<String>>,
}

/// A schedule.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScheduleView {
    /// Its name. Its tasks are tagged `schedule:<name>`.
    pub(crate) name: String,
    /// When: a cron expression,
    #[schema(example = "0 9 * * 1-5")]
    cron: String,
    /// on the clocks of this time zone.
    #[schema(example = "Europe/Berlin")]
    timezone: String,
    /// What becomes of ticks that were missed: `latest`, `all` or `none`.
    #[schema(example = "latest")]
    catch_up: &'static str,
    /// Whether it has no ticks for now.
    paused: bool,
    /// What it submits.
    task: ScheduledTaskView,
    /// Its next five ticks; none while it is paused.
    #[schema(max_items = 5)]
    next_runs: Vec<String>,
    /// The last tick that had a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_run: Option<LastRunView>,
}

/// What a schedule submits.
#[derive(Serialize, ToSchema)]
struct ScheduledTaskView {
    /// The job that runs it.
    job: String,
    /// As given, byte for byte; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    payload: Option<Box<RawValue>>,
    /// The queue it waits in.
    queue: String,
    /// -1000 to 1000, higher first.
    priority: i32,
    #[serde(flatten)]
    policy: PolicyView,
    /// What it shares with tasks that must not run at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency_key: Option<String>,
    /// Words to find it by, besides `schedule:<name>`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
}

/// A tick that had a task.
#[derive(Serialize, ToSchema)]
struct LastRunView {
    /// The tick.
    at: String,
    /// The task.
    #[schema(format = "uuid")]
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
