//! Units of systemd, as far as they say what is started.

use super::{blocks::Page, mapping::UNITS, root};

/// What a unit of the docs starts, as a shell would be told; none: there is no such unit.
pub(super) fn command(unit: &str) -> Option<String> {
    let page = Page::read(root(), &root().join(UNITS));
    let file = format!("/{unit}.service");
    let of_unit = |text: &str| text.lines().next().is_some_and(|line| line.ends_with(&file));
    page.blocks
        .iter()
        .find(|block| block.language == "ini" && of_unit(&block.text))
        .and_then(|block| started(&block.text))
}

/// The same of a unit's text.
pub(super) fn started(text: &str) -> Option<String> {
    let all = |key: &str| text.lines().filter_map(|line| line.strip_prefix(key)).collect::<Vec<_>>();
    let exec = all("ExecStart=").pop()?;
    let mut words = all("Environment=");
    words.push(exec);
    Some(words.join(" "))
}
