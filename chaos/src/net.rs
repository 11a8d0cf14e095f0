//! Network namespaces: a worker whose only way to Redis is a link that can be cut.
//!
//! Two namespaces, joined by a pair of virtual Ethernet devices. The worker runs in the outer
//! one; in the inner one a relay of ours listens, which reaches Redis on this machine's loopback.
//! All addresses live in these namespaces, which carry the id of this process in their names and
//! are removed when this is dropped.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
    path::Path,
    process::Command,
    thread,
};

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::proxy::Proxy;

// Of the network that is kept for documentation.
const INNER: &str = "192.0.2.1";
const OUTER: &str = "192.0.2.2";

/// The name of either end.
const DEVICE: &str = "wire";

/// The two namespaces and their link.
pub(crate) struct Link {
    inner: String,
    outer: String,
    relay: Option<Proxy>,
}

impl Link {
    /// Makes them; fails on a machine that has no namespaces or does not let us.
    pub(crate) fn create(redis: SocketAddr) -> Result<Self> {
        remove_orphans();
        let name = |side| format!("sentinel-{}-{side}", std::process::id());
        let mut link = Self { inner: name("in"), outer: name("out"), relay: None };
        // From here on a failure removes what was made.
        link.set_up(redis).context("network namespaces")?;
        Ok(link)
    }

    fn set_up(&mut self, redis: SocketAddr) -> Result<()> {
        let (inner, outer) = (&self.inner, &self.outer);
        ip(&["netns", "add", inner])?;
        ip(&["netns", "add", outer])?;
        let pair = ["type", "veth", "peer", "name", DEVICE, "netns", outer];
        ip(&[&["-n", inner, "link", "add", "name", DEVICE], &pair[..]].concat())?;
        for (side, address) in [(inner, INNER), (outer, OUTER)] {
            ip(&["-n", side, "addr", "add", &format!("{address}/24"), "dev", DEVICE])?;
            ip(&["-n", side, "link", "set", DEVICE, "up"])?;
            ip(&["-n", side, "link", "set", "lo", "up"])?;
        }
        let listener = listen_in(inner, &format!("{INNER}:{}", redis.port()))?;
        self.relay = Some(Proxy::start(listener, redis)?);
        Ok(())
    }

    /// The command that runs a program in the outer namespace, as the process that it starts.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.outer]).arg(program);
        command
    }

    /// Where Redis is, seen from there.
    pub(crate) fn host() -> &'static str {
        INNER
    }

    /// Takes the link down: nothing passes, and nobody is told.
    pub(crate) fn cut(&self) -> Result<()> {
        ip(&["-n", &self.inner, "link", "set", DEVICE, "down"])
    }

    pub(crate) fn join(&self) -> Result<()> {
        ip(&["-n", &self.inner, "link", "set", DEVICE, "up"])
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.relay = None;
        remove(&self.inner);
        remove(&self.outer);
    }
}

fn remove(namespace: &str) {
    // It may never have been made.
    drop(Command::new("ip").args(["netns", "delete", namespace]).output());
}

/// Removes what a run left behind that was killed.
fn remove_orphans() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let made_by = name.strip_prefix("sentinel-").and_then(|rest| rest.split_once('-'));
        if made_by.is_some_and(|(pid, _)| !Path::new("/proc").join(pid).exists()) {
            remove(&name);
        }
    }
}

/// A socket belongs to the namespace of the thread that made it.
fn listen_in(namespace: &str, address: &str) -> Result<TcpListener> {
    let listen = || -> Result<TcpListener> {
        let file = File::open(format!("/run/netns/{namespace}"))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(TcpListener::bind(address)?)
    };
    // A thread of its own, since a thread that has moved does not come back.
    let listened = thread::scope(|scope| scope.spawn(listen).join());
    listened.unwrap_or_else(|_| bail!("the thread panicked")).with_context(|| format!("listen on {address}"))
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(args).output().context("ip")?;
    if !output.status.success() {
        bail!("`ip {}`: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{net::TcpStream, time::Duration};

    use super::*;

    /// Where namespaces cannot be made there is nothing to test: the proxy takes their place.
    #[test]
    fn a_link_carries_until_it_is_cut_and_again_when_it_is_joined() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let Ok(link) = Link::create(address) else { return };
        let outer = link.outer.clone();
        let connects = move || {
            let namespace = File::open(format!("/run/netns/{outer}")).unwrap();
            thread::spawn(move || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                let address = format!("{INNER}:{}", address.port()).parse().unwrap();
                TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
            })
            .join()
            .unwrap()
        };
        assert!(connects());
        link.cut().unwrap();
        assert!(!connects());
        link.join().unwrap();
        assert!((0..10).any(|_| connects()));
    }
}
