//! What goes over the wire: shapes for clients, made of the queue's own types. Requests are only
//! described here: `sentinel_queue::request` takes them apart and knows the ranges.

mod key;
pub(crate) mod kind;
mod operation;
mod policy;
mod queue;
mod schedule;
mod task;

use sentinel_queue::Millis;
use serde_json::value::RawValue;

pub(crate) use self::{
    key::{KeyView, NewKey},
    operation::{NewOperation, OperationView},
    queue::{QueueSettings, QueueView},
    schedule::{NewSchedule, ScheduleView},
    task::{
        Accepted, AcceptedBatch, KnownTask, NewBatch, NewTask, Reschedule, Stats, TaskBrief, TaskList,
        TaskView,
    },
};

/// A time as clients see it.
pub(crate) fn time(at: Millis) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    format!("{at:.3}")
}

/// JSON that was checked when it was accepted, as it is.
fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_exactly_three_decimals() {
        assert_eq!(time(Millis(1_800_000_000_000)), "2027-01-15T08:00:00.000Z");
        assert_eq!(time(Millis(1_800_000_000_120)), "2027-01-15T08:00:00.120Z");
    }
}
