//! The durable half: what a fold of the journal gives, and `apply`, the only thing that changes it.
//!
//! `apply` never decides and never fails: an entry about something that is not there changes nothing. Every decision was
//! made before its entry was written, so that a rule may change without changing what old journals mean.

mod attempts;
mod jobs;
mod results;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use gristmill_common::{Digest, Epoch, Fence, Generation, JobId, Stage, TaskRange, WorkerId};

use super::entry::Entry;
use super::job::{Job, Life, Step};
use super::shares::Shares;

/// What a fold of the journal gives.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Durable {
    pub(crate) epoch: Option<Epoch>,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    /// How many of them are not over.
    pub(crate) live: usize,
    pub(super) submitted: u64,
    pub(crate) keys: BTreeMap<String, (JobId, Digest)>,
    /// Output URLs of live jobs.
    pub(crate) outputs: BTreeMap<String, JobId>,
    /// Attempts by worker and first fence: the same pieces as in the jobs' tasks.
    pub(crate) held: BTreeMap<WorkerId, BTreeMap<Fence, Held>>,
    /// Running jobs, the more urgent first.
    pub(crate) queue: BTreeSet<Rank>,
    /// The same jobs in the order in which they are served.
    pub(crate) shares: Shares,
}

/// A job's place among the running ones: higher priority first, then first come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Rank {
    pub(super) priority: Reverse<i32>,
    pub(super) number: u64,
    pub(crate) job: JobId,
}

/// Attempts that a worker holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Held {
    pub(crate) job: JobId,
    pub(crate) step: u16,
    pub(crate) stage: Stage,
    pub(crate) tasks: TaskRange,
    pub(crate) generation: Generation,
}

/// The text under which an output URL is reserved: with and without the last slash is the same place.
pub(crate) fn reservation(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

impl Durable {
    /// Changes the state by one fact.
    pub(crate) fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::EpochStarted { epoch } => self.epoch = Some(*epoch),
            Entry::JobSubmitted { job, spec, at, idempotency } => self.submit(*job, spec, *at, idempotency.as_ref()),
            Entry::JobPlanned { job, plan } => self.plan(*job, plan),
            Entry::ProgramPinned { job, step, executable } => {
                self.pin(*job, *step, *executable);
            }
            Entry::Granted { job, worker, step, stage, tasks, first_fence, generation, backup } => {
                let held = Held { job: *job, step: *step, stage: *stage, tasks: *tasks, generation: *generation };
                if *backup {
                    self.grant_rival(*worker, *first_fence, held);
                } else {
                    self.grant(*worker, *first_fence, held);
                }
            }
            Entry::Won { job, worker, step, stage, tasks, first_fence, done } => {
                self.stop(*job, *step, *stage, *tasks);
                self.win(*job, *step, *stage, *tasks, *first_fence, *worker, done);
            }
            Entry::Failed { job, worker, step, stage, task, fence, reason } => {
                self.fail(*job, *step, *stage, *task, *fence, *worker, reason);
            }
            Entry::Lost { job, worker, fences, why } => {
                for range in fences {
                    self.lose(*job, *worker, *range, *why);
                }
            }
            Entry::Adopted { .. } => {}
            Entry::OutputStored { job, step, map, fence } => self.store(*job, *step, *map, *fence),
            Entry::OutputUnshared { job, step, map, fence } => self.unshare(*job, *step, *map, *fence),
            Entry::TaskReopened { job, step, stage, tasks, below, .. } => {
                self.reopen(*job, *step, *stage, *tasks, *below);
            }
            Entry::RecordSkipped { job, step, stage, task, skipped } => self.skip(*job, *step, *stage, *task, skipped),
            Entry::OutputDiffered { job, .. } => {
                if let Some(job) = self.jobs.get_mut(job).filter(|job| !job.steps().is_empty()) {
                    job.differing += 1;
                }
            }
            Entry::RolledBack { job, step, stage, below, .. } => self.roll_back(*job, *step, *stage, *below),
            Entry::TaskGivenUp { job, task, failure } => {
                if let Some(step) = self.step_mut(*job, task.step) {
                    step.tasks_mut(task.stage).give_up(task.index);
                    step.given_up.get_or_insert_with(|| failure.clone());
                }
            }
            Entry::CommitStarted { job } => self.start_commit(*job),
            Entry::JobSucceeded { job, at, output } => {
                self.end(*job, |stages| Life::Succeeded { at: *at, output: output.clone(), stages });
            }
            Entry::JobFailed { job, at, failure } => {
                self.end(*job, |stages| Life::Failed { at: *at, failure: failure.clone(), stages });
            }
            Entry::JobCancelled { job, at } => self.end(*job, |stages| Life::Cancelled { at: *at, stages }),
            Entry::JobCompacted { job, summary } => self.take_summary(*job, summary),
            Entry::JobRetried { job } => self.retry(*job),
            Entry::JobExpired { job } => self.expire(*job),
            Entry::JobRemoved { job } => self.forget(*job),
        }
        if let Some(id) = entry.job() {
            match self.jobs.get(&id) {
                Some(job) => self.shares.place(id, job),
                None => self.shares.remove(id),
            }
        }
    }

    /// The first fence that can be granted in this epoch.
    fn epoch_floor(&self) -> Fence {
        Fence::first_of(self.epoch.map_or(0, |epoch| epoch.counter))
    }

    pub(super) fn step_mut(&mut self, job: JobId, step: u16) -> Option<&mut Step> {
        self.jobs.get_mut(&job)?.steps_mut().get_mut(usize::from(step))
    }
}
