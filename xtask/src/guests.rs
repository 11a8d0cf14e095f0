//! Builds the guest workspace.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use crate::{
    setup,
    shell::{cargo, root, run},
};

/// The jobs that come with Sentinel.
const BUNDLED: [&str; 4] = ["example-task", "resize-image", "count-primes", "noop"];

/// Builds all guests, and puts the bundled jobs into `plugins/<name>.wasm`.
pub(crate) fn build() -> Result<()> {
    setup::guest_target()?;
    let home = std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| home + "/.cargo"));
    let mut command = cargo(&["build", "--release", "--locked", "--target", "wasm32-wasip2"]);
    command.current_dir(root().join("plugins")).env("CARGO_TARGET_DIR", target_dir());
    if let Ok(home) = home {
        // Panic messages name source files: keep this machine's paths out of them.
        command.env("RUSTFLAGS", format!("--remap-path-prefix={home}=/cargo"));
    }
    run(&mut command)?;
    for job in BUNDLED {
        let built = built_dir().join(format!("{}.wasm", job.replace('-', "_")));
        let place = root().join("plugins").join(format!("{job}.wasm"));
        // Renamed into place, so that a worker that looks sees all of it or none.
        let fresh = place.with_extension("wasm.new");
        fs::copy(&built, &fresh).with_context(|| format!("copy {}", built.display()))?;
        fs::rename(&fresh, &place).with_context(|| format!("rename to {}", place.display()))?;
    }
    println!("built into plugins/: {}", BUNDLED.join(", "));
    Ok(())
}

/// Where the built guests lie, those for tests among them.
pub(crate) fn built_dir() -> PathBuf {
    target_dir().join("wasm32-wasip2/release")
}

/// Guests are built apart from the host: their flags differ.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("plugins/target"), |dir| PathBuf::from(dir).join("guests"))
}
