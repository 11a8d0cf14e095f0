//! Lists that the API gives page by page.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::{
    client::{self, Client},
    out,
    table::{self, Column},
};

/// As many as the API gives without being asked for a number.
const DEFAULT: usize = 50;

/// As many as it gives at most.
pub(super) const MOST: usize = 500;

/// How much of a list is shown.
#[derive(Args)]
pub(super) struct PageArgs {
    /// How many at most; with --all, how many at a time [default: 50]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// All of them
    #[arg(long)]
    all: bool,
    /// Go on where a list ended
    #[arg(long)]
    cursor: Option<String>,
}

impl PageArgs {
    /// Shows a list of `things`; `get` gives so many of them, from a cursor on.
    pub(super) fn show(
        &self,
        things: &str,
        columns: &[Column<'_>],
        client: &Client,
        get: impl Fn(usize, Option<&str>) -> Result<String>,
    ) -> Result<ExitCode> {
        let limit = self.limit.unwrap_or(DEFAULT);
        let mut cursor = self.cursor.clone();
        let mut shown = 0;
        loop {
            let wanted = match (self.all, client.json) {
                (true, _) => self.limit.unwrap_or(MOST),
                (false, true) => limit,
                // The API may look at many and find few: people get as many as they asked for.
                (false, false) => (limit - shown).min(MOST),
            };
            let answer = get(wanted, cursor.as_deref())?;
            let page = client::parse(&answer)?;
            let items = page[things].as_array().map(Vec::as_slice).unwrap_or_default();
            let next = page["next_cursor"].as_str();
            if client.json {
                out::line(&answer)?;
            } else if shown > 0 {
                table::print_more(items, columns)?;
            } else if !items.is_empty() || next.is_none() {
                table::print(&page[things], columns)?;
            }
            shown += items.len();
            match next {
                None => return Ok(ExitCode::SUCCESS),
                Some(next) if self.all || (!client.json && shown < limit) => cursor = Some(next.to_owned()),
                Some(next) => {
                    if !client.json {
                        eprintln!("there are more: --all, or --cursor {next}");
                    }
                    return Ok(ExitCode::SUCCESS);
                }
            }
        }
    }
}
