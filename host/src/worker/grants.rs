//! What the operator grants: `[grants.<job>]` of `sentinel.toml`.
//!
//! Owns its keys, and where secrets and variables come from. Does not know what jobs ask for.
//! Invariant: a secret's value is neither written in the file nor shown in an error.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
    path::PathBuf,
};

use sentinel_queue::JobName;
use toml::{Table, Value};

use super::{
    manifest::{MAX_SCRATCH, secret, variable},
    strict::{Section, Wrong, bytes, list, table, text},
};
use crate::engine::{HttpGrant, Origin, Secret, Secrets};

/// How large a secret may be, in bytes.
const MAX_SECRET: u64 = 64 << 10;

/// What jobs are granted, as it is written: secrets are not read yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantTable(BTreeMap<JobName, Written>);

/// What jobs are granted.
#[derive(Clone, Debug, Default)]
pub struct Granted(BTreeMap<JobName, Grant>);

/// What one job is granted.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// Where it may send requests.
    pub http: Vec<HttpGrant>,
    /// The secrets that it may read.
    pub secrets: Secrets,
    /// The environment variables that it may see.
    pub env: BTreeMap<String, String>,
    /// The jobs that it may submit besides itself.
    pub submits: Vec<JobName>,
    /// How many bytes it may have in a directory of its own.
    pub scratch_bytes: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Written {
    http: Vec<HttpGrant>,
    secrets: BTreeMap<String, Source>,
    env: BTreeMap<String, Setting>,
    submits: Vec<JobName>,
    scratch_bytes: Option<u64>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Env(String),
    File(PathBuf),
}

/// A variable's value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Setting {
    Said(String),
    Env(String),
}

impl GrantTable {
    /// The keys of one job's table.
    pub const KEYS: [&str; 5] = ["http", "secrets", "env", "submits", "scratch"];

    /// Reads the table `grants`.
    pub fn parse(grants: &Table) -> Result<Self, Wrong> {
        let jobs = Section::open("grants", grants);
        let grant = |name: &str| {
            let job = name.parse::<JobName>().map_err(|error| jobs.wrong(name, error))?;
            let Some(grant) = jobs.section(name, &Self::KEYS)? else { return Ok((job, Written::default())) };
            Ok((job, written(&grant)?))
        };
        jobs.keys().map(grant).collect::<Result<_, Wrong>>().map(Self)
    }

    /// What this one job is granted.
    #[must_use]
    pub fn only(&self, job: &JobName) -> Self {
        Self(
            self.0
                .get_key_value(job)
                .map(|(job, written)| (job.clone(), written.clone()))
                .into_iter()
                .collect(),
        )
    }

    /// The jobs that are granted something.
    pub fn jobs(&self) -> impl Iterator<Item = &JobName> {
        self.0.keys()
    }

    /// Reads secrets and variables from where they are. The error names the key and the fix.
    pub fn resolve(&self) -> Result<Granted, Wrong> {
        let resolved = |(job, written): (&JobName, &Written)| Ok((job.clone(), written.resolve(job)?));
        self.0.iter().map(resolved).collect::<Result<_, Wrong>>().map(Granted)
    }
}

impl Granted {
    /// Which jobs may be submitted by which, besides themselves.
    pub fn submits(&self) -> BTreeMap<JobName, BTreeSet<JobName>> {
        let granted = self.0.iter().filter(|(_, grant)| !grant.submits.is_empty());
        granted.map(|(job, grant)| (job.clone(), grant.submits.iter().cloned().collect())).collect()
    }

    /// What a job is granted, if anything.
    pub fn to(&self, job: &JobName) -> Option<&Grant> {
        self.0.get(job)
    }

    /// The jobs that are granted something.
    pub fn jobs(&self) -> impl Iterator<Item = &JobName> {
        self.0.keys()
    }
}

fn written(grant: &Section<'_>) -> Result<Written, Wrong> {
    let mut secrets = BTreeMap::new();
    if let Some(section) = grant.names("secrets")?.map(Section::discreet) {
        for name in section.keys() {
            secret(name).map_err(|fix| section.wrong(name, fix))?;
            secrets.extend(section.get(name, source)?.map(|source| (name.to_owned(), source)));
        }
    }
    let mut env = BTreeMap::new();
    if let Some(section) = grant.names("env")?.map(Section::discreet) {
        for name in section.keys() {
            variable(name).map_err(|fix| section.wrong(name, fix))?;
            env.extend(section.get(name, setting)?.map(|setting| (name.to_owned(), setting)));
        }
    }
    Ok(Written {
        http: grant.get("http", http)?.unwrap_or_default(),
        secrets,
        env,
        submits: grant.get("submits", list(str::parse::<JobName>))?.unwrap_or_default(),
        scratch_bytes: grant.get("scratch", bytes(1, MAX_SCRATCH))?,
    })
}

fn http(value: &Value) -> Result<Vec<HttpGrant>, String> {
    let form =
        "must be a list of \"https://example.org\" and { origin = \"http://10.0.0.1\", private = true }";
    let item = |item: &Value| {
        let (origin, private) = match item {
            Value::String(origin) => (origin.as_str(), false),
            Value::Table(item) => {
                let private = item.get("private").map_or(Some(false), Value::as_bool).ok_or(form)?;
                let origin = item.get("origin").and_then(Value::as_str).ok_or(form)?;
                match item.keys().find(|key| !["origin", "private"].contains(&key.as_str())) {
                    Some(key) => {
                        return Err(format!("{key:?} in it is no such key: there are origin, private"));
                    }
                    None => (origin, private),
                }
            }
            _ => return Err(form.into()),
        };
        let read = origin.parse::<Origin>().map_err(|fix| format!("{origin:?} in it {fix}"))?;
        if HttpGrant::needs_private(&read) && !private {
            return Err(format!(
                "{origin:?} in it is no address of the internet: if it is meant, write {{ origin = {origin:?}, \
                 private = true }}"
            ));
        }
        Ok(HttpGrant { origin: read, private })
    };
    value.as_array().ok_or(form)?.iter().map(item).collect()
}

fn source(value: &Value) -> Result<Source, String> {
    let form = "must say where it comes from: { env = \"NAME\" } or { file = \"path\" }";
    let from = table(value).map_err(|_| form)?;
    match (from.len(), from.get("env"), from.get("file")) {
        (1, Some(Value::String(name)), None) => Ok(Source::Env(variable(name)?)),
        (1, None, Some(Value::String(path))) if !path.is_empty() => Ok(Source::File(path.into())),
        _ => Err(form.into()),
    }
}

fn setting(value: &Value) -> Result<Setting, String> {
    let form = "must be a text, or { env = \"NAME\" }";
    if let Ok(said) = text(value) {
        return if said.contains('\0') {
            Err("must not contain NUL".into())
        } else {
            Ok(Setting::Said(said.into()))
        };
    }
    match source(value) {
        Ok(Source::Env(name)) => Ok(Setting::Env(name)),
        _ => Err(form.into()),
    }
}

impl Written {
    fn resolve(&self, job: &JobName) -> Result<Grant, Wrong> {
        let wrong =
            |key: &str, name: &str, fix: String| Wrong::new(format!("grants.{job}.{key}.{name}: {fix}"));
        let secret = |(name, source): (&String, &Source)| {
            let value = source.read().map_err(|fix| wrong("secrets", name, fix))?;
            Ok((name.clone(), Secret::new(value)))
        };
        let variable = |(name, setting): (&String, &Setting)| {
            let value = match setting {
                Setting::Said(said) => said.clone(),
                Setting::Env(from) => variable_of_ours(from).map_err(|fix| wrong("env", name, fix))?,
            };
            Ok((name.clone(), value))
        };
        Ok(Grant {
            http: self.http.clone(),
            secrets: self.secrets.iter().map(secret).collect::<Result<_, Wrong>>()?,
            env: self.env.iter().map(variable).collect::<Result<_, Wrong>>()?,
            submits: self.submits.clone(),
            scratch_bytes: self.scratch_bytes,
        })
    }
}

impl Source {
    fn read(&self) -> Result<String, String> {
        let value = match self {
            Self::Env(name) => variable_of_ours(name)?,
            Self::File(path) => {
                let unreadable =
                    |error: std::io::Error| format!("the file {} cannot be read: {error}", path.display());
                let mut text = String::new();
                let file = File::open(path).map_err(unreadable)?;
                file.take(MAX_SECRET + 1).read_to_string(&mut text).map_err(unreadable)?;
                // Editors and `echo` end files with one; secrets do not.
                text.strip_suffix('\n')
                    .map_or(text.clone(), |text| text.strip_suffix('\r').unwrap_or(text).into())
            }
        };
        match value.len() as u64 {
            0 => Err("it is empty: set it, or grant no such secret".into()),
            1..=MAX_SECRET => Ok(value),
            _ => Err(format!("it has more than {MAX_SECRET} bytes")),
        }
    }
}

fn variable_of_ours(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("the environment has no variable {name} with a text: set it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<GrantTable, Wrong> {
        let file: Table = text.parse().unwrap();
        GrantTable::parse(file["grants"].as_table().unwrap())
    }

    #[test]
    fn what_is_granted_is_read_from_where_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "hunter2hunter2\n").unwrap();
        let granted = parse(&format!(
            r#"
            [grants.fetch]
            http = ["https://*.example.org", {{ origin = "http://127.0.0.1:81", private = true }}]
            secrets = {{ key = {{ file = {:?} }} }}
            env = {{ REGION = "eu", HOME = {{ env = "HOME" }} }}
            submits = ["resize"]
            scratch = "1MiB"
            [grants.other]
            "#,
            file.path()
        ));
        let granted = granted.unwrap().resolve().unwrap();
        let fetch = granted.to(&"fetch".parse().unwrap()).unwrap();
        assert_eq!(
            fetch.http.iter().map(|grant| (grant.origin.to_string(), grant.private)).collect::<Vec<_>>(),
            [("https://*.example.org".into(), false), ("http://127.0.0.1:81".into(), true)]
        );
        assert_eq!(fetch.secrets.get("key"), Some(&Secret::new("hunter2hunter2")));
        assert_eq!(fetch.env["REGION"], "eu");
        assert_eq!(fetch.env["HOME"], std::env::var("HOME").unwrap());
        assert_eq!(fetch.submits, ["resize".parse().unwrap()]);
        assert_eq!(fetch.scratch_bytes, Some(1 << 20));
        assert_eq!(granted.jobs().count(), 2);
        assert!(!format!("{granted:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_wrong_is_named_with_the_fix() {
        for (text, named) in [
            ("[grants.a]\nhtpp = []", "grants.a.htpp: no such key: did you mean \"http\"?"),
            ("[grants.\"A B\"]", "grants.\"A B\": the table: "),
            (
                "[grants.a]\nhttp = [\"example.org\"]",
                "grants.a.http: the list: \"example.org\" in it must be",
            ),
            ("[grants.a]\nhttp = [\"http://10.0.0.1\"]", "private = true"),
            ("[grants.a]\nhttp = [\"http://[::1]\"]", "private = true"),
            (
                "[grants.a]\nhttp = [{ origin = \"http://b\", privat = true }]",
                "\"privat\" in it is no such key",
            ),
            ("[grants.a]\nhttp = [{ origin = \"http://b\", private = 1 }]", "must be a list of"),
            ("[grants.a]\nsecrets = { k = { env = \"A\", file = \"b\" } }", "must say where it comes from"),
            ("[grants.a]\nsecrets = { \"k k\" = { env = \"A\" } }", "must be a secret's name"),
            ("[grants.a]\nenv = { A = 1 }", "grants.a.env.A: must be a text"),
            ("[grants.a]\nenv = { A = { file = \"b\" } }", "grants.a.env.A: must be a text"),
            ("[grants.a]\nsubmits = [\"B C\"]", "grants.a.submits: the list: \"B C\" in it "),
            ("[grants.a]\nscratch = \"1TB\"", "grants.a.scratch: \"1TB\": must be"),
            ("[grants]\na = 1", "grants.a: 1: must be a table"),
        ] {
            let wrong = parse(text).unwrap_err().to_string();
            assert!(wrong.contains(named), "{wrong}");
        }
    }

    #[test]
    fn a_secret_written_into_the_file_is_refused_without_being_shown() {
        for text in ["secrets = { k = \"hunter2\" }", "env = { A = [\"hunter2\"] }"] {
            let wrong = parse(&format!("[grants.a]\n{text}")).unwrap_err().to_string();
            assert!(wrong.starts_with("grants.a.") && !wrong.contains("hunter2"), "{wrong}");
        }
    }

    #[test]
    fn a_source_that_has_nothing_is_named() {
        for (source, named) in [
            ("{ env = \"SENTINEL_TEST_NO_SUCH_VARIABLE\" }", "SENTINEL_TEST_NO_SUCH_VARIABLE"),
            ("{ file = \"/nowhere/key\" }", "/nowhere/key"),
            ("{ file = \"/dev/null\" }", "empty"),
            ("{ file = \"/dev/zero\" }", "more than"),
        ] {
            let table = parse(&format!("[grants.a]\nsecrets = {{ k = {source} }}")).unwrap();
            let wrong = table.resolve().unwrap_err().to_string();
            assert!(wrong.starts_with("grants.a.secrets.k: ") && wrong.contains(named), "{wrong}");
        }
    }
}
