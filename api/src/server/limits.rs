//! What a client may leave undone, and for how long; how much of the server it may have.

use std::time::Duration;

/// What holds for connections. The default is what production has.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How many connections are held at once; more wait to be accepted.
    pub connections: usize,
    /// How many of them one peer may have.
    pub per_peer: usize,
    /// Whether a peer on this machine may have all: it is a proxy in front of many, or somebody who
    /// could do worse here anyway.
    pub exempts_this_machine: bool,
    /// How long TLS may take to be agreed on, and then the first request to arrive.
    pub first_request: Duration,
    /// How long the headers of a later request may take, from their first byte on.
    pub headers: Duration,
    /// How long a connection may be open on which nothing is asked.
    pub idle: Duration,
    /// How long a client may take nothing of what is sent to it, or less than
    /// [`Limits::least_rate`].
    pub stalled: Duration,
    /// In bytes a second: an answer that waits for its client is taken this fast at least.
    pub least_rate: u64,
    /// How long a connection on which nothing is asked any more may take to end.
    pub leave: Duration,
    /// How long requests may go on after the server was told to stop.
    pub last_answers: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            per_peer: 512,
            exempts_this_machine: true,
            first_request: Duration::from_secs(10),
            headers: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            // Longer than an event stream is silent, so that each has something to send meanwhile.
            stalled: Duration::from_secs(30),
            least_rate: 1024,
            leave: Duration::from_secs(10),
            last_answers: Duration::from_secs(10),
        }
    }
}
