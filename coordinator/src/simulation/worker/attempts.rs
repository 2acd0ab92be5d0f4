//! What a worker runs: attempts that take their time, fail, or leave an output.

use std::sync::Arc;

use gristmill_common::wire::{Done, Outcome, Report, Skipped, TaskResult};
use gristmill_common::{Digest, Fence, GrantName, Place, Reason, Stage, TaskRange};
use gristmill_worker::exchange::Work;

use super::name_of;
use crate::scheduler::{Command, Scheduler};
use crate::simulation::coordinator::To;
use crate::simulation::network::{Event, Whom};
use crate::simulation::options::JobPlan;
use crate::simulation::work::{
    Place as Where, done, input_value, input_without, map_value, place_of, reduce_value, straying,
};
use crate::simulation::world::World;

/// What came of trying to run an attempt.
pub(super) enum Tried {
    Finished(Box<Outcome>),
    /// The coordinator cannot be asked now.
    Later,
    /// The attempt is no longer this worker's.
    GiveBack,
}

impl Tried {
    pub(super) fn failed(reason: Reason) -> Self {
        Self::Finished(Box::new(Outcome::Failed(reason)))
    }
}

/// An attempt that is tried.
struct Attempt<'a> {
    /// The index of its worker.
    worker: usize,
    grant: &'a GrantName,
    task: u32,
    fence: Fence,
    plan: &'a JobPlan,
    /// Of the coordinator's plan, from which inputs follow.
    digest: Digest,
}

impl World {
    pub(super) fn start_work(&mut self, index: usize) {
        let now = self.now;
        loop {
            let worker = &mut self.workers[index];
            if worker.running.len() >= worker.machine.slots as usize {
                return;
            }
            let Some(work) = worker.exchange.start(now) else { return };
            let most = self
                .clients
                .iter()
                .find(|client| client.is(work.grant.name.job))
                .map_or(0, |client| client.plan.task_ms);
            let worker = &mut self.workers[index];
            worker.runs += 1;
            let run = worker.runs;
            worker.exchange.on_progress(&work, 1, None);
            let ms = self.random.below(most + 1) * worker.machine.slowness;
            worker.running.insert(run, (now, ms, work));
            let whom = self.whom(index);
            self.after(ms, Event::TaskDone { whom, run });
        }
    }

    pub(crate) fn on_task_done(&mut self, whom: Whom, run: u64) -> Result<(), String> {
        self.finish_task(whom, run);
        let Some((job, step, index, fence)) = self.part_lost.take() else { return Ok(()) };
        self.seen("part of an earlier step lost");
        let why = "not in the store".to_owned();
        self.command(Command::LoseParts { job, step, parts: vec![(index, fence)], why }, To::Nobody)
    }

    fn finish_task(&mut self, whom: Whom, run: u64) {
        let index = whom.worker;
        let Some((since, _, work)) = self.workers[index].running.get(&run).cloned() else { return };
        let took_us = (self.now - since) * 1_000 / u64::from(work.tasks.count);
        let mut outcomes: Vec<(TaskRange, Outcome)> = Vec::new();
        let mut given_back = Vec::new();
        for task in work.tasks.iter() {
            match self.try_task(index, &work.grant.name, task) {
                Tried::Finished(outcome) => match outcomes.last_mut() {
                    Some((tasks, same)) if tasks.end() == task && *same == *outcome => tasks.count += 1,
                    _ => outcomes.push((TaskRange::one(task), *outcome)),
                },
                Tried::Later => return self.after(150, Event::TaskDone { whom, run }),
                Tried::GiveBack => given_back.push(task),
            }
        }
        let worker = &mut self.workers[index];
        worker.running.remove(&run);
        for task in given_back {
            worker.exchange.on_returned(&Work { grant: Arc::clone(&work.grant), tasks: TaskRange::one(task) });
        }
        for (tasks, outcome) in outcomes {
            let part = Work { grant: Arc::clone(&work.grant), tasks };
            let taken = self.workers[index].exchange.on_finished(&part, outcome.clone(), took_us.max(50));
            taken.iter().for_each(|part| self.keep_report(index, part, &outcome));
        }
        self.start_work(index);
        let worker = &self.workers[index];
        if worker.exchange.has_news() && !worker.exchange.awaits_acks() {
            self.set_timer(index, 0);
        }
    }

    /// Puts the report of each attempt into the outbox, from where it is reported again after a crash.
    fn keep_report(&mut self, index: usize, part: &Work, outcome: &Outcome) {
        let Some(directory) = self.directories.get_mut(&self.workers[index].id) else { return };
        for task in part.tasks.iter() {
            let Some(fence) = part.grant.name.fence_of(task) else { continue };
            let result = TaskResult { tasks: TaskRange::one(task), outcome: outcome.clone() };
            let report = Report { token: part.grant.token.clone(), results: vec![result] };
            directory.outbox.insert(fence.0, report);
        }
    }

    fn try_task(&mut self, worker: usize, grant: &GrantName, task: u32) -> Tried {
        let Some(fence) = grant.fence_of(task) else { return Tried::GiveBack };
        let Some(scheduler) = self.coordinator.scheduler.as_ref() else { return Tried::Later };
        let (Some(plan), Some(summary)) = (self.plan_of(grant.job), scheduler.plan_summary(grant.job)) else {
            return Tried::GiveBack;
        };
        let attempt = Attempt { worker, grant, task, fence, plan: &plan, digest: summary.digest };
        let made = self.check_luck(&attempt).and_then(|()| {
            let skipped = self.leave_out(&attempt)?;
            let value = self.make(&attempt, &skipped)?;
            self.place(&attempt, value, skipped)
        });
        made.map_or_else(|tried| tried, |done| Tried::Finished(Box::new(Outcome::Done(done))))
    }

    /// Some attempts fail for no reason of their input, and one task of some jobs always.
    fn check_luck(&mut self, attempt: &Attempt<'_>) -> Result<(), Tried> {
        let Attempt { grant, task, fence, plan, .. } = *attempt;
        let faults = !self.healed;
        let is_poison = grant.stage == Stage::Map && grant.step == 0 && plan.poison == Some(task);
        if is_poison || (faults && self.random.chance(self.options.user_failure)) {
            self.note_failure(grant, task, fence);
            // What fails by chance is no record's fault.
            let at = plan.bad.is_none().then(|| Place { file: "input".to_owned(), offset: u64::from(task) });
            return Err(Tried::failed(Reason::Panicked { message: "boom".to_owned(), at }));
        }
        if faults && self.random.chance(self.options.worker_failure) {
            return Err(Tried::failed(Reason::Worker { message: "no space".to_owned() }));
        }
        Ok(())
    }

    fn note_failure(&mut self, grant: &GrantName, task: u32, fence: Fence) {
        self.oracle.failures.entry((grant.job, grant.task(task))).or_default().insert(fence.0);
    }

    /// Returns the records that the attempt leaves out, or fails at one of them.
    fn leave_out(&mut self, attempt: &Attempt<'_>) -> Result<Vec<Skipped>, Tried> {
        let Attempt { grant, task, fence, plan, .. } = *attempt;
        let bad = plan.bad.as_ref().filter(|(map, ..)| (grant.step, grant.stage, *map) == (0, Stage::Map, task));
        let Some((_, records, _)) = bad else { return Ok(Vec::new()) };
        if !self.coordinator.has_written_failures_of(grant.job, grant.task(task)) {
            return Err(Tried::Later);
        }
        let Some(scheduler) = self.coordinator.scheduler.as_ref() else { return Err(Tried::Later) };
        left_out(scheduler, grant, task, records).map_err(|reason| {
            self.note_failure(grant, task, fence);
            Tried::failed(reason)
        })
    }

    /// Computes what the attempt makes of what it reads.
    fn make(&mut self, attempt: &Attempt<'_>, skipped: &[Skipped]) -> Result<u64, Tried> {
        let Attempt { worker, grant, task, fence, plan, digest } = *attempt;
        match grant.stage {
            Stage::Map if grant.step == 0 && task == 0 && plan.strays.is_some() && !plan.strays_late => {
                Ok(straying(input_value(digest), fence))
            }
            Stage::Map if grant.step == 0 => {
                let left_out: Vec<u64> = skipped.iter().map(|record| record.at.offset).collect();
                Ok(map_value(plan.no_op, 0, task, input_without(digest, &left_out)))
            }
            Stage::Map => match self.read_part(grant, task) {
                Ok(input) => Ok(map_value(plan.no_op, grant.step, task, input)),
                Err(lost) => Err(self.lose_part(grant, task, lost)),
            },
            Stage::Reduce => {
                let maps = self.read_maps(worker, grant)?;
                Ok(reduced(plan, grant.step, task, reduce_value(grant.step, task, &maps), fence))
            }
        }
    }

    /// Puts what an attempt made where others find it.
    fn place(&mut self, attempt: &Attempt<'_>, value: u64, skipped: Vec<Skipped>) -> Result<Done, Tried> {
        let Attempt { worker, grant, task, fence, plan, .. } = *attempt;
        let id = self.workers[worker].id;
        let is_kept = grant.stage == Stage::Reduce || plan.reduces.get(usize::from(grant.step)) == Some(&0);
        let is_part = is_kept && !(grant.stage == Stage::Reduce && plan.fuses(usize::from(grant.step)));
        let file = name_of(grant, task);
        if place_of(value) == Where::File {
            if is_kept {
                let granted =
                    self.coordinator.scheduler.as_ref().is_some_and(|scheduler| scheduler.is_granted(grant, task));
                if !granted {
                    return Err(Tried::GiveBack);
                }
                self.store.insert(file, value);
            } else if let Some(directory) = self.directories.get_mut(&id) {
                directory.files.insert(file, value);
                self.workers[worker].exchange.hold_job(grant.job);
            }
        }
        Ok(Done { skipped, ..done(value, fence, id, is_part, is_kept) })
    }

    /// The coordinator could not hand out a part: it notices that it is lost, and the attempt waits for another grant.
    fn lose_part(&mut self, grant: &GrantName, part: u32, lost: Option<Fence>) -> Tried {
        self.part_lost = lost.map(|fence| (grant.job, grant.step - 1, part, fence)).or(self.part_lost);
        Tried::GiveBack
    }
}

/// What a reduce leaves: its part, or what the map of the next step makes of it.
fn reduced(plan: &JobPlan, step: u16, task: u32, value: u64, fence: Fence) -> u64 {
    match () {
        () if !plan.fuses(usize::from(step)) => value,
        () if plan.strays_late && (step, task) == (0, 0) => straying(value, fence),
        () => map_value(false, step + 1, task, value),
    }
}

/// Runs over the records of a task's input: what was left out, or why it failed. The first failure names a block.
fn left_out(scheduler: &Scheduler, grant: &GrantName, task: u32, bad: &[u64]) -> Result<Vec<Skipped>, Reason> {
    let told = scheduler.skips(grant).unwrap_or_default().tasks.into_iter().find(|told| told.task == task);
    let is_careful = told.is_some();
    let mut told = told.map(|told| told.records).unwrap_or_default();
    if let Some(record) = bad.iter().find(|record| told.iter().all(|told| told.at.offset != **record)) {
        let offset = if is_careful { *record } else { record / 10 * 10 };
        let at = Some(Place { file: "input".to_owned(), offset });
        return Err(Reason::Panicked { message: "bad record".to_owned(), at });
    }
    told.sort_by_key(|record| record.at.offset);
    Ok(told)
}
