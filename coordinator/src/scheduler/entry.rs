//! The durable facts. Recovery is nothing but applying them again, in order; golden files freeze their JSON.
//!
//! Past tense, small, and batched: what a poll changes is a handful of entries, with ranges where attempts ended alike.

use gristmill_common::api::{JobFailure, OutputView};
use gristmill_common::plan::PlanSummary;
use gristmill_common::wire::{Done, Skipped};
use gristmill_common::{
    Digest, Epoch, Fence, FenceRange, Generation, JobId, JobSpec, Reason, Stage, TaskName, TaskRange, WorkerId,
};
use serde::{Deserialize, Serialize};

use super::compact::JobSummary;

/// Milliseconds since 1970, for display only: no decision reads it.
pub type WallMs = u64;

/// One durable fact.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case", deny_unknown_fields)]
pub enum Entry {
    /// A coordinator started. Always waited for, so that no fence of the epoch is used before it is durable.
    EpochStarted {
        /// The epoch.
        epoch: Epoch,
    },
    /// A job was accepted.
    JobSubmitted {
        /// The job.
        job: JobId,
        /// What was asked for.
        spec: Box<JobSpec>,
        /// When.
        at: WallMs,
        /// The key under which a repeated submit finds this job.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idempotency: Option<Idempotency>,
    },
    /// The job's plan blob is written.
    JobPlanned {
        /// The job.
        job: JobId,
        /// Digest and counts.
        plan: PlanSummary,
    },
    /// The first grant of a step fixed which executable may run it.
    ProgramPinned {
        /// The job.
        job: JobId,
        /// The step.
        step: u16,
        /// Hash of the executable.
        executable: Digest,
    },
    /// Attempts were granted. Not waited for: a lost one costs a duplicate attempt, which the fence absorbs.
    Granted {
        /// The job.
        job: JobId,
        /// The worker that holds them.
        worker: WorkerId,
        /// The step.
        step: u16,
        /// Half of the step.
        stage: Stage,
        /// The tasks.
        tasks: TaskRange,
        /// Fence of the first task; the others follow.
        first_fence: Fence,
        /// Generation of the map outputs, for reduces.
        generation: Generation,
        /// Whether it is a second attempt of one task, beside the one that runs.
        #[serde(default, skip_serializing_if = "is_false")]
        backup: bool,
    },
    /// Attempts won their tasks.
    Won {
        /// The job.
        job: JobId,
        /// The worker that reported them.
        worker: WorkerId,
        /// The step.
        step: u16,
        /// Half of the step.
        stage: Stage,
        /// The tasks; more than one only where all ended alike.
        tasks: TaskRange,
        /// Fence of the first task; the others follow.
        first_fence: Fence,
        /// What each of them made.
        done: Done,
    },
    /// An attempt failed and its task is queued again (or the job fails, in an entry of its own).
    Failed {
        /// The job.
        job: JobId,
        /// The worker that reported it.
        worker: WorkerId,
        /// The step.
        step: u16,
        /// Half of the step.
        stage: Stage,
        /// The task.
        task: u32,
        /// The attempt.
        fence: Fence,
        /// Why.
        reason: Reason,
    },
    /// Attempts are no longer held by their worker; their tasks are queued again.
    Lost {
        /// The job.
        job: JobId,
        /// The worker that held them.
        worker: WorkerId,
        /// The attempts.
        fences: Vec<FenceRange>,
        /// How they were lost.
        why: Loss,
    },
    /// A worker still ran attempts that an earlier coordinator had granted; they go on.
    Adopted {
        /// The job.
        job: JobId,
        /// The worker.
        worker: WorkerId,
        /// The attempts.
        fences: Vec<FenceRange>,
    },
    /// A map output is in the coordinator's store too.
    OutputStored {
        /// The job.
        job: JobId,
        /// The step.
        step: u16,
        /// The map.
        map: u32,
        /// The attempt that wrote it.
        fence: Fence,
    },
    /// The file of a map output could not be opened by another worker of the same host: it has to be relayed.
    OutputUnshared {
        /// The job.
        job: JobId,
        /// The step.
        step: u16,
        /// The map.
        map: u32,
        /// The attempt that wrote it.
        fence: Fence,
    },
    /// Outputs of won tasks are lost: the tasks run again, and no report of an attempt below the fence can win any more.
    ///
    /// For a part of the last step of a job that commits, the job goes back to running.
    TaskReopened {
        /// The job.
        job: JobId,
        /// The step.
        step: u16,
        /// Half of the step; entries from before parts could be lost do not say it and mean maps.
        #[serde(default = "maps_only")]
        stage: Stage,
        /// The tasks.
        #[serde(alias = "maps")]
        tasks: TaskRange,
        /// The first fence that may win.
        below: Fence,
        /// Why, for people.
        why: String,
    },
    /// User code failed at this record again and again: attempts leave it out from now on.
    RecordSkipped {
        /// The job.
        job: JobId,
        /// The step.
        step: u16,
        /// Half of the step.
        stage: Stage,
        /// The task.
        task: u32,
        /// The record, and what user code did with it last.
        skipped: Skipped,
    },
    /// A task that ran again made something else than before: the program is not deterministic.
    OutputDiffered {
        /// The job.
        job: JobId,
        /// The step.
        step: u16,
        /// Half of the step.
        stage: Stage,
        /// The task.
        task: u32,
    },
    /// Whatever was made of a stage's outputs, in this step and in later ones, is void and is made again.
    RolledBack {
        /// The job.
        job: JobId,
        /// The step.
        step: u16,
        /// The half whose outputs it was made of.
        stage: Stage,
        /// The first fence that may win a task that read them.
        below: Fence,
        /// Why, for people.
        why: String,
    },
    /// A task failed for good, and its job goes on with the others of its stage before it fails.
    TaskGivenUp {
        /// The job.
        job: JobId,
        /// The task.
        task: TaskName,
        /// Why, as the job's failure will say of the first of them.
        failure: JobFailure,
    },
    /// All tasks are won: from here the job can only succeed, or lose a part and come here again.
    CommitStarted {
        /// The job.
        job: JobId,
    },
    /// The output is visible under its final name.
    JobSucceeded {
        /// The job.
        job: JobId,
        /// When.
        at: WallMs,
        /// What it made.
        output: OutputView,
    },
    /// The job failed.
    JobFailed {
        /// The job.
        job: JobId,
        /// When.
        at: WallMs,
        /// Why.
        failure: JobFailure,
    },
    /// The job was cancelled.
    JobCancelled {
        /// The job.
        job: JobId,
        /// When.
        at: WallMs,
    },
    /// The job is over; this takes the place of all its other entries.
    JobCompacted {
        /// The job.
        job: JobId,
        /// What is kept of it.
        summary: Box<JobSummary>,
    },
    /// A job that failed or was cancelled runs again: what was won stays won, what went wrong is forgiven.
    JobRetried {
        /// The job.
        job: JobId,
    },
    /// What a job that failed or was cancelled kept is given up: it cannot be retried any more.
    JobExpired {
        /// The job.
        job: JobId,
    },
    /// The job and all it left are to be forgotten.
    JobRemoved {
        /// The job.
        job: JobId,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_false(value: &bool) -> bool {
    !value
}

fn maps_only() -> Stage {
    Stage::Map
}

/// The key of a submit and what was submitted under it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idempotency {
    /// The `Idempotency-Key` header.
    pub key: String,
    /// Digest of the body.
    pub body: Digest,
}

/// How attempts were lost. Only the death of a worker is counted (`WORKER_LOSSES`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// The worker did not poll for a whole lease.
    LeaseExpired,
    /// A new session of the worker does not know them: its process died, perhaps because of them.
    WorkerDied,
    /// Its process died, but had not begun them.
    NotStarted,
    /// The worker processed the answer that granted them and does not hold them.
    NotHeld,
    /// The worker gave them back.
    Returned,
}

impl Entry {
    /// Returns the job that the entry is about.
    #[must_use]
    pub fn job(&self) -> Option<JobId> {
        match self {
            Self::EpochStarted { .. } => None,
            Self::JobSubmitted { job, .. }
            | Self::JobPlanned { job, .. }
            | Self::ProgramPinned { job, .. }
            | Self::Granted { job, .. }
            | Self::Won { job, .. }
            | Self::Failed { job, .. }
            | Self::Lost { job, .. }
            | Self::Adopted { job, .. }
            | Self::OutputStored { job, .. }
            | Self::OutputUnshared { job, .. }
            | Self::TaskReopened { job, .. }
            | Self::RecordSkipped { job, .. }
            | Self::OutputDiffered { job, .. }
            | Self::RolledBack { job, .. }
            | Self::TaskGivenUp { job, .. }
            | Self::CommitStarted { job }
            | Self::JobSucceeded { job, .. }
            | Self::JobFailed { job, .. }
            | Self::JobCancelled { job, .. }
            | Self::JobCompacted { job, .. }
            | Self::JobRetried { job }
            | Self::JobExpired { job }
            | Self::JobRemoved { job } => Some(*job),
        }
    }

    /// Returns the entry's kind in one word, as event lists show it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::EpochStarted { .. } => "epoch_started",
            Self::JobSubmitted { .. } => "submitted",
            Self::JobPlanned { .. } => "planned",
            Self::ProgramPinned { .. } => "program_pinned",
            Self::Granted { .. } => "granted",
            Self::Won { .. } => "won",
            Self::Failed { .. } => "failed",
            Self::Lost { .. } => "lost",
            Self::Adopted { .. } => "adopted",
            Self::OutputStored { .. } => "output_stored",
            Self::OutputUnshared { .. } => "output_unshared",
            Self::TaskReopened { .. } => "reopened",
            Self::RecordSkipped { .. } => "record_skipped",
            Self::OutputDiffered { .. } => "output_differed",
            Self::RolledBack { .. } => "rolled_back",
            Self::TaskGivenUp { .. } => "given_up",
            Self::CommitStarted { .. } => "commit_started",
            Self::JobSucceeded { .. } => "job_succeeded",
            Self::JobFailed { .. } => "job_failed",
            Self::JobCancelled { .. } => "job_cancelled",
            Self::JobCompacted { .. } => "job_compacted",
            Self::JobRetried { .. } => "job_retried",
            Self::JobExpired { .. } => "job_expired",
            Self::JobRemoved { .. } => "job_removed",
        }
    }
}
