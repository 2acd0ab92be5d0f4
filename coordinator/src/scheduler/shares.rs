//! Whose turn it is: jobs of a higher priority first; of one priority the user with the fewest running tasks, and of one
//! user the job with the fewest. Ties go by name and by first come, so that every order is decided.
//!
//! An index of the durable half: a job is in it while it runs, and is hungry while tasks of its ready stage are open and
//! its cap (`max_running`) leaves room. The deficit is what runs now; nothing is remembered of what ran before, so that who
//! comes late is not paid back for it. A turn gives what a contender is behind the next one, and at least an equal part
//! of the worker's room: no grant costs more than a few look-ups, and one worker's poll serves several jobs. Hungry jobs are
//! sorted by what they want of a worker, so that a poll passes over all that want the same by one look: with ten thousand
//! jobs that nobody can run each poll once looked at each of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use gristmill_common::JobId;

use super::job::{Job, Life};
use super::requirements::{Ability, Demand, Moment};

/// The running jobs by priority, user and what they run.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Shares {
    owners: BTreeMap<Owner, Share>,
    /// Owners that have a hungry job.
    turns: BTreeSet<OwnerTurn>,
    places: BTreeMap<JobId, Place>,
}

/// A user at one priority.
type Owner = (Reverse<i32>, Option<Arc<str>>);
/// Priority, running tasks, user.
type OwnerTurn = (Reverse<i32>, u64, Option<Arc<str>>);
/// Running tasks, number of the job, job.
type JobTurn = (u64, u64, JobId);

#[derive(Clone, PartialEq, Debug, Default)]
struct Share {
    running: u64,
    jobs: u64,
    hungry: BTreeMap<Arc<Demand>, BTreeSet<JobTurn>>,
}

#[derive(Clone, PartialEq, Debug)]
struct Place {
    owner: Owner,
    turn: JobTurn,
    is_hungry: bool,
    /// `None` when it has no step to run.
    demand: Option<(Moment, Arc<Demand>)>,
}

/// How far one poll is in the order: everybody before has had what it can have.
#[derive(Default)]
pub(super) struct Round {
    owner: Option<OwnerTurn>,
    jobs: BTreeMap<Owner, JobTurn>,
    /// Which demands the worker meets, of those that were looked at.
    meets: BTreeMap<Arc<Demand>, bool>,
    /// What the worker may still have of each job, as its part of the fleet.
    parts: BTreeMap<JobId, u32>,
}

impl Round {
    fn meets(&mut self, demand: &Arc<Demand>, ability: &Ability) -> bool {
        if let Some(meets) = self.meets.get(demand) {
            return *meets;
        }
        let meets = demand.obstacle(ability).is_none();
        self.meets.insert(Arc::clone(demand), meets);
        meets
    }

    /// What the worker may still have of a job.
    pub(super) fn part(&mut self, job: JobId, first: u32) -> u32 {
        *self.parts.entry(job).or_insert(first)
    }

    pub(super) fn spend(&mut self, job: JobId, tasks: u32) {
        self.parts.entry(job).and_modify(|part| *part = part.saturating_sub(tasks));
    }
}

impl Shares {
    /// Puts a job where it belongs now.
    pub(super) fn place(&mut self, id: JobId, job: &Job) {
        if !matches!(job.life, Life::Running(_)) {
            return self.remove(id);
        }
        let turn = (job.running_count(), job.number, id);
        let is_hungry = job.grantable() > 0;
        let moment = Demand::moment(job);
        let place = self.places.get(&id);
        let known = place.and_then(|place| place.demand.clone());
        let is_same_demand = known.as_ref().map(|(moment, _)| *moment) == moment;
        if is_same_demand && place.is_some_and(|place| (place.turn, place.is_hungry) == (turn, is_hungry)) {
            return;
        }
        let owner = place.map_or_else(
            || (Reverse(job.spec.priority), job.spec.user.as_deref().map(Arc::from)),
            |place| place.owner.clone(),
        );
        let demand = if is_same_demand {
            known
        } else {
            moment.and_then(|moment| Some((moment, Arc::new(Demand::of(job, moment)?))))
        };
        self.remove(id);
        self.change(&owner, |share| {
            share.running += turn.0;
            share.jobs += 1;
            if let Some((_, demand)) = demand.as_ref().filter(|_| is_hungry) {
                share.hungry.entry(Arc::clone(demand)).or_default().insert(turn);
            }
        });
        self.places.insert(id, Place { owner, turn, is_hungry, demand });
    }

    pub(super) fn remove(&mut self, id: JobId) {
        let Some(Place { owner, turn, demand, .. }) = self.places.remove(&id) else { return };
        self.change(&owner, |share| {
            share.running -= turn.0;
            share.jobs -= 1;
            let Some((_, demand)) = demand else { return };
            if let Some(hungry) = share.hungry.get_mut(&demand) {
                hungry.remove(&turn);
                if hungry.is_empty() {
                    share.hungry.remove(&demand);
                }
            }
        });
    }

    /// What a running job wants of a worker.
    pub(super) fn demand(&self, id: JobId) -> Option<&Demand> {
        self.places.get(&id)?.demand.as_ref().map(|(_, demand)| &**demand)
    }

    fn change(&mut self, owner: &Owner, change: impl FnOnce(&mut Share)) {
        let share = self.owners.entry(owner.clone()).or_default();
        let before = (owner.0, share.running, owner.1.clone());
        change(share);
        self.turns.remove(&before);
        if !share.hungry.is_empty() {
            self.turns.insert((owner.0, share.running, owner.1.clone()));
        }
        if share.jobs == 0 {
            self.owners.remove(owner);
        }
    }

    /// The next job that a worker meets and whose turn it is, and how many of `room` tasks it may have in this turn.
    pub(super) fn next(&self, round: &mut Round, room: u32, ability: &Ability) -> Option<(JobId, u32)> {
        let from = round.owner.take().map_or(Bound::Unbounded, Bound::Included);
        let mut turns = self.turns.range((from, Bound::Unbounded));
        let (turn, owner, met, job) = turns.find_map(|turn| {
            let owner = (turn.0, turn.2.clone());
            let share = self.owners.get(&owner)?;
            let after = round.jobs.get(&owner).map_or(Bound::Unbounded, |job| Bound::Excluded(*job));
            let met: Vec<&BTreeSet<JobTurn>> = (share.hungry.iter())
                .filter(|(demand, _)| round.meets(demand, ability))
                .map(|(_, jobs)| jobs)
                .collect();
            let job = *met.iter().filter_map(|jobs| jobs.range((after, Bound::Unbounded)).next()).min()?;
            Some((turn, owner, met, job))
        })?;
        let others = turns.take_while(|other| other.0 == turn.0).map(|other| other.1);
        let most = part(room, turn.1, others);
        let take = usize::try_from(most).unwrap_or(usize::MAX);
        let behind = |jobs: &&BTreeSet<JobTurn>| {
            let behind = jobs.range((Bound::Excluded(job), Bound::Unbounded)).take(take);
            behind.map(|other| other.0).collect::<Vec<u64>>()
        };
        let mut others: Vec<u64> = met.iter().flat_map(behind).collect();
        others.sort_unstable();
        let most = part(most, job.0, others.into_iter());
        round.owner = Some(turn.clone());
        round.jobs.insert(owner, job);
        Some((job.2, most))
    }

    /// What a user runs at a priority, and how many of its jobs are there.
    pub(super) fn of(&self, id: JobId) -> Option<(u64, u64)> {
        let share = self.owners.get(&self.places.get(&id)?.owner)?;
        Some((share.running, share.jobs))
    }
}

/// What a contender that runs `mine` gets of `room`: what it is behind the next one, and at least an equal part.
fn part(room: u32, mine: u64, others: impl Iterator<Item = u64>) -> u32 {
    let mut others = others.take(usize::try_from(room).unwrap_or(usize::MAX)).peekable();
    let Some(next) = others.peek().copied() else { return room };
    let behind = u32::try_from(next.saturating_sub(mine)).unwrap_or(u32::MAX);
    let contenders = u32::try_from(1 + others.count()).unwrap_or(u32::MAX);
    behind.max(room.div_ceil(contenders)).min(room)
}
