//! `sentinel job build`: a project becomes a component, by its language's own tools.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use sentinel_host::engine::PluginName;

use super::new::Language;
use crate::cli::out;

const TARGET: &str = "wasm32-wasip2";

/// The world that projects are built for, in their `wit` directory.
const WORLD: &str = "project";

#[derive(Args)]
pub(crate) struct BuildArgs {
    /// The project
    #[arg(default_value = ".", value_name = "DIR")]
    project: PathBuf,
    /// The job's name [default: the directory's]
    #[arg(long)]
    name: Option<String>,
    /// Put it into this plugins directory, too
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

pub(super) fn run(args: &BuildArgs) -> Result<ExitCode> {
    let project = args.project.canonicalize().with_context(|| args.project.display().to_string())?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => project.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let name: PluginName = name.parse().map_err(|refusal| anyhow::anyhow!("{refusal}; or give --name"))?;
    let Some(language) = Language::of(&project) else {
        bail!(
            "{} is no project: there is no Cargo.toml, package.json or requirements.txt in it; make one with \
             `sentinel job new NAME`",
            project.display()
        );
    };
    let component = project.join(format!("{name}.wasm"));
    match language {
        Language::Rust => rust(&project, &component)?,
        Language::Js => js(&project, &component)?,
        Language::Python => python(&project, &component)?,
    }
    let size = fs::metadata(&component)?.len();
    out::line(format_args!("{} ({} KiB)", component.display(), size.div_ceil(1024)))?;
    if let Some(plugins) = &args.to {
        let manifest = manifest(&project, &component);
        // The manifest first: with its component it must be there.
        for (file, extension) in [(&manifest, "toml"), (&component, "wasm")] {
            if file.exists() {
                let place = put(file, plugins, &format!("{name}.{extension}"))?;
                out::line(format_args!("{}", place.display()))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The manifest of a component: named as it is or, if there is none, as the project.
fn manifest(project: &Path, component: &Path) -> PathBuf {
    let own = component.with_extension("toml");
    if own.exists() {
        return own;
    }
    let name = project.file_name().unwrap_or_default().to_string_lossy();
    project.join(format!("{name}.toml"))
}

/// Copies a file into a directory, so that whoever looks sees all of it or none.
fn put(file: &Path, dir: &Path, name: &str) -> Result<PathBuf> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let place = dir.join(name);
    let mut fresh = tempfile::NamedTempFile::new_in(dir).with_context(|| dir.display().to_string())?;
    let mut source = fs::File::open(file)?;
    std::io::copy(&mut source, &mut fresh)?;
    fs::set_permissions(fresh.path(), fs::metadata(file)?.permissions())?;
    fresh.persist(&place).with_context(|| place.display().to_string())?;
    Ok(place)
}

fn rust(project: &Path, component: &Path) -> Result<()> {
    let installed = Command::new("rustup").args(["target", "list", "--installed"]).output();
    // Without rustup the target is somebody else's business.
    if installed.is_ok_and(|listed| !String::from_utf8_lossy(&listed.stdout).contains(TARGET)) {
        run_in(project, "rustup", &["target", "add", TARGET])?;
    }
    run_in(project, "cargo", &["build", "--release", "--target", TARGET])?;
    let metadata = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(project)
        .output()
        .context("cargo metadata")?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).context("cargo metadata")?;
    let manifest = project.join("Cargo.toml");
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let package =
        packages.iter().find(|package| package["manifest_path"] == manifest.to_string_lossy().as_ref());
    let targets =
        package.and_then(|package| package["targets"].as_array()).map(Vec::as_slice).unwrap_or_default();
    let is_component = |target: &&serde_json::Value| {
        target["crate_types"].as_array().is_some_and(|types| types.iter().any(|kind| kind == "cdylib"))
    };
    let Some(library) = targets.iter().find(is_component).and_then(|target| target["name"].as_str()) else {
        bail!("{} makes no component: give its [lib] `crate-type = [\"cdylib\"]`", manifest.display());
    };
    let target_dir = metadata["target_directory"].as_str().context("cargo metadata: no target directory")?;
    let built = Path::new(target_dir)
        .join(TARGET)
        .join("release")
        .join(format!("{}.wasm", library.replace('-', "_")));
    fs::copy(&built, component).with_context(|| built.display().to_string())?;
    Ok(())
}

fn js(project: &Path, component: &Path) -> Result<()> {
    install(project, "package.json", "node_modules", || {
        run_in(project, "npm", &["install", "--no-audit", "--no-fund"])
    })?;
    let out = component.to_string_lossy();
    let options = [
        "--backend",
        "quickjs",
        "--backend-qjs-disable-async",
        "--wit",
        "wit",
        "--world-name",
        WORLD,
        "-o",
        &out,
    ];
    run_in(project, "npx", &[&["jco", "componentize", "job.js"][..], &options].concat())
}

fn python(project: &Path, component: &Path) -> Result<()> {
    install(project, "requirements.txt", ".venv", || {
        run_in(project, "python3", &["-m", "venv", ".venv"])?;
        let quiet = ["install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"];
        run_in(project, ".venv/bin/pip", &quiet)
    })?;
    let out = component.to_string_lossy();
    let options = ["-d", "wit", "-w", WORLD, "componentize", "job", "-o", &out];
    // Without it the tool does not find what else requirements.txt names.
    let environment = [("VIRTUAL_ENV", project.join(".venv"))];
    run_with(project, ".venv/bin/componentize-py", &options, environment)
}

/// Installs what a file of the project names, unless it was done and the file is as it was then.
fn install(project: &Path, file: &str, dir: &str, tool: impl FnOnce() -> Result<()>) -> Result<()> {
    let asked = fs::read(project.join(file)).with_context(|| file.to_owned())?;
    let mark = project.join(dir).join(".installed-by-sentinel");
    if fs::read(&mark).is_ok_and(|done| done == asked) {
        return Ok(());
    }
    tool()?;
    fs::write(&mark, asked).with_context(|| mark.display().to_string())
}

fn run_in(project: &Path, program: &str, args: &[&str]) -> Result<()> {
    run_with(project, program, args, [])
}

fn run_with<const N: usize>(
    project: &Path,
    program: &str,
    args: &[&str],
    environment: [(&str, PathBuf); N],
) -> Result<()> {
    let line = format!("{program} {}", args.join(" "));
    // A path is the project's own, a name is looked for where all are.
    let found = if program.contains('/') { project.join(program) } else { program.into() };
    let status = Command::new(found).args(args).current_dir(project).envs(environment).status();
    let status = status.with_context(|| format!("`{line}` does not start: {}", remedy(program)))?;
    ensure!(status.success(), "`{line}` failed ({status})");
    Ok(())
}

/// What to do if a program is not there.
fn remedy(program: &str) -> String {
    match program {
        "cargo" => "install Rust, by rustup".into(),
        "npm" | "npx" => "install Node.js 20 or later, which has npm, and put both on the PATH".into(),
        "python3" => "install Python 3.10 or later, with venv, and put it on the PATH".into(),
        _ => format!("is {program} there?"),
    }
}
