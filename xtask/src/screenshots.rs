//! Pictures of the dashboard, made anew.

use std::fs;

use anyhow::{Context, Result};

use crate::{
    guests, setup,
    shell::{self, cargo, root, target_dir},
};

/// What the documentation shows: which picture, and what it is called there.
const SHOWN: [(&str, &str); 2] =
    [("overview-light-wide.png", "overview.png"), ("task-failed-dark-wide.png", "failed-task.png")];

/// Makes pictures of all pages, and puts two of them into the documentation.
pub(crate) fn run() -> Result<()> {
    setup::servers_and_guests()?;
    setup::browser()?;
    guests::build()?;
    let dir = target_dir().join("screenshots");
    let mut test =
        cargo(&["test", "--locked", "--workspace", "--test", "it", "--", "dashboard::pages::pictures"]);
    test.env("SENTINEL_TEST_PLUGINS", guests::built_dir()).env("SENTINEL_SCREENSHOTS", &dir);
    shell::run(&mut test)?;
    let images = root().join("docs/images");
    fs::create_dir_all(&images)?;
    for (from, to) in SHOWN {
        fs::copy(dir.join(from), images.join(to)).with_context(|| format!("copy {from}"))?;
    }
    println!("in {}, and in docs/images: {}", dir.display(), SHOWN.map(|(_, to)| to).join(", "));
    Ok(())
}
