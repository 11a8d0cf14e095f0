//! Where requests may go: `scheme://host[:port]`.
//!
//! Owns the reading of such rules, and which requests fit one. Does not know who asked for it.

use std::{fmt, net::IpAddr, str::FromStr};

use hyper::http::{Uri, uri::Scheme as UriScheme};
use serde::{Deserialize, Serialize};

/// What is reachable: `https://api.example.org`, `http://127.0.0.1:8080`, or
/// `https://*.example.org`, which is every host below `example.org` and not that itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    scheme: Scheme,
    host: Hosts,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
enum Scheme {
    Http,
    Https,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
enum Hosts {
    Address(IpAddr),
    Named(String),
    /// All below this name.
    Below(String),
}

/// A text that is no origin; says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoOrigin(&'static str);

/// Where one request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    scheme: Scheme,
    pub(crate) host: Host,
    pub(crate) port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Address(IpAddr),
    Named(String),
}

impl Origin {
    /// What both of two rules allow, if anything.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Option<Self> {
        if (self.scheme, self.port) != (other.scheme, other.port) {
            return None;
        }
        match (&self.host, &other.host) {
            (one, two) if one == two => Some(self.clone()),
            (Hosts::Below(wide), Hosts::Named(narrow) | Hosts::Below(narrow)) if is_below(narrow, wide) => {
                Some(other.clone())
            }
            (Hosts::Named(narrow) | Hosts::Below(narrow), Hosts::Below(wide)) if is_below(narrow, wide) => {
                Some(self.clone())
            }
            _ => None,
        }
    }

    /// The address that it names, if it does not name a host.
    pub fn address(&self) -> Option<IpAddr> {
        match self.host {
            Hosts::Address(address) => Some(address),
            Hosts::Named(_) | Hosts::Below(_) => None,
        }
    }

    pub(crate) fn allows(&self, target: &Target) -> bool {
        let fits = match (&self.host, &target.host) {
            (Hosts::Address(allowed), Host::Address(address)) => allowed == address,
            (Hosts::Named(allowed), Host::Named(name)) => allowed == name,
            (Hosts::Below(parent), Host::Named(name)) => is_below(name, parent),
            _ => false,
        };
        fits && self.scheme == target.scheme && self.port == target.port
    }
}

impl FromStr for Origin {
    type Err = NoOrigin;

    fn from_str(text: &str) -> Result<Self, NoOrigin> {
        let (scheme, rest) = text
            .strip_prefix("https://")
            .map(|rest| (Scheme::Https, rest))
            .or_else(|| text.strip_prefix("http://").map(|rest| (Scheme::Http, rest)))
            .ok_or(NoOrigin("must be <scheme>://<host>[:<port>], such as \"https://api.example.org\""))?;
        if rest.contains(['/', '?', '#', '@']) {
            return Err(NoOrigin("must end with the host or its port: leave out paths and passwords"));
        }
        let (host, port) = split_port(rest);
        let port = match port {
            None => scheme.port(),
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or(NoOrigin("must have a port from 1 to 65535, or none"))?,
        };
        let host = match host.strip_prefix("*.") {
            Some(parent) => Hosts::Below(name(parent)?),
            None => match address(host) {
                Some(address) => Hosts::Address(address),
                None => Hosts::Named(name(host)?),
            },
        };
        Ok(Self { scheme, host, port })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        match &self.host {
            Hosts::Address(IpAddr::V6(address)) => write!(f, "{scheme}://[{address}]")?,
            Hosts::Address(address) => write!(f, "{scheme}://{address}")?,
            Hosts::Named(name) => write!(f, "{scheme}://{name}")?,
            Hosts::Below(parent) => write!(f, "{scheme}://*.{parent}")?,
        }
        if self.port == self.scheme.port() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl Target {
    /// Where a request for `uri` goes; none if that has no host, or a name and password in it.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let scheme = match uri.scheme()? {
            scheme if *scheme == UriScheme::HTTP => Scheme::Http,
            scheme if *scheme == UriScheme::HTTPS => Scheme::Https,
            _ => return None,
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let (host, port) = split_port(authority.as_str());
        let port = match port {
            None => scheme.port(),
            Some(port) => port.parse().ok().filter(|port| *port != 0)?,
        };
        let host = match address(host) {
            Some(address) => Host::Address(address),
            None => Host::Named(name(host).ok()?),
        };
        Some(Self { scheme, host, port })
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.scheme == Scheme::Https
    }
}

/// As a `Host` header has it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            Host::Address(address) => write!(f, "{address}")?,
            Host::Named(name) => f.write_str(name)?,
        }
        if self.port == self.scheme.port() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl Scheme {
    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        // The colons of an address in brackets are its own.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    }
}

/// An address, also one that is written as an IPv4 address within IPv6.
fn address(host: &str) -> Option<IpAddr> {
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let address = match in_brackets {
        Some(address) => IpAddr::V6(address.parse().ok()?),
        None => IpAddr::V4(host.parse().ok()?),
    };
    Some(address.to_canonical())
}

fn name(host: &str) -> Result<String, NoOrigin> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if host.len() <= 253 && host.split('.').all(is_label) {
        Ok(host.to_ascii_lowercase())
    } else {
        Err(NoOrigin("must name a host, an IPv4 address, an IPv6 address in brackets, or *.<host>"))
    }
}

fn is_below(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in [
            "https://api.example.org",
            "http://api.example.org:8080",
            "https://*.example.org",
            "http://10.0.0.1",
            "https://[2001:db8::1]:8443",
        ] {
            assert_eq!(origin(text).to_string(), text);
        }
        assert_eq!(origin("https://API.example.org:443").to_string(), "https://api.example.org");
        assert_eq!(origin("http://[::ffff:10.0.0.1]").to_string(), "http://10.0.0.1");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "api.example.org",
            "ftp://api.example.org",
            "https://",
            "https://*",
            "https://*.",
            "https://a.*.org",
            "https://example.org/",
            "https://me:pw@example.org",
            "https://example.org:0",
            "https://example.org:65536",
            "https://example.org.",
            "https://[::1",
            "https://::1",
            "https://ex ample.org",
            "https://\u{e9}.org",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_request_fits_by_scheme_host_and_port() {
        let allows = |rule: &str, uri: &str| {
            Target::of(&uri.parse().unwrap()).is_some_and(|target| origin(rule).allows(&target))
        };
        for (rule, uri) in [
            ("https://example.org", "https://example.org/a?b"),
            ("https://example.org", "https://EXAMPLE.org:443"),
            ("http://example.org:81", "http://example.org:81"),
            ("https://*.example.org", "https://a.b.example.org"),
            ("http://127.0.0.1", "http://[::ffff:127.0.0.1]/"),
        ] {
            assert!(allows(rule, uri), "{rule} {uri}");
        }
        for (rule, uri) in [
            ("https://example.org", "http://example.org"),
            ("https://example.org", "https://example.org:8443"),
            ("https://example.org", "https://www.example.org"),
            ("https://example.org", "https://example.org.evil.net"),
            ("https://example.org", "https://example.org@evil.net"),
            ("https://example.org", "https://me@example.org"),
            ("https://*.example.org", "https://example.org"),
            ("https://*.example.org", "https://notexample.org"),
            ("https://*.example.org", "https://.example.org"),
            ("http://127.0.0.1", "http://127.1"),
            ("http://127.0.0.1", "http://2130706433"),
        ] {
            assert!(!allows(rule, uri), "{rule} {uri}");
        }
    }

    #[test]
    fn what_two_rules_allow_is_the_narrower_of_them() {
        let meet = |one: &str, two: &str| {
            let met = origin(one).meet(&origin(two));
            assert_eq!(met, origin(two).meet(&origin(one)));
            met.map(|met| met.to_string())
        };
        assert_eq!(meet("https://a.b.org", "https://*.b.org").as_deref(), Some("https://a.b.org"));
        assert_eq!(meet("https://*.a.b.org", "https://*.b.org").as_deref(), Some("https://*.a.b.org"));
        assert_eq!(meet("https://*.b.org", "https://*.b.org").as_deref(), Some("https://*.b.org"));
        assert_eq!(meet("https://b.org", "https://*.b.org"), None);
        assert_eq!(meet("https://a.b.org", "http://a.b.org"), None);
        assert_eq!(meet("https://*.b.org", "https://*.c.org"), None);
    }
}
