//! The home that scales: scripts run in Redis or Valkey, version 7 or later.
//!
//! It owns its connections: one that all calls share, one on which a worker blocks while it is
//! idle, and one for each subscription (`listener`), which looks after itself. A connection that failed or did not answer in time is dropped and the next call makes
//! a new one; nothing is sent again from here, because only the caller knows for how long that is
//! of use.

mod facts;
mod listener;

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, IntoConnectionInfo, ProtocolVersion,
    RedisError, Script as Compiled, ServerErrorKind, TlsCertificates, Value, aio::MultiplexedConnection,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio::sync::Mutex;

pub use self::facts::{Asked, Facts, Memory};
use super::{Answer, Durability, Reply, Scanned, Script, Store, StoreError, Subscription};
use crate::queue::PREFIX;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(2);

/// How long a call may take to be answered.
const RESPONSE: Duration = Duration::from_secs(2);

/// A Redis server.
pub struct Redis {
    client: Client,
    /// For subscriptions: it speaks RESP3, in which messages and answers come on one connection.
    listening: Client,
    hashes: HashMap<Script, String>,
    calls: Line,
    idle: Line,
}

/// A place for one connection, which is made when it is needed.
#[derive(Default)]
struct Line {
    connection: Mutex<Option<(u64, MultiplexedConnection)>>,
    made: AtomicU64,
}

impl Redis {
    /// A server at a URL such as `redis://127.0.0.1:6379` or `rediss://user:password@host:6380`.
    /// Nothing is connected yet.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        Self::open(url, &|info| Client::open(info))
    }

    /// The same, of a server whose certificate one of these authorities signed; nobody else is
    /// trusted. PEM, one or more.
    pub fn with_ca(url: &str, authorities: &[u8]) -> Result<Self, StoreError> {
        let unfit = |what: String| Err(StoreError::Unfit(format!("the authority of Redis: {what}")));
        match CertificateDer::pem_slice_iter(authorities).collect::<Result<Vec<_>, _>>() {
            Ok(found) if found.is_empty() => return unfit("there is no certificate in the file".into()),
            Ok(_) => {}
            Err(error) => return unfit(format!("not PEM: {error}")),
        }
        if !url.starts_with("rediss://") {
            return unfit("it is of use with a URL that begins with rediss:// alone".into());
        }
        Self::open(url, &|info| {
            let root_cert = Some(authorities.to_vec());
            Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
        })
    }

    fn open(
        url: &str,
        client: &dyn Fn(ConnectionInfo) -> Result<Client, RedisError>,
    ) -> Result<Self, StoreError> {
        let unfit = |error: RedisError| StoreError::Unfit(format!("the Redis URL: {error}"));
        let info = url.into_connection_info().map_err(unfit)?;
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        let info = info.set_tcp_settings(tcp);
        let resp3 = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        // Ours wins over another crate's only if there is none yet; either will do.
        drop(rustls::crypto::ring::default_provider().install_default());
        Ok(Self {
            listening: client(info.clone().set_redis_settings(resp3)).map_err(unfit)?,
            client: client(info).map_err(unfit)?,
            hashes: Script::ALL
                .iter()
                .map(|&script| (script, Compiled::new(script.source()).get_hash().to_owned()))
                .collect(),
            calls: Line::default(),
            idle: Line::default(),
        })
    }

    /// Sends one command on a line, within `limit`.
    async fn send(&self, line: &Line, command: &redis::Cmd, limit: Duration) -> Result<Value, RedisError> {
        let mut used = None;
        // Waiting for the connection counts: nobody stands in line for longer than a call may take.
        let outcome = tokio::time::timeout(limit, async {
            let (number, mut connection) = line.connection(&self.client).await?;
            used = Some(number);
            command.query_async(&mut connection).await
        });
        let outcome = outcome
            .await
            .unwrap_or_else(|_| Err((ErrorKind::Io, "no answer", format!("within {limit:?}")).into()));
        if let Some(number) = used
            && outcome.as_ref().is_err_and(|error| error.is_io_error() || error.is_unrecoverable_error())
        {
            line.drop_connection(number).await;
        }
        outcome
    }

    async fn call(&self, script: Script, args: &[Bytes]) -> Result<Value, RedisError> {
        let hash = self.hashes[&script].as_str();
        match self.send(&self.calls, &eval("EVALSHA", hash, args), RESPONSE).await {
            // EVAL loads and runs in one step, so that nothing can come between.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.send(&self.calls, &eval("EVAL", script.source(), args), RESPONSE).await
            }
            outcome => outcome,
        }
    }

    async fn setting(&self, name: &str) -> Result<Option<String>, RedisError> {
        let command = redis::cmd("CONFIG").arg("GET").arg(name).to_owned();
        let reply = self.send(&self.calls, &command, RESPONSE).await?;
        let pairs: Vec<String> = redis::from_redis_value(reply)?;
        Ok(pairs.into_iter().nth(1))
    }

    async fn info(&self) -> Result<HashMap<String, String>, RedisError> {
        let reply = self.send(&self.calls, &redis::cmd("INFO"), RESPONSE).await?;
        let text: String = redis::from_redis_value(reply)?;
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Ok(fields.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }
}

impl Line {
    /// The connection and its number.
    async fn connection(&self, client: &Client) -> Result<(u64, MultiplexedConnection), RedisError> {
        let mut place = self.connection.lock().await;
        if let Some(connection) = &*place {
            return Ok(connection.clone());
        }
        // Calls are timed one by one, since some of them block.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None);
        let connected = client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = connected.map_err(|error| match error.kind() {
            ErrorKind::AuthenticationFailed => error,
            _ if is_untrusted(&error) => {
                (ErrorKind::InvalidClientConfig, "the server is not trusted", error.to_string()).into()
            }
            // Whatever a server says while a connection is made, such as that it has too many,
            // it says of itself and not of a script.
            _ => (ErrorKind::Io, "cannot connect", error.to_string()).into(),
        })?;
        let made = (self.made.fetch_add(1, Ordering::Relaxed), connection);
        *place = Some(made.clone());
        Ok(made)
    }

    /// Drops the connection that failed, and not the one that came after it.
    async fn drop_connection(&self, number: u64) {
        let mut place = self.connection.lock().await;
        if place.as_ref().is_some_and(|(current, _)| *current == number) {
            place.take();
        }
    }
}

/// What went wrong, as the client holds it.
type Shared = Arc<dyn std::error::Error + Send + Sync>;

/// Whether a connection failed because the server's certificate is not one that is trusted.
fn is_untrusted(error: &RedisError) -> bool {
    // The client holds what went wrong in an `Arc`, which is an error of its own.
    let shared = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Shared>());
    let error = shared.and_then(|shared| shared.downcast_ref::<io::Error>());
    let error = error.and_then(io::Error::get_ref).and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(error, Some(rustls::Error::InvalidCertificate(_)))
}

fn eval(command: &str, script: &str, args: &[Bytes]) -> redis::Cmd {
    let mut command = redis::cmd(command);
    command.arg(script).arg(1).arg(PREFIX);
    for arg in args {
        command.arg(&arg[..]);
    }
    command
}

impl Store for Redis {
    fn run(&self, script: Script, args: Vec<Bytes>) -> Answer<'_, Reply> {
        Box::pin(async move {
            let value = self.call(script, &args).await.map_err(|error| trouble(script.name(), &error))?;
            reply(value).map_err(|error| trouble(script.name(), &error))
        })
    }

    fn take_marker(&self, keys: Vec<Bytes>, timeout: Duration) -> Answer<'_, bool> {
        Box::pin(async move {
            let mut command = redis::cmd("BZPOPMIN");
            for key in &keys {
                command.arg(&key[..]);
            }
            // To Redis, zero is for ever.
            command.arg(timeout.as_secs_f64().max(0.001));
            let popped = self.send(&self.idle, &command, timeout + RESPONSE).await;
            popped.map(|value| value != Value::Nil).map_err(|error| trouble("BZPOPMIN", &error))
        })
    }

    fn subscribe(&self, channel: Bytes) -> Subscription {
        listener::subscribe(self.listening.clone(), channel)
    }

    fn scan(&self, prefix: Bytes, cursor: Option<Bytes>) -> Answer<'_, Scanned> {
        Box::pin(async move {
            let mut command = redis::cmd("SCAN");
            command.arg(cursor.as_deref().unwrap_or(b"0"));
            command.arg("MATCH").arg(beginning_with(&prefix)).arg("COUNT").arg(1000);
            let reply = self.send(&self.calls, &command, RESPONSE).await;
            let scanned = reply.and_then(|reply| Ok(redis::from_redis_value(reply)?));
            let (next, keys): (Vec<u8>, Vec<Vec<u8>>) = scanned.map_err(|error| trouble("SCAN", &error))?;
            let next = if next == b"0" { None } else { Some(next.into()) };
            Ok((keys.into_iter().map(Bytes::from).collect(), next))
        })
    }

    fn check(&self) -> Answer<'_, Durability> {
        Box::pin(async move {
            let facts = self.facts().await?;
            facts.version()?;
            facts.eviction()?;
            Ok(facts.durability())
        })
    }
}

/// Redis's pattern for all that begins with these bytes.
fn beginning_with(prefix: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(prefix.len() + 1);
    for &byte in prefix {
        if b"*?[]\\".contains(&byte) {
            pattern.push(b'\\');
        }
        pattern.push(byte);
    }
    pattern.push(b'*');
    pattern
}

fn reply(value: Value) -> Result<Reply, RedisError> {
    Ok(match value {
        Value::Nil => Reply::Nil,
        Value::Int(number) => Reply::Int(number),
        Value::BulkString(bytes) => Reply::Bytes(bytes.into()),
        Value::SimpleString(text) => Reply::Bytes(text.into()),
        Value::Okay => Reply::Bytes(Bytes::from_static(b"OK")),
        Value::Array(items) => Reply::Array(items.into_iter().map(reply).collect::<Result<_, _>>()?),
        other => {
            let shown = format!("{other:?}");
            return Err(
                (ErrorKind::UnexpectedReturnType, "a reply of a kind scripts do not give", shown).into()
            );
        }
    })
}

/// What an error means for whoever called: only a failing script is a defect; a server that does
/// not answer, or not now, is away.
fn trouble(what: &str, error: &RedisError) -> StoreError {
    let text = format!("{what}: {error}");
    if error.kind() == ErrorKind::AuthenticationFailed {
        return StoreError::Unfit(format!("{text}: check the user and the password in the Redis URL"));
    }
    if error.kind() == ErrorKind::InvalidClientConfig {
        return StoreError::Unfit(format!(
            "{text}: name the authority that signed its certificate with --redis-ca"
        ));
    }
    let broken = match error.kind() {
        ErrorKind::UnexpectedReturnType | ErrorKind::Parse => true,
        // `ERR` is a failing script; every other code (OOM, MISCONF, BUSY, LOADING, READONLY, …)
        // is a state of the server.
        ErrorKind::Server(ServerErrorKind::ResponseError) => error.code() == Some("ERR"),
        ErrorKind::Server(kind) => matches!(kind, ServerErrorKind::CrossSlot),
        _ => false,
    };
    if broken { StoreError::Broken(text) } else { StoreError::Unavailable(text) }
}
