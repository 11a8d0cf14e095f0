//! The server on real sockets: what a client may leave undone, and what it may have.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::ConnectInfo, response::sse::Event, routing::get};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sentinel_api::{ApiConfig, Limits, Metrics, Server, Tls, router};
use sentinel_queue::{Queue, store::embedded::Embedded};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, oneshot},
    task::JoinHandle,
    time::timeout,
};

/// How long a thing that is waited for may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Such as a test can wait for.
pub(crate) fn short() -> Limits {
    Limits {
        first_request: Duration::from_millis(400),
        headers: Duration::from_millis(400),
        idle: Duration::from_millis(1200),
        stalled: Duration::from_millis(600),
        leave: Duration::from_millis(300),
        ..Limits::default()
    }
}

/// A server that runs.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Metrics,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Running {
    /// The whole API over a store in memory.
    pub(crate) async fn api(limits: Limits, tls: Option<Tls>) -> Self {
        let queue = Queue::new(Arc::new(Embedded::in_memory()));
        let metrics = Metrics::default();
        let config = ApiConfig { has_tls: tls.is_some(), metrics: metrics.clone(), ..ApiConfig::default() };
        Self::of(router(queue, config), metrics, limits, tls).await
    }

    pub(crate) async fn of(router: Router, metrics: Metrics, limits: Limits, tls: Option<Tls>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = Server::new(router).metrics(metrics.clone()).limits(limits).tls(tls);
        let serving = tokio::spawn(server.serve(listener, async move { drop(stopped.await) }));
        Self { address, metrics, stop, serving }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// One request on a connection of its own: the whole answer.
    pub(crate) async fn ask(&self, head: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        text(&mut stream).await
    }

    pub(crate) async fn alive(&self) {
        let answer = self.ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// Tells it to stop; waits until it has.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.serving).await.expect("it stops").unwrap().unwrap();
    }

    /// Waits until a number is there.
    async fn counts(&self, line: &str) {
        let since = Instant::now();
        while !self.metrics.text().lines().any(|there| there == line) {
            assert!(since.elapsed() < PATIENCE, "{line} in\n{}", self.metrics.text());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// All that comes until the server ends the connection. One that is reset has ended, too.
async fn text(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    drop(timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("the server ends it"));
    String::from_utf8_lossy(&all).into_owned()
}

/// Reads one answer that has a length.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    loop {
        let read = stream.read_u8().await.expect("an answer");
        all.push(read);
        if all.ends_with(b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&all).to_ascii_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            let mut body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut body).await.unwrap();
            return String::from_utf8_lossy(&all).into_owned() + &String::from_utf8_lossy(&body);
        }
    }
}

/// A client of HTTP/2 and its connection.
pub(crate) async fn h2<I>(
    stream: I,
    window: u32,
) -> (http2::SendRequest<Empty<Bytes>>, JoinHandle<hyper::Result<()>>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    (sender, tokio::spawn(connection))
}

pub(crate) fn asked(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://localhost{path}")).body(Empty::new()).unwrap()
}

const KEPT: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn both_versions_are_spoken_on_one_port() {
    let server = Running::api(Limits::default(), None).await;
    server.alive().await;
    let (mut sender, connection) = h2(server.connect().await, 65_535).await;
    let answer = sender.send_request(asked("/healthz")).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, hyper::Version::HTTP_2));
    drop((sender, answer));
    connection.await.unwrap().unwrap();
    server.stop().await;
}

#[tokio::test]
async fn whoever_says_nothing_or_no_request_is_let_go_of() {
    let server = Running::api(short(), None).await;
    // Nothing; a beginning of HTTP/2; all of it, and no request; headers that do not end.
    let beginnings = [
        &b""[..],
        b"PRI * HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n",
    ];
    for beginning in beginnings {
        let since = Instant::now();
        let mut stream = server.connect().await;
        stream.write_all(beginning).await.unwrap();
        text(&mut stream).await;
        let took = since.elapsed();
        assert!(took >= short().first_request, "{beginning:?}: {took:?}");
    }
    server.counts("sentinel_http_connections_ended_total{reason=\"silent\"} 4").await;
    server.counts("sentinel_http_connections 0").await;
}

#[tokio::test]
async fn garbage_is_answered_and_ended_at_once() {
    let server = Running::api(Limits::default(), None).await;
    for garbage in
        ["\u{16}\u{3}\u{1}garbage\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nnonsense!!", "\0\0\0\0\0\0\0\0\r\n\r\n"]
    {
        let answer = server.ask(garbage).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    let mut preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    preface.extend([0xff; 1000]);
    let mut stream = server.connect().await;
    stream.write_all(&preface).await.unwrap();
    text(&mut stream).await;
    server.counts("sentinel_http_connections 0").await;
}

#[tokio::test]
async fn headers_that_come_byte_by_byte_have_one_deadline() {
    let server = Running::api(short(), None).await;
    for is_first in [true, false] {
        let mut stream = server.connect().await;
        if !is_first {
            stream.write_all(KEPT.as_bytes()).await.unwrap();
            answer(&mut stream).await;
        }
        let since = Instant::now();
        let (mut reads, mut writes) = stream.into_split();
        let drips = tokio::spawn(async move {
            for byte in KEPT[..KEPT.len() - 2].bytes().cycle() {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if writes.write_all(&[byte]).await.is_err() {
                    return;
                }
            }
        });
        assert!(!text(&mut reads).await.contains(" 200 "));
        assert!(since.elapsed() >= short().headers, "{:?}", since.elapsed());
        drips.abort();
    }
    server.counts("sentinel_http_connections_ended_total{reason=\"slow_headers\"} 1").await;
}

#[tokio::test]
async fn a_kept_connection_may_be_idle_for_a_while() {
    let server = Running::api(short(), None).await;
    let mut stream = server.connect().await;
    for _ in 0..2 {
        stream.write_all(KEPT.as_bytes()).await.unwrap();
        answer(&mut stream).await;
        // Longer than headers may take.
        tokio::time::sleep(short().headers + Duration::from_millis(200)).await;
    }
    stream.write_all(KEPT.as_bytes()).await.unwrap();
    answer(&mut stream).await;
    let since = Instant::now();
    assert_eq!(text(&mut stream).await, "");
    assert!(
        since.elapsed() >= short().idle.saturating_sub(Duration::from_millis(50)),
        "{:?}",
        since.elapsed()
    );
    server.counts("sentinel_http_connections_ended_total{reason=\"idle\"} 1").await;
}

#[tokio::test]
async fn an_h2_connection_that_asks_nothing_is_idle_and_one_that_waits_is_not() {
    let wait = short().idle * 2;
    let slow = Router::new().route("/slow", get(move || async move { tokio::time::sleep(wait).await }));
    let server = Running::of(slow, Metrics::default(), short(), None).await;
    let (mut sender, connection) = h2(server.connect().await, 65_535).await;
    let since = Instant::now();
    let answer = sender.send_request(asked("/slow")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(since.elapsed() >= wait);
    drop(answer);
    let since = Instant::now();
    // Without an error: it is told that it should go.
    timeout(PATIENCE, connection).await.expect("an end").unwrap().unwrap();
    assert!(
        since.elapsed() >= short().idle.saturating_sub(Duration::from_millis(50)),
        "{:?}",
        since.elapsed()
    );
    server.counts("sentinel_http_connections_ended_total{reason=\"idle\"} 1").await;
}

/// Answers that are larger than all buffers on the way: `/big` at once, `/many` in pieces, `/drops` as
/// events, one each fifth of a second.
fn large() -> Router {
    let pieces = || stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 16 * 1024])));
    let events = || {
        stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            Some((Ok::<_, std::io::Error>(Event::default().data("x")), ()))
        })
    };
    Router::new()
        .route("/big", get(|| async { vec![b'x'; 64 << 20] }))
        .route("/many", get(move || async move { Body::from_stream(pieces().take(4096)) }))
        .route("/drops", get(move || async move { axum::response::Sse::new(events()) }))
        .route("/peer", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }))
}

#[tokio::test]
async fn a_client_that_does_not_read_is_ended() {
    let server = Running::of(large(), Metrics::default(), short(), None).await;
    for path in ["/big", "/many"] {
        let mut stream = server.connect().await;
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        server.counts("sentinel_http_connections 1").await;
        server.counts("sentinel_http_connections 0").await;
        assert!(text(&mut stream).await.len() < 64 << 20);
    }
    server.counts("sentinel_http_connections_ended_total{reason=\"stalled\"} 2").await;
}

#[tokio::test]
async fn an_h2_client_that_gives_no_room_for_its_answer_is_ended() {
    let server = Running::of(large(), Metrics::default(), short(), None).await;
    for path in ["/big", "/many"] {
        // The client answers pings and reads the socket; only its window stays shut.
        let (mut sender, connection) = h2(server.connect().await, 100).await;
        let answer = sender.send_request(asked(path)).await.unwrap();
        let ended = timeout(PATIENCE, connection).await.expect("an end").unwrap();
        drop((answer, sender, ended));
    }
    server.counts("sentinel_http_connections 0").await;
}

#[tokio::test]
async fn a_client_that_reads_slowly_and_one_that_listens_are_served() {
    let server = Running::of(large(), Metrics::default(), short(), None).await;
    let long = short().stalled * 4;
    let mut slow = server.connect().await;
    slow.write_all(b"GET /many HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut listens = server.connect().await;
    listens.write_all(b"GET /drops HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let (mut sender, _connection) = h2(server.connect().await, 65_535).await;
    let mut drops = sender.send_request(asked("/drops")).await.unwrap().into_body();
    let since = Instant::now();
    let mut piece = vec![0; 256 * 1024];
    while since.elapsed() < long {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_ne!(slow.read(&mut piece).await.unwrap(), 0);
        assert_ne!(listens.read(&mut piece).await.unwrap(), 0);
        drops.frame().await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn more_connections_than_are_held_wait_for_a_place() {
    let limits = Limits { connections: 3, ..Limits::default() };
    let server = Running::api(limits, None).await;
    let held = [server.connect().await, server.connect().await, server.connect().await];
    server.counts("sentinel_http_connections 3").await;
    let mut waits = server.connect().await;
    let close = KEPT.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    waits.write_all(close.as_bytes()).await.unwrap();
    let nothing = timeout(Duration::from_millis(200), waits.read_u8()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    drop(held);
    assert!(text(&mut waits).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_peer_that_has_its_share_is_refused_at_once() {
    let limits = Limits { per_peer: 2, exempts_this_machine: false, ..Limits::default() };
    let server = Running::api(limits, None).await;
    let held = [server.connect().await, server.connect().await];
    server.counts("sentinel_http_connections 2").await;
    assert_eq!(text(&mut server.connect().await).await, "");
    server.counts("sentinel_http_connections_refused_total{reason=\"peer_share\"} 1").await;
    drop(held);
    server.counts("sentinel_http_connections 0").await;
    server.alive().await;
}

#[tokio::test]
async fn handlers_know_the_peer() {
    let server = Running::of(large(), Metrics::default(), Limits::default(), None).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /peer HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let told = answer(&mut stream).await;
    assert!(told.ends_with(&stream.local_addr().unwrap().to_string()), "{told}");
}

#[tokio::test]
async fn too_many_and_too_large_headers_are_refused() {
    let server = Running::api(Limits::default(), None).await;
    let head = |headers: usize, bytes: usize| {
        let more: String =
            (0..headers).flat_map(|n| [format!("x-{n}: "), "x".repeat(bytes), "\r\n".to_owned()]).collect();
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n")
    };
    assert!(server.ask(&head(98, 10)).await.starts_with("HTTP/1.1 200"));
    assert!(server.ask(&head(99, 10)).await.starts_with("HTTP/1.1 431"));
    assert!(server.ask(&head(90, 1000)).await.starts_with("HTTP/1.1 431"));
    let (mut sender, _connection) = h2(server.connect().await, 65_535).await;
    let large = Request::get("http://localhost/healthz").header("x", "x".repeat(20 * 1024));
    let refused = sender.send_request(large.body(Empty::new()).unwrap()).await;
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status() == 431));
    server.alive().await;
}

#[tokio::test]
async fn an_h2_client_has_so_many_requests_in_flight_and_not_more() {
    let held = Arc::new(Semaphore::new(0));
    let router = Router::new().route(
        "/hold",
        get({
            let held = Arc::clone(&held);
            move || async move {
                held.add_permits(1);
                std::future::pending::<()>().await;
            }
        }),
    );
    let server = Running::of(router, Metrics::default(), Limits::default(), None).await;
    let (sender, _connection) = h2(server.connect().await, 65_535).await;
    let ask = |_| {
        let mut sender = sender.clone();
        tokio::spawn(async move { sender.send_request(asked("/hold")).await.map(drop) })
    };
    let asks: Vec<_> = (0..150).map(ask).collect();
    held.acquire_many(100).await.unwrap().forget();
    // The client is told how many it may have, and keeps the others.
    let more = timeout(Duration::from_millis(300), held.acquire()).await;
    assert!(more.is_err(), "there are more");
    asks.iter().for_each(JoinHandle::abort);
}

/// Many clients at the door that say nothing hold up nobody, and are let go of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_silent_connections_hold_up_nobody() {
    const SILENT: usize = 2000;
    raise_descriptors(SILENT * 2 + 500);
    let limits = Limits { first_request: Duration::from_secs(3), ..Limits::default() };
    let server = Running::api(limits, None).await;
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(server.connect().await);
    }
    let mut times = Vec::new();
    for _ in 0..500 {
        let since = Instant::now();
        server.alive().await;
        times.push(since.elapsed());
    }
    times.sort_unstable();
    println!("beside {SILENT} silent connections: p50 {:?}, p99 {:?}", times[250], times[495]);
    for mut stream in silent {
        assert_eq!(text(&mut stream).await, "");
    }
    server.counts("sentinel_http_connections 0").await;
    server.alive().await;
}

fn raise_descriptors(wanted: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    assert!(limit.maximum.is_none_or(|most| most >= wanted as u64), "{wanted} descriptors: {limit:?}");
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// Clients that listen and do not read: more than there are places for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_17_thousands_of_listeners_are_capped_and_slow_ones_harm_nobody() {
    raise_descriptors(5000);
    let server = Running::api(Limits::default(), None).await;
    let listen = "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut streams = Vec::new();
    let (mut heard, mut refused) = (0, 0);
    for _ in 0..2000 {
        let mut stream = server.connect().await;
        stream.write_all(listen.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        match &status {
            b"HTTP/1.1 200" => heard += 1,
            b"HTTP/1.1 503" => refused += 1,
            other => panic!("{other:?}"),
        }
        streams.push(stream);
    }
    assert_eq!((heard, refused), (1024, 976));
    // One reads on; all others never do.
    let mut reads = streams.swap_remove(0);
    for _ in 0..50 {
        let body = r#"{"payload":{"job":"a"}}"#;
        let length = body.len();
        let answer = server
            .ask(&format!(
                "POST /submit-task HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            ))
            .await;
        let (_, id) = answer.split_once("\"task_id\":\"").expect("an id");
        let cancel = format!(
            "POST /v1/tasks/{}/cancel HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            &id[..36]
        );
        assert!(server.ask(&cancel).await.starts_with("HTTP/1.1 200"));
        let mut told = Vec::new();
        while !String::from_utf8_lossy(&told).contains(&id[..36]) {
            let mut piece = [0; 4096];
            let read = timeout(PATIENCE, reads.read(&mut piece)).await.expect("an event").unwrap();
            assert_ne!(read, 0);
            told.extend_from_slice(&piece[..read]);
        }
    }
    server.stop().await;
}
