//! Quarantine: a worker that fails again and again through its own fault gets no grants for a while.
//!
//! Strikes are failures with [`Blame::Worker`](super::report::Blame), leases that end and processes that die while they hold
//! attempts; failures of user code never are. Enough strikes within the window bench the worker, longer each time. Then it is
//! on probation: one task at a time, twice as many after each win, and one strike benches it again. Where nobody else could
//! run a job, nobody is benched for it: the worker goes on with one task at a time. Soft: a restart of the coordinator
//! forgives. Silent workers are forgotten after a while, unless somebody may still reach what they hold.

use std::collections::VecDeque;

use gristmill_common::{JobId, WorkerId, limits};

use super::Scheduler;
use super::soft::Worker;

/// What is held against a worker.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// When it failed lately.
    strikes: VecDeque<u64>,
    /// The last failure.
    why: String,
    /// How often it was benched without having recovered.
    times: u32,
    until_ms: u64,
    /// Attempts that it may hold; anything while it is not on probation.
    allowance: Option<u32>,
}

impl Scheduler {
    /// Notes that the worker failed through its own fault.
    pub(super) fn strike(&mut self, id: WorkerId, why: String) {
        let (now, lease) = (self.now_ms(), self.config.lease_ms);
        if !self.soft.workers.contains_key(&id) {
            return;
        }
        let health = self.soft.health.entry(id).or_default();
        health.why = why;
        health.strikes.push_back(now);
        let window = lease.saturating_mul(limits::QUARANTINE_WINDOW_LEASES);
        while health.strikes.front().is_some_and(|at| at.saturating_add(window) < now) {
            health.strikes.pop_front();
        }
        if health.allowance.is_some() || health.strikes.len() >= limits::QUARANTINE_STRIKES {
            let leases = (1_u64 << health.times.min(16)).min(limits::QUARANTINE_MAX_LEASES);
            health.times += 1;
            health.until_ms = now.saturating_add(lease.saturating_mul(leases));
            health.allowance = Some(1);
            health.strikes.clear();
        }
    }

    /// Notes that the worker won tasks: on probation it may hold more.
    pub(super) fn credit(&mut self, id: WorkerId) {
        let now = self.now_ms();
        let slots = self.soft.workers.get(&id).map_or(1, |worker| worker.about.slots);
        let Some(health) = self.soft.health.get_mut(&id).filter(|health| health.until_ms <= now) else { return };
        let Some(allowance) = &mut health.allowance else { return };
        *allowance = allowance.saturating_mul(2);
        if *allowance > slots.max(1) {
            self.soft.health.remove(&id);
        }
    }

    pub(crate) fn is_quarantined(&self, id: WorkerId) -> bool {
        self.soft.health.get(&id).is_some_and(|health| health.until_ms > self.now_ms())
    }

    /// Whether the job is to wait for others than this worker.
    pub(super) fn is_benched(&self, id: WorkerId, job: JobId) -> bool {
        #[cfg(test)]
        if self.bug == Some(super::Bug::QuarantineIgnored) {
            return false;
        }
        self.is_quarantined(id) && self.others_may_run(id, job)
    }

    /// How many more attempts the worker may hold.
    pub(super) fn allowance(&self, id: WorkerId) -> u32 {
        #[cfg(test)]
        if self.bug == Some(super::Bug::QuarantineIgnored) {
            return u32::MAX;
        }
        let Some(most) = self.soft.health.get(&id).and_then(|health| health.allowance) else { return u32::MAX };
        most.saturating_sub(u32::try_from(self.held_count(id)).unwrap_or(u32::MAX))
    }

    /// The word for the worker's state and why it is not a healthy one, if so.
    pub(crate) fn condition(&self, id: WorkerId) -> Option<(&'static str, String)> {
        let health = self.soft.health.get(&id)?;
        let (allowance, why, times) = (health.allowance?, &health.why, super::report::times(health.times));
        let ms = health.until_ms.saturating_sub(self.now_ms());
        Some(if ms > 0 {
            let for_whom = "only work that nobody else can do, one task at a time";
            (
                "quarantined",
                format!(
                    "failed too often through its own fault ({times}), the last time: {why}; for {ms} ms it gets {for_whom}"
                ),
            )
        } else {
            (
                "on probation",
                format!("may hold {allowance} tasks until it has won some, after it was quarantined {times}: {why}"),
            )
        })
    }

    /// When the next silent worker may be forgotten.
    pub(super) fn forgetting_due(&self) -> Option<u64> {
        self.soft.silent.first().map(|(due, _)| *due)
    }

    /// The worker has fallen silent: some day it is forgotten.
    pub(super) fn forget_later(&mut self, id: WorkerId) {
        let after = self.config.lease_ms.saturating_mul(limits::FORGET_WORKER_LEASES);
        self.soft.silent.insert((self.now_ms().saturating_add(after), id));
    }

    pub(super) fn forget_silent(&mut self) {
        let now = self.now_ms();
        while let Some(&(due, id)) = self.soft.silent.first().filter(|(due, _)| *due <= now) {
            self.soft.silent.remove(&(due, id));
            let Some(worker) = self.soft.workers.get(&id).filter(|worker| !worker.is_live()) else { continue };
            let after = self.config.lease_ms.saturating_mul(limits::FORGET_WORKER_LEASES);
            let is_due = worker.polled_ms.saturating_add(after) <= now;
            if !is_due {
                // It came back meanwhile and fell silent again, which has an entry of its own.
                continue;
            }
            if self.holds_outputs(id) {
                self.forget_later(id);
            } else {
                self.soft.remove(id);
                self.soft.holding.remove(&id);
            }
        }
    }

    /// Whether a running job may still need what only this worker has: others of its host can open it.
    fn holds_outputs(&self, id: WorkerId) -> bool {
        let holding = self.soft.holding.get(&id).into_iter().flatten();
        let running = holding.filter_map(|job| self.durable.jobs.get(job));
        running.flat_map(|job| job.steps()).any(|step| step.holders.contains_key(&id))
    }

    /// Whether another live worker that is not quarantined may run the job's ready stage.
    pub(super) fn others_may_run(&self, id: WorkerId, job: JobId) -> bool {
        let others = self.soft.hosts.values().flatten().filter(|other| **other != id);
        others.take(OTHERS_LOOKED_AT).any(|other| {
            self.soft.workers.get(other).is_some_and(Worker::takes_work)
                && !self.is_quarantined(*other)
                && self.obstacle(*other, job).is_none()
        })
    }
}

/// Other workers looked at before a task is given to one that should not have it.
const OTHERS_LOOKED_AT: usize = 1_000;
