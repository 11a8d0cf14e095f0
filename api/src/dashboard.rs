//! The pages at `/`: what people see of Sentinel, and what they do by hand.
//!
//! Each page is one file here and one template of the same name in `templates/`. A page is whole
//! without JavaScript; scripts (`assets/`) bring what is new to a page that is open. Pages know the
//! queue and the caller, as the API does, and show nothing that the API would not answer: the same
//! scopes, the same namespaces. They ask only for what is bounded: nothing here walks over all tasks.
//!
//! What users gave (names, payloads, errors, logs) is text: templates escape it, no page has a script
//! or a style in it, and the policy of every page lets none run that this server does not serve.

mod assets;
mod attempts;
mod chart;
mod charts;
mod confirm;
mod errors;
mod family;
mod filter;
mod form;
mod frame;
mod hour;
pub(crate) mod live;
pub(crate) mod operations;
pub(crate) mod overview;
mod parts;
mod pretty;
mod reasons;
pub(crate) mod steer;
pub(crate) mod task;
pub(crate) mod tasks;
mod theme;
mod words;

use askama::Template;
use axum::{
    http::{HeaderValue, header},
    response::{Html, IntoResponse, Response},
};

pub(crate) use self::{
    assets::{serve as asset, url as asset_url},
    errors::{accepts_pages, as_pages},
    form::{Sent, require_own_page},
    frame::{Section, Theme},
    hour::Hours,
    theme::choose as choose_theme,
};
use crate::problem;

/// What a page may load and send: this server's own files, its own forms to itself. Nothing inline
/// runs, and no script may make markup of a text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// A page, whole.
pub(crate) fn show(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => {
            let headers = [
                (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
                // A form must say where it comes from: by the stricter policy browsers would say `null`.
                (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
            ];
            (headers, Html(html)).into_response()
        }
        Err(error) => problem::internal(&format!("a page could not be made: {error}")),
    }
}
