//! The server on a real socket: what a router alone does not show.

use std::{sync::Arc, time::Duration};

use sentinel_api::{ApiConfig, router, serve};
use sentinel_queue::{Queue, store::embedded::Embedded};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

struct Server {
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
}

async fn server() -> Server {
    let queue = Queue::new(Arc::new(Embedded::in_memory()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let router = router(queue, ApiConfig::default());
    let served = tokio::spawn(serve(listener, router, async move { drop(stopped.await) }));
    Server { address, stop, served }
}

async fn exchange(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // A server that refuses in the middle of a body may reset the connection after its answer.
    drop(stream.read_to_string(&mut answer).await);
    answer
}

#[tokio::test]
async fn a_chunked_body_is_read_and_one_over_the_limit_is_413() {
    let server = server().await;
    let head = "POST /submit-task HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = r#"{"payload":{"job":"a"}}"#;
    let answer = exchange(&server, &format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len())).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let chunk = "x".repeat(64 * 1024);
    let chunks = format!("{:x}\r\n{chunk}\r\n", chunk.len()).repeat(20);
    let answer = exchange(&server, &format!("{head}{chunks}0\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let declared = "POST /submit-task HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                    Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n";
    assert!(exchange(&server, declared).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn two_requests_on_one_connection_are_both_answered() {
    let server = server().await;
    let answer = exchange(
        &server,
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n\
         GET /stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_answers_who_waits_and_ends() {
    let server = server().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let body = r#"{"payload":{"job":"a"}}"#;
    let submit = format!(
        "POST /submit-task HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(submit.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    let (_, id) = answer.split_once("\"task_id\":\"").expect("an id");
    let wait = format!("GET /v1/tasks/{}?wait=60s HTTP/1.1\r\nHost: localhost\r\n\r\n", &id[..36]);
    stream.write_all(wait.as_bytes()).await.unwrap();
    server.stop.send(()).unwrap();
    let mut rest = String::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_string(&mut rest)).await;
    read.expect("an answer well before the wait is over").unwrap();
    server.served.await.unwrap().unwrap();
}
