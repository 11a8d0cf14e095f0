//! Which tasks a page is about: what stands behind its `?`, as people type it, and as the queue takes it.

use sentinel_queue::{JobName, Millis, QueueName, Status, Tag, list, request};
use serde::Deserialize;

use super::frame::{Frame, Link};
use crate::{auth::Caller, problem::Problem, wire};

/// What is asked for, as text. A form that is sent sends its empty fields, too.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    pub(crate) status: String,
    pub(crate) queue: String,
    pub(crate) job: String,
    pub(crate) tag: String,
    pub(crate) since: String,
    pub(crate) until: String,
}

/// What is asked for, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) status: Option<Status>,
    pub(crate) queue: Option<QueueName>,
    pub(crate) job: Option<JobName>,
    pub(crate) tag: Option<Tag>,
    pub(crate) since: Option<Millis>,
    pub(crate) until: Option<Millis>,
}

impl Asked {
    /// Checks all of it.
    pub(crate) fn check(&self) -> Result<Filter, Problem> {
        Ok(Filter {
            status: parsed("status", &self.status)?,
            queue: parsed("queue", &self.queue)?,
            job: parsed("job", &self.job)?,
            tag: parsed("tag", &self.tag)?,
            since: instant("since", &self.since)?,
            until: instant("until", &self.until)?,
        })
    }
}

impl Filter {
    /// As the queue takes it, of these states if none is asked for.
    pub(crate) fn of(&self, caller: &Caller, statuses: &[Status]) -> list::Filter {
        list::Filter {
            namespace: caller.namespace.clone(),
            statuses: self.status.map_or_else(|| statuses.to_vec(), |status| vec![status]),
            queue: self.queue.clone(),
            job: self.job.clone(),
            tag: self.tag.clone(),
            since: self.since,
            before: self.until,
        }
    }

    /// Whether anything but a state is asked for.
    pub(crate) fn is_narrow(&self) -> bool {
        *self != Self { status: self.status, ..Self::default() }
    }

    /// What is asked for, by the names that pages and forms have for it.
    pub(crate) fn fields(&self) -> Vec<(&'static str, String)> {
        let time = |at: Option<Millis>| at.map(wire::time);
        let fields = [
            ("status", self.status.map(|status| status.to_string())),
            ("queue", self.queue.as_ref().map(ToString::to_string)),
            ("job", self.job.as_ref().map(ToString::to_string)),
            ("tag", self.tag.as_ref().map(ToString::to_string)),
            ("since", time(self.since)),
            ("until", time(self.until)),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// A link to a page that asks for the same.
    pub(crate) fn link(&self, frame: &Frame, path: &str) -> Link {
        self.fields().into_iter().fold(frame.link(path), |link, (name, value)| link.with(name, value))
    }

    /// What is asked for, in words: what follows `tasks`.
    pub(crate) fn words(&self) -> String {
        let fields = self.fields().into_iter().map(|(name, value)| match name {
            "status" => format!("that are {value}"),
            "since" => format!("accepted since {value}"),
            "until" => format!("accepted before {value}"),
            _ => format!("of the {name} {value}"),
        });
        let words: Vec<_> = fields.collect();
        if words.is_empty() { "of any kind".into() } else { words.join(", ") }
    }
}

fn parsed<T: std::str::FromStr<Err: ToString>>(name: &str, text: &str) -> Result<Option<T>, Problem> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error: T::Err| Problem::field(name, &error))
}

/// A time, also as a browser's field gives it: without seconds and a zone, which is UTC here.
fn instant(name: &str, text: &str) -> Result<Option<Millis>, Problem> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let whole = match text.len() {
        16 => format!("{text}:00Z"),
        19 => format!("{text}Z"),
        _ => text.to_owned(),
    };
    request::instant_of(&whole).map(Some).map_err(|rule| Problem::field(name, &rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browsers_time_is_utc() {
        for text in ["2026-01-31T12:00", "2026-01-31T12:00:00", " 2026-01-31T12:00:00.000Z "] {
            assert_eq!(instant("since", text).unwrap(), Some(Millis(1_769_860_800_000)), "{text}");
        }
        assert!(instant("since", "yesterday").is_err());
    }

    #[test]
    fn what_is_left_empty_is_not_asked_for() {
        let filter = Asked { queue: " ".into(), tag: "a:b".into(), ..Asked::default() }.check().unwrap();
        assert_eq!(filter.fields(), [("tag", "a:b".to_owned())]);
        assert!(filter.is_narrow());
        assert!(!Filter { status: Some(Status::Failed), ..Filter::default() }.is_narrow());
        assert!(Asked { status: "x".into(), ..Asked::default() }.check().is_err());
    }
}
