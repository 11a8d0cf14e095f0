//! The port of the API: free, or served by Sentinel already, or by somebody else.

use std::{io::ErrorKind, net::TcpListener};

use crate::{
    cli::{
        client::{self, Client},
        finding::Finding,
        out::on_one_line,
    },
    config::Config,
};

/// Who listens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listener {
    Nobody,
    Sentinel,
    /// Somebody else, or it cannot be known.
    Other,
}

pub(super) fn look(config: &Config) -> (Listener, Finding) {
    let listen = config.listen;
    match TcpListener::bind(listen) {
        Ok(_) => (Listener::Nobody, Finding::ok("port", format!("{listen} is free"))),
        Err(error) if error.kind() == ErrorKind::AddrInUse => taken(config),
        Err(error) => {
            let fix = "choose an address of this machine, and a port from 1024 on, with --listen";
            (Listener::Other, Finding::failed("port", format!("listen: {listen}: {error}"), fix))
        }
    }
}

/// Who has taken it.
fn taken(config: &Config) -> (Listener, Finding) {
    let listen = config.listen;
    if let Some(version) = served(config) {
        let says = format!("{listen} is served by Sentinel {version}");
        return (Listener::Sentinel, Finding::ok("port", says));
    }
    let fix = "stop what listens there, or choose another with --listen";
    let says = format!("listen: {listen} is taken by another program");
    (Listener::Other, Finding::failed("port", says, fix))
}

/// The version of the Sentinel that answers there, if one does. The address is in use, and thereby one of this machine.
fn served(config: &Config) -> Option<String> {
    let document = Client::to_check_here(&config.local_url()).get("/openapi.json").ok()?;
    let info = &client::parse(&document).ok()?["info"];
    (info["title"] == "Sentinel").then(|| on_one_line(info["version"].as_str().unwrap_or("of no version")))
}
