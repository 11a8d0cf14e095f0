//! A TCP relay between a worker and Redis, which can be told to misbehave.
//!
//! It knows nothing of what it carries.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Result;

/// How it treats what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Both ways are open.
    Open,
    /// Nothing passes; nothing is refused either.
    Silent,
    /// Requests are delivered, replies are thrown away.
    Deaf,
}

/// Looks this often whether its mode has changed.
const LOOK: Duration = Duration::from_millis(20);

/// A relay; ends when dropped.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
}

struct Shared {
    target: SocketAddr,
    mode: AtomicU8,
    ended: AtomicBool,
}

impl Shared {
    fn is(&self, mode: Mode) -> bool {
        self.mode.load(Ordering::Relaxed) == mode as u8
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

impl Proxy {
    /// Relays whatever connects to `listener`.
    pub(crate) fn start(listener: TcpListener, target: SocketAddr) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let mode = AtomicU8::new(Mode::Open as u8);
        let shared = Arc::new(Shared { target, mode, ended: AtomicBool::new(false) });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Ok(Self { shared })
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.shared.mode.store(mode as u8, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.has_ended() {
        match listener.accept() {
            Ok((client, _)) => {
                // Without its server the connection ends at once, as a refused one would.
                drop(relay(client, shared));
            }
            Err(_) => thread::sleep(LOOK),
        }
    }
}

/// Relays one connection, on two threads of its own.
fn relay(client: TcpStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    client.set_nonblocking(false)?;
    let server = TcpStream::connect_timeout(&shared.target, Duration::from_secs(1))?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK))?;
    }
    let (asker, answerer) = (client.try_clone()?, server.try_clone()?);
    let (there, back) = (Arc::clone(shared), Arc::clone(shared));
    thread::spawn(move || pump(asker, answerer, &there, Way::Requests));
    thread::spawn(move || pump(server, client, &back, Way::Replies));
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Requests,
    Replies,
}

/// Carries bytes one way until either side ends.
fn pump(mut from: TcpStream, mut to: TcpStream, shared: &Shared, way: Way) {
    let loses = || way == Way::Replies && shared.is(Mode::Deaf);
    let mut buffer = vec![0; 64 * 1024];
    // A stream that lacks something is of no use once its replies are heard again, and is ended.
    let mut lacks = false;
    while !shared.has_ended() && (loses() || !lacks) {
        if shared.is(Mode::Silent) {
            thread::sleep(LOOK);
            continue;
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) if loses() => lacks = true,
            Ok(_) if lacks => break,
            Ok(length) => {
                // What came just before the silence may pass.
                if to.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    // Either side may have gone before.
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// A server that answers what it is asked, and a proxy before it.
    fn echo() -> (Proxy, SocketAddr) {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = server.local_addr().unwrap();
        thread::spawn(move || {
            while let Ok((mut stream, _)) = server.accept() {
                thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (Proxy::start(listener, target).unwrap(), address)
    }

    fn ask(stream: &TcpStream, text: &str) -> std::io::Result<String> {
        (&mut &*stream).write_all(text.as_bytes())?;
        let mut answer = vec![0; text.len()];
        BufReader::new(stream).read_exact(&mut answer)?;
        Ok(String::from_utf8(answer).unwrap())
    }

    #[test]
    fn a_deaf_connection_ends_when_replies_are_heard_again_and_a_new_one_works() {
        let (proxy, address) = echo();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        assert_eq!(ask(&stream, "one").unwrap(), "one");
        proxy.set(Mode::Deaf);
        let error = ask(&stream, "two").unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        proxy.set(Mode::Open);
        stream.set_read_timeout(None).unwrap();
        assert!(ask(&stream, "three").is_err());
        assert_eq!(ask(&TcpStream::connect(address).unwrap(), "four").unwrap(), "four");
    }

    #[test]
    fn what_is_sent_into_silence_arrives_when_it_is_over() {
        let (proxy, address) = echo();
        let stream = TcpStream::connect(address).unwrap();
        assert_eq!(ask(&stream, "one").unwrap(), "one");
        proxy.set(Mode::Silent);
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        // What was read already may pass, and no more.
        drop(ask(&stream, "x"));
        let error = ask(&stream, "two").unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        proxy.set(Mode::Open);
        stream.set_read_timeout(None).unwrap();
        let mut rest = Vec::new();
        while !rest.ends_with(b"two") {
            let mut byte = [0];
            (&stream).read_exact(&mut byte).unwrap();
            rest.push(byte[0]);
        }
    }
}
