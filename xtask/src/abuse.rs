//! Tries the catalogue of abuse (`tests/it/abuse.rs`) for longer than the gate does.

use anyhow::{Result, bail};

use crate::{
    guests, setup,
    shell::{cargo, run, step},
};

/// Sets up, builds, and prints what was measured; each row is repeated for so many seconds.
pub(crate) fn run_for(options: &[&str]) -> Result<()> {
    let seconds = match options {
        [] => "5",
        [seconds] if seconds.parse::<u32>().is_ok() => seconds,
        _ => bail!("usage: cargo xtask abuse [SECONDS]"),
    };
    step("set up", setup::servers_and_guests)?;
    step("build", || {
        guests::build()?;
        run(&mut cargo(&["build", "--locked", "--workspace", "--tests"]))
    })?;
    step("abuse", || {
        let mut tests =
            cargo(&["test", "--locked", "--workspace", "--test", "it", "abuse::", "--", "--nocapture"]);
        run(tests.env("SENTINEL_TEST_PLUGINS", guests::built_dir()).env("SENTINEL_ABUSE", seconds))
    })
}
