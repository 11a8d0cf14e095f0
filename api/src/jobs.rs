//! Jobs: what the workers advertise.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use sentinel_queue::schema::Description;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    App,
    auth::Caller,
    page::{Asked, Page},
    problem::{Code, Problem},
    segment::Segment,
    wire::{kind, time},
    workers::{self, JobLimits, Refusal},
};

/// A job.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobView {
    /// Its name: what a payload's `job` says.
    #[schema(value_type = kind::JobName)]
    name: String,
    /// SHA-256 of the plugins that live workers run it with: several while one is being replaced.
    #[schema(value_type = Vec<kind::Digest>)]
    digests: Vec<String>,
    /// How many live workers run it.
    workers: usize,
    /// When it was last advertised.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<kind::Time>)]
    last_advertised_at: Option<String>,
    /// What an attempt may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<JobLimits>,
    /// What the plugin asks for and some live worker does not grant.
    withheld: Vec<String>,
    /// What the first of the plugins says of itself.
    #[serde(flatten)]
    #[schema(value_type = DescriptionView)]
    description: Option<DescriptionView>,
}

/// What a job says of itself.
#[derive(Serialize, ToSchema)]
pub(crate) struct DescriptionView {
    /// What it does. Not in lists, and of jobs that say nothing.
    #[schema(required = false)]
    summary: String,
    /// A JSON Schema of the payload without its `job`. A payload that fits none of the plugins is
    /// refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = serde_json::Value, required = false)]
    payload_schema: Option<Value>,
    /// A JSON Schema of the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = serde_json::Value, required = false)]
    result_schema: Option<Value>,
}

impl From<Description> for DescriptionView {
    fn from(description: Description) -> Self {
        let Description { summary, payload_schema, result_schema } = description;
        Self { summary, payload_schema, result_schema }
    }
}

/// A plugin that workers do not run.
#[derive(Serialize, ToSchema)]
pub(crate) struct RefusedView {
    /// The file.
    file: String,
    /// Why, and what to do.
    reason: String,
    /// How many live workers refused it.
    workers: usize,
}

/// All jobs.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobList {
    /// By name.
    jobs: Vec<JobView>,
    /// Plugins that workers do not run.
    refused: Vec<RefusedView>,
    /// Where the list goes on; null at its end.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// List the jobs that workers advertised within the last ten minutes.
#[utoipa::path(
    get, path = "/v1/jobs", operation_id = "list_jobs", tag = "jobs", params(Asked),
    responses(
        (status = 200, description = "The jobs, and the plugins that were refused.", body = JobList),
    )
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    page: Page,
) -> Result<Json<JobList>, Problem> {
    let all = all(&app, &caller).await?;
    let (jobs, next_cursor) = page.of(all.jobs, |job| &job.name);
    Ok(Json(JobList { jobs, next_cursor, ..all }))
}

/// Look at a job.
#[utoipa::path(
    get, path = "/v1/jobs/{job}", operation_id = "get_job", tag = "jobs", params(("job" = kind::JobName, Path, description = "The job's name.")),
    responses(
        (status = 200, description = "The job.", body = JobView),
    )
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Segment(job): Segment,
) -> Result<Json<JobView>, Problem> {
    let found = all(&app, &caller).await?.jobs.into_iter().find(|view| view.name == job);
    let mut view = found.ok_or_else(|| {
        let shown: String = job.chars().take(64).collect();
        Problem::of(Code::UnknownJobName, format!("no worker has had a job {shown:?} within ten minutes"))
    })?;
    if let Some(digest) = view.digests.first() {
        let description = app.queue.descriptions(&[digest]).await?.pop().flatten();
        view.description = description.map(Into::into);
    }
    Ok(Json(view))
}

async fn all(app: &App, caller: &Caller) -> Result<JobList, Problem> {
    let mut jobs: BTreeMap<String, JobView> = BTreeMap::new();
    for job in app.queue.jobs().await? {
        if !caller.is_for(job.name.as_str()) {
            continue;
        }
        let view = entry(&mut jobs, &job.name.to_string());
        view.last_advertised_at = Some(time(job.advertised_at));
    }
    let mut refused: Vec<RefusedView> = Vec::new();
    for worker in app.queue.workers().await? {
        let info = workers::info(&worker);
        for job in info.jobs {
            if !caller.is_for(&job.name) {
                continue;
            }
            let view = entry(&mut jobs, &job.name);
            view.workers += 1;
            view.limits = Some(job.limits);
            if !view.digests.contains(&job.digest) {
                view.digests.push(job.digest);
            }
            for withheld in job.withheld {
                if !view.withheld.contains(&withheld) {
                    view.withheld.push(withheld);
                }
            }
        }
        // Whoever's key is for some jobs learns nothing of other files.
        let told = if caller.grant().jobs.is_none() { info.refused } else { Vec::new() };
        for Refusal { file, reason } in told {
            match refused.iter_mut().find(|known| known.file == file && known.reason == reason) {
                Some(known) => known.workers += 1,
                None => refused.push(RefusedView { file, reason, workers: 1 }),
            }
        }
    }
    Ok(JobList { jobs: jobs.into_values().collect(), refused, next_cursor: None })
}

fn entry<'a>(jobs: &'a mut BTreeMap<String, JobView>, name: &str) -> &'a mut JobView {
    jobs.entry(name.to_owned()).or_insert_with(|| JobView {
        name: name.to_owned(),
        digests: Vec::new(),
        workers: 0,
        last_advertised_at: None,
        limits: None,
        description: None,
        withheld: Vec::new(),
    })
}
