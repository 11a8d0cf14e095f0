//! What was looked at and found: a verdict, words, and the fix.

use anyhow::Result;
use serde::Serialize;

use super::out::{self, on_one_line};

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    /// What was seen.
    pub(super) says: String,
    /// What to do; of what is well, nothing.
    pub(super) fix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Ok,
    /// It works, but not as well, or not for long.
    Warning,
    /// It does not work.
    Failed,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

impl Finding {
    /// What was said to servers cannot be used.
    pub(super) fn wrong(error: &anyhow::Error) -> Self {
        let fix = "mend that first: `sentinel config reference` tells what can be said";
        Self::failed("config", format!("{error:#}"), fix)
    }

    /// It is well.
    pub(super) fn ok(check: &'static str, says: impl AsRef<str>) -> Self {
        Self::new(check, Verdict::Ok, says.as_ref(), None)
    }

    /// It works, but.
    pub(super) fn warning(check: &'static str, says: impl AsRef<str>, fix: impl AsRef<str>) -> Self {
        Self::new(check, Verdict::Warning, says.as_ref(), Some(fix.as_ref()))
    }

    /// It does not work.
    pub(super) fn failed(check: &'static str, says: impl AsRef<str>, fix: impl AsRef<str>) -> Self {
        Self::new(check, Verdict::Failed, says.as_ref(), Some(fix.as_ref()))
    }

    /// What is said may come from files and workers, and must not steer a terminal, also as JSON.
    fn new(check: &'static str, verdict: Verdict, says: &str, fix: Option<&str>) -> Self {
        Self { check, verdict, says: on_one_line(says), fix: fix.map(on_one_line) }
    }
}

/// Whether something does not work.
pub(super) fn has_failed(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.verdict == Verdict::Failed)
}

/// Prints all for people, and how many there are of each verdict.
pub(super) fn print(findings: &[Finding]) -> Result<()> {
    for Finding { check, verdict, says, fix } in findings {
        out::line(format_args!("{:8} {check:13} {says}", verdict.as_str()))?;
        if let Some(fix) = fix {
            out::line(format_args!("{:8} {:13} fix: {fix}", "", ""))?;
        }
    }
    let of = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (ok, warnings, failed) = (of(Verdict::Ok), of(Verdict::Warning), of(Verdict::Failed));
    out::line(format_args!("{ok} ok, {warnings} with a warning, {failed} failed"))
}
