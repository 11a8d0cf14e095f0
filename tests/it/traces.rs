//! Traces, from a client's header to a collector, over real processes.

mod collector;

use std::{
    net::TcpListener,
    process::Command,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use sentinel_testkit::{Authority, RedisServer, WebServer, free_port};
use serde_json::{Value, json};

use self::collector::{Collector, Span};
use crate::{
    apart::lose_two_workers,
    cluster::{Api, Process, Stack, free_address, some_plugins},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT: &str = "00f067aa0ba902b7";

/// A client's headers.
fn parent(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{CLIENT}-{flags}\r\ntracestate: client=1\r\n")
}

/// What all servers of these tests find in their environment: spans are sent at once, and all lines
/// of the log are there.
const PLAIN: &str = "export RUST_LOG=sentinel_api=debug,sentinel_host=debug,info OTEL_BSP_SCHEDULE_DELAY=50";

/// A stack whose servers are told to tell `otlp` of spans, and whose jobs may reach `web`.
fn stack(otlp: Option<&str>, web: &WebServer) -> Stack {
    let redis = RedisServer::start(&[]);
    let dir = tempfile::tempdir().unwrap();
    some_plugins(dir.path(), &["hostile", "ledger"]);
    let manifest = format!("http = [{:?}]", web.url(""));
    std::fs::write(dir.path().join("plugins/hostile.toml"), manifest).unwrap();
    let grant = format!("http = [{{ origin = {:?}, private = true }}]", web.url(""));
    let text = format!("[grants.hostile]\n{grant}\n[grants.ledger]\nsubmits = [\"hostile\"]\n");
    std::fs::write(dir.path().join("sentinel.toml"), text).unwrap();
    let (api, address) = free_address();
    let url = redis.url();
    let mut args = vec!["api", "--listen", &address, "--redis", &url, "--log", "json"];
    args.extend(otlp.iter().flat_map(|otlp| ["--otlp", otlp]));
    let server = Process::start_after(PLAIN, &args, dir.path());
    api.wait_until_ready(0);
    Stack { redis, api, dir, server }
}

fn worker(stack: &Stack, otlp: Option<&str>) -> Process {
    let url = stack.redis.url();
    let mut args = vec!["worker", "--redis", &url, "--log", "json"];
    args.extend(otlp.iter().flat_map(|otlp| ["--otlp", otlp]));
    let worker = Process::start_after(PLAIN, &args, stack.dir.path());
    stack.api.wait_until_ready(1);
    worker
}

fn submit(api: Api, headers: &str, task: &Value) -> String {
    let answer = api.request_with(headers, "POST", "/v1/tasks", Some(&task.to_string())).unwrap();
    assert_eq!(answer.status / 100, 2, "{}", answer.text());
    answer.json()["task_id"].as_str().unwrap().to_owned()
}

fn completed(api: Api, id: &str) -> Value {
    let task = api.get(&format!("/v1/tasks/{id}?wait=30s")).json();
    assert_eq!(task["status"], "COMPLETED", "{task}");
    task
}

fn fetch(web: &WebServer) -> Value {
    json!({ "payload": { "job": "hostile", "do": "http", "url": web.url("/granted") } })
}

/// The one span of this name.
fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let named: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(named.len(), 1, "{name} among {spans:#?}");
    named[0]
}

fn of_task<'a>(spans: &'a [Span], id: &str, name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name && span.get("messaging.message.id") == id).collect()
}

fn below<'a>(spans: &'a [Span], parent: &Span) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.parent == parent.id).collect()
}

/// From the client on: the submit, the wait, an attempt that fails, another, the task that this one
/// submits, and the request that that one sends.
#[test]
fn one_trace_holds_all_that_comes_of_a_clients_request() {
    let (collector, web) = (Collector::start(), WebServer::start());
    let stack = stack(Some(&collector.url), &web);
    let _worker = worker(&stack, Some(&collector.url));
    let act = json!({ "job": "ledger", "do": "submit", "tasks": [fetch(&web)], "then": "fail-once" });
    let id = submit(stack.api, &parent("01"), &json!({ "payload": act }));
    let task = completed(stack.api, &id);
    assert_eq!((&task["trace_id"], &task["attempt"]), (&TRACE.into(), &2.into()), "{task}");
    let child = task["result"][0].as_str().unwrap().to_owned();
    let task = completed(stack.api, &child);
    assert_eq!((&task["trace_id"], &task["parent_id"]), (&TRACE.into(), &id.clone().into()), "{task}");

    // The submit; of the parent's attempts two waits, attempts and settlements, and a submit in
    // each; the child's wait, attempt, request and settlement.
    let spans = collector.wait_for(1 + 2 * 4 + 4);
    assert_eq!(spans.len(), 13, "{spans:#?}");
    assert!(spans.iter().all(|span| span.trace == TRACE && span.end >= span.start), "{spans:#?}");
    let door = only(&spans, "POST /v1/tasks");
    assert_eq!((door.kind, &*door.parent, &*door.service), (SpanKind::Server, CLIENT, "sentinel-api"));
    assert_eq!(door.get("messaging.message.id"), id);
    assert_eq!(door.get("http.response.status_code"), "201");

    let attempts = of_task(&spans, &id, "process default");
    let waits = of_task(&spans, &id, "wait default");
    assert_eq!((attempts.len(), waits.len()), (2, 2), "{spans:#?}");
    for (number, (wait, attempt)) in waits.iter().zip(&attempts).enumerate() {
        assert_eq!((&wait.parent, &attempt.parent), (&door.id, &door.id));
        assert_eq!((attempt.kind, &*attempt.service), (SpanKind::Consumer, "sentinel-worker"));
        assert_eq!(attempt.get("sentinel.attempt"), (number + 1).to_string());
        assert_eq!(attempt.get("sentinel.job"), "ledger");
        assert_eq!(attempt.get("messaging.system"), "sentinel");
        assert_eq!(attempt.get("messaging.destination.name"), "default");
        assert_eq!(attempt.get("sentinel.plugin.digest").len(), 64);
        assert!(attempt.get("sentinel.usage.cpu_us").parse::<u64>().unwrap() > 0);
        assert!(wait.start <= wait.end && wait.end <= attempt.start, "{wait:?} {attempt:?}");
        let inside = below(&spans, attempt);
        let names: Vec<_> = inside.iter().map(|span| &*span.name).collect();
        assert!(names.starts_with(&["outbox.submit", "settle default"]), "{names:?}");
        assert!(inside[0].start >= attempt.start && inside[1].end <= attempt.end, "{inside:#?}");
    }
    let [first, second] = attempts[..] else { panic!("{attempts:#?}") };
    assert_eq!((first.get("sentinel.outcome"), first.get("error.type")), ("retry", "retryable"));
    assert_eq!(first.error.as_deref(), Some("as it was told"));
    assert_eq!((second.get("sentinel.outcome"), second.error.as_ref()), ("COMPLETED", None));
    assert!(door.start <= first.start && first.end <= second.start);
    let commits: Vec<_> =
        below(&spans, second).into_iter().filter(|span| span.name == "settle default").collect();
    assert_eq!(commits[0].get("sentinel.children"), "1");

    let of_child = of_task(&spans, &child, "process default");
    assert_eq!(of_child[0].parent, second.id, "a child stands under the attempt that submitted it");
    let request = only(&spans, "GET");
    assert_eq!((&request.parent, request.kind), (&of_child[0].id, SpanKind::Client));
    assert_eq!(request.get("server.address"), "127.0.0.1");
    assert_eq!(request.get("http.response.status_code"), "200");
    assert_eq!(web.headers("traceparent"), [format!("00-{TRACE}-{}-01", request.id)]);
    assert_eq!(web.headers("tracestate"), ["client=1"]);
}

/// What a job asks of the store is below its attempt; the tasks of a batch are in its request's trace.
#[test]
fn what_a_job_asks_of_the_store_is_told_and_nothing_of_what_it_says() {
    let (collector, web) = (Collector::start(), WebServer::start());
    let stack = stack(Some(&collector.url), &web);
    let _worker = worker(&stack, Some(&collector.url));
    let tasks = json!({ "tasks": [
        { "payload": { "job": "ledger", "do": "get-and-count", "key": "hidden", "by": 7 } },
        { "payload": { "job": "ledger", "do": "steps", "steps": 1, "ms": 0 } },
    ] });
    let answer = stack.api.post("/v1/tasks/batch", &tasks.to_string()).json();
    let ids: Vec<_> = answer["tasks"].as_array().unwrap().iter().map(|task| &task["task_id"]).collect();
    let traces: Vec<_> =
        ids.iter().map(|id| completed(stack.api, id.as_str().unwrap())["trace_id"].clone()).collect();
    assert_eq!(traces[0], traces[1]);
    // Two tasks, and one that the second submits.
    let spans = collector.wait_for(1 + 3 * 3 + 1 + 3 + 1);
    let door = only(&spans, "POST /v1/tasks/batch");
    assert_eq!((&*door.parent, &door.trace), ("", &traces[0].as_str().unwrap().to_owned()));
    assert_eq!(door.get("messaging.batch.message_count"), "2");
    for (index, names) in [
        &["state.get", "settle default"][..],
        &["checkpoint.load", "outbox.submit", "checkpoint.save", "settle default"],
    ]
    .into_iter()
    .enumerate()
    {
        let attempt = of_task(&spans, ids[index].as_str().unwrap(), "process default")[0];
        let inside: Vec<_> = below(&spans, attempt).iter().map(|span| span.name.clone()).collect();
        assert_eq!(inside[..names.len()], *names);
    }
    assert!(!format!("{spans:?}").contains("hidden"), "{spans:#?}");
}

#[test]
fn an_attempt_in_a_process_of_its_own_is_told_like_any_other() {
    let (collector, web) = (Collector::start(), WebServer::start());
    let stack = stack(Some(&collector.url), &web);
    let id = submit(stack.api, &parent("01"), &fetch(&web));
    lose_two_workers(&stack, 1);
    let _worker = worker(&stack, Some(&collector.url));
    assert_eq!(completed(stack.api, &id)["attempt"], 3);
    let spans = collector.wait_for(4);
    let (door, attempt) = (only(&spans, "POST /v1/tasks"), only(&spans, "process default"));
    assert_eq!((&attempt.parent, attempt.get("sentinel.attempt")), (&door.id, "3"));
    let request = only(&spans, "GET");
    assert_eq!(request.parent, attempt.id);
    assert!(request.start >= attempt.start && request.end <= attempt.end, "{spans:#?}");
    assert_eq!(web.headers("traceparent"), [format!("00-{TRACE}-{}-01", request.id)]);
}

/// A schedule's task, or one that came by an API that tells nobody, has a trace of its own.
#[test]
fn a_task_that_came_with_no_trace_has_one_for_all_its_attempts() {
    let (collector, web) = (Collector::start(), WebServer::start());
    let stack = stack(None, &web);
    let _worker = worker(&stack, Some(&collector.url));
    let act = json!({ "job": "ledger", "do": "submit", "tasks": [], "then": "fail-once" });
    let id = submit(stack.api, "", &json!({ "payload": act }));
    assert_eq!(completed(stack.api, &id).get("trace_id"), None);
    let spans = collector.wait_for(6);
    let attempts = of_task(&spans, &id, "process default");
    assert_eq!(attempts.len(), 2, "{spans:#?}");
    assert!(spans.iter().all(|span| span.trace == spans[0].trace), "{spans:#?}");
    assert!(attempts.iter().all(|attempt| attempt.parent.is_empty()), "{spans:#?}");
}

/// The definition of a task as the store has it.
fn stored(stack: &Stack, id: &str) -> Vec<u8> {
    redis::cmd("GET").arg(format!("{{s0}}:d:{id}")).query(&mut stack.connection()).unwrap()
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn nothing_is_kept_of_no_trace_and_a_double_changes_none() {
    let web = WebServer::start();
    let stack = stack(None, &web);
    let task = |key: &str| json!({ "payload": { "job": "ledger", "do": "misses", "keys": 0 }, "idempotency_key": key });
    for headers in ["", "traceparent: nonsense\r\n", &parent("01").repeat(2)] {
        let id = submit(stack.api, headers, &task(&format!("none{}", headers.len())));
        assert!(!has(&stored(&stack, &id), "trace"), "{headers}");
        assert_eq!(stack.api.task(&id).get("trace_id"), None, "{headers}");
    }
    // Nobody is told here, and whoever runs it may be.
    let id = submit(stack.api, &parent("01"), &task("one"));
    let kept = stored(&stack, &id);
    assert!(has(&kept, &format!("00-{TRACE}-{CLIENT}-01 client=1")), "{}", String::from_utf8_lossy(&kept));
    let other = parent("01").replace(TRACE, "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(submit(stack.api, &other, &task("one")), id);
    assert_eq!(stored(&stack, &id), kept);
    assert_eq!(stack.api.task(&id)["trace_id"], TRACE);
}

#[test]
fn what_is_not_sampled_is_told_to_nobody_and_passed_on() {
    let (collector, web) = (Collector::start(), WebServer::start());
    let stack = stack(Some(&collector.url), &web);
    let _worker = worker(&stack, Some(&collector.url));
    let act = json!({ "job": "ledger", "do": "submit", "tasks": [fetch(&web)], "then": "complete" });
    let id = submit(stack.api, &parent("00"), &json!({ "payload": act }));
    let task = completed(stack.api, &id);
    assert_eq!(task["trace_id"], TRACE);
    completed(stack.api, task["result"][0].as_str().unwrap());
    let passed_on = web.headers("traceparent");
    assert!(
        passed_on[0].starts_with(&format!("00-{TRACE}-")) && passed_on[0].ends_with("-00"),
        "{passed_on:?}"
    );
    // One that is sampled comes after it, and its spans are told after those of the first would be.
    let id =
        submit(stack.api, &parent("01").replace(TRACE, "0af7651916cd43dd8448eb211c80319c"), &fetch(&web));
    completed(stack.api, &id);
    let spans = collector.wait_for(5);
    assert!(spans.iter().all(|span| span.trace != TRACE), "{spans:#?}");
}

/// Neither a collector that is not there nor one that never answers.
#[test]
fn a_collector_that_is_away_stops_no_task_and_holds_up_no_shutdown() {
    let web = WebServer::start();
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    // It takes connections, and that is all.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    for collector in [nowhere, silent] {
        let mut stack = stack(Some(&collector), &web);
        let mut worker = worker(&stack, Some(&collector));
        let ids: Vec<_> = (0..50).map(|_| submit(stack.api, &parent("01"), &fetch(&web))).collect();
        for id in &ids {
            completed(stack.api, id);
        }
        let since = Instant::now();
        assert_eq!((worker.terminate(), stack.server.terminate()), (Some(0), Some(0)));
        // It gives a collector ten seconds, and three to the last spans.
        assert!(since.elapsed() < Duration::from_secs(9), "{:?}", since.elapsed());
        assert!(stack.log().contains("spans did not reach the collector"), "{}", stack.log());
    }
}

#[test]
fn a_collector_is_told_by_tls_if_its_certificate_is_signed_by_whom_it_should_be() {
    let web = WebServer::start();
    let (authority, other) = (Authority::new(), Authority::new());
    let collector = Collector::start_with(&authority.issue(&["127.0.0.1"]));
    for (authority, arrives) in [(&other, false), (&authority, true)] {
        let mut stack = stack(None, &web);
        std::fs::write(stack.dir.path().join("authority.pem"), authority.pem()).unwrap();
        let (api, address) = free_address();
        let set = format!("{PLAIN} OTEL_EXPORTER_OTLP_CERTIFICATE=authority.pem");
        let (redis, url) = (stack.redis.url(), collector.url.clone());
        let args = ["api", "--listen", &address, "--redis", &redis, "--otlp", &url];
        let mut server = Process::start_after(&set, &args, stack.dir.path());
        api.wait_until_ready(0);
        submit(api, &parent("01"), &fetch(&web));
        assert_eq!((server.terminate(), stack.server.terminate()), (Some(0), Some(0)));
        assert_eq!(collector.told().len(), usize::from(arrives));
        assert_eq!(stack.log().contains("spans did not reach the collector"), !arrives, "{}", stack.log());
    }
}

#[test]
fn lines_of_the_log_have_the_ids_of_their_trace_and_their_span() {
    let (collector, web) = (Collector::start(), WebServer::start());
    let stack = stack(Some(&collector.url), &web);
    let _worker = worker(&stack, Some(&collector.url));
    let headers = format!("{}x-request-id: mine\r\n", parent("01"));
    let id = submit(stack.api, &headers, &fetch(&web));
    completed(stack.api, &id);
    let spans = collector.wait_for(5);
    let log = stack.log();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let said = |message: &str, name: &str| {
        let span = only(&spans, name);
        let line = lines.iter().find(|line| line["message"] == message && line["span_id"] == *span.id);
        let line = line.unwrap_or_else(|| panic!("{message} of {} in {log}", span.id));
        assert_eq!(line["trace_id"], TRACE, "{line}");
        line.clone()
    };
    assert_eq!(said("answered", "POST /v1/tasks")["span"]["id"], "mine");
    assert_eq!(said("an attempt ended", "process default")["task"], *id);
}

#[test]
fn the_command_line_passes_its_callers_trace_on() {
    let web = WebServer::start();
    let stack = stack(None, &web);
    let submit = |parent: &str| {
        let submit = Command::new(env!("CARGO_BIN_EXE_sentinel"))
            .args(["submit", "ledger", r#"{"do":"misses","keys":0}"#, "--output", "json"])
            .args(["--server", &format!("http://127.0.0.1:{}", stack.api.port)])
            .env("TRACEPARENT", parent)
            .output()
            .unwrap();
        let answer: Value = serde_json::from_slice(&submit.stdout).unwrap();
        stack.api.task(answer["task_id"].as_str().unwrap())
    };
    assert_eq!(submit(&format!("00-{TRACE}-{CLIENT}-01"))["trace_id"], TRACE);
    assert_eq!(submit("nonsense").get("trace_id"), None);
}

#[test]
fn a_collector_that_cannot_be_is_refused_with_the_fix() {
    for (variable, value) in [("SENTINEL_OTLP", "localhost:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")] {
        let server = Command::new("timeout")
            .args(["20", env!("CARGO_BIN_EXE_sentinel"), "api", "--redis", "redis://127.0.0.1:1"])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
            .env(variable, value)
            .output()
            .unwrap();
        let said = String::from_utf8(server.stderr).unwrap();
        assert_eq!(server.status.code(), Some(1), "{said}");
        assert!(said.contains("4318"), "{said}");
    }
}
