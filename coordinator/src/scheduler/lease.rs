//! Time: leases that end, waits that are over, the grace after a start, and which parked polls are worth another look.
//!
//! The rules: a poll renews its worker's lease. A lease that ends takes the attempts with it, uncounted; a report that
//! comes later still wins if the task is open. After a start, recorded holders have until their first poll or one lease.

use gristmill_common::api::JobFailure;
use gristmill_common::{Fence, JobId, Reason, SessionId, WorkerId, limits};

use super::Scheduler;
use super::command::{Now, Reply};
use super::durable::Held;
use super::entry::{Entry, Loss};
use super::poll::by_job;
use super::soft::TaskKey;

impl Scheduler {
    /// Says whether a tick comes so late that the coordinator itself must have stood still.
    #[must_use]
    pub fn has_overslept(&self, now: Now) -> bool {
        self.next_deadline().is_some_and(|due| now.mono_ms > due.saturating_add(self.config.lease_ms / 4))
    }

    /// Gives every live worker a fresh lease, and recorded holders that are awaited as long: the coordinator was not to be
    /// reached, so their silence says nothing.
    pub fn excuse_silence(&mut self, now: Now) {
        let until = now.mono_ms.saturating_add(self.config.lease_ms);
        let live: Vec<WorkerId> = self.soft.leases.iter().map(|(_, id)| *id).collect();
        for id in live {
            self.soft.change(id, |worker| worker.lease_until_ms = worker.lease_until_ms.max(until));
        }
        if self.soft.grace_until_ms > 0 {
            self.soft.grace_until_ms = self.soft.grace_until_ms.max(until);
        }
    }

    pub(super) fn tick(&mut self) -> Reply {
        let now = self.now_ms();
        while let Some(&(_, id)) = self.soft.leases.first().filter(|(until, _)| *until <= now) {
            self.expire(id);
        }
        while let Some(&(until, task)) = self.soft.delays.first().filter(|(until, _)| *until <= now) {
            self.soft.delays.remove(&(until, task));
            self.soft.delayed.remove(&task);
            self.soft.fresh.insert(task.0);
        }
        self.expire_kept();
        if self.soft.grace_until_ms > 0 && self.soft.grace_until_ms <= now {
            self.soft.grace_until_ms = 0;
            for id in std::mem::take(&mut self.soft.presumed) {
                self.lose_all(id, Loss::LeaseExpired);
            }
            self.refresh_all();
        }
        self.forget_silent();
        self.look_for_stragglers();
        Reply::Done
    }

    fn expire(&mut self, id: WorkerId) {
        self.soft.change(id, |worker| {
            worker.is_silent = true;
            worker.parked = None;
            worker.running.clear();
            worker.unseen.clear();
        });
        self.soft.reserved.remove(&id);
        self.forget_later(id);
        if self.durable.held.contains_key(&id) {
            self.strike(id, "it was silent for a whole lease with attempts in hand".to_owned());
        }
        #[cfg(test)]
        if self.bug == Some(super::Bug::LostRequeue) {
            return;
        }
        self.lose_all(id, Loss::LeaseExpired);
        // Whoever waits for its map outputs has to look again.
        self.refresh_all();
    }

    fn refresh_all(&mut self) {
        self.soft.fresh.extend(self.durable.queue.iter().map(|rank| rank.job));
    }

    pub(super) fn lose_all(&mut self, id: WorkerId, why: Loss) {
        let held: Vec<(Fence, Held)> =
            self.durable.held.get(&id).into_iter().flatten().map(|(f, h)| (*f, *h)).collect();
        self.lose(id, &held, why);
    }

    /// Takes attempts away from a worker and queues their tasks again.
    pub(super) fn lose(&mut self, id: WorkerId, held: &[(Fence, Held)], why: Loss) {
        for (job, fences) in by_job(held) {
            self.record(Entry::Lost { job, worker: id, fences, why });
            self.soft.fresh.insert(job);
        }
        if why == Loss::WorkerDied {
            for (_, held) in held {
                for task in held.tasks.iter() {
                    self.after_worker_loss((held.job, held.name(task)), id);
                }
            }
        }
    }

    fn after_worker_loss(&mut self, key: TaskKey, worker: WorkerId) {
        let (job, task) = key;
        if self.durable.jobs.get(&job).is_none_or(|job| job.state().is_over()) {
            return;
        }
        let losses = self.trouble(key).worker_losses;
        if losses < limits::WORKER_LOSSES {
            return self.delay(key, losses);
        }
        let name =
            self.soft.workers.get(&worker).map_or_else(|| worker.to_string(), |worker| worker.about.name.clone());
        let reason = Reason::Worker { message: format!("worker {name} died while it ran the task") };
        let message = format!(
            "{losses} workers died while they ran task {task}, the last was {name}: the task is taken for the cause; \
             run it alone under a debugger, or see to the machines"
        );
        self.fail_job(job, JobFailure { task: Some(task), reason: Some(reason), message });
    }

    /// Makes a task wait, longer after each of its failures.
    pub(super) fn delay(&mut self, key: TaskKey, failures: u32) {
        let doubled = limits::RETRY_BACKOFF_MS.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let until = self.now_ms().saturating_add(doubled.min(limits::RETRY_BACKOFF_MAX_MS));
        self.soft.delay(key, until);
    }

    /// The sessions whose parked polls find something now.
    pub(super) fn wakes(&mut self) -> Vec<SessionId> {
        let mut wake = std::mem::take(&mut self.soft.wake);
        wake.iter().for_each(|session| self.note_woken(*session));
        for job in std::mem::take(&mut self.soft.fresh) {
            // One by one, so that the next job wakes others.
            for session in self.wanted_for(job) {
                self.note_woken(session);
                wake.insert(session);
            }
        }
        wake.retain(|session| {
            let worker = self.soft.sessions.get(session).and_then(|id| self.soft.workers.get(id));
            worker.is_some_and(|worker| worker.parked.is_some())
        });
        wake.into_iter().collect()
    }

    fn note_woken(&mut self, session: SessionId) {
        let Some(&id) = self.soft.sessions.get(&session) else { return };
        self.soft.change(id, |worker| {
            if let Some(parked) = &mut worker.parked {
                parked.is_woken = true;
            }
        });
    }

    /// As many parked workers as the job has tasks for, and one that could only find that it cannot reach them.
    fn wanted_for(&self, job: JobId) -> Vec<SessionId> {
        let mut wanted = Vec::new();
        let Some((index, stage, mut open)) = self.ready(job).filter(|_| self.is_queued(job)) else { return wanted };
        let step = self.durable.jobs.get(&job).and_then(|job| job.step(index));
        let Some(demand) = self.durable.shares.demand(job) else { return wanted };
        let mut is_signalled = false;
        let able = self.soft.idle.iter().filter(|(ability, _)| demand.obstacle(ability).is_none());
        for id in able.flat_map(|(_, idle)| idle.values()) {
            if open == 0 {
                break;
            }
            let Some(worker) = self.soft.workers.get(id).filter(|_| !self.is_benched(*id, job)) else { continue };
            let is_blocked = stage == gristmill_common::Stage::Reduce
                && step.is_some_and(|step| self.unreachable_holder(*id, step).is_some());
            if !is_blocked {
                open = open.saturating_sub(worker.offer());
                wanted.push(worker.session);
            } else if !is_signalled {
                is_signalled = true;
                wanted.push(worker.session);
            }
        }
        wanted
    }

    fn is_queued(&self, job: JobId) -> bool {
        self.durable.jobs.get(&job).is_some_and(|job| matches!(job.life, super::job::Life::Running(_)))
    }
}
