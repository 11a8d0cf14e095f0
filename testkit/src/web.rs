//! A web server for jobs to talk to.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// A web server on this machine that remembers what it was asked; gone when dropped.
///
/// `/to/<url>` redirects there, `/bytes/<n>` has so many bytes, `/never` never answers, `/stuck`
/// stops in the middle; everything else is `hello`.
pub struct WebServer {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
    ended: Arc<AtomicBool>,
}

impl WebServer {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound port").port();
        let (seen, ended) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let (known, over) = (Arc::clone(&seen), Arc::clone(&ended));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Acquire) {
                    break;
                }
                let known = Arc::clone(&known);
                // Who asked may be gone before it is answered.
                thread::spawn(move || drop(answer(stream, &known)));
            }
        });
        Self { port, seen, ended }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL of this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The requests so far: each its first line and its headers, in small letters.
    pub fn seen(&self) -> Vec<String> {
        lock(&self.seen).clone()
    }

    /// The values of a header in the requests so far that had it.
    pub fn headers(&self, name: &str) -> Vec<String> {
        let value =
            |line: &str| line.split_once(": ").filter(|(key, _)| *key == name).map(|(_, v)| v.to_owned());
        self.seen().iter().flat_map(|head| head.lines().filter_map(value).collect::<Vec<_>>()).collect()
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // Wakes it, so that it sees; it may be gone.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn lock(seen: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(stream: TcpStream, seen: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap_or(0);
        }
        head += &line;
        head.push('\n');
    }
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    lock(seen).push(head.clone());
    if head.contains("transfer-encoding: chunked") {
        read_chunks(&mut reader)?;
    } else {
        io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
    }
    respond(stream, reader, &path)
}

fn read_chunks(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let mut size = String::new();
        if reader.read_line(&mut size)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
        // The line's end after each chunk, too.
        io::copy(&mut reader.take(size + 2), &mut io::sink())?;
        if size == 0 {
            return Ok(());
        }
    }
}

fn respond(mut stream: TcpStream, mut reader: impl Read, path: &str) -> io::Result<()> {
    if path == "/never" {
        // Until the other side has had enough.
        return io::copy(&mut reader, &mut io::sink()).map(drop);
    }
    if path == "/stuck" {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")?;
        return io::copy(&mut reader, &mut io::sink()).map(drop);
    }
    if let Some(place) = path.strip_prefix("/to/") {
        let head = format!("HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n");
        return stream.write_all(head.as_bytes());
    }
    let bytes = path.strip_prefix("/bytes/").and_then(|bytes| bytes.parse().ok());
    let body = bytes.map_or_else(|| b"hello".to_vec(), |bytes| vec![b'x'; bytes]);
    stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes())?;
    stream.write_all(&body)
}
