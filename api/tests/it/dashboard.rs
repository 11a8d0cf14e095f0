//! The pages, without a browser: what they say, to whom, and what they let in.

use axum::{
    body::Body,
    http::{Method, StatusCode, header},
};
use bytes::Bytes;
use sentinel_api::{ApiConfig, Auth, router};
use sentinel_queue::{
    ErrorKind, Queue,
    keys::{Grant, Scope},
    lease::Verdict,
    store::{
        Answer as StoreAnswer, Durability, Reply, Scanned, Script, Store, StoreError, Subscription,
        embedded::Embedded,
    },
    task::{ErrorReport, TaskError},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

use crate::client::{Answer, Client, request};

const HERE: &str = "http://localhost:8000";

/// As a browser asks for a page.
async fn page(client: &Client, path: &str) -> Answer {
    let asked =
        request(Method::GET, path).header(header::ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8");
    client.send(asked.body(Body::empty()).unwrap()).await
}

/// As a browser sends a form of a page of this server.
async fn form(client: &Client, path: &str, fields: &str) -> Answer {
    form_from(client, path, fields, Some(HERE)).await
}

async fn form_from(client: &Client, path: &str, fields: &str, origin: Option<&str>) -> Answer {
    let mut sent = request(Method::POST, path).header(header::ACCEPT, "text/html");
    sent = sent.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some(origin) = origin {
        sent = sent.header(header::ORIGIN, origin);
    }
    client.send(sent.body(Body::from(fields.to_owned())).unwrap()).await
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

fn header_of<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

fn failed(message: &str) -> Verdict {
    let backtrace = Some("0: guest::run\n1: main".into());
    let report = ErrorReport { message: message.into(), detail: None, backtrace };
    Verdict::Fail(TaskError { kind: ErrorKind::Permanent, report })
}

/// A task that has failed with this message.
async fn failure(client: &Client, message: &str) -> String {
    let id = client.submit(r#"{"payload":{"job":"j"}}"#).await;
    client.run(failed(message)).await;
    id
}

const PAGES: &[&str] = &["/", "/tasks"];

#[tokio::test]
async fn a_page_runs_nothing_that_this_server_does_not_serve() {
    let client = Client::new();
    let id = failure(&client, "no").await;
    let task = format!("/tasks/{id}");
    let redrive = format!("/tasks/{id}/redrive");
    let gone = "/nowhere";
    for path in PAGES.iter().copied().chain([task.as_str(), &redrive, gone, "/login"]) {
        let answer = page(&client, path).await;
        let policy = header_of(&answer, "content-security-policy").to_owned();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.split("; ").any(|there| there == part), "{path}: {part} in {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        // A browser says where a form comes from only if it may.
        assert_eq!(header_of(&answer, "referrer-policy"), "same-origin", "{path}");
        let html = text(&answer);
        for script in html.split("<script").skip(1) {
            assert!(script.starts_with(" type=\"module\" src=\"/assets/"), "{path}: {script}");
        }
        for inline in ["<style", " style=", " onclick=", " onload=", " onerror=", "javascript:"] {
            assert!(!html.contains(inline), "{path}: {inline}");
        }
    }
}

#[tokio::test]
async fn what_pages_load_is_kept_for_good_by_its_content() {
    let client = Client::new();
    let html = text(&page(&client, "/").await);
    let urls: Vec<_> = html.split("/assets/").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(urls.len() >= 3, "{urls:?}");
    for url in urls {
        let answer = client.get(&format!("/assets/{url}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{url}");
        assert_eq!(header_of(&answer, "cache-control"), "public, max-age=31536000, immutable");
        let kind = header_of(&answer, "content-type");
        assert!(
            ["text/css; charset=utf-8", "text/javascript; charset=utf-8", "image/svg+xml"].contains(&kind)
        );
        // A page of another version asks for its own set: it gets what there is, and does not keep it.
        let other = format!("/assets/0123456789abcdef/{}", url.split('/').next_back().unwrap());
        let answer = client.get(&other).await;
        assert_eq!((answer.status, header_of(&answer, "cache-control")), (StatusCode::OK, "no-store"));
    }
    assert_eq!(client.get("/assets/x/../../etc/passwd").await.status, StatusCode::NOT_FOUND);
    assert_eq!(client.get("/assets/x/nothing.js").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_overview_says_what_fails_and_links_to_why() {
    let client = Client::new();
    assert!(text(&page(&client, "/").await).contains("Nothing was submitted yet"));
    let id = failure(&client, "the disk is full").await;
    let html = text(&page(&client, "/").await);
    assert!(html.contains("the disk is full") && html.contains(&format!("href=\"/tasks/{id}\"")), "{html}");
    assert!(html.contains("none is alive: nothing runs"));
    let html = text(&page(&client, &format!("/tasks/{id}")).await);
    for said in ["Why it failed", "the disk is full", "permanent", "guest::run", "a line", "Redrive…"] {
        assert!(html.contains(said), "{said} in {html}");
    }
}

#[tokio::test]
async fn a_list_is_filtered_and_goes_on_and_a_search_leads_to_a_task() {
    let client = Client::new();
    for number in 0..60 {
        client.submit(&format!(r#"{{"payload":{{"job":"j"}},"queue":"q","tags":["n:{number}"]}}"#)).await;
    }
    let id = client.submit(r#"{"payload":{"job":"other"},"delay":"1h"}"#).await;
    let html = text(&page(&client, "/tasks?queue=q&status=&job=&tag=").await);
    assert_eq!(html.matches("<th scope=\"row\">").count(), 50);
    let next = html.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let html = text(&page(&client, &next.replace("&#38;", "&")).await);
    assert_eq!(html.matches("<th scope=\"row\">").count(), 10);
    let html = text(&page(&client, "/tasks?tag=n%3A7").await);
    assert_eq!(html.matches("<th scope=\"row\">").count(), 1);
    for (typed, leads) in [
        (id.as_str(), format!("/tasks/{id}")),
        ("q", "/tasks?queue=q".into()),
        ("n:7", "/tasks?tag=n%3A7".into()),
    ] {
        let answer = page(&client, &format!("/tasks?q={typed}")).await;
        assert_eq!((answer.status, header_of(&answer, "location")), (StatusCode::SEE_OTHER, leads.as_str()));
    }
    for wrong in ["status=x", "queue=A%20b", "since=yesterday", "tag=%3Cscript%3E"] {
        let answer = page(&client, &format!("/tasks?{wrong}")).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
        assert!(text(&answer).contains("role=\"alert\""), "{wrong}");
    }
}

#[tokio::test]
async fn what_users_gave_is_text() {
    let client = Client::new();
    let evil = "<script>alert(1)</script>\" onmouseover=\"alert(2)' javascript:alert(3) &lt;b&gt; </pre><img src=x onerror=alert(4)>";
    let body = json!({ "payload": { "job": "j", "text": evil, evil: evil }, "concurrency_key": "<b>x</b>", "idempotency_key": "\"><i>" });
    let id = client.submit(&body.to_string()).await;
    client.run_with_log(failed(evil), "</pre><script>alert(5)</script>\u{1b}[31m\u{202e}").await;
    for path in [
        "/".to_owned(),
        "/tasks".into(),
        format!("/tasks/{id}"),
        format!("/tasks?tag={}", "%22%3E%3Cscript%3E"),
    ] {
        let html = text(&page(&client, &path).await);
        for acts in ["<script>", "<img src=x", "<i>", "<b>x", "onmouseover=\"", "\u{1b}", "\u{202e}"] {
            assert!(!html.contains(acts), "{path}: {acts}");
        }
    }
}

#[tokio::test]
async fn numbers_are_shown_as_they_were_submitted() {
    let client = Client::new();
    let id = client.submit(r#"{"payload":{"job":"j","n":12345678901234567890.1230e+05,"z":-0.0}}"#).await;
    let html = text(&page(&client, &format!("/tasks/{id}")).await);
    assert!(html.contains("&#34;n&#34;: 12345678901234567890.1230e+05,"), "{html}");
    let raw = client.get(&format!("/tasks/{id}/payload")).await;
    assert_eq!(text(&raw), r#"{"job":"j","n":12345678901234567890.1230e+05,"z":-0.0}"#);
    let large = json!({ "payload": { "job": "j", "x": "y".repeat(200_000) } }).to_string();
    let id = client.submit(&large).await;
    let html = text(&page(&client, &format!("/tasks/{id}")).await);
    assert!(html.len() < 60_000 && html.contains("all of it"), "{}", html.len());
}

#[tokio::test]
async fn a_task_is_cancelled_and_retried_by_forms_after_a_question() {
    let client = Client::new();
    let id = client.submit(r#"{"payload":{"job":"j"}}"#).await;
    let asked = text(&page(&client, &format!("/tasks/{id}/cancel")).await);
    assert!(asked.contains(&format!("action=\"/tasks/{id}/cancel\"")) && asked.contains("Cancel this task?"));
    assert_eq!(client.task(&id).await["status"], "QUEUED", "to ask does nothing");
    for (what, status) in [("cancel", "CANCELLED"), ("redrive", "QUEUED")] {
        let answer = form(&client, &format!("/tasks/{id}/{what}"), "").await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        assert_eq!(client.task(&id).await["status"], status);
        let back = page(&client, header_of(&answer, "location")).await;
        assert!(text(&back).contains("class=\"notice\" role=\"status\""));
    }
    let answer = form(&client, &format!("/tasks/{id}/reschedule"), "delay=1h&run_at=&priority=7").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let task = client.task(&id).await;
    assert_eq!((task["status"].as_str(), task["priority"].as_i64()), (Some("SCHEDULED"), Some(7)));
    let wrong = form(&client, &format!("/tasks/{id}/reschedule"), "priority=9000").await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(text(&wrong).contains("-1000"));
    let wrong = page(&client, &format!("/tasks/{id}/redrive")).await;
    assert_eq!(wrong.status, StatusCode::CONFLICT);
    assert!(text(&wrong).contains("only a task that FAILED or was CANCELLED can be redriven"));
    let actions = client.get("/v1/actions").await.json();
    assert_eq!(actions["actions"][0]["what"], "POST /tasks/{id}/reschedule");
}

#[tokio::test]
async fn many_tasks_are_counted_before_something_is_done_to_them() {
    let client = Client::new();
    for number in 0..5 {
        client.submit(&format!(r#"{{"payload":{{"job":"j"}},"queue":"q{}"}}"#, number % 2)).await;
    }
    let html = text(&page(&client, "/tasks?queue=q0").await);
    assert!(html.contains("Cancel all these…") && html.contains("name=\"queue\" value=\"q0\""));
    let operate = async |path: &str| {
        while client.queue.operate().await.unwrap() {}
        text(&page(&client, path).await)
    };
    let counted = form(&client, "/operations", "kind=cancel&dry_run=true&queue=q0").await;
    assert_eq!(counted.status, StatusCode::SEE_OTHER);
    let html = operate(header_of(&counted, "location")).await;
    assert!(html.contains("Cancel 3 tasks") && html.contains("of the queue q0"), "{html}");
    assert_eq!(client.get("/stats").await.json()["status_counts"]["QUEUED"], 5);
    let done = form(&client, "/operations", "kind=cancel&dry_run=false&queue=q0").await;
    let html = operate(header_of(&done, "location")).await;
    assert!(html.contains("Done: <b>3</b> of 3 tasks"), "{html}");
    assert_eq!(client.get("/stats").await.json()["status_counts"]["CANCELLED"], 3);
    assert_eq!(
        form(&client, "/operations", "kind=purge&dry_run=false").await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
}

#[tokio::test]
async fn a_form_comes_from_a_page_of_this_server() {
    let client = Client::new();
    let id = client.submit(r#"{"payload":{"job":"j"}}"#).await;
    let path = format!("/tasks/{id}/cancel");
    for origin in [None, Some("http://evil.example"), Some("null"), Some("http://localhost:9000")] {
        let answer = form_from(&client, &path, "", origin).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin:?}");
    }
    let sent =
        request(Method::POST, &path).header(header::ORIGIN, HERE).header("sec-fetch-site", "same-site");
    let sent = sent.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    assert_eq!(client.send(sent.body(Body::empty()).unwrap()).await.code(), "cross_origin");
    let sent = request(Method::POST, &path).header(header::ORIGIN, HERE);
    let sent = sent.header(header::CONTENT_TYPE, "text/plain");
    assert_eq!(client.send(sent.body(Body::empty()).unwrap()).await.code(), "unsupported_media_type");
    assert_eq!(client.task(&id).await["status"], "QUEUED");
}

#[tokio::test]
async fn what_a_key_may_not_do_is_not_offered_and_refused() {
    let client = Client::with_auth(Auth::Keys);
    let all = client.as_key(&client.key(&[Scope::Admin]).await);
    let reader = client.as_key(&client.key(&[Scope::Read]).await);
    let submitter = client.as_key(&client.key(&[Scope::Submit]).await);
    let id = all.submit(r#"{"payload":{"job":"j"}}"#).await;
    for path in ["/", "/tasks", &format!("/tasks/{id}")] {
        let html = text(&page(&reader, path).await);
        let forms = html.matches("method=\"post\"").count();
        assert_eq!(forms, 2, "{path} has the theme's and the log-out's");
        assert!(!html.contains("Cancel…") && !html.contains("all these"), "{path}");
        assert_eq!(page(&submitter, path).await.status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(page(&client, path).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert!(text(&page(&all, &format!("/tasks/{id}")).await).contains("Cancel…"));
    let refused = page(&reader, &format!("/tasks/{id}/cancel")).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(text(&refused).contains("this needs a key with the scope operate"));
    assert_eq!(form(&reader, &format!("/tasks/{id}/cancel"), "").await.status, StatusCode::FORBIDDEN);
    assert_eq!(form(&reader, "/operations", "kind=cancel").await.status, StatusCode::FORBIDDEN);
    assert_eq!(all.task(&id).await["status"], "QUEUED");
}

#[tokio::test]
async fn a_page_shows_one_namespace_and_its_links_stay_there() {
    let client = Client::with_auth(Auth::Keys);
    let all = client.as_key(&client.key(&[Scope::Admin]).await);
    let of = Grant {
        scopes: [Scope::Admin].into(),
        namespace: Some("team-a".parse().unwrap()),
        ..Grant::default()
    };
    let bound = client.as_key(&client.key_with(of).await);
    let id = all.in_namespace("team-a").submit(r#"{"payload":{"job":"secret"}}"#).await;
    assert_eq!(page(&all, &format!("/tasks/{id}")).await.status, StatusCode::NOT_FOUND);
    assert!(!text(&page(&all, "/tasks").await).contains("secret"));
    for path in ["/", "/tasks", &format!("/tasks/{id}"), &format!("/tasks/{id}/cancel")] {
        let answer = page(&all, &format!("{path}?namespace=team-a")).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        let html = text(&answer);
        for link in html.split("href=\"/").chain(html.split("action=\"/")).skip(1) {
            let link = link.split('"').next().unwrap();
            let is_apart = ["assets/", "docs/", "theme", "logout", "<!doctype"]
                .iter()
                .any(|start| link.starts_with(start));
            // Forms that are sent by GET have it in a field.
            let is_get = ["tasks", ""].contains(&link);
            assert!(is_apart || is_get || link.contains("namespace=team-a"), "{path}: {link}");
        }
    }
    let html = text(&page(&bound, "/tasks").await);
    assert!(html.contains("secret") && !html.contains("namespace="), "{html}");
    assert_eq!(page(&bound, "/tasks?namespace=default").await.status, StatusCode::FORBIDDEN);
    assert_eq!(form(&all, &format!("/tasks/{id}/cancel"), "").await.status, StatusCode::NOT_FOUND);
    let done = form(&all, &format!("/tasks/{id}/cancel?namespace=team-a"), "").await;
    assert_eq!(header_of(&done, "location"), format!("/tasks/{id}?namespace=team-a&done=cancelled"));
}

#[tokio::test]
async fn a_theme_is_remembered_and_leads_back_here_alone() {
    let client = Client::new();
    assert!(text(&page(&client, "/").await).contains("data-theme=\"system\""));
    for (next, leads) in
        [("%2Ftasks%3Fstatus%3DFAILED", "/tasks?status=FAILED"), ("https%3A%2F%2Fevil.example", "/")]
    {
        let chosen = form(&client, "/theme", &format!("theme=dark&next={next}")).await;
        assert_eq!((chosen.status, header_of(&chosen, "location")), (StatusCode::SEE_OTHER, leads));
        let cookie = header_of(&chosen, "set-cookie").split(';').next().unwrap().to_owned();
        let asked = request(Method::GET, "/").header(header::COOKIE, cookie).body(Body::empty()).unwrap();
        assert!(text(&client.send(asked).await).contains("data-theme=\"dark\""));
    }
    assert_eq!(form(&client, "/theme", "theme=%3Cscript%3E").await.status, StatusCode::UNPROCESSABLE_ENTITY);
}

/// A store that is away.
struct Away;

impl Store for Away {
    fn run(&self, _script: Script, _args: Vec<Bytes>) -> StoreAnswer<'_, Reply> {
        Box::pin(async { Err(away()) })
    }

    fn take_marker(&self, _keys: Vec<Bytes>, _timeout: Duration) -> StoreAnswer<'_, bool> {
        Box::pin(async { Err(away()) })
    }

    fn subscribe(&self, channel: Bytes) -> Subscription {
        Embedded::in_memory().subscribe(channel)
    }

    fn scan(&self, _prefix: Bytes, _cursor: Option<Bytes>) -> StoreAnswer<'_, Scanned> {
        Box::pin(async { Err(away()) })
    }

    fn check(&self) -> StoreAnswer<'_, Durability> {
        Box::pin(async { Err(away()) })
    }
}

fn away() -> StoreError {
    StoreError::Unavailable("it is away".into())
}

#[tokio::test]
async fn a_store_that_is_away_is_told_with_what_to_do() {
    let queue = Queue::new(Arc::new(Away));
    let client =
        Client::of(router(queue.clone(), ApiConfig { auth: Auth::Nobody, ..ApiConfig::default() }), queue);
    let answer = page(&client, "/").await;
    assert_eq!((answer.status, header_of(&answer, "retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    let html = text(&answer);
    assert!(html.contains("Nothing is lost") && html.contains("data-look-again"), "{html}");
}

#[tokio::test]
async fn people_are_told_what_went_wrong_on_a_page_and_programs_in_json() {
    let client = Client::new();
    for (path, status, said) in [
        ("/nowhere", 404, "there is nothing at this address"),
        ("/tasks/x", 404, "no task has the id"),
        ("/tasks/0198c0de-0000-7000-8000-000000000000", 404, "Finished tasks are kept for a time"),
        ("/operations/x", 404, "no operation has the id"),
    ] {
        let answer = page(&client, path).await;
        assert_eq!(
            (answer.status.as_u16(), header_of(&answer, "content-type")),
            (status, "text/html; charset=utf-8")
        );
        assert!(text(&answer).contains(said), "{path}");
        assert_eq!(client.get(path).await.json()["status"], status, "{path}, for a program");
    }
    // The API answers in JSON whoever asks.
    let answer = page(&client, "/v1/tasks/x").await;
    assert_eq!(header_of(&answer, "content-type"), "application/problem+json");
}
