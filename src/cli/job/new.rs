//! `sentinel job new`: a project that builds at once, with all it needs beside it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use sentinel_host::engine::PluginName;

use crate::cli::out;

#[derive(Args)]
pub(crate) struct NewArgs {
    /// The job's name, which is the project's directory as well
    name: String,
    /// The language to write it in
    #[arg(long, default_value = "rust")]
    lang: Language,
}

/// The languages that there are projects for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    Rust,
    Js,
    Python,
}

const WIT: &str = include_str!("../../../wit/job.wit");

macro_rules! sdk {
    ($($file:literal),* $(,)?) => {
        /// The SDK as a project has it.
        const SDK: &[(&str, &str)] = &[$(($file, include_str!(concat!("../../../plugins/sdk/", $file)))),*];
    };
}

sdk!(
    "src/checkpoint.rs",
    "src/entry.rs",
    "src/failure.rs",
    "src/lib.rs",
    "src/outbox.rs",
    "src/parents.rs",
    "src/payload.rs",
    "src/progress.rs",
    "src/state.rs",
    "src/task.rs",
    "macros/src/lib.rs",
);

macro_rules! template {
    ($file:literal) => {
        include_str!(concat!("../../../plugins/examples/", $file))
    };
}

impl Language {
    /// The files of a project: where, and what.
    fn files(self) -> Vec<(String, String)> {
        let plain = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        match self {
            Self::Rust => {
                // Where the SDK finds the WIT, in a project.
                let sdk = SDK.iter().map(|(path, text)| {
                    (format!("sentinel-job/{path}"), text.replace("path: \"../../wit\"", "path: \"wit\""))
                });
                let rest = [
                    plain("Cargo.toml", template!("rust/Cargo.toml.in")),
                    plain("Cargo.lock", template!("rust/Cargo.lock.in")),
                    plain("src/lib.rs", template!("rust/lib.rs")),
                    plain(".gitignore", template!("rust/gitignore")),
                    plain("sentinel-job/Cargo.toml", template!("rust/sdk.toml")),
                    plain("sentinel-job/macros/Cargo.toml", template!("rust/macros.toml")),
                    plain("sentinel-job/wit/job.wit", WIT),
                ];
                sdk.chain(rest).collect()
            }
            Self::Js => vec![
                plain("package.json", template!("js/package.json.in")),
                plain("job.js", template!("js/job.js")),
                plain("sentinel.js", template!("js/sentinel.js")),
                plain(".gitignore", template!("js/gitignore")),
                plain("wit/world.wit", template!("js/wit/world.wit")),
                plain("wit/deps/sentinel-job.wit", WIT),
                plain("wit/deps/wasi-cli.wit", template!("wit/wasi-cli.wit")),
                plain("wit/deps/wasi-config.wit", template!("wit/wasi-config.wit")),
                plain("wit/deps/wasi-io.wit", template!("wit/wasi-io.wit")),
            ],
            Self::Python => vec![
                plain("requirements.txt", template!("python/requirements.txt")),
                plain("job.py", template!("python/job.py")),
                plain(".gitignore", template!("python/gitignore")),
                plain("wit/world.wit", template!("python/wit/world.wit")),
                plain("wit/deps/sentinel-job.wit", WIT),
                plain("wit/deps/wasi-config.wit", template!("wit/wasi-config.wit")),
            ],
        }
    }

    /// Of the project in a directory.
    pub(super) fn of(project: &Path) -> Option<Self> {
        let marks =
            [("Cargo.toml", Self::Rust), ("package.json", Self::Js), ("requirements.txt", Self::Python)];
        marks.into_iter().find(|(file, _)| project.join(file).exists()).map(|(_, language)| language)
    }
}

pub(super) fn run(args: &NewArgs) -> Result<ExitCode> {
    let project = make(Path::new("."), &args.name, args.lang)?;
    let (name, project) = (&args.name, project.display());
    out::line(format_args!(
        "{project} is there. Now:\n\n  sentinel job build {name} --to plugins\n  \
         sentinel job run {name}/{name}.wasm --payload '{{\"name\": \"Ada\"}}'\n\nand, with `sentinel dev` running in \
         this directory:\n\n  sentinel submit {name} '{{\"name\": \"Ada\"}}' --wait"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Makes a project in a directory.
fn make(parent: &Path, name: &str, language: Language) -> Result<PathBuf> {
    let job: PluginName = name.parse().map_err(|_| {
        anyhow::anyhow!(
            "{name:?} cannot be a job's name: choose one that matches [a-z0-9][a-z0-9._-]{{0,63}}"
        )
    })?;
    let project = PathBuf::from(job.as_str());
    let target = parent.join(&project);
    if target.exists() {
        bail!("{} is there already: choose another name, or remove it", target.display());
    }
    // What packages may be called.
    let plain = name.replace('.', "-");
    let package =
        if plain.starts_with(|c: char| c.is_ascii_digit()) { format!("job-{plain}") } else { plain };
    let manifest = (format!("{name}.toml"), template!("manifest.toml.in").to_owned());
    for (path, text) in language.files().into_iter().chain([manifest]) {
        let path = target.join(path);
        let dir = path.parent().expect("a file is in a directory");
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let text = text.replace("{{name}}", name).replace("{{crate}}", &package);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_has_all_of_the_sdk() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/sdk");
        for dir in ["src", "macros/src"] {
            for entry in fs::read_dir(sdk.join(dir)).unwrap() {
                let name = format!("{dir}/{}", entry.unwrap().file_name().to_string_lossy());
                assert!(SDK.iter().any(|(file, _)| *file == name), "{name}");
            }
        }
        assert!(SDK.iter().any(|(_, text)| text.contains("path: \"../../wit\"")));
    }

    #[test]
    fn what_is_there_is_not_overwritten_and_names_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        for language in [Language::Rust, Language::Js, Language::Python] {
            let name = format!("3.{language:?}").to_lowercase();
            let project = make(dir.path(), &name, language).unwrap();
            assert_eq!(Language::of(&project), Some(language));
            assert!(project.join(format!("{name}.toml")).exists());
            let error = make(dir.path(), &name, language).unwrap_err().to_string();
            assert!(error.contains("is there already"), "{error}");
        }
        assert!(make(dir.path(), "../x", Language::Rust).unwrap_err().to_string().contains("../x"));
    }
}
