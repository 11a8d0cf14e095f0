//! Streams of server-sent events, followed across cuts.

use std::{
    io::{self, BufRead, BufReader, Read},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Error, Result};

use super::client::{ApiError, Client};

/// The pause before a stream that broke is opened again.
const PAUSE: Duration = Duration::from_millis(500);

/// A server that is away for longer does not come back.
const PATIENCE: Duration = Duration::from_secs(120);

/// An event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Its place in the stream, if it has one.
    pub(super) id: Option<String>,
    /// What it is called.
    pub(super) name: String,
    /// What it says; empty if it only names a place.
    pub(super) data: String,
}

/// What is heard of a stream.
pub(super) enum Heard<'a> {
    /// An event; after a cut, it may have been heard before.
    Event(&'a Event),
    /// The server is away; it is asked again. Said once each time.
    Away(&'a Error),
}

/// Follows a stream until `hear` says that it has heard enough (`false`), or the server refuses it or
/// is away for two minutes.
pub(super) fn follow(
    client: &Client,
    path: &str,
    mut last: Option<String>,
    mut hear: impl FnMut(Heard<'_>) -> Result<bool>,
) -> Result<()> {
    let mut ever = false;
    let mut away: Option<Instant> = None;
    loop {
        match client.stream(path, last.as_deref()) {
            Ok(body) => {
                (ever, away) = (true, None);
                // A stream that breaks is opened again, whatever broke it.
                for event in Events::of(body.into_reader()).map_while(Result::ok) {
                    last = event.id.clone().or(last);
                    if !event.data.is_empty() && !hear(Heard::Event(&event))? {
                        return Ok(());
                    }
                }
            }
            Err(error) => {
                let may_pass = error.downcast_ref().is_none_or(ApiError::may_pass);
                if !ever || !may_pass || away.is_some_and(|since| since.elapsed() > PATIENCE) {
                    return Err(error);
                }
                if away.is_none() {
                    away = Some(Instant::now());
                    hear(Heard::Away(&error))?;
                }
            }
        }
        thread::sleep(PAUSE);
    }
}

/// The events of one stream, as the standard has them, as far as Sentinel sends them.
struct Events<R> {
    lines: BufReader<R>,
}

impl<R: Read> Events<R> {
    fn of(stream: R) -> Self {
        Self { lines: BufReader::new(stream) }
    }

    /// The next event; none at the end, where half an event is no event.
    fn next(&mut self) -> io::Result<Option<Event>> {
        let mut event = Event::default();
        let mut line = String::new();
        loop {
            line.clear();
            if self.lines.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let text = line.trim_end_matches(['\n', '\r']);
            if text.is_empty() {
                if event == Event::default() {
                    continue;
                }
                return Ok(Some(event));
            }
            let (field, value) = text.split_once(':').unwrap_or((text, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => event.id = Some(value.to_owned()),
                "event" => value.clone_into(&mut event.name),
                "data" => {
                    if !event.data.is_empty() {
                        event.data.push('\n');
                    }
                    event.data.push_str(value);
                }
                // A comment: the server is alive.
                _ => {}
            }
        }
    }
}

impl<R: Read> Iterator for Events<R> {
    type Item = io::Result<Event>;

    fn next(&mut self) -> Option<io::Result<Event>> {
        Events::next(self).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_read_event_by_event_and_half_an_event_is_none() {
        let stream = "id: 1\n\n: alive\n\nevent: a\ndata: {}\nid:2\n\r\ndata:1\ndata: 2\n\nevent: half\n";
        let events: Vec<_> = Events::of(stream.as_bytes()).map(Result::unwrap).collect();
        let event = |id: Option<&str>, name: &str, data: &str| Event {
            id: id.map(Into::into),
            name: name.into(),
            data: data.into(),
        };
        assert_eq!(events, [event(Some("1"), "", ""), event(Some("2"), "a", "{}"), event(None, "", "1\n2")]);
    }
}
