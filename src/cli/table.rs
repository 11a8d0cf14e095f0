//! Tables for people, made of the API's answers.

use anyhow::Result;
use comfy_table::{Table, presets};
use serde_json::Value;

use super::out::{self, cell, printable};

/// A column: its heading, and how its cell is made of an item.
pub(super) type Column<'a> = (&'a str, &'a dyn Fn(&Value) -> String);

/// Prints a list under its headings.
pub(super) fn print(items: &Value, columns: &[Column<'_>]) -> Result<()> {
    let items = items.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut table = table(items, columns);
    table.set_header(columns.iter().map(|(heading, _)| heading.to_uppercase()));
    out::line(table)
}

/// Prints what a list goes on with.
pub(super) fn print_more(items: &[Value], columns: &[Column<'_>]) -> Result<()> {
    if items.is_empty() { Ok(()) } else { out::line(table(items, columns)) }
}

fn table(items: &[Value], columns: &[Column<'_>]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for item in items {
        table.add_row(columns.iter().map(|(_, cell)| cell(item)));
    }
    table
}

/// Prints the fields of one thing, one below the other.
pub(super) fn fields(thing: &Value) -> Result<()> {
    for (field, value) in thing.as_object().into_iter().flatten() {
        let text = match value {
            Value::Object(_) | Value::Array(_) => printable(&value.to_string()),
            other => cell(other),
        };
        out::line(format_args!("{field:15} {text}"))?;
    }
    Ok(())
}
