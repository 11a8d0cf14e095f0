//! The files that pages load: one style sheet, small scripts, an icon; all of them in the program.
//!
//! Their address has a hash of all of them in it, so that browsers may keep them for good, and scripts
//! find each other beside themselves.

use std::{fmt::Write, sync::LazyLock};

use axum::{
    extract::Path,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use crate::problem::{Code, Problem};

macro_rules! assets {
    ($($file:literal $kind:literal),* $(,)?) => {
        /// Each file's name, its content and what kind that is.
        const ASSETS: &[(&str, &[u8], &str)] =
            &[$(($file, include_bytes!(concat!("../../assets/", $file)), $kind)),*];
    };
}

assets! {
    "sentinel.css" "text/css; charset=utf-8",
    "sentinel.js" "text/javascript; charset=utf-8",
    "live.js" "text/javascript; charset=utf-8",
    "icon.svg" "image/svg+xml",
}

/// A year, the longest that is usual.
const FOR_GOOD: &str = "public, max-age=31536000, immutable";

/// What all files of this program are known by.
static SET: LazyLock<String> = LazyLock::new(|| {
    let hash = ASSETS.iter().fold(Sha256::new(), |hash, (name, content, _)| {
        hash.chain_update(name).chain_update(content.len().to_be_bytes()).chain_update(content)
    });
    hash.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
});

/// Where a file is.
pub(crate) fn url(file: &str) -> String {
    debug_assert!(ASSETS.iter().any(|(name, ..)| *name == file), "{file} is no asset");
    format!("/assets/{}/{file}", *SET)
}

/// A file. One of another version's set may be asked for while servers are replaced: it gets what there
/// is, for now.
pub(crate) async fn serve(Path((set, file)): Path<(String, String)>) -> Response {
    let Some((_, content, kind)) = ASSETS.iter().find(|(name, ..)| *name == file) else {
        return Problem::of(Code::NotFound, "there is no such file").into_response();
    };
    let kept = if set == *SET { FOR_GOOD } else { "no-store" };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static(kept)),
    ];
    (headers, *content).into_response()
}
