//! Requests: where they may go, and what becomes of them.

use std::time::{Duration, Instant};

use sentinel_host::engine::{Clock, Fault, Grants, HttpGrant, Plugin};
use sentinel_testkit::WebServer;
use serde_json::Value;

use super::lab::{Act, MARGIN, act, assert_fault, failure, lab};

const TASK: &str = "0198c5f0-0000-7000-8000-000000000000";

/// The hostile job with a grant of this origin.
fn granted(origin: &str, private: bool) -> Plugin {
    let grant = HttpGrant { origin: origin.parse().expect("an origin"), private };
    lab().hostile.with_grants(Grants { http: vec![grant], ..Grants::default() })
}

fn on_this_machine(server: &WebServer) -> Plugin {
    granted(&server.url(""), true)
}

fn http(url: &str) -> Act {
    act(&format!("\"http\",\"url\":\"{url}\""))
}

fn post(url: &str, more: &str) -> Act {
    act(&format!("\"http\",\"url\":\"{url}\",\"method\":\"POST\"{more}"))
}

fn answer(act: &Act, plugin: &Plugin) -> Value {
    serde_json::from_str(&act.returns_with(plugin)).expect("JSON")
}

fn error(act: &Act, plugin: &Plugin) -> String {
    answer(act, plugin)["error"].as_str().expect("an error").to_owned()
}

#[test]
fn a_granted_host_is_reached() {
    let server = WebServer::start();
    let answer = answer(&http(&server.url("/a?b=c")), &on_this_machine(&server));
    assert_eq!((&answer["status"], &answer["body"]), (&200.into(), &"hello".into()), "{answer}");
    let seen = server.seen();
    assert!(seen[0].starts_with("get /a?b=c http/1.1\n"), "{seen:?}");
    assert_eq!(server.headers("host"), [format!("127.0.0.1:{}", server.port())]);
    // What looks like another host is a path.
    for (path, line) in [("//example.org/", "get //example.org/ "), ("", "get / ")] {
        let again = self::answer(&http(&server.url(path)), &on_this_machine(&server));
        assert_eq!(again["status"], 200, "{again}");
        let seen = server.seen();
        assert!(seen.last().is_some_and(|head| head.starts_with(line)), "{seen:?}");
    }
}

#[test]
fn what_is_not_granted_is_denied_with_an_error() {
    let server = WebServer::start();
    let url = server.url("/");
    let other = WebServer::start();
    let by_name = format!("http://localhost:{}/", server.port());
    for plugin in [
        lab().hostile.clone(),
        on_this_machine(&other),
        granted(&format!("https://127.0.0.1:{}", server.port()), true),
        granted(by_name.trim_end_matches('/'), true),
        granted("http://*.example.org", true),
    ] {
        assert_eq!(error(&http(&url), &plugin), "ErrorCode::HttpRequestDenied");
    }
    assert_eq!(error(&http(&by_name), &on_this_machine(&server)), "ErrorCode::HttpRequestDenied");
    assert_eq!(server.seen(), Vec::<String>::new());
}

#[test]
fn a_redirect_is_a_request_of_its_own() {
    let (server, other) = (WebServer::start(), WebServer::start());
    let url = server.url(&format!("/to/{}", other.url("/there")));
    let plugin = on_this_machine(&server);
    assert_eq!(answer(&http(&url), &plugin)["status"], 302);
    let follow = act(&format!("\"http\",\"url\":\"{url}\",\"follow\":true"));
    assert_eq!(error(&follow, &plugin), "ErrorCode::HttpRequestDenied");
    assert_eq!(other.seen(), Vec::<String>::new());
}

/// Whoever runs the name's server could else send requests into the operator's network.
#[test]
fn a_name_of_a_private_address_is_denied_unless_granted_as_such() {
    let server = WebServer::start();
    let origin = format!("http://localhost:{}", server.port());
    let request = http(&format!("{origin}/"));
    assert_eq!(error(&request, &granted(&origin, false)), "ErrorCode::DestinationIpProhibited");
    assert_eq!(server.seen(), Vec::<String>::new());
    assert_eq!(answer(&request, &granted(&origin, true))["status"], 200);
}

#[test]
fn what_changes_something_carries_a_key_that_is_the_same_in_each_attempt() {
    let server = WebServer::start();
    let plugin = on_this_machine(&server);
    let own = post(&server.url("/"), ",\"headers\":{\"Idempotency-Key\":\"order-7\"}");
    for attempt in 1..=2 {
        for act in [&post(&server.url("/"), ",\"body\":10000"), &http(&server.url("/")), &own] {
            let mut call = act.call();
            call.task.attempt = attempt;
            lab().run(&plugin, call);
        }
    }
    let numbered = format!("{TASK}:1");
    let of_guest = format!("{TASK}:order-7");
    let keys = server.headers("idempotency-key");
    assert_eq!(keys, [numbered.as_str(), &of_guest].repeat(2));
    // One that goes on where another stopped counts on.
    let mut call = post(&server.url("/"), "").call();
    call.http_requests = 41;
    lab().run(&plugin, call);
    assert_eq!(server.headers("idempotency-key").last(), Some(&format!("{TASK}:42")));
}

#[test]
fn a_guest_does_not_set_what_belongs_to_the_connection() {
    let server = WebServer::start();
    let plugin = on_this_machine(&server);
    for name in ["Host", "Connection", "Transfer-Encoding", "Upgrade", "TE", "Trailer", "Proxy-Authorization"]
    {
        let act = act(&format!("\"http\",\"url\":\"{}\",\"headers\":{{\"{name}\":\"x\"}}", server.url("/")));
        let error = error(&act, &plugin);
        assert!(error.contains("Forbidden"), "{name}: {error}");
    }
    let tunnel = act(&format!("\"http\",\"url\":\"{}\",\"method\":\"CONNECT\"", server.url("/")));
    assert_eq!(error(&tunnel, &plugin), "ErrorCode::HttpRequestMethodInvalid");
    let with_password = http(&server.url("/").replace("127", "me:pw@127"));
    assert_eq!(error(&with_password, &plugin), "ErrorCode::HttpRequestUriInvalid");
    assert_eq!(server.seen(), Vec::<String>::new());
}

#[test]
fn what_bodies_carry_is_bounded_and_counted() {
    let server = WebServer::start();
    let plugin = on_this_machine(&server);
    let big = http(&server.url("/bytes/1000000"));
    let report = big.run_with(&plugin);
    assert!(report.usage.transfer_bytes > 1_000_000, "{report:?}");
    let limited = big.limited(|limits| limits.transfer_bytes = 300_000);
    let answer = answer(&limited, &plugin);
    assert!(answer["bytes"].as_u64().expect("a number") <= 300_000, "{answer}");
    assert!(answer["broken"].as_str().expect("an error").contains("body size exceeds limit"), "{answer}");
    let upload =
        post(&server.url("/"), ",\"body\":1000000").limited(|limits| limits.transfer_bytes = 300_000);
    let error = error(&upload, &plugin);
    assert!(error.contains("HttpRequestBodySize"), "{error}");
}

#[test]
fn a_server_that_does_not_answer_does_not_outlast_the_attempt() {
    let server = WebServer::start();
    for path in ["/never", "/stuck"] {
        let act = http(&server.url(path)).limited(|limits| limits.wall = Duration::from_millis(300));
        let since = Instant::now();
        let failure = failure(act.run_with(&on_this_machine(&server)));
        assert_fault(&failure, Fault::Timeout(Clock::Wall));
        assert!(since.elapsed() < Duration::from_millis(300) + MARGIN, "{:?}", since.elapsed());
    }
}

#[test]
fn connections_that_are_held_are_bounded() {
    let server = WebServer::start();
    let act = act(&format!("\"hold-connections\",\"url\":\"{}\"", server.url("/bytes/1000000")));
    let answer = answer(&act, &on_this_machine(&server));
    assert_eq!(answer["held"], 16, "{answer}");
    assert!(answer["error"].as_str().expect("an error").contains("ConnectionLimitReached"), "{answer}");
}

#[test]
fn a_server_that_nobody_vouches_for_is_not_spoken_to() {
    let server = WebServer::start();
    let origin = format!("https://127.0.0.1:{}", server.port());
    let error = error(&http(&format!("{origin}/")), &granted(&origin, true));
    assert_eq!(error, "ErrorCode::TlsProtocolError");
}
