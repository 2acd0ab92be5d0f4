//! The worker's half of the exchange with its coordinator: what it holds, what it has to report, what it was told.
//!
//! A synchronous value without clock, socket or randomness: `next_request` says what to send, `on_answer` takes what came
//! back and says what to do, `start` hands out work. Requests are full state, so any of them and any answer may be lost,
//! repeated or late. What it keeps:
//! - an answer counts only if it answers the latest request; the coordinator sends the rest again, since `seen` says so;
//! - an attempt is in exactly one place: queued, running, finished (until acknowledged) or returned (until answered);
//! - a lower epoch and a foreign cluster are refused.
//!
//! ```text
//!            grants            start           on_finished          acks
//!  answer ----------> queued --------> running -----------> finished ------> gone (Acked)
//!                       |   <--------     |  \
//!                       |    requeue      |   `-- not in `keep` --> gone (Stop)
//!                       `--> returned <---'  on_returned, drain
//! ```

mod answer;
mod fences;
mod pace;
mod request;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use gristmill_common::wire::{Outcome, PollRequest, Report, Verdict, WorkerAbout};
use gristmill_common::{Epoch, FenceRange, GrantName, JobId, SessionId, TaskRange, WorkerId, grant, limits};

pub(crate) use fences::FenceMap;
use pace::Pace;

/// Who polls.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The worker.
    pub worker: WorkerId,
    /// This life of its process.
    pub session: SessionId,
    /// How often its directory was claimed.
    pub incarnation: u64,
    /// What it is and can do.
    pub about: WorkerAbout,
}

/// A right to attempts, with the name that its token spells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeldGrant {
    /// The token.
    pub token: String,
    /// What it names.
    pub name: GrantName,
}

impl HeldGrant {
    /// Reads a token; `None` if it is none.
    #[must_use]
    pub fn of(token: &str) -> Option<Self> {
        Some(Self { token: token.to_owned(), name: grant::name_of(token)? })
    }

    /// Returns the fences of some of its tasks.
    #[must_use]
    pub fn fences(&self, tasks: TaskRange) -> FenceRange {
        let offset = u64::from(tasks.first.saturating_sub(self.name.tasks.first));
        FenceRange { first: self.name.first_fence.plus(offset), count: tasks.count }
    }

    /// Returns the tasks of some of its fences.
    #[must_use]
    pub fn tasks(&self, fences: FenceRange) -> TaskRange {
        let offset = u32::try_from(fences.first.0.saturating_sub(self.name.first_fence.0)).unwrap_or(u32::MAX);
        TaskRange { first: self.name.tasks.first.saturating_add(offset), count: fences.count }
    }

    fn holds(&self, tasks: TaskRange) -> bool {
        tasks.count > 0 && tasks.first >= self.name.tasks.first && tasks.end() <= self.name.tasks.end()
    }
}

/// Attempts to run now, one after the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Work {
    /// The right to them.
    pub grant: Arc<HeldGrant>,
    /// The tasks.
    pub tasks: TaskRange,
}

/// What an answer asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Instruction {
    /// Stop running attempts: they cannot win any more.
    Stop(Work),
    /// The report of these attempts was dealt with; forget it. Only an accepted output is kept.
    Acked {
        /// The attempts.
        work: Work,
        /// What became of them.
        verdict: Verdict,
    },
    /// Put a map output into the coordinator's store under this grant.
    Relay(Arc<HeldGrant>),
    /// Delete the outputs of a job.
    DropJob(JobId),
    /// Finish what runs and stop: an operator asked for it.
    Drain,
}

/// Why an answer is not taken. The worker must not go on with this coordinator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Another cluster answers at that address.
    #[error(
        "the coordinator belongs to cluster {found}, this worker works for {known}; start it with the join line of its cluster or with an empty state directory"
    )]
    ForeignCluster {
        /// The cluster that it works for.
        known: uuid::Uuid,
        /// The one that answered.
        found: uuid::Uuid,
    },
    /// A coordinator that has been replaced answers.
    #[error("a coordinator of epoch {found} answers although epoch {known} has begun; two coordinators seem to run")]
    OldEpoch {
        /// The epoch that it knows.
        known: u64,
        /// The one that answered.
        found: u64,
    },
    /// A grant's or relay's token cannot be read.
    #[error("the coordinator sent a token that cannot be read; is it of another version?")]
    UnreadableToken,
}

#[derive(Clone, Debug)]
struct Attempt {
    grant: Arc<HeldGrant>,
    /// Handed out by `start`.
    running: bool,
    progress_permille: Option<u16>,
    status: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
struct Finished {
    grant: Arc<HeldGrant>,
    outcome: Arc<Outcome>,
    /// Bytes of the outcome's JSON.
    weight: usize,
}

/// The state of a worker's exchange.
#[derive(Debug)]
pub struct Exchange {
    identity: Identity,
    epoch: Option<Epoch>,
    seq: u64,
    seen: u64,
    /// The latest request, until it is answered.
    pending: Option<Arc<PollRequest>>,
    /// Whether there is something to say that `pending` does not say.
    news: bool,
    held: FenceMap<Attempt>,
    running: u64,
    /// Attempts not handed out yet, in the order in which they shall run. What is no longer held is skipped.
    queue: VecDeque<FenceRange>,
    finished: FenceMap<Finished>,
    returned: FenceMap<()>,
    holds: BTreeSet<JobId>,
    pace: Pace,
    last_start_ms: u64,
    draining: bool,
    full: bool,
    no_room: Option<String>,
    /// Bytes of reports that go into one request.
    report_bytes: usize,
    next_poll_ms: u64,
}

impl Exchange {
    /// Starts a session that holds nothing.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            epoch: None,
            seq: 0,
            seen: 0,
            pending: None,
            news: true,
            held: FenceMap::default(),
            running: 0,
            queue: VecDeque::new(),
            finished: FenceMap::default(),
            returned: FenceMap::default(),
            holds: BTreeSet::new(),
            pace: Pace::default(),
            last_start_ms: 0,
            draining: false,
            full: false,
            no_room: None,
            report_bytes: limits::REPORTS_PER_POLL_BYTES,
            next_poll_ms: 0,
        }
    }

    /// Takes reports of an earlier session that were never acknowledged. Ones that cannot be read are dropped.
    pub fn restore(&mut self, reports: impl IntoIterator<Item = Report>) {
        for report in reports {
            let Some(grant) = HeldGrant::of(&report.token).map(Arc::new) else { continue };
            for result in report.results {
                if grant.holds(result.tasks) {
                    let outcome = Arc::new(result.outcome);
                    self.report(&grant, grant.fences(result.tasks), outcome);
                }
            }
        }
    }

    /// Notes that outputs of the job are in the worker's directory.
    pub fn hold_job(&mut self, job: JobId) {
        self.holds.insert(job);
    }

    /// Notes that they are gone.
    pub fn release_job(&mut self, job: JobId) {
        self.holds.remove(&job);
    }

    /// Hands out attempts for one idle slot, as many as are worth one trip.
    pub fn start(&mut self, now_ms: u64) -> Option<Work> {
        let slots = u64::from(self.identity.about.slots.max(1));
        loop {
            let front = self.queue.pop_front()?;
            let parts = self.held.remove(front);
            let Some((fences, attempt)) = parts.iter().find(|(_, attempt)| !attempt.running).cloned() else {
                self.put_back(&parts);
                continue;
            };
            self.put_back(&parts);
            // A fair share for each slot: the last tasks of a job must not all wait behind one executor.
            let share = u32::try_from(self.queued().div_ceil(slots)).unwrap_or(u32::MAX).max(1);
            let count = self.pace.batch(&attempt.grant.name).min(share).min(fences.count);
            let taken = FenceRange { first: fences.first, count };
            if front.end() > taken.end() {
                let left = u32::try_from(front.end().0 - taken.end().0).unwrap_or(u32::MAX);
                self.queue.push_front(FenceRange { first: taken.end(), count: left });
            }
            self.held.remove(taken);
            // One of many is not begun yet; the first sign of progress says when it is.
            let progress_permille = (count == 1).then_some(0);
            self.held.insert(taken, &Attempt { running: true, progress_permille, ..attempt.clone() });
            self.running += u64::from(count);
            self.last_start_ms = now_ms;
            let tasks = attempt.grant.tasks(taken);
            return Some(Work { grant: attempt.grant, tasks });
        }
    }

    fn put_back(&mut self, parts: &[(FenceRange, Attempt)]) {
        for (fences, attempt) in parts {
            self.held.insert(*fences, attempt);
        }
    }

    /// Notes how much of a running attempt is done, and what its user code says that it does.
    pub fn on_progress(&mut self, work: &Work, permille: u16, status: Option<&str>) {
        for (fences, mut attempt) in self.held.remove(work.grant.fences(work.tasks)) {
            if attempt.running {
                attempt.progress_permille = Some(permille.min(1000));
                attempt.status = status.map(Arc::from);
            }
            self.held.insert(fences, &attempt);
        }
    }

    /// Takes the result of running attempts that all ended alike, each of which took `took_us`. Returns the ones that are
    /// still held: only those are to be reported, and only their outputs kept.
    pub fn on_finished(&mut self, work: &Work, outcome: Outcome, took_us: u64) -> Vec<Work> {
        let outcome = Arc::new(outcome);
        let mut taken = Vec::new();
        for (fences, _) in self.take_running(work) {
            self.report(&work.grant, fences, Arc::clone(&outcome));
            taken.push(Work { grant: Arc::clone(&work.grant), tasks: work.grant.tasks(fences) });
        }
        if !taken.is_empty() {
            self.pace.record(&work.grant.name, took_us);
            self.news = true;
        }
        taken
    }

    /// Gives running attempts back without a result: they could not be started here.
    pub fn on_returned(&mut self, work: &Work) {
        for (fences, _) in self.take_running(work) {
            self.returned.insert(fences, &());
            self.news = true;
        }
    }

    /// Puts running attempts back into the queue, to be started again here: another attempt took their executor along.
    pub fn requeue(&mut self, work: &Work) {
        for (fences, attempt) in self.take_running(work) {
            self.held.insert(fences, &Attempt { running: false, progress_permille: None, status: None, ..attempt });
            self.queue.push_front(fences);
        }
    }

    fn take_running(&mut self, work: &Work) -> Vec<(FenceRange, Attempt)> {
        let parts = self.held.remove(work.grant.fences(work.tasks));
        let (running, queued): (Vec<_>, Vec<_>) = parts.into_iter().partition(|(_, attempt)| attempt.running);
        self.put_back(&queued);
        self.running -= running.iter().map(|(fences, _)| u64::from(fences.count)).sum::<u64>();
        running
    }

    fn report(&mut self, grant: &Arc<HeldGrant>, fences: FenceRange, outcome: Arc<Outcome>) {
        let weight = request::weight(&outcome);
        self.finished.insert(fences, &Finished { grant: Arc::clone(grant), outcome, weight });
        let alike = |a: &Finished, b: &Finished| a.grant.token == b.grant.token && a.outcome == b.outcome;
        self.finished.join_before(fences.first, alike);
    }

    /// Stops taking work: what is queued goes back, what runs is finished.
    pub fn drain(&mut self) {
        if !self.draining {
            self.draining = true;
            self.news = true;
        }
    }

    /// Says whether the outbox has no room: then no more work is taken.
    pub fn set_full(&mut self, full: bool) {
        self.news |= self.full && !full;
        self.full = full;
    }

    /// Says why there is no room for more work on the disk, or that there is.
    pub fn set_no_room(&mut self, why: Option<String>) {
        self.news |= self.no_room.is_some() != why.is_some();
        self.no_room = why;
    }

    /// Takes the answer that the request was too large, from the coordinator or from what is in between: half as many bytes
    /// of reports go into the next ones, at least one result.
    pub fn on_too_large(&mut self) {
        self.report_bytes /= 2;
        self.news = true;
    }

    /// Makes the next request a new one, although there is no news.
    pub fn poll_again(&mut self) {
        self.news = true;
    }

    /// Says whether there is something that the coordinator has not been told.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.news
    }

    /// Says whether a request is on its way that is answered at once because it carries reports.
    #[must_use]
    pub fn awaits_acks(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| !pending.finished.is_empty())
    }

    /// Says whether it drains.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// Says whether outputs of jobs are kept here that others may need.
    #[must_use]
    pub fn holds_outputs(&self) -> bool {
        !self.holds.is_empty()
    }

    /// Says whether nothing is held, to be reported or to be given back.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.finished.is_empty() && self.returned.is_empty()
    }

    /// Returns how many attempts were handed out and did not end.
    #[must_use]
    pub fn running(&self) -> u64 {
        self.running
    }

    /// Returns how many attempts wait for a slot.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.held.len() - self.running
    }

    /// Returns how many results are not acknowledged.
    #[must_use]
    pub fn unacked(&self) -> u64 {
        self.finished.len()
    }

    /// Returns when to poll again with nothing new to say, in milliseconds after the last answer.
    #[must_use]
    pub fn next_poll_ms(&self) -> u64 {
        self.next_poll_ms
    }

    /// Returns the epoch of the last answer.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }
}
