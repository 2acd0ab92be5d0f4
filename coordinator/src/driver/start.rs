//! From a journal to a running driver: fold the entries, begin an epoch, take up what was not done.

use std::collections::HashSet;
use std::sync::Arc;

use gristmill_common::api::JobState;
use gristmill_common::{Epoch, JobId, TokenSecret, limits};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::effects::{Effects, Surroundings};
use super::history::History;
use super::owner::Owner;
use super::{DriverError, Handle, Message, PlanRefusals};
use crate::fresh::{self, Clock};
use crate::journal::{Journal, JournalError, Record, Replay, thread};
use crate::scheduler::{Entry, Scheduler, SchedulerConfig};

/// A running driver.
pub struct Driver {
    /// The way to it.
    pub handle: Handle,
    /// The epoch that it began.
    pub epoch: Epoch,
    // Both are taken by whoever waits for them.
    ended: Option<JoinHandle<Result<(), DriverError>>>,
    journal: Option<std::thread::JoinHandle<Result<(), JournalError>>>,
}

impl Driver {
    /// Waits until the driver ends by itself, which only a failure makes it do; says so once.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn failed(&mut self) -> DriverError {
        let Some(ended) = &mut self.ended else { return std::future::pending().await };
        let ended = ended.await;
        self.ended = None;
        match ended {
            Ok(Err(error)) => error,
            Ok(Ok(())) => match join(self.journal.take()).await {
                Err(error) => error,
                Ok(()) => DriverError::Panicked("the journal's thread"),
            },
            Err(_) => DriverError::Panicked("the driver"),
        }
    }

    /// Ends the driver when all that it handled is durable.
    ///
    /// # Errors
    /// Why that did not work.
    pub async fn stop(self) -> Result<(), DriverError> {
        let _ = self.handle.inbox.send(Message::Stop);
        drop(self.handle);
        if let Some(ended) = self.ended {
            ended.await.map_err(|_| DriverError::Panicked("the driver"))??;
        }
        join(self.journal).await
    }
}

/// Waits for the journal's thread and returns how it ended.
async fn join(thread: Option<std::thread::JoinHandle<Result<(), JournalError>>>) -> Result<(), DriverError> {
    let Some(thread) = thread else { return Ok(()) };
    match tokio::task::spawn_blocking(move || thread.join()).await {
        Ok(Ok(ended)) => Ok(ended?),
        _ => Err(DriverError::Panicked("the journal's thread")),
    }
}

/// What the entries of a journal leave to be done, beside what the scheduler knows.
struct Leftovers {
    counter: u64,
    foreign: Option<uuid::Uuid>,
    known: HashSet<JobId>,
    succeeded: Vec<JobId>,
    ended: Vec<JobId>,
    removed: Vec<JobId>,
    history: History,
}

impl Leftovers {
    fn new() -> Self {
        Self {
            counter: 0,
            foreign: None,
            known: HashSet::new(),
            succeeded: Vec::new(),
            ended: Vec::new(),
            removed: Vec::new(),
            history: History::new(limits::HISTORY_ROWS),
        }
    }

    fn note(&mut self, entry: &Entry, cluster: uuid::Uuid) {
        self.history.note(entry);
        match entry {
            Entry::JobCompacted { job, summary } => {
                self.known.insert(*job);
                if summary.output.is_some() { self.succeeded.push(*job) } else { self.ended.push(*job) }
            }
            Entry::EpochStarted { epoch } => {
                self.counter = self.counter.max(epoch.counter);
                self.foreign = self.foreign.or((epoch.cluster != cluster).then_some(epoch.cluster));
            }
            Entry::JobSubmitted { job, .. } => drop(self.known.insert(*job)),
            Entry::JobSucceeded { job, .. } => self.succeeded.push(*job),
            Entry::JobFailed { job, .. } | Entry::JobCancelled { job, .. } => self.ended.push(*job),
            Entry::JobRemoved { job } => self.removed.push(*job),
            _ => {}
        }
    }
}

/// Starts a driver on a journal. Returns when the new epoch is durable.
///
/// # Errors
/// When the journal cannot be read or written.
pub async fn start(
    journal: Box<dyn Journal>,
    secret: TokenSecret,
    config: SchedulerConfig,
    surroundings: Surroundings,
) -> Result<Driver, DriverError> {
    let clock = Clock::start();
    let recovered = tokio::task::spawn_blocking(move || recover(journal, secret, config, clock));
    let Recovered { journal, has_room, scheduler, epoch, mut leftovers } =
        recovered.await.map_err(|_| DriverError::Panicked("the recovery"))??;

    let (progress_sender, progress) = mpsc::unbounded_channel();
    let (link, thread) = thread::spawn(journal, has_room, progress_sender)?;
    let (inbox_sender, inbox) = mpsc::unbounded_channel();
    let refusals = PlanRefusals::default();
    let effects = Effects::new(surroundings, inbox_sender.downgrade(), link.clone(), refusals.clone());
    let history = std::mem::replace(&mut leftovers.history, History::new(0));
    resume(&effects, &scheduler, leftovers);
    let owner = Owner::new(scheduler, clock, link.clone(), inbox, progress, effects, has_room, history);
    let handle =
        Handle { inbox: inbox_sender, calls: Arc::new(Semaphore::new(limits::DRIVER_QUEUE)), journal: link, refusals };
    Ok(Driver { handle, epoch, ended: Some(tokio::spawn(owner.run())), journal: Some(thread) })
}

struct Recovered {
    journal: Box<dyn Journal>,
    /// Whether new work may be begun.
    has_room: bool,
    scheduler: Scheduler,
    epoch: Epoch,
    leftovers: Leftovers,
}

fn recover(
    mut journal: Box<dyn Journal>,
    secret: TokenSecret,
    config: SchedulerConfig,
    clock: Clock,
) -> Result<Recovered, DriverError> {
    let cluster = journal.cluster();
    let mut leftovers = Leftovers::new();
    let mut replay = Replay::new(journal.as_mut());
    let entries = replay.by_ref().inspect(|entry| leftovers.note(entry, cluster));
    let mut scheduler = Scheduler::recover(entries, secret, config);
    replay.finish()?;
    if let Some(entry) = leftovers.foreign {
        return Err(DriverError::ForeignEpoch { journal: cluster, entry });
    }
    let epoch = Epoch { cluster, counter: leftovers.counter + 1 };
    let entries = scheduler.start(epoch, clock.now());
    let wall_ms = fresh::wall_ms();
    let records: Vec<_> = entries.into_iter().map(|entry| Record { wall_ms, entry }).collect();
    journal.append(&records)?;
    let has_room = journal.has_room();
    Ok(Recovered { journal, has_room, scheduler, epoch, leftovers })
}

/// Starts the effects that the last coordinator did not see the end of.
fn resume(effects: &Effects, scheduler: &Scheduler, leftovers: Leftovers) {
    effects.drop_unknown(leftovers.known);
    effects.sweep_bundles();
    effects.sweep(leftovers.succeeded);
    let removed: HashSet<JobId> = leftovers.removed.iter().copied().collect();
    for job in &removed {
        effects.forget(*job);
    }
    let ended: HashSet<JobId> = leftovers.ended.iter().copied().collect();
    let is_ended = |job: &JobId| matches!(scheduler.state(*job), Some(JobState::Failed | JobState::Cancelled));
    for job in ended.difference(&removed).filter(|job| is_ended(job)) {
        if scheduler.is_spent(*job) {
            effects.drop_blobs(*job);
        }
        effects.abandon(*job, scheduler);
    }
    for job in scheduler.planning_jobs() {
        if let Some(spec) = scheduler.spec(job) {
            effects.plan(job, &spec);
        }
    }
    for job in scheduler.committing_jobs() {
        effects.commit(job, scheduler);
    }
}
