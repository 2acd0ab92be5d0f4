//! Judges every entry against what must never happen. Two kinds of memory: of the journal's lineage (what a restart reads
//! again) and of the whole run (what was promised to somebody, what was ever issued).

use std::collections::{BTreeMap, BTreeSet};

use gristmill_common::grant::name_of;
use gristmill_common::wire::{Location, PollResponse};
use gristmill_common::{Fence, JobId, SessionId, Stage, TaskName, WorkerId};

use crate::scheduler::{Entry, Loss};

#[derive(Default)]
pub(super) struct Oracle {
    lineage: Lineage,
    /// First fence to end of every grant ever made, durable or not.
    issued: BTreeMap<u64, u64>,
    /// Reports that workers were told to be accepted, with their job.
    pub(super) accepted: BTreeSet<(JobId, u64)>,
    /// Hosts that workers say they are on.
    pub(super) hosts: BTreeMap<WorkerId, u64>,
    /// Workers that serve their outputs to each other.
    pub(super) serving: BTreeSet<WorkerId>,
    /// When a worker's poll last reached the coordinator.
    pub(super) polled: BTreeMap<WorkerId, u64>,
    /// Which answer of this coordinator carried a grant last: first fence to end, session and `seq`.
    carried: BTreeMap<u64, (u64, SessionId, u64)>,
    /// Failures of user code that were really produced, by fence.
    pub(super) failures: BTreeMap<(JobId, TaskName), BTreeSet<u64>>,
}

#[derive(Default)]
struct Lineage {
    won: BTreeMap<(JobId, TaskName), (u64, Option<WorkerId>)>,
    below: BTreeMap<(JobId, TaskName), u64>,
    failed: BTreeSet<u64>,
    lost: BTreeSet<u64>,
    concluded: BTreeSet<u64>,
    committing: BTreeSet<JobId>,
    over: BTreeSet<JobId>,
}

/// What the oracle is told about the moment of an entry.
pub(super) struct Moment {
    pub(super) now: u64,
    pub(super) started: u64,
    pub(super) lease_ms: u64,
}

impl Oracle {
    /// A coordinator starts from these entries: nothing that was promised may be missing.
    pub(super) fn restart(&mut self, journal: &[Entry]) -> Result<(), String> {
        self.lineage = Lineage::default();
        self.carried.clear();
        for entry in journal {
            self.lineage.note(entry)?;
        }
        let lost =
            |(job, fence): &&(JobId, u64)| !self.lineage.over.contains(job) && !self.lineage.concluded.contains(fence);
        match self.accepted.iter().find(lost) {
            Some((job, fence)) => Err(format!("the accepted report of a{fence} of {job} is not in the journal")),
            None => Ok(()),
        }
    }

    pub(super) fn check(&mut self, entry: &Entry, moment: &Moment) -> Result<(), String> {
        match entry {
            Entry::Granted { job, worker, step, stage, tasks, first_fence, .. } => {
                let end = first_fence.0 + u64::from(tasks.count);
                let clash = self.issued.range(..end).next_back().is_some_and(|(_, until)| *until > first_fence.0);
                if clash || first_fence.0 == 0 {
                    return Err(format!("{first_fence} was issued before"));
                }
                self.issued.insert(first_fence.0, end);
                if *stage == Stage::Reduce {
                    self.check_reach(*job, *step, *worker)?;
                }
            }
            Entry::Lost { worker, why: Loss::LeaseExpired, .. } => {
                let heard = self.polled.get(worker).copied().unwrap_or(0).max(moment.started);
                if moment.now < heard + moment.lease_ms {
                    return Err(format!("worker {worker} lost its lease {} ms after it was heard", moment.now - heard));
                }
            }
            _ => {}
        }
        self.lineage.note(entry)
    }

    pub(super) fn note_grants(&mut self, session: SessionId, answer: &PollResponse) {
        for name in answer.grants.iter().filter_map(|grant| name_of(&grant.token)) {
            let fences = name.fences();
            self.carried.insert(fences.first.0, (fences.end().0, session, answer.seq));
        }
    }

    /// What is on its way to the worker is not missing there.
    pub(super) fn check_crossing(&self, session: SessionId, seen: u64, entries: &[Entry]) -> Result<(), String> {
        for entry in entries {
            let Entry::Lost { fences, why: Loss::NotHeld, .. } = entry else { continue };
            for fence in fences.iter().flat_map(|fences| fences.iter()) {
                let carried = self.carried.range(..=fence.0).next_back().filter(|(_, (end, ..))| *end > fence.0);
                if let Some((_, (_, to, seq))) = carried.filter(|(_, (_, to, seq))| *to == session && *seq > seen) {
                    return Err(format!(
                        "{fence} went to {to} in answer {seq}, which has seen {seen}, and was taken away"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Says whether the entry is a win of attempts that were given up before.
    pub(super) fn was_lost(&self, entry: &Entry) -> bool {
        let Entry::Won { tasks, first_fence, .. } = entry else { return false };
        let end = first_fence.0 + u64::from(tasks.count);
        self.lineage.lost.range(first_fence.0..end).next().is_some()
    }

    /// Says whether the entry is a win of a map that was won before a reduce read it and was lost since.
    pub(super) fn is_second_generation(&self, entry: &Entry) -> bool {
        let Entry::Won { job, step, stage: Stage::Map, tasks, .. } = entry else { return false };
        let name = |stage, index| (*job, TaskName { step: *step, stage, index });
        let reduces = name(Stage::Reduce, 0)..=name(Stage::Reduce, u32::MAX);
        self.lineage.below.contains_key(&name(Stage::Map, tasks.first))
            && self.lineage.won.range(reduces).next().is_some()
    }

    fn check_reach(&self, job: JobId, step: u16, worker: WorkerId) -> Result<(), String> {
        let mine = self.hosts.get(&worker);
        for ((won_job, task), (_, holder)) in &self.lineage.won {
            let Some(holder) = holder.filter(|_| (*won_job, task.step, task.stage) == (job, step, Stage::Map)) else {
                continue;
            };
            let serves = self.serving.contains(&holder) && self.serving.contains(&worker);
            if holder != worker && self.hosts.get(&holder) != mine && !serves {
                return Err(format!("a reduce of {job} went to {worker}, {task} is only at {holder}"));
            }
        }
        Ok(())
    }
}

impl Lineage {
    fn note(&mut self, entry: &Entry) -> Result<(), String> {
        match entry {
            Entry::Won { job, step, stage, tasks, first_fence, done, .. } => {
                for task in tasks.iter() {
                    let name = (*job, TaskName { step: *step, stage: *stage, index: task });
                    let fence = first_fence.0 + u64::from(task - tasks.first);
                    if self.below.get(&name).is_some_and(|below| fence < *below) {
                        return Err(format!("{} of {job} was opened again and won by the older a{fence}", name.1));
                    }
                    let holder = if let Location::Worker(worker) = done.output.at { Some(worker) } else { None };
                    if let Some((before, _)) = self.won.insert(name, (fence, holder)) {
                        return Err(format!("{} of {job} was won by a{before} and again by a{fence}", name.1));
                    }
                    self.concluded.insert(fence);
                }
            }
            Entry::Failed { job, fence, .. } => {
                if !self.failed.insert(fence.0) {
                    return Err(format!("the failure of {fence} of {job} counted twice"));
                }
                self.concluded.insert(fence.0);
            }
            Entry::Lost { fences, .. } => {
                self.lost.extend(fences.iter().flat_map(|range| range.iter()).map(|fence| fence.0));
            }
            Entry::OutputStored { job, step, map, .. } | Entry::OutputUnshared { job, step, map, .. } => {
                let name = (*job, TaskName { step: *step, stage: Stage::Map, index: *map });
                if let (Some((_, holder)), Entry::OutputStored { .. }) = (self.won.get_mut(&name), entry) {
                    *holder = None;
                }
            }
            Entry::TaskReopened { job, step, stage, tasks, below: Fence(below), .. } => {
                // Maps do not matter any more then: it can only be a part, and the job runs again.
                self.committing.remove(job);
                for task in tasks.iter() {
                    let name = (*job, TaskName { step: *step, stage: *stage, index: task });
                    self.won.remove(&name);
                    self.below.insert(name, *below);
                }
            }
            Entry::RolledBack { job, step, stage, below: Fence(below), .. } => {
                let is_void = |task: TaskName| {
                    task.step > *step || (task.step, *stage, task.stage) == (*step, Stage::Map, Stage::Reduce)
                };
                let all = self.won.keys().chain(self.below.keys());
                let void: Vec<_> = all.filter(|(of, task)| of == job && is_void(*task)).copied().collect();
                for name in void {
                    self.won.remove(&name);
                    self.below.insert(name, *below);
                }
            }
            Entry::CommitStarted { job } => {
                self.committing.insert(*job);
            }
            Entry::JobFailed { job, .. } | Entry::JobCancelled { job, .. } => {
                if self.committing.contains(job) {
                    return Err(format!("{job} began to commit and did not succeed"));
                }
                self.over.insert(*job);
            }
            Entry::JobSucceeded { job, .. } | Entry::JobCompacted { job, .. } => {
                self.over.insert(*job);
            }
            Entry::JobRetried { job } if !self.over.remove(job) => {
                return Err(format!("{job} is retried and was not over"));
            }
            _ => {}
        }
        Ok(())
    }
}
