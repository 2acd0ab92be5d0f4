//! What must hold after every step: each index agrees with what it is an index of. Walks everything; for tests and simulation.

use std::collections::{BTreeMap, BTreeSet};

use gristmill_common::{Fence, Stage, WorkerId};

use super::Scheduler;
use super::durable::reservation;
use super::job::{Holder, Job, Life, Step};
use super::range_set::RangeSet;
use super::shares::Shares;
use super::tasks::Tasks;

impl Scheduler {
    /// Checks every cross-reference.
    ///
    /// # Panics
    /// When one is broken: a bug here, never a peer's doing.
    pub fn check_invariants(&self) {
        let broken = self.broken_invariant().err();
        assert!(broken.is_none(), "invariant broken: {}", broken.unwrap_or_default());
    }

    /// Looks for a cross-reference that is broken, and says which.
    pub(crate) fn broken_invariant(&self) -> Result<(), String> {
        let mut running = BTreeMap::<(WorkerId, Fence), (gristmill_common::JobId, u16, Stage, u32, u32)>::new();
        for (id, job) in &self.durable.jobs {
            for (index, step) in (0_u16..).zip(job.steps()) {
                for stage in [Stage::Map, Stage::Reduce] {
                    let tasks = step.tasks(stage);
                    check_tasks(tasks).map_err(|broken| format!("{id} step {index} {stage}: {broken}"))?;
                    for a in tasks.attempts().copied().chain(tasks.rivals()) {
                        running.insert((a.worker, a.first_fence), (*id, index, stage, a.tasks.first, a.tasks.count));
                    }
                }
                check_holders(step).map_err(|broken| format!("{id} step {index}: {broken}"))?;
            }
            self.check_job(*id, job)?;
        }
        let mut shares = Shares::default();
        self.durable.jobs.iter().for_each(|(id, job)| shares.place(*id, job));
        if shares != self.durable.shares {
            return Err(format!("shares are {:?}, jobs say {shares:?}", self.durable.shares));
        }
        let held: BTreeMap<_, _> = (self.durable.held.iter())
            .flat_map(|(worker, held)| held.iter().map(move |(fence, h)| ((*worker, *fence), h)))
            .map(|(key, h)| (key, (h.job, h.step, h.stage, h.tasks.first, h.tasks.count)))
            .collect();
        if held != running {
            return Err(format!("workers hold {held:?}, jobs run {running:?}"));
        }
        let live = self.durable.jobs.values().filter(|job| !job.state().is_over()).count();
        if live != self.durable.live {
            return Err(format!("{live} jobs are not over, the count says {}", self.durable.live));
        }
        if self.durable.held.values().any(BTreeMap::is_empty) {
            return Err("a worker that holds nothing is listed".to_owned());
        }
        self.check_soft()
    }

    fn check_job(&self, id: gristmill_common::JobId, job: &Job) -> Result<(), String> {
        let is_running = matches!(job.life, Life::Running(_));
        let is_queued = self.durable.queue.iter().any(|rank| rank.job == id);
        if is_running != is_queued {
            return Err(format!("{id} is {:?} and its place in the queue is {is_queued}", job.state()));
        }
        if is_running && self.entries.is_empty() && job.current_step().is_none() {
            return Err(format!("{id} has no step left and does not commit"));
        }
        for (index, step) in job.steps().iter().enumerate().filter(|(_, step)| step.fused) {
            let before = index.checked_sub(1).and_then(|before| job.steps().get(before));
            if before.is_none_or(|before| before.reduces.count == 0) || step.maps.count > 0 || step.reduces.count == 0 {
                return Err(format!("{id} step {index} is fused with nothing, or has maps of its own"));
            }
        }
        let reserved =
            job.spec.output.url.as_ref().is_some_and(|url| self.durable.outputs.get(&reservation(url)) == Some(&id));
        if job.spec.output.url.is_some() && reserved == job.state().is_over() {
            return Err(format!("{id} is {:?} and its output's reservation is {reserved}", job.state()));
        }
        Ok(())
    }

    fn check_soft(&self) -> Result<(), String> {
        let soft = &self.soft;
        let offers: u64 = soft.workers.values().map(super::soft::Worker::offer).sum();
        if offers != soft.offers {
            return Err(format!("workers offer {offers}, the sum says {}", soft.offers));
        }
        let live = soft.workers.iter().filter(|(_, worker)| worker.is_live());
        let leases: BTreeSet<_> = live.clone().map(|(id, worker)| (worker.lease_until_ms, *id)).collect();
        if leases != soft.leases {
            return Err(format!("leases {:?} are not those of the live workers {leases:?}", soft.leases));
        }
        let mut hosts = BTreeMap::<String, BTreeSet<WorkerId>>::new();
        live.for_each(|(id, worker)| {
            hosts.entry(worker.about.host.clone()).or_default().insert(*id);
        });
        if hosts != soft.hosts {
            return Err(format!("hosts {:?} are not those of the live workers {hosts:?}", soft.hosts));
        }
        let parked: BTreeMap<_, _> =
            soft.workers.iter().filter_map(|(id, worker)| Some((worker.parked?.ticket, *id))).collect();
        if parked != soft.parked {
            return Err(format!("parked {:?} are not those of the workers {parked:?}", soft.parked));
        }
        let mut idle = BTreeMap::<_, BTreeMap<u64, WorkerId>>::new();
        for (id, worker) in &soft.workers {
            if let Some((ability, ticket)) = worker.waits() {
                idle.entry(ability).or_default().insert(ticket, *id);
            }
            if !worker.ability.is_of(&worker.about, worker.protocol) {
                return Err(format!("the ability of worker {id} is another one than it says"));
            }
        }
        if idle != soft.idle {
            return Err(format!("idle {:?} are not those of the workers {idle:?}", soft.idle));
        }
        let running = self.durable.queue.iter().filter_map(|rank| Some((rank.job, self.durable.jobs.get(&rank.job)?)));
        for (job, step) in running.flat_map(|(id, job)| job.steps().iter().map(move |step| (id, step))) {
            let is_listed = |id: &&WorkerId| soft.holding.get(*id).is_some_and(|jobs| jobs.contains(&job));
            if let Some(holder) = step.holders.keys().find(|id| !is_listed(id)) {
                return Err(format!("worker {holder} holds outputs of {job}, which is not listed"));
            }
        }
        let sessions: BTreeMap<_, _> = soft.workers.iter().map(|(id, worker)| (worker.session, *id)).collect();
        if sessions != soft.sessions {
            return Err("sessions are not those of the workers".to_owned());
        }
        let delays: BTreeSet<_> = soft.delayed.iter().map(|(task, until)| (*until, *task)).collect();
        if delays != soft.delays {
            return Err("waiting tasks and their deadlines differ".to_owned());
        }
        // Nobody holds attempts for ever: every holder has a lease or the grace of a start.
        let unwatched = |id: &&WorkerId| {
            !soft.presumed.contains(*id) && !soft.workers.get(*id).is_some_and(super::soft::Worker::is_live)
        };
        if soft.now.mono_ms > 0
            && let Some(id) = self.durable.held.keys().find(unwatched)
        {
            return Err(format!("worker {id} holds attempts and nothing ends its lease"));
        }
        Ok(())
    }
}

fn check_tasks(tasks: &Tasks) -> Result<(), String> {
    let mut covered = tasks.open.clone();
    for (start, end) in tasks.given_up.iter() {
        covered.insert(start, end);
    }
    let mut count = tasks.open.len() + tasks.given_up.len();
    for range in tasks.attempts().map(|attempts| attempts.tasks).chain(tasks.wins().map(|win| win.tasks)) {
        if range.count == 0 {
            return Err(format!("an empty range at {}", range.first));
        }
        covered.insert_tasks(range);
        count += u64::from(range.count);
    }
    let mut all = RangeSet::default();
    all.insert(0, u64::from(tasks.count));
    if covered != all || count != u64::from(tasks.count) {
        return Err(format!("tasks are not covered once: {count} of {}, {covered:?}", tasks.count));
    }
    for rival in tasks.rivals() {
        let first = tasks.running(rival.tasks.first);
        if first.is_none_or(|(_, worker)| worker == rival.worker) {
            return Err(format!("a rival {rival:?} of {first:?}"));
        }
    }
    let running: u32 = tasks.attempts().map(|attempts| attempts.tasks.count).sum();
    let won: u32 = tasks.wins().map(|win| win.tasks.count).sum();
    if (running, won) != (tasks.running_count(), tasks.won_count()) {
        return Err(format!("{running} run and {won} are won, the sums differ"));
    }
    Ok(())
}

fn check_holders(step: &Step) -> Result<(), String> {
    let mut holders = BTreeMap::<WorkerId, Holder>::new();
    for win in step.maps.wins().filter(|_| step.reduces.count > 0) {
        if let Some(worker) = win.sole_holder() {
            holders.entry(worker).or_default().maps.insert_tasks(win.tasks);
        }
    }
    let counted: BTreeMap<_, _> = step.holders.iter().map(|(worker, holder)| (*worker, &holder.maps)).collect();
    let recounted: BTreeMap<_, _> = holders.iter().map(|(worker, holder)| (*worker, &holder.maps)).collect();
    if counted != recounted {
        return Err(format!("holders are {counted:?}, map outputs say {recounted:?}"));
    }
    let stray = |holder: &Holder| holder.unshared.iter().any(|(s, e)| !holder.maps.gaps(s, e).is_empty());
    if step.holders.values().any(stray) {
        return Err("an unshared output that its holder does not have".to_owned());
    }
    Ok(())
}
