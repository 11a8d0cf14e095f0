//! `sentinel actions`: what operators did.

use std::process::ExitCode;

use anyhow::Result;

use super::{
    client::Client,
    out::{cell, on_one_line},
    pages::PageArgs,
    table::Column,
};

const COLUMNS: &[Column<'static>] = &[
    // As wide as they may be, so that what a list goes on with stands below it.
    ("number", &|action| format!("{:>6}", cell(&action["number"]))),
    ("at", &|action| cell(&action["at"])),
    ("status", &|action| format!("{:>6}", cell(&action["status"]))),
    ("who", &|action| on_one_line(&cell(&action["who"]))),
    ("from", &|action| on_one_line(&cell(&action["from"]))),
    ("namespace", &|action| cell(&action["namespace"])),
    ("method", &|action| cell(&action["what"]).split(' ').next().unwrap_or_default().to_owned()),
    ("target", &|action| on_one_line(&cell(&action["target"]))),
];

pub(super) fn run(pages: &PageArgs, client: &Client) -> Result<ExitCode> {
    pages.show("actions", COLUMNS, client, |limit, cursor| {
        let limit = limit.to_string();
        let mut parameters = vec![("limit", &*limit)];
        parameters.extend(cursor.map(|cursor| ("cursor", cursor)));
        client.get_with("/v1/actions", &parameters)
    })
}
