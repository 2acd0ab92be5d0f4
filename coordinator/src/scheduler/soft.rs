//! The soft half: sessions, leases, progress, parked polls, stored answers, waits. Lost at a restart, and told again by the
//! workers' next polls: nothing here is needed to keep a promise, only to keep it soon.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gristmill_common::wire::{PollResponse, Relay, Running, WorkerAbout};
use gristmill_common::{Fence, FenceRange, GrantName, JobId, SessionId, TaskName, WorkerId};

use super::backup::Backups;
use super::command::Now;
use super::quarantine::Health;
use super::requirements::Ability;

/// What is known of the present and not durable.
#[derive(Debug, Default)]
pub(crate) struct Soft {
    pub(crate) now: Now,
    pub(crate) next_fence: u64,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    pub(crate) sessions: BTreeMap<SessionId, WorkerId>,
    /// When each live worker's lease ends.
    pub(crate) leases: BTreeSet<(u64, WorkerId)>,
    /// Parked polls in the order they came.
    pub(crate) parked: BTreeMap<u64, WorkerId>,
    /// Those of them that would take work and are not woken yet, by what they can do.
    pub(super) idle: BTreeMap<Arc<Ability>, BTreeMap<u64, WorkerId>>,
    tickets: u64,
    /// Attempts that live workers would take.
    pub(crate) offers: u64,
    /// Jobs of which a worker may hold map outputs that nobody else has; more may be listed than are.
    pub(super) holding: BTreeMap<WorkerId, BTreeSet<JobId>>,
    /// Live workers by host.
    pub(crate) hosts: BTreeMap<String, BTreeSet<WorkerId>>,
    /// Recorded holders are presumed alive until they poll or until this time after a start.
    pub(crate) grace_until_ms: u64,
    pub(crate) presumed: BTreeSet<WorkerId>,
    /// Tasks that wait before they are granted again.
    pub(crate) delayed: BTreeMap<TaskKey, u64>,
    pub(crate) delays: BTreeSet<(u64, TaskKey)>,
    /// Until when jobs keep what they have that ended without a result.
    pub(crate) retained: BTreeSet<(u64, JobId)>,
    /// Until when a task that failed through its worker's fault is kept for other workers.
    pub(crate) avoided: BTreeMap<TaskKey, u64>,
    /// Workers that are kept free for a task that has to run alone.
    pub(crate) reserved: BTreeMap<WorkerId, TaskKey>,
    /// Steps whose map outputs somebody cannot reach.
    pub(crate) relaying: BTreeSet<(JobId, u16)>,
    /// Why the store last took no map output of a job.
    pub(crate) refused_outputs: BTreeMap<JobId, String>,
    /// Why commits that are under way did not come to their end.
    pub(crate) stuck_commits: BTreeMap<JobId, String>,
    pub(crate) backups: Backups,
    /// Workers that failed through their own fault lately.
    pub(crate) health: BTreeMap<WorkerId, Health>,
    /// When silent workers may be forgotten.
    pub(crate) silent: BTreeSet<(u64, WorkerId)>,
    /// Jobs that may have new work for parked polls.
    pub(crate) fresh: BTreeSet<JobId>,
    /// Sessions to wake in any case.
    pub(crate) wake: BTreeSet<SessionId>,
    pub(crate) void: Option<SessionId>,
}

/// A task of a job.
pub(crate) type TaskKey = (JobId, TaskName);

/// A worker, as its session told it.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) session: SessionId,
    pub(crate) incarnation: u64,
    /// Version of the exchange that it speaks.
    pub(crate) protocol: u32,
    pub(crate) about: WorkerAbout,
    /// What of that decides which jobs it can run.
    pub(super) ability: Arc<Ability>,
    pub(crate) last_seq: u64,
    pub(crate) seen: u64,
    /// The answer to `last_seq`, once made.
    pub(crate) answer: Option<Box<PollResponse>>,
    /// Grants of answers that the worker has not processed yet, as far as is known.
    pub(crate) unseen: Vec<(u64, FenceRange)>,
    pub(crate) told: Told,
    pub(crate) polled_ms: u64,
    /// When this session was first heard of.
    pub(crate) met_ms: u64,
    /// Grants of this session: how many attempts, and when.
    pub(crate) granted: BTreeMap<Fence, (u32, u64)>,
    pub(crate) lease_until_ms: u64,
    pub(crate) is_silent: bool,
    /// Attempts that it would still take.
    pub(crate) free: u32,
    pub(crate) running: Vec<Running>,
    pub(crate) holds: BTreeSet<JobId>,
    /// It says that it is stopping.
    pub(crate) is_draining: bool,
    /// It has been told to stop.
    pub(crate) drain: bool,
    pub(crate) parked: Option<Parked>,
    /// Why it says that it takes nothing.
    pub(crate) no_room: Option<String>,
}

/// A poll that is held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parked {
    pub(crate) ticket: u64,
    pub(crate) until_ms: u64,
    pub(crate) is_woken: bool,
}

/// What the worker was told and will be told until it does it; telling it again is no news.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Told {
    /// `seq` of the answer that told it.
    pub(crate) seq: u64,
    pub(crate) relay: Vec<GrantName>,
    pub(crate) drop: Vec<JobId>,
    pub(crate) drain: bool,
    pub(crate) stops: u64,
}

impl Told {
    pub(crate) fn is_nothing(&self) -> bool {
        self.relay.is_empty() && self.drop.is_empty() && !self.drain && self.stops == 0
    }

    pub(crate) fn says_the_same_as(&self, other: &Self) -> bool {
        (&self.relay, &self.drop, self.drain, self.stops) == (&other.relay, &other.drop, other.drain, other.stops)
    }
}

impl Worker {
    pub(crate) fn is_live(&self) -> bool {
        !self.is_silent
    }

    /// Whether it takes grants.
    pub(crate) fn takes_work(&self) -> bool {
        !self.is_silent && !self.is_draining && !self.drain
    }

    pub(crate) fn offer(&self) -> u64 {
        if self.takes_work() { u64::from(self.free) } else { 0 }
    }

    /// Its place among those that wait for work.
    pub(super) fn waits(&self) -> Option<(Arc<Ability>, u64)> {
        let parked = self.parked.filter(|parked| !parked.is_woken && self.offer() > 0)?;
        Some((Arc::clone(&self.ability), parked.ticket))
    }
}

impl Soft {
    /// Changes a worker and keeps the sums and indexes about it true.
    pub(crate) fn change<R>(&mut self, id: WorkerId, change: impl FnOnce(&mut Worker) -> R) -> Option<R> {
        let worker = self.workers.get_mut(&id)?;
        self.offers -= worker.offer();
        let (was_live, lease, ticket) = (worker.is_live(), worker.lease_until_ms, worker.parked.map(|p| p.ticket));
        let (host, session, waited) = (worker.about.host.clone(), worker.session, worker.waits());
        let result = change(worker);
        self.offers += worker.offer();
        if was_live {
            self.leases.remove(&(lease, id));
        }
        if worker.is_live() {
            self.leases.insert((worker.lease_until_ms, id));
        }
        if (was_live, &host) != (worker.is_live(), &worker.about.host) {
            if let Some(there) = self.hosts.get_mut(&host) {
                there.remove(&id);
                if there.is_empty() {
                    self.hosts.remove(&host);
                }
            }
            if worker.is_live() {
                self.hosts.entry(worker.about.host.clone()).or_default().insert(id);
            }
        }
        if session != worker.session {
            self.sessions.remove(&session);
            self.sessions.insert(worker.session, id);
        }
        if ticket != worker.parked.map(|p| p.ticket) {
            if let Some(ticket) = ticket {
                self.parked.remove(&ticket);
            }
            if let Some(parked) = worker.parked {
                self.parked.insert(parked.ticket, id);
            }
        }
        let waits = worker.waits();
        if waited != waits {
            self.move_idle(id, waited, waits);
        }
        Some(result)
    }

    fn move_idle(&mut self, id: WorkerId, from: Option<(Arc<Ability>, u64)>, to: Option<(Arc<Ability>, u64)>) {
        if let Some((ability, ticket)) = from
            && let Some(idle) = self.idle.get_mut(&ability)
        {
            idle.remove(&ticket);
            if idle.is_empty() {
                self.idle.remove(&ability);
            }
        }
        if let Some((ability, ticket)) = to {
            self.idle.entry(ability).or_default().insert(ticket, id);
        }
    }

    pub(crate) fn add(&mut self, id: WorkerId, worker: Worker) {
        self.remove(id);
        self.offers += worker.offer();
        self.sessions.insert(worker.session, id);
        if worker.is_live() {
            self.leases.insert((worker.lease_until_ms, id));
            self.hosts.entry(worker.about.host.clone()).or_default().insert(id);
        }
        self.workers.insert(id, worker);
    }

    pub(crate) fn remove(&mut self, id: WorkerId) {
        self.change(id, |worker| {
            worker.is_silent = true;
            worker.parked = None;
        });
        if let Some(worker) = self.workers.remove(&id) {
            self.sessions.remove(&worker.session);
        }
        self.reserved.remove(&id);
        self.health.remove(&id);
    }

    pub(crate) fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// Makes a task wait.
    pub(crate) fn delay(&mut self, task: TaskKey, until_ms: u64) {
        if let Some(before) = self.delayed.insert(task, until_ms) {
            self.delays.remove(&(before, task));
        }
        self.delays.insert((until_ms, task));
    }

    /// Forgets what concerns a job that is over.
    pub(crate) fn forget_job(&mut self, job: JobId) {
        let tasks: Vec<TaskKey> =
            self.delayed.range((job, FIRST_TASK)..).take_while(|(k, _)| k.0 == job).map(|(k, _)| *k).collect();
        for task in tasks {
            if let Some(until) = self.delayed.remove(&task) {
                self.delays.remove(&(until, task));
            }
        }
        self.avoided.retain(|(avoided, _), _| *avoided != job);
        self.relaying.retain(|(relaying, _)| *relaying != job);
        self.reserved.retain(|_, (reserved, _)| *reserved != job);
        self.refused_outputs.remove(&job);
        self.stuck_commits.remove(&job);
    }
}

/// The least task name.
const FIRST_TASK: TaskName = TaskName { step: 0, stage: gristmill_common::Stage::Map, index: 0 };

/// A relay as it travels.
pub(crate) fn relay(secret: &gristmill_common::TokenSecret, name: &GrantName) -> Relay {
    Relay { token: secret.sign(name) }
}
