//! The commands that scripts may call: how they are spelled, and what they answer.
//!
//! It knows no Lua and no rows. The list is that of `scripts/README.md`; whatever is not on it is
//! refused, also where Redis would do it.

use std::{
    ops::Range,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;

use super::{
    keyspace::{ALL_PLACES, ALL_RANKS, Keyspace, Order, Rows, Trouble, Writable, rank},
    number,
};
use crate::store::Reply;

/// One argument of a command.
pub(super) type Arg = Vec<u8>;

/// What a command answers.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// Redis's status `OK`.
    Done,
    /// Anything else.
    Reply(Reply),
}

type Outcome = Result<Answer, Trouble>;

const READING: &[&str] = &[
    "EXISTS",
    "GET",
    "GETRANGE",
    "HEXISTS",
    "HGET",
    "HGETALL",
    "HKEYS",
    "HLEN",
    "HMGET",
    "MGET",
    "TIME",
    "ZCARD",
    "ZMSCORE",
    "ZRANGE",
    "ZRANGEBYSCORE",
    "ZREVRANGEBYSCORE",
    "ZSCORE",
];

const WRITING: &[&str] = &[
    "DEL",
    "HDEL",
    "HINCRBY",
    "HSET",
    "HSETNX",
    "INCRBY",
    "MSET",
    "PUBLISH",
    "SET",
    "ZADD",
    "ZPOPMIN",
    "ZREM",
    "ZREMRANGEBYRANK",
];

/// Runs a command that reads; refuses every other. `command` is in capitals.
pub(super) fn read<T: Rows>(keyspace: &Keyspace<T>, command: &str, args: &[Arg]) -> Outcome {
    Ok(Answer::Reply(match (command, args) {
        ("EXISTS", [_, ..]) => count(args, |key| keyspace.contains(key))?,
        ("GET", [key]) => text(keyspace.string(key, |len| 0..len)?),
        ("GETRANGE", [key, start, end]) => {
            let (start, end) = (integer(start)?, integer(end)?);
            let part = keyspace.string(key, |len| part(start, end, len))?;
            Reply::Bytes(part.unwrap_or_default())
        }
        ("MGET", [_, ..]) => list(args, |key| match keyspace.string(key, |len| 0..len) {
            Err(Trouble::Refused(_)) => Ok(Reply::Nil),
            string => Ok(text(string?)),
        })?,
        ("HEXISTS", [key, field]) => Reply::Int(i64::from(keyspace.fields(key, &[field])?[0].is_some())),
        ("HGET", [key, field]) => text(keyspace.fields(key, &[field])?.remove(0)),
        ("HMGET", [key, fields @ ..]) if !fields.is_empty() => {
            Reply::Array(keyspace.fields(key, fields)?.into_iter().map(text).collect())
        }
        ("HGETALL", [key]) => {
            let fields = keyspace.all_fields(key)?.into_iter();
            Reply::Array(
                fields.flat_map(|(field, value)| [Reply::Bytes(field), Reply::Bytes(value)]).collect(),
            )
        }
        ("HKEYS", [key]) => Reply::Array(
            keyspace.all_fields(key)?.into_iter().map(|(field, _)| Reply::Bytes(field)).collect(),
        ),
        ("HLEN", [key]) => int(keyspace.hash_len(key)?),
        ("ZCARD", [key]) => int(keyspace.zset_len(key)?),
        ("ZSCORE", [key, member]) => score(keyspace.scores(key, &[member])?.remove(0)),
        ("ZMSCORE", [key, members @ ..]) if !members.is_empty() => {
            Reply::Array(keyspace.scores(key, members)?.into_iter().map(score).collect())
        }
        ("ZRANGE", [key, start, stop, options @ ..]) => {
            let (start, stop) = (integer(start)?, integer(stop)?);
            let options = RangeOptions::parse(options)?;
            if options.places != ALL_PLACES {
                return Err(Trouble::refused(
                    "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
                ));
            }
            let places = places(start, stop, keyspace.zset_len(key)?);
            options.reply(keyspace.members(key, ALL_RANKS, Order::Up, places)?)
        }
        ("ZRANGEBYSCORE", [key, min, max, options @ ..]) => {
            let ranks = bound(min, Edge::Lower)?..bound(max, Edge::Upper)?;
            let options = RangeOptions::parse(options)?;
            options.reply(keyspace.members(key, ranks, Order::Up, options.places.clone())?)
        }
        ("ZREVRANGEBYSCORE", [key, max, min, options @ ..]) => {
            let ranks = bound(min, Edge::Lower)?..bound(max, Edge::Upper)?;
            let options = RangeOptions::parse(options)?;
            options.reply(keyspace.members(key, ranks, Order::Down, options.places.clone())?)
        }
        ("TIME", []) => time(),
        _ => return Err(refusal(command)),
    }))
}

/// Runs any command. `command` is in capitals.
pub(super) fn write(keyspace: &mut Keyspace<Writable<'_>>, command: &str, args: &[Arg]) -> Outcome {
    Ok(Answer::Reply(match (command, args) {
        ("SET", [key, value]) => {
            keyspace.set(key, value)?;
            return Ok(Answer::Done);
        }
        ("MSET", pairs) if are_pairs(pairs) => {
            for pair in pairs.chunks_exact(2) {
                keyspace.set(&pair[0], &pair[1])?;
            }
            return Ok(Answer::Done);
        }
        ("DEL", [_, ..]) => count(args, |key| keyspace.delete(key))?,
        ("INCRBY", [key, by]) => {
            let by = integer(by)?;
            let old = keyspace.string(key, |len| 0..len)?.map_or(Ok(0), |old| integer(&old))?;
            let new = sum(old, by)?;
            keyspace.set(key, new.to_string().as_bytes())?;
            Reply::Int(new)
        }
        ("HSET", [key, pairs @ ..]) if are_pairs(pairs) => {
            let pairs = pairs.chunks_exact(2).map(|pair| (&pair[0][..], &pair[1][..]));
            int(keyspace.set_fields(key, pairs)?)
        }
        ("HSETNX", [key, field, value]) => match keyspace.fields(key, &[field])?.remove(0) {
            Some(_) => Reply::Int(0),
            None => int(keyspace.set_fields(key, std::iter::once((&field[..], &value[..])))?),
        },
        ("HINCRBY", [key, field, by]) => {
            let by = integer(by)?;
            let old = keyspace.fields(key, &[field])?.remove(0);
            let old = old.map_or(Some(0), |old| number::integer(&old));
            let new = sum(old.ok_or_else(|| Trouble::refused("ERR hash value is not an integer"))?, by)?;
            keyspace.set_fields(key, std::iter::once((&field[..], new.to_string().as_bytes())))?;
            Reply::Int(new)
        }
        ("HDEL", [key, fields @ ..]) if !fields.is_empty() => int(keyspace.remove_fields(key, fields)?),
        ("ZADD", [key, pairs @ ..]) if are_pairs(pairs) => {
            let pairs: Vec<_> = pairs
                .chunks_exact(2)
                .map(|pair| Some((number::float(&pair[0])?, &pair[1][..])))
                .collect::<Option<_>>()
                .ok_or_else(|| Trouble::refused("ERR value is not a valid float"))?;
            int(keyspace.add_members(key, pairs.into_iter())?)
        }
        ("ZREM", [key, members @ ..]) if !members.is_empty() => int(keyspace.remove_members(key, members)?),
        ("ZPOPMIN", [key, count]) => {
            let count = number::integer(count).and_then(|count| usize::try_from(count).ok());
            let count =
                count.ok_or_else(|| Trouble::refused("ERR value is out of range, must be positive"))?;
            with_scores(keyspace.pop_members(key, count)?)
        }
        ("ZREMRANGEBYRANK", [key, first, last]) => {
            let last = number::integer(last).and_then(|last| usize::try_from(last).ok());
            match (number::integer(first), last) {
                (Some(0), Some(last)) => int(keyspace.pop_members(key, last + 1)?.len() as u64),
                _ => {
                    return Err(Trouble::refused(
                        "ERR the embedded store removes from the first on, by rank",
                    ));
                }
            }
        }
        ("PUBLISH", [channel, message]) => {
            keyspace.say(channel, message);
            // How many hear it is not known before it is committed.
            Reply::Int(0)
        }
        _ if WRITING.contains(&command) => return Err(wrong_count(command)),
        _ => return read(keyspace, command, args),
    }))
}

fn refusal(command: &str) -> Trouble {
    if READING.contains(&command) {
        wrong_count(command)
    } else if WRITING.contains(&command) {
        Trouble::refused(format!("ERR Write commands are not allowed from read-only scripts: {command}"))
    } else {
        Trouble::refused(format!("ERR the embedded store has no command {command}"))
    }
}

fn wrong_count(command: &str) -> Trouble {
    let command = command.to_ascii_lowercase();
    Trouble::refused(format!("ERR wrong number of arguments for '{command}' command"))
}

/// The options of the commands that answer a range of a sorted set.
struct RangeOptions {
    with_scores: bool,
    /// Counted from the first that is within the range.
    places: Range<usize>,
}

impl RangeOptions {
    fn parse(mut options: &[Arg]) -> Result<Self, Trouble> {
        let mut parsed = Self { with_scores: false, places: ALL_PLACES };
        while let [option, rest @ ..] = options {
            options = match (option.to_ascii_uppercase().as_slice(), rest) {
                (b"WITHSCORES", rest) => {
                    parsed.with_scores = true;
                    rest
                }
                (b"LIMIT", [offset, limit, rest @ ..]) => {
                    // A negative offset is beyond the last; a negative limit is none.
                    let offset = usize::try_from(integer(offset)?).unwrap_or(usize::MAX);
                    let limit = usize::try_from(integer(limit)?).unwrap_or(usize::MAX);
                    parsed.places = offset..offset.saturating_add(limit);
                    rest
                }
                _ => return Err(Trouble::refused("ERR syntax error")),
            };
        }
        Ok(parsed)
    }

    fn reply(&self, members: Vec<(Bytes, f64)>) -> Reply {
        if self.with_scores {
            with_scores(members)
        } else {
            Reply::Array(members.into_iter().map(|(member, _)| Reply::Bytes(member)).collect())
        }
    }
}

fn with_scores(members: Vec<(Bytes, f64)>) -> Reply {
    Reply::Array(
        members.into_iter().flat_map(|(member, at)| [Reply::Bytes(member), score(Some(at))]).collect(),
    )
}

enum Edge {
    Lower,
    Upper,
}

/// The first rank that is within a lower bound, or the first beyond an upper one.
fn bound(text: &[u8], edge: Edge) -> Result<u64, Trouble> {
    let (number, exclusive) = text.strip_prefix(b"(").map_or((text, false), |number| (number, true));
    let score = number::float(number).ok_or_else(|| Trouble::refused("ERR min or max is not a float"))?;
    Ok(match (edge, exclusive) {
        (Edge::Lower, false) | (Edge::Upper, true) => rank(score),
        (Edge::Lower, true) | (Edge::Upper, false) => rank(score) + 1,
    })
}

/// Places in a sorted set, both inclusive, negative ones counted from its end.
fn places(start: i64, stop: i64, len: u64) -> Range<usize> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let from_end = |place: i64| if place < 0 { place.saturating_add(len) } else { place };
    let start = usize::try_from(from_end(start)).unwrap_or(0);
    let end = usize::try_from(from_end(stop).saturating_add(1)).unwrap_or(0);
    start..end
}

/// As [`places`], of the bytes of a string; an end before the first byte is the first byte.
fn part(start: i64, end: i64, len: usize) -> Range<usize> {
    let backwards = start < 0 && end < 0 && start > end;
    let range = places(start, end, len as u64);
    let end = range.end.max(1).min(len);
    if backwards || range.start >= end { 0..0 } else { range.start..end }
}

fn integer(text: &[u8]) -> Result<i64, Trouble> {
    number::integer(text).ok_or_else(|| Trouble::refused("ERR value is not an integer or out of range"))
}

fn sum(old: i64, by: i64) -> Result<i64, Trouble> {
    old.checked_add(by).ok_or_else(|| Trouble::refused("ERR increment or decrement would overflow"))
}

fn are_pairs(args: &[Arg]) -> bool {
    !args.is_empty() && args.len().is_multiple_of(2)
}

fn count(keys: &[Arg], mut is_counted: impl FnMut(&[u8]) -> Result<bool, Trouble>) -> Result<Reply, Trouble> {
    let mut counted = 0;
    for key in keys {
        counted += i64::from(is_counted(key)?);
    }
    Ok(Reply::Int(counted))
}

fn list(keys: &[Arg], reply: impl FnMut(&Arg) -> Result<Reply, Trouble>) -> Result<Reply, Trouble> {
    keys.iter().map(reply).collect::<Result<_, _>>().map(Reply::Array)
}

fn text(value: Option<Bytes>) -> Reply {
    value.map_or(Reply::Nil, Reply::Bytes)
}

fn score(score: Option<f64>) -> Reply {
    text(score.map(|score| Bytes::from(number::to_text(score))))
}

fn int(number: u64) -> Reply {
    Reply::Int(i64::try_from(number).expect("no collection is that long"))
}

fn time() -> Reply {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Reply::Array(
        [now.as_secs().to_string(), now.subsec_micros().to_string()]
            .map(|number| Reply::Bytes(Bytes::from(number)))
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_those_that_scripts_are_told_of() {
        let told = include_str!("../../scripts/README.md").rsplit('`').nth(1).expect("a list in backticks");
        let mut ours = [READING, WRITING].concat();
        ours.sort_unstable();
        assert_eq!(told.split_whitespace().collect::<Vec<_>>(), ours);
    }
}
