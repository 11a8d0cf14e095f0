//! Schedules, on both homes; each call is sent twice (see [`crate::bench`]).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use sentinel_queue::{
    Millis, Namespace, NewTask, Payload, Priority, Queue, Schedule, ScheduleName, Spec, Status, Task, TaskId,
    list::Filter,
    schedule::{CatchUp, Due, Plan, Ran, ScheduleInfo, Scheduler, Timing},
    steer::Retention,
    store::{Script, Store, embedded::Embedded, redis::Redis},
    sweeper::sweep_for_ever,
};
use sentinel_testkit::RedisServer;

use crate::bench::{Bench, START, Worker, ids, on_both_homes};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A full hour.
fn start() -> Millis {
    assert_eq!(START % 3_600_000, 0);
    Millis(START)
}

fn after(time: Duration) -> Millis {
    Millis(start().0 + u64::try_from(time.as_millis()).unwrap())
}

fn name(text: &str) -> ScheduleName {
    text.parse().unwrap()
}

fn schedule(named: &str, cron: &str) -> Schedule {
    let (payload, job) = Payload::parse(Bytes::from_static(b"{\"job\": \"j\", \"n\": 1.50}")).unwrap();
    Schedule {
        name: name(named),
        timing: Timing { cron: cron.parse().unwrap(), zone: "Europe/Berlin".parse().unwrap() },
        catch_up: CatchUp::default(),
        task: Spec::new(job, payload),
    }
}

async fn put(bench: &Bench, schedule: &Schedule) {
    bench.queue.put_schedule(schedule, None).await.unwrap();
}

async fn look(bench: &Bench, named: &str) -> ScheduleInfo {
    let (_, found) = bench.queue.schedule(&Namespace::default(), &name(named)).await.unwrap();
    found.expect("it is there")
}

async fn run(bench: &Bench) -> Ran {
    Scheduler::default().run(&bench.queue).await.unwrap()
}

async fn due(bench: &Bench) -> Vec<Due> {
    let slice = bench.queue.due_schedules(None).await.unwrap();
    slice.due.into_iter().map(Result::unwrap).collect()
}

/// What a scheduler does with a schedule that is due, up to the call that fires it.
async fn prepare(bench: &Bench, due: &Due) -> (Plan, Vec<NewTask>) {
    let now = bench.queue.due_schedules(None).await.unwrap().now;
    let plan = due.info.schedule.plan(due.tick, now, 100);
    let tasks = due.tasks(plan.ticks.len()).unwrap();
    (plan, tasks)
}

/// The tasks of a schedule.
async fn tasks(bench: &Bench, named: &str) -> Vec<TaskId> {
    let filter = Filter { tag: Some(format!("schedule:{named}").parse().unwrap()), ..Filter::default() };
    let slice = bench.queue.list(&filter, 5000, None).await.unwrap();
    slice.tasks.iter().map(|task| task.definition.id).collect()
}

on_both_homes! {
    async fn a_schedule_is_read_back_as_it_was_put(bench: &Bench) {
        let mut put = schedule("nightly", "0 3 * * *");
        put.catch_up = CatchUp::All;
        put.task.queue = "reports".parse().unwrap();
        put.task.priority = Priority::new(-7).unwrap();
        put.task.policy.timeout = Some(Duration::from_millis(1500));
        put.task.policy.max_attempts = Some(9);
        put.task.policy.backoff = Some(sentinel_queue::Backoff::default());
        put.task.concurrency_key = Some("k".parse().unwrap());
        put.task.tags = "a,b".parse().unwrap();
        bench.queue.put_schedule(&put, Some(false)).await.unwrap();
        let info = look(bench, "nightly").await;
        assert_eq!(info.schedule, put);
        assert_eq!((info.paused, info.last_run), (false, None));
        assert_eq!(info.next, put.timing.next(start()));
        let (now, listed) = bench.queue.schedules(&Namespace::default(), "", 10).await.unwrap();
        assert_eq!((now, listed.len()), (start(), 1));
        assert_eq!(listed[0].schedule.task.payload.as_str(), "");
        assert_eq!(listed[0].schedule.timing, put.timing);
        let other = "other".parse().unwrap();
        assert_eq!(bench.queue.schedules(&other, "", 10).await.unwrap().1, []);
        assert_eq!(bench.queue.schedule(&other, &name("nightly")).await.unwrap().1, None);
    }

    async fn schedules_are_listed_by_name_a_page_at_a_time(bench: &Bench) {
        for named in ["c", "a", "d", "b"] {
            put(bench, &schedule(named, "@daily")).await;
        }
        let names = |found: Vec<ScheduleInfo>| -> Vec<String> {
            found.iter().map(|info| info.schedule.name.to_string()).collect()
        };
        let ns = Namespace::default();
        assert_eq!(names(bench.queue.schedules(&ns, "", 3).await.unwrap().1), ["a", "b", "c"]);
        assert_eq!(names(bench.queue.schedules(&ns, "b", 3).await.unwrap().1), ["c", "d"]);
        assert_eq!(names(bench.queue.schedules(&ns, "d", 3).await.unwrap().1), [""; 0]);
    }

    async fn a_tick_has_one_task_as_the_schedule_says(bench: &Bench) {
        let mut hourly = schedule("hourly", "@hourly");
        hourly.task.tags = "a".parse().unwrap();
        hourly.task.priority = Priority::new(5).unwrap();
        put(bench, &hourly).await;
        bench.advance(59 * MINUTE + Duration::from_millis(59_999));
        assert!(!bench.queue.sweep().await.unwrap().schedules_due);
        assert_eq!(run(bench).await, Ran::default());
        bench.advance(Duration::from_millis(1));
        assert!(bench.queue.sweep().await.unwrap().schedules_due);
        assert_eq!(run(bench).await, Ran { submitted: 1, more: false });
        assert_eq!(run(bench).await, Ran::default());
        assert!(!bench.queue.sweep().await.unwrap().schedules_due);
        let made = tasks(bench, "hourly").await;
        let Task { definition, state, .. } = bench.get(made[0]).await;
        assert_eq!((made.len(), state.status()), (1, Status::Queued));
        assert_eq!(definition.spec.payload, hourly.task.payload);
        assert_eq!(definition.spec.tags.to_string(), "a,schedule:hourly");
        assert_eq!(definition.spec.priority, hourly.task.priority);
        assert_eq!(ids(&Worker::of(bench).claim(5).await), made);
        let info = look(bench, "hourly").await;
        let last = info.last_run.unwrap();
        assert_eq!((last.at, last.task), (after(HOUR), made[0]));
        assert_eq!(info.next, Some(after(2 * HOUR)));
        assert_eq!(info.schedule, hourly);
    }

    async fn many_schedulers_fire_each_tick_once(bench: &Bench) {
        put(bench, &schedule("s", "* * * * *")).await;
        for minute in 1..=5 {
            bench.advance(MINUTE);
            // All see that it is due before any of them fires.
            let mut ready = Vec::new();
            for _ in 0..4 {
                let seen = due(bench).await.remove(0);
                let (plan, tasks) = prepare(bench, &seen).await;
                ready.push((seen, plan, tasks));
            }
            let mut fired = 0;
            for (seen, plan, tasks) in &ready {
                fired += u32::from(bench.queue.fire(seen, plan, tasks).await.unwrap());
            }
            assert_eq!(fired, 1);
            assert_eq!(tasks(bench, "s").await.len(), minute);
        }
    }

    async fn a_scheduler_that_dies_before_it_fires_leaves_that_to_others(bench: &Bench) {
        put(bench, &schedule("s", "@hourly")).await;
        bench.advance(HOUR);
        let seen = due(bench).await.remove(0);
        let prepared = prepare(bench, &seen).await;
        drop(prepared);
        assert_eq!(run(bench).await.submitted, 1);
        assert_eq!(tasks(bench, "s").await.len(), 1);
    }

    async fn a_fire_that_is_sent_again_later_changes_nothing(bench: &Bench) {
        put(bench, &schedule("s", "* * * * *")).await;
        bench.advance(MINUTE);
        let seen = due(bench).await.remove(0);
        let (plan, made) = prepare(bench, &seen).await;
        assert!(bench.queue.fire(&seen, &plan, &made).await.unwrap());
        // The answer got lost; meanwhile the task runs, and the next tick is fired.
        assert_eq!(Worker::of(bench).claim(1).await.len(), 1);
        bench.advance(MINUTE);
        assert_eq!(run(bench).await.submitted, 1);
        assert!(bench.queue.fire(&seen, &plan, &made).await.unwrap());
        // Another one's tasks for a tick that had its own.
        let others = seen.tasks(1).unwrap();
        assert!(!bench.queue.fire(&seen, &plan, &others).await.unwrap());
        assert_eq!(tasks(bench, "s").await.len(), 2);
    }

    async fn what_a_scheduler_read_before_a_put_is_stale(bench: &Bench) {
        put(bench, &schedule("s", "@hourly")).await;
        bench.advance(HOUR);
        let seen = due(bench).await.remove(0);
        let (plan, made) = prepare(bench, &seen).await;
        let mut changed = schedule("s", "@hourly");
        changed.task.payload = Payload::parse(Bytes::from_static(b"{\"job\":\"j\",\"new\":1}")).unwrap().0;
        put(bench, &changed).await;
        assert!(!bench.queue.fire(&seen, &plan, &made).await.unwrap());
        assert_eq!(run(bench).await.submitted, 1);
        let made = tasks(bench, "s").await;
        assert_eq!(made.len(), 1);
        assert_eq!(bench.get(made[0]).await.definition.spec.payload, changed.task.payload);
    }

    async fn the_same_put_again_keeps_the_next_tick_and_another_timing_does_not(bench: &Bench) {
        put(bench, &schedule("s", "0 * * * *")).await;
        bench.advance(HOUR + MINUTE);
        // The tick that came in the meantime is not lost by this.
        put(bench, &schedule("s", "0 * * * *")).await;
        assert_eq!(look(bench, "s").await.next, Some(after(HOUR)));
        let mut other = schedule("s", "0 * * * *");
        other.catch_up = CatchUp::All;
        other.task.priority = Priority::new(3).unwrap();
        put(bench, &other).await;
        let info = look(bench, "s").await;
        assert_eq!((info.next, &info.schedule), (Some(after(HOUR)), &other));
        other.timing.cron = "30 * * * *".parse().unwrap();
        put(bench, &other).await;
        assert_eq!(look(bench, "s").await.next, Some(after(HOUR + 30 * MINUTE)));
        other.timing = Timing { cron: "0 12 * * *".parse().unwrap(), zone: "UTC".parse().unwrap() };
        put(bench, &other).await;
        let utc = look(bench, "s").await.next.unwrap();
        other.timing.zone = "America/New_York".parse().unwrap();
        put(bench, &other).await;
        assert_eq!(look(bench, "s").await.next, Some(Millis(utc.0 + 5 * 3_600_000)));
    }

    async fn a_clock_that_steps_back_fires_no_tick_twice(bench: &Bench) {
        put(bench, &schedule("s", "@hourly")).await;
        bench.advance(HOUR);
        assert_eq!(run(bench).await.submitted, 1);
        bench.step_back(30 * MINUTE);
        put(bench, &schedule("s", "0 0-23 * * *")).await;
        assert_eq!(look(bench, "s").await.next, Some(after(2 * HOUR)));
        bench.advance(30 * MINUTE);
        assert_eq!(run(bench).await.submitted, 0);
    }

    async fn a_paused_schedule_has_no_ticks_and_goes_on_from_now(bench: &Bench) {
        let ns = Namespace::default();
        let mut all = schedule("s", "* * * * *");
        all.catch_up = CatchUp::All;
        put(bench, &all).await;
        bench.advance(MINUTE);
        // It was due already when it was paused.
        let seen = due(bench).await.remove(0);
        let (plan, made) = prepare(bench, &seen).await;
        assert!(bench.queue.pause_schedule(&ns, &name("s")).await.unwrap());
        assert!(!bench.queue.fire(&seen, &plan, &made).await.unwrap());
        assert_eq!(run(bench).await, Ran::default());
        let info = look(bench, "s").await;
        assert_eq!((info.paused, info.next), (true, None));
        bench.advance(10 * MINUTE + SECOND);
        // A put leaves the pause as it is.
        all.task.priority = Priority::new(1).unwrap();
        put(bench, &all).await;
        assert!(look(bench, "s").await.paused);
        assert_eq!(run(bench).await, Ran::default());
        assert!(bench.queue.resume_schedule(&ns, &name("s")).await.unwrap());
        assert_eq!(look(bench, "s").await.next, Some(after(12 * MINUTE)));
        assert_eq!(run(bench).await, Ran::default());
        // To resume what is not paused changes nothing.
        bench.advance(2 * MINUTE);
        assert!(bench.queue.resume_schedule(&ns, &name("s")).await.unwrap());
        assert_eq!(run(bench).await.submitted, 2);
        // Paused and not, by a put.
        bench.queue.put_schedule(&all, Some(true)).await.unwrap();
        assert_eq!(look(bench, "s").await.next, None);
        bench.advance(10 * MINUTE);
        bench.queue.put_schedule(&all, Some(false)).await.unwrap();
        assert_eq!(look(bench, "s").await.next, Some(after(24 * MINUTE)));
        assert!(!bench.queue.pause_schedule(&ns, &name("none")).await.unwrap());
        assert!(!bench.queue.resume_schedule(&ns, &name("none")).await.unwrap());
    }

    async fn after_a_downtime_each_catches_up_as_it_says(bench: &Bench) {
        for (named, catch_up) in [("l", CatchUp::Latest), ("a", CatchUp::All), ("n", CatchUp::None)] {
            let mut minutes = schedule(named, "* * * * *");
            minutes.catch_up = catch_up;
            put(bench, &minutes).await;
        }
        bench.advance(150 * MINUTE + 30 * SECOND);
        assert_eq!(run(bench).await, Ran { submitted: 152, more: false });
        for (named, count) in [("l", 1), ("a", 150), ("n", 1)] {
            assert_eq!(tasks(bench, named).await.len(), count, "{named}");
            let info = look(bench, named).await;
            assert_eq!(info.last_run.unwrap().at, after(150 * MINUTE));
            assert_eq!(info.next, Some(after(151 * MINUTE)));
        }
        // What is missed and not caught up has no task at all.
        let mut hours = schedule("h", "@hourly");
        hours.catch_up = CatchUp::None;
        put(bench, &hours).await;
        bench.advance(40 * MINUTE);
        assert_eq!(run(bench).await.submitted, 42);
        assert_eq!(tasks(bench, "h").await, []);
        assert_eq!(look(bench, "h").await.next, Some(after(4 * HOUR)));
    }

    async fn a_run_submits_so_many_and_the_next_goes_on(bench: &Bench) {
        let mut seconds = schedule("s", "* * * * * *");
        seconds.catch_up = CatchUp::All;
        put(bench, &seconds).await;
        put(bench, &schedule("t", "@hourly")).await;
        bench.advance(HOUR);
        let mut counts = Vec::new();
        loop {
            let ran = run(bench).await;
            counts.push(ran.submitted);
            if !ran.more {
                break;
            }
        }
        assert_eq!(counts, [1000, 1000, 1000, 601]);
        // Oldest first: the tasks stand in the order of their ticks.
        let made = Worker::of(bench).claim(16).await;
        assert_eq!(made.len(), 16);
        assert_eq!(look(bench, "s").await.last_run.unwrap().at, after(HOUR));
    }

    async fn many_schedules_are_fired_at_once(bench: &Bench) {
        for number in 0..50 {
            put(bench, &schedule(&format!("s{number}"), "@hourly")).await;
        }
        bench.advance(HOUR);
        let first = bench.queue.due_schedules(None).await.unwrap();
        assert_eq!(first.due.len(), 20);
        let second = bench.queue.due_schedules(first.next.as_ref()).await.unwrap();
        let third = bench.queue.due_schedules(second.next.as_ref()).await.unwrap();
        assert_eq!((second.due.len(), third.due.len(), third.next), (20, 10, None));
        assert_eq!(run(bench).await, Ran { submitted: 50, more: false });
        assert_eq!(run(bench).await, Ran::default());
    }

    async fn a_deleted_schedule_is_gone_and_its_tasks_stay(bench: &Bench) {
        let ns = Namespace::default();
        put(bench, &schedule("s", "@hourly")).await;
        bench.advance(HOUR);
        assert_eq!(run(bench).await.submitted, 1);
        bench.advance(HOUR);
        let seen = due(bench).await.remove(0);
        let (plan, made) = prepare(bench, &seen).await;
        assert!(bench.queue.delete_schedule(&ns, &name("s")).await.unwrap());
        assert!(!bench.queue.delete_schedule(&ns, &name("s")).await.unwrap());
        assert!(!bench.queue.fire(&seen, &plan, &made).await.unwrap());
        assert_eq!(run(bench).await, Ran::default());
        assert_eq!(bench.queue.schedule(&ns, &name("s")).await.unwrap().1, None);
        assert_eq!(tasks(bench, "s").await.len(), 1);
        // Made again, it is another one, whatever was read of the old one.
        put(bench, &schedule("s", "@hourly")).await;
        bench.advance(HOUR);
        let again = due(bench).await.remove(0);
        let old = Due { tick: again.tick, ..seen };
        let (plan, made) = prepare(bench, &old).await;
        assert!(!bench.queue.fire(&old, &plan, &made).await.unwrap());
        assert_eq!(run(bench).await.submitted, 1);
    }

    async fn a_change_of_clocks_and_a_leap_day_have_one_task(bench: &Bench) {
        // From 15 January 2027: the next change in Berlin is on 28 March, the leap day in 2028.
        let mut daily = schedule("daily", "30 2 * * *");
        daily.catch_up = CatchUp::All;
        put(bench, &daily).await;
        put(bench, &schedule("leap", "0 0 29 2 *")).await;
        let mut days = 0;
        while days < 500 {
            bench.advance(24 * HOUR);
            days += 1;
            run(bench).await;
        }
        let count = tasks(bench, "daily").await.len();
        assert!((499..=501).contains(&count), "{count}");
        assert_eq!(tasks(bench, "leap").await.len(), 1);
        let last = look(bench, "leap").await.last_run.unwrap();
        assert_eq!(last.at, Millis(1_835_391_600_000), "2028-02-28T23:00:00Z");
    }
}

/// Each call is sent once here: what is asked twice may be answered differently while others fire.
async fn schedulers_at_the_same_moment_fire_each_tick_once(store: Arc<dyn Store>) {
    let clock = Arc::new(AtomicU64::new(START));
    let queue = Queue::with_clock(store, Arc::clone(&clock));
    for named in ["a", "b", "c"] {
        queue.put_schedule(&schedule(named, "*/10 * * * * *"), None).await.unwrap();
    }
    let mut submitted = 0;
    for _ in 0..40 {
        clock.fetch_add(5000, Ordering::Relaxed);
        let schedulers = (0..5).map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move { Scheduler::default().run(&queue).await.unwrap().submitted })
        });
        for scheduler in schedulers.collect::<Vec<_>>() {
            submitted += scheduler.await.unwrap();
        }
    }
    assert_eq!(submitted, 3 * 20);
    assert_eq!(queue.counts(&Namespace::default()).await.unwrap().of(Status::Queued), 3 * 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedulers_at_the_same_moment_on_redis() {
    let server = RedisServer::start(&[]);
    schedulers_at_the_same_moment_fire_each_tick_once(Arc::new(Redis::new(&server.url()).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedulers_at_the_same_moment_embedded() {
    schedulers_at_the_same_moment_fire_each_tick_once(Arc::new(Embedded::in_memory())).await;
}

#[tokio::test]
async fn a_schedule_that_cannot_be_read_holds_up_no_other() {
    let store = Arc::new(Embedded::in_memory());
    let clock = Arc::new(AtomicU64::new(START));
    let queue = Queue::with_clock(store.clone(), Arc::clone(&clock));
    for number in 0..25 {
        // As a later version might write it.
        let args =
            ["1", &format!("default:a{number}"), "@new-moon", "Mars/Olympus", "", "1800000001000", "{}\n"];
        let args = args.map(|arg| Bytes::from(arg.to_owned()));
        store.run(Script::SchedulePut, args.into()).await.unwrap();
    }
    queue.put_schedule(&schedule("s", "@hourly"), None).await.unwrap();
    clock.fetch_add(3_600_000, Ordering::Relaxed);
    let mut scheduler = Scheduler::default();
    assert_eq!(scheduler.run(&queue).await.unwrap(), Ran { submitted: 1, more: false });
    assert_eq!(scheduler.run(&queue).await.unwrap(), Ran::default());
}

/// Time by the store's own clock, and the step of every worker and API server.
#[tokio::test]
async fn whoever_sweeps_fires() {
    let queue = Queue::new(Arc::new(Embedded::in_memory()));
    queue.put_schedule(&schedule("s", "* * * * * *"), None).await.unwrap();
    let sweeping = sweep_for_ever(queue.clone(), Retention::default());
    assert!(tokio::time::timeout(Duration::from_millis(3500), sweeping).await.is_err());
    let count = queue.counts(&Namespace::default()).await.unwrap().of(Status::Queued);
    assert!((2..=4).contains(&count), "{count}");
}
