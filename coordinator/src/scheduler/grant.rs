//! Which tasks a poll gets: jobs in the order of their shares, the current step's ready stage, lowest tasks first.
//!
//! Tasks without a history go out as whole ranges. One with a history is granted by itself, so that it can wait after a
//! failure, avoid the worker that failed it, and run alone once two workers died under it. Nothing here is O(tasks).

use std::sync::Arc;

use gristmill_common::program::Program;
use gristmill_common::{Fence, GrantName, JobId, Stage, TaskName, TaskRange, WorkerId, limits};

use super::Scheduler;
use super::entry::Entry;
use super::range_set::task_range;
use super::shares::Round;
use super::soft::TaskKey;
use super::tasks::Trouble;

/// From this many lost workers on a task runs alone.
const ALONE_FROM_LOSSES: u32 = 2;
/// Tasks with a history that one poll looks at per stage; the others get their turn when these are gone.
const TROUBLED_PER_POLL: usize = 1_000;

/// What to do with a task that has a history.
enum Turn {
    Now,
    Alone,
    Later,
    /// The worker is to be emptied for it.
    Reserve,
}

impl Scheduler {
    /// Grants the worker what it has room for.
    pub(super) fn grant(&mut self, id: WorkerId) -> Vec<GrantName> {
        let mut grants = Vec::new();
        if !self.may_get_work(id) {
            return grants;
        }
        let Some(ability) = self.soft.workers.get(&id).map(|worker| Arc::clone(&worker.ability)) else { return grants };
        let mut round = Round::default();
        while self.room(id) > 0 && grants.len() < limits::GRANTS_PER_ANSWER {
            let Some((job, most)) = self.durable.shares.next(&mut round, self.room(id), &ability) else { break };
            if self.grant_of_job(id, job, most, &mut round, &mut grants) {
                return grants;
            }
        }
        self.grant_backups(id, &mut grants);
        grants
    }

    fn may_get_work(&mut self, id: WorkerId) -> bool {
        let Some(worker) = self.soft.workers.get(&id) else { return false };
        if !worker.takes_work() || worker.free == 0 {
            return false;
        }
        let held = self.durable.held.get(&id);
        let single = held.filter(|held| held.len() == 1).and_then(|held| held.values().next());
        if single.is_some_and(|held| held.tasks.count == 1 && self.is_alone((held.job, held.name(held.tasks.first)))) {
            return false;
        }
        if let Some(&key) = self.soft.reserved.get(&id) {
            if held.is_some() && self.is_open(key) {
                return false;
            }
            self.soft.reserved.remove(&id);
        }
        true
    }

    fn room(&self, id: WorkerId) -> u32 {
        self.soft.workers.get(&id).map_or(0, |worker| worker.free.min(self.allowance(id)))
    }

    /// Grants at most so many tasks of one job; true when the worker gets nothing more in this poll.
    fn grant_of_job(
        &mut self,
        id: WorkerId,
        job: JobId,
        most: u32,
        round: &mut Round,
        grants: &mut Vec<GrantName>,
    ) -> bool {
        let Some((step, stage, open)) = self.ready(job).filter(|(_, _, open)| *open > 0) else { return false };
        if self.obstacle(id, job).is_some() || self.is_benched(id, job) {
            return false;
        }
        if stage == Stage::Reduce && !self.clear_the_way(id, job, step) {
            // Maps whose outputs nobody will ever reach are open again: the worker can have those.
            let maps_are_open = self.ready(job).is_some_and(|(_, stage, _)| stage == Stage::Map);
            return maps_are_open && self.grant_of_job(id, job, most, round, grants);
        }
        let mut share = round.part(job, self.share(id, open)).min(most);
        let mut from = 0;
        while share > 0 && grants.len() < limits::GRANTS_PER_ANSWER {
            let Some((tasks, turn)) = self.pick(id, (job, step, stage), from, share.min(limits::TASKS_PER_GRANT))
            else {
                return false;
            };
            match turn {
                Turn::Later => return false,
                Turn::Reserve => {
                    self.soft.reserved.insert(id, (job, TaskName { step, stage, index: tasks.first }));
                    return true;
                }
                Turn::Now | Turn::Alone => {}
            }
            from = tasks.end();
            share = share.saturating_sub(tasks.count);
            round.spend(job, tasks.count);
            let Some(granted) = self.record_grant(id, (job, step, stage), tasks, false) else { return true };
            grants.push(granted);
            if matches!(turn, Turn::Alone) {
                return true;
            }
        }
        false
    }

    /// The worker's fair share of open tasks: when there are fewer than the fleet would take, its part of the fleet's room.
    fn share(&self, id: WorkerId, open: u64) -> u32 {
        let (mine, all) = (u64::from(self.room(id)), self.soft.offers.max(1));
        if open >= all {
            return self.room(id);
        }
        let share = open.saturating_mul(mine).div_ceil(all).max(1);
        u32::try_from(share.min(mine)).unwrap_or(u32::MAX)
    }

    /// The next tasks for the worker from index `from` on, at most `most`.
    fn pick(&self, id: WorkerId, at: (JobId, u16, Stage), from: u32, most: u32) -> Option<(TaskRange, Turn)> {
        let (job, index, stage) = at;
        let tasks = self.durable.jobs.get(&job)?.step(index)?.tasks(stage);
        let mut looked = 0;
        for (start, end) in tasks.open.iter_from(u64::from(from)) {
            let open = task_range(start, end);
            let mut next = open.first;
            for (&task, trouble) in tasks.trouble.range(open.first..open.end()) {
                if task > next {
                    break;
                }
                match self.turn(id, (job, TaskName { step: index, stage, index: task }), trouble) {
                    Turn::Later => {}
                    turn => return Some((TaskRange::one(task), turn)),
                }
                next = task + 1;
                looked += 1;
                if looked >= TROUBLED_PER_POLL {
                    return None;
                }
            }
            if next < open.end() {
                let until = tasks.trouble.range(next..open.end()).next().map_or(open.end(), |(&task, _)| task);
                return Some((TaskRange { first: next, count: (until - next).min(most) }, Turn::Now));
            }
        }
        None
    }

    fn turn(&self, id: WorkerId, key: TaskKey, trouble: &Trouble) -> Turn {
        if self.soft.delayed.contains_key(&key) {
            return Turn::Later;
        }
        let is_avoided = self.soft.avoided.get(&key).is_some_and(|until| *until > self.now_ms());
        if is_avoided && trouble.failed_on == Some(id) && self.others_may_run(id, key.0) {
            return Turn::Later;
        }
        if trouble.worker_losses < ALONE_FROM_LOSSES {
            return Turn::Now;
        }
        if !self.durable.held.contains_key(&id) {
            return Turn::Alone;
        }
        if self.soft.reserved.values().any(|reserved| *reserved == key) { Turn::Later } else { Turn::Reserve }
    }

    pub(super) fn record_grant(
        &mut self,
        id: WorkerId,
        (job, step, stage): (JobId, u16, Stage),
        tasks: TaskRange,
        backup: bool,
    ) -> Option<GrantName> {
        let first_fence = Fence(self.soft.next_fence);
        let counter = self.durable.epoch?.counter;
        // A coordinator that used up its epoch's fences has to be restarted: 2^36 of them are years of grants.
        let end = first_fence.plus(u64::from(tasks.count));
        #[cfg(test)]
        let counter = if self.bug == Some(super::Bug::FenceReuse) { 1 } else { counter };
        if end > Fence::first_of(counter.saturating_add(1)) {
            return None;
        }
        self.soft.next_fence = end.0;
        let at = self.durable.jobs.get(&job)?.step(step)?;
        let generation = if stage == Stage::Reduce { at.generation } else { gristmill_common::Generation(0) };
        let next = self.durable.jobs.get(&job)?.fused_into(step, stage);
        for step in std::iter::once(step).chain(next) {
            self.pin_program(id, job, step)?;
        }
        self.record(Entry::Granted { job, worker: id, step, stage, tasks, first_fence, generation, backup });
        let now_ms = self.now_ms();
        self.soft.change(id, |worker| {
            worker.free = worker.free.saturating_sub(tasks.count);
            worker.granted.insert(first_fence, (tasks.count, now_ms));
        });
        Some(GrantName { job, step, stage, tasks, first_fence, generation })
    }

    /// The first worker that runs a native program of the step fixes which executable may.
    fn pin_program(&mut self, id: WorkerId, job: JobId, step: u16) -> Option<()> {
        let known = self.durable.jobs.get(&job)?;
        let spec = known.spec.steps.get(usize::from(step))?;
        let is_native = matches!(spec.program(), Program::Native(_));
        if is_native && spec.executable.is_none() && known.step(step)?.executable.is_none() {
            let executable = self.soft.workers.get(&id)?.about.executable;
            self.record(Entry::ProgramPinned { job, step, executable });
        }
        Some(())
    }

    /// The job's current step and stage, and how many of its tasks may be granted.
    pub(super) fn ready(&self, job: JobId) -> Option<(u16, Stage, u64)> {
        let job = self.durable.jobs.get(&job)?;
        let (index, step) = job.current_step()?;
        Some((index, step.ready_stage(), job.grantable()))
    }

    fn is_alone(&self, key: TaskKey) -> bool {
        self.trouble(key).worker_losses >= ALONE_FROM_LOSSES
    }

    fn is_open(&self, (job, task): TaskKey) -> bool {
        let step = self.durable.jobs.get(&job).and_then(|job| job.step(task.step));
        step.is_some_and(|step| step.tasks(task.stage).open.contains(u64::from(task.index)))
    }

    pub(super) fn trouble(&self, (job, task): TaskKey) -> Trouble {
        let step = self.durable.jobs.get(&job).and_then(|job| job.step(task.step));
        step.map(|step| step.tasks(task.stage).trouble(task.index)).unwrap_or_default()
    }
}

impl super::durable::Held {
    pub(super) fn name(&self, index: u32) -> TaskName {
        TaskName { step: self.step, stage: self.stage, index }
    }
}
