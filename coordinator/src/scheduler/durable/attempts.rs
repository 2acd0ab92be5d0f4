//! Attempts in the hands of workers: the same pieces in the jobs' tasks and in `held`.

use gristmill_common::{Fence, FenceRange, JobId, Stage, TaskRange, WorkerId};

use super::{Durable, Held};
use crate::scheduler::entry::Loss;
use crate::scheduler::tasks::{Attempts, Rival};

impl Durable {
    pub(super) fn grant(&mut self, worker: WorkerId, first_fence: Fence, held: Held) {
        self.stop(held.job, held.step, held.stage, held.tasks);
        let Some(step) = self.step_mut(held.job, held.step) else { return };
        step.tasks_mut(held.stage).start(Attempts { tasks: held.tasks, first_fence, worker });
        self.held.entry(worker).or_default().insert(first_fence, held);
    }

    pub(super) fn grant_rival(&mut self, worker: WorkerId, fence: Fence, held: Held) {
        let task = held.tasks.first;
        let Some(step) = self.step_mut(held.job, held.step) else { return };
        let tasks = step.tasks_mut(held.stage);
        if tasks.running(task).is_some_and(|(_, first)| first != worker) && tasks.rival(task).is_none() {
            tasks.start_rival(task, Rival { fence, worker });
            self.held.entry(worker).or_default().insert(fence, held);
        }
    }

    /// Ends the attempts of these tasks that began with the fence; rivals go on.
    pub(super) fn drop_out(&mut self, job: JobId, step: u16, stage: Stage, tasks: TaskRange, first_fence: Fence) {
        let Some(at) = self.step_mut(job, step) else { return };
        for attempts in at.tasks_mut(stage).drop_out(tasks, first_fence) {
            self.release(attempts);
        }
    }

    /// Ends the attempts of these tasks, if any run.
    pub(crate) fn stop(&mut self, job: JobId, step: u16, stage: Stage, tasks: TaskRange) {
        let Some(at) = self.step_mut(job, step) else { return };
        let stopped = at.tasks_mut(stage).stop(tasks);
        for attempts in stopped {
            self.release(attempts);
        }
    }

    /// Takes attempts out of their worker's hands.
    fn release(&mut self, attempts: Attempts) {
        let Some(held) = self.held.get_mut(&attempts.worker) else { return };
        let first = held.range(..=attempts.first_fence).next_back().map(|(&first, _)| first);
        let Some((first, whole)) = first.and_then(|first| held.remove_entry(&first)) else { return };
        let (start, end) = (attempts.tasks.first, attempts.tasks.end());
        let mut put_back = |from: u32, to: u32| {
            if from < to {
                let fence = first.plus(u64::from(from - whole.tasks.first));
                held.insert(fence, Held { tasks: TaskRange { first: from, count: to - from }, ..whole });
            }
        };
        put_back(whole.tasks.first, start);
        put_back(end, whole.tasks.end());
        if held.is_empty() {
            self.held.remove(&attempts.worker);
        }
    }

    /// Ends what still runs in the steps up to this one: nothing needs it any more.
    pub(super) fn stop_until(&mut self, job: JobId, last: u16) {
        for step in 0..=last {
            for stage in [Stage::Map, Stage::Reduce] {
                self.stop(job, step, stage, TaskRange { first: 0, count: u32::MAX });
            }
        }
    }

    pub(super) fn lose(&mut self, job: JobId, worker: WorkerId, fences: FenceRange, why: Loss) {
        for (first_fence, held) in self.held_within(worker, fences) {
            if held.job != job {
                continue;
            }
            self.drop_out(job, held.step, held.stage, held.tasks, first_fence);
            let Some(at) = self.step_mut(job, held.step) else { continue };
            let tasks = at.tasks_mut(held.stage);
            // What was given back or never begun cost nothing: no work was lost.
            if !matches!(why, Loss::Returned | Loss::NotStarted) {
                tasks.totals.losses += u64::from(held.tasks.count);
            }
            if why == Loss::WorkerDied {
                for task in held.tasks.iter() {
                    tasks.trouble.entry(task).or_default().worker_losses += 1;
                }
            }
        }
    }

    /// What the worker holds of these fences, cut to them.
    pub(crate) fn held_within(&self, worker: WorkerId, fences: FenceRange) -> Vec<(Fence, Held)> {
        let Some(held) = self.held.get(&worker) else { return Vec::new() };
        let first = held.range(..=fences.first).next_back().map_or(fences.first, |(&first, _)| first);
        let cut = |(&at, held): (&Fence, &Held)| {
            let start = at.max(fences.first);
            let end = at.plus(u64::from(held.tasks.count)).min(fences.end());
            let skip = u32::try_from(start.0.saturating_sub(at.0)).ok()?;
            let count = u32::try_from(end.0.checked_sub(start.0)?).ok()?;
            let tasks = TaskRange { first: held.tasks.first.saturating_add(skip), count };
            (count > 0).then_some((start, Held { tasks, ..*held }))
        };
        held.range(first..fences.end()).filter_map(cut).collect()
    }
}
