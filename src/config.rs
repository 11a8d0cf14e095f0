//! The servers' configuration: read once from flags, the environment and `sentinel.toml` (in that
//! order), resolved and cross-checked here. Every error names the key, the value and the fix.

mod in_force;
mod reference;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use sentinel_api::{NoOrigin, Origin};
use sentinel_host::{
    engine::{Compilation, EngineConfig, Limits},
    worker::{AdmissionBounds, Apart, AskedLimits, GrantTable, WorkerConfig, default_slots, detect_budget},
};
use sentinel_queue::{
    Namespace, QueueName, duration,
    lease::Served,
    steer::{Keep, Retention},
};
use sentinel_trace::{Collector, Traces};
use serde::Deserialize;

pub(crate) use self::{
    in_force::{Told, discreet},
    reference::reference,
};
use crate::telemetry::LogFormat;

/// What all servers may be told.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ServerArgs {
    /// Where to listen [default: 127.0.0.1:8000]
    #[arg(long, env = "SENTINEL_LISTEN", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The Redis or Valkey server that holds the queue, such as `redis://127.0.0.1:6379`
    #[arg(long, env = "SENTINEL_REDIS", value_name = "URL", hide_env_values = true)]
    redis: Option<String>,
    /// Who signed the certificate of a Redis at rediss://, as PEM, such as `redis-ca.pem`
    /// [default: the well-known authorities]
    #[arg(long, env = "SENTINEL_REDIS_CA", value_name = "FILE")]
    redis_ca: Option<PathBuf>,
    /// Where the embedded store and the compile cache are kept [default: sentinel-data]
    #[arg(long, env = "SENTINEL_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A directory of plugins; where two hold the same job, the first wins [default: plugins]
    #[arg(long, env = "SENTINEL_PLUGINS", value_name = "DIR", value_delimiter = ',')]
    plugins: Option<Vec<PathBuf>>,
    /// How many attempts run at once, such as `16` [default: 8 per core, as far as memory allows]
    #[arg(long, env = "SENTINEL_CONCURRENCY", value_name = "N")]
    concurrency: Option<NonZeroU32>,
    /// The queues to serve, and the share that each gets of the free slots first, such as `urgent=3`
    /// [default: all there are, in rotation]
    #[arg(long, env = "SENTINEL_QUEUES", value_name = "[NAMESPACE/]NAME[=SHARE]", value_delimiter = ',')]
    queues: Option<Vec<String>>,
    /// How long finished tasks are kept, and how many of them
    /// [default: completed=24h/1000000, failed=30d/1000000, cancelled=24h/1000000]
    #[arg(long, env = "SENTINEL_RETAIN", value_name = "STATUS=AGE[/COUNT]", value_delimiter = ',')]
    retain: Option<Vec<String>>,
    /// How long attempts may go on after SIGTERM [default: 30s]
    #[arg(long, env = "SENTINEL_GRACE", value_name = "DURATION")]
    grace: Option<String>,
    /// Who may call the API: whoever has a key, or anybody who reaches it [default: on loopback anybody, until
    /// there is a key]
    #[arg(long, env = "SENTINEL_AUTH")]
    auth: Option<Auth>,
    /// Names by which the API may be called besides localhost, such as `queue.example`
    #[arg(long, env = "SENTINEL_ALLOW_HOST", value_name = "NAME", value_delimiter = ',')]
    allow_host: Option<Vec<String>>,
    /// Origins whose pages may call the API besides its own, such as `https://dash.example`
    #[arg(long, env = "SENTINEL_ALLOW_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    allow_origin: Option<Vec<String>>,
    /// The certificate with which the API is served by TLS, and those that signed it, as PEM, such as
    /// `cert.pem`; a new one is taken up without a restart
    #[arg(long, env = "SENTINEL_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate, as PEM, such as `key.pem`
    #[arg(long, env = "SENTINEL_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// The collector to tell of spans: the URL of its receiver for OTLP over HTTP, such as
    /// `http://localhost:4318` [default: none, or as OpenTelemetry's own variables say]
    #[arg(long, env = "SENTINEL_OTLP", value_name = "URL", hide_env_values = true)]
    otlp: Option<String>,
    /// The form of the log [default: text]
    #[arg(long, env = "SENTINEL_LOG")]
    log: Option<LogFormat>,
    /// The configuration file [default: ./sentinel.toml, if it is there]
    #[arg(long, env = "SENTINEL_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// What jobs may reach: only the file says.
    #[arg(skip)]
    grants: toml::Table,
    /// What a manifest can ask for at most: only the file says.
    #[arg(skip)]
    ceilings: toml::Table,
    /// What a component may take to be admitted: only the file says.
    #[arg(skip)]
    admission: toml::Table,
}

/// Where a server of this machine is reached, found as the server finds it.
#[derive(Args)]
pub(crate) struct Here {
    #[arg(long, env = "SENTINEL_LISTEN", hide = true)]
    listen: Option<SocketAddr>,
    #[arg(long, env = "SENTINEL_TLS_CERT", hide = true)]
    tls_cert: Option<PathBuf>,
    #[arg(long, env = "SENTINEL_CONFIG", hide = true)]
    config: Option<PathBuf>,
}

impl Here {
    /// Its URL.
    pub(crate) fn url(self) -> Result<String> {
        let file = read_file(self.config.as_deref())?;
        let listen = self.listen.or(file.listen).unwrap_or(DEFAULT_LISTEN);
        Ok(local_url(listen, self.tls_cert.or(file.tls_cert).is_some()))
    }
}

/// Who may call the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Auth {
    /// Whoever has a key.
    Keys,
    /// Anybody who reaches it.
    None,
}

/// Who may call the API of a server that listens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// As was said, or as it is on loopback.
    Said(sentinel_api::Auth),
    /// Whoever has a key: others can reach it and nothing was said, so that there must be one.
    ThereMustBeAKey,
}

impl Door {
    fn of(listen: SocketAddr, said: Option<Auth>) -> Self {
        match said {
            Some(Auth::None) => Self::Said(sentinel_api::Auth::Nobody),
            Some(Auth::Keys) => Self::Said(sentinel_api::Auth::Keys),
            None if listen.ip().to_canonical().is_loopback() => Self::Said(sentinel_api::Auth::UntilKeys),
            None => Self::ThereMustBeAKey,
        }
    }

    /// Who may call.
    pub(crate) fn auth(self) -> sentinel_api::Auth {
        match self {
            Self::Said(auth) => auth,
            Self::ThereMustBeAKey => sentinel_api::Auth::Keys,
        }
    }
}

/// A server's configuration, resolved.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) redis: Option<String>,
    pub(crate) redis_ca: Option<PathBuf>,
    pub(crate) data_dir: PathBuf,
    pub(crate) plugins: Vec<PathBuf>,
    pub(crate) worker: WorkerConfig,
    pub(crate) door: Door,
    pub(crate) allow_hosts: Vec<String>,
    pub(crate) allow_origins: Vec<Origin>,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) log: LogFormat,
    /// Who is told of spans.
    pub(crate) collector: Option<Collector>,
    /// The same, once that has begun.
    pub(crate) traces: Traces,
    pub(crate) jobs: JobTerms,
}

/// Where the API's certificate and its key are.
#[derive(Debug)]
pub(crate) struct TlsFiles {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// What the operator says of jobs, which only the file does.
#[derive(Debug)]
pub(crate) struct JobTerms {
    /// What jobs are granted; secrets are still where they are.
    pub(crate) grants: GrantTable,
    /// What a manifest can ask for at most.
    pub(crate) ceilings: Limits,
    /// What a component may take to be admitted.
    pub(crate) admission: AdmissionBounds,
}

const DEFAULT_FILE: &str = "sentinel.toml";

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);

impl ServerArgs {
    /// Adds what the file says and the flags do not, and checks the whole.
    pub(crate) fn resolve(self) -> Result<Config> {
        let file = read_file(self.config.as_deref())?;
        let listen = self.listen.or(file.listen).unwrap_or(DEFAULT_LISTEN);
        let door = Door::of(listen, self.auth.or(file.auth));
        let tls = tls(self.tls_cert.or(file.tls_cert), self.tls_key.or(file.tls_key))?;
        let origins = self.allow_origin.or(file.allow_origin).unwrap_or_default();
        let origins = origins.iter().map(|origin| origin.parse()).collect::<Result<_, NoOrigin>>();
        let memory_bytes = detect_budget();
        let slots = self.concurrency.or(file.concurrency).unwrap_or_else(|| default_slots(memory_bytes));
        let grace = self.grace.or(file.grace).unwrap_or_else(|| "30s".into());
        let grace = duration::parse(&grace).context("grace")?;
        let log = self.log.or(file.log).unwrap_or(LogFormat::Text);
        let collector = self.otlp.or(file.otlp);
        let collector = Collector::resolve("otlp", collector.as_deref(), |name| std::env::var(name).ok())?;
        Ok(Config {
            listen,
            redis: self.redis.or(file.redis),
            redis_ca: self.redis_ca.or(file.redis_ca),
            data_dir: self.data_dir.or(file.data_dir).unwrap_or_else(|| "sentinel-data".into()),
            plugins: self.plugins.or(file.plugins).unwrap_or_else(|| vec!["plugins".into()]),
            worker: WorkerConfig {
                slots,
                memory_bytes,
                served: served(self.queues.or(file.queues)).context("queues")?,
                grace,
                retention: retention(self.retain.or(file.retain)).context("retain")?,
                traces: Traces::default(),
                submits: BTreeMap::new(),
                apart: Apart {
                    // This very program, also when the file has been replaced meanwhile.
                    program: "/proc/self/exe".into(),
                    args: ["run-apart", "--log", log.as_str()].map(Into::into).into(),
                },
            },
            door,
            allow_hosts: self.allow_host.or(file.allow_host).unwrap_or_default(),
            allow_origins: origins.context("allow-origin")?,
            tls,
            log,
            collector,
            traces: Traces::default(),
            jobs: JobTerms::of(&file.grants, &file.ceilings, &file.admission)?,
        })
    }
}

impl JobTerms {
    /// What the file says, which is found as the servers find it.
    pub(crate) fn read(config: Option<&Path>) -> Result<Self> {
        let file = read_file(config)?;
        Self::of(&file.grants, &file.ceilings, &file.admission)
    }

    fn of(grants: &toml::Table, ceilings: &toml::Table, admission: &toml::Table) -> Result<Self> {
        Ok(Self {
            grants: GrantTable::parse(grants)?,
            ceilings: AskedLimits::parse("ceilings", ceilings)?.over(&Limits::default_ceilings()),
            admission: AdmissionBounds::parse(admission)?,
        })
    }

    /// The engine of so many slots in which jobs are admitted on these terms.
    pub(crate) fn engine(&self, slots: NonZeroU32) -> EngineConfig {
        EngineConfig {
            ceilings: self.ceilings.clone(),
            parts: self.admission.parts,
            max_plugin_bytes: self.admission.file_bytes,
            compilation: Compilation::Apart {
                // This very program, also when the file has been replaced.
                program: "/proc/self/exe".into(),
                args: vec!["compile-apart".into()],
                bounds: self.admission.compile,
            },
            ..EngineConfig::new(slots)
        }
    }
}

impl Config {
    /// The URL by which this machine reaches the API.
    pub(crate) fn local_url(&self) -> String {
        local_url(self.listen, self.tls.is_some())
    }

    /// The URL of Redis, for the servers that need one.
    pub(crate) fn redis(&self) -> Result<&str> {
        self.redis.as_deref().context(
            "redis: not set: give --redis redis://host:6379 (or SENTINEL_REDIS), or run `sentinel dev`, which \
             needs no Redis",
        )
    }
}

/// The URL by which this machine reaches what listens there.
fn local_url(listen: SocketAddr, has_tls: bool) -> String {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
    };
    let scheme = if has_tls { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(ip, listen.port()))
}

fn tls(cert: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<TlsFiles>> {
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key })),
        (None, None) => Ok(None),
        (Some(cert), None) => bail!(
            "tls-cert: {} is of no use without its key: give --tls-key, or leave out --tls-cert",
            cert.display()
        ),
        (None, Some(key)) => bail!(
            "tls-key: {} is of no use without a certificate: give --tls-cert, or leave out --tls-key",
            key.display()
        ),
    }
}

/// Reads `[NAMESPACE/]NAME[=SHARE]`.
fn served(queues: Option<Vec<String>>) -> Result<Served> {
    let Some(queues) = queues else { return Ok(Served::All) };
    let queues = queues.iter().map(|text| {
        let (name, share) = text.split_once('=').unwrap_or((text, "1"));
        let share = share.parse().ok().filter(|share| (1..=1000).contains(share));
        let share = share.with_context(|| format!("{text:?}: a share must be an integer from 1 to 1000"))?;
        let (namespace, name) = match name.split_once('/') {
            Some((namespace, name)) => (namespace.parse()?, name),
            None => (Namespace::default(), name),
        };
        Ok((namespace, name.parse::<QueueName>()?, share))
    });
    queues.collect::<Result<_>>().map(Served::Only)
}

/// Reads `STATUS=AGE[/COUNT]`.
fn retention(rules: Option<Vec<String>>) -> Result<Retention> {
    let mut retention = Retention::default();
    for rule in rules.unwrap_or_default() {
        let (status, kept) = rule.split_once('=').unwrap_or((&rule, ""));
        let keep = match status {
            "completed" => &mut retention.completed,
            "failed" => &mut retention.failed,
            "cancelled" => &mut retention.cancelled,
            _ => bail!("{rule:?}: must begin with completed=, failed= or cancelled="),
        };
        let (age, count) = kept.split_once('/').map_or((kept, None), |(age, count)| (age, Some(count)));
        keep.age = duration::parse(age).with_context(|| format!("{rule:?}"))?;
        if keep.age < Keep::FLOOR {
            bail!(
                "{rule:?}: results must be readable for a while: keep them for {} at least",
                duration::format(Keep::FLOOR)
            );
        }
        if let Some(count) = count {
            keep.count =
                count.parse().with_context(|| format!("{rule:?}: {count:?} is no number of tasks"))?;
        }
    }
    Ok(retention)
}

/// What is written in the file, which need not be there unless it is named.
fn file_text(named: Option<&Path>) -> Result<Option<String>> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("config: {}", path.display())),
    }
}

fn read_file(named: Option<&Path>) -> Result<ServerArgs> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    let text = file_text(named)?.unwrap_or_default();
    toml::from_str(&text).map_err(|error| {
        // The library's own text quotes the line, in which there may be a password.
        let number = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
        let line = text.lines().nth(number - 1).unwrap_or_default();
        let key = line.split_once('=').map_or("", |(key, _)| key.trim());
        anyhow::anyhow!("config: {}: line {number}: {key}: {}", path.display(), error.message())
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        file
    }

    fn resolve(text: &str, args: ServerArgs) -> Result<Config> {
        let file = file(text);
        ServerArgs { config: Some(file.path().to_owned()), ..args }.resolve()
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let flags = ServerArgs { concurrency: NonZeroU32::new(3), ..ServerArgs::default() };
        let config = resolve("concurrency = 5\ngrace = \"5s\"", flags).unwrap();
        assert_eq!(config.worker.slots.get(), 3);
        assert_eq!(config.worker.grace, Duration::from_secs(5));
        assert_eq!(config.listen, SocketAddr::from(([127, 0, 0, 1], 8000)));
    }

    #[test]
    fn what_is_kept_is_said_by_state() {
        let config = resolve("retain = [\"failed=7d/5\", \"completed=1h\"]", ServerArgs::default()).unwrap();
        let kept = config.worker.retention;
        assert_eq!((kept.failed.age, kept.failed.count), (Duration::from_hours(7 * 24), 5));
        assert_eq!((kept.completed.age, kept.completed.count), (Duration::from_hours(1), 1_000_000));
        assert_eq!(kept.cancelled, Retention::default().cancelled);
    }

    #[test]
    fn a_queue_to_serve_may_be_of_another_namespace() {
        let config = resolve("queues = [\"a\", \"team/b=3\"]", ServerArgs::default()).unwrap();
        let served = ["default", "team"].map(|name| name.parse::<Namespace>().unwrap());
        let [default, team] = served;
        let served = vec![(default, "a".parse().unwrap(), 1), (team, "b".parse().unwrap(), 3)];
        assert!(matches!(config.worker.served, Served::Only(only) if only == served));
    }

    #[test]
    fn grants_and_ceilings_are_the_files() {
        let text = "[grants.job]\nscratch = \"1MiB\"\n[ceilings]\nmemory = \"2GiB\"";
        let config = resolve(text, ServerArgs::default()).unwrap();
        let granted = config.jobs.grants.resolve().unwrap();
        assert_eq!(granted.to(&"job".parse().unwrap()).unwrap().scratch_bytes, Some(1 << 20));
        assert_eq!(config.jobs.ceilings, Limits { memory_bytes: 2 << 30, ..Limits::default_ceilings() });
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = resolve("concurency = 5", ServerArgs::default()).unwrap_err();
        assert!(format!("{error:#}").contains("concurency"), "{error:#}");
    }

    #[test]
    fn an_error_in_the_file_does_not_quote_a_secret() {
        for text in ["redis_url = \"redis://:secret@host\"", "redis = \"redis://:secret@host"] {
            let error = resolve(text, ServerArgs::default()).unwrap_err();
            assert!(!format!("{error:#}").contains("secret"), "{error:#}");
        }
    }

    #[test]
    fn the_world_is_not_let_in_unless_told() {
        use sentinel_api::Auth;
        for (text, door) in [
            ("", Door::Said(Auth::UntilKeys)),
            ("listen = \"[::1]:8000\"", Door::Said(Auth::UntilKeys)),
            ("auth = \"keys\"", Door::Said(Auth::Keys)),
            ("listen = \"0.0.0.0:8000\"", Door::ThereMustBeAKey),
            ("listen = \"[::]:8000\"", Door::ThereMustBeAKey),
            ("listen = \"0.0.0.0:8000\"\nauth = \"keys\"", Door::Said(Auth::Keys)),
            ("listen = \"0.0.0.0:8000\"\nauth = \"none\"", Door::Said(Auth::Nobody)),
        ] {
            assert_eq!(resolve(text, ServerArgs::default()).unwrap().door, door, "{text}");
        }
    }

    #[test]
    fn with_a_certificate_the_api_is_reached_by_tls() {
        let text = "listen = \"[::]:8443\"\nauth = \"none\"\ntls-cert = \"c.pem\"\ntls-key = \"k.pem\"";
        assert_eq!(resolve(text, ServerArgs::default()).unwrap().local_url(), "https://[::1]:8443");
        assert_eq!(resolve("", ServerArgs::default()).unwrap().local_url(), "http://127.0.0.1:8000");
    }

    #[test]
    fn a_bad_value_names_its_key() {
        for (text, key) in [
            ("tls-cert = \"cert.pem\"", "--tls-key"),
            ("tls-key = \"key.pem\"", "--tls-cert"),
            ("allow-origin = [\"dash.example\"]", "allow-origin"),
            ("otlp = \"localhost:4318\"", "otlp"),
            ("queues = [\"a b\"]", "queues"),
            ("queues = [\"a=0\"]", "share"),
            ("queues = [\"A/b\"]", "namespace"),
            ("grace = \"5\"", "grace"),
            ("concurrency = 0", "concurrency"),
            ("retain = [\"lost=1h\"]", "retain"),
            ("[grants.job]\nhtpp = []", "grants.job.htpp"),
            ("[ceilings]\nmemory = 5", "ceilings.memory"),
            ("[admission]\nmemories = 0", "admission.memories"),
            ("retain = [\"failed=1s\"]", "2m"),
            ("retain = [\"failed=1h/many\"]", "many"),
        ] {
            let error = resolve(text, ServerArgs::default()).unwrap_err();
            assert!(format!("{error:#}").contains(key), "{error:#}");
        }
    }
}
