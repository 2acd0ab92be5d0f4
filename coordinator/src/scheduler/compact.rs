//! A job that is over as one entry, which takes the place of its whole history.
//!
//! The rule: a journal with a job's first entry replaced by this one folds to the same state, whether the others are gone
//! or, after a crash in between, some of the oldest are still there: entries about a job without steps change nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use gristmill_common::api::{OutputView, SkippedView, StageView};
use gristmill_common::plan::PlanSummary;
use gristmill_common::{JobId, JobSpec};
use serde::{Deserialize, Serialize};

use super::Scheduler;
use super::durable::Durable;
use super::entry::{Entry, Idempotency, WallMs};
use super::job::{Job, Life};

/// What is kept of a job whose history is compacted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSummary {
    /// What was asked for.
    pub spec: JobSpec,
    /// When it was submitted.
    pub submitted_at: WallMs,
    /// The key under which a repeated submit finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
    /// Its plan's digest and counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanSummary>,
    /// Counters of user code.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, i64>,
    /// Records that attempts were told to leave out.
    #[serde(default)]
    pub skips_decided: u64,
    /// Records that the result lacks.
    #[serde(default)]
    pub skipped_records: u64,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<SkippedView>,
    /// Tasks that made something else when they ran again.
    #[serde(default)]
    pub differing: u64,
    /// When it ended.
    pub ended_at: WallMs,
    /// What it made; absent when it was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputView>,
    /// The numbers of its stages at its end.
    pub stages: Vec<StageView>,
}

impl Scheduler {
    /// Returns the entry that may take the place of a job's history, once it succeeded, or was cancelled and can
    /// not be retried any more.
    #[must_use]
    pub fn compacted(&self, id: JobId) -> Option<Entry> {
        let job = self.durable.jobs.get(&id).filter(|job| job.kept.is_empty())?;
        let (ended_at, output, stages) = match &job.life {
            Life::Succeeded { at, output, stages } => (*at, Some(output.clone()), stages.clone()),
            Life::Cancelled { at, stages } => (*at, None, stages.clone()),
            Life::Planning | Life::Running(_) | Life::Committing(_) | Life::Failed { .. } => return None,
        };
        let body = |key: &String| self.durable.keys.get(key).map(|(_, body)| *body);
        let idempotency = job.key.as_ref().and_then(|key| Some(Idempotency { key: key.clone(), body: body(key)? }));
        let (skipped_records, skipped) = job.skipped.clone();
        let summary = JobSummary {
            spec: (*job.spec).clone(),
            submitted_at: job.submitted_at,
            idempotency,
            plan: job.plan.as_deref().cloned(),
            counters: job.counters.clone(),
            skips_decided: job.skips_decided,
            skipped_records,
            skipped,
            differing: job.differing,
            ended_at,
            output,
            stages,
        };
        Some(Entry::JobCompacted { job: id, summary: Box::new(summary) })
    }
}

impl Durable {
    /// Takes in a job that is over.
    pub(super) fn take_summary(&mut self, job: JobId, summary: &JobSummary) {
        self.submitted += 1;
        if let Some(Idempotency { key, body }) = &summary.idempotency {
            self.keys.insert(key.clone(), (job, *body));
        }
        let (at, stages) = (summary.ended_at, summary.stages.clone());
        let life = match &summary.output {
            Some(output) => Life::Succeeded { at, output: output.clone(), stages },
            None => Life::Cancelled { at, stages },
        };
        let over = Job {
            spec: Arc::new(summary.spec.clone()),
            number: self.submitted,
            submitted_at: summary.submitted_at,
            key: summary.idempotency.as_ref().map(|idempotency| idempotency.key.clone()),
            plan: summary.plan.clone().map(Arc::new),
            counters: summary.counters.clone(),
            skips_decided: summary.skips_decided,
            differing: summary.differing,
            skipped: (summary.skipped_records, summary.skipped.clone()),
            kept: Vec::new(),
            life,
        };
        self.jobs.insert(job, over);
    }
}
