//! Where map outputs are and who can reach them: reduces are granted only where every input can be read.
//!
//! An output is inside its report, in the store, or in one worker's directory. The last kind is counted by holder, and a
//! worker reaches it if it is the holder, shares its host, or if both serve each other and the holder lives (and nobody has
//! shown otherwise). When somebody with room
//! cannot reach everything, live holders are asked to relay; what is left by holders that are gone runs again.

use std::collections::BTreeSet;

use gristmill_common::api::JobFailure;
use gristmill_common::reason::bounded;
use gristmill_common::wire::Location;
use gristmill_common::{Fence, Generation, GrantName, JobId, Reason, Stage, TaskName, TaskRange, WorkerId, limits};

use super::Scheduler;
use super::command::Reply;
use super::durable::Rank;
use super::entry::Entry;
use super::job::{Holder, Job, Life, Step};
use super::range_set::task_range;
use super::soft::Worker;

impl Scheduler {
    /// A holder whose outputs the worker cannot reach.
    pub(super) fn unreachable_holder(&self, id: WorkerId, step: &Step) -> Option<WorkerId> {
        let mut holders = step.holders.iter();
        holders.find(|(holder, held)| !self.reaches(id, **holder, held)).map(|(holder, _)| *holder)
    }

    fn reaches(&self, id: WorkerId, holder: WorkerId, held: &Holder) -> bool {
        if holder == id {
            return true;
        }
        let host = self.host(id);
        held.unshared.is_empty() && ((host.is_some() && self.host(holder) == host) || self.serves(holder, id))
    }

    /// Whether the worker fetches from this holder itself.
    fn serves(&self, holder: WorkerId, id: WorkerId) -> bool {
        let listens = |id| self.soft.workers.get(&id).is_some_and(|worker| worker.about.shuffle.is_some());
        listens(id) && listens(holder) && self.soft.workers.get(&holder).is_some_and(Worker::is_live)
    }

    fn host(&self, id: WorkerId) -> Option<&str> {
        self.soft.workers.get(&id).map(|worker| worker.about.host.as_str()).filter(|host| !host.is_empty())
    }

    /// Whether the worker reaches all map outputs of the step; if not, has done what makes them reachable.
    pub(super) fn clear_the_way(&mut self, id: WorkerId, job: JobId, step: u16) -> bool {
        let Some(at) = self.durable.jobs.get(&job).and_then(|job| job.step(step)) else { return false };
        if self.unreachable_holder(id, at).is_none() {
            return true;
        }
        #[cfg(test)]
        if self.bug == Some(super::Bug::UnreachableGrant) {
            return true;
        }
        let (mut alive, mut gone) = (Vec::new(), Vec::new());
        // What several that are gone left on several hosts, nobody will ever reach together.
        let is_kept = self.is_within_reach(job, at, |holder| self.is_gone(holder));
        for (holder, held) in &at.holders {
            if self.reaches(id, *holder, held) {
                continue;
            }
            if self.soft.workers.get(holder).is_some_and(Worker::is_live) {
                alive.push(*holder);
            } else if self.is_gone(*holder) && !is_kept {
                gone.push(*holder);
            }
        }
        if !alive.is_empty() {
            self.soft.relaying.insert((job, step));
            let holders = alive.iter().filter_map(|holder| self.soft.workers.get(holder));
            let untold = holders.filter(|holder| holder.parked.is_some() && holder.told.relay.is_empty());
            self.soft.wake.extend(untold.map(|holder| holder.session));
        }
        for holder in gone {
            self.lose_outputs(job, step, holder, "its holder is gone");
        }
        false
    }

    /// A holder that serves its outputs is there again: others reach them now.
    pub(super) fn serve_again(&mut self, holder: WorkerId) {
        let held = self.held_jobs(holder);
        self.soft.fresh.extend(held);
    }

    /// Whether nothing was heard of the worker for so long that nothing is expected.
    fn is_gone(&self, id: WorkerId) -> bool {
        self.soft.workers.get(&id).map_or(self.soft.grace_until_ms == 0, |worker| worker.is_silent)
    }

    /// Whether some live worker that may run the step shares the host of all these holders.
    fn is_within_reach(&self, job: JobId, step: &Step, which: impl Fn(WorkerId) -> bool) -> bool {
        let mut hosts = BTreeSet::new();
        for (holder, held) in step.holders.iter().filter(|(holder, _)| which(**holder)) {
            if !held.unshared.is_empty() {
                return false;
            }
            hosts.insert(self.host(*holder));
        }
        let (Some(Some(host)), 1) = (hosts.first(), hosts.len()) else { return false };
        self.soft.hosts.get(*host).into_iter().flatten().any(|id| {
            let takes_work = self.soft.workers.get(id).is_some_and(Worker::takes_work);
            takes_work && self.obstacle(*id, job).is_none()
        })
    }

    /// Opens the maps again whose outputs only this worker had.
    fn lose_outputs(&mut self, job: JobId, step: u16, holder: WorkerId, why: &str) {
        let at = self.durable.jobs.get(&job).and_then(|job| job.step(step));
        let Some(lost) = at.and_then(|step| step.holders.get(&holder)).map(|held| held.maps.clone()) else { return };
        let name =
            self.soft.workers.get(&holder).map_or_else(|| holder.to_string(), |worker| worker.about.name.clone());
        for (start, end) in lost.iter() {
            self.reopen(
                job,
                (step, Stage::Map),
                task_range(start, end),
                format!("output on worker {name} lost: {why}"),
            );
        }
    }

    /// Notices outputs that the worker's directory no longer has.
    pub(super) fn check_holds(&mut self, id: WorkerId) {
        let Some(worker) = self.soft.workers.get(&id) else { return };
        let Some(holding) = self.soft.holding.get_mut(&id) else { return };
        holding.retain(|job| self.durable.jobs.get(job).is_some_and(|job| !job.state().is_over()));
        let lost = |job: &JobId| {
            let (index, step) = self.durable.jobs.get(job)?.current_step()?;
            (step.holders.contains_key(&id) && !worker.holds.contains(job)).then_some((*job, index))
        };
        let lost: Vec<(JobId, u16)> = holding.iter().filter_map(lost).collect();
        for (job, step) in lost {
            self.lose_outputs(job, step, id, "its directory no longer has it");
        }
    }

    /// Keeps the index of who holds outputs of which jobs: nothing that runs is missing in it.
    pub(super) fn note_holders(&mut self, entry: &Entry) {
        match entry {
            Entry::Won { job, stage: Stage::Map, done, .. } => {
                if let Location::Worker(worker) = done.output.at {
                    self.soft.holding.entry(worker).or_default().insert(*job);
                }
            }
            Entry::JobRetried { job } => self.note_holders_of(*job),
            _ => {}
        }
    }

    pub(super) fn note_all_holders(&mut self) {
        // Also those that commit: one that lacks a part runs again.
        let live: Vec<JobId> =
            self.durable.jobs.iter().filter(|(_, job)| !job.steps().is_empty()).map(|(id, _)| *id).collect();
        live.into_iter().for_each(|job| self.note_holders_of(job));
    }

    fn note_holders_of(&mut self, job: JobId) {
        let steps = self.durable.jobs.get(&job).map(Job::steps).unwrap_or_default();
        for holder in steps.iter().flat_map(|step| step.holders.keys()) {
            self.soft.holding.entry(*holder).or_default().insert(job);
        }
    }

    /// The running jobs of which the worker holds something, the more urgent first.
    fn held_jobs(&self, id: WorkerId) -> Vec<JobId> {
        let is_running = |job: &&Job| matches!(job.life, Life::Running(_));
        let holding = self.soft.holding.get(&id).into_iter().flatten();
        let mut ranks: Vec<Rank> =
            holding.filter_map(|id| Some(self.durable.jobs.get(id).filter(is_running)?.rank(*id))).collect();
        ranks.sort_unstable();
        ranks.into_iter().map(|rank| rank.job).collect()
    }

    /// The map outputs that the worker shall send to the store.
    pub(super) fn relays(&self, id: WorkerId) -> Vec<GrantName> {
        let Some(worker) = self.soft.workers.get(&id) else { return Vec::new() };
        let is_leaving = worker.is_draining || worker.drain;
        let mut relays = Vec::new();
        for job in self.held_jobs(id) {
            let Some((index, step)) = self.durable.jobs.get(&job).and_then(|job| job.current_step()) else { continue };
            let Some(held) = step.holders.get(&id) else { continue };
            let is_wanted = self.soft.relaying.contains(&(job, index))
                || (is_leaving && !self.is_within_reach(job, step, |_| true));
            if !is_wanted {
                continue;
            }
            for map in held.maps.iter().flat_map(|(start, end)| task_range(start, end).iter()) {
                if relays.len() >= limits::RELAYS_PER_ANSWER {
                    return relays;
                }
                let fence = step.maps.win(map).map_or(Fence(0), |win| win.fence_of(map));
                relays.push(output_grant(job, index, map, fence));
            }
        }
        relays
    }

    pub(super) fn store_output(&mut self, job: JobId, step: u16, map: u32, fence: Fence) -> Reply {
        let at = self.durable.jobs.get(&job).and_then(|job| job.step(step));
        let win = at.and_then(|step| step.maps.win(map)).filter(|win| win.fence_of(map) == fence && !win.stored);
        let Some(win) = win else { return Reply::Done };
        let holder = win.sole_holder();
        self.record(Entry::OutputStored { job, step, map, fence });
        self.soft.refused_outputs.remove(&job);
        let step_now = self.durable.jobs.get(&job).and_then(|job| job.step(step));
        if holder.is_some_and(|holder| step_now.is_some_and(|step| !step.holders.contains_key(&holder))) {
            self.soft.fresh.insert(job);
        }
        let told = |worker: &mut Worker| {
            worker.told.relay.retain(|relay| *relay != output_grant(job, step, map, fence));
            (worker.told.relay.is_empty() && worker.parked.is_some()).then_some(worker.session)
        };
        if let Some(session) = holder.and_then(|holder| self.soft.change(holder, told)).flatten() {
            self.soft.wake.insert(session);
        }
        Reply::Done
    }
}

impl Scheduler {
    /// Keeps why the store did not take a relayed map output. A job that somebody can only go on with past its share fails:
    /// waiting frees nothing of it.
    pub(super) fn refuse_output(&mut self, job: JobId, at: (u16, u32, Fence), why: String, past_quota: bool) -> Reply {
        let (step, map, fence) = at;
        let found = self.durable.jobs.get(&job).filter(|job| matches!(job.life, Life::Running(_)));
        let win = found.and_then(|job| job.step(step)).and_then(|step| step.maps.win(map));
        if win.is_none_or(|win| win.fence_of(map) != fence || win.stored) {
            return Reply::Done;
        }
        if !past_quota || !self.soft.relaying.contains(&(job, step)) {
            self.soft.refused_outputs.insert(job, bounded(why));
            return Reply::Done;
        }
        let task = TaskName { step, stage: Stage::Map, index: map };
        let message = format!("the output of {task} is needed on another host and cannot be relayed there: {why}");
        let reason = Reason::Limit { message: bounded(why), at: None };
        self.fail_job(job, JobFailure { task: Some(task), reason: Some(reason), message });
        Reply::Done
    }
}

/// Names one map output, for the right to write it into the store.
fn output_grant(job: JobId, step: u16, map: u32, fence: Fence) -> GrantName {
    let tasks = TaskRange::one(map);
    GrantName { job, step, stage: Stage::Map, tasks, first_fence: fence, generation: Generation(0) }
}
