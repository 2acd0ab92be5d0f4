//! Backup attempts: a task that would take much longer where it runs than anywhere else gets a rival on another worker.
//!
//! The rules, after LATE (Zaharia et al., "Improving MapReduce Performance in Heterogeneous Environments", OSDI 2008): only
//! near the end of a stage, on slots that nothing else wants; the attempt with the longest estimated remaining time first;
//! one rival for a task, never on the worker that runs it nor on one that runs a straggler itself; a bounded share of all
//! slots. Progress and age give the estimate; an attempt that reports no progress is judged by its age against the median
//! of the won tasks. Whoever reports first wins; the other is no longer kept and counts as nobody's failure. Tasks that
//! failed or that workers died under get none: it would be the same again, twice.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use gristmill_common::{Fence, GrantName, JobId, Stage, TaskName, TaskRange, WorkerId, limits};

use super::Scheduler;
use super::job::Job;
use super::soft::{TaskKey, Worker};
use super::tasks::Tasks;

/// What was found at the last look, and when the next one is due.
#[derive(Debug, Default)]
pub(crate) struct Backups {
    pub(super) due_ms: Option<u64>,
    wanted: Vec<Straggler>,
    /// Workers that run a straggler.
    slow: BTreeSet<WorkerId>,
}

/// An attempt that should get a rival.
#[derive(Clone, Copy, Debug)]
struct Straggler {
    key: TaskKey,
    fence: Fence,
    worker: WorkerId,
    remaining_ms: u64,
}

impl Scheduler {
    /// Somebody has idle slots: stragglers are worth a look, soon.
    pub(super) fn expect_stragglers(&mut self) {
        let due_ms = self.now_ms().saturating_add(limits::BACKUP_LOOK_MS);
        if self.soft.backups.due_ms.is_none() && !self.durable.queue.is_empty() {
            self.soft.backups.due_ms = Some(due_ms);
        }
    }

    /// Looks for stragglers, if that is due, and wakes workers for them.
    pub(super) fn look_for_stragglers(&mut self) {
        if self.soft.backups.due_ms.is_none_or(|due| due > self.now_ms()) {
            return;
        }
        let (mut found, mut rivals, mut is_near_an_end) = (Vec::new(), 0, false);
        for id in self.durable.queue.iter().map(|rank| rank.job) {
            let Some(job) = self.durable.jobs.get(&id) else { continue };
            rivals += job.rival_count();
            let Some((index, stage, tasks)) = nearly_done(job) else { continue };
            is_near_an_end = true;
            self.stragglers((id, index, stage), tasks, &mut found);
        }
        let slow = found.iter().map(|straggler: &Straggler| straggler.worker).collect();
        found.sort_by_key(|straggler| (Reverse(straggler.remaining_ms), straggler.key));
        found.truncate(usize::try_from(self.most_rivals().saturating_sub(rivals)).unwrap_or(usize::MAX));
        self.soft.backups = Backups { due_ms: None, wanted: found, slow };
        self.wake_for_backups();
        if is_near_an_end && self.soft.offers > 0 {
            self.expect_stragglers();
        }
    }

    /// How many rivals may run at a time.
    fn most_rivals(&self) -> u64 {
        let live = self.soft.workers.values().filter(|worker| worker.is_live());
        let slots: u64 = live.map(|worker| u64::from(worker.about.slots)).sum();
        (slots * limits::BACKUP_SLOTS_PERCENT).div_ceil(100)
    }

    fn stragglers(&self, (job, step, stage): (JobId, u16, Stage), tasks: &Tasks, found: &mut Vec<Straggler>) {
        let Some(median_ms) = tasks.durations.median_ms() else { return };
        let mut told = BTreeMap::new();
        let attempts = tasks.attempts().flat_map(|attempts| {
            let fence = |task: u32| attempts.first_fence.plus(u64::from(task - attempts.tasks.first));
            attempts.tasks.iter().map(move |task| (task, fence(task), attempts.worker))
        });
        for (index, fence, id) in attempts.take(limits::BACKUP_ATTEMPTS_PER_LOOK) {
            let trouble = tasks.trouble(index);
            if tasks.rival(index).is_some() || trouble.worker_losses > 0 || trouble.failures > 0 {
                continue;
            }
            let Some(worker) = self.soft.workers.get(&id) else { continue };
            let told = told.entry(id).or_insert_with(|| self.told_progress(id));
            let said = told.range(..=fence).next_back().filter(|(_, (end, _))| *end > fence);
            let age_ms = self.now_ms().saturating_sub(worker.granted_ms(fence));
            if let Some(remaining_ms) = straggles(age_ms, said.map(|(_, (_, permille))| *permille), median_ms) {
                let key = (job, TaskName { step, stage, index });
                found.push(Straggler { key, fence, worker: id, remaining_ms });
            }
        }
    }

    fn wake_for_backups(&mut self) {
        let mut left = self.soft.backups.wanted.len();
        let mut wake = Vec::new();
        for (ability, idle) in &self.soft.idle {
            let is_met = |wanted: &&Straggler| {
                let demand = self.durable.shares.demand(wanted.key.0);
                demand.is_some_and(|demand| demand.obstacle(ability).is_none())
            };
            let wanted: Vec<&Straggler> = self.soft.backups.wanted.iter().filter(is_met).collect();
            for id in idle.values().take_while(|_| !wanted.is_empty()) {
                if left == 0 {
                    break;
                }
                let slots = self.idle_slots(*id);
                let is_able = slots > 0 && wanted.iter().any(|wanted| self.may_back_up(*id, wanted));
                if let Some(worker) = self.soft.workers.get(id).filter(|_| is_able) {
                    wake.push(worker.session);
                    left = left.saturating_sub(slots as usize);
                }
            }
        }
        self.soft.wake.extend(wake);
    }

    fn idle_slots(&self, id: WorkerId) -> u32 {
        let Some(worker) = self.soft.workers.get(&id).filter(|worker| worker.takes_work()) else { return 0 };
        let held = u32::try_from(self.held_count(id)).unwrap_or(u32::MAX);
        worker.about.slots.saturating_sub(held).min(worker.free).min(self.allowance(id))
    }

    /// Gives rivals to stragglers on the slots that the worker has left.
    pub(super) fn grant_backups(&mut self, id: WorkerId, grants: &mut Vec<GrantName>) {
        while !self.soft.backups.wanted.is_empty()
            && self.idle_slots(id) > 0
            && grants.len() < limits::GRANTS_PER_ANSWER
        {
            let suits = |wanted: &Straggler| self.may_back_up(id, wanted);
            let Some(at) = self.soft.backups.wanted.iter().position(suits) else { break };
            let (job, task) = self.soft.backups.wanted.remove(at).key;
            let place = (job, task.step, task.stage);
            let Some(granted) = self.record_grant(id, place, TaskRange::one(task.index), true) else { break };
            grants.push(granted);
        }
        if self.idle_slots(id) > 0 {
            self.expect_stragglers();
        }
    }

    /// Whether the straggler still is one, and the worker may run its rival.
    fn may_back_up(&self, id: WorkerId, straggler: &Straggler) -> bool {
        let (job_id, task) = straggler.key;
        let Some(job) = self.durable.jobs.get(&job_id) else { return false };
        let Some((index, stage, tasks)) = nearly_done(job) else { return false };
        let runs = tasks.running(task.index) == Some((straggler.fence, straggler.worker));
        let is_open_to_it = (index, stage) == (task.step, task.stage) && runs && tasks.rival(task.index).is_none();
        let reaches = stage == Stage::Map || job.step(index).is_some_and(|s| self.unreachable_holder(id, s).is_none());
        let is_elsewhere = straggler.worker != id && !self.soft.backups.slow.contains(&id);
        #[cfg(test)]
        let is_elsewhere = is_elsewhere || self.bug == Some(super::Bug::BackupBesideItself);
        // The cheap questions first: this is asked of every idle worker.
        is_elsewhere
            && is_open_to_it
            && job.room_under_cap() > 0
            && self.obstacle(id, job_id).is_none()
            && !self.is_quarantined(id)
            && reaches
    }
}

impl Worker {
    /// When the attempt was granted, as far as this coordinator knows; else when it first heard of the worker.
    fn granted_ms(&self, fence: Fence) -> u64 {
        let grant = self.granted.range(..=fence).next_back();
        let grant = grant.filter(|(first, (count, _))| fence < first.plus(u64::from(*count)));
        grant.map_or(self.met_ms, |(_, (_, at_ms))| *at_ms)
    }
}

/// The job's ready stage, if backups may begin there: few tasks are open, half of them are won, so that their median says
/// something.
fn nearly_done(job: &Job) -> Option<(u16, Stage, &Tasks)> {
    let (index, step) = job.current_step().filter(|_| job.spec.backups)?;
    let stage = step.ready_stage();
    let tasks = step.tasks(stage);
    let is_near = tasks.open.len() * 100 <= u64::from(tasks.count) * limits::BACKUP_OPEN_PERCENT;
    (is_near && tasks.running_count() > 0 && tasks.won_count() >= tasks.count.div_ceil(2))
        .then_some((index, stage, tasks))
}

/// The time that an attempt will still need, if it is worth a rival: clearly more than a fresh one would need.
///
/// Tasks between 2 and 5 s never are: with progress they have less than 3 s left at the median's age of at least 2 s, and
/// without any they are over before three medians.
fn straggles(age_ms: u64, permille: Option<u64>, median_ms: u64) -> Option<u64> {
    if age_ms < limits::BACKUP_AGE_MS {
        return None;
    }
    match permille {
        // Progress of less or more than this says nothing yet, or nothing any more.
        Some(permille @ 10..=990) => {
            let remaining = age_ms.saturating_mul(1_000 - permille) / permille;
            (age_ms >= median_ms && remaining * 2 > median_ms.saturating_mul(3)).then_some(remaining)
        }
        _ => (age_ms >= median_ms.saturating_mul(3)).then_some(age_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::straggles;

    #[test]
    fn healthy_variance_is_no_straggler() {
        for median in (2_000..=5_000).step_by(100) {
            for took in (2_000..=5_000).step_by(100) {
                for age in (0..=took).step_by(50) {
                    assert_eq!(straggles(age, Some(age * 1_000 / took), median), None, "{took} at {age} of {median}");
                    assert_eq!(straggles(age, None, median), None, "{took} at {age} of {median}");
                }
            }
        }
    }

    #[test]
    fn a_fifth_of_the_speed_is_seen_at_the_medians_age_or_at_three_without_progress() {
        assert_eq!(straggles(3_000, Some(200), 3_000), Some(12_000));
        assert_eq!(straggles(3_000, None, 3_000), None);
        assert_eq!(straggles(9_000, Some(0), 3_000), Some(9_000));
        assert_eq!(straggles(9_000, Some(1_000), 3_000), Some(9_000));
        assert_eq!(straggles(13_000, Some(900), 3_000), None, "it is over before a rival would be");
    }
}
