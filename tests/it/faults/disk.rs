//! The embedded store on a disk that is full.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit};
use sentinel_testkit::wait_for;
use serde_json::Value;

use crate::cluster::{Api, Process, free_address, plugins};

/// About 40 kB each: the disk is soon full.
fn submit_large(api: Api) -> Result<String, (u16, String)> {
    let body = format!(
        r#"{{"payload":{{"job":"hostile","do":"ok","filler":"{}"}},"queue":"held"}}"#,
        "x".repeat(40_000)
    );
    let answer = api.post("/submit-task", &body);
    if answer.status == 200 {
        return Ok(answer.json()["task_id"].as_str().unwrap().to_owned());
    }
    assert!(answer.status != 503 || answer.head.to_ascii_lowercase().contains("retry-after: 1"));
    Err((answer.status, answer.text()))
}

/// Submits until there is no room, looks at what can be done then, makes room, and looks again.
fn fill_and_free(api: Api, free: impl FnOnce()) {
    // It waits in a queue that hands out nothing, so that only submits write.
    let before = api.submit(r#"{"payload":{"job":"hostile","do":"ok"}}"#);
    assert_eq!(api.get(&format!("/v1/tasks/{before}?wait=30s")).json()["status"], "COMPLETED");
    let mut acknowledged = vec![submit_large(api).expect("there is room")];
    assert_eq!(api.post("/v1/queues/held/pause", "").status, 200);
    let refused = loop {
        match submit_large(api) {
            Ok(id) => acknowledged.push(id),
            Err(refused) => break refused,
        }
        assert!(acknowledged.len() < 5000, "the disk is never full");
    };
    assert_eq!(refused.0, 503, "{}", refused.1);
    println!("full after {} tasks", acknowledged.len());

    // For a while: no submit is taken, and everything can be read, except for the moment in which
    // the store is opened again.
    let until = Instant::now() + Duration::from_secs(2);
    let mut refusals = 0;
    while Instant::now() < until {
        if let Err((status, text)) = submit_large(api) {
            assert_eq!(status, 503, "{text}");
            refusals += 1;
        }
        let read =
            wait_for("a read", || Some(api.get(&format!("/v1/tasks/{before}"))).filter(|r| r.status == 200));
        assert_eq!(read.json()["status"], "COMPLETED");
        thread::sleep(Duration::from_millis(50));
    }
    assert!(refusals > 0);
    assert_eq!(api.get("/healthz").status, 200);

    free();
    acknowledged.push(wait_for("a submit that is taken", || submit_large(api).ok()));
    api.post("/v1/queues/held/resume", "");
    for id in &acknowledged {
        let task: Value = api.get(&format!("/v1/tasks/{id}?wait=30s")).json();
        assert_eq!(
            (&task["status"], &task["attempt"]),
            (&"COMPLETED".into(), &1.into()),
            "{}",
            task["status"]
        );
    }
}

#[test]
fn case_24_a_full_disk_refuses_submits_and_is_read() {
    let dir = tempfile::tempdir().unwrap();
    plugins(dir.path());
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let (api, address) = free_address();
    let args = ["dev", "--listen", &address, "--data-dir", "data"];
    if can_mount(&data) {
        let mut process =
            Process::start_in_namespace("mount -t tmpfs -o size=40m none data", &args, dir.path());
        api.wait_until_ready(1);
        // The disk as the process sees it.
        let inside = Path::new("/proc").join(process.pid().to_string()).join("root");
        let ballast = inside.join(data.strip_prefix("/").unwrap()).join("ballast");
        fs::write(&ballast, vec![0; 24 << 20]).unwrap();
        fill_and_free(api, || fs::remove_file(ballast).unwrap());
        assert_eq!(process.terminate(), Some(0));
    } else {
        // Without the right to mount: a limit on the length of files, which reads the same.
        let limit = "trap '' XFSZ; ulimit -S -f 16384";
        let mut process = Process::start_after(limit, &args, dir.path());
        api.wait_until_ready(1);
        let pid = Pid::from_raw(process.pid().try_into().unwrap());
        fill_and_free(api, || {
            let hard =
                rustix::process::prlimit(pid, Resource::Fsize, Rlimit { current: None, maximum: None });
            hard.unwrap();
        });
        assert_eq!(process.terminate(), Some(0));
    }
}

/// Whether this machine lets tests mount a disk of their own.
fn can_mount(at: &Path) -> bool {
    let mut tried = std::process::Command::new("unshare");
    let mount = format!("mount -t tmpfs -o size=1m none '{}'", at.display());
    tried.args(["--mount", "--map-root-user", "sh", "-c", &mount]);
    tried.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    tried.status().is_ok_and(|status| status.success())
}
