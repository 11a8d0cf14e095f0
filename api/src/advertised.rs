//! What workers advertise, as submits need it: which jobs there are, and what their payloads must be.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use sentinel_queue::{
    JobName, Queue,
    request::{FieldError, Refused, nearest},
    schema::Schema,
    store::StoreError,
};
use tokio::sync::Mutex;

use crate::{
    problem::{Code, Problem},
    workers,
};

/// How old what is known of the advertised jobs may be.
const FRESH: Duration = Duration::from_secs(1);

/// The schemas of so many plugins are kept at hand.
const SCHEMAS: usize = 1000;

/// The jobs that some worker advertised within the last ten minutes, asked at most once a second
/// however many submits there are.
pub(crate) struct Advertised {
    queue: Queue,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// When the store was asked, and what it said.
    asked: Option<(Instant, Result<Arc<Jobs>, StoreError>)>,
    /// By digest: what payloads must be, if the plugin says.
    schemas: HashMap<String, Option<Arc<Schema>>>,
}

#[derive(Default)]
struct Jobs {
    names: Vec<JobName>,
    /// Per job what each of the plugins that live workers run it with asks of a payload; none asks
    /// for anything if nobody knows.
    asked: HashMap<String, Vec<Option<Arc<Schema>>>>,
}

impl Advertised {
    pub(crate) fn new(queue: Queue) -> Self {
        Self { queue, known: Mutex::default() }
    }

    /// Refuses a job that nobody advertises, and a payload that no plugin of it accepts. While nobody
    /// advertises anything, every job is accepted: its worker may come yet.
    pub(crate) async fn require(&self, job: &JobName, payload: &str) -> Result<(), Problem> {
        let mut jobs = self.jobs(FRESH).await?;
        if !jobs.names.is_empty() && !jobs.names.contains(job) {
            // A worker may have brought it in this second.
            jobs = self.jobs(Duration::from_millis(50)).await?;
            if !jobs.names.contains(job) {
                return Err(unknown(job, &jobs.names));
            }
        }
        let refused = refused(&jobs, job, payload);
        if refused.is_empty() {
            return Ok(());
        }
        // A worker may have brought another plugin in this second.
        let jobs = self.jobs(Duration::from_millis(50)).await?;
        match self::refused(&jobs, job, payload) {
            errors if errors.is_empty() => Ok(()),
            errors => Err(Refused::fields(errors).into()),
        }
    }

    async fn jobs(&self, fresh: Duration) -> Result<Arc<Jobs>, Problem> {
        // Held while the store is asked, so that it is asked once.
        let mut known = self.known.lock().await;
        if let Some((at, jobs)) = &known.asked
            && at.elapsed() < fresh
        {
            return Ok(jobs.clone()?);
        }
        let jobs = self.ask(&mut known.schemas).await.map(Arc::new);
        // That the store is away is remembered, too: submits need not find it out one by one.
        known.asked = Some((Instant::now(), jobs.clone()));
        Ok(jobs?)
    }

    async fn ask(&self, schemas: &mut HashMap<String, Option<Arc<Schema>>>) -> Result<Jobs, StoreError> {
        let names = self.queue.jobs().await?.into_iter().map(|job| job.name).collect();
        let mut digests: HashMap<String, Vec<String>> = HashMap::new();
        for worker in self.queue.workers().await? {
            for job in workers::info(&worker).jobs {
                let digests = digests.entry(job.name).or_default();
                if !digests.contains(&job.digest) {
                    digests.push(job.digest);
                }
            }
        }
        let all = digests.values().flatten();
        let missing: Vec<&str> =
            all.map(String::as_str).filter(|digest| !schemas.contains_key(*digest)).collect();
        if schemas.len() + missing.len() > SCHEMAS {
            schemas.clear();
        }
        for (digest, description) in missing.iter().zip(self.queue.descriptions(&missing).await?) {
            // One that is not published yet is asked for again.
            if let Some(description) = description {
                let schema = description.payload_schema.and_then(|schema| Schema::of(&schema).ok().flatten());
                schemas.insert((*digest).to_owned(), schema.map(Arc::new));
            }
        }
        let asked = digests.into_iter().map(|(job, digests)| {
            let asked = digests.iter().map(|digest| schemas.get(digest).cloned().flatten());
            (job, asked.collect())
        });
        Ok(Jobs { names, asked: asked.collect() })
    }
}

/// What is wrong with a payload; nothing if a plugin that runs somewhere accepts it.
fn refused(jobs: &Jobs, job: &JobName, payload: &str) -> Vec<FieldError> {
    let mut first = Vec::new();
    for schema in jobs.asked.get(job.as_str()).into_iter().flatten() {
        let errors = schema.as_ref().map(|schema| schema.errors(payload)).unwrap_or_default();
        if errors.is_empty() {
            return Vec::new();
        }
        if first.is_empty() {
            first = errors;
        }
    }
    first
}

fn unknown(job: &JobName, names: &[JobName]) -> Problem {
    let near = nearest(job.as_str(), names.iter().map(JobName::as_str));
    let hint = near.map_or_else(
        || format!("there are {}", names.iter().map(JobName::as_str).collect::<Vec<_>>().join(", ")),
        |near| format!("did you mean {near:?}?"),
    );
    let detail = format!("no worker has had the job {:?} within ten minutes: {hint}", job.as_str());
    Problem::of(Code::UnknownJob, detail).about("/payload/job")
}
