//! Who may ask for what: every route without a key, with a wrong one, with half of one.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    body::Body,
    http::{Method, StatusCode, header},
};
use sentinel_api::Auth;
use sentinel_queue::keys::{Grant, RequestRate, Scope};
use serde_json::{Value, json};

use crate::client::{Answer, Client, request};

/// Every method and path that the table of routes has, with the scope that it needs: from the document,
/// which the table makes, and the pages.
async fn routes(client: &Client, key: &str) -> BTreeMap<(Method, String), Option<String>> {
    let document = client.as_key(key).get("/openapi.json").await.json();
    let mut routes = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let concrete = path
                .replace("{id}", "019a0000-0000-7000-8000-000000000000")
                .replace("{queue}", "q")
                .replace("{job}", "j")
                .replace("{name}", "s");
            let security = &operation["security"];
            if security.is_null() {
                assert!(["/healthz", "/readyz"].contains(&path.as_str()), "{method} {path} needs nothing");
                continue;
            }
            let scope = security[0]["key"][0].as_str().map(str::to_owned);
            routes.insert((method, concrete), scope);
        }
    }
    for page in ["/docs", "/docs/", "/docs/index.html", "/openapi.json", "/nothing-here"] {
        routes.insert((Method::GET, page.to_owned()), None);
    }
    let task = |what: &str| format!("/tasks/019a0000-0000-7000-8000-000000000000{what}");
    let reads = ["", "/json", "/payload", "/result", "/log", "/live"].map(task);
    for page in ["/", "/live", "/tasks", "/operations/o"].map(str::to_owned).into_iter().chain(reads) {
        routes.insert((Method::GET, page), Some("read".into()));
    }
    for form in ["/cancel", "/redrive", "/reschedule"].map(task) {
        for method in [Method::GET, Method::POST] {
            routes.insert((method, form.clone()), Some("operate".into()));
        }
    }
    routes.insert((Method::POST, "/operations".to_owned()), Some("operate".into()));
    routes
}

/// Sends a request whose answer is not read to its end: it may have none.
async fn status(client: &Client, method: &Method, path: &str, key: Option<&str>) -> (StatusCode, Value) {
    use tower::ServiceExt;
    let mut sent = request(method.clone(), path).header(header::CONTENT_TYPE, "application/json");
    if let Some(key) = key {
        sent = sent.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    let response = client.router.clone().oneshot(sent.body(Body::from("{}")).unwrap()).await.unwrap();
    let status = response.status();
    if status.is_success() || status.is_redirection() {
        return (status, Value::Null);
    }
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn every_route_needs_a_key_and_its_scope() {
    let client = Client::with_auth(Auth::Keys);
    let admin = client.key(&[Scope::Admin]).await;
    let routes = routes(&client, &admin).await;
    assert!(routes.len() > 35, "{routes:?}");
    let mut of_scope = BTreeMap::new();
    for scope in Scope::ALL {
        of_scope.insert(scope.as_str(), client.key(&[*scope]).await);
    }
    let id = &of_scope["read"][..21];
    let wrong = format!("{id}_{}", "0".repeat(64));
    for ((method, path), scope) in &routes {
        for key in [None, Some("x"), Some(wrong.as_str()), Some(&of_scope["read"][1..])] {
            let (status, problem) = status(&client, method, path, key).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} with {key:?}");
            assert_eq!(problem["code"], "unauthenticated", "{method} {path}");
        }
        for (has, key) in &of_scope {
            let (status, problem) = status(&client, method, path, Some(key)).await;
            let may = scope.as_deref().is_none_or(|scope| scope == *has || *has == "admin");
            let refused = problem["code"] == "forbidden";
            assert_eq!(!refused, may, "{method} {path} with the scope {has}: {status} {problem}");
            // What a page sends is taken from pages alone.
            let is_form = !path.starts_with("/v1/") && problem["code"] == "cross_origin";
            assert_eq!(refused || is_form, status == StatusCode::FORBIDDEN, "{method} {path}: {problem}");
        }
    }
}

#[tokio::test]
async fn what_is_open_needs_none() {
    let client = Client::with_auth(Auth::Keys);
    for path in ["/healthz", "/readyz", "/login", "/assets/x/sentinel.css"] {
        assert_eq!(client.get(path).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn the_first_key_closes_the_door_and_its_end_does_not_open_it() {
    let client = Client::with_auth(Auth::UntilKeys);
    assert_eq!(client.get("/stats").await.status, StatusCode::OK);
    let made = client.post("/v1/keys", r#"{"name":"first","scopes":["admin"]}"#).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.body);
    let (key, id) = (made.json()["key"].as_str().unwrap().to_owned(), made.json()["key_id"].clone());
    assert_eq!(client.get("/stats").await.code(), "unauthenticated");
    assert_eq!(client.as_key(&key).get("/stats").await.status, StatusCode::OK);
    let id = id.as_str().unwrap();
    let revoked = client.as_key(&key).send_to(Method::DELETE, &format!("/v1/keys/{id}")).await;
    assert_eq!(revoked.status, StatusCode::OK);
    assert!(revoked.json()["revoked_at"].is_string());
    assert_eq!(client.as_key(&key).get("/stats").await.code(), "unauthenticated");
    assert_eq!(client.get("/stats").await.code(), "unauthenticated");
}

#[tokio::test]
async fn a_key_is_told_once() {
    let client = Client::with_auth(Auth::Keys);
    let admin = client.key(&[Scope::Admin]).await;
    let client = client.as_key(&admin);
    let expires_at = format!("{:.3}", jiff::Timestamp::now() + Duration::from_hours(24));
    let body = json!({
        "name": "ci", "scopes": ["submit", "read"], "namespace": "team-a", "jobs": ["j"], "queues": ["q"],
        "rate": { "requests": 5, "per": "1m" }, "expires_at": expires_at,
    });
    let made = client.post("/v1/keys", body.to_string()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.body);
    let mut made_json = made.json();
    let key = made_json.as_object_mut().unwrap().remove("key").unwrap();
    let location = made.headers[header::LOCATION].to_str().unwrap();
    let read = client.get(location).await;
    assert_eq!(read.json(), made_json);
    assert_eq!(made_json["rate"], body["rate"]);
    assert_eq!(made_json["expires_at"], expires_at);
    let listed = client.get("/v1/keys").await;
    assert_eq!(listed.json()["keys"].as_array().unwrap().len(), 2);
    let secret = key.as_str().unwrap().rsplit('_').next().unwrap();
    for answer in [read, listed, client.get("/v1/actions").await] {
        assert!(!String::from_utf8_lossy(&answer.body).contains(secret));
    }
    assert_eq!(client.get("/v1/keys/000000000000").await.code(), "unknown_key");
    assert_eq!(client.post("/v1/keys", r#"{"name":"x","scopes":["root"]}"#).await.code(), "invalid_field");
}

#[tokio::test]
async fn a_key_gives_no_more_than_it_has() {
    let client = Client::with_auth(Auth::Keys);
    let bound = Grant {
        scopes: [Scope::Admin].into(),
        namespace: Some("team-a".parse().unwrap()),
        jobs: Some(["j".parse().unwrap()].into()),
        ..Grant::default()
    };
    let root = client.key(&[Scope::Admin]).await;
    let bound = client.as_key(&client.key_with(bound).await);
    for body in [
        r#"{"name":"x","scopes":["read"],"namespace":"team-b","jobs":["j"]}"#,
        r#"{"name":"x","scopes":["read"]}"#,
        r#"{"name":"x","scopes":["read"],"jobs":["j","other"]}"#,
    ] {
        assert_eq!(bound.post("/v1/keys", body).await.code(), "forbidden", "{body}");
    }
    let made = bound.post("/v1/keys", r#"{"name":"x","scopes":["read"],"jobs":["j"]}"#).await.json();
    assert_eq!(made["namespace"], "team-a");
    let keys = bound.get("/v1/keys").await.json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2, "{keys}");
    let id = &root["sentinel_".len()..][..12];
    assert_eq!(bound.send_to(Method::DELETE, &format!("/v1/keys/{id}")).await.code(), "unknown_key");
    let reader = client.as_key(made["key"].as_str().unwrap());
    assert_eq!(reader.post("/v1/keys", r#"{"name":"x","scopes":["read"]}"#).await.code(), "forbidden");
}

#[tokio::test]
async fn a_key_that_has_expired_is_none() {
    let client = Client::with_auth(Auth::Keys);
    let admin = client.as_key(&client.key(&[Scope::Admin]).await);
    let body = r#"{"name":"x","scopes":["read"],"expires_at":"2020-01-01T00:00:00Z"}"#;
    let made = admin.post("/v1/keys", body).await.json();
    assert_eq!(client.as_key(made["key"].as_str().unwrap()).get("/stats").await.code(), "unauthenticated");
}

/// Two tenants, and one who may see all by name.
struct Tenants {
    one: Client,
    other: Client,
    all: Client,
}

async fn tenants() -> Tenants {
    let client = Client::with_auth(Auth::Keys);
    let of = |name: &str| Grant {
        scopes: [Scope::Submit, Scope::Read, Scope::Operate].into(),
        namespace: Some(name.parse().unwrap()),
        ..Grant::default()
    };
    let (one, other) = (client.key_with(of("one")).await, client.key_with(of("other")).await);
    let all = client.key(&[Scope::Admin]).await;
    Tenants { one: client.as_key(&one), other: client.as_key(&other), all: client.as_key(&all) }
}

#[tokio::test]
async fn of_another_namespace_there_is_nothing() {
    let Tenants { one, other, all } = tenants().await;
    let id = one.submit(r#"{"payload":{"job":"j"},"idempotency_key":"k"}"#).await;
    one.put("/v1/queues/q", r#"{"concurrency":3}"#).await;
    one.put("/v1/schedules/s", r#"{"cron":"@daily","task":{"payload":{"job":"j"}}}"#).await;
    let operation =
        one.post("/v1/operations", r#"{"kind":"cancel","filter":{},"dry_run":true}"#).await.json();
    let operation = format!("/v1/operations/{}", operation["operation_id"].as_str().unwrap());

    let task = format!("/v1/tasks/{id}");
    assert_eq!(one.get(&task).await.status, StatusCode::OK);
    for rest in ["", "?wait=10ms", "/result", "/logs", "/events"] {
        assert_eq!(other.get(&format!("{task}{rest}")).await.code(), "unknown_task", "{rest}");
    }
    for rest in ["/cancel", "/redrive"] {
        assert_eq!(other.post(&format!("{task}{rest}"), "").await.code(), "unknown_task", "{rest}");
    }
    assert_eq!(other.post(&format!("{task}/reschedule"), r#"{"priority":5}"#).await.code(), "unknown_task");
    assert_eq!(other.get(&operation).await.code(), "unknown_operation");
    assert_eq!(other.get("/v1/queues/q").await.code(), "unknown_queue");
    assert_eq!(other.get("/v1/schedules/s").await.code(), "unknown_schedule");
    assert_eq!(other.get("/v1/queues").await.json()["queues"], json!([]));
    assert_eq!(other.get("/v1/schedules").await.json()["schedules"], json!([]));
    assert_eq!(other.get("/v1/tasks").await.json()["tasks"], json!([]));
    one.submit(&json!({ "payload": { "job": "j" }, "after": [id] }).to_string()).await;
    one.submit(r#"{"payload":{"job":"j"},"delay":"1m"}"#).await;
    let stats = other.get("/stats").await.json();
    assert!(stats["status_counts"].as_object().unwrap().values().all(|count| count == 0), "{stats}");
    let child = json!({ "payload": { "job": "j" }, "after": [id] }).to_string();
    assert_eq!(other.post("/v1/tasks", child).await.code(), "unknown_parent");
    // The same idempotency key is another one there.
    assert_ne!(other.submit(r#"{"payload":{"job":"j"},"idempotency_key":"k"}"#).await, id);
    assert_eq!(one.task(&id).await["status"], "QUEUED");

    assert_eq!(all.get(&task).await.code(), "unknown_task");
    assert_eq!(all.in_namespace("one").get(&task).await.status, StatusCode::OK);
    assert_eq!(other.in_namespace("one").get(&task).await.code(), "forbidden");
    assert_eq!(other.in_namespace("other").get("/stats").await.status, StatusCode::OK);
    assert_eq!(all.in_namespace("One").get("/stats").await.code(), "invalid_field");
}

#[tokio::test]
async fn a_cursor_that_is_forged_leads_to_no_other_namespace() {
    let Tenants { one, other, .. } = tenants().await;
    for _ in 0..3 {
        one.submit(r#"{"payload":{"job":"j"}}"#).await;
        other.submit(r#"{"payload":{"job":"j"}}"#).await;
    }
    let page = one.get("/v1/tasks?limit=1").await.json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let forged =
        hex::encode(String::from_utf8(hex::decode(cursor).unwrap()).unwrap().replace("one", "other"));
    for cursor in [cursor, &forged] {
        let page = other.get(&format!("/v1/tasks?cursor={cursor}")).await.json();
        for task in page["tasks"].as_array().unwrap() {
            let id = task["task_id"].as_str().unwrap();
            assert_eq!(other.get(&format!("/v1/tasks/{id}")).await.status, StatusCode::OK, "{page}");
        }
    }
}

#[tokio::test]
async fn a_key_for_some_jobs_and_queues_sees_no_others() {
    let client = Client::with_auth(Auth::Keys);
    let all = client.as_key(&client.key(&[Scope::Admin]).await);
    let some = Grant {
        scopes: [Scope::Submit, Scope::Read, Scope::Operate].into(),
        jobs: Some(["own".parse().unwrap()].into()),
        queues: Some(["q".parse().unwrap()].into()),
        ..Grant::default()
    };
    let some = client.as_key(&client.key_with(some).await);
    let own = some.submit(r#"{"payload":{"job":"own"},"queue":"q"}"#).await;
    for (body, pointer) in [
        (r#"{"payload":{"job":"alien"},"queue":"q"}"#, "/payload/job"),
        (r#"{"payload":{"job":"own"}}"#, "/queue"),
    ] {
        let refused = some.post("/submit-task", body).await;
        assert_eq!((refused.code(), refused.pointers()), ("forbidden".into(), vec![pointer.to_owned()]));
        let refused = some.post("/v1/tasks/batch", format!(r#"{{"tasks":[{body}]}}"#)).await;
        assert_eq!(
            (refused.code(), refused.pointers()),
            ("forbidden".into(), vec![format!("/tasks/0{pointer}")])
        );
    }
    let alien = all.submit(r#"{"payload":{"job":"alien"},"queue":"q"}"#).await;
    assert_eq!(some.get(&format!("/v1/tasks/{alien}")).await.code(), "unknown_task");
    assert_eq!(some.post(&format!("/v1/tasks/{alien}/cancel"), "").await.code(), "unknown_task");
    let listed = some.get("/v1/tasks").await.json();
    let ids: Vec<_> = listed["tasks"].as_array().unwrap().iter().map(|task| &task["task_id"]).collect();
    assert_eq!(ids, [own.as_str()]);
    let child = json!({ "payload": { "job": "own" }, "queue": "q", "after": [alien] });
    assert_eq!(some.post("/v1/tasks", child.to_string()).await.code(), "unknown_parent");
    let batch = json!({ "tasks": [
        { "payload": { "job": "own" }, "queue": "q" },
        { "payload": { "job": "own" }, "queue": "q", "after": ["#0"] },
    ] });
    assert_eq!(some.post("/v1/tasks/batch", batch.to_string()).await.status, StatusCode::CREATED);
    for (filter, code) in [
        (json!({}), "forbidden"),
        (json!({ "job": "own" }), "forbidden"),
        (json!({ "queue": "q" }), "forbidden"),
        (json!({ "job": "alien", "queue": "q" }), "forbidden"),
    ] {
        let body = json!({ "kind": "cancel", "filter": filter }).to_string();
        assert_eq!(some.post("/v1/operations", body).await.code(), code, "{filter}");
    }
    let body = json!({ "kind": "cancel", "filter": { "job": "own", "queue": "q" }, "dry_run": true });
    assert_eq!(some.post("/v1/operations", body.to_string()).await.status, StatusCode::ACCEPTED);
    assert_eq!(some.post("/v1/queues/q/purge", "").await.code(), "forbidden");
    assert_eq!(some.get("/v1/queues/default").await.code(), "forbidden");
    let schedule = r#"{"cron":"@daily","task":{"payload":{"job":"alien"},"queue":"q"}}"#;
    assert_eq!(some.put("/v1/schedules/s", schedule).await.code(), "forbidden");
    assert_eq!(all.put("/v1/schedules/s", schedule).await.status, StatusCode::CREATED);
    assert_eq!(some.get("/v1/schedules/s").await.code(), "unknown_schedule");
    let own = r#"{"cron":"@daily","task":{"payload":{"job":"own"},"queue":"q"}}"#;
    assert_eq!(some.put("/v1/schedules/s", own).await.code(), "forbidden");
    assert_eq!(some.put("/v1/schedules/mine", own).await.status, StatusCode::CREATED);
    all.advertise(&["own", "alien"]).await;
    let jobs = some.get("/v1/jobs").await.json();
    let names: Vec<_> = jobs["jobs"].as_array().unwrap().iter().map(|job| &job["name"]).collect();
    assert_eq!(names, ["own"]);
    assert_eq!(some.get("/v1/jobs/alien").await.code(), "unknown_job_name");
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_when_to_come_back() {
    let client = Client::with_auth(Auth::Keys);
    let rate = RequestRate { requests: 4, per: Duration::from_hours(1) };
    let grant = Grant { scopes: [Scope::Read].into(), rate: Some(rate), ..Grant::default() };
    let slow = client.as_key(&client.key_with(grant).await);
    let field = |answer: &Answer, name: &str| answer.headers[name].to_str().unwrap().to_owned();
    // One was made to see that the key is known.
    for left in [2, 1, 0] {
        let answer = slow.get("/stats").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(field(&answer, "ratelimit-policy"), "\"key\";q=4;w=3600");
        assert!(field(&answer, "ratelimit").starts_with(&format!("\"key\";r={left};t=")), "{left}");
    }
    let refused = slow.get("/stats").await;
    assert_eq!((refused.status, refused.code()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited".into()));
    let after: u64 = field(&refused, "retry-after").parse().unwrap();
    assert!((890..=900).contains(&after), "{after}");
    assert!(field(&refused, "ratelimit").starts_with("\"key\";r=0;t="));
    // Others are not held up.
    let free = client.as_key(&client.key(&[Scope::Read]).await);
    let answer = free.get("/stats").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!answer.headers.contains_key("ratelimit"));
}

#[tokio::test]
async fn what_operators_do_is_written_down() {
    let client = Client::with_auth(Auth::Keys);
    let admin = client.as_key(&client.key(&[Scope::Admin]).await);
    let operator = client.key_with(Grant {
        scopes: [Scope::Operate].into(),
        namespace: Some("one".parse().unwrap()),
        ..Grant::default()
    });
    let operator = client.as_key(&operator.await);
    assert_eq!(operator.post("/v1/queues/q/pause", "").await.status, StatusCode::OK);
    let unknown = "/v1/tasks/019a0000-0000-7000-8000-000000000000/cancel";
    assert_eq!(operator.post(unknown, "").await.code(), "unknown_task");
    admin.post("/v1/queues/q/pause", "").await;
    admin.submit(r#"{"payload":{"job":"j"}}"#).await;
    let actions = admin.get("/v1/actions").await.json();
    let told: Vec<_> = actions["actions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|action| (action["what"].as_str().unwrap(), action["status"].as_u64().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("POST /v1/queues/{queue}/pause", 200),
            ("POST /v1/tasks/{id}/cancel", 404),
            ("POST /v1/queues/{queue}/pause", 200),
        ]
    );
    assert_eq!(actions["actions"][1]["target"], unknown);
    assert_eq!(actions["actions"][1]["namespace"], "one");
    let page = admin.get("/v1/actions?limit=2").await.json();
    let rest =
        admin.get(&format!("/v1/actions?cursor={}", page["next_cursor"].as_str().unwrap())).await.json();
    assert_eq!(rest["actions"].as_array().unwrap().len(), 1);
    assert_eq!(admin.get("/v1/actions?cursor=x").await.code(), "invalid_field");
    let of_one =
        Grant { scopes: [Scope::Admin].into(), namespace: Some("one".parse().unwrap()), ..Grant::default() };
    let of_one = client.as_key(&client.key_with(of_one).await);
    assert_eq!(of_one.get("/v1/actions").await.json()["actions"].as_array().unwrap().len(), 2);
}

/// A browser that has logged in.
async fn session(client: &Client, key: &str) -> String {
    let answer = log_in(client, key, Some("http://localhost:8000")).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.headers[header::LOCATION], "/docs");
    let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap().to_owned();
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    cookie.split(';').next().unwrap().to_owned()
}

async fn log_in(client: &Client, key: &str, origin: Option<&str>) -> Answer {
    let mut sent =
        request(Method::POST, "/login").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some(origin) = origin {
        sent = sent.header(header::ORIGIN, origin);
    }
    client.send(sent.body(format!("key={key}&next=%2Fdocs").into()).unwrap()).await
}

#[tokio::test]
async fn a_browser_trades_a_key_for_a_session() {
    let client = Client::with_auth(Auth::Keys);
    let key = client.key(&[Scope::Operate, Scope::Read]).await;
    let cookie = session(&client, &key).await;
    let with = |method: Method, path: &str, headers: &[(&'static str, &'static str)]| {
        let mut sent = request(method, path).header(header::COOKIE, format!("a=b; {cookie}"));
        for (name, value) in headers {
            sent = sent.header(*name, *value);
        }
        client.send(sent.body(Body::empty()).unwrap())
    };
    let own = ("origin", "http://localhost:8000");
    assert_eq!(with(Method::GET, "/stats", &[]).await.status, StatusCode::OK);
    assert_eq!(
        with(Method::GET, "/stats", &[("sec-fetch-site", "same-origin")]).await.status,
        StatusCode::OK
    );
    assert_eq!(with(Method::GET, "/stats", &[("sec-fetch-site", "cross-site")]).await.code(), "cross_origin");
    let pause = "/v1/queues/q/pause";
    assert_eq!(with(Method::POST, pause, &[own]).await.status, StatusCode::OK);
    assert_eq!(with(Method::POST, pause, &[]).await.code(), "cross_origin");
    assert_eq!(with(Method::POST, pause, &[("origin", "http://evil.example")]).await.code(), "cross_origin");
    assert_eq!(with(Method::POST, pause, &[("origin", "null")]).await.code(), "cross_origin");
    assert_eq!(
        with(Method::POST, pause, &[own, ("sec-fetch-site", "cross-site")]).await.code(),
        "cross_origin"
    );
    assert_eq!(with(Method::POST, "/v1/tasks", &[own]).await.code(), "forbidden");
    // It ends when it is closed, and when its key is revoked.
    assert_eq!(with(Method::POST, "/logout", &[]).await.code(), "cross_origin");
    let ended = with(Method::POST, "/logout", &[own]).await;
    assert_eq!(ended.status, StatusCode::SEE_OTHER);
    assert!(ended.headers[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(with(Method::GET, "/stats", &[]).await.code(), "unauthenticated");
    let cookie = session(&client, &key).await;
    let id = key["sentinel_".len()..][..12].parse().unwrap();
    client.queue.revoke_key(&id).await.unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(1);
    loop {
        let sent = request(Method::GET, "/stats").header(header::COOKIE, &cookie);
        if client.send(sent.body(Body::empty()).unwrap()).await.status == StatusCode::UNAUTHORIZED {
            break;
        }
        assert!(std::time::Instant::now() < until, "a session outlives its key");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn nobody_logs_in_from_elsewhere_or_without_a_key() {
    let client = Client::with_auth(Auth::Keys);
    let key = client.key(&[Scope::Read]).await;
    assert_eq!(log_in(&client, &key, None).await.code(), "cross_origin");
    assert_eq!(log_in(&client, &key, Some("http://evil.example")).await.code(), "cross_origin");
    for wrong in ["x", "", "sentinel_000000000000_0"] {
        let answer = log_in(&client, wrong, Some("http://localhost:8000")).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(!answer.headers.contains_key(header::SET_COOKIE));
        assert!(String::from_utf8_lossy(&answer.body).contains("no valid key"));
    }
    // Where TLS ends, here or before, the cookie goes by TLS alone.
    let sent = request(Method::POST, "/login")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ORIGIN, "https://localhost:8000");
    let answer = client.send(sent.body(format!("key={key}").into()).unwrap()).await;
    let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("__Host-sentinel_session=") && cookie.ends_with("; Secure"), "{cookie}");
    assert_eq!(answer.headers[header::LOCATION], "/");
}

#[tokio::test]
async fn a_person_is_shown_where_to_log_in() {
    let client = Client::with_auth(Auth::Keys);
    let sent = request(Method::GET, "/docs?x=%22%3E%3Cscript%3E").header(header::ACCEPT, "text/html,*/*");
    let answer = client.send(sent.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let html = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(
        html.contains("action=\"/login\"") && html.contains("value=\"/docs?x=%22%3E%3Cscript%3E\""),
        "{html}"
    );
    assert!(answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("default-src 'none'"));
}
