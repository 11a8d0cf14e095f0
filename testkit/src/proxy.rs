//! A TCP proxy in front of a server on this machine, with which a test cuts, holds up or mutilates
//! what passes.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// After a doomed request its connection is held this long at least, and until the server has said
/// nothing for as long: it has answered before it is closed.
const QUIET: Duration = Duration::from_millis(150);

/// A proxy on a free port, gone when dropped.
///
/// What it does can be changed at any time and holds for open connections as for new ones.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    target: u16,
    rules: Mutex<Rules>,
    changed: Condvar,
}

#[derive(Default)]
struct Rules {
    /// Nothing passes, in neither direction.
    blackhole: bool,
    doom: Option<Doom>,
    /// Requests that hold these bytes are not delivered.
    hold: Option<Vec<u8>>,
    /// How many were not.
    held: usize,
    /// How many requests were delivered whose replies were dropped.
    dropped: usize,
    /// How many connections were accepted.
    accepted: usize,
    open: Vec<TcpStream>,
    closed: bool,
}

/// Requests whose replies are dropped.
struct Doom {
    /// Only requests that hold these bytes.
    holding: Vec<u8>,
    left: usize,
}

/// Since when the replies of a connection are dropped.
type Doomed = Mutex<Option<Instant>>;

impl Proxy {
    /// In front of `127.0.0.1:target`; everything passes.
    ///
    /// # Panics
    ///
    /// If no port is free.
    pub fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound port").port();
        let shared = Arc::new(Shared { target, rules: Mutex::default(), changed: Condvar::new() });
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { port, shared }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes all connections. New ones are accepted.
    pub fn cut(&self) {
        for stream in self.shared.rules().open.drain(..) {
            close(&stream);
        }
    }

    /// Holds up everything in both directions and closes nothing, as a route that leads nowhere.
    /// What was held up passes when the route is back, late: TCP sends again what was not
    /// acknowledged.
    pub fn blackhole(&self) {
        self.shared.rules().blackhole = true;
    }

    /// Everything passes again.
    pub fn pass(&self) {
        let mut rules = self.shared.rules();
        rules.blackhole = false;
        rules.doom = None;
        rules.hold = None;
        self.shared.changed.notify_all();
    }

    /// Delivers the next requests that hold these bytes (any request, if there are none), drops
    /// what the server says to them and then closes their connections.
    pub fn drop_replies(&self, holding: &[u8], requests: usize) {
        self.shared.rules().doom = Some(Doom { holding: holding.to_vec(), left: requests });
    }

    /// Delivers no request that holds these bytes, nor what follows it on its connection, and
    /// closes nothing.
    pub fn hold_requests(&self, holding: &[u8]) {
        self.shared.rules().hold = Some(holding.to_vec());
    }

    /// How many requests were not delivered.
    pub fn held(&self) -> usize {
        self.shared.rules().held
    }

    /// How many requests were delivered whose replies were dropped.
    pub fn dropped(&self) -> usize {
        self.shared.rules().dropped
    }

    /// How many connections were accepted.
    pub fn accepted(&self) -> usize {
        self.shared.rules().accepted
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.rules().closed = true;
        self.pass();
        self.cut();
        // Wakes whoever accepts; if that fails there is nobody left to wake.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while nothing passes.
    fn passing(&self) -> MutexGuard<'_, Rules> {
        let waiting = self.changed.wait_while(self.rules(), |rules| rules.blackhole);
        waiting.unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming().flatten() {
        let mut rules = shared.rules();
        if rules.closed {
            return;
        }
        rules.accepted += 1;
        drop(rules);
        let shared = Arc::clone(shared);
        thread::spawn(move || serve(&client, &shared));
    }
}

/// One connection, until either side closes it.
fn serve(client: &TcpStream, shared: &Arc<Shared>) {
    drop(shared.passing());
    let Ok(server) = TcpStream::connect(("127.0.0.1", shared.target)) else { return close(client) };
    let both = [client, &server].map(|stream| (stream.set_nodelay(true), stream.try_clone()));
    for (_, clone) in both {
        let Ok(clone) = clone else { return };
        shared.rules().open.push(clone);
    }
    let doomed = Mutex::new(None);
    thread::scope(|scope| {
        scope.spawn(|| requests(client, &server, shared, &doomed));
        replies(&server, client, shared, &doomed);
    });
}

/// Carries what the client says.
fn requests(mut client: &TcpStream, mut server: &TcpStream, shared: &Shared, doomed: &Doomed) {
    let mut bytes = vec![0; 64 * 1024];
    // The end of what was said before: the bytes that are looked for may be in two parts.
    let mut seen = Vec::new();
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        seen.extend_from_slice(&bytes[..count]);
        let mut rules = shared.passing();
        let mut keep = 0;
        if let Some(holding) = &rules.hold {
            keep = holding.len() - 1;
            if seen.windows(holding.len()).any(|window| window == holding) {
                rules.held += 1;
                return;
            }
        }
        if let Some(doom) = rules.doom.as_mut().filter(|doom| doom.left > 0) {
            let holding = &doom.holding[..];
            if holding.is_empty() || seen.windows(holding.len()).any(|window| window == holding) {
                doom.left -= 1;
                rules.dropped += 1;
                // Before it is delivered: its reply must not be faster.
                *lock(doomed) = Some(Instant::now());
            } else {
                keep = keep.max(holding.len() - 1);
            }
        }
        drop(rules);
        seen.drain(..seen.len().saturating_sub(keep));
        if server.write_all(&bytes[..count]).is_err() {
            break;
        }
        if lock(doomed).is_some() {
            // Whoever carries the replies sees to the rest.
            return;
        }
    }
    drop(shared.passing());
    close(server);
    close(client);
}

/// Carries what the server says.
fn replies(mut server: &TcpStream, mut client: &TcpStream, shared: &Shared, doomed: &Doomed) {
    let mut bytes = vec![0; 64 * 1024];
    // Looks up now and then whether it may end.
    drop(server.set_read_timeout(Some(QUIET)));
    loop {
        match server.read(&mut bytes) {
            Ok(0) => break,
            Ok(_) if lock(doomed).is_some() => {}
            Ok(count) => {
                drop(shared.passing());
                if client.write_all(&bytes[..count]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if lock(doomed).is_some_and(|since| since.elapsed() >= QUIET) {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    close(client);
    close(server);
}

fn lock(doomed: &Doomed) -> MutexGuard<'_, Option<Instant>> {
    doomed.lock().unwrap_or_else(PoisonError::into_inner)
}

fn close(stream: &TcpStream) {
    // It may be closed already.
    drop(stream.shutdown(Shutdown::Both));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers each line with the same line; counts them.
    fn echo() -> (u16, Arc<Mutex<usize>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&heard);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                thread::spawn(move || {
                    let mut bytes = [0; 100];
                    while let Ok(count @ 1..) = stream.read(&mut bytes) {
                        *counter.lock().unwrap() += 1;
                        stream.write_all(&bytes[..count]).unwrap();
                    }
                });
            }
        });
        (port, heard)
    }

    fn ask(stream: &mut TcpStream, question: &[u8]) -> std::io::Result<Vec<u8>> {
        stream.write_all(question)?;
        let mut bytes = [0; 100];
        let count = stream.read(&mut bytes)?;
        Ok(bytes[..count].to_vec())
    }

    #[test]
    fn it_passes_cuts_holds_up_and_drops_replies() {
        let (target, heard) = echo();
        let proxy = Proxy::start(target);
        let connect = || TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        let mut stream = connect();
        assert_eq!(ask(&mut stream, b"one").unwrap(), b"one");

        proxy.cut();
        assert!(!ask(&mut stream, b"cut").is_ok_and(|answer| !answer.is_empty()));

        let mut stream = connect();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        proxy.blackhole();
        ask(&mut stream, b"held").unwrap_err();
        assert_eq!(*heard.lock().unwrap(), 1);
        proxy.pass();
        stream.set_read_timeout(None).unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"held");

        proxy.drop_replies(b"this", 1);
        assert_eq!(ask(&mut stream, b"other").unwrap(), b"other");
        assert_eq!(ask(&mut stream, b"all of this here").unwrap(), b"");
        assert_eq!((*heard.lock().unwrap(), proxy.dropped()), (4, 1));
        assert_eq!(ask(&mut connect(), b"this").unwrap(), b"this");
        assert_eq!(proxy.accepted(), 3);

        proxy.hold_requests(b"never");
        let mut stream = connect();
        assert_eq!(ask(&mut stream, b"ne").unwrap(), b"ne");
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        ask(&mut stream, b"ver").unwrap_err();
        assert_eq!((*heard.lock().unwrap(), proxy.held()), (6, 1));
    }
}
