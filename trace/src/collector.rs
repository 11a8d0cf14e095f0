//! Where the collector is and how it is told: what an operator says, and OpenTelemetry's own
//! environment variables, checked once.

use std::{fmt, path::PathBuf, time::Duration};

use crate::sampling::{self, Sampling};

/// How many spans wait for the collector, unless `OTEL_BSP_MAX_QUEUE_SIZE` says another number.
const QUEUE: usize = 8192;

/// How long the collector has to answer, unless `OTEL_EXPORTER_OTLP_TIMEOUT` says another time.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long a span waits for others to go with it, unless `OTEL_BSP_SCHEDULE_DELAY` says another time.
const DELAY: Duration = Duration::from_secs(1);

pub(crate) const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";

/// A collector, and what it is told.
#[derive(Clone)]
pub struct Collector {
    /// Where spans are posted.
    pub(crate) url: String,
    pub(crate) timeout: Duration,
    pub(crate) delay: Duration,
    pub(crate) queue: usize,
    /// Who signed its certificate, as PEM; none: a well-known authority.
    pub(crate) authority: Option<PathBuf>,
    pub(crate) sampling: Sampling,
}

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {fix}")]
pub struct Wrong {
    key: &'static str,
    fix: String,
}

impl Wrong {
    pub(crate) fn new(key: &'static str, fix: impl Into<String>) -> Self {
        Self { key, fix: fix.into() }
    }
}

impl Collector {
    /// The collector that was `said` (under `key`: the URL of its OTLP/HTTP receiver, to which
    /// `/v1/traces` is added), or that the environment names; none if neither does.
    pub fn resolve(
        key: &'static str,
        said: Option<&str>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, Wrong> {
        let variable = |name: &str| {
            environment(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let Some(url) = url(key, said, &variable)? else { return Ok(None) };
        let protocol =
            first(&variable, ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]);
        if let Some((key, protocol)) = protocol
            && protocol != "http/protobuf"
        {
            let fix = format!(
                "{protocol:?} is not spoken here: set http/protobuf, to the collector's port for OTLP/HTTP (4318)"
            );
            return Err(Wrong::new(key, fix));
        }
        let timeout = first(&variable, ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"]);
        let delay = first(&variable, ["OTEL_BSP_SCHEDULE_DELAY"]);
        let queue = first(&variable, ["OTEL_BSP_MAX_QUEUE_SIZE"]);
        let authority = first(&variable, ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", CERTIFICATE]);
        Ok(Some(Self {
            url,
            authority: authority.map(|(_, file)| file.into()),
            timeout: timeout.map_or(Ok(TIMEOUT), |(key, text)| millis(key, &text))?,
            delay: delay.map_or(Ok(DELAY), |(key, text)| millis(key, &text))?,
            queue: queue.map_or(Ok(QUEUE), |(key, text)| number(key, &text, 1_000_000))?,
            sampling: sampling(&variable)?,
        }))
    }

    /// Where spans are posted, without what may be secret in it.
    pub fn place(&self) -> &str {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", &self.url));
        let host = rest.split('/').next().unwrap_or_default();
        if host.contains('@') { scheme } else { self.url.split(['?', '#']).next().unwrap_or_default() }
    }
}

/// Its URL may hold a password.
impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").field("place", &self.place()).finish_non_exhaustive()
    }
}

fn url(
    key: &'static str,
    said: Option<&str>,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<Option<String>, Wrong> {
    const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let below = |base: &str| format!("{}/v1/traces", base.trim_end_matches('/'));
    if let Some(said) = said.map(str::trim).filter(|said| !said.is_empty()) {
        return checked(key, below(said)).map(Some);
    }
    let is_off = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || variable("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
    if is_off {
        return Ok(None);
    }
    if let Some(url) = variable(TRACES) {
        return checked(TRACES, url).map(Some);
    }
    variable(ALL).map(|base| checked(ALL, below(&base))).transpose()
}

fn checked(key: &'static str, url: String) -> Result<String, Wrong> {
    let is_http = url.parse::<ureq::http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    // Not quoted: there may be a password in it.
    is_http.then_some(url).ok_or_else(|| Wrong::new(key, "must be a URL such as http://localhost:4318"))
}

fn first<const N: usize>(
    variable: &impl Fn(&str) -> Option<String>,
    keys: [&'static str; N],
) -> Option<(&'static str, String)> {
    keys.into_iter().find_map(|key| Some((key, variable(key)?)))
}

fn millis(key: &'static str, text: &str) -> Result<Duration, Wrong> {
    number(key, text, 3_600_000).map(|millis| Duration::from_millis(millis as u64))
}

fn number(key: &'static str, text: &str, most: usize) -> Result<usize, Wrong> {
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| Wrong::new(key, format!("{text:?}: must be an integer from 1 to {most}")))
}

fn sampling(variable: &impl Fn(&str) -> Option<String>) -> Result<Sampling, Wrong> {
    const KEY: &str = "OTEL_TRACES_SAMPLER";
    const SHARE: &str = "OTEL_TRACES_SAMPLER_ARG";
    let Some(name) = variable(KEY) else { return Ok(Sampling::default()) };
    let share = match variable(SHARE).filter(|_| name.ends_with("traceidratio")) {
        None => 1.0,
        Some(text) => {
            let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
            share.ok_or_else(|| Wrong::new(SHARE, format!("{text:?}: must be a number from 0 to 1")))?
        }
    };
    let named = Sampling::named(&name, share);
    named.ok_or_else(|| Wrong::new(KEY, format!("{name:?}: must be {}", sampling::NAMES)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(said: Option<&str>, environment: &[(&str, &str)]) -> Result<Option<Collector>, Wrong> {
        Collector::resolve("otlp", said, |name| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318/");

    #[test]
    fn nobody_is_told_unless_a_collector_is_named() {
        for environment in [
            &[][..],
            &[("OTEL_TRACES_SAMPLER", "always_on"), ("OTEL_SERVICE_NAME", "x")],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            &[ENDPOINT, ("OTEL_SDK_DISABLED", "true")],
            &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert!(resolve(None, environment).unwrap().is_none(), "{environment:?}");
        }
    }

    #[test]
    fn what_is_said_wins_over_the_variable_for_traces_and_that_over_the_one_for_all() {
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces/here");
        for (said, environment, url) in [
            (Some("http://said:4318"), &[traces, ENDPOINT][..], "http://said:4318/v1/traces"),
            (None, &[traces, ENDPOINT], "https://traces/here"),
            (None, &[ENDPOINT], "http://all:4318/v1/traces"),
        ] {
            assert_eq!(resolve(said, environment).unwrap().unwrap().url, url);
        }
    }

    #[test]
    fn what_cannot_be_is_named_with_its_fix() {
        for (key, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_BSP_SCHEDULE_DELAY", "0"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
        ] {
            let wrong = resolve(None, &[ENDPOINT, (key, value)]).unwrap_err().to_string();
            assert!(wrong.contains(key) && wrong.contains(value), "{wrong}");
        }
        let sampler = ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
        let wrong = resolve(None, &[ENDPOINT, sampler, ("OTEL_TRACES_SAMPLER_ARG", "1.5")]).unwrap_err();
        assert!(wrong.to_string().contains("OTEL_TRACES_SAMPLER_ARG"), "{wrong}");
    }

    #[test]
    fn a_url_that_is_none_is_refused_and_not_quoted() {
        for said in ["localhost:4318", "ftp://secret", "http://", "grpc://secret:4317", "http://a b"] {
            let wrong = resolve(Some(said), &[]).unwrap_err().to_string();
            assert!(wrong.starts_with("otlp: ") && !wrong.contains("secret"), "{wrong}");
        }
        let collector = resolve(Some("http://user:secret@host:4318"), &[]).unwrap().unwrap();
        assert!(!format!("{collector:?}").contains("secret"), "{collector:?}");
    }
}
