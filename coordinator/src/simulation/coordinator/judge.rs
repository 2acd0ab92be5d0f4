//! Judges what the scheduler decides, before and while it is applied, and counts what was met on the way.

use std::collections::BTreeMap;

use gristmill_common::wire::{PollRequest, PollResponse, Verdict};
use gristmill_common::{Fence, JobId, Stage};

use crate::scheduler::{Durable, Entry, Held, Job, Loss, Scheduler};
use crate::simulation::oracle::Moment;
use crate::simulation::world::World;

impl World {
    pub(super) fn judge(&mut self, entries: &[Entry]) -> Result<(), String> {
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
    pub(crate) fn count_poll(&mut self, request: &PollRequest) {
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

    /// Fails unless it is durable that nobody will need what a job made.
    pub(crate) fn judge_drop(&self, job: JobId) -> Result<(), String> {
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
    pub(crate) fn note_promises(&mut self, answer: &PollResponse, jobs: &BTreeMap<u64, JobId>) {
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
