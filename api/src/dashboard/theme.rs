//! The choice of light or dark, which the browser remembers.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
};
use serde::Deserialize;

use super::{
    form::Sent,
    frame::{THEME_COOKIE, Theme},
};
use crate::{auth::login::own_path, problem::Problem};

/// A year.
const KEPT: u32 = 365 * 24 * 3600;

/// What the form sends.
#[derive(Deserialize)]
pub(crate) struct Choice {
    theme: String,
    /// The page that one was on.
    #[serde(default)]
    next: String,
}

/// Chooses a theme.
pub(crate) async fn choose(Sent(choice): Sent<Choice>) -> Result<Response, Problem> {
    let theme = Theme::named(&choice.theme)
        .ok_or_else(|| Problem::field("theme", &"must be system, light or dark"))?;
    let cookie = format!("{THEME_COOKIE}={}; Path=/; Max-Age={KEPT}; SameSite=Strict", theme.as_str());
    let cookie = HeaderValue::try_from(cookie).expect("these words are plain");
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(own_path(&choice.next))).into_response())
}
