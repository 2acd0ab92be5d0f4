//! What jobs cause outside of the scheduler: planning, committing, dropping blobs, deleting rows.
//!
//! All of it follows from durable entries and nothing else, and can be begun again: at the start of a coordinator the
//! same effects are started for what the journal says is not done. A result comes back as a command.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use gristmill_common::api::JobFailure;
use gristmill_common::wire::Output;
use gristmill_common::{Code, Fence, JobId, JobSpec, limits};
use gristmill_storage::Roots;
use tokio::sync::{RwLock, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Message, PlanRefusals, Query, planning};
use crate::commit::{self, CommitError};
use crate::journal::thread::Link;
use crate::scheduler::{Command, Entry, Reply, Scheduler};
use crate::store::{Store, blocking};

/// What effects work on.
#[derive(Clone)]
pub struct Surroundings {
    /// Plans, outputs, uploads.
    pub store: Store,
    /// Where files may be read and written.
    pub roots: Arc<Roots>,
    /// Whether outputs are committed. Held by every attempt: who has it for writing knows that none is under way.
    pub commits: Arc<RwLock<bool>>,
}

impl Surroundings {
    /// Puts them together.
    #[must_use]
    pub fn new(store: Store, roots: Arc<Roots>) -> Self {
        Self { store, roots, commits: Arc::new(RwLock::new(true)) }
    }
}

/// Starts effects; ends them all when stopped.
pub(super) struct Effects {
    surroundings: Surroundings,
    // Weak, so that the driver ends when the last handle is gone.
    inbox: mpsc::WeakUnboundedSender<Message>,
    journal: Link,
    refusals: PlanRefusals,
    planners: Arc<Semaphore>,
    /// Closed when what cleans up beside a job's output is done: a retried job may be ready to commit before that.
    abandoning: Mutex<HashMap<JobId, oneshot::Receiver<()>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Effects {
    pub(super) fn new(
        surroundings: Surroundings,
        inbox: mpsc::WeakUnboundedSender<Message>,
        journal: Link,
        refusals: PlanRefusals,
    ) -> Self {
        Self {
            surroundings,
            inbox,
            journal,
            refusals,
            planners: Arc::new(Semaphore::new(limits::PLANNERS)),
            abandoning: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Starts what a durable entry asks for.
    pub(super) fn start(&self, entry: &Entry, scheduler: &Scheduler) {
        match entry {
            Entry::JobSubmitted { job, spec, .. } => self.plan(*job, spec),
            Entry::CommitStarted { job } => self.commit(*job, scheduler),
            Entry::JobSucceeded { job, .. } => self.sweep(vec![*job]),
            Entry::JobFailed { job, .. } | Entry::JobCancelled { job, .. } => {
                if scheduler.is_spent(*job) {
                    self.drop_blobs(*job);
                }
                self.abandon(*job, scheduler);
            }
            Entry::JobExpired { job } => {
                drop(self.abandoned(*job));
                if scheduler.is_spent(*job) {
                    self.drop_blobs(*job);
                }
            }
            Entry::JobRemoved { job } => self.forget(*job),
            Entry::EpochStarted { .. }
            | Entry::JobPlanned { .. }
            | Entry::JobRetried { .. }
            | Entry::ProgramPinned { .. }
            | Entry::Granted { .. }
            | Entry::Won { .. }
            | Entry::Failed { .. }
            | Entry::Lost { .. }
            | Entry::Adopted { .. }
            | Entry::OutputStored { .. }
            | Entry::OutputUnshared { .. }
            | Entry::TaskReopened { .. }
            | Entry::RecordSkipped { .. }
            | Entry::OutputDiffered { .. }
            | Entry::RolledBack { .. }
            | Entry::JobCompacted { .. }
            | Entry::TaskGivenUp { .. } => {}
        }
    }

    /// Ends what is running; the next start takes it up again.
    pub(super) fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
    }

    /// Plans a job.
    pub(super) fn plan(&self, job: JobId, spec: &JobSpec) {
        let (spec, surroundings) = (spec.clone(), self.surroundings.clone());
        let (inbox, refusals, planners) = (self.inbox.clone(), self.refusals.clone(), Arc::clone(&self.planners));
        self.spawn(async move {
            let Ok(_permit) = planners.acquire().await else { return };
            let planned = planning::plan(job, &spec, &surroundings).await;
            let result = planned.map(|(_, summary)| summary).map_err(|problem| {
                refusals.put(job, &problem);
                let message = problem.to_string();
                Box::new(JobFailure { task: None, reason: None, message })
            });
            send(&inbox, Command::FinishPlan { job, result }).await;
            if ask(&inbox, move |scheduler| scheduler.is_spent(job)).await == Some(true) {
                // It ended while it was planned, so the plan came after its blobs were dropped.
                drop_blobs(&surroundings, job).await;
            }
        });
    }

    /// Makes a job's output visible, however often that has to be tried.
    pub(super) fn commit(&self, job: JobId, scheduler: &Scheduler) {
        let (Some(spec), Some(parts_of_job)) = (scheduler.spec(job), scheduler.parts(job)) else { return };
        let skipped = scheduler.skipped_records(job);
        let (surroundings, inbox) = (self.surroundings.clone(), self.inbox.clone());
        let abandoned = self.abandoned(job);
        self.spawn(async move {
            wait_for(abandoned).await;
            let fences: Vec<(u32, Fence)> = parts_of_job.iter().map(|(index, fence, _)| (*index, *fence)).collect();
            let (mut wait_ms, mut first) = (limits::COMMIT_BACKOFF_MS, Some(parts_of_job));
            loop {
                // There may be a million: nobody keeps them for another try.
                let Some(parts) = (match first.take() {
                    Some(parts) => Some(parts),
                    None => parts_again(&inbox, job).await,
                }) else {
                    return;
                };
                let Surroundings { store, roots, commits } = &surroundings;
                let attempt = commits.read().await;
                if !*attempt {
                    return;
                }
                let why = match guarded(commit::commit(job, &spec, parts, skipped.clone(), store, roots)).await {
                    Ok(Ok(output)) => {
                        // Said before the attempt ends: who waits for its end then knows how the job did.
                        send(&inbox, Command::FinishCommit { job, output }).await;
                        return;
                    }
                    Ok(Err(CommitError::Lost { index, why })) => {
                        tracing::error!(%job, index, why, "a part is lost; its task runs again");
                        let lost = lost_part(job, &spec, &fences, index, &why);
                        if let Some(Reply::Done) | None = send(&inbox, lost).await {
                            return;
                        }
                        format!("part {index} is lost: {why}")
                    }
                    Ok(Err(error)) => error.to_string(),
                    Err(panic) => format!("it panicked: {panic}; this is a bug in Gristmill"),
                };
                tracing::error!(%job, why, wait_ms, "cannot commit; it is tried again until it works");
                send(&inbox, Command::NoteCommit { job, why }).await;
                drop(attempt);
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                wait_ms = (wait_ms * 2).min(limits::RETRY_BACKOFF_MAX_MS);
            }
        });
    }

    /// Deletes what results that are visible no longer need.
    pub(super) fn sweep(&self, jobs: Vec<JobId>) {
        let surroundings = self.surroundings.clone();
        self.spawn(async move {
            for job in jobs {
                if let Err(error) = commit::sweep(job, &surroundings.store).await {
                    tracing::warn!(%job, %error, "outputs that the result does not need stay until the next start");
                }
            }
        });
    }

    /// Deletes blobs of jobs that the journal does not know.
    pub(super) fn drop_unknown(&self, known: HashSet<JobId>) {
        let surroundings = self.surroundings.clone();
        self.spawn(async move {
            if let Err(error) = surroundings.store.drop_unknown_jobs(move |job| known.contains(&job)).await {
                tracing::warn!(%error, "blobs of unknown jobs stay until the next start");
            }
        });
    }

    /// Deletes bundles that no job needs any more, again and again.
    pub(super) fn sweep_bundles(&self) {
        let (store, inbox) = (self.surroundings.store.clone(), self.inbox.clone());
        self.spawn(async move {
            loop {
                // Nobody knows what is durable while the journal's disk is full.
                if let Some(named) = ask(&inbox, Scheduler::named_bundles).await {
                    let (store, unused_for) = (store.clone(), Duration::from_millis(limits::BUNDLE_RETENTION_MS));
                    if let Err(error) = blocking(move || store.sweep_bundles(&named, unused_for)).await {
                        tracing::warn!(%error, "bundles that no job needs stay for now");
                    }
                }
                tokio::time::sleep(Duration::from_millis(limits::SWEEP_EVERY_MS)).await;
            }
        });
    }

    /// Deletes the blobs of a job that ended without a result.
    pub(super) fn drop_blobs(&self, job: JobId) {
        let surroundings = self.surroundings.clone();
        self.spawn(async move { drop_blobs(&surroundings, job).await });
    }

    /// Takes away what an unfinished commit of a job that ended otherwise left beside its output.
    pub(super) fn abandon(&self, job: JobId, scheduler: &Scheduler) {
        let Some(spec) = scheduler.spec(job).filter(|spec| spec.output.url.is_some()) else { return };
        let surroundings = self.surroundings.clone();
        let (done, is_done) = oneshot::channel::<()>();
        let before = self.abandoning().insert(job, is_done);
        self.spawn(async move {
            wait_for(before).await;
            let _done = done;
            let Surroundings { store, roots, .. } = &surroundings;
            if let Err(error) = commit::abandon(job, &spec, store, roots).await {
                tracing::warn!(%job, %error, "what an unfinished commit left stays until the next start");
            }
        });
    }

    /// The clean-up beside a job's output that may still be under way.
    fn abandoned(&self, job: JobId) -> Option<oneshot::Receiver<()>> {
        self.abandoning().remove(&job)
    }

    fn abandoning(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, oneshot::Receiver<()>>> {
        self.abandoning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes all that is left of a removed job; its rows last, so that a crash in between begins again.
    pub(super) fn forget(&self, job: JobId) {
        drop(self.abandoned(job));
        let (surroundings, journal) = (self.surroundings.clone(), self.journal.clone());
        self.spawn(async move {
            drop_blobs(&surroundings, job).await;
            journal.forget(job);
        });
    }

    fn spawn(&self, effect: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = effect => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// Waits until what went before is done, which it says by letting go of its end.
async fn wait_for(before: Option<oneshot::Receiver<()>>) {
    if let Some(before) = before {
        let _ = before.await;
    }
}

/// Carries out an effect's work; a panic in it is an error, since a job would wait for ever for what the effect says.
pub(super) async fn guarded<T>(work: impl Future<Output = T>) -> Result<T, String> {
    // What is behind the references is files and counts: usable after a panic.
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        text.unwrap_or("it gave no text").to_owned()
    })
}

/// Says that the commit cannot find a part.
fn lost_part(job: JobId, spec: &JobSpec, parts: &[(u32, Fence)], index: u32, why: &str) -> Command {
    let step = u16::try_from(spec.steps.len().saturating_sub(1)).unwrap_or(u16::MAX);
    let parts = parts.iter().filter(|part| part.0 == index).copied().collect();
    Command::LoseParts { job, step, parts, why: why.to_owned() }
}

/// Asks for the parts of a committing job once more; `None` when it does not commit any more, or the driver is gone.
async fn parts_again(inbox: &mpsc::WeakUnboundedSender<Message>, job: JobId) -> Option<Vec<(u32, Fence, Output)>> {
    loop {
        match ask(inbox, move |scheduler| scheduler.parts(job)).await {
            Some(parts) => return parts,
            None => drop(inbox.upgrade()?),
        }
        tokio::time::sleep(NO_ROOM_RETRY).await;
    }
}

async fn drop_blobs(surroundings: &Surroundings, job: JobId) {
    if let Err(error) = surroundings.store.drop_job(job).await {
        tracing::warn!(%job, %error, "blobs of a job that is over stay until the next start");
    }
}

/// Asks the scheduler; `None` when the driver is gone or does not know what is durable.
async fn ask<T: Send + 'static>(
    inbox: &mpsc::WeakUnboundedSender<Message>,
    question: impl FnOnce(&Scheduler) -> T + Send + 'static,
) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    let query: Query = Box::new(move |view| {
        let found = view.ok().map(|(scheduler, _)| question(scheduler));
        Box::new(move || {
            let _ = reply.send(found);
        })
    });
    inbox.upgrade()?.send(Message::Query { query, permit: None }).ok()?;
    answer.await.ok()?
}

/// How long an effect waits before it says again what it made of a job, while the journal has no room to keep it.
const NO_ROOM_RETRY: Duration = Duration::from_millis(500);

/// Sends the end of an effect, as often as it takes: nobody else would ever say it in this coordinator's life.
pub(super) async fn send(inbox: &mpsc::WeakUnboundedSender<Message>, command: Command) -> Option<Reply> {
    loop {
        let (reply, answer) = oneshot::channel();
        inbox.upgrade()?.send(Message::Command { command: command.clone(), reply, permit: None }).ok()?;
        match answer.await.ok()? {
            Reply::Refused(problem) if problem.code == Code::StorageFull => tokio::time::sleep(NO_ROOM_RETRY).await,
            reply => return Some(reply),
        }
    }
}

#[cfg(test)]
mod tests {
    use gristmill_common::plan::{PlanSummary, StepShape};
    use gristmill_common::spec::{Generated, Input, StepSpec};
    use gristmill_common::wire::Done;
    use gristmill_common::{Digest, Stage, TaskRange, TokenSecret, WorkerId};

    use super::*;
    use crate::journal::memory::MemoryJournal;
    use crate::journal::thread;
    use crate::scheduler::SchedulerConfig;

    #[tokio::test]
    async fn a_panic_of_an_effects_work_is_an_error_with_its_text() {
        assert_eq!(guarded(async { 1 }).await, Ok(1));
        let panics = guarded(async { panic!("split {} of no file", 3) });
        assert_eq!(panics.await.map(|(): ()| ()), Err("split 3 of no file".to_owned()));
    }

    /// A job of one map without output, which is ready to commit.
    fn committing(job: JobId) -> Scheduler {
        let inputs = vec![Input::Generated(Generated { generate: 1 })];
        let spec = Box::new(JobSpec::new("job", inputs, vec![StepSpec::native("numbers")]));
        let shapes = vec![StepShape { maps: 1, reduces: 0, fused: false }];
        let plan = PlanSummary {
            digest: Digest::of(b"plan"),
            shapes,
            input_files: 0,
            input_bytes: 0,
            roots: vec![],
            protocol: 0,
        };
        let output = Output { digest: "0".repeat(16), ..Output::default() };
        let won = Entry::Won {
            job,
            worker: WorkerId(uuid::Uuid::from_u128(1)),
            step: 0,
            stage: Stage::Map,
            tasks: TaskRange::one(0),
            first_fence: Fence(1),
            done: Done { output, ..Done::default() },
        };
        let entries = [
            Entry::JobSubmitted { job, spec, at: 0, idempotency: None },
            Entry::JobPlanned { job, plan },
            won,
            Entry::CommitStarted { job },
        ];
        Scheduler::recover(entries.into_iter(), TokenSecret::new([1; 32]), SchedulerConfig::default())
    }

    #[tokio::test]
    async fn the_commit_of_a_retried_job_waits_until_its_first_end_is_cleaned_up() {
        let home = tempfile::tempdir().expect("a directory");
        let surroundings = Surroundings::new(Store::open(home.path()).expect("a store"), Arc::new(Roots::none()));
        let (inbox, mut said) = mpsc::unbounded_channel();
        let journal = Box::new(MemoryJournal::new(uuid::Uuid::nil()));
        let (link, _thread) = thread::spawn(journal, true, mpsc::unbounded_channel().0).expect("a thread");
        let effects = Effects::new(surroundings, inbox.downgrade(), link, PlanRefusals::default());
        let job = JobId(uuid::Uuid::from_u128(1));
        let (cleaning, is_clean) = oneshot::channel();
        effects.abandoning().insert(job, is_clean);
        effects.commit(job, &committing(job));
        let early = tokio::time::timeout(Duration::from_millis(100), said.recv()).await;
        assert!(early.is_err(), "it did not wait");
        drop(cleaning);
        let said = tokio::time::timeout(Duration::from_secs(10), said.recv()).await.expect("it goes on");
        assert!(matches!(said, Some(Message::Command { command: Command::FinishCommit { .. }, .. })));
    }
}
