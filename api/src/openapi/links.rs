//! Where one goes on from an answer: which of its fields are parameters of which operations.

use std::collections::BTreeMap;

use utoipa::openapi::{
    RefOr,
    link::{Link, LinkBuilder},
};

/// Operations that answer with something, the field that names it, the parameter that takes the name,
/// and what can then be asked.
type Links = (&'static [&'static str], &'static str, &'static str, &'static [&'static str]);

const LINKS: [Links; 5] = [
    (
        &["submit_task", "create_task", "get_task", "cancel_task", "redrive_task", "reschedule_task"],
        "task_id",
        "id",
        &[
            "get_task",
            "get_result",
            "get_log",
            "follow_task",
            "cancel_task",
            "redrive_task",
            "reschedule_task",
        ],
    ),
    (
        &["get_queue", "set_queue", "pause_queue", "resume_queue"],
        "name",
        "queue",
        &["get_queue", "set_queue", "pause_queue", "resume_queue", "purge_queue"],
    ),
    (
        &["get_schedule", "set_schedule", "pause_schedule", "resume_schedule"],
        "name",
        "name",
        &["get_schedule", "set_schedule", "pause_schedule", "resume_schedule", "delete_schedule"],
    ),
    (&["start_operation", "purge_queue"], "operation_id", "id", &["get_operation"]),
    (&["create_key"], "key_id", "id", &["get_key", "revoke_key"]),
];

/// Where one goes on from this operation's answer.
pub(super) fn of(operation: &str) -> BTreeMap<String, RefOr<Link>> {
    let links = LINKS.iter().filter(|(from, ..)| from.contains(&operation));
    let each = links.flat_map(|(_, field, parameter, to)| {
        to.iter().map(move |to| {
            let field = format!("$response.body#/{field}");
            let link = LinkBuilder::new().operation_id(*to).parameter(*parameter, field).build();
            ((*to).to_owned(), RefOr::T(link))
        })
    });
    each.collect()
}
