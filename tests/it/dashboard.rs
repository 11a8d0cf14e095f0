//! The dashboard in a real browser: what a person finds there, does there, and cannot be harmed by.

mod axe;
mod pages;
mod story;

use sentinel_testkit::wait_for;
use serde_json::{Value, json};

use crate::{
    browser::Browser,
    cluster::{Api, Dev},
};

/// A server with jobs, and a browser at its first page.
struct Scene {
    browser: Browser,
    dev: Dev,
}

impl Scene {
    fn start() -> Self {
        let (browser, dev) = (Browser::start(), Dev::start(&["example-task", "hostile"]));
        let scene = Self { browser, dev };
        scene.go("/");
        scene
    }

    fn url(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.dev.api.port)
    }

    fn go(&self, path: &str) {
        self.browser.go(&self.url(path));
    }

    fn api(&self) -> Api {
        self.dev.api
    }

    /// A task that has failed.
    fn failure(&self, payload: &Value) -> String {
        let id = self.api().submit(&json!({ "payload": payload, "max_attempts": 1 }).to_string());
        wait_for("the failure", || (self.api().task(&id)["status"] == "FAILED").then_some(()));
        id
    }

    fn wait_until_at(&self, path: &str) {
        let url = self.url(path);
        wait_for(&url, || (self.browser.url() == url).then_some(()));
    }
}

#[test]
fn a_stranger_finds_out_why_a_task_failed_in_one_click() {
    let scene = Scene::start();
    scene.api().submit(r#"{"payload":{"job":"example-task"}}"#);
    let id = scene.failure(&json!({ "job": "hostile", "do": "panic", "message": "the disk is full" }));
    scene.go("/");
    scene.browser.follow("wasm `unreachable`");
    scene.wait_until_at(&format!("/tasks/{id}"));
    let text = scene.browser.text();
    for said in ["Why it failed", "trap", "the disk is full", "Backtrace of the guest"] {
        assert!(text.contains(said), "{said} in {text}");
    }
}

#[test]
fn a_task_is_cancelled_and_redriven_with_the_mouse() {
    let scene = Scene::start();
    let id = scene.api().submit(r#"{"payload":{"job":"example-task"},"delay":"1h"}"#);
    scene.go(&format!("/tasks/{id}"));
    scene.browser.follow("Cancel…");
    scene.wait_until_at(&format!("/tasks/{id}/cancel"));
    scene.browser.press("Cancel the task");
    scene.wait_until_at(&format!("/tasks/{id}?done=cancelled"));
    assert_eq!(scene.api().task(&id)["status"], "CANCELLED");
    scene.browser.wait_for_text("Why it was cancelled");
    scene.browser.follow("Redrive…");
    scene.browser.press("Redrive the task");
    scene.wait_until_at(&format!("/tasks/{id}?done=redriven"));
    // The page goes on by itself.
    scene.browser.wait_for_text("Hello, world!");
    assert!(scene.browser.text().contains("COMPLETED"));
}

#[test]
fn many_tasks_are_counted_and_cancelled_and_one_sees_it_happen() {
    let scene = Scene::start();
    for _ in 0..7 {
        scene.api().submit(r#"{"payload":{"job":"example-task"},"delay":"1h","tags":["batch:7"]}"#);
    }
    scene.api().submit(r#"{"payload":{"job":"example-task"},"delay":"1h"}"#);
    scene.go("/tasks?tag=batch%3A7");
    scene.browser.press("Cancel all these…");
    scene.browser.wait_for_text("Cancel 7 tasks");
    assert_eq!(scene.api().count("SCHEDULED"), 8);
    scene.browser.press("Cancel 7 tasks");
    scene.browser.wait_for_text("Done: 7 of 7 tasks");
    assert_eq!((scene.api().count("SCHEDULED"), scene.api().count("CANCELLED")), (1, 7));
}

#[test]
fn a_page_that_is_open_shows_what_is_new() {
    let scene = Scene::start();
    scene.browser.run("window.isSamePage = true; arguments[0]()", vec![]);
    scene.browser.wait_for_text("live");
    scene.failure(&json!({ "job": "hostile", "do": "permanent", "message": "just now" }));
    scene.browser.wait_for_text("just now");
    assert_eq!(scene.browser.run("arguments[0](window.isSamePage)", vec![]), true, "it was not loaded again");
    // Whoever wants it to stand still, makes it.
    scene.browser.press("Pause updates");
    scene.browser.wait_for_text("paused");
}

#[test]
fn a_theme_is_chosen_and_stays() {
    let scene = Scene::start();
    let colour = "arguments[0](getComputedStyle(document.body).backgroundColor)";
    scene.browser.look(1280, 800, "light");
    let light = scene.browser.run(colour, vec![]);
    scene.browser.look(1280, 800, "dark");
    let dark = scene.browser.run(colour, vec![]);
    assert_ne!(light, dark, "it is as the system says");
    scene.browser.click("#menu-who summary");
    scene.browser.press("light");
    assert_eq!(scene.browser.run(colour, vec![]), light);
    scene.go("/tasks");
    assert_eq!(scene.browser.run(colour, vec![]), light, "it is remembered");
}

#[test]
fn whoever_has_no_mouse_gets_everywhere() {
    let scene = Scene::start();
    let focused = "const e = document.activeElement; arguments[0](e.id || e.textContent.trim())";
    scene.browser.keys("Tab");
    assert_eq!(scene.browser.run(focused, vec![]), "Skip to content");
    scene.browser.keys("Enter");
    assert_eq!(scene.browser.run(focused, vec![]), "main");
    scene.go("/tasks");
    scene.browser.keys("/");
    assert_eq!(scene.browser.run(focused, vec![]), "q");
    // A menu is opened and closed, and the focus is where it was.
    scene.go("/");
    scene.browser.run("document.querySelector('#menu-who summary').focus(); arguments[0]()", vec![]);
    scene.browser.keys("Enter");
    let is_open = "arguments[0](document.querySelector('#menu-who').open)";
    assert_eq!(scene.browser.run(is_open, vec![]), true);
    scene.browser.keys("Tab Escape");
    assert_eq!(scene.browser.run(is_open, vec![]), false);
    assert_eq!(scene.browser.run("arguments[0](document.activeElement.localName)", vec![]), "summary");
    // All that one may act on is reached, in the order in which it stands there.
    let order = "
        const all = [...document.querySelectorAll('a[href], button, input:not([type=hidden]), summary')];
        arguments[0](all.filter(e => e.tabIndex < 0).length)";
    assert_eq!(scene.browser.run(order, vec![]), 0);
}

#[test]
fn what_users_gave_does_nothing_in_a_browser() {
    let scene = Scene::start();
    let evil = "<script>window.harmed = 1</script><img src=x onerror=\"window.harmed = 2\">\" onmouseover=\"window.harmed = 3\" javascript:window.harmed=4";
    let payload = json!({ "job": "hostile", "do": "permanent", "message": evil, evil: evil });
    let id = scene.failure(&payload);
    for path in
        ["/".to_owned(), "/tasks".into(), format!("/tasks/{id}"), format!("/tasks?tag={}", "%3Cscript%3E")]
    {
        scene.go(&path);
        let seen = scene.browser.run("arguments[0](document.body.textContent)", vec![]);
        assert!(
            path.contains("tag=") || seen.as_str().unwrap().contains("<script>window.harmed"),
            "{path}: {seen}"
        );
        let harm = "
            for (const e of document.querySelectorAll('*')) e.dispatchEvent(new MouseEvent('mouseover'));
            setTimeout(() => arguments[0]([window.harmed ?? null, document.querySelectorAll('main script, main img').length]), 50)";
        assert_eq!(scene.browser.run(harm, vec![]), json!([null, 0]), "{path}");
    }
}

#[test]
fn a_script_that_gets_into_a_page_does_not_run() {
    let scene = Scene::start();
    // As if escaping had failed: the page's policy is the second wall.
    let tried = "
        const done = arguments[0];
        const broken = [];
        document.addEventListener('securitypolicyviolation', event => broken.push(event.violatedDirective));
        const script = document.createElement('script');
        try { script.textContent = 'window.harmed = 1'; } catch { broken.push('text'); }
        document.body.append(script);
        try { document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.harmed = 2\">'); } catch { broken.push('markup'); }
        document.body.setAttribute('style', 'color: red');
        setTimeout(() => done([window.harmed ?? null, broken.length > 0]), 200)";
    assert_eq!(scene.browser.run(tried, vec![]), json!([null, true]));
}
