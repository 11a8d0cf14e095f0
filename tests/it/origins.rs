//! A page of another origin, in a real browser: it reads nothing and changes nothing.

use std::net::TcpStream;

use sentinel_testkit::{WebServer, wait_for};
use serde_json::{Value, json};

use crate::{
    browser::{Browser, EVIL},
    cluster::{Api, Dev, Process, some_plugins},
};

/// All that a page can try on a server: what each try told it.
const TRIES: &str = r#"
const [server, done] = [arguments[0], arguments[arguments.length - 1]];
const told = {};
const task = '{"payload":{"job":"example-task"}}';
const attempt = async (name, act) => {
  try { told[name] = await act(); } catch (error) { told[name] = 'refused'; }
};
const ask = (path, options) => fetch(server + path, { credentials: 'include', ...options });
const text = async answer => answer.type === 'opaque' ? 'opaque' + await answer.text() : answer.status + await answer.text();
(async () => {
  await attempt('read', async () => text(await ask('/stats')));
  await attempt('read opaque', async () => text(await ask('/stats', { mode: 'no-cors' })));
  await attempt('submit JSON', async () => text(await ask('/submit-task',
    { method: 'POST', body: task, headers: { 'content-type': 'application/json' } })));
  await attempt('submit text', async () => text(await ask('/submit-task',
    { method: 'POST', mode: 'no-cors', body: task, headers: { 'content-type': 'text/plain' } })));
  await attempt('submit blob', async () => text(await ask('/submit-task',
    { method: 'POST', mode: 'no-cors', body: new Blob([task], { type: 'application/json' }) })));
  await attempt('beacon', async () => navigator.sendBeacon(server + '/submit-task', task));
  await attempt('pause', async () => text(await ask('/v1/queues/default/pause', { method: 'POST', mode: 'no-cors' })));
  await attempt('form', () => new Promise(resolve => {
    const frame = document.body.appendChild(document.createElement('iframe'));
    frame.name = 'hidden';
    const form = document.body.appendChild(document.createElement('form'));
    Object.assign(form, { method: 'POST', action: server + '/v1/queues/default/pause', target: 'hidden' });
    frame.onload = () => resolve('sent');
    form.submit();
    setTimeout(() => resolve("sent"), 500);
  }));
  await attempt('events', () => new Promise(resolve => {
    const events = new EventSource(server + '/v1/events', { withCredentials: true });
    events.onopen = () => resolve('open');
    events.onerror = () => resolve('refused');
  }));
  await attempt('script', () => new Promise(resolve => {
    const script = document.createElement('script');
    script.src = server + '/stats';
    script.onload = () => resolve('loaded');
    script.onerror = () => resolve('refused');
    document.body.appendChild(script);
  }));
  done(told);
})();
"#;

/// What a page learned is nothing, and what it asked for was not done.
fn assert_harmless(told: &Value, ask: impl Fn(&str) -> Value) {
    for (attempt, told) in told.as_object().expect("what each try told") {
        let expected: &[&str] = match attempt.as_str() {
            "beacon" => &["true", "false"],
            "form" => &["\"sent\""],
            _ => &["\"refused\"", "\"opaque\""],
        };
        assert!(expected.contains(&told.to_string().as_str()), "{attempt}: {told}");
    }
    assert_untouched(ask);
}

fn assert_untouched(ask: impl Fn(&str) -> Value) {
    let stats = ask("/stats");
    let counts = stats["status_counts"].as_object().expect("counts");
    assert!(counts.values().all(|count| count == 0), "{stats}");
    assert_eq!(ask("/v1/queues")["queues"], json!([]), "no queue was paused");
}

#[test]
fn a_page_of_another_origin_reads_and_changes_nothing() {
    let (browser, pages, dev) = (Browser::start(), WebServer::start(), Dev::start(&["example-task"]));
    for page in [EVIL, "localhost", "127.0.0.1"] {
        browser.go(&format!("http://{page}:{}/", pages.port()));
        for server in ["127.0.0.1", "localhost"] {
            let server = format!("http://{server}:{}", dev.api.port);
            let told = browser.run(TRIES, vec![json!(server)]);
            assert_harmless(&told, |path| dev.api.get(path).json());
        }
    }
    // The same from a page of its own does what it says.
    browser.go(&format!("http://localhost:{}/docs/", dev.api.port));
    let told = browser.run(TRIES, vec![json!("")]);
    assert!(told["read"].as_str().unwrap().starts_with("200"), "{told}");
    assert!(told["submit JSON"].as_str().unwrap().starts_with("200"), "{told}");
}

#[test]
fn nor_does_it_by_the_session_of_whoever_looks_at_it() {
    let (browser, pages, dev) = (Browser::start(), WebServer::start(), Dev::start(&["example-task"]));
    let made = dev.api.post("/v1/keys", r#"{"name":"me","scopes":["admin"]}"#).json();
    let key = made["key"].as_str().expect("a key");
    let here = format!("http://localhost:{}", dev.api.port);
    browser.go(&format!("{here}/docs/"));
    browser.enter("input[name=key]", key);
    wait_for("the page that was asked for", || (browser.url() == format!("{here}/docs/")).then_some(()));
    let own = browser.run("fetch('/stats').then(answer => arguments[0](answer.status))", vec![]);
    assert_eq!(own, 200);
    // A page of another port is of the same site: it has the cookie sent.
    for page in ["localhost", EVIL] {
        browser.go(&format!("http://{page}:{}/", pages.port()));
        let told = browser.run(TRIES, vec![json!(here)]);
        assert_harmless(&told, |path| dev.api.get_as(key, path).json());
    }
}

/// A page of a name that is turned to this server's address after the page was read.
fn rebound(keys: bool) -> (Value, Process, tempfile::TempDir, Api) {
    let (browser, pages) = (Browser::start(), WebServer::start());
    let port = pages.port();
    browser.go(&format!("http://{EVIL}:{port}/"));
    drop(pages);
    wait_for("the other server's end", || TcpStream::connect(("127.0.0.1", port)).is_err().then_some(()));
    let dir = tempfile::tempdir().expect("a directory");
    some_plugins(dir.path(), &["example-task"]);
    let address = format!("127.0.0.1:{port}");
    let auth: &[&str] = if keys { &["--auth", "keys"] } else { &[] };
    let server = Process::start(&[&["dev", "--listen", &address], auth].concat(), dir.path());
    let api = Api { port };
    wait_for("the server", || api.request("GET", "/healthz", None).ok());
    // It may still have a connection to the server from which the page came.
    wait_for("the other server", || {
        let script =
            "fetch('/').then(a => a.text()).then(text => arguments[0](text), () => arguments[0](''))";
        let heard = browser.run(script, vec![]);
        (!["hello", ""].contains(&heard.as_str()?)).then_some(())
    });
    (browser.run(TRIES, vec![json!("")]), server, dir, api)
}

#[test]
fn a_name_that_was_turned_to_this_machine_is_another_servers() {
    let (told, _server, _dir, api) = rebound(false);
    for attempt in ["read", "submit JSON", "submit text", "submit blob", "pause"] {
        assert!(told[attempt].as_str().unwrap().starts_with("421"), "{told}");
    }
    assert_eq!(told["events"], "refused");
    assert_untouched(|path| api.get(path).json());
}

#[test]
fn nor_has_it_a_key() {
    let (told, _server, _dir, _api) = rebound(true);
    for attempt in ["read", "submit JSON", "submit text", "submit blob", "pause"] {
        assert!(told[attempt].as_str().unwrap().starts_with("401"), "{told}");
    }
    assert_eq!(told["events"], "refused");
}
