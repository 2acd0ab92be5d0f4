//! Jobs that ended without a result: what they have is kept for a while, and they may be taken up again.
//!
//! The rules: a job that failed or was cancelled keeps its won tasks until its time is over; a retry makes it run again with
//! them, and forgives its tasks what went wrong. The time is counted by the coordinator's own clock from the end of the job,
//! or from the coordinator's start if that was later: a restart begins it anew.

use std::collections::HashSet;

use gristmill_common::api::JobState;
use gristmill_common::{Code, Digest, JobId, Problem};

use super::command::Reply;
use super::durable::reservation;
use super::entry::Entry;
use super::{Scheduler, no_such_job};

impl Scheduler {
    /// Makes a job that ended without a result run again.
    pub(super) fn retry(&mut self, job: JobId) -> Reply {
        let Some(over) = self.durable.jobs.get(&job) else { return Reply::Refused(no_such_job(job)) };
        let refused =
            |why: String| Reply::Refused(Problem::new(Code::Conflict, format!("job {job} cannot be retried: {why}")));
        let state = over.state();
        if !matches!(state, JobState::Failed | JobState::Cancelled) {
            return refused(format!("it is {}", state.word()));
        }
        if over.kept.is_empty() {
            let why = "it ended before it was planned, or what it had is not kept any more; submit it again";
            return refused(why.to_owned());
        }
        if let Some(url) = &over.spec.output.url
            && let Some(owner) = self.durable.outputs.get(&reservation(url))
        {
            return refused(format!("`{url}` is the output of job {owner} by now, which is not over"));
        }
        self.record(Entry::JobRetried { job });
        self.soft.retained.retain(|(_, retained)| *retained != job);
        self.soft.fresh.insert(job);
        self.settle(job);
        Reply::Done
    }

    /// Begins the time of a job that has just ended.
    pub(super) fn retain(&mut self, job: JobId) {
        if self.keeps(job) {
            let until = self.now_ms().saturating_add(self.config.retain_failed_ms);
            self.soft.retained.insert((until, job));
        }
    }

    /// Begins the time of all jobs that the journal says are kept.
    pub(super) fn retain_all(&mut self) {
        let kept: Vec<JobId> =
            self.durable.jobs.iter().filter(|(_, job)| !job.kept.is_empty()).map(|(id, _)| *id).collect();
        kept.into_iter().for_each(|job| self.retain(job));
    }

    /// Gives up what jobs keep whose time is over.
    pub(super) fn expire_kept(&mut self) {
        let now = self.now_ms();
        while let Some(&(until, job)) = self.soft.retained.first().filter(|(until, _)| *until <= now) {
            self.soft.retained.remove(&(until, job));
            if self.keeps(job) {
                self.record(Entry::JobExpired { job });
            }
        }
    }

    /// Says whether a job that ended without a result still has what it made.
    #[must_use]
    pub fn keeps(&self, job: JobId) -> bool {
        self.durable.jobs.get(&job).is_some_and(|job| !job.kept.is_empty())
    }

    /// Returns the bundles of all jobs that run or may run again.
    #[must_use]
    pub fn named_bundles(&self) -> HashSet<Digest> {
        let jobs = self.durable.jobs.values().filter(|job| !job.state().is_over() || !job.kept.is_empty());
        jobs.flat_map(|job| job.spec.steps.iter().flat_map(|step| step.program().bundles())).collect()
    }

    /// Says whether nothing will ever read the blobs of this job: it is gone, or ended without a result and cannot be retried.
    #[must_use]
    pub fn is_spent(&self, job: JobId) -> bool {
        self.durable
            .jobs
            .get(&job)
            .is_none_or(|job| matches!(job.state(), JobState::Failed | JobState::Cancelled) && job.kept.is_empty())
    }
}
