//! Requests, made with nothing between the job and the host.

use std::{collections::BTreeMap, mem};

use serde::Deserialize;
use serde_json::{Value, json};
use wasip2::{
    http::{
        outgoing_handler::{self, OutgoingRequest},
        types::{Fields, IncomingResponse, Method, OutgoingBody, Scheme},
    },
    io::streams::StreamError,
};

/// A request.
#[derive(Deserialize)]
pub(crate) struct Fetch {
    url: String,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// How many bytes to send.
    #[serde(default)]
    body: usize,
    /// Whether to go where a redirect points.
    #[serde(default)]
    follow: bool,
}

/// `{"status": …, "body": …}`, or `{"error": …}`.
pub(crate) fn fetch(mut request: Fetch) -> Value {
    loop {
        let answer = send(&request).unwrap_or_else(|error| json!({ "error": error }));
        match answer["location"].as_str().filter(|_| request.follow) {
            Some(location) => request.url = location.to_owned(),
            None => return answer,
        }
    }
}

fn send(request: &Fetch) -> Result<Value, String> {
    let (scheme, rest) = request.url.split_once("://").ok_or("no scheme")?;
    let split = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(split);

    let headers = Fields::new();
    for (name, value) in &request.headers {
        headers.append(name, value.as_bytes()).map_err(|error| format!("{name}: {error:?}"))?;
    }
    let outgoing = OutgoingRequest::new(headers);
    let method = match request.method.as_deref() {
        None | Some("GET") => Method::Get,
        Some("POST") => Method::Post,
        Some(other) => Method::Other(other.to_owned()),
    };
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    outgoing.set_method(&method).map_err(|()| "the method")?;
    outgoing.set_scheme(Some(&scheme)).map_err(|()| "the scheme")?;
    outgoing.set_authority(Some(authority)).map_err(|()| "the authority")?;
    outgoing.set_path_with_query(Some(path)).map_err(|()| "the path")?;
    let body = outgoing.body().map_err(|()| "the body")?;
    let pending = outgoing_handler::handle(outgoing, None).map_err(|error| format!("{error:?}"))?;
    write(&body, request.body);
    drop(OutgoingBody::finish(body, None));
    pending.subscribe().block();
    let response = pending.get().ok_or("it is not ready")?.map_err(|()| "it was taken")?;
    read(&response.map_err(|error| format!("{error:?}"))?)
}

/// Sends requests and reads no response, until one is refused: how many were taken, and the error.
pub(crate) fn hold(url: &str) -> Value {
    let Some((authority, path)) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')) else {
        return "no such URL".into();
    };
    let mut held = Vec::new();
    loop {
        let request = OutgoingRequest::new(Fields::new());
        let path = format!("/{path}");
        let said = request
            .set_scheme(Some(&Scheme::Http))
            .and_then(|()| request.set_authority(Some(authority)))
            .and_then(|()| request.set_path_with_query(Some(&path)));
        let Ok(pending) = said.and_then(|()| outgoing_handler::handle(request, None).map_err(drop)) else {
            return "no such request".into();
        };
        pending.subscribe().block();
        match pending.get() {
            Some(Ok(Ok(response))) => held.push(response),
            other => return json!({ "held": held.len(), "error": format!("{other:?}") }),
        }
    }
}

/// Makes so many sets of headers, of one with so many bytes each, and keeps them; returns how many.
pub(crate) fn keep_headers(sets: usize, bytes: usize) -> usize {
    let value = vec![b'x'; bytes];
    let make = |_: &usize| {
        let fields = Fields::new();
        let is_taken = fields.append("x-large", &value).is_ok();
        mem::forget(fields);
        is_taken
    };
    (0..sets).take_while(make).count()
}

/// Writes as much as the host takes: what went wrong is told with the response.
fn write(body: &OutgoingBody, bytes: usize) {
    let Ok(stream) = body.write() else { return };
    let mut left = bytes;
    while left > 0 {
        let part = left.min(4096);
        if stream.blocking_write_and_flush(&vec![b'x'; part]).is_err() {
            return;
        }
        left -= part;
    }
}

fn read(response: &IncomingResponse) -> Result<Value, String> {
    let header = |name: &str| {
        let value = response.headers().get(name).into_iter().next();
        value.map(|value| String::from_utf8_lossy(&value).into_owned())
    };
    let mut answer = json!({ "status": response.status() });
    if let Some(location) = header("location") {
        answer["location"] = location.into();
    }
    let body = response.consume().map_err(|()| "the body was taken")?;
    let stream = body.stream().map_err(|()| "the stream was taken")?;
    let mut bytes = 0;
    let mut text = Vec::new();
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(part) => {
                bytes += part.len();
                // What is long is only counted.
                text.extend(part.into_iter().take(4096_usize.saturating_sub(text.len())));
            }
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                answer["broken"] = error.to_debug_string().into();
                break;
            }
        }
    }
    answer["bytes"] = bytes.into();
    answer["body"] = String::from_utf8_lossy(&text).into();
    Ok(answer)
}
