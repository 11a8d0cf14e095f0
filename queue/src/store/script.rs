//! The scripts as both homes load them.

use std::sync::LazyLock;

/// Where the source of a script starts to be shared: `-- use: a b` on its own line pulls in
/// `scripts/lib/a.lua` and `scripts/lib/b.lua`.
const USE: &str = "-- use: ";

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal),* $(,)?) => {
        /// One transition or one question of the queue; the file of the same name in `scripts/`
        /// states its arguments, its reply and the invariant it keeps.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Script {
            $($(#[$doc])* $name),*
        }

        impl Script {
            /// All there are.
            pub const ALL: &[Script] = &[$(Script::$name),*];

            /// The name of its file, without the ending.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $file),*
                }
            }

            fn file(self) -> &'static str {
                match self {
                    $(Self::$name => include_str!(concat!("../scripts/", $file, ".lua"))),*
                }
            }
        }
    };
}

scripts! {
    /// Accepts new tasks.
    Submit = "submit",
    /// Ends attempts and hands out new ones.
    SettleClaim = "settle_claim",
    /// Prolongs leases; a worker's sign of life.
    Renew = "renew",
    /// Keeps what an attempt can go on from.
    Save = "save",
    /// Gives leases back unharmed.
    Release = "release",
    /// Ends expired leases and makes due tasks ready.
    Sweep = "sweep",
    /// Ends every lease, uncounted: the embedded home was opened again.
    Reopen = "reopen",
    /// Ends tasks by request.
    Cancel = "cancel",
    /// Gives ended tasks another life.
    Redrive = "redrive",
    /// Changes when a waiting task is due, and its priority.
    Reschedule = "reschedule",
    /// Starts an operation on many tasks.
    StartOperation = "start_operation",
    /// Carries operations on.
    Operate = "operate",
    /// Removes finished tasks that are not kept any more.
    Retain = "retain",
    /// Has the end of tasks published.
    Watch = "watch",
    /// One task, whole.
    Get = "get",
    /// Some tasks, in brief.
    Briefs = "briefs",
    /// Some tasks, in brief, and whom they have to do with.
    Kin = "kin",
    /// What an attempt printed.
    Log = "log",
    /// What a task can go on from.
    Load = "load",
    /// State of a job.
    State = "state",
    /// Tasks, a slice at a time.
    List = "list",
    /// Tasks that ended, in that order.
    Endings = "endings",
    /// How far an operation has come.
    Operation = "operation",
    /// Makes a schedule what is said.
    SchedulePut = "schedule_put",
    /// Removes a schedule.
    ScheduleDelete = "schedule_delete",
    /// Pauses or resumes a schedule.
    SchedulePause = "schedule_pause",
    /// Submits the tasks of a schedule's ticks.
    ScheduleFire = "schedule_fire",
    /// Schedules.
    Schedules = "schedules",
    /// The schedules whose tick has come.
    SchedulesDue = "schedules_due",
    /// Whether tasks are where they should be.
    Audit = "audit",
    /// The namespaces there are.
    Namespaces = "namespaces",
    /// Tasks of all namespaces.
    Totals = "totals",
    /// Tasks by status.
    Stats = "stats",
    /// All queues with their settings and depths.
    Queues = "queues",
    /// Pauses or resumes a queue.
    SetPaused = "set_paused",
    /// Changes a queue's settings.
    SetQueue = "set_queue",
    /// The workers that gave a sign of life lately.
    Workers = "workers",
    /// The jobs that workers advertised lately.
    Jobs = "jobs",
    /// Adds up what a process saw happen.
    Observe = "observe",
    /// What happened lately, span by span.
    Series = "series",
    /// What ever happened.
    Sums = "sums",
    /// How many tasks are ready, and since when.
    Waiting = "waiting",
    /// Makes an API key.
    AddKey = "add_key",
    /// Revokes an API key.
    RevokeKey = "revoke_key",
    /// All API keys.
    Keys = "keys",
    /// Admits a request of an API key, or does not.
    Admit = "admit",
    /// Opens a session.
    OpenSession = "open_session",
    /// Whose session it is.
    Session = "session",
    /// Closes a session.
    CloseSession = "close_session",
    /// Tells that an operator is about to do something.
    BeginAction = "begin_action",
    /// Tells what that was answered.
    EndAction = "end_action",
    /// What operators did.
    Actions = "actions",
    /// What plugins say of themselves.
    Descriptions = "descriptions",
    /// Publishes that.
    Publish = "publish",
    /// Sets the length of leases, for the whole store.
    SetLease = "set_lease",
    /// Writes something, to see whether that can be done.
    Probe = "probe",
    /// Sets the markers of queues again.
    Wake = "wake",
}

impl Script {
    /// The text that Redis is given: the `#!lua` line, then the shared parts, then the rest.
    pub fn source(self) -> &'static str {
        static SOURCES: LazyLock<Vec<String>> =
            LazyLock::new(|| Script::ALL.iter().map(|script| assemble(script.file())).collect());
        &SOURCES[self as usize]
    }

    /// The text without its first line, which only Redis understands.
    pub fn body(self) -> &'static str {
        let source = self.source();
        source.split_once('\n').map_or("", |(_shebang, body)| body)
    }

    /// Whether it only reads (`no-writes` among its flags).
    pub fn reads_only(self) -> bool {
        self.flags().any(|flag| flag == "no-writes")
    }

    fn flags(self) -> impl Iterator<Item = &'static str> {
        let shebang = self.source().lines().next().unwrap_or_default();
        let (_, flags) = shebang.split_once("flags=").unwrap_or_default();
        flags.split(',').map(str::trim)
    }
}

fn assemble(file: &'static str) -> String {
    let (shebang, rest) = file.split_once('\n').expect("a script has a `#!lua` line");
    let mut source = format!("{shebang}\n");
    for line in rest.lines() {
        if let Some(names) = line.strip_prefix(USE) {
            names.split(' ').for_each(|name| source.push_str(library(name)));
        } else {
            source.push_str(line);
            source.push('\n');
        }
    }
    source
}

fn library(name: &str) -> &'static str {
    match name {
        "clock" => include_str!("../scripts/lib/clock.lua"),
        "record" => include_str!("../scripts/lib/record.lua"),
        "task" => include_str!("../scripts/lib/task.lua"),
        "ready" => include_str!("../scripts/lib/ready.lua"),
        "limits" => include_str!("../scripts/lib/limits.lua"),
        "finish" => include_str!("../scripts/lib/finish.lua"),
        "accept" => include_str!("../scripts/lib/accept.lua"),
        "beat" => include_str!("../scripts/lib/beat.lua"),
        "place" => include_str!("../scripts/lib/place.lua"),
        "steer" => include_str!("../scripts/lib/steer.lua"),
        "page" => include_str!("../scripts/lib/page.lua"),
        "schedule" => include_str!("../scripts/lib/schedule.lua"),
        "request" => include_str!("../scripts/lib/request.lua"),
        "ends" => include_str!("../scripts/lib/ends.lua"),
        "numbers" => include_str!("../scripts/lib/numbers.lua"),
        "loosen" => include_str!("../scripts/lib/loosen.lua"),
        "effects" => include_str!("../scripts/lib/effects.lua"),
        "key" => include_str!("../scripts/lib/key.lua"),
        "session" => include_str!("../scripts/lib/session.lua"),
        "action" => include_str!("../scripts/lib/action.lua"),
        "namespace" => include_str!("../scripts/lib/namespace.lua"),
        "kin" => include_str!("../scripts/lib/kin.lua"),
        "erase" => include_str!("../scripts/lib/erase.lua"),
        other => unreachable!("no scripts/lib/{other}.lua"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_starts_with_its_flags_and_carries_its_shared_parts() {
        for &script in Script::ALL {
            let source = script.source();
            assert!(source.starts_with("#!lua flags="), "{}", script.name());
            assert!(!source.contains(USE), "{}", script.name());
        }
    }

    #[test]
    fn only_questions_are_marked_as_reading() {
        let reading: Vec<_> = Script::ALL.iter().filter(|s| s.reads_only()).collect();
        let questions = [
            Script::Get,
            Script::Briefs,
            Script::Kin,
            Script::Log,
            Script::Load,
            Script::State,
            Script::List,
            Script::Endings,
            Script::Operation,
            Script::Schedules,
            Script::SchedulesDue,
            Script::Audit,
            Script::Namespaces,
            Script::Totals,
            Script::Stats,
            Script::Queues,
            Script::Workers,
            Script::Jobs,
            Script::Series,
            Script::Sums,
            Script::Waiting,
            Script::Keys,
            Script::Session,
            Script::Actions,
            Script::Descriptions,
        ];
        assert_eq!(reading, questions.each_ref());
    }
}
