//! Jobs in every language that there are projects for, as an author makes them, from an empty
//! directory to a worker; and an interpreter as a plain command.
//!
//! Not part of the gate: it needs other languages' tools, and the network.

mod interpreter;
mod lab;
mod worker;

use anyhow::{Context, Result, bail};
use serde_json::json;

use self::lab::{Lab, Ran};
use crate::{
    setup,
    shell::{self, cargo, installed, step},
};

/// A language that there are projects for.
struct Language {
    name: &'static str,
    /// What must be on the path.
    tools: &'static [&'static str],
    acts: Option<Acts>,
}

/// A job that does what it is told.
struct Acts {
    /// Its code, and the file of a project that it replaces.
    code: &'static str,
    file: &'static str,
    /// What recursion without an end comes to: the exit code, and what is said.
    recursion: (i32, &'static str),
    /// Where an error was thrown, in its own language's words.
    thrown: &'static str,
    /// Whether its standard library reaches the environment and files.
    has_system: bool,
}

const LANGUAGES: [Language; 3] = [
    // The gate tries much more of Rust.
    Language { name: "rust", tools: &["cargo"], acts: None },
    Language {
        name: "js",
        tools: &["node", "npm", "npx"],
        acts: Some(Acts {
            code: include_str!("languages/acts.js"),
            file: "job.js",
            recursion: (15, "call stack exhausted"),
            thrown: "at throw (/job.js:",
            has_system: false,
        }),
    },
    Language {
        name: "python",
        tools: &["python3"],
        acts: Some(Acts {
            code: include_str!("languages/acts.py"),
            file: "job.py",
            recursion: (12, "RecursionError"),
            thrown: ", in throw\nValueError: boom",
            has_system: true,
        }),
    },
];

/// Tries all of them.
pub(crate) fn run() -> Result<()> {
    let missing: Vec<_> = LANGUAGES
        .iter()
        .flat_map(|language| language.tools)
        .filter(|tool| !installed(tool))
        .copied()
        .collect();
    if !missing.is_empty() {
        bail!(
            "not on the PATH: {}. This needs Rust, Node.js 20 with npm, and Python 3.10 with venv",
            missing.join(", ")
        );
    }
    step("build sentinel", || {
        setup::guest_target()?;
        shell::run(&mut cargo(&["build", "--locked", "--workspace"]))
    })?;
    let lab = Lab::new()?;
    let mut seconds = Vec::new();
    for language in &LANGUAGES {
        step(language.name, || {
            seconds.push(author(&lab, language)?);
            language.acts.as_ref().map_or(Ok(()), |acts| act(&lab, language, acts))
        })?;
    }
    println!("\nseconds         new   build (cold, again)   run (cold, again)");
    for (language, [new, build, again, run, rerun]) in LANGUAGES.iter().zip(&seconds) {
        let name = language.name;
        println!("{name:<12} {new:>6.2}   {build:>8.1} {again:>8.1}      {run:>8.2} {rerun:>6.2}");
    }
    println!("Cold is with empty caches, downloads included; but Rust's crates are there.\n");
    step("an interpreter", || interpreter::prepare(&lab))?;
    step("in a worker", || worker::run(&lab))
}

fn project(language: &Language) -> String {
    format!("greet-{}", language.name)
}

/// The three commands; answers how many seconds each took.
fn author(lab: &Lab, language: &Language) -> Result<[f64; 5]> {
    let name = project(language);
    let component = format!("{name}/{name}.wasm");
    let new = lab.sentinel(&["job", "new", &name, "--lang", language.name])?.succeeded()?;
    let again = lab.sentinel(&["job", "new", &name, "--lang", language.name])?;
    again.is(1, "is there already")?;
    let build = lab.sentinel(&["job", "build", &name])?.succeeded()?;
    let rebuild = lab.sentinel(&["job", "build", &name, "--to", "plugins"])?.succeeded()?;
    let greet = |payload: &str| lab.sentinel(&["job", "run", &component, "--payload", payload]);
    let ada = greet(r#"{"name": "Ada"}"#)?.succeeded()?;
    let greeting: serde_json::Value = serde_json::from_str(&ada.stdout)?;
    if greeting != json!({ "greeting": "Hello, Ada!" }) {
        bail!("the job answered {greeting}");
    }
    ada.is(0, "attempt 1 of 3")?;
    let once_more = greet(r#"{"name": "Ada"}"#)?.succeeded()?;
    print!("{}{}", build.stdout, once_more.stderr);
    greet(r#"{"name": ""}"#)?.is(11, "`name` is ")?;
    greet("[]")?.is(1, "no JSON object")?;
    let checked = lab.sentinel(&["job", "check", &component])?.succeeded()?;
    checked.is(0, "admitted")?;
    Ok([&new, &build, &rebuild, &ada, &once_more].map(|ran| ran.seconds))
}

/// What it may do, and what becomes of it.
fn act(lab: &Lab, language: &Language, acts: &Acts) -> Result<()> {
    let name = project(language);
    std::fs::write(lab.dir().join(&name).join(acts.file), acts.code)?;
    let job = format!("acts-{}", language.name);
    // The name is said: the project's directory has another.
    lab.sentinel(&["job", "build", &name, "--name", &job, "--to", "plugins"])?.succeeded()?;
    let component = format!("plugins/{job}.wasm");
    let run = |act: &str| -> Result<Ran> {
        let payload = json!({ "do": act }).to_string();
        let ran = lab.sentinel(&["job", "run", &component, "--timeout", "5s", "--payload", &payload])?;
        println!("{act}: exit code {}", ran.code);
        Ok(ran)
    };
    run("count")?.is(0, "1\n")?;
    run("child")?.is(0, "submits ")?;
    run("bad-child")?.is(10, "EOF while parsing")?;
    // Without a manifest and a grant there is neither.
    run("config")?.is(0, "null")?;
    run("secret")?.is(0, "null")?;
    run("permanent")?.is(11, "never")?;
    run("later")?.is(10, "later")?;
    let thrown = run("throw")?;
    thrown.is(12, "boom")?;
    thrown.is(12, acts.thrown)?;
    run("loop")?.is(13, "it ran for longer than 5000 ms")?;
    let (code, said) = acts.recursion;
    run("recurse")?.is(code, said)?;
    run("grow")?.is(14, "it wanted more memory than it may have")?;
    run("big")?.is(17, "1048576 are allowed")?;
    if acts.has_system {
        run("region")?.is(0, "null")?;
        run("scratch")?.is(12, "FileNotFoundError")?;
    }
    Ok(())
}

/// The job of this language that does what it is told, and whether it reaches the environment and
/// files.
fn acting() -> impl Iterator<Item = (String, bool)> {
    LANGUAGES.iter().filter_map(|language| {
        let acts = language.acts.as_ref()?;
        Some((format!("acts-{}", language.name), acts.has_system))
    })
}

/// The names of all greeting jobs.
fn greeting() -> impl Iterator<Item = String> {
    LANGUAGES.iter().map(project)
}

/// The text of a JSON value that must be one.
fn text(value: &serde_json::Value) -> Result<&str> {
    value.as_str().with_context(|| format!("no text: {value}"))
}
