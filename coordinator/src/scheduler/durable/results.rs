//! What came of tasks: won, failed, without some records; their outputs stored, out of reach, lost.

use gristmill_common::wire::{Done, Location, Skipped};
use gristmill_common::{Fence, JobId, Reason, Stage, TaskRange, WorkerId};

use super::Durable;
use crate::scheduler::report::Blame;
use crate::scheduler::skip::may_be_cured;
use crate::scheduler::tasks::Win;

impl Durable {
    #[expect(clippy::too_many_arguments, reason = "the fields of the entry")]
    pub(super) fn win(
        &mut self,
        job: JobId,
        step: u16,
        stage: Stage,
        tasks: TaskRange,
        fence: Fence,
        worker: WorkerId,
        done: &Done,
    ) {
        let epoch_floor = self.epoch_floor();
        let Some(won) = self.jobs.get_mut(&job) else { return };
        won.outdate(step, stage, tasks, epoch_floor);
        let Some(at) = won.steps_mut().get_mut(usize::from(step)) else { return };
        let again = at.tasks(stage).below.range(tasks.first..tasks.end()).count() as u64;
        at.tasks_mut(stage).set_won(tasks, fence, worker, done);
        if stage == Stage::Reduce {
            at.reads.note(tasks, at.reduces.count, done);
        }
        if stage == Stage::Map && matches!(done.output.at, Location::Worker(_)) {
            at.hold(&Win { tasks, first_fence: fence, worker, output: done.output.clone(), stored: false });
        }
        let is_done = at.is_done();
        won.count(done, u64::from(tasks.count) - again);
        if is_done {
            self.stop_until(job, step);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of the entry")]
    pub(super) fn fail(
        &mut self,
        job: JobId,
        step: u16,
        stage: Stage,
        task: u32,
        fence: Fence,
        worker: WorkerId,
        reason: &Reason,
    ) {
        let Some(found) = self.jobs.get(&job) else { return };
        let may_skip = found.may_skip() > 0;
        let blame = found.blame(step, stage, worker, reason);
        let tasks = found.step(step).map(|at| at.tasks(stage));
        let runs = tasks.and_then(|tasks| tasks.holder(task, fence));
        let others =
            tasks.map(|tasks| [tasks.running(task).map(|(of, _)| of), tasks.rival(task).map(|rival| rival.fence)]);
        let newest = others.into_iter().flatten().flatten().fold(fence, Fence::max);
        if runs.is_some() {
            self.drop_out(job, step, stage, TaskRange::one(task), fence);
        }
        let Some(at) = self.step_mut(job, step) else { return };
        let tasks = at.tasks_mut(stage);
        tasks.totals.failures += u64::from(blame == Blame::User);
        let trouble = tasks.trouble.entry(task).or_default();
        trouble.last_failed = trouble.last_failed.max(fence);
        match blame {
            Blame::User => {
                trouble.failures += 1;
                if may_skip && may_be_cured(reason) {
                    tasks.bad.entry(task).or_default().note(reason.place(), fence, newest);
                }
            }
            Blame::Worker => {
                trouble.worker_failures += 1;
                trouble.failed_on = Some(worker);
            }
            Blame::Maker(map) if map.stage == Stage::Map => {
                at.maps.trouble.entry(map.index).or_default().lost_outputs += 1;
            }
            // What is lost of the step before is counted when its task is opened again.
            Blame::Maker(_) | Blame::Nobody => {}
        }
    }

    /// The failures that found the record are forgiven: there is one reason less for them.
    pub(super) fn skip(&mut self, job: JobId, step: u16, stage: Stage, task: u32, skipped: &Skipped) {
        let Some(at) = self.step_mut(job, step) else { return };
        let tasks = at.tasks_mut(stage);
        tasks.bad.entry(task).or_default().leave_out(skipped.clone());
        tasks.trouble.entry(task).or_default().failures = 0;
        if let Some(job) = self.jobs.get_mut(&job) {
            job.skips_decided += 1;
        }
    }

    pub(super) fn store(&mut self, job: JobId, step: u16, map: u32, fence: Fence) {
        let Some(at) = self.step_mut(job, step) else { return };
        if at.maps.win(map).is_some_and(|win| win.fence_of(map) == fence && !win.stored)
            && let Some(win) = at.maps.set_stored(map)
        {
            at.unhold(&win);
        }
    }

    pub(super) fn unshare(&mut self, job: JobId, step: u16, map: u32, fence: Fence) {
        let Some(at) = self.step_mut(job, step) else { return };
        let holder = at.maps.win(map).filter(|win| win.fence_of(map) == fence).and_then(Win::sole_holder);
        if let Some(holder) = holder.and_then(|worker| at.holders.get_mut(&worker)) {
            holder.unshared.insert_tasks(TaskRange::one(map));
        }
    }

    pub(super) fn reopen(&mut self, job: JobId, step: u16, stage: Stage, tasks: TaskRange, below: Fence) {
        let Some(at) = self.step_mut(job, step) else { return };
        let is_part = stage == at.last_stage();
        let won = at.tasks(stage).won_within(tasks);
        for task in won.iter().flat_map(|(start, end)| start..end).filter_map(|task| u32::try_from(task).ok()) {
            let Some(win) = at.tasks_mut(stage).unwin(task) else { continue };
            at.tasks_mut(stage).below.insert(task, below);
            if is_part {
                at.tasks_mut(stage).trouble.entry(task).or_default().lost_outputs += 1;
            } else {
                at.unhold(&win);
            }
            at.tasks_mut(stage).former.insert(task, win.output.digest);
        }
        if stage == Stage::Map {
            at.generation.0 = at.generation.0.saturating_add(1);
        }
        let next = step.checked_add(1).filter(|_| is_part).and_then(|next| self.step_mut(job, next));
        if let Some(next) = next.filter(|next| next.fused) {
            next.generation.0 = next.generation.0.saturating_add(1);
        }
        self.resume(job);
    }
}
