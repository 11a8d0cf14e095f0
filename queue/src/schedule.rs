//! Schedules: a task submitted again and again, when a clock says so.
//!
//! Owns what a schedule is, which of its ticks have a task, and the calls that keep schedules in
//! the store. Any process may fire them ([`Scheduler`]), and any number at once: a tick is fired
//! by a script that moves the schedule to its next tick in the same step, so that each has one task.

mod cron;
mod timing;

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::{
    cron::{BadCron, Cron},
    timing::{BadZone, Timing, Zone},
};
use crate::{
    names::{Invalid, Millis, Namespace, ScheduleName, Tag, Tags, TaskId},
    queue::{Queue, exactly, groups, new_task_args, stored, text},
    record,
    store::{Reply, Script, StoreError},
    task::{NewTask, Spec},
};

/// A tick that is this late was missed; until then it has its task whatever the policy.
pub const MISSED: Duration = Duration::from_secs(60);

/// How many tasks a run of a scheduler submits at most; the next run goes on.
pub const MOST_AT_ONCE: usize = 1000;

/// How many tasks one call submits at most, and how many bytes of payload.
const SLICE: usize = 100;
const SLICE_BYTES: usize = 4 * 1024 * 1024;

/// How many slices of due schedules a run looks at.
const SLICES: usize = 50;

/// A task to submit at certain times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Its name.
    pub name: ScheduleName,
    /// When.
    pub timing: Timing,
    /// What becomes of ticks that were missed.
    pub catch_up: CatchUp,
    /// The task, and in its namespace whose schedule this is.
    pub task: Spec,
}

/// What becomes of the ticks that nobody fired in time (see [`MISSED`]), because all was down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    /// One task, for the latest of them.
    #[default]
    Latest,
    /// A task for each of them, oldest first.
    All,
    /// No task.
    None,
}

impl CatchUp {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::All => "all",
            Self::None => "none",
        }
    }
}

/// What is to be done about a schedule whose tick has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The ticks that have a task, oldest first.
    pub ticks: Vec<Millis>,
    /// Where the schedule goes on; it may be past, too.
    pub next: Option<Millis>,
}

impl Schedule {
    /// The tags of its tasks: their own, and by which they are found.
    pub fn tags(&self) -> Result<Tags, Invalid> {
        let own: Tag = format!("schedule:{}", self.name).parse()?;
        Tags::new(self.task.tags.iter().cloned().chain([own]).collect())
    }

    /// What is to be done at `now`, `tick` having been the next one; at most `most` tasks.
    pub fn plan(&self, tick: Millis, now: Millis, most: usize) -> Plan {
        if tick > now {
            return Plan { ticks: Vec::new(), next: Some(tick) };
        }
        let missed = u64::try_from(MISSED.as_millis()).unwrap_or(u64::MAX);
        let in_time = Millis(now.0.saturating_sub(missed));
        let before = |at: Millis| Millis(at.0.saturating_sub(1));
        let (first, most) = match self.catch_up {
            _ if tick >= in_time => (Some(tick), most),
            CatchUp::All => (Some(tick), most),
            CatchUp::Latest => (Some(self.timing.latest(before(tick), now).unwrap_or(tick)), 1),
            CatchUp::None => (self.timing.next(before(in_time)), most),
        };
        let ticks = std::iter::successors(first, |tick| self.timing.next(*tick));
        let ticks: Vec<_> = ticks.take_while(|tick| *tick <= now).take(most).collect();
        let next = self.timing.next(*ticks.last().unwrap_or(&now));
        Plan { ticks, next }
    }
}

/// A schedule as the store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleInfo {
    /// What was put. In a list its task has no payload.
    pub schedule: Schedule,
    /// Whether it has no ticks for now.
    pub paused: bool,
    /// Its next tick; none while it is paused.
    pub next: Option<Millis>,
    /// The last tick that had a task.
    pub last_run: Option<LastRun>,
    /// Changes with every put that changes something; never used again.
    pub(crate) generation: u64,
}

/// A tick that had a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRun {
    /// The tick.
    pub at: Millis,
    /// The task.
    pub task: TaskId,
}

/// A schedule whose tick has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The schedule.
    pub info: ScheduleInfo,
    /// The tick.
    pub tick: Millis,
}

impl Due {
    /// The tasks of so many ticks.
    pub fn tasks(&self, count: usize) -> Result<Vec<NewTask>, StoreError> {
        let mut spec = self.info.schedule.task.clone();
        spec.tags = stored(self.info.schedule.tags())?;
        Ok((0..count).map(|_| NewTask::new(spec.clone())).collect())
    }
}

/// A slice of the schedules that are due.
#[derive(Debug)]
pub struct DueSlice {
    /// The time.
    pub now: Millis,
    /// By tick; a schedule that this program cannot read is named with the reason.
    pub due: Vec<Result<Due, (String, StoreError)>>,
    /// Where the rest begins.
    pub next: Option<DueCursor>,
}

/// A place among the schedules that are due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueCursor {
    tick: Millis,
    member: String,
}

/// What became of a pause or its end.
enum Switched {
    Done,
    Unknown,
    /// It was put again in between.
    Changed,
}

impl Queue {
    /// Some schedules of a namespace by name, those behind `after`, without their payloads; and
    /// the store's time.
    pub async fn schedules(
        &self,
        namespace: &Namespace,
        after: &str,
        limit: usize,
    ) -> Result<(Millis, Vec<ScheduleInfo>), StoreError> {
        let after = Bytes::copy_from_slice(after.as_bytes());
        self.look_at_schedules(namespace, Bytes::new(), after, limit).await
    }

    /// One schedule, if it is there; and the store's time.
    pub async fn schedule(
        &self,
        namespace: &Namespace,
        name: &ScheduleName,
    ) -> Result<(Millis, Option<ScheduleInfo>), StoreError> {
        let (now, mut found) = self.look_at_schedules(namespace, text(name), Bytes::new(), 1).await?;
        Ok((now, found.pop()))
    }

    async fn look_at_schedules(
        &self,
        namespace: &Namespace,
        only: Bytes,
        after: Bytes,
        limit: usize,
    ) -> Result<(Millis, Vec<ScheduleInfo>), StoreError> {
        let args = vec![text(namespace), only, after, text(&limit)];
        let [now, found] = exactly(self.call(Script::Schedules, args).await?.into_array()?)?;
        let found = groups(found.into_array()?, |[name, tick, record]| {
            info(namespace.clone(), &name.into_text()?, tick, &record.into_bytes()?)
        })?;
        Ok((Millis(now.into_u64()?), found))
    }

    /// Makes a schedule what is said here; whether it was not there before. It keeps its next tick,
    /// unless its timing is another one; and its pause, unless `paused` says otherwise.
    pub async fn put_schedule(&self, schedule: &Schedule, paused: Option<bool>) -> Result<bool, StoreError> {
        let Schedule { name, timing, task, .. } = schedule;
        let (now, old) = self.schedule(&task.namespace, name).await?;
        let next = next_tick(timing, now, old.as_ref());
        let args = vec![
            schedule_key(&task.namespace, name),
            text(&timing.cron),
            text(&timing.zone),
            match paused {
                None => Bytes::new(),
                Some(paused) => text(&u8::from(paused)),
            },
            next,
            record::schedule_tail(schedule),
        ];
        self.call(Script::SchedulePut, args).await?;
        Ok(old.is_none())
    }

    /// Removes a schedule; `false` if there was none. Its tasks stay.
    pub async fn delete_schedule(
        &self,
        namespace: &Namespace,
        name: &ScheduleName,
    ) -> Result<bool, StoreError> {
        let (_, found) = self.schedule(namespace, name).await?;
        self.call(Script::ScheduleDelete, vec![schedule_key(namespace, name)]).await?;
        Ok(found.is_some())
    }

    /// Keeps a schedule without ticks; `false` if there is none.
    pub async fn pause_schedule(
        &self,
        namespace: &Namespace,
        name: &ScheduleName,
    ) -> Result<bool, StoreError> {
        let switched = self.switch(namespace, name, true, [const { Bytes::new() }; 2]).await?;
        Ok(!matches!(switched, Switched::Unknown))
    }

    /// Ends a pause: the schedule goes on from now; `false` if there is none.
    pub async fn resume_schedule(
        &self,
        namespace: &Namespace,
        name: &ScheduleName,
    ) -> Result<bool, StoreError> {
        loop {
            let (now, found) = self.schedule(namespace, name).await?;
            let Some(info) = found else { return Ok(false) };
            let next = next_tick(&info.schedule.timing, now, Some(&info));
            match self.switch(namespace, name, false, [text(&info.generation), next]).await? {
                Switched::Done => return Ok(true),
                Switched::Unknown => return Ok(false),
                Switched::Changed => {}
            }
        }
    }

    async fn switch(
        &self,
        namespace: &Namespace,
        name: &ScheduleName,
        paused: bool,
        [generation, next]: [Bytes; 2],
    ) -> Result<Switched, StoreError> {
        let args = vec![schedule_key(namespace, name), text(&u8::from(paused)), generation, next];
        Ok(match self.call(Script::SchedulePause, args).await?.into_text()?.as_str() {
            "ok" => Switched::Done,
            "unknown" => Switched::Unknown,
            _ => Switched::Changed,
        })
    }

    /// The schedules of all namespaces whose tick has come, a slice.
    pub async fn due_schedules(&self, cursor: Option<&DueCursor>) -> Result<DueSlice, StoreError> {
        let args = match cursor {
            None => vec![Bytes::new(), Bytes::new()],
            Some(DueCursor { tick, member }) => vec![text(&tick.0), text(member)],
        };
        let reply = self.call_once(Script::SchedulesDue, args).await?.into_array()?;
        let [now, more, found] = exactly(reply)?;
        let mut next = None;
        let due = groups(found.into_array()?, |[member, tick, record]| {
            Ok((member.into_text()?, Millis(tick.into_u64()?), record.into_bytes()?))
        })?;
        let due = due.into_iter().map(|(member, tick, record)| {
            let due = match member.split_once(':') {
                Some((namespace, name)) => stored(namespace.parse())
                    .and_then(|namespace| info(namespace, name, Reply::Bytes(text(&tick.0)), &record)),
                None => Err(StoreError::Broken(format!("a schedule is called {member:?}"))),
            };
            next = Some(DueCursor { tick, member: member.clone() });
            due.map(|info| Due { info, tick }).map_err(|error| (member, error))
        });
        let due = due.collect();
        Ok(DueSlice { now: Millis(now.into_u64()?), due, next: next.filter(|_| more == Reply::Int(1)) })
    }

    /// Submits the tasks of ticks, one for each that is planned, and moves the schedule on, in one
    /// step; `false`, and nothing is done, if the schedule is not at that tick any more.
    ///
    /// # Panics
    ///
    /// If there are not as many tasks as ticks.
    pub async fn fire(&self, due: &Due, plan: &Plan, tasks: &[NewTask]) -> Result<bool, StoreError> {
        assert_eq!(plan.ticks.len(), tasks.len(), "each tick has one task");
        let Due { info, tick } = due;
        let number = |at: Option<&Millis>| at.map(|at| text(&at.0)).unwrap_or_default();
        let mut args = vec![
            schedule_key(&info.schedule.task.namespace, &info.schedule.name),
            text(&info.generation),
            text(&tick.0),
            number(plan.next.as_ref()),
            number(plan.ticks.last()),
            tasks.last().map(|task| text(&task.id)).unwrap_or_default(),
        ];
        args.extend(tasks.iter().flat_map(new_task_args));
        match self.call(Script::ScheduleFire, args).await?.into_text()?.as_str() {
            "fired" => Ok(true),
            "stale" => Ok(false),
            other => Err(StoreError::Broken(format!("the task of a schedule was not accepted: {other}"))),
        }
    }
}

/// The first tick from now on, and never one that had its task, should the clock have stepped back.
fn next_tick(timing: &Timing, now: Millis, info: Option<&ScheduleInfo>) -> Bytes {
    let fired = info.and_then(|info| info.last_run).map_or(now, |run| run.at);
    timing.next(now.max(fired)).map(|tick| text(&tick.0)).unwrap_or_default()
}

fn schedule_key(namespace: &Namespace, name: &ScheduleName) -> Bytes {
    Bytes::from(format!("{namespace}:{name}"))
}

fn info(namespace: Namespace, name: &str, tick: Reply, schedule: &Bytes) -> Result<ScheduleInfo, StoreError> {
    let mut info = record::schedule(namespace, stored(name.parse())?, schedule)?;
    let tick = tick.into_bytes()?;
    if !tick.is_empty() {
        info.next = Some(Millis(Reply::Bytes(tick).into_u64()?));
    }
    Ok(info)
}

/// What a run of a scheduler did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// How many tasks it submitted.
    pub submitted: usize,
    /// Whether there is more to do at once.
    pub more: bool,
}

/// Fires the schedules that are due.
#[derive(Default)]
pub struct Scheduler {
    /// The schedules that were told to be broken: once is enough.
    told: HashSet<String>,
}

impl Scheduler {
    /// Fires what is due now. A schedule that cannot be fired holds up no other.
    pub async fn run(&mut self, queue: &Queue) -> Result<Ran, StoreError> {
        let mut ran = Ran::default();
        let mut cursor = None;
        for _ in 0..SLICES {
            let slice = queue.due_schedules(cursor.as_ref()).await?;
            for due in slice.due {
                let fired = match due {
                    Ok(due) => {
                        let named = due.info.schedule.name.to_string();
                        fire(queue, due, slice.now, &mut ran).await.map_err(|error| (named, error))
                    }
                    Err(unreadable) => Err(unreadable),
                };
                match fired {
                    Ok(()) => {}
                    Err((_, StoreError::Unavailable(reason))) => return Err(StoreError::Unavailable(reason)),
                    Err((schedule, error)) => self.tell(schedule, &error),
                }
            }
            cursor = slice.next;
            if cursor.is_none() || ran.more {
                return Ok(ran);
            }
        }
        ran.more = true;
        Ok(ran)
    }

    fn tell(&mut self, schedule: String, error: &StoreError) {
        if !self.told.contains(&schedule) {
            tracing::error!(schedule, %error, "a schedule cannot be fired");
            self.told.insert(schedule);
        }
    }
}

/// Fires one schedule, as often as is due and as one run may.
async fn fire(queue: &Queue, mut due: Due, now: Millis, ran: &mut Ran) -> Result<(), StoreError> {
    let size = due.info.schedule.task.payload.as_bytes().len().max(1);
    let slice = (SLICE_BYTES / size).clamp(1, SLICE);
    while due.tick <= now {
        let left = MOST_AT_ONCE - ran.submitted;
        if left == 0 {
            ran.more = true;
            break;
        }
        let plan = due.info.schedule.plan(due.tick, now, slice.min(left));
        let tasks = due.tasks(plan.ticks.len())?;
        if !queue.fire(&due, &plan, &tasks).await? {
            // Somebody else did, or it was changed in the meantime.
            break;
        }
        tell(&due, &plan, &tasks);
        ran.submitted += tasks.len();
        let Some(next) = plan.next else { break };
        due.tick = next;
    }
    Ok(())
}

fn tell(due: &Due, plan: &Plan, tasks: &[NewTask]) {
    let schedule = due.info.schedule.name.as_str();
    for (tick, task) in plan.ticks.iter().zip(tasks) {
        tracing::debug!(schedule, tick = tick.0, task = %task.id, "a schedule submitted a task");
    }
    if plan.ticks.first() != Some(&due.tick) {
        let catch_up = due.info.schedule.catch_up.as_str();
        tracing::warn!(schedule, since = due.tick.0, catch_up, "ticks of a schedule were missed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Payload;

    const MINUTE: u64 = 60_000;
    /// A full hour.
    const START: u64 = 1_800_000_000_000;

    fn schedule(cron: &str, catch_up: CatchUp) -> Schedule {
        let (payload, job) = Payload::parse(Bytes::from_static(b"{\"job\":\"j\"}")).unwrap();
        Schedule {
            name: "s".parse().unwrap(),
            timing: Timing { cron: cron.parse().unwrap(), zone: Zone::default() },
            catch_up,
            task: Spec::new(job, payload),
        }
    }

    /// The plan, in seconds since the start.
    fn plan(schedule: &Schedule, tick: u64, now: u64, most: usize) -> (Vec<u64>, u64) {
        let plan = schedule.plan(Millis(START + tick), Millis(START + now), most);
        let seconds = |at: Millis| (at.0 - START) / 1000;
        (plan.ticks.into_iter().map(seconds).collect(), seconds(plan.next.unwrap()))
    }

    #[test]
    fn what_is_late_by_a_minute_at_most_is_not_missed() {
        for catch_up in [CatchUp::Latest, CatchUp::All, CatchUp::None] {
            let minutes = schedule("* * * * *", catch_up);
            assert_eq!(plan(&minutes, MINUTE, MINUTE, 100), (vec![60], 120));
            assert_eq!(plan(&minutes, MINUTE, MINUTE + 59_999, 100), (vec![60], 120));
            assert_eq!(plan(&minutes, MINUTE, 2 * MINUTE, 100), (vec![60, 120], 180));
            let seconds = schedule("*/2 * * * * *", catch_up);
            assert_eq!(plan(&seconds, 2000, 7000, 100), (vec![2, 4, 6], 8));
            assert_eq!(plan(&seconds, 8000, 7000, 100), (vec![], 8));
        }
    }

    #[test]
    fn of_what_was_missed_the_latest_has_a_task() {
        let minutes = schedule("* * * * *", CatchUp::Latest);
        assert_eq!(plan(&minutes, MINUTE, 2 * MINUTE + 1, 100), (vec![120], 180));
        assert_eq!(plan(&minutes, MINUTE, 600 * MINUTE + 5, 100), (vec![36_000], 36_060));
        let hours = schedule("0 * * * *", CatchUp::Latest);
        assert_eq!(plan(&hours, 0, 59 * MINUTE, 100), (vec![0], 3600));
    }

    #[test]
    fn of_what_was_missed_each_has_a_task_so_many_at_once() {
        let minutes = schedule("* * * * *", CatchUp::All);
        assert_eq!(plan(&minutes, MINUTE, 5 * MINUTE, 100), (vec![60, 120, 180, 240, 300], 360));
        assert_eq!(plan(&minutes, MINUTE, 5 * MINUTE, 2), (vec![60, 120], 180));
    }

    #[test]
    fn what_was_missed_has_none_and_what_is_in_time_has() {
        let minutes = schedule("* * * * *", CatchUp::None);
        assert_eq!(plan(&minutes, MINUTE, 5 * MINUTE + 1, 100), (vec![300], 360));
        assert_eq!(plan(&minutes, MINUTE, 5 * MINUTE, 100), (vec![240, 300], 360));
        let hours = schedule("0 * * * *", CatchUp::None);
        assert_eq!(plan(&hours, 0, 5 * 60 * MINUTE + 10 * MINUTE, 100), (vec![], 6 * 3600));
    }

    #[test]
    fn the_tag_has_its_place() {
        let mut full = schedule("@daily", CatchUp::Latest);
        full.name = "n".repeat(55).parse().unwrap();
        assert_eq!(full.tags().unwrap().to_string(), format!("schedule:{}", full.name));
        let tags = (0..10).map(|i| format!("t{i}").parse().unwrap()).collect();
        full.task.tags = Tags::new(tags).unwrap();
        assert!(full.tags().is_err());
        assert!("n".repeat(56).parse::<ScheduleName>().is_err());
    }
}
