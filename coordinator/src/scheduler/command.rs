//! What the scheduler is told, and what it answers.

use gristmill_common::api::{JobFailure, OutputView};
use gristmill_common::plan::PlanSummary;
use gristmill_common::wire::{PollRequest, PollResponse};
use gristmill_common::{Fence, JobId, JobSpec, Problem, SessionId, WorkerId};

use super::entry::{Entry, Idempotency, WallMs};

/// The time of a command. Decisions read `mono_ms` alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Now {
    /// Milliseconds since the coordinator started; never goes back.
    pub mono_ms: u64,
    /// Milliseconds since 1970, for display.
    pub wall_ms: WallMs,
}

/// What the scheduler is told.
#[derive(Clone, Debug)]
pub enum Command {
    /// Accept a job under a fresh id. The spec is checked already.
    SubmitJob {
        /// The id, made by the caller.
        job: JobId,
        /// What to do.
        spec: Box<JobSpec>,
        /// The submit's idempotency key.
        idempotency: Option<Idempotency>,
    },
    /// The planner wrote the job's plan, or could not.
    FinishPlan {
        /// The job.
        job: JobId,
        /// The plan's summary.
        result: Result<PlanSummary, Box<JobFailure>>,
    },
    /// A worker polled.
    Poll(Box<PollRequest>),
    /// Look at a parked poll again: work may be there for it, or (`expired`) it has been held long enough.
    ResumePoll {
        /// The session whose poll is parked.
        session: SessionId,
        /// Whether it must be answered now.
        expired: bool,
    },
    /// A map output arrived in the store; the blob is complete and verified.
    StoreOutput {
        /// The job.
        job: JobId,
        /// The step.
        step: u16,
        /// The map.
        map: u32,
        /// The attempt that wrote it.
        fence: Fence,
    },
    /// The commit was carried out.
    FinishCommit {
        /// The job.
        job: JobId,
        /// What became visible.
        output: OutputView,
    },
    /// The commit cannot be carried out now; it is tried again.
    NoteCommit {
        /// The job.
        job: JobId,
        /// What is in the way.
        why: String,
    },
    /// The store did not take a map output.
    RefuseOutput {
        /// The job.
        job: JobId,
        /// The step.
        step: u16,
        /// The map.
        map: u32,
        /// The attempt that wrote it.
        fence: Fence,
        /// Why not.
        why: String,
        /// Whether the job's own share of the store is used up, which waiting does not change.
        past_quota: bool,
    },
    /// Parts that the store should have are gone or damaged.
    LoseParts {
        /// The job.
        job: JobId,
        /// The step that made them.
        step: u16,
        /// Their indexes and the attempts that won them.
        parts: Vec<(u32, Fence)>,
        /// What is wrong with them.
        why: String,
    },
    /// End the job without a result.
    CancelJob {
        /// The job.
        job: JobId,
    },
    /// Take a job up again that ended without a result.
    RetryJob {
        /// The job.
        job: JobId,
    },
    /// Forget a job that is over.
    RemoveJob {
        /// The job.
        job: JobId,
    },
    /// Let a worker finish what it runs and stop.
    DrainWorker {
        /// The worker.
        worker: WorkerId,
    },
    /// A deadline has passed.
    Tick,
}

/// What the scheduler answers.
#[derive(Debug)]
pub struct Outcome {
    /// For whoever sent the command.
    pub reply: Reply,
    /// Already applied; to be appended in this order.
    pub entries: Vec<Entry>,
    /// Whether the reply must wait until these and all earlier entries are durable.
    pub durable: bool,
    /// Sessions whose parked polls find something now: send [`Command::ResumePoll`] for each.
    pub wake: Vec<SessionId>,
    /// A session whose poll, parked before this command, is void now: answer it 412. The reply is for another poll.
    pub void: Option<SessionId>,
}

/// A reply to a command.
#[derive(Debug)]
pub enum Reply {
    /// Done.
    Done,
    /// The job that a submit made, or that an equal earlier submit made (`existing`).
    Submitted {
        /// The job.
        job: JobId,
        /// Whether it was there before.
        existing: bool,
    },
    /// The answer to a poll.
    Poll(Box<PollResponse>),
    /// Nothing to say: hold the poll, and send [`Command::ResumePoll`] when woken or when `hold_ms` have passed.
    Parked {
        /// How long to hold it.
        hold_ms: u64,
    },
    /// No.
    Refused(Problem),
}
