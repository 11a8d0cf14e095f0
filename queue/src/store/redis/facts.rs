//! What a Redis server says of itself, and whether it may hold the queue.
//!
//! Owns the rules for that. Reads (`INFO`, `CONFIG GET`, `TIME`) and changes nothing.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

use super::{RESPONSE, Redis, trouble};
use crate::store::{Durability, StoreError};

/// What a server says of itself.
#[derive(Clone, Debug)]
pub struct Facts {
    info: HashMap<String, String>,
    /// When its log is forced to the disk, if that may be read.
    appendfsync: Option<String>,
}

/// How much memory a server uses, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// So much.
    pub used: u64,
    /// It refuses writes from here on, if that was set.
    pub limit: Option<u64>,
    /// So much its machine has, if it says that.
    pub machine: Option<u64>,
}

/// A server's clock, and how long it took to ask for it.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// What its clock said.
    pub clock: SystemTime,
    /// What this machine's said half-way between the question and the answer.
    pub here: SystemTime,
    /// From the question to the answer.
    pub round_trip: Duration,
}

impl Facts {
    fn field(&self, name: &str) -> &str {
        self.info.get(name).map(String::as_str).unwrap_or_default()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.field(name).parse().ok()
    }

    /// Its kind and version; an error if that is too old.
    pub fn version(&self) -> Result<String, StoreError> {
        // Valkey says that it is Redis 7.2.4, for those who ask for no more.
        let version = self.field("redis_version");
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_none_or(|major| major < 7) {
            return Err(StoreError::Unfit(format!(
                "Redis has version {version:?} and must have 7 or later: upgrade it"
            )));
        }
        Ok(match self.field("valkey_version") {
            "" => format!("Redis {version}"),
            valkey => format!("Valkey {valkey}"),
        })
    }

    /// What it does when its memory is full; an error if it may drop tasks.
    pub fn eviction(&self) -> Result<&str, StoreError> {
        match self.field("maxmemory_policy") {
            "noeviction" => Ok("noeviction"),
            policy => Err(StoreError::Unfit(format!(
                "Redis has maxmemory-policy {policy:?} and may drop tasks: \
                 CONFIG SET maxmemory-policy noeviction"
            ))),
        }
    }

    /// What its answer to a write is worth.
    pub fn durability(&self) -> Durability {
        if !self.has_log() {
            return Durability::None;
        }
        match self.appendfsync.as_deref() {
            Some("always") => Durability::Always,
            Some("no") => Durability::None,
            // A user that may not read the configuration gets the weaker promise.
            _ => Durability::EverySecond,
        }
    }

    /// Whether it writes a log of what it does.
    pub fn has_log(&self) -> bool {
        self.field("aof_enabled") == "1"
    }

    /// Whether it could not write its log to the disk the last time: it refuses writes meanwhile.
    pub fn has_failing_log(&self) -> bool {
        self.has_log() && self.field("aof_last_write_status") == "err"
    }

    /// Whether it only follows another one, and refuses writes.
    pub fn is_replica(&self) -> bool {
        self.field("role") == "slave"
    }

    /// How much memory it uses.
    pub fn memory(&self) -> Memory {
        let at_least_one = |name| self.number(name).filter(|bytes| *bytes > 0);
        Memory {
            used: self.number("used_memory").unwrap_or(0),
            limit: at_least_one("maxmemory"),
            machine: at_least_one("total_system_memory"),
        }
    }
}

impl Redis {
    /// What it says of itself.
    pub async fn facts(&self) -> Result<Facts, StoreError> {
        let info = self.info().await.map_err(|error| trouble("INFO", &error))?;
        let mut facts = Facts { info, appendfsync: None };
        if facts.has_log() {
            facts.appendfsync = match self.setting("appendfsync").await {
                Err(error) if error.is_io_error() => return Err(trouble("CONFIG", &error)),
                setting => setting.ok().flatten(),
            };
        }
        Ok(facts)
    }

    /// Its clock.
    pub async fn clock(&self) -> Result<Asked, StoreError> {
        let (since, asked_at) = (Instant::now(), SystemTime::now());
        let reply = self.send(&self.calls, &redis::cmd("TIME"), RESPONSE).await;
        let round_trip = since.elapsed();
        let said = reply.and_then(|reply| Ok(redis::from_redis_value(reply)?));
        let (seconds, micros): (u64, u64) = said.map_err(|error| trouble("TIME", &error))?;
        let clock = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros);
        Ok(Asked { clock, here: asked_at + round_trip / 2, round_trip })
    }
}
