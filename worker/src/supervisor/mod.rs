//! The worker's own process: polls, hands work to executors, keeps reports until they are acknowledged, relays outputs.
//!
//! One task owns the exchange and everything that follows from it; slots, polls and relays run beside it and send messages.
//! It holds the worker token and runs no user code. What it decides is in [`crate::exchange`]; here is only what it does.

pub(crate) mod clock;
mod disk;
mod drain;
mod host;
mod identity;
mod polls;
mod relays;
mod shuffle;
mod slot;
mod start;

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use gristmill_client::ClientError;
use gristmill_common::wire::{Location, Outcome, PollResponse, Report, TaskResult, Verdict};
use gristmill_common::{JobId, limits};
use gristmill_storage::StorageError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub use identity::executable_digest;

use crate::config::WorkerConfig;
use crate::exchange::{Exchange, Instruction, Refusal, Work};
use crate::outbox::Outbox;
use crate::program::Programs;
use crate::state_dir::{StateDir, StateError};
use clock::Stopwatch;
use disk::Disk;
use polls::{Answered, Failure, Polls};
use relays::Relays;
use shuffle::Listening;
use slot::{FromSlot, ToSlot};

/// Why a worker ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// What it was started with is wrong.
    #[error("{0}")]
    Config(String),
    /// Its place on disk cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// A directory cannot be allowed.
    #[error(transparent)]
    Roots(#[from] StorageError),
    /// A file of its own cannot be used.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The coordinator does not take this worker, or must not be listened to.
    #[error("the coordinator refuses this worker: {0}")]
    Rejected(#[source] ClientError),
    /// The coordinator must not be listened to.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

fn io_error(action: &'static str) -> impl FnOnce(io::Error) -> WorkerError {
    move |source| WorkerError::Io { action, source }
}

struct Supervisor {
    state: Arc<StateDir>,
    exchange: Exchange,
    outbox: Outbox,
    polls: Polls,
    relays: Relays,
    /// Serves other workers until this one has ended.
    #[expect(dead_code, reason = "held for its drop")]
    shuffle: Option<Listening>,
    slots: Vec<SlotHandle>,
    clock: Stopwatch,
    disk: Disk,
    /// When draining began.
    draining_ms: Option<u64>,
    /// Whether the coordinator has answered since nothing was left to do, and asked for nothing more.
    dismissed: bool,
    /// Whether it was said that a drain waits for a coordinator that does not answer.
    said_alone: bool,
}

struct SlotHandle {
    orders: UnboundedSender<ToSlot>,
    task: JoinHandle<()>,
    /// What it runs; `None` when idle.
    work: Option<Work>,
}

/// Serves a coordinator until it is drained, refused, or `shutdown` is cancelled; then what runs is finished and reported first.
///
/// # Errors
/// When it cannot start, or the coordinator does not take it.
pub async fn run(config: WorkerConfig, programs: Programs, shutdown: CancellationToken) -> Result<(), WorkerError> {
    if config.slots == 0 || config.slots > limits::SLOTS {
        return Err(WorkerError::Config(format!("1 to {} slots are possible, not {}", limits::SLOTS, config.slots)));
    }
    let (answers, answered) = unbounded_channel();
    let (say, said) = unbounded_channel();
    let (lose, lost) = unbounded_channel();
    let supervisor = Supervisor::start(&config, programs, answers, say, lose)?;
    supervisor.serve(answered, said, lost, shutdown).await
}

impl Supervisor {
    async fn serve(
        mut self,
        mut answered: UnboundedReceiver<Answered>,
        mut said: UnboundedReceiver<FromSlot>,
        mut lost: UnboundedReceiver<JobId>,
        shutdown: CancellationToken,
    ) -> Result<(), WorkerError> {
        let ended = loop {
            let now_ms = self.clock.elapsed_ms();
            if let Some(no_room) = self.disk.look(now_ms) {
                self.exchange.set_no_room(no_room);
            }
            self.hand_out();
            if self.is_done(now_ms) {
                break Ok(());
            }
            let next_ms = self.polls.next_ms(&self.exchange);
            if next_ms.is_some_and(|next| next <= now_ms) {
                let request = self.exchange.next_request(now_ms);
                self.polls.send(request, now_ms);
            }
            // A drain has an end even when nothing answers.
            let wake_ms = next_ms.filter(|&next| next > now_ms).unwrap_or(now_ms + 1_000);
            let wake = Instant::now() + Duration::from_millis((wake_ms - now_ms).min(1_000));
            tokio::select! {
                Some(message) = said.recv() => {
                    self.on_slot(message);
                    // A burst of results makes one poll.
                    while let Ok(message) = said.try_recv() {
                        self.on_slot(message);
                    }
                }
                Some(message) = answered.recv() => if let Err(error) = self.on_answered(message) {
                    break Err(error);
                },
                Some(job) = lost.recv() => {
                    // The coordinator learns from the next poll that this worker has nothing of the job, and runs its maps again.
                    tracing::error!(%job, "map outputs of this worker are gone or damaged; its maps of the job run again");
                    self.exchange.release_job(job);
                    self.exchange.poll_again();
                }
                () = shutdown.cancelled(), if self.draining_ms.is_none() => self.drain(),
                () = sleep_until(wake) => {}
            }
        };
        self.end().await;
        ended
    }

    /// Gives work to idle slots.
    fn hand_out(&mut self) {
        let now_ms = self.clock.elapsed_ms();
        for slot in self.slots.iter_mut().filter(|slot| slot.work.is_none()) {
            let Some(work) = self.exchange.start(now_ms) else { return };
            if slot.orders.send(ToSlot::Run(work.clone())).is_ok() {
                slot.work = Some(work);
            } else {
                self.exchange.on_returned(&work);
            }
        }
    }

    fn on_slot(&mut self, message: FromSlot) {
        match message {
            FromSlot::Ended { work, outcome, took_us } => self.on_ended(&work, outcome, took_us),
            FromSlot::Progress { work, permille, status } => {
                self.exchange.on_progress(&work, permille, status.as_deref());
            }
            FromSlot::Unfinished(work) => self.exchange.requeue(&work),
            FromSlot::Returned(work) => {
                tracing::info!(job = %work.grant.name.job, first = %work.grant.name.task(work.tasks.first), count = work.tasks.count, "gave back attempts whose inputs are being made again");
                self.exchange.on_returned(&work);
            }
            FromSlot::Idle { slot } => {
                if let Some(slot) = self.slots.get_mut(slot) {
                    slot.work = None;
                }
            }
        }
    }

    fn on_ended(&mut self, work: &Work, outcome: Outcome, took_us: u64) {
        if let Outcome::Failed(reason) = &outcome {
            let task = work.grant.name.task(work.tasks.first);
            tracing::warn!(job = %work.grant.name.job, %task, tasks = work.tasks.count, %reason, "attempt failed");
        }
        let kept_here = matches!(&outcome, Outcome::Done(done) if matches!(done.output.at, Location::Worker(_)));
        if kept_here {
            self.exchange.hold_job(work.grant.name.job);
        }
        let taken = self.exchange.on_finished(work, outcome.clone(), took_us);
        if taken.is_empty() && kept_here {
            // Stopped while it was finishing.
            self.forget_outputs(work);
        }
        for work in taken {
            let results = vec![TaskResult { tasks: work.tasks, outcome: outcome.clone() }];
            if let Err(error) = self.outbox.add(Report { token: work.grant.token.clone(), results }) {
                tracing::error!(%error, "cannot write the outbox; the report is kept in memory only");
            }
        }
        self.exchange.set_full(self.outbox.is_full());
    }

    fn on_answered(&mut self, message: Answered) -> Result<(), WorkerError> {
        let now_ms = self.clock.elapsed_ms();
        match self.polls.on_answered(message, now_ms) {
            Ok(answer) => self.on_answer(answer, now_ms)?,
            Err(Failure::Ignored | Failure::Later) => {}
            Err(Failure::Void) => self.exchange.poll_again(),
            Err(Failure::TooLarge) => self.exchange.on_too_large(),
            Err(Failure::Never(error)) => return Err(WorkerError::Rejected(error)),
        }
        Ok(())
    }

    fn on_answer(&mut self, answer: PollResponse, now_ms: u64) -> Result<(), Refusal> {
        let asks_nothing = answer.relay.is_empty() && answer.grants.is_empty();
        let was_idle = self.exchange.is_empty() && self.exchange.is_draining();
        let instructions = match self.exchange.on_answer(answer) {
            Ok(instructions) => instructions,
            Err(refusal @ Refusal::ForeignCluster { .. }) => return Err(refusal),
            // A replaced coordinator that still answers, or one that is being rolled back: it will not last.
            Err(refusal) => {
                tracing::error!(%refusal, "the answer is not taken");
                self.polls.postpone(now_ms);
                return Ok(());
            }
        };
        self.dismissed = asks_nothing && was_idle;
        if self.exchange.is_draining() && self.exchange.is_empty() && !was_idle {
            // Whether anything is left to relay is said in the answer to a poll that holds nothing.
            self.exchange.poll_again();
        }
        let mut acked = Vec::new();
        for instruction in instructions {
            match instruction {
                Instruction::Stop(work) => self.stop(&work),
                Instruction::Acked { work, verdict } => {
                    acked.push(work.grant.fences(work.tasks));
                    self.on_acked(&work, verdict);
                }
                Instruction::Relay(grant) => self.relays.start(grant),
                Instruction::DropJob(job) => self.drop_job(job),
                Instruction::Drain => self.drain(),
            }
        }
        if !acked.is_empty() {
            if let Err(error) = self.outbox.acknowledge(&acked) {
                tracing::warn!(%error, "cannot write the outbox; acknowledged reports may be sent again");
            }
            self.exchange.set_full(self.outbox.is_full());
        }
        Ok(())
    }

    fn on_acked(&self, work: &Work, verdict: Verdict) {
        match verdict {
            Verdict::Accepted | Verdict::Duplicate => {}
            Verdict::Superseded => self.forget_outputs(work),
            Verdict::Conflict => {
                let task = work.grant.name.task(work.tasks.first);
                tracing::warn!(job = %work.grant.name.job, %task, "the coordinator does not accept the report of an attempt");
                self.forget_outputs(work);
            }
        }
    }

    fn forget_outputs(&self, work: &Work) {
        // Nothing of the job was ever kept here: a no-op batch must not cost a thousand calls.
        if !self.state.job_outputs(work.grant.name.job).exists() {
            return;
        }
        for path in work.tasks.iter().filter_map(|task| self.state.output(&work.grant.name, task)) {
            let _ = fs::remove_file(path);
        }
    }

    fn stop(&self, work: &Work) {
        tracing::info!(job = %work.grant.name.job, first = %work.grant.name.task(work.tasks.first), count = work.tasks.count, "stopping superseded attempts");
        for slot in &self.slots {
            if slot.work.as_ref().is_some_and(|running| running.grant.token == work.grant.token) {
                let _ = slot.orders.send(ToSlot::Stop(work.clone()));
            }
        }
    }

    fn drop_job(&mut self, job: JobId) {
        self.exchange.release_job(job);
        let path = self.state.job_outputs(job);
        tokio::task::spawn_blocking(move || match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "cannot delete the outputs of a job that is over");
            }
            _ => {}
        });
    }

    async fn end(self) {
        for SlotHandle { orders, task, .. } in self.slots {
            drop(orders);
            // It ends its executor first.
            let _ = tokio::time::timeout(Duration::from_millis(limits::DRAIN_DEADLINE_MS), task).await;
        }
        tracing::info!("worker stopped");
    }
}
