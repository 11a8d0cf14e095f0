//! Every page: for axe, light and dark, wide and narrow; without scripts; and in pictures.

use std::path::PathBuf;

use sentinel_testkit::wait_for;
use serde_json::{Value, json};

use super::{Scene, axe, story::Story};
use crate::browser::Browser;

/// Where pictures of all pages are put, if somebody wants to look at them.
const PICTURES: &str = "SENTINEL_SCREENSHOTS";

const WIDE: (u32, u32) = (1280, 900);
const NARROW: (u32, u32) = (390, 844);

/// A server on which there is something to see, and its pages.
fn scene() -> (Scene, Vec<(&'static str, String)>) {
    let scene = Scene::start();
    let api = scene.api();
    let failed = scene.failure(json!({ "job": "hostile", "do": "panic", "message": "the disk is full" }));
    scene.failure(json!({ "job": "hostile", "do": "memory" }));
    let done = api.submit(
        r#"{"payload":{"job":"example-task","name":"Ada","numbers":[3,1,2]},"tags":["customer:42"]}"#,
    );
    let waits = json!({ "payload": { "job": "example-task" }, "after": [done, failed], "after_policy": "always", "delay": "1h" });
    let waits = api.submit(&waits.to_string());
    let batch = json!({ "payload": { "job": "example-task" }, "after": [waits] }).to_string();
    (0..3).for_each(|_| drop(api.submit(&batch)));
    wait_for("the end", || (api.task(&done)["status"] == "COMPLETED").then_some(()));
    let pages = vec![
        ("overview", "/".to_owned()),
        ("tasks", "/tasks".into()),
        ("tasks-none", "/tasks?tag=nothing".into()),
        ("task-failed", format!("/tasks/{failed}")),
        ("task-completed", format!("/tasks/{done}")),
        ("task-blocked", format!("/tasks/{waits}")),
        ("cancel", format!("/tasks/{waits}/cancel")),
        ("reschedule", format!("/tasks/{waits}/reschedule")),
        ("not-found", "/nowhere".into()),
        ("login", "/login".into()),
    ];
    (scene, pages)
}

#[test]
fn axe_finds_nothing_serious_on_any_page() {
    let (scene, pages) = scene();
    for (scheme, (width, height)) in [("light", WIDE), ("dark", NARROW)] {
        scene.browser.look(width, height, scheme);
        for (name, path) in &pages {
            scene.go(path);
            axe::check(&scene.browser, &format!("{name}, {scheme}"));
            let is_wider = "arguments[0](document.documentElement.scrollWidth > innerWidth)";
            assert_eq!(scene.browser.run(is_wider, vec![]), false, "{name} is wider than {width} pixels");
        }
    }
}

/// For `cargo xtask screenshots`, and for whoever changes how pages look.
#[test]
fn pictures_of_pages_are_made_if_somebody_wants_them() {
    let Some(dir) = std::env::var_os(PICTURES).map(PathBuf::from) else { return };
    std::fs::create_dir_all(&dir).expect("a directory");
    let (browser, story) = (Browser::start(), Story::tell());
    let pages = [
        ("overview", "/".to_owned()),
        ("tasks", "/tasks".into()),
        ("tasks-failed", "/tasks?status=FAILED".into()),
        ("task-failed", format!("/tasks/{}", story.failed)),
        ("task-family", format!("/tasks/{}", story.parent)),
        ("cancel", format!("/tasks/{}/cancel", story.parent)),
        ("not-found", "/nowhere".into()),
        ("login", "/login".into()),
    ];
    for scheme in ["light", "dark"] {
        for (size, (width, height)) in [("wide", WIDE), ("narrow", NARROW)] {
            browser.look(width, height, scheme);
            for (name, path) in &pages {
                browser.go(&format!("http://localhost:{}{path}", story.stack.api.port));
                // What there is at once, and all of it.
                for (part, is_whole) in [("", false), ("-whole", true)] {
                    let file = dir.join(format!("{name}-{scheme}-{size}{part}.png"));
                    std::fs::write(file, browser.picture(is_whole)).expect("a file");
                }
            }
        }
    }
}

#[test]
fn without_scripts_everything_is_read_and_forms_are_sent() {
    let (scene, pages) = scene();
    scene.browser.without_scripts();
    for (name, path) in &pages {
        scene.go(path);
        let html = html(&scene);
        // What scripts bring is not offered, and nothing waits for them.
        assert!(
            html.contains("<h1")
                && html.contains("data-live-pause=\"\" hidden=\"\"") != path.contains("login"),
            "{name}"
        );
    }
    let id = scene.api().submit(r#"{"payload":{"job":"example-task"},"delay":"1h"}"#);
    scene.go(&format!("/tasks/{id}/cancel"));
    press(&scene, "main form button");
    wait_for("the cancelled task", || (scene.api().task(&id)["status"] == "CANCELLED").then_some(()));
    wait_for("the page that says so", || html(&scene).contains("The task was cancelled.").then_some(()));
    scene.go("/");
    press(&scene, "#menu-who summary");
    press(&scene, "button[value=dark]");
    wait_for("the dark page", || html(&scene).contains("data-theme=\"dark\"").then_some(()));
}

/// The page's markup, asked for without a script.
fn html(scene: &Scene) -> String {
    let root = root(scene);
    let html = scene.browser.cdp("DOM.getOuterHTML", json!({ "nodeId": root }));
    html["outerHTML"].as_str().expect("markup").to_owned()
}

fn root(scene: &Scene) -> Value {
    scene.browser.cdp("DOM.getDocument", json!({ "depth": 0 }))["root"]["nodeId"].clone()
}

/// Clicks with the mouse, without a script.
fn press(scene: &Scene, selector: &str) {
    let found =
        scene.browser.cdp("DOM.querySelector", json!({ "nodeId": root(scene), "selector": selector }));
    let node = json!({ "nodeId": found["nodeId"] });
    scene.browser.cdp("DOM.scrollIntoViewIfNeeded", node.clone());
    let model = scene.browser.cdp("DOM.getBoxModel", node);
    let corner = |at: usize| model["model"]["content"][at].as_f64().expect("a number");
    let (x, y) = (f64::midpoint(corner(0), corner(4)), f64::midpoint(corner(1), corner(5)));
    for kind in ["mousePressed", "mouseReleased"] {
        let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
        scene.browser.cdp("Input.dispatchMouseEvent", event);
    }
}
