//! axe, which knows what keeps people out of a page: it must find nothing serious on any.
//!
//! It is not of this repository: `cargo xtask test` fetches it and says where it is.

use std::{path::PathBuf, sync::OnceLock};

use serde_json::{Value, json};

use crate::browser::Browser;

/// Where it is.
const AXE: &str = "SENTINEL_TEST_AXE";

fn source() -> &'static str {
    static SOURCE: OnceLock<String> = OnceLock::new();
    SOURCE.get_or_init(|| {
        let file = std::env::var_os(AXE).map(PathBuf::from);
        let file =
            file.unwrap_or_else(|| panic!("{AXE} does not name a file: `cargo xtask test` fetches it"));
        std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    })
}

/// What is wrong with a page, by its rules and the best practices that axe knows; colours are looked at, too.
pub(super) fn check(browser: &Browser, what: &str) {
    // WebDriver runs it beside the page, whose own policy stays as it is.
    let script = format!(
        "{}; const done = arguments[arguments.length - 1];
         axe.run(document, {{ resultTypes: ['violations'] }}).then(found => done(found.violations.map(one => ({{
             rule: one.id, impact: one.impact, help: one.help, nodes: one.nodes.slice(0, 5).map(node => [node.html.slice(0, 200), node.failureSummary]),
         }}))), error => done([{{ rule: 'axe', impact: 'critical', help: String(error), nodes: [] }}]))",
        source()
    );
    let found = browser.run(&script, vec![]);
    let is_serious =
        |one: &&Value| ["serious", "critical", "moderate"].map(Value::from).contains(&one["impact"]);
    let serious: Vec<_> = found.as_array().expect("a list").iter().filter(is_serious).collect();
    assert!(serious.is_empty(), "{what}: {:#}", json!(serious));
}
