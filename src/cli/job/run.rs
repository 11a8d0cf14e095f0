//! `sentinel job run`: one attempt under production limits, with no server: what a worker would
//! make of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write as _},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use sentinel_host::{
    engine::{
        Call, ChildError, Deadlines, Durable, Effects, Fault, GuestTask, LookUp, Outcome, Plugin, Report,
        Versioned, Write,
    },
    guests,
    worker::{Job, new_child},
};
use sentinel_queue::{JobName, Namespace, Policy, TaskId, duration};
use serde_json::{Value, json};

use super::terms::{Admission, REFUSED, TermsArgs};
use crate::cli::{Output, out};

/// So often a watched file is looked at.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Args)]
pub(crate) struct RunArgs {
    /// The component; its name is the job's
    #[arg(value_name = "FILE")]
    component: PathBuf,
    /// The payload: a JSON object, @FILE, or - for standard input
    #[arg(long, default_value = "{}")]
    payload: String,
    /// How long the attempt may take [default: as the manifest says, or 30s]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    #[command(flatten)]
    terms: TermsArgs,
    /// Run it again each time that the file, or its manifest, changes
    #[arg(long)]
    watch: bool,
    /// How to show what came of it
    #[arg(long, default_value = "table", value_name = "FORM")]
    output: Output,
}

pub(super) fn run(args: &RunArgs) -> Result<ExitCode> {
    let timeout = args.timeout.as_deref().map(duration::parse).transpose().context("--timeout")?;
    let said = Policy { timeout, ..Policy::default() };
    let payload = payload(&args.payload, &job_of(&args.component))?;
    // One thread for the guest, and one for its deadline.
    let runtime = guests::runtime(NonZeroUsize::MIN.saturating_add(1))?;
    let deadlines = Deadlines::start(runtime.handle());
    let Admission { admitter, submits } = args.terms.admission(&args.component)?;
    let home = Arc::new(Home { job: job_of(&args.component), submits, kept: Mutex::default() });
    loop {
        let seen = changed_at(&args.component);
        let code = match admitter.admit(&args.component) {
            Err(refused) => {
                eprintln!("refused: {}", out::printable(&refused.reason));
                REFUSED
            }
            Ok(Job { plugin, manifest, .. }) => {
                for withheld in &plugin.grants().withheld {
                    eprintln!("withheld: {}", out::printable(withheld));
                }
                let policy = said.clone().or(&manifest.policy);
                let mut call = Call::new(&plugin, task(&plugin, payload.clone(), &policy));
                call.durable = Some(Arc::<Home>::clone(&home));
                let report = runtime.block_on(runtime.spawn(plugin.run(call, &deadlines)))?;
                home.commit(&report);
                show(&report, &plugin.grants().withheld, args.output == Output::Json)?
            }
        };
        if !args.watch {
            return Ok(ExitCode::from(code));
        }
        eprintln!("── waiting for another {}", args.component.display());
        while changed_at(&args.component) == seen {
            std::thread::sleep(LOOK);
        }
        // What writes it has written all of it when it lies still.
        let mut last = [None; 2];
        while changed_at(&args.component) != last {
            last = changed_at(&args.component);
            std::thread::sleep(LOOK);
        }
    }
}

fn job_of(component: &Path) -> String {
    component.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// When the component and its manifest were changed, and how large they are.
fn changed_at(component: &Path) -> [Option<(SystemTime, u64)>; 2] {
    let changed = |file: &Path| {
        let metadata = fs::metadata(file).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    [changed(component), changed(&component.with_extension("toml"))]
}

/// The payload as a task has it, with the job's name.
fn payload(given: &str, job: &str) -> Result<String> {
    let text = match given.strip_prefix('@') {
        Some(file) => fs::read_to_string(file).with_context(|| file.to_owned())?,
        None if given == "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            text
        }
        None => given.to_owned(),
    };
    let Value::Object(mut fields) = serde_json::from_str(&text).context("--payload is not JSON")? else {
        bail!("--payload is no JSON object");
    };
    if fields.get("job").is_some_and(|named| named == job) {
        return Ok(text);
    }
    fields.insert("job".into(), job.into());
    Ok(Value::Object(fields).to_string())
}

/// The first attempt at a task that asks for this, as a worker tells it.
fn task(plugin: &Plugin, payload: String, policy: &Policy) -> GuestTask {
    GuestTask {
        id: TaskId::random().to_string(),
        job: plugin.name().to_string(),
        queue: "default".into(),
        priority: 0,
        attempt: 1,
        max_attempts: policy.max_attempts(),
        timeout: policy.timeout.unwrap_or(plugin.limits().wall),
        payload,
    }
}

/// Shows a report; answers the exit code.
fn show(report: &Report, withheld: &[String], is_json: bool) -> Result<u8> {
    let usage = &report.usage;
    let effects = report.effects.as_deref().cloned().unwrap_or_default();
    let (code, kind, said) = judge(&report.outcome);
    if is_json {
        let children: Vec<Value> =
            effects.children.iter().filter_map(|child| serde_json::from_str(&child.task).ok()).collect();
        let mut shown = json!({
            "outcome": kind,
            "log": report.log.text,
            "log_dropped_bytes": report.log.dropped_bytes,
            "usage": {
                "cpu_ms": millis(usage.cpu), "wall_ms": millis(usage.wall), "wait_ms": millis(usage.wait),
                "peak_memory_bytes": usage.peak_memory_bytes, "transfer_bytes": usage.transfer_bytes,
            },
            "submits": children,
            "withheld": withheld,
        });
        match &report.outcome {
            Outcome::Completed(result) => shown["result"] = serde_json::from_str(result)?,
            Outcome::Failed(failure) => {
                shown["error"] = json!({ "message": failure.message, "backtrace": failure.backtrace });
            }
            _ => {}
        }
        out::line(shown)?;
        return Ok(code);
    }
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "{}", out::printable(&report.log.text))?;
    if report.log.dropped_bytes > 0 {
        writeln!(stderr, "… {} more bytes of the log were dropped", report.log.dropped_bytes)?;
    }
    for child in &effects.children {
        writeln!(stderr, "submits {}: {}", child.id, out::on_one_line(&child.task))?;
    }
    match &report.outcome {
        Outcome::Completed(result) => out::line(out::printable(result))?,
        _ => writeln!(stderr, "{kind}: {}", out::printable(&said))?,
    }
    writeln!(
        stderr,
        "── {:.1} ms of CPU, {:.1} ms in all ({:.1} ms waiting), {} KiB of memory, {} bytes over the boundary",
        millis(usage.cpu),
        millis(usage.wall),
        millis(usage.wait),
        usage.peak_memory_bytes.div_ceil(1024),
        usage.transfer_bytes
    )?;
    Ok(code)
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1000.0
}

/// The exit code, the kind and the text of an outcome.
fn judge(outcome: &Outcome) -> (u8, &'static str, String) {
    let failure = match outcome {
        Outcome::Completed(_) => return (0, "completed", String::new()),
        Outcome::Failed(failure) => failure,
        Outcome::Cancelled => return (1, "cancelled", String::new()),
        Outcome::Stopped => return (1, "stopped", String::new()),
        Outcome::Pressure(reason) => return (1, "pressure", reason.clone()),
    };
    let (code, kind) = match failure.fault {
        Fault::Retryable | Fault::RetryAfter(_) => (10, "retryable"),
        Fault::Permanent => (11, "permanent"),
        Fault::Trap => (12, "trap"),
        Fault::Timeout(_) => (13, "timeout"),
        Fault::MemoryLimit => (14, "memory_limit"),
        Fault::StackOverflow => (15, "stack_overflow"),
        Fault::HostLimit => (16, "host_limit"),
        Fault::OutputLimit => (17, "output_limit"),
        Fault::BadOutput => (18, "bad_output"),
        Fault::EffectLimit => (19, "effect_limit"),
        Fault::LoadError => (20, "load_error"),
    };
    let backtrace = failure.backtrace.as_deref().map(|trace| format!("\n{trace}")).unwrap_or_default();
    (code, kind, format!("{}{backtrace}", failure.message))
}

/// What outlives the attempts of this command, and is gone with it.
#[derive(Debug)]
struct Home {
    job: String,
    /// The jobs that it may submit, besides itself.
    submits: BTreeSet<JobName>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    state: BTreeMap<String, Vec<u8>>,
    version: u64,
    saved: Option<Vec<u8>>,
}

impl Home {
    /// Keeps what a completed attempt did to its state.
    fn commit(&self, report: &Report) {
        let (Outcome::Completed(_), Some(effects)) = (&report.outcome, &report.effects) else { return };
        let mut kept = self.lock();
        let Effects { writes, .. } = effects.as_ref();
        for (key, write) in writes {
            match write {
                Write::Set(value) => drop(kept.state.insert(key.clone(), value.clone())),
                Write::Delete => drop(kept.state.remove(key)),
                Write::Add(by) => {
                    let before =
                        kept.state.get(key).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
                    let sum = before.unwrap_or(0_i64) + by;
                    kept.state.insert(key.clone(), sum.to_string().into_bytes());
                }
            }
        }
        kept.version += 1;
        kept.saved = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Durable for Home {
    fn read<'a>(&'a self, key: &'a str) -> LookUp<'a, Versioned> {
        let kept = self.lock();
        let value = kept.state.get(key).cloned();
        let version = if value.is_some() { kept.version } else { 0 };
        Box::pin(async move { Versioned { version, value } })
    }

    fn save(&self, bytes: Vec<u8>) -> LookUp<'_, bool> {
        self.lock().saved = Some(bytes);
        Box::pin(async { true })
    }

    fn load(&self) -> LookUp<'_, Option<Vec<u8>>> {
        let saved = self.lock().saved.clone();
        Box::pin(async { saved })
    }

    fn child<'a>(&'a self, task: &'a str) -> LookUp<'a, Result<String, ChildError>> {
        Box::pin(async move {
            let child = new_child(&Namespace::default(), &self.job, &self.submits, task);
            child.map(|task| task.id.to_string()).map_err(ChildError::Refused)
        })
    }
}
