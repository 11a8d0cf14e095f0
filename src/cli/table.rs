//! Tables for people, made from the API's lists.

use comfy_table::{Table, presets};
use serde_json::Value;

/// A column: its heading, and how its cell is made of an item.
pub(super) type Column<'a> = (&'a str, &'a dyn Fn(&Value) -> String);

/// Prints a list.
pub(super) fn print(items: &Value, columns: &[Column<'_>]) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|(heading, _)| heading.to_uppercase()));
    for item in items.as_array().into_iter().flatten() {
        table.add_row(columns.iter().map(|(_, cell)| cell(item)));
    }
    println!("{table}");
}

/// A field as a cell: text without quotes, nothing for nothing, lists with commas.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => printable(text),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Text that a job or a client chose must not steer the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}
