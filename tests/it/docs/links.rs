//! Where Markdown points to.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::blocks::Page;

/// Links of all pages of the repository that lead nowhere.
pub(super) fn broken(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    collect(root, &mut files);
    assert!(files.len() > 10, "only {} pages were found", files.len());
    let mut broken = Vec::new();
    for file in &files {
        let page = Page::read(root, file);
        for (number, line) in page.prose.iter().enumerate() {
            for target in targets(line) {
                let wrong = wrong(file, target);
                broken.extend(wrong.map(|why| format!("{}:{}: {target}: {why}", page.name, number + 1)));
            }
        }
    }
    broken
}

/// All Markdown of ours: not what is built or installed.
fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            let is_ours =
                !name.starts_with('.') && !["target", "node_modules", "sentinel-data"].contains(&&*name);
            if is_ours {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            files.push(path);
        }
    }
}

/// What the links of a line point to, those in code left out.
fn targets(line: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    for text in line.split('`').step_by(2) {
        let after = text.split("](").skip(1);
        targets.extend(after.filter_map(|rest| rest.split([')', ' ']).next()));
    }
    // A link whose text is code: `[`file`](file)`.
    let after = line.split("`](").skip(1);
    targets.extend(after.filter_map(|rest| rest.split([')', ' ']).next()));
    targets.sort_unstable();
    targets.dedup();
    targets
}

fn wrong(file: &Path, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() { file.to_owned() } else { file.parent().unwrap_or(file).join(path) };
    if !path.exists() {
        return Some("there is no such file".to_owned());
    }
    if anchor.is_empty() || path.extension().is_none_or(|extension| extension != "md") {
        return None;
    }
    let page = Page::read(Path::new(""), &path);
    let headings: Vec<_> =
        page.prose.iter().filter(|line| line.starts_with('#')).map(|line| slug(line)).collect();
    (!headings.iter().any(|heading| heading == anchor)).then(|| format!("the headings are {headings:?}"))
}

/// A heading as links name it.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
