//! An origin, as browsers name it: a scheme, a host and a port.

use std::{fmt, str::FromStr};

use axum::http::{HeaderValue, Uri};

/// An origin such as `https://dash.example`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(HeaderValue);

/// A text is no origin.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no origin: give a scheme, a host and, if it is not the usual one, a port, such as \
         https://dash.example"
)]
pub struct NoOrigin(String);

impl Origin {
    /// Whether a request's `Origin` header names it.
    pub(crate) fn is(&self, header: &HeaderValue) -> bool {
        self.0 == header
    }

    pub(crate) fn as_header(&self) -> &HeaderValue {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

impl FromStr for Origin {
    type Err = NoOrigin;

    /// Browsers compare bytes: it must be written as they write it.
    fn from_str(text: &str) -> Result<Self, NoOrigin> {
        let no_origin = || NoOrigin(text.to_owned());
        let (scheme, authority) = text.split_once("://").ok_or_else(no_origin)?;
        let usual = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return Err(no_origin()),
        };
        let uri: Uri = text.parse().map_err(|_| no_origin())?;
        let parsed = uri.authority().ok_or_else(no_origin)?;
        let (host, port) = (parsed.host(), parsed.port_u16());
        let plain = port.map_or(host.to_owned(), |port| format!("{host}:{port}"));
        let is_plain = plain == authority && !host.is_empty() && !host.contains('*');
        if !is_plain || port == Some(usual) || authority.contains(|c: char| c.is_ascii_uppercase()) {
            return Err(no_origin());
        }
        HeaderValue::from_str(text).map(Self).map_err(|_| no_origin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_browsers_send_is_an_origin() {
        for good in ["https://dash.example", "http://localhost:3000", "http://[::1]:3000", "http://[::1]"] {
            assert_eq!(good.parse::<Origin>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "*",
            "null",
            "dash.example",
            "https://",
            "https://*",
            "https://*.example",
            "https://dash.example/",
            "https://dash.example/path",
            "https://dash.example:443",
            "http://dash.example:80",
            "https://dash.example:",
            "https://dash.example:x",
            "https://user@dash.example",
            "https://Dash.example",
            "ftp://dash.example",
            "https://dash.example?x",
            "https://a b",
            "https://dash.example\r\nx: y",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad:?}");
        }
    }
}
