//! The plugins that a worker can run, by name, as they are at one moment.
//!
//! Does not change: when files do, another set takes its place (`library.rs`).

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use bytes::Bytes;
use sentinel_queue::{JobName, schema::Description};
use serde::Serialize;

use super::manifest::Manifest;
use crate::engine::Plugin;

/// The plugins that can be run, and why others cannot.
#[derive(Debug, Default)]
pub struct Plugins {
    pub(super) jobs: BTreeMap<JobName, Job>,
    pub(super) refused: Vec<Refusal>,
    /// What became of files since the worker started.
    pub(super) admissions: Admissions,
    /// Every file was looked at once: none of those that were there at first is missing.
    pub(super) is_complete: bool,
}

/// How often files were admitted and refused since the worker started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Admissions {
    /// Compiled, and run from then on.
    compiled: u64,
    /// Run from then on, as it had been compiled before.
    cached: u64,
    /// Not run, or what was there before instead.
    refused: u64,
}

/// A job that can be run.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its code.
    pub plugin: Plugin,
    /// What it asks for.
    pub manifest: Arc<Manifest>,
    /// What it says of itself, if it does.
    pub description: Option<Description>,
    /// Since when it is run so; for people.
    pub admitted_at: SystemTime,
}

/// A file that is not run, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The file's name.
    pub file: String,
    /// What is wrong with it, and what to do.
    pub reason: String,
}

impl Plugins {
    /// The job of this name.
    pub fn get(&self, job: &JobName) -> Option<&Job> {
        self.jobs.get(job)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values()
    }

    /// What was refused.
    pub fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    /// The names, as a renewal tells them.
    pub(super) fn names(&self) -> Vec<Bytes> {
        self.jobs.keys().map(|name| Bytes::from(name.to_string())).collect()
    }

    /// Logs and counts in which way these are others than those before.
    pub(super) fn tell_news(&mut self, before: &Self) {
        self.admissions = before.admissions;
        for (name, job) in &self.jobs {
            let old = before.get(name);
            if old.is_none_or(|old| old.admitted_at != job.admitted_at) {
                let is_cached = job.plugin.code().from_cache;
                self.admissions.cached += u64::from(is_cached);
                self.admissions.compiled += u64::from(!is_cached);
                tracing::info!(
                    job = %name, digest = %job.plugin.digest(),
                    instead_of = old.map(|old| tracing::field::display(old.plugin.digest())),
                    cached = job.plugin.code().from_cache, compiled_in = ?job.plugin.code().compile_time, "plugin admitted"
                );
            }
        }
        for (name, job) in &before.jobs {
            if !self.jobs.contains_key(name) {
                tracing::warn!(job = %name, digest = %job.plugin.digest(), "plugin gone: its tasks are not run here");
            }
        }
        for Refusal { file, reason } in
            self.refused.iter().filter(|refusal| !before.refused.contains(refusal))
        {
            self.admissions.refused += 1;
            tracing::error!(file, reason, "plugin refused");
        }
    }
}
