//! `sentinel job check`: what a worker would say of a component, without running a task.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Args;
use indicatif::BinaryBytes;
use sentinel_host::{
    engine::{Access, EngineConfig, HANDLER, Limits, Needs, Plugin},
    size,
    worker::{Job, Refused},
};
use sentinel_queue::{duration, schema::Description};
use serde::Serialize;

use super::terms::{Admission, REFUSED, TermsArgs};
use crate::cli::{Output, out};

#[derive(Args)]
pub(crate) struct CheckArgs {
    /// The component; its name is the job's
    #[arg(value_name = "FILE")]
    component: PathBuf,
    #[command(flatten)]
    terms: TermsArgs,
    /// How to show the report
    #[arg(long, default_value = "table", value_name = "FORM")]
    output: Output,
}

/// What is told of a file. Of one that was refused, what is not known is null.
#[derive(Serialize)]
struct Report {
    file: String,
    file_bytes: u64,
    verdict: &'static str,
    /// Why it is refused, and what to do.
    reason: Option<String>,
    component: Option<Component>,
    /// The jobs that it may submit, besides itself.
    submits: Vec<String>,
    describes: Option<Description>,
}

/// What is known of a component that compiles.
#[derive(Serialize)]
struct Component {
    job: String,
    kind: Kind,
    digest: String,
    /// The version of `sentinel:job` that it was built against, if it exports that.
    wit_version: Option<String>,
    wasi_versions: BTreeSet<String>,
    imports: Vec<Import>,
    code_bytes: u64,
    compile_ms: u64,
    from_cache: bool,
    /// What one instance needs before it runs.
    needs: Needs,
    /// The most that there is of each.
    allowed: Needs,
    limits: LimitsReport,
    granted: Vec<String>,
    withheld: Vec<String>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Job,
    DescribedJob,
    Command,
    AdaptedCommand,
}

/// Imports of one package of which the same becomes.
#[derive(Serialize)]
struct Import {
    package: String,
    version: Option<String>,
    access: Access,
    interfaces: Vec<String>,
}

#[derive(Serialize)]
struct LimitsReport {
    timeout_ms: u64,
    cpu_ms: u64,
    memory_bytes: usize,
    table_elements: usize,
    result_bytes: usize,
    log_bytes: usize,
    transfer_bytes: usize,
    handles: usize,
}

pub(super) fn run(args: &CheckArgs) -> Result<ExitCode> {
    let file = args.component.display().to_string();
    let file_bytes = fs::metadata(&args.component).with_context(|| file.clone())?.len();
    let Admission { admitter, submits } = args.terms.admission(&args.component)?;
    let submits = submits.iter().map(ToString::to_string).collect();
    let config = admitter.engine().config();
    let report = match admitter.admit(&args.component) {
        Ok(Job { plugin, description, .. }) => Report {
            file,
            file_bytes,
            verdict: "admitted",
            reason: None,
            component: Some(Component::of(&plugin, config)),
            submits,
            describes: description,
        },
        Err(Refused { reason, plugin, .. }) => Report {
            file,
            file_bytes,
            verdict: "refused",
            reason: Some(reason),
            component: plugin.map(|plugin| Component::of(&plugin, config)),
            submits,
            describes: None,
        },
    };
    if args.output == Output::Json {
        out::line(serde_json::to_string(&report)?)?;
    } else {
        report.show()?;
    }
    Ok(if report.reason.is_none() { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

impl Component {
    fn of(plugin: &Plugin, config: &EngineConfig) -> Self {
        let (code, exports, limits) = (plugin.code(), plugin.exports(), plugin.limits());
        let exports_one_of = |interface: &str| exports.iter().any(|export| named(export).0 == interface);
        let kind = match (plugin.is_command(), code.is_adapted) {
            (true, true) => Kind::AdaptedCommand,
            (true, false) => Kind::Command,
            (false, _) if exports_one_of("sentinel:job/describe") => Kind::DescribedJob,
            (false, _) => Kind::Job,
        };
        let handler = exports.iter().find(|export| named(export).0 == named(HANDLER).0);
        let imports = plugin.imports();
        let all = exports.iter().chain(imports.iter().map(|(name, _)| name)).map(|name| named(name));
        let wasi = all.filter(|(path, _)| path.starts_with("wasi:") && !path.starts_with("wasi:config/"));
        Self {
            job: plugin.name().to_string(),
            kind,
            digest: plugin.digest().to_string(),
            wit_version: handler.and_then(|name| named(name).1).map(str::to_owned),
            wasi_versions: wasi.filter_map(|(_, version)| version.map(str::to_owned)).collect(),
            imports: grouped(&imports),
            code_bytes: code.bytes,
            compile_ms: millis(code.compile_time),
            from_cache: code.from_cache,
            needs: code.needs,
            allowed: Needs {
                core_instances: config.parts.core_instances.into(),
                memories: config.parts.memories.into(),
                memory_bytes: limits.memory_bytes as u64,
                tables: config.parts.tables.into(),
                table_elements: limits.table_elements as u64,
            },
            limits: limits.into(),
            granted: plugin.grants().given(),
            withheld: plugin.grants().withheld.clone(),
        }
    }
}

/// An interface without its version, and that.
fn named(interface: &str) -> (&str, Option<&str>) {
    interface.split_once('@').map_or((interface, None), |(path, version)| (path, Some(version)))
}

fn grouped(imports: &[(String, Access)]) -> Vec<Import> {
    let mut groups: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for (import, access) in imports {
        let (path, version) = named(import);
        let (package, interface) = path.split_once('/').unwrap_or((path, path));
        groups.entry((package, version, *access)).or_default().push(interface.to_owned());
    }
    let groups = groups.into_iter().map(|((package, version, access), interfaces)| Import {
        package: package.to_owned(),
        version: version.map(str::to_owned),
        access,
        interfaces,
    });
    groups.collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl From<&Limits> for LimitsReport {
    fn from(limits: &Limits) -> Self {
        Self {
            timeout_ms: millis(limits.wall),
            cpu_ms: millis(limits.cpu()),
            memory_bytes: limits.memory_bytes,
            table_elements: limits.table_elements,
            result_bytes: limits.result_bytes,
            log_bytes: limits.log_bytes,
            transfer_bytes: limits.transfer_bytes,
            handles: limits.handles,
        }
    }
}

impl Report {
    /// For people: the verdict last, where they look.
    fn show(&self) -> Result<()> {
        if let Some(component) = &self.component {
            component.show(self.file_bytes)?;
        } else {
            line("file", format_args!("{} bytes", self.file_bytes))?;
        }
        if !self.submits.is_empty() {
            line("submits", format_args!("{}, besides itself", self.submits.join(", ")))?;
        }
        if let Some(Description { summary, payload_schema, result_schema }) = &self.describes {
            line("describes", out::on_one_line(summary))?;
            for (of, schema) in [("payload", payload_schema), ("result", result_schema)] {
                if let Some(schema) = schema {
                    line(of, out::on_one_line(&schema.to_string()))?;
                }
            }
        }
        match &self.reason {
            Some(reason) => line("refused", out::printable(reason)),
            None => line("admitted", &self.file),
        }
    }
}

impl Component {
    fn show(&self, file_bytes: u64) -> Result<()> {
        let Self { needs, allowed, limits, .. } = self;
        let wit = self.wit_version.as_ref().map(|version| format!(", sentinel:job {version}"));
        let wasi: Vec<_> = self.wasi_versions.iter().map(|version| format!(", WASI {version}")).collect();
        line(
            "job",
            format_args!("{}: {}{}{}", self.job, self.kind.words(), wit.unwrap_or_default(), wasi.concat()),
        )?;
        line("digest", &self.digest)?;
        line(
            "size",
            format_args!(
                "{} of component, {} of machine code, {} in {} ms",
                BinaryBytes(file_bytes),
                BinaryBytes(self.code_bytes),
                if self.from_cache { "from the cache" } else { "compiled" },
                self.compile_ms
            ),
        )?;
        let mut label = "imports";
        for Import { package, access, interfaces, .. } in &self.imports {
            let access = match access {
                Access::Always => "",
                Access::Granted => "  (granted)",
                Access::Refused => "  (not granted: refuses)",
            };
            line(label, format_args!("{package:16} {}{access}", interfaces.join(", ")))?;
            label = "";
        }
        line(
            "needs",
            format_args!(
                "{} of {} core instances; {} of {} memories, {} of {}; {} of {} tables, {} of {} elements",
                needs.core_instances,
                allowed.core_instances,
                needs.memories,
                allowed.memories,
                size::format(needs.memory_bytes),
                size::format(allowed.memory_bytes),
                needs.tables,
                allowed.tables,
                needs.table_elements,
                allowed.table_elements
            ),
        )?;
        let span = |millis| duration::format(Duration::from_millis(millis));
        let bytes = |bytes| size::format(bytes as u64);
        line(
            "limits",
            format_args!(
                "{} of time, {} of CPU, {} of memory, {} table elements,",
                span(limits.timeout_ms),
                span(limits.cpu_ms),
                bytes(limits.memory_bytes),
                limits.table_elements
            ),
        )?;
        line(
            "",
            format_args!(
                "{} of result, {} of log, {} of transfer, {} handles",
                bytes(limits.result_bytes),
                bytes(limits.log_bytes),
                bytes(limits.transfer_bytes),
                limits.handles
            ),
        )?;
        for (label, words) in [("granted", &self.granted), ("withheld", &self.withheld)] {
            let mut label = label;
            for words in words {
                line(label, out::printable(words))?;
                label = "";
            }
        }
        Ok(())
    }
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Self::Job => "a job",
            Self::DescribedJob => "a job that describes itself",
            Self::Command => "a command",
            Self::AdaptedCommand => "a command of WASI preview 1, adapted",
        }
    }
}

fn line(label: &str, text: impl fmt::Display) -> Result<()> {
    out::line(format_args!("{label:9} {text}"))
}
