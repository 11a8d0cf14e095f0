//! Each rule is broken once by a made-up history, which is sound otherwise.

use super::*;
use crate::task::Attempt;

/// A history and what the store holds, of which a test breaks one thing.
struct World {
    events: Vec<Event>,
    finals: Finals,
}

impl World {
    /// One task of each act, all of them well.
    fn sound() -> Self {
        let mut world = Self { events: Vec::new(), finals: Finals::default() };
        world.add(&wish("echo", Act::Echo), "COMPLETED");
        world.add(&wish("sleep", Act::Sleep { ms: 1 }), "COMPLETED");
        world.add(&wish("flaky", Act::OkFrom { attempt: 2 }), "COMPLETED");
        world.add(&wish("permanent", Act::Permanent), "FAILED");
        world.add(&wish("retryable", Act::Retryable), "FAILED");
        world
    }

    /// A task that was accepted and ended so.
    fn add(&mut self, wish: &Wish, status: &str) {
        self.note(What::Wished(wish.clone()));
        let (mark, id) = (wish.mark.clone(), id(&wish.mark));
        self.note(What::Accepted { mark, id: id.clone(), deduplicated: false });
        self.put(wish, status);
    }

    fn put(&mut self, wish: &Wish, status: &str) {
        let failures = match &wish.act {
            Act::OkFrom { attempt } => attempt - 1,
            act if status == "FAILED" && act.is_retried() => wish.max_attempts,
            _ => u64::from(status == "FAILED"),
        };
        let tries = failures + u64::from(status == "COMPLETED");
        let attempts: Vec<_> = (1..=tries)
            .map(|number| Attempt {
                number,
                outcome: if number <= failures { "FAILED".into() } else { "COMPLETED".into() },
                started_at: 1000 + 10 * number,
                ended_at: 1005 + 10 * number,
            })
            .collect();
        let result = match &wish.act {
            Act::Echo => wish.payload(),
            Act::OkFrom { .. } => json!(tries),
            _ => json!("ok"),
        };
        let task = Found {
            id: id(&wish.mark),
            mark: Some(wish.mark.clone()),
            status: status.into(),
            attempt: tries,
            created_at: 1000,
            started_at: attempts.last().map(|attempt| attempt.started_at),
            finished_at: Some(1005 + 10 * tries),
            payload: wish.payload(),
            result: (status == "COMPLETED").then_some(result),
            error: if status == "FAILED" { wish.act.failure().map(Into::into) } else { None },
            attempts,
            redrives: 0,
        };
        self.finals.tasks.insert(task.id.clone(), task);
        *self.finals.status_counts.entry(status.into()).or_default() += 1;
        *self.finals.lifetime.entry(status.into()).or_default() += 1;
        *self.finals.lifetime.entry("submitted".into()).or_default() += 1;
    }

    fn note(&mut self, what: What) {
        self.events.push(Event { at: 0, what });
    }

    fn steer(&mut self, mark: &str, steer: Steer, outcome: Steered) {
        self.note(What::Steered { id: id(mark), steer, outcome });
    }

    fn see(&mut self, mark: &str, status: &str, attempt: u64, finished_at: u64) {
        self.note(What::Observed { id: id(mark), status: status.into(), attempt, finished_at });
    }

    fn task(&mut self, mark: &str) -> &mut Found {
        self.finals.tasks.get_mut(&id(mark)).unwrap()
    }

    fn count(&mut self, name: &str, change: i64) {
        let count = self.finals.lifetime.entry(name.into()).or_default();
        *count = count.checked_add_signed(change).unwrap();
    }

    fn verdict(&self) -> Verdict {
        check(&self.events, &self.finals)
    }

    fn broken(&self) -> Vec<Rule> {
        self.verdict().violations.iter().map(|violation| violation.rule).collect()
    }
}

fn id(mark: &str) -> String {
    format!("id-{mark}")
}

fn wish(mark: &str, act: Act) -> Wish {
    Wish { max_attempts: 2, ..Wish::plain(mark, act) }
}

fn child(parent: &str, after_policy: AfterPolicy) -> Wish {
    Wish { after: vec![parent.into()], after_policy, ..wish("child", Act::Echo) }
}

/// A world with a parent and its child, which started after it.
fn family(parent: &str, status: &str, policy: AfterPolicy) -> World {
    let mut world = World::sound();
    world.add(&child(parent, policy), status);
    let end = world.task(parent).finished_at.unwrap();
    let child = world.task("child");
    for attempt in &mut child.attempts {
        attempt.started_at = end + 5;
        attempt.ended_at = end + 9;
    }
    child.started_at = child.started_at.map(|_| end + 5);
    child.finished_at = Some(end + 9);
    world
}

/// A world with a task that FAILED, was redriven, and FAILED again.
fn redriven() -> World {
    let mut world = World::sound();
    world.steer("permanent", Steer::Redrive, Steered::Done);
    let task = world.task("permanent");
    task.redrives = 1;
    let again = Attempt { number: 2, outcome: "FAILED".into(), started_at: 2000, ended_at: 2005 };
    task.attempts.push(again);
    (task.attempt, task.started_at, task.finished_at) = (2, Some(2000), Some(2005));
    world.count("FAILED", 1);
    world.count("redriven", 1);
    world
}

#[test]
fn a_sound_history_breaks_no_rule() {
    let verdict = World::sound().verdict();
    assert!(verdict.violations.is_empty(), "{:?}", verdict.violations);
    assert_eq!((verdict.tally.submitted, verdict.tally.acknowledged), (5, 5));
    assert_eq!(verdict.tally.ended["COMPLETED"], 3);
    for world in [
        redriven(),
        family("echo", "COMPLETED", AfterPolicy::Completed),
        family("permanent", "CANCELLED", AfterPolicy::Completed),
        family("permanent", "COMPLETED", AfterPolicy::Always),
    ] {
        assert_eq!(world.broken(), []);
    }
}

#[test]
fn what_was_accepted_and_is_not_there_is_lost() {
    let mut world = World::sound();
    world.finals.tasks.remove("id-echo");
    *world.finals.status_counts.get_mut("COMPLETED").unwrap() -= 1;
    world.count("COMPLETED", -1);
    world.count("submitted", -1);
    assert_eq!(world.broken(), [Rule::Lost]);
    assert_eq!(world.verdict().tally.lost, 1);
}

#[test]
fn what_cannot_be_read_is_lost() {
    let mut world = World::sound();
    world.finals.tasks.remove("id-echo");
    world.finals.unreadable.insert("id-echo".into(), "500".into());
    // The counters still count it, and fewer tasks show.
    assert_eq!(world.broken(), [Rule::Lost, Rule::Settlements, Rule::Stats]);
}

#[test]
fn a_wish_of_unknown_fate_may_be_there_or_not() {
    for is_there in [false, true] {
        let mut world = World::sound();
        let wish = wish("maybe", Act::Echo);
        world.note(What::Wished(wish.clone()));
        world.note(What::Unknown { mark: "maybe".into(), why: "timeout".into() });
        if is_there {
            world.put(&wish, "COMPLETED");
        }
        assert_eq!(world.broken(), []);
        assert_eq!(world.verdict().tally.unknown_accepted, u64::from(is_there));
    }
}

#[test]
fn two_tasks_for_one_wish_are_doubled() {
    let mut world = World::sound();
    let other = Found { id: "id-other".into(), ..world.task("echo").clone() };
    world.finals.tasks.insert("id-other".into(), other);
    *world.finals.status_counts.get_mut("COMPLETED").unwrap() += 1;
    world.count("COMPLETED", 1);
    world.count("submitted", 1);
    assert_eq!(world.broken(), [Rule::Doubled]);
    // Told to the client as well: twice over.
    world.note(What::Accepted { mark: "echo".into(), id: "id-other".into(), deduplicated: false });
    assert_eq!(world.broken(), [Rule::Doubled, Rule::Doubled]);
}

#[test]
fn a_task_that_nobody_sent_is_doubled() {
    let mut world = World::sound();
    let wish = wish("unsent", Act::Echo);
    world.note(What::Wished(wish.clone()));
    world.note(What::NotSent { mark: "unsent".into() });
    world.put(&wish, "COMPLETED");
    assert_eq!(world.broken(), [Rule::Doubled]);
}

#[test]
fn a_task_that_has_not_ended_is_stuck() {
    let mut world = World::sound();
    world.task("echo").status = "QUEUED".into();
    world.task("echo").attempts.clear();
    world.finals.status_counts =
        BTreeMap::from([("COMPLETED".into(), 2), ("FAILED".into(), 2), ("QUEUED".into(), 1)]);
    world.finals.queue_size = 1;
    world.count("COMPLETED", -1);
    assert_eq!(world.broken(), [Rule::Stuck]);
}

#[test]
fn another_payload_is_altered() {
    let mut world = World::sound();
    world.task("sleep").payload["ms"] = json!(2);
    assert_eq!(world.broken(), [Rule::Altered]);
}

#[test]
fn a_wrong_result_is_a_wrong_end() {
    let breaks: [fn(&mut World); 5] = [
        |world| world.task("echo").result = Some(json!("another's")),
        |world| world.task("sleep").result = None,
        // The result of another attempt than the one that ended it.
        |world| world.task("flaky").result = Some(json!(3)),
        |world| world.task("permanent").error = Some("timeout".into()),
        // It gave up before its last attempt.
        |world| {
            let task = world.task("retryable");
            task.attempts.truncate(1);
            task.attempt = 1;
        },
    ];
    for break_it in breaks {
        let mut world = World::sound();
        break_it(&mut world);
        assert_eq!(world.broken(), [Rule::WrongEnd]);
    }
}

#[test]
fn a_state_that_the_job_does_not_allow_is_a_wrong_end() {
    for (mark, from, to) in [
        ("permanent", "FAILED", "COMPLETED"),
        ("echo", "COMPLETED", "FAILED"),
        ("echo", "COMPLETED", "CANCELLED"),
    ] {
        let mut world = World::sound();
        let task = world.task(mark);
        task.status = to.into();
        task.attempts.clear();
        for (status, change) in [(from, -1), (to, 1)] {
            world.count(status, change);
            let count = world.finals.status_counts.entry(status.into()).or_default();
            *count = count.checked_add_signed(change).unwrap();
        }
        assert_eq!(world.broken(), [Rule::WrongEnd], "{mark}: {to}");
    }
}

#[test]
fn a_cancel_that_was_acknowledged_and_undone() {
    let mut world = World::sound();
    world.steer("echo", Steer::Cancel, Steered::WrongState);
    assert_eq!(world.broken(), []);
    world.steer("echo", Steer::Cancel, Steered::Done);
    assert_eq!(world.broken(), [Rule::CancelUndone]);
}

#[test]
fn a_cancel_of_a_redriven_task_holds_for_its_new_life() {
    let mut world = redriven();
    world.steer("permanent", Steer::Cancel, Steered::Done);
    assert_eq!(world.broken(), [Rule::CancelUndone]);
}

#[test]
fn a_redrive_that_did_not_happen_or_happened_twice() {
    for redrives in [0, 2] {
        let mut world = redriven();
        world.task("permanent").redrives = redrives;
        // The counters would tell as well.
        assert!(world.broken().contains(&Rule::Redrive), "{redrives}");
    }
    let mut world = redriven();
    world.events.pop();
    world.steer("permanent", Steer::Redrive, Steered::Unknown);
    assert_eq!(world.broken(), []);
}

#[test]
fn a_final_state_that_changed_without_a_redrive() {
    let mut world = World::sound();
    world.see("echo", "COMPLETED", 1, 1015);
    assert_eq!(world.broken(), []);
    world.see("echo", "COMPLETED", 1, 1016);
    assert_eq!(world.broken(), [Rule::FinalChanged, Rule::Attempts]);
}

#[test]
fn a_redrive_explains_one_other_end_and_no_more() {
    let mut world = redriven();
    world.see("permanent", "FAILED", 1, 1015);
    world.see("permanent", "FAILED", 2, 2005);
    assert_eq!(world.broken(), []);
    world.see("permanent", "CANCELLED", 2, 2003);
    assert_eq!(world.broken(), [Rule::FinalChanged]);
    // What is COMPLETED cannot be redriven.
    let mut world = redriven();
    world.see("permanent", "COMPLETED", 1, 1015);
    assert_eq!(world.broken(), [Rule::FinalChanged]);
}

#[test]
fn a_start_before_the_delay_is_over_is_too_early() {
    for (delay, broken) in [(10, &[][..]), (11, &[Rule::TooEarly])] {
        let mut world = World::sound();
        world.add(&Wish { delay_ms: Some(delay), ..wish("late", Act::Echo) }, "COMPLETED");
        assert_eq!(world.broken(), broken, "{delay}");
    }
}

#[test]
fn a_delay_that_was_rescheduled_binds_no_more() {
    let mut world = World::sound();
    world.add(&Wish { delay_ms: Some(11), ..wish("late", Act::Echo) }, "COMPLETED");
    world.steer("late", Steer::Reschedule, Steered::WrongState);
    assert_eq!(world.broken(), [Rule::TooEarly]);
    world.steer("late", Steer::Reschedule, Steered::Done);
    assert_eq!(world.broken(), []);
}

#[test]
fn a_start_after_the_expiry_is_too_late() {
    for (expires_at, broken) in [(1011, &[][..]), (1010, &[Rule::TooLate])] {
        let mut world = World::sound();
        world.add(&Wish { expires_at: Some(expires_at), ..wish("brief", Act::Echo) }, "COMPLETED");
        assert_eq!(world.broken(), broken, "{expires_at}");
    }
}

#[test]
fn only_what_may_expire_expires_and_not_too_early() {
    for (expires_at, broken) in
        [(Some(1000), &[][..]), (Some(2000), &[Rule::WrongEnd]), (None, &[Rule::WrongEnd])]
    {
        let mut world = World::sound();
        world.add(&Wish { expires_at, ..wish("brief", Act::Echo) }, "FAILED");
        let task = world.task("brief");
        task.error = Some("expired".into());
        task.attempts.clear();
        task.started_at = None;
        assert_eq!(world.broken(), broken, "{expires_at:?}");
    }
}

#[test]
fn two_tasks_of_a_key_that_ran_at_once_were_together() {
    for (queue, start, broken) in
        [("default", 1012, &[Rule::Together][..]), ("default", 1015, &[]), ("mail", 1012, &[])]
    {
        let mut world = World::sound();
        let limited = |mark| Wish { concurrency_key: Some("key"), ..wish(mark, Act::Echo) };
        world.add(&limited("one"), "COMPLETED");
        world.add(&Wish { queue, ..limited("two") }, "COMPLETED");
        let two = world.task("two");
        two.attempts[0].started_at = start;
        two.attempts[0].ended_at = start + 5;
        assert_eq!(world.broken(), broken, "{queue} {start}");
    }
}

#[test]
fn a_start_before_the_parents_end_is_too_early() {
    for (parent, policy) in [("echo", AfterPolicy::Completed), ("permanent", AfterPolicy::Always)] {
        let mut world = family(parent, "COMPLETED", policy);
        world.task("child").attempts[0].started_at = 1000;
        assert_eq!(world.broken(), [Rule::TooEarly], "{policy:?}");
    }
}

#[test]
fn a_child_of_a_parent_that_did_not_complete_must_be_cancelled() {
    let world = family("permanent", "COMPLETED", AfterPolicy::Completed);
    assert_eq!(world.broken(), [Rule::WrongEnd, Rule::TooEarly]);
    let mut world = family("permanent", "FAILED", AfterPolicy::Completed);
    let child = world.task("child");
    child.error = Some("expired".into());
    child.attempts.clear();
    child.started_at = None;
    assert_eq!(world.broken(), [Rule::WrongEnd, Rule::WrongEnd], "nor may it expire without an expiry");
    let wished = world.events.iter_mut().find_map(|event| match &mut event.what {
        What::Wished(wish) if wish.mark == "child" => Some(wish),
        _ => None,
    });
    wished.unwrap().expires_at = Some(1000);
    assert_eq!(world.broken(), [], "it expired while it waited");
    let world = family("echo", "CANCELLED", AfterPolicy::Completed);
    assert_eq!(world.broken(), [Rule::WrongEnd], "its parent did complete");
    let world = family("permanent", "CANCELLED", AfterPolicy::Always);
    assert_eq!(world.broken(), [Rule::WrongEnd], "it runs whatever its parent did");
}

#[test]
fn attempts_that_overlap_or_are_too_many() {
    let lost = |started_at, ended_at| Attempt { number: 0, outcome: "LOST".into(), started_at, ended_at };
    let mut world = World::sound();
    world.task("echo").attempts.insert(0, lost(1001, 1009));
    assert_eq!(world.broken(), []);
    assert_eq!(world.verdict().tally.ran_again, 1);
    world.task("echo").attempts[0].ended_at = 1012;
    assert_eq!(world.broken(), [Rule::Attempts]);

    let failed = |number| Attempt { number, outcome: "FAILED".into(), started_at: 5000, ended_at: 5000 };
    let mut world = World::sound();
    world.task("retryable").attempts.push(failed(3));
    assert_eq!(world.broken(), [Rule::Attempts], "three failures of two");
    let mut world = World::sound();
    world.task("permanent").attempts.push(failed(2));
    assert_eq!(world.broken(), [Rule::Attempts], "tried again after a failure for good");
}

#[test]
fn a_history_that_dates_an_attempt_otherwise_than_clients_saw_it() {
    let mut world = World::sound();
    world.see("echo", "COMPLETED", 1, 1015);
    world.task("echo").attempts[0].ended_at = 1016;
    assert_eq!(world.broken(), [Rule::Attempts]);
    let mut world = redriven();
    world.see("permanent", "FAILED", 1, 1015);
    world.task("permanent").attempts[0].ended_at = 1990;
    assert_eq!(world.broken().len(), 1);
}

#[test]
fn a_retry_that_expired_ended_later_than_its_attempt() {
    for (expires_at, broken) in [(Some(1030), &[][..]), (None, &[Rule::WrongEnd, Rule::Attempts])] {
        let mut world = World::sound();
        world.add(&Wish { expires_at, ..wish("brief", Act::Retryable) }, "FAILED");
        let task = world.task("brief");
        task.error = Some("expired".into());
        task.finished_at = Some(1035);
        world.see("brief", "FAILED", 2, 1035);
        assert_eq!(world.broken(), broken, "{expires_at:?}");
    }
}

#[test]
fn two_attempts_that_completed_it() {
    let mut world = World::sound();
    let again =
        Attempt { number: 2, started_at: 3000, ended_at: 3001, ..world.task("echo").attempts[0].clone() };
    world.task("echo").attempts.push(again);
    assert_eq!(world.broken(), [Rule::Attempts]);
}

#[test]
fn counters_that_tell_of_more_settlements_than_tasks() {
    for counter in ["COMPLETED", "FAILED", "CANCELLED", "submitted", "redriven"] {
        let mut world = World::sound();
        world.count(counter, 1);
        assert_eq!(world.broken(), [Rule::Settlements], "{counter}");
    }
}

#[test]
fn stats_that_tell_of_other_tasks() {
    let mut world = World::sound();
    world.finals.status_counts.insert("BLOCKED".into(), 1);
    assert_eq!(world.broken(), [Rule::Stats]);
    let mut world = World::sound();
    world.finals.queue_size = 1;
    assert_eq!(world.broken(), [Rule::Stats]);
}

#[test]
fn a_conviction_is_counted_and_a_violation_unless_excused() {
    let mut world = World::sound();
    let task = world.task("permanent");
    task.error = Some("worker_lost".into());
    let verdict = world.verdict();
    assert_eq!(verdict.tally.convicted, 1);
    assert_eq!(verdict.violations.len(), 1);
    assert_eq!(verdict.violations[0].rule, Rule::Convicted);
}

#[test]
fn what_did_not_happen_is_named() {
    let world = redriven();
    assert!(world.verdict().tally.idle().eq([
        "submits of unknown fate",
        "lost leases",
        "cancelled tasks",
        "submits sent again"
    ]));
}

#[test]
fn an_answer_that_should_not_be_and_a_process_that_ended_by_itself() {
    let mut world = World::sound();
    world.note(What::Unexpected { request: "/v1/tasks".into(), answer: "500".into() });
    assert_eq!(world.broken(), [Rule::Answer]);
    let mut world = World::sound();
    world.note(What::Misbehaved { process: "worker 1".into(), what: "it ended by itself".into() });
    assert_eq!(world.broken(), [Rule::Process]);
}
