//! The scheduler: a synchronous value that takes commands and gives entries. No clock, no randomness, no file, no socket.
//!
//! Two halves: `durable` is changed by `apply(&Entry)` alone, so that recovery is nothing but a fold; `soft` holds what
//! workers tell again. `handle` decides; every decision about durable state is an entry, applied at once and handed to the
//! caller to append. That buys tests and simulation of the real thing at a microsecond a step. It costs a second
//! representation (entries) of every change. Rejected: an actor per job (fairness and fences cross jobs), and a state
//! machine over a database (every decision would wait for a disk).
//!
//! Invariants: `check_invariants`. What must not be here: I/O, time that is not an argument, and panics on what peers say.

mod backup;
mod command;
mod compact;
mod differing;
mod durable;
mod durations;
mod entry;
mod explain;
mod grant;
mod invariants;
mod job;
mod jobs;
mod lease;
mod parts;
mod poll;
mod quarantine;
mod range_set;
mod reach;
mod replay;
mod report;
mod requirements;
mod retain;
mod shares;
mod skip;
mod soft;
mod spread;
mod story;
mod tasks;
#[cfg(test)]
mod tests;
mod view;

pub use command::{Command, Now, Outcome, Reply};
pub use compact::JobSummary;
pub use entry::{Entry, Idempotency, Loss, WallMs};
pub use story::story;
pub use view::{JobFilter, TaskFilter};

#[cfg(test)]
pub(crate) use durable::{Durable, Held};
#[cfg(test)]
pub(crate) use job::Job;

use gristmill_common::{Epoch, Fence, JobId, Problem, TokenSecret, limits};

#[cfg(not(test))]
use durable::Durable;
use soft::Soft;

/// What may differ between coordinators.
#[derive(Clone, Copy, Debug)]
pub struct SchedulerConfig {
    /// How long a worker may be silent before its attempts are granted again, in milliseconds.
    pub lease_ms: u64,
    /// How long a poll without work is held, in milliseconds; at most a third of the lease is used.
    pub hold_ms: u64,
    /// How often a busy worker polls, in milliseconds; at most a quarter of the lease is used.
    pub renew_ms: u64,
    /// How long a job that ended without a result keeps what it has, in milliseconds.
    pub retain_failed_ms: u64,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            lease_ms: limits::LEASE_MS,
            hold_ms: limits::HOLD_MS,
            renew_ms: limits::RENEW_MS,
            retain_failed_ms: limits::RETAIN_FAILED_MS,
        }
    }
}

/// Bugs that tests plant to see the simulator find them.
#[cfg(test)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bug {
    AckBeforeAppend,
    FenceReuse,
    LateReportOverwrites,
    ReopenedTaskRewon,
    FailureCountedTwice,
    LostRequeue,
    CrossingPollsRequeue,
    MassExpiryOnRestart,
    CommitCancelled,
    UnreachableGrant,
    BackupBesideItself,
    QuarantineIgnored,
    DropBeforeDurable,
    FusedOutputForgotten,
    /// Planted in the simulated worker, as the next one: where it would be written in earnest.
    ArrivalOrderMerge,
    OutboxNeverDrains,
}

/// The scheduler.
#[derive(Debug)]
pub struct Scheduler {
    durable: Durable,
    soft: Soft,
    secret: TokenSecret,
    config: SchedulerConfig,
    /// Applied in this step, to be appended.
    entries: Vec<Entry>,
    #[cfg(test)]
    pub(crate) bug: Option<Bug>,
}

impl Scheduler {
    /// Folds the journal. [`Scheduler::start`] must follow before anything else.
    #[must_use]
    pub fn recover(entries: impl Iterator<Item = Entry>, secret: TokenSecret, config: SchedulerConfig) -> Self {
        let mut durable = Durable::default();
        entries.for_each(|entry| durable.apply(&entry));
        Self {
            durable,
            soft: Soft::default(),
            secret,
            config,
            entries: Vec::new(),
            #[cfg(test)]
            bug: None,
        }
    }

    /// Begins an epoch. The entries must be durable before the first command: fences and floors stand on them.
    ///
    /// Workers that the journal records as holders of attempts are presumed alive until their first poll or one lease.
    pub fn start(&mut self, epoch: Epoch, now: Now) -> Vec<Entry> {
        self.soft.now = now;
        self.record(Entry::EpochStarted { epoch });
        self.soft.next_fence = Fence::first_of(epoch.counter).0.max(1);
        self.soft.grace_until_ms = now.mono_ms.saturating_add(self.config.lease_ms);
        self.soft.presumed = self.durable.held.keys().copied().collect();
        self.note_all_holders();
        self.settle_all();
        self.retain_all();
        #[cfg(test)]
        if self.bug == Some(Bug::FenceReuse) {
            self.soft.next_fence = Fence::first_of(1).0;
        }
        #[cfg(test)]
        if self.bug == Some(Bug::MassExpiryOnRestart) {
            for id in std::mem::take(&mut self.soft.presumed) {
                self.lose_all(id, Loss::LeaseExpired);
            }
        }
        std::mem::take(&mut self.entries)
    }

    /// Carries out a command.
    pub fn handle(&mut self, command: Command, now: Now) -> Outcome {
        self.soft.now = Now { mono_ms: now.mono_ms.max(self.soft.now.mono_ms), wall_ms: now.wall_ms };
        self.soft.void = None;
        let (reply, durable) = match command {
            Command::SubmitJob { job, spec, idempotency } => (self.submit(job, spec, idempotency), true),
            Command::FinishPlan { job, result } => (self.finish_plan(job, result), true),
            Command::Poll(request) => self.poll(*request),
            Command::ResumePoll { session, expired } => self.resume(session, expired),
            Command::StoreOutput { job, step, map, fence } => (self.store_output(job, step, map, fence), true),
            Command::FinishCommit { job, output } => (self.finish_commit(job, output), true),
            Command::NoteCommit { job, why } => (self.note_commit(job, why), false),
            Command::RefuseOutput { job, step, map, fence, why, past_quota } => {
                (self.refuse_output(job, (step, map, fence), why, past_quota), true)
            }
            Command::LoseParts { job, step, parts, why } => (self.lose_parts(job, step, &parts, &why), true),
            Command::CancelJob { job } => (self.cancel(job), true),
            Command::RetryJob { job } => (self.retry(job), true),
            Command::RemoveJob { job } => (self.remove(job), true),
            Command::DrainWorker { worker } => (self.drain(worker), false),
            Command::Tick => (self.tick(), false),
        };
        let wake = self.wakes();
        Outcome { reply, entries: std::mem::take(&mut self.entries), durable, wake, void: self.soft.void.take() }
    }

    /// Returns when [`Command::Tick`] is due next, in monotonic milliseconds.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let lease = self.soft.leases.first().map(|(until, _)| *until);
        let delay = self.soft.delays.first().map(|(until, _)| *until);
        let grace = (self.soft.grace_until_ms > 0).then_some(self.soft.grace_until_ms);
        let kept = self.soft.retained.first().map(|(until, _)| *until);
        [kept, lease, delay, grace, self.soft.backups.due_ms, self.forgetting_due()].into_iter().flatten().min()
    }

    /// Returns the epoch, once started.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.durable.epoch
    }

    fn record(&mut self, entry: Entry) {
        self.durable.apply(&entry);
        self.note_holders(&entry);
        self.entries.push(entry);
    }

    fn now_ms(&self) -> u64 {
        self.soft.now.mono_ms
    }

    #[cfg(test)]
    pub(crate) fn durable(&self) -> &Durable {
        &self.durable
    }
}

fn no_such_job(job: JobId) -> Problem {
    Problem::new(gristmill_common::Code::NotFound, format!("there is no job {job}: it was removed or never submitted"))
}
