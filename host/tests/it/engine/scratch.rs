//! The scratch directory: what fits into it, what is out of its reach, and that it goes.

use std::{path::Path, time::Duration};

use sentinel_host::engine::{Call, Engine, EngineConfig, Grants, Interrupt, Outcome, Plugin, Reason};
use serde_json::Value;

use super::lab::{Act, act, built, lab, slots};

const MIB: u64 = 1 << 20;

fn granted(mib: u64) -> Plugin {
    lab().hostile.with_grants(Grants { scratch_bytes: Some(mib * MIB), ..Grants::default() })
}

fn fill(how: &str, mib: u64) -> Act {
    act(&format!("\"fill-scratch\",\"with\":\"{how}\",\"mib\":{mib}"))
}

fn filled(how: &str, mib: u64, plugin: &Plugin) -> Value {
    serde_json::from_str(&fill(how, mib).returns_with(plugin)).expect("JSON")
}

#[test]
fn what_is_written_is_read_again() {
    let plugin = granted(1);
    let write = act("\"write-file\",\"path\":\"/scratch/a\",\"text\":\"b\"");
    assert_eq!(write.returns_with(&plugin), "\"b\"");
    assert_eq!(act("\"list\",\"path\":\"/scratch\"").returns_with(&plugin), "\"\"", "nothing is left of it");
    assert_ne!(write.returns_with(&lab().hostile), "\"b\"", "it is not there without a grant");
}

#[test]
fn no_way_of_filling_it_gets_past_the_quota() {
    let plugin = granted(4);
    for how in ["one-file", "unlinked", "sparse", "set-size", "empty-files", "directories"] {
        let filled = filled(how, 64, &plugin);
        // C libraries call what fails in a stream an I/O error.
        assert!(filled["error"].as_str().is_some_and(|error| error.contains("os error")), "{how}: {filled}");
        assert!(filled["mib"].as_u64().expect("a number") <= 7, "{how}: {filled}");
        // An entry counts 4 KiB.
        assert!(filled["count"].as_u64().expect("a number") <= 1024, "{how}: {filled}");
    }
}

#[test]
fn what_is_given_up_can_be_used_again() {
    let plugin = granted(4);
    for how in ["renamed", "removed", "truncated"] {
        let filled = filled(how, 64, &plugin);
        assert_eq!((&filled["error"], &filled["mib"]), (&Value::Null, &64.into()), "{how}: {filled}");
    }
}

#[test]
fn files_that_are_kept_open_are_bounded() {
    let open: u64 = act("\"open-files\"").returns_with(&granted(4)).parse().expect("a number");
    assert_eq!(open, 64);
}

#[test]
fn what_is_outside_is_out_of_reach() {
    let plugin = granted(1);
    for path in [
        "/scratch/../../etc/passwd",
        "../../etc/passwd",
        "/etc/passwd",
        "/scratch/..",
        "/",
        "/proc/self/environ",
    ] {
        for ask in [format!("\"read-file\",\"path\":\"{path}\""), format!("\"list\",\"path\":\"{path}\"")] {
            let said = act(&ask).returns_with(&plugin);
            let is_error = ["denied", "not permitted", "No such", "capabilities", "os error"];
            assert!(is_error.iter().any(|error| said.contains(error)), "{ask}: {said}");
        }
    }
    for to in ["/etc/passwd", "../../etc/passwd", "../..", "/proc/self/environ", "link"] {
        let said = act(&format!("\"read-by-link\",\"to\":\"{to}\"")).returns_with(&plugin);
        assert!(said.contains("os error") || said.contains("no link"), "{to}: {said}");
    }
}

/// Whatever becomes of an attempt, what it wrote is gone when its report is out.
#[test]
fn nothing_is_left_of_an_attempt() {
    let place = tempfile::tempdir().expect("a directory");
    let parent = place.path().join("scratch");
    let leftover = parent.join("leftover/attempt");
    std::fs::create_dir_all(&leftover).expect("a directory");
    let config = EngineConfig { scratch_dir: Some(parent.clone()), ..EngineConfig::new(slots(2)) };
    let engine = Engine::new(config).expect("an engine");
    assert!(!leftover.exists(), "what a process left that is gone is removed");
    let hostile = engine.admit(&built("hostile")).expect("it is admitted");
    let plugin = hostile.with_grants(Grants { scratch_bytes: Some(8 * MIB), ..Grants::default() });

    // Half a second of writing, then the end.
    let write = "\"fill-scratch\",\"with\":\"removed\",\"mib\":1000000";
    let short = |limits: &mut sentinel_host::engine::Limits| limits.wall = Duration::from_millis(500);
    let call = act(write).limited(short).call();
    assert!(matches!(lab().run(&plugin, call).outcome, Outcome::Failed(_)));
    assert_eq!(directories(&parent), 0, "after a timeout");

    for how in ["fill-scratch\",\"with\":\"directories\",\"mib\":64", "trap", "memory", "permanent"] {
        lab().run(&plugin, act(&format!("\"{how}\"").replace("64\"", "64")).call());
        assert_eq!(directories(&parent), 0, "after {how}");
    }

    let call = Call { interrupt: Interrupt::new(), ..act("\"sleep-forever\"").call() };
    let interrupt = call.interrupt.clone();
    let running = lab().guests.spawn(plugin.run(call, &lab().deadlines));
    while directories(&parent) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    interrupt.raise(Reason::Cancelled);
    assert_eq!(lab().guests.block_on(running).expect("no panic").outcome, Outcome::Cancelled);
    assert_eq!(directories(&parent), 0, "after it was cancelled");

    drop((plugin, hostile, engine));
    assert_eq!(std::fs::read_dir(&parent).expect("it is there").count(), 0);
}

/// How many attempts have a directory.
fn directories(parent: &Path) -> usize {
    let own = std::fs::read_dir(parent).expect("it is there");
    own.flatten().map(|own| std::fs::read_dir(own.path()).map_or(0, Iterator::count)).sum()
}
