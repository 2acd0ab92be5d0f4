//! The task that owns the scheduler: `loop { select → handle }`.
//!
//! Commits are pipelined: commands are handled as they come, their entries gather while a commit is in flight and go out
//! together as the next. It buys one fsync for many commands without a timer; it costs that soft state runs ahead of the
//! disk, so whatever leaves here either promises nothing or waits in [`Answers`]. A lock around the scheduler was
//! rejected: the order of commands would be the order of lock winners, and no one would own the deadlines.

use std::collections::VecDeque;
use std::time::Duration;

use gristmill_common::{Code, Problem, SessionId, limits};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::effects::Effects;
use super::history::History;
use super::parked::Parked;
use super::waiting::{Answers, Watchers};
use super::{DriverError, Message, Query};
use crate::fresh::Clock;
use crate::journal::Record;
use crate::journal::thread::{Link, Progress};
use crate::scheduler::{Command, Entry, Outcome, Reply, Scheduler};

/// Messages handled before the loop looks at commits and deadlines again.
const TURN: usize = 256;

/// Least time between two ticks, so that a deadline that stays in the past cannot keep the processor busy.
const TICK_MS: u64 = 2;

/// Everything the task owns.
pub(super) struct Owner {
    scheduler: Scheduler,
    clock: Clock,
    journal: Link,
    inbox: mpsc::UnboundedReceiver<Message>,
    progress: mpsc::UnboundedReceiver<Progress>,
    effects: Effects,
    /// Entries that the scheduler has decided on, and those of them that are on disk.
    decided: u64,
    durable: u64,
    /// Decided entries that are not handed to the journal yet; the entries of one command stay together.
    gathered: VecDeque<Vec<Record>>,
    /// What the journal is writing.
    in_flight: Vec<Entry>,
    answers: Answers,
    parked: Parked,
    watchers: Watchers,
    room: Room,
    history: History,
    quiet: bool,
    ticked_ms: u64,
    /// Sessions whose parked polls are to be looked at.
    woken: VecDeque<SessionId>,
}

/// How much of the disk is left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    /// Enough.
    Plenty,
    /// Enough to end what was begun.
    Scarce,
    /// A batch waits for it.
    None,
}

/// Whether the loop goes on.
enum Turn {
    On,
    Stop,
}

impl Owner {
    #[expect(clippy::too_many_arguments, reason = "the parts that a start has made")]
    pub(super) fn new(
        scheduler: Scheduler,
        clock: Clock,
        journal: Link,
        inbox: mpsc::UnboundedReceiver<Message>,
        progress: mpsc::UnboundedReceiver<Progress>,
        effects: Effects,
        has_room: bool,
        history: History,
    ) -> Self {
        Self {
            scheduler,
            clock,
            journal,
            inbox,
            progress,
            effects,
            decided: 0,
            durable: 0,
            gathered: VecDeque::new(),
            in_flight: Vec::new(),
            answers: Answers::default(),
            parked: Parked::default(),
            watchers: Watchers::default(),
            room: if has_room { Room::Plenty } else { Room::Scarce },
            history,
            quiet: false,
            ticked_ms: 0,
            woken: VecDeque::new(),
        }
    }

    /// Runs until it is told to stop and all is durable, or until the journal ends.
    pub(super) async fn run(mut self) -> Result<(), DriverError> {
        let mut messages = Vec::with_capacity(TURN);
        loop {
            let deadline = self.next_deadline();
            tokio::select! {
                biased;
                progress = self.progress.recv() => match progress {
                    Some(progress) => self.on_progress(progress),
                    // The journal's thread says why; nothing may be answered any more.
                    None => return Ok(()),
                },
                count = self.inbox.recv_many(&mut messages, TURN) => {
                    if count == 0 || matches!(self.on_messages(&mut messages), Turn::Stop) {
                        return self.finish().await;
                    }
                }
                () = sleep_until(deadline.unwrap_or_else(far)), if deadline.is_some() => {}
            }
            // After every turn: with messages always waiting, the timer would never have its own.
            self.on_deadline();
            self.wake();
            self.commit();
        }
    }

    fn on_messages(&mut self, messages: &mut Vec<Message>) -> Turn {
        for message in messages.drain(..) {
            match message {
                Message::Command { command, reply, permit } => {
                    drop(permit);
                    self.on_command(command, reply);
                }
                Message::Poll { request, reply } => self.on_poll(request, reply),
                Message::Query { query, permit } => {
                    drop(permit);
                    self.on_query(query);
                }
                Message::Watch { job, changed } => self.watchers.add(job, changed),
                Message::Quiet => self.on_quiet(),
                Message::Stop => return Turn::Stop,
            }
        }
        Turn::On
    }

    fn on_command(&mut self, command: Command, reply: oneshot::Sender<Reply>) {
        let begins = matches!(command, Command::SubmitJob { .. } | Command::RetryJob { .. });
        if self.room == Room::None || (self.room == Room::Scarce && begins) {
            let _ = reply.send(Reply::Refused(no_room()));
            return;
        }
        let outcome = self.handle(command);
        self.answer(outcome, reply);
    }

    fn on_poll(&mut self, mut request: Box<gristmill_common::wire::PollRequest>, reply: oneshot::Sender<Reply>) {
        if self.room == Room::None {
            let _ = reply.send(Reply::Refused(no_room()));
            return;
        }
        if self.room == Room::Scarce {
            // Results are taken, nothing new is begun.
            request.free_slots = 0;
        }
        let session = request.session;
        let outcome = self.handle(Command::Poll(request));
        self.answer_poll(session, outcome, reply);
    }

    /// Sends the answer of a poll, or holds the poll.
    fn answer_poll(&mut self, session: SessionId, outcome: Outcome, reply: oneshot::Sender<Reply>) {
        let Reply::Parked { hold_ms } = outcome.reply else {
            self.answer(outcome, reply);
            return;
        };
        let deadline_ms = self.clock.now().mono_ms.saturating_add(hold_ms);
        if let Some(replaced) = self.parked.hold(session, deadline_ms, reply) {
            let _ = replaced.send(Reply::Refused(replaced_poll()));
        }
        if self.quiet {
            self.resume(session, true);
        }
    }

    fn on_query(&mut self, query: Query) {
        if self.room == Room::None {
            // What the scheduler knows and what is on disk may differ for as long as the disk is full.
            query(Err(no_room()))();
            return;
        }
        let deliver = query(Ok((&self.scheduler, self.clock.now())));
        self.when_durable(deliver);
    }

    fn on_quiet(&mut self) {
        self.quiet = true;
        for session in self.parked.sessions() {
            self.resume(session, true);
        }
    }

    fn on_deadline(&mut self) {
        let now_ms = self.clock.now().mono_ms;
        while let Some(session) = self.parked.expired(now_ms) {
            self.resume(session, true);
        }
        if self.next_tick().is_some_and(|tick_ms| tick_ms <= now_ms) {
            let now = self.clock.now();
            if self.scheduler.has_overslept(now) {
                tracing::warn!("the coordinator stood still: all workers get a fresh lease");
                self.scheduler.excuse_silence(now);
            }
            self.ticked_ms = now_ms;
            self.handle(Command::Tick);
        }
    }

    fn next_tick(&self) -> Option<u64> {
        let deadline_ms = self.scheduler.next_deadline().filter(|_| self.room != Room::None)?;
        Some(deadline_ms.max(self.ticked_ms + TICK_MS))
    }

    fn next_deadline(&self) -> Option<Instant> {
        let deadline_ms = [self.next_tick(), self.parked.next_deadline()].into_iter().flatten().min()?;
        Some(self.clock.at(deadline_ms))
    }

    fn on_progress(&mut self, progress: Progress) {
        match progress {
            Progress::Appended { room } => {
                self.set_room(if room { Room::Plenty } else { Room::Scarce });
                let entries = std::mem::take(&mut self.in_flight);
                self.durable += entries.len() as u64;
                for entry in &entries {
                    self.effects.start(entry, &self.scheduler);
                    self.history.note(entry);
                    if let (true, Some(job)) = (changes_state(entry), entry.job()) {
                        self.watchers.tell(job);
                    }
                }
                self.answers.release(self.durable);
                self.compact();
            }
            Progress::Stalled => self.set_room(Room::None),
            Progress::Roomy => self.set_room(Room::Plenty),
        }
    }

    /// Compacts the histories that are too long by now.
    fn compact(&mut self) {
        while let Some(job) = self.history.due(|job| !self.scheduler.keeps(job)) {
            if let Some(summary) = self.scheduler.compacted(job) {
                self.journal.compact(job, summary);
            }
        }
    }

    fn set_room(&mut self, room: Room) {
        if room == Room::Plenty && self.room != Room::Plenty {
            // What woke them while there was no room was not kept.
            self.woken.extend(self.parked.sessions());
        }
        if self.room == Room::None && room != Room::None {
            // Their polls were refused.
            self.scheduler.excuse_silence(self.clock.now());
        }
        self.room = room;
    }

    /// Looks again at the parked polls that the scheduler named.
    fn wake(&mut self) {
        while let Some(session) = self.woken.pop_front() {
            if self.room == Room::Plenty && self.parked.holds(session) {
                self.resume(session, false);
            }
        }
    }

    /// Looks at a parked poll, and lets go of it when there is something to say or nothing to wait for.
    fn resume(&mut self, session: SessionId, expired: bool) {
        let outcome = self.handle(Command::ResumePoll { session, expired });
        if matches!(outcome.reply, Reply::Parked { .. }) && !expired {
            return;
        }
        if let Some(reply) = self.parked.take(session) {
            self.answer(outcome, reply);
        }
    }

    /// Sends a reply, now or when what it promises is durable.
    fn answer(&mut self, outcome: Outcome, reply: oneshot::Sender<Reply>) {
        let deliver = move || drop(reply.send(outcome.reply));
        if outcome.durable {
            self.when_durable(Box::new(deliver));
        } else {
            deliver();
        }
    }

    fn when_durable(&mut self, deliver: super::Deliver) {
        self.answers.keep(self.decided, deliver);
        self.answers.release(self.durable);
    }

    fn handle(&mut self, command: Command) -> Outcome {
        let now = self.clock.now();
        let mut outcome = self.scheduler.handle(command, now);
        self.woken.extend(outcome.wake.drain(..));
        if let Some(reply) = outcome.void.and_then(|void| self.parked.take(void)) {
            let _ = reply.send(Reply::Refused(replaced_poll()));
        }
        #[cfg(test)]
        self.scheduler.check_invariants();
        let entries = std::mem::take(&mut outcome.entries);
        if !entries.is_empty() {
            self.decided += entries.len() as u64;
            let records = entries.into_iter().map(|entry| Record { wall_ms: now.wall_ms, entry }).collect();
            self.gathered.push_back(records);
        }
        outcome
    }

    /// Hands what has gathered to the journal, if it is not writing already.
    fn commit(&mut self) {
        if !self.in_flight.is_empty() {
            return;
        }
        let mut batch = Vec::new();
        while let Some(records) = self.gathered.pop_front() {
            batch.extend(records);
            if batch.len() >= limits::ENTRIES_PER_COMMIT {
                break;
            }
        }
        if !batch.is_empty() {
            self.in_flight = batch.iter().map(|record| record.entry.clone()).collect();
            self.journal.append(batch);
        }
    }

    /// Waits until all that was handled is durable; on a full disk not for ever, since nothing of it was promised yet.
    async fn finish(mut self) -> Result<(), DriverError> {
        self.on_quiet();
        self.effects.stop();
        self.commit();
        let patience = sleep(Duration::from_millis(limits::DRAIN_DEADLINE_MS));
        tokio::pin!(patience);
        while !self.in_flight.is_empty() {
            tokio::select! {
                progress = self.progress.recv() => match progress {
                    Some(progress) => self.on_progress(progress),
                    None => return Ok(()),
                },
                // The journal's thread says what it could not write.
                () = &mut patience, if self.room == Room::None => break,
            }
            self.commit();
        }
        self.journal.close();
        Ok(())
    }
}

fn far() -> Instant {
    Clock::start().at(u64::from(u32::MAX))
}

/// Says whether someone may be waiting for it with `?wait=`.
fn changes_state(entry: &Entry) -> bool {
    match entry {
        Entry::JobPlanned { .. }
        | Entry::CommitStarted { .. }
        | Entry::JobSucceeded { .. }
        | Entry::JobFailed { .. }
        | Entry::JobCancelled { .. }
        | Entry::JobRetried { .. }
        | Entry::JobRemoved { .. } => true,
        Entry::EpochStarted { .. }
        | Entry::JobExpired { .. }
        | Entry::JobSubmitted { .. }
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
        | Entry::TaskGivenUp { .. } => false,
    }
}

fn no_room() -> Problem {
    let detail = "the disk of the coordinator's journal is full: free some space, or remove jobs that are over";
    Problem::new(Code::StorageFull, detail)
}

fn replaced_poll() -> Problem {
    Problem::new(Code::Stale, "a newer poll of the same worker took the place of this one")
}
