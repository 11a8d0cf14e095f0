//! The page between a wish and what cannot be taken back: what will happen, and to how much.

use askama::Template;

use super::frame::{Frame, Link};

/// A question whose only answers are a form and a way back.
#[derive(Template)]
#[template(path = "confirm.html")]
pub(crate) struct Confirm {
    pub(crate) frame: Frame,
    /// What is about to be done, as a question.
    pub(crate) title: String,
    /// What it means, a paragraph each.
    pub(crate) lines: Vec<String>,
    /// Where the form is sent to.
    pub(crate) action: Link,
    /// What it sends besides.
    pub(crate) fields: Vec<(&'static str, String)>,
    /// What its button says: the deed.
    pub(crate) button: &'static str,
    /// Whether something is lost by it.
    pub(crate) is_harmful: bool,
    /// The way back.
    pub(crate) back: Link,
}
