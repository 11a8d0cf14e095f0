//! A Redis as a home of the queue: whether it may be that, what it promises, and how far away it is.

use std::{path::Path, sync::Arc, time::Duration};

use indicatif::BinaryBytes;
use sentinel_queue::{
    Queue,
    store::{
        Durability, StoreError,
        redis::{Asked, Facts, Memory, Redis},
    },
};

use super::Examined;
use crate::{cli::finding::Finding, config::discreet, serve::open_redis};

/// How often its clock is asked for: the fastest answer tells the most.
const ASKED: usize = 9;

/// A worker makes a round trip for each task or few; with more than this, they are most of its time.
const FAR: Duration = Duration::from_millis(5);

/// Clocks that differ by more make due times and certificates surprising.
const APART: Duration = Duration::from_secs(1);

pub(super) async fn look(url: &str, ca: Option<&Path>) -> Examined {
    let Ok(redis) = open_redis(url, ca) else {
        // Why not has been told of the configuration.
        return Examined { findings: Vec::new(), queue: None };
    };
    let redis = Arc::new(redis);
    let facts = match redis.facts().await {
        Ok(facts) => facts,
        Err(error) => return Examined { findings: vec![away(url, &error)], queue: None },
    };
    let mut findings = vec![Finding::ok("store", format!("{} answers", discreet(url)))];
    findings.extend([version(&facts), eviction(&facts), durability(&facts), memory(facts.memory())]);
    findings.extend(role(&facts));
    findings.extend(clock(&redis).await);
    Examined { findings, queue: Some(Queue::new(redis)) }
}

fn away(url: &str, error: &StoreError) -> Finding {
    let fix = match error {
        StoreError::Unavailable(_) => "start it, or check its address and the network between",
        StoreError::Broken(_) => "name a Redis or Valkey of version 7 or later",
        StoreError::Unfit(_) => "as it says",
    };
    Finding::failed("store", format!("{}: {error}", discreet(url)), fix)
}

fn version(facts: &Facts) -> Finding {
    match facts.version() {
        Ok(version) => Finding::ok("version", version),
        Err(error) => Finding::failed("version", error.to_string(), "upgrade it to version 7 or later"),
    }
}

fn eviction(facts: &Facts) -> Finding {
    match facts.eviction() {
        Ok(policy) => Finding::ok("eviction", format!("{policy}: it refuses rather than drops")),
        Err(error) => Finding::failed(
            "eviction",
            error.to_string(),
            "CONFIG SET maxmemory-policy noeviction, and the same in its configuration file",
        ),
    }
}

fn durability(facts: &Facts) -> Finding {
    if facts.has_failing_log() {
        return Finding::failed(
            "durability",
            "it could not write its log to the disk, and refuses writes",
            "make room on its disk: it takes writes again as soon as it can write itself",
        );
    }
    let level = facts.durability();
    match level {
        Durability::Always => {
            Finding::ok("durability", "always: accepted tasks are on disk before they are answered")
        }
        Durability::EverySecond => Finding::warning(
            "durability",
            "everysec: a crash of Redis may lose about the last second of accepted tasks",
            "CONFIG SET appendfsync always, to lose none",
        ),
        Durability::None => Finding::warning(
            "durability",
            "none: a crash of Redis loses accepted tasks",
            "CONFIG SET appendonly yes and CONFIG SET appendfsync always, to lose none",
        ),
    }
}

fn memory(Memory { used, limit, machine }: Memory) -> Finding {
    let shown = |bytes| BinaryBytes(bytes).to_string();
    let Some(limit) = limit else {
        let says = format!("{} used, without a limit", shown(used));
        return match machine {
            Some(machine) if used > machine / 2 => Finding::warning(
                "memory",
                format!("{says}, of the {} of its machine", shown(machine)),
                "CONFIG SET maxmemory below what the machine has: full, it then refuses instead of being killed",
            ),
            _ => Finding::ok("memory", says),
        };
    };
    let says = format!("{} used of {}", shown(used), shown(limit));
    let fix =
        "CONFIG SET maxmemory higher, keep finished tasks for a shorter time (retain), or purge a queue";
    match used.saturating_mul(100) / limit {
        ..80 => Finding::ok("memory", says),
        80..100 => Finding::warning("memory", format!("{says}: when it is full, submits are refused"), fix),
        _ => Finding::failed("memory", format!("{says}: submits are refused"), fix),
    }
}

/// Of a server that follows another one.
fn role(facts: &Facts) -> Option<Finding> {
    facts.is_replica().then(|| {
        Finding::failed(
            "role",
            "it is a replica, and refuses writes",
            "name the primary, or make this one that: REPLICAOF NO ONE",
        )
    })
}

/// How far away it is, and how far apart its clock.
async fn clock(redis: &Redis) -> Vec<Finding> {
    let mut asked = Vec::with_capacity(ASKED);
    for _ in 0..ASKED {
        match redis.clock().await {
            Ok(answer) => asked.push(answer),
            Err(error) => {
                let fix = "look again: it answered a moment ago";
                return vec![Finding::failed("latency", error.to_string(), fix)];
            }
        }
    }
    asked.sort_by_key(|asked| asked.round_trip);
    vec![latency(asked[ASKED / 2].round_trip), difference(&asked[0])]
}

fn latency(round_trip: Duration) -> Finding {
    let says = format!("{:.1} ms to it and back", round_trip.as_secs_f64() * 1000.0);
    if round_trip > FAR {
        return Finding::warning(
            "latency",
            says,
            "run servers near it: in the same room, better the same rack",
        );
    }
    Finding::ok("latency", says)
}

fn difference(asked: &Asked) -> Finding {
    let (apart, word) = match asked.clock.duration_since(asked.here) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    let says = format!("the store's is {:.1} ms {word} this machine's", apart.as_secs_f64() * 1000.0);
    if apart > APART {
        let fix = "have both follow NTP: times are the store's, and those of clients and logs are not";
        return Finding::warning("clock", says, fix);
    }
    Finding::ok("clock", says)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::cli::finding::Verdict;

    #[test]
    fn memory_is_judged_by_what_is_left() {
        for (used, limit, machine, verdict) in [
            (10, Some(100), None, Verdict::Ok),
            (80, Some(100), None, Verdict::Warning),
            (100, Some(100), None, Verdict::Failed),
            (10, None, Some(100), Verdict::Ok),
            (60, None, Some(100), Verdict::Warning),
            (60, None, None, Verdict::Ok),
        ] {
            let found = memory(Memory { used, limit, machine });
            assert_eq!(found.verdict, verdict, "{found:?}");
        }
    }

    #[test]
    fn clocks_apart_and_long_ways_are_told() {
        let here = SystemTime::now();
        for (clock, verdict) in [
            (here + Duration::from_millis(900), Verdict::Ok),
            (here + Duration::from_secs(2), Verdict::Warning),
            (here - Duration::from_secs(2), Verdict::Warning),
        ] {
            let found = difference(&Asked { clock, here, round_trip: Duration::ZERO });
            assert_eq!(found.verdict, verdict, "{found:?}");
        }
        assert_eq!(latency(Duration::from_millis(1)).verdict, Verdict::Ok);
        assert_eq!(latency(Duration::from_millis(20)).verdict, Verdict::Warning);
    }
}
