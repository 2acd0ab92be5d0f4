//! The coordinator around the real scheduler: a driver with group commit, a journal that loses its tail in a crash, a
//! planner and a committer. It keeps the driver's rule: what promises something waits for the disk, a grant does not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gristmill_common::api::{JobState, OutputView};
use gristmill_common::plan::{PlanSummary, StepShape};
use gristmill_common::spec::OnNondeterminism;
use gristmill_common::wire::{Location, PollRequest, Verdict, output_name};
use gristmill_common::{Digest, Epoch, Fence, JobId, Problem, SessionId, Stage, TaskName, TokenSecret, WorkerId};

use super::network::{Event, Whom};
use super::oracle::Moment;
use super::work::{NOTHING, sequential, value_of};
use super::world::World;
use crate::scheduler::{
    Bug, Command, Durable, Entry, Held, Job, Loss, Now, Outcome, Reply, Scheduler, SchedulerConfig,
};

#[derive(Default)]
pub(super) struct Coordinator {
    pub(super) scheduler: Option<Scheduler>,
    pub(super) life: u64,
    started: u64,
    pub(super) journal: Vec<Entry>,
    pending: Vec<Entry>,
    /// How many of `pending` are being written.
    writing: usize,
    /// Replies and how many entries must be durable before each.
    waiting: VecDeque<(usize, To, Box<Reply>)>,
    parked: BTreeMap<SessionId, (u64, Whom)>,
    parks: u64,
    shadow: Durable,
    tick_at: u64,
    /// It stands still, as under SIGSTOP: what comes waits.
    pub(super) paused_until: u64,
    /// The newest session of each worker that polled: its incarnation and the last poll.
    heard: BTreeMap<WorkerId, (u64, u64)>,
    counter: u64,
}

/// For whom a reply is.
#[derive(Clone, Copy, Debug)]
pub(super) enum To {
    Worker(Whom),
    Submitter(usize),
    Canceller(JobId),
    Nobody,
}

impl Coordinator {
    /// Whether all that is known of what a task failed at is durable: whoever asks what to leave out waits for that.
    pub(super) fn has_written_failures_of(&self, job: JobId, task: TaskName) -> bool {
        self.pending.iter().all(|entry| match entry {
            Entry::RecordSkipped { job: of, step, stage, task: index, .. }
            | Entry::Failed { job: of, step, stage, task: index, .. } => {
                (*of, TaskName { step: *step, stage: *stage, index: *index }) != (job, task)
            }
            _ => true,
        })
    }
}

const CLUSTER: uuid::Uuid = uuid::Uuid::from_u128(77);

impl World {
    fn config(&self) -> SchedulerConfig {
        SchedulerConfig { lease_ms: self.options.lease_ms, hold_ms: 1_000, renew_ms: 250, retain_failed_ms: 4_000 }
    }

    pub(super) fn mono(&self) -> Now {
        // The wall clock jumps: no decision may follow it.
        Now { mono_ms: self.now - self.coordinator.started, wall_ms: 1_000_000 + (self.now * 7) % 5_000 }
    }

    pub(super) fn start_coordinator(&mut self) -> Result<(), String> {
        if self.coordinator.scheduler.is_some() {
            return Ok(());
        }
        let config = self.config();
        let here = &mut self.coordinator;
        here.started = self.now;
        here.life += 1;
        here.counter += 1;
        let epoch = Epoch { cluster: CLUSTER, counter: here.counter };
        here.shadow = Durable::default();
        let mut read = here.journal.clone();
        if self.options.json {
            read = serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
        }
        read.iter().for_each(|entry| here.shadow.apply(entry));
        let mut scheduler = Scheduler::recover(read.into_iter(), TokenSecret::new([7; 32]), config);
        scheduler.bug = self.options.bug;
        self.oracle.restart(&self.coordinator.journal)?;
        let entries = scheduler.start(epoch, Now { mono_ms: 0, wall_ms: 0 });
        self.note(|| format!("coordinator starts as epoch {}", epoch.counter));
        self.judge(&entries)?;
        let here = &mut self.coordinator;
        here.tick_at = u64::MAX;
        here.paused_until = 0;
        here.journal.extend(entries);
        let (planning, committing) = (scheduler.planning_jobs(), scheduler.committing_jobs());
        here.scheduler = Some(scheduler);
        let life = here.life;
        for job in planning {
            self.seen("planning resumed");
            self.after(20, Event::Planned { life, job });
        }
        for job in committing {
            self.seen("commit resumed");
            self.after(20, Event::Committed { life, job });
        }
        self.check_submitted()?;
        self.schedule_tick();
        Ok(())
    }

    /// The process ends. What was being written may be on disk or not; what was not is lost.
    pub(super) fn crash_coordinator(&mut self) {
        if self.coordinator.scheduler.take().is_none() {
            return;
        }
        let applied = self.random.chance(500);
        let here = &mut self.coordinator;
        here.life += 1;
        let writing = here.writing;
        if applied {
            here.journal.extend(here.pending.drain(..writing));
        }
        let lost = here.pending.len();
        here.pending.clear();
        here.waiting.clear();
        here.parked.clear();
        here.writing = 0;
        if applied && writing > 0 {
            self.seen("append applied but reported failed");
        }
        if lost > 0 {
            self.seen("journal tail lost");
        }
        self.note(|| format!("coordinator crashes, {lost} entries lost"));
    }

    fn judge(&mut self, entries: &[Entry]) -> Result<(), String> {
        let moment = Moment { now: self.now, started: self.coordinator.started, lease_ms: self.options.lease_ms };
        for entry in entries {
            self.note(|| format!("  {entry:?}"));
            self.judge_attempts(entry)?;
            self.coordinator.shadow.apply(entry);
            self.oracle.check(entry, &moment)?;
            self.judge_grant(entry)?;
            self.count(entry);
        }
        Ok(())
    }

    /// What is granted is open; a backup is one of a task that runs on another worker. Asked before the entry is applied.
    fn judge_attempts(&mut self, entry: &Entry) -> Result<(), String> {
        let shadow = &self.coordinator.shadow;
        let table =
            |job: JobId, step, stage| shadow.jobs.get(&job).and_then(|job: &Job| Some(job.step(step)?.tasks(stage)));
        let mut seen = None;
        match entry {
            Entry::Granted { job, worker, step, stage, tasks, backup, .. } => {
                let Some(table) = table(*job, *step, *stage) else { return Err(format!("{entry:?} of no step")) };
                for task in tasks.iter() {
                    let is_right = match (backup, table.running(task)) {
                        (false, None) => table.win(task).is_none(),
                        (true, Some((_, first))) => first != *worker && table.rival(task).is_none(),
                        (false, Some(_)) | (true, None) => false,
                    };
                    if !is_right {
                        return Err(format!("{entry:?} of a task that runs under {:?}", table.running(task)));
                    }
                }
                seen = backup.then_some("backup granted");
                if *backup && shadow.jobs.get(job).is_some_and(|job| !job.spec.backups) {
                    return Err(format!("{job} wants no backups"));
                }
            }
            Entry::Won { job, step, stage, tasks, first_fence, .. } => {
                let rival = table(*job, *step, *stage).and_then(|table| table.rival(tasks.first));
                let is_rivals = rival.map(|rival| rival.fence == *first_fence);
                seen = is_rivals.map(|is| if is { "backup won" } else { "backup was not needed" });
            }
            Entry::Lost { worker, fences, .. } => {
                let mut held = fences.iter().flat_map(|range| shadow.held_within(*worker, *range));
                let goes_on = |(first, held): (Fence, Held)| {
                    let rival = table(held.job, held.step, held.stage).and_then(|table| table.rival(held.tasks.first));
                    rival.is_some_and(|rival| rival.fence != first)
                };
                seen = held.any(goes_on).then_some("backup took over");
            }
            _ => {}
        }
        seen.into_iter().for_each(|what| self.seen(what));
        Ok(())
    }

    /// A grant keeps to what the job says of its workers and of its share.
    fn judge_grant(&mut self, entry: &Entry) -> Result<(), String> {
        let Entry::Granted { job, worker, .. } = entry else { return Ok(()) };
        let Some(plan) = self.plan_of(*job) else { return Ok(()) };
        let machine = self.workers.iter().find(|known| known.id == *worker).map(|known| &known.machine);
        if plan.requires_label && machine.is_some_and(|machine| !machine.has_label) {
            return Err(format!("{job} went to worker {worker}, which lacks its label"));
        }
        let is_quarantined = |scheduler: &Scheduler| scheduler.is_quarantined(*worker);
        if self.coordinator.scheduler.as_ref().is_some_and(is_quarantined) {
            self.seen("quarantined worker that alone can");
            let held = self.coordinator.shadow.held.get(worker);
            let held: u32 = held.into_iter().flatten().map(|(_, held)| held.tasks.count).sum();
            if held > 1 {
                return Err(format!("worker {worker} is quarantined and holds {held} attempts after a grant"));
            }
        }
        let condition = |scheduler: &Scheduler| scheduler.condition(*worker).map(|(word, _)| word);
        if self.coordinator.scheduler.as_ref().and_then(condition) == Some("on probation") {
            self.seen("granted on probation");
        }
        let running = self.coordinator.shadow.jobs.get(job).map_or(0, |job| job.running_count());
        match plan.cap {
            Some(cap) if running > u64::from(cap) => Err(format!("{running} tasks of {job} run, its cap is {cap}")),
            Some(cap) if running == u64::from(cap) => {
                self.seen("cap reached");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, entry: &Entry) {
        let what = match entry {
            Entry::Lost { why, .. } => match why {
                Loss::LeaseExpired => "lease expired",
                Loss::WorkerDied => "lost with the worker",
                Loss::NotStarted => "lost before it was begun",
                Loss::NotHeld => "not held",
                Loss::Returned => "returned",
            },
            Entry::JobFailed { failure, .. } if failure.message.contains("not deterministic") => {
                "job failed because it strays"
            }
            Entry::Granted { tasks, .. } if tasks.count > 1 => "range granted",
            Entry::Won { tasks, .. } if tasks.count > 1 => "range won",
            Entry::TaskReopened { job, step, stage: Stage::Reduce, .. }
                if self.plan_of(*job).is_some_and(|plan| plan.fuses(usize::from(*step))) =>
            {
                "fused output lost"
            }
            Entry::Won { .. } if self.oracle.is_second_generation(entry) => "map won again after a reduce",
            entry => entry.kind(),
        };
        self.seen(what);
        if self.oracle.was_lost(entry) {
            self.seen("late report accepted");
        }
    }

    /// Counts what a poll shows of the network and of the worker's lives.
    pub(super) fn count_poll(&mut self, request: &PollRequest) {
        let heard = self.coordinator.heard.entry(request.worker).or_default();
        let now = (request.incarnation, request.seq);
        let what = match now.cmp(heard) {
            _ if now.0 < heard.0 => Some("two sessions of one worker"),
            std::cmp::Ordering::Less => Some("poll overtaken"),
            std::cmp::Ordering::Equal => Some("poll repeated"),
            std::cmp::Ordering::Greater => None,
        };
        *heard = now.max(*heard);
        what.into_iter().for_each(|what| self.seen(what));
    }

    /// Gives the scheduler a command and does what the driver does with the outcome.
    pub(super) fn command(&mut self, command: Command, to: To) -> Result<(), String> {
        let now = self.mono();
        let Some(scheduler) = self.coordinator.scheduler.as_mut() else { return Ok(()) };
        let polled = if let Command::Poll(request) = &command { Some(request.worker) } else { None };
        let seen = if let Command::Poll(request) = &command { Some((request.session, request.seen)) } else { None };
        let Outcome { reply, entries, durable, wake, void } = scheduler.handle(command, now);
        if self.options.bug.is_none_or(|bug| bug != Bug::LostRequeue) {
            scheduler.broken_invariant()?;
        }
        self.steps += 1;
        self.judge(&entries)?;
        if let Some((session, seen)) = seen {
            self.oracle.check_crossing(session, seen, &entries)?;
        }
        if let (To::Worker(whom), Reply::Poll(answer)) = (to, &reply) {
            let session = seen.map_or(self.workers[whom.worker].session, |(session, _)| session);
            self.oracle.note_grants(session, answer);
        }
        let here = &mut self.coordinator;
        if here.scheduler.as_ref().is_some_and(|scheduler| *scheduler.durable() != here.shadow) {
            return Err("the durable half is not the fold of the entries".to_owned());
        }
        here.pending.extend(entries);
        if let Some(session) = void
            && here.parked.remove(&session).is_some()
        {
            self.seen("poll voided");
        }
        let life = self.coordinator.life;
        for session in wake {
            if let Some(&(park, _)) = self.coordinator.parked.get(&session) {
                self.after(0, Event::Unpark { life, session, park, expired: false });
            }
        }
        let quarantined = polled
            .filter(|id| self.coordinator.scheduler.as_ref().is_some_and(|scheduler| scheduler.is_quarantined(*id)));
        if quarantined.is_some() {
            self.seen("quarantined worker polled");
        }
        if let (Some(worker), Reply::Poll(_) | Reply::Parked { .. }) = (polled, &reply) {
            self.oracle.polled.insert(worker, self.now);
        }
        self.reply(reply, durable, to);
        self.flush();
        self.schedule_tick();
        Ok(())
    }

    fn reply(&mut self, reply: Reply, durable: bool, to: To) {
        let life = self.coordinator.life;
        if let (Reply::Parked { hold_ms }, To::Worker(whom)) = (&reply, to) {
            let session = self.workers[whom.worker].session;
            self.coordinator.parks += 1;
            let park = self.coordinator.parks;
            self.coordinator.parked.insert(session, (park, whom));
            self.seen("poll parked");
            return self.after(*hold_ms, Event::Unpark { life, session, park, expired: true });
        }
        let needed = if durable && self.options.bug != Some(Bug::AckBeforeAppend) {
            self.coordinator.journal.len() + self.coordinator.pending.len()
        } else {
            0
        };
        self.coordinator.waiting.push_back((needed, to, Box::new(reply)));
        self.deliver();
    }

    fn deliver(&mut self) {
        let have = self.coordinator.journal.len();
        let (ready, waiting): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.coordinator.waiting).into_iter().partition(|(needed, ..)| *needed <= have);
        self.coordinator.waiting = waiting;
        for (_, to, reply) in ready {
            match (to, *reply) {
                (To::Worker(to), Reply::Poll(answer)) => self.send(Event::Answer { to, answer: Box::new(Ok(*answer)) }),
                (To::Worker(to), Reply::Refused(problem)) => self.refuse(to, problem),
                (To::Submitter(client), Reply::Submitted { job, existing }) => {
                    if existing {
                        self.seen("submit repeated");
                    }
                    self.send(Event::SubmitAnswered { client, job });
                }
                (To::Submitter(client), Reply::Refused(_)) => {
                    self.seen("submit refused");
                    self.clients[client].refused = true;
                }
                (To::Canceller(_), Reply::Refused(_)) => self.seen("cancel refused"),
                (To::Canceller(job), Reply::Done) => self.send(Event::CancelAnswered { job }),
                _ => {}
            }
        }
    }

    pub(super) fn refuse(&mut self, to: Whom, problem: Problem) {
        self.seen("poll refused");
        self.send(Event::Answer { to, answer: Box::new(Err(problem)) });
    }

    /// Writes what gathered, if nothing is being written.
    fn flush(&mut self) {
        let here = &mut self.coordinator;
        if here.writing == 0 && !here.pending.is_empty() {
            here.writing = here.pending.len();
            let life = here.life;
            // A disk that stalls makes a crash lose what many were waiting for.
            let ms = if self.random.chance(50) { self.random.between(50, 900) } else { self.random.between(1, 15) };
            self.after(ms, Event::Flushed { life });
        }
    }

    pub(super) fn on_flushed(&mut self) {
        let here = &mut self.coordinator;
        let writing = std::mem::take(&mut here.writing);
        let written: Vec<Entry> = here.pending.drain(..writing).collect();
        let life = here.life;
        for entry in &written {
            match entry {
                Entry::JobSubmitted { job, .. } => {
                    let ms = self.random.between(1, 300);
                    self.after(ms, Event::Planned { life, job: *job });
                }
                Entry::CommitStarted { job } => {
                    let ms = self.random.between(1, 300);
                    self.after(ms, Event::Committed { life, job: *job });
                }
                _ => {}
            }
        }
        self.coordinator.journal.extend(written);
        self.deliver();
        self.flush();
    }

    /// Puts summaries in the place of the histories of jobs that are over; a crash may leave some rows behind them.
    pub(super) fn compact_journal(&mut self) -> Result<(), String> {
        let here = &mut self.coordinator;
        let Some(scheduler) = here.scheduler.as_ref() else { return Ok(()) };
        let mut before = Durable::default();
        here.journal.iter().for_each(|entry| before.apply(entry));
        let jobs: BTreeSet<JobId> = here.journal.iter().filter_map(Entry::job).collect();
        // An expiry that is decided and not written yet is anticipated by the summary, which is no difference that matters.
        let is_written = |job: &JobId| before.jobs.get(job) == scheduler.durable().jobs.get(job);
        let is_over = |job: &JobId| before.jobs.get(job).is_some_and(|job| job.state().is_over());
        let over = jobs.into_iter().filter(|job| is_over(job) && is_written(job));
        let mut compacted = 0;
        for (job, summary) in over.filter_map(|job| Some((job, scheduler.compacted(job)?))).collect::<Vec<_>>() {
            let rows = here.journal.iter().filter(|entry| entry.job() == Some(job)).count() as u64;
            let (kept, mut seen) = (self.random.below(rows), 0);
            here.journal.retain_mut(|entry| {
                if entry.job() != Some(job) {
                    return true;
                }
                seen += 1;
                if seen == 1 {
                    *entry = summary.clone();
                }
                seen <= kept + 1
            });
            compacted += 1;
        }
        let mut after = Durable::default();
        here.journal.iter().for_each(|entry| after.apply(entry));
        if compacted > 0 {
            self.seen("history compacted");
        }
        (before == after).then_some(()).ok_or_else(|| "a compacted journal folds to another state".to_owned())
    }

    pub(super) fn on_unpark(&mut self, session: SessionId, park: u64, expired: bool) -> Result<(), String> {
        match self.coordinator.parked.get(&session) {
            Some(&(parked, whom)) if parked == park => {
                self.coordinator.parked.remove(&session);
                self.command(Command::ResumePoll { session, expired }, To::Worker(whom))
            }
            _ => Ok(()),
        }
    }

    fn schedule_tick(&mut self) {
        let here = &mut self.coordinator;
        let Some(at) = here.scheduler.as_ref().and_then(Scheduler::next_deadline) else { return };
        let at = (here.started + at).max(self.now);
        if here.tick_at <= self.now || at < here.tick_at {
            here.tick_at = at;
            let (life, ms) = (here.life, at - self.now);
            self.after(ms, Event::Tick { life });
        }
    }

    pub(super) fn on_tick(&mut self) -> Result<(), String> {
        self.coordinator.tick_at = 0;
        let now = self.mono();
        if let Some(scheduler) = self.coordinator.scheduler.as_mut().filter(|scheduler| scheduler.has_overslept(now)) {
            scheduler.excuse_silence(now);
            self.seen("coordinator stood still");
        }
        self.command(Command::Tick, To::Nobody)
    }

    /// The planner's result: another one after every crash, as if the input had changed meanwhile.
    pub(super) fn on_planned(&mut self, job: JobId) -> Result<(), String> {
        let Some(plan) = self.plan_of(job) else { return Ok(()) };
        let mut maps = plan.maps;
        let shape = |(&reduces, &fused): (&u32, &bool)| {
            let shape = StepShape { maps: if fused { 0 } else { maps }, reduces, fused };
            maps = if reduces == 0 { maps } else { reduces };
            shape
        };
        let summary = PlanSummary {
            digest: Digest::of(format!("{job} {}", self.coordinator.life).as_bytes()),
            shapes: plan.reduces.iter().zip(&plan.fused).map(shape).collect(),
            input_files: 1,
            input_bytes: 1,
            roots: Vec::new(),
            protocol: 0,
        };
        self.command(Command::FinishPlan { job, result: Ok(summary) }, To::Nobody)
    }

    /// The commit: compares every part with the sequential run.
    pub(super) fn on_committed(&mut self, job: JobId) -> Result<(), String> {
        let Some(plan) = self.plan_of(job) else { return Ok(()) };
        let Some(scheduler) = self.coordinator.scheduler.as_ref() else { return Ok(()) };
        if scheduler.state(job) != Some(JobState::Committing) {
            return Ok(());
        }
        let parts = scheduler.parts(job).ok_or("a committing job has no parts")?;
        let digest = scheduler.plan_summary(job).ok_or("a committing job has no plan")?.digest;
        let stage = if plan.reduces.last() == Some(&0) { Stage::Map } else { Stage::Reduce };
        let step = u16::try_from(plan.reduces.len() - 1).unwrap();
        let mut values = Vec::new();
        for (index, fence, output) in parts {
            values.push(match output.at {
                Location::Nothing => NOTHING,
                Location::Inline(text) => value_of(&text),
                Location::Store => match self.store.get(&output_name(job, step, stage, index, fence)) {
                    Some(value) => *value,
                    None => {
                        self.seen("commit went back");
                        let why = "not in the store".to_owned();
                        let lost = Command::LoseParts { job, step, parts: vec![(index, fence)], why };
                        return self.command(lost, To::Nobody);
                    }
                },
                Location::Worker(worker) => return Err(format!("part {index} of {job} is on worker {worker}")),
            });
        }
        let first = plan.strays.and_then(|_| self.made_by_first(job, plan.strays_late));
        if plan.strays == Some(OnNondeterminism::Accept) {
            self.seen("mixture accepted");
            return self.finish_commit(job, values.len());
        }
        let expected = sequential(&plan, digest, first);
        if values != expected {
            return Err(format!("{job} commits {values:?}, the sequential run makes {expected:?}"));
        }
        self.finish_commit(job, values.len())
    }

    fn finish_commit(&mut self, job: JobId, parts: usize) -> Result<(), String> {
        let parts = u32::try_from(parts).unwrap();
        let output = OutputView { url: String::new(), bytes: 0, records: u64::from(parts), parts };
        self.command(Command::FinishCommit { job, output }, To::Nobody)
    }

    /// What won the first map last, or the first reduce that runs the map of the next step: all that is committed must have been
    /// made of it.
    fn made_by_first(&self, job: JobId, is_late: bool) -> Option<(u16, u64)> {
        let here = &self.coordinator;
        let (straying, step) = if is_late { (Stage::Reduce, 1) } else { (Stage::Map, 0) };
        let made = here.journal.iter().chain(&here.pending).rev().find_map(|entry| match entry {
            Entry::Won { job: of, step: 0, stage, tasks, done, .. }
                if (*of, *stage) == (job, straying) && tasks.contains(0) =>
            {
                Some(match &done.output.at {
                    Location::Nothing => NOTHING,
                    Location::Inline(text) => value_of(text),
                    _ => u64::from_str_radix(&done.output.digest, 16).unwrap(),
                })
            }
            _ => None,
        });
        made.map(|made| (step, made))
    }

    /// Fails unless it is durable that nobody will need what a job made.
    pub(super) fn judge_drop(&self, job: JobId) -> Result<(), String> {
        let mut durable = Durable::default();
        self.coordinator.journal.iter().for_each(|entry| durable.apply(entry));
        let is_needed = durable.jobs.get(&job).is_some_and(|job| !job.state().is_over() || !job.kept.is_empty());
        if is_needed {
            Err(format!("outputs of {job} are dropped, and it is not durable that it is over"))
        } else {
            Ok(())
        }
    }

    /// Notes what a worker was told: it must survive every crash from now on.
    pub(super) fn note_promises(&mut self, answer: &gristmill_common::wire::PollResponse, jobs: &BTreeMap<u64, JobId>) {
        for ack in &answer.acks {
            match ack.verdict {
                Verdict::Accepted => {
                    for fence in ack.fences.iter() {
                        if let Some(job) = jobs.get(&fence.0) {
                            self.oracle.accepted.insert((*job, fence.0));
                        }
                    }
                }
                Verdict::Duplicate => self.seen("report duplicate"),
                Verdict::Superseded => self.seen("report superseded"),
                Verdict::Conflict => self.seen("report conflict"),
            }
        }
    }
}
