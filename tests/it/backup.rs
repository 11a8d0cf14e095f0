//! What docs/operations.md says of back-ups: a store is saved as it says, restored elsewhere as it
//! says, and what was accepted is there and runs.

use sentinel_testkit::wait_for;
use serde_json::Value;

use crate::docs::{
    blocks::{Chapter, Page},
    lab::Lab,
    root,
};

/// Does what the page says under a heading.
fn with(heading: &str, test: impl FnOnce(&Chapter<'_>)) {
    let page = Page::read(root(), &root().join("docs/operations.md"));
    let chapters = page.chapters();
    test(chapters.iter().find(|chapter| chapter.heading == heading).expect("what the page says of it"));
}

fn save_and_restore(lab: &mut Lab, chapter: &Chapter<'_>) {
    let played = lab.play(chapter);
    assert!(played.failures.is_empty(), "{}", played.failures.join("\n\n"));
}

fn json(lab: &Lab, command: &str) -> Value {
    serde_json::from_str(&lab.say(&format!("{command} --output json"))).expect("JSON")
}

/// What a store holds before it is saved.
struct Accepted {
    /// It ended.
    completed: String,
    /// They wait in a paused queue, the third for the first two.
    waiting: Vec<String>,
    /// It is due in a year.
    due: String,
}

impl Accepted {
    fn submit(lab: &Lab) -> Self {
        let submit = |args: &str| {
            let task = json(lab, &format!("sentinel submit example-task {args}"));
            task["task_id"].as_str().expect("an id").to_owned()
        };
        let completed = submit(r#"'{"name":"Ada"}'"#);
        lab.say(&format!("sentinel task get {completed} --wait"));
        lab.say("sentinel queue pause saved");
        let [first, second] = [(); 2].map(|()| submit("--queue saved"));
        let third = submit(&format!("--queue saved --after {first} --after {second}"));
        let due = submit("--delay 360d");
        lab.say("sentinel schedule set nightly --cron '0 3 1 1 *' --payload '{\"job\":\"example-task\"}'");
        Self { completed, waiting: vec![first, second, third], due }
    }

    /// All of it is where `lab` has its API, and what can run does.
    fn assert_runs(&self, lab: &Lab) {
        let task = |id: &str| json(lab, &format!("sentinel task get {id}"));
        assert!(lab.say(&format!("sentinel task result {}", self.completed)).contains("Ada"));
        assert_eq!(task(&self.waiting[0])["status"], "QUEUED");
        assert_eq!(task(&self.waiting[2])["status"], "BLOCKED");
        assert_eq!(task(&self.due)["status"], "SCHEDULED");
        assert_eq!(json(lab, "sentinel schedule get nightly")["cron"], "0 3 1 1 *");
        lab.say("sentinel queue resume saved");
        for id in &self.waiting {
            let ended = wait_for("the end of a task", || {
                let task = task(id);
                (task["status"] == "COMPLETED").then_some(task)
            });
            assert_eq!(ended["attempt"], 1, "{ended}");
        }
        // Something new runs, too.
        lab.say("sentinel submit example-task --wait");
    }
}

/// The six tasks are each in one place.
fn assert_clean(lab: &Lab, store: &str) {
    let audit = json(lab, &format!("sentinel audit {store}"));
    assert_eq!((&audit["problems"], &audit["tasks"]), (&Value::Array(Vec::new()), &Value::from(6)));
}

fn of_redis(heading: &str) {
    with(heading, |chapter| {
        let mut lab = Lab::new(chapter);
        for unit in ["sentinel-api", "sentinel-worker"] {
            lab.serve_unit(unit).unwrap();
        }
        let accepted = Accepted::submit(&lab);
        save_and_restore(&mut lab, chapter);
        // The old system is gone: its API's place is taken by one over the restored store.
        lab.stop_workers().unwrap();
        let [_, restored] = lab.redis_urls();
        lab.serve(&format!("sentinel api --redis {restored}")).unwrap();
        lab.serve(&format!("sentinel worker --redis {restored}")).unwrap();
        accepted.assert_runs(&lab);
        assert_clean(&lab, &format!("--redis {restored}"));
        assert_eq!(lab.end(), Vec::<String>::new());
    });
}

#[test]
fn a_snapshot_of_redis_is_restored_elsewhere_and_its_tasks_run() {
    of_redis("A snapshot of Redis");
}

#[test]
fn the_files_of_redis_are_restored_elsewhere_and_their_tasks_run() {
    of_redis("The files of Redis");
}

#[test]
fn an_embedded_store_is_restored_elsewhere_and_its_tasks_run() {
    with("The embedded store", |chapter| {
        let mut lab = Lab::new(chapter);
        lab.serve_unit("sentinel").unwrap();
        let accepted = Accepted::submit(&lab);
        save_and_restore(&mut lab, chapter);
        assert_eq!(lab.end(), Vec::<String>::new());
        let restored = lab.counterpart("/var/lib/sentinel/elsewhere");
        lab.serve(&format!("sentinel dev --data-dir {restored}")).unwrap();
        accepted.assert_runs(&lab);
        // An audit wants such a store for itself.
        assert_eq!(lab.end(), Vec::<String>::new());
        assert_clean(&lab, &format!("--data-dir {restored}"));
    });
}
