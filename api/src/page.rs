//! Pages of lists: at most so many items, and a cursor for the rest.

use axum::{extract::FromRequestParts, http::request::Parts};
use sentinel_queue::list::Cursor;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{problem::Problem, query::Query};

const DEFAULT: usize = 50;
const MOST: usize = 500;

/// What a cursor begins with, so that one that was not given out is seen.
const MARK: &str = "after:";

/// Which part of a list is wanted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Asked {
    /// How many items at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 50)]
    pub(crate) limit: Option<String>,
    /// Where the page before ended: its `next_cursor`.
    pub(crate) cursor: Option<String>,
}

impl Asked {
    /// How many items are wanted.
    pub(crate) fn limit(&self) -> Result<usize, Problem> {
        match self.limit.as_deref().map(str::parse) {
            None => Ok(DEFAULT),
            Some(Ok(limit)) if (1..=MOST).contains(&limit) => Ok(limit),
            Some(_) => Err(Problem::field("limit", &"must be an integer from 1 to 500")),
        }
    }
}

/// Which part of a list is wanted, checked.
pub(crate) struct Page {
    limit: usize,
    after: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(asked) = Query::<Asked>::from_request_parts(parts, state).await?;
        let limit = asked.limit()?;
        let after = match asked.cursor {
            None => None,
            Some(cursor) => match cursor.strip_prefix(MARK) {
                Some(name) => Some(name.to_owned()),
                None => return Err(forged()),
            },
        };
        Ok(Self { limit, after })
    }
}

impl Page {
    /// How many items are wanted.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// The name behind which the page begins; empty for the first one.
    pub(crate) fn after(&self) -> &str {
        self.after.as_deref().unwrap_or_default()
    }

    /// The page of a list that is sorted by name, and the cursor of the next.
    pub(crate) fn of<T>(&self, items: Vec<T>, name: impl Fn(&T) -> &str) -> (Vec<T>, Option<String>) {
        let after = self.after.as_deref();
        let mut rest = items.into_iter().filter(|item| after.is_none_or(|after| name(item) > after));
        let page: Vec<T> = rest.by_ref().take(self.limit).collect();
        let more = rest.next().is_some();
        let cursor = page.last().filter(|_| more).map(|last| format!("{MARK}{}", name(last)));
        (page, cursor)
    }
}

fn forged() -> Problem {
    Problem::field("cursor", &"must be the next_cursor of a page")
}

/// A place in a list of tasks, for a client to give back.
pub(crate) fn write_cursor(cursor: &Cursor) -> String {
    let Cursor { status, set, score, member } = cursor;
    hex::encode(format!("{status} {set} {score} {member}"))
}

/// A place in a list of tasks that a client gives back, or has forged.
pub(crate) fn read_cursor(text: &str) -> Result<Cursor, Problem> {
    let text = hex::decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(forged)?;
    let parts: Vec<_> = text.split(' ').collect();
    let [status, set, score, member] = parts[..] else { return Err(forged()) };
    let is_plain = |part: &str| part.len() <= 256 && part.bytes().all(|byte| byte.is_ascii_graphic());
    let is_number = score.is_empty() || score.parse::<f64>().is_ok_and(f64::is_finite);
    if !is_number || score.is_empty() != member.is_empty() || !is_plain(set) || !is_plain(member) {
        return Err(forged());
    }
    Ok(Cursor {
        status: status.parse().map_err(|_| forged())?,
        set: set.into(),
        score: score.into(),
        member: member.into(),
    })
}
