//! Plugins that come, change and go while a worker works.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use sentinel_host::engine::Digest;
use sentinel_queue::{ErrorKind, Status, Task, TaskId, task::TaskState};
use serde_json::Value;

use super::rig::{Home, Rig, task};
use crate::engine::{lab::built, wat::Job};

/// The hostile job in another version: the same code, and a section that says which.
fn version(number: u8) -> Vec<u8> {
    let mut component = fs::read(built("hostile")).unwrap();
    component.extend([0, 3, 1, b'v', number]);
    component
}

/// Puts a file in its place as a whole.
fn put(dir: &Path, file: &str, bytes: &[u8]) {
    let beside = dir.join("unfinished");
    fs::write(&beside, bytes).unwrap();
    fs::rename(beside, dir.join(file)).unwrap();
}

/// A worker whose renewals come often.
async fn rig(slots: u32) -> Rig {
    let mut rig = Rig::prepare(Home::Embedded, slots);
    rig.queue.set_lease(Duration::from_secs(1)).await.unwrap();
    rig.work();
    rig
}

/// Waits until the worker says this of itself.
async fn until_said(rig: &Rig, ready: impl Fn(&Value) -> bool) -> Value {
    let since = std::time::Instant::now();
    loop {
        let said = rig.queue.workers().await.unwrap();
        let said = said.first().map(|worker| serde_json::from_slice::<Value>(&worker.info).unwrap());
        match said {
            Some(said) if ready(&said) => return said,
            said => assert!(since.elapsed() < Duration::from_secs(30), "{said:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether a worker says that it has this job with this code.
fn has(job: &str, bytes: &[u8]) -> impl Fn(&Value) -> bool {
    let (job, digest) = (job.to_owned(), Digest::of(bytes).to_string());
    move |said| {
        let mut jobs = said["jobs"].as_array().unwrap().iter();
        jobs.any(|entry| entry["name"] == *job && entry["digest"] == *digest)
    }
}

async fn run(rig: &Rig, job: &str) -> Task {
    let id = rig.submit(task(&format!(r#"{{"job":"{job}","do":"ok"}}"#))).await;
    rig.ended(id).await
}

fn digest_of(task: &Task) -> String {
    let TaskState::Completed { ended, .. } = &task.state else { panic!("{task:?}") };
    assert_eq!((ended.attempt, task.progression.failures), (1, 0));
    ended.plugin_digest.as_deref().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_is_replaced_again_and_again_under_load_fails_no_task() {
    let rig = rig(8).await;
    let mut all: Vec<TaskId> = Vec::new();
    let mut current = fs::read(built("hostile")).unwrap();
    let mut expected = BTreeSet::from([Digest::of(&current).to_string()]);
    for number in 0..5 {
        // It begins with this version and ends when the next is there.
        let long = rig.submit(task(r#"{"job":"hostile","do":"sleep","ms":2500}"#)).await;
        rig.until(long, |task| task.state.status() == Status::InProgress).await;
        let began_with = Digest::of(&current).to_string();
        current = version(number);
        expected.insert(Digest::of(&current).to_string());
        // In every way in which files are replaced.
        let file = rig.plugins.path().join("hostile.wasm");
        match number % 3 {
            0 => put(rig.plugins.path(), "hostile.wasm", &current),
            1 => fs::write(&file, &current).unwrap(),
            _ => {
                fs::remove_file(&file).unwrap();
                fs::write(&file, &current).unwrap();
            }
        }
        let is_there = has("hostile", &current);
        loop {
            for _ in 0..20 {
                all.push(rig.submit(task(r#"{"job":"hostile","do":"spin","ms":1}"#)).await);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            let said = rig.queue.workers().await.unwrap();
            if is_there(&serde_json::from_slice(&said[0].info).unwrap()) {
                break;
            }
        }
        assert_eq!(digest_of(&run(&rig, "hostile").await), Digest::of(&current).to_string());
        assert_eq!(digest_of(&rig.ended(long).await), began_with, "it ended on what it began with");
    }
    let mut ran = BTreeSet::new();
    for id in all {
        ran.insert(digest_of(&rig.ended(id).await));
    }
    assert!(ran.is_subset(&expected) && ran.len() >= 5, "{ran:?} of {expected:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_file_is_refused_and_what_was_there_before_stays() {
    let rig = rig(2).await;
    let good = fs::read(built("hostile")).unwrap();
    let file = rig.plugins.path().join("hostile.wasm");
    for (bad, named) in
        [(good[..good.len() / 2].to_vec(), "not a valid component"), (vec![7; 100], "not WebAssembly")]
    {
        fs::write(&file, &bad).unwrap();
        let is_refused =
            |said: &Value| said["refused"][0]["reason"].as_str().is_some_and(|reason| reason.contains(named));
        let said = until_said(&rig, is_refused).await;
        assert_eq!(said["refused"][0]["file"], "hostile.wasm");
        assert!(has("hostile", &good)(&said), "{said}");
        assert_eq!(digest_of(&run(&rig, "hostile").await), Digest::of(&good).to_string());
    }
    // A manifest is part of its plugin.
    put(rig.plugins.path(), "hostile.wasm", &version(1));
    until_said(&rig, has("hostile", &version(1))).await;
    fs::write(file.with_extension("toml"), "[retries]").unwrap();
    let said = until_said(&rig, |said| !said["refused"].as_array().unwrap().is_empty()).await;
    assert!(said["refused"][0]["reason"].as_str().unwrap().contains("retries"), "{said}");
    fs::write(file.with_extension("toml"), "[retry]\nmax_attempts = 1").unwrap();
    until_said(&rig, |said| said["refused"].as_array().unwrap().is_empty()).await;
    let id = rig.submit(task(r#"{"job":"hostile","do":"retryable"}"#)).await;
    assert_eq!(rig.ended(id).await.state.status(), Status::Failed);
    assert_eq!(rig.claims(id), 1, "the manifest says so now");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_could_never_begin_is_refused_until_its_manifest_asks_for_enough() {
    let rig = rig(2).await;
    // One page is the job's own.
    for (name, module, key, told, asks) in [
        ("large", "(memory 3000)", "memory", "192064KiB of memory, and its limit is 128MiB", "\"192064KiB\""),
        ("long", "(table 30000 funcref)", "tables", "30000 table elements, and its limit is 20000", "30000"),
    ] {
        let bytes = Job { module, ..Job::default() }.bytes();
        put(rig.plugins.path(), &format!("{name}.wasm"), &bytes);
        let refusal = |said: &Value| said["refused"][0]["reason"].as_str().unwrap_or_default().to_owned();
        let said = until_said(&rig, |said| refusal(said).contains("begins with")).await;
        let fix =
            format!("raise `{key}` in [limits] of its manifest {name}.toml to {}", asks.trim_matches('"'));
        assert!(refusal(&said).contains(told) && refusal(&said).contains(&fix), "{said}");
        // The manifest alone changes, there and back.
        let manifest = rig.plugins.path().join(format!("{name}.toml"));
        fs::write(&manifest, format!("[limits]\n{key} = {asks}")).unwrap();
        let said = until_said(&rig, has(name, &bytes)).await;
        assert_eq!(said["refused"], Value::Array(Vec::new()));
        assert_eq!(run(&rig, name).await.state.status(), Status::Completed);
        fs::remove_file(&manifest).unwrap();
        let said = until_said(&rig, |said| refusal(said).contains("begins with")).await;
        assert!(refusal(&said).contains("what was admitted before it stays"), "{said}");
        fs::remove_file(manifest.with_extension("wasm")).unwrap();
        until_said(&rig, |said| refusal(said).is_empty()).await;
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_file_is_picked_up_and_a_removed_one_goes_the_way_of_unknown_jobs() {
    let rig = rig(2).await;
    let waiting = rig.submit(task(r#"{"job":"renamed","do":"ok"}"#)).await;
    rig.until(waiting, |task| task.progression.last_kind == Some(ErrorKind::UnknownJob)).await;
    put(rig.plugins.path(), "renamed.wasm", &version(1));
    fs::write(rig.plugins.path().join("written.wasm"), version(2)).unwrap();
    let said =
        until_said(&rig, |said| has("renamed", &version(1))(said) && has("written", &version(2))(said)).await;
    let admitted = |name: &str| {
        let job = said["jobs"].as_array().unwrap().iter().find(|job| job["name"] == name).unwrap();
        job["admitted_at_ms"].as_u64().unwrap()
    };
    assert!(admitted("hostile") >= said["started_at_ms"].as_u64().unwrap() - 60_000, "{said}");
    assert!(admitted("renamed") > admitted("hostile"), "`hostile` was there first: {said}");
    assert_eq!(rig.ended(waiting).await.state.status(), Status::Completed);
    assert_eq!(run(&rig, "written").await.state.status(), Status::Completed);

    fs::remove_file(rig.plugins.path().join("renamed.wasm")).unwrap();
    until_said(&rig, |said| !has("renamed", &version(1))(said)).await;
    let unknown = rig.submit(task(r#"{"job":"renamed","do":"ok"}"#)).await;
    let unknown = rig.until(unknown, |task| task.progression.last_kind.is_some()).await;
    assert_eq!(unknown.progression.last_kind, Some(ErrorKind::UnknownJob));
    rig.stop().await;
}
