//! What a worker must have to run a stage, whatever its load: the program, its build, the directories of the input, labels
//! and memory. `grant` passes over workers with an obstacle, `explain` says which one and what to do.
//!
//! A job's demand and a worker's ability are all that decides it, and few of either are different: ten thousand jobs that
//! want the same are passed over by one look, and so are ten thousand workers that can do the same.

use std::collections::BTreeMap;

use gristmill_common::program::{Kind, Program};
use gristmill_common::spec::Executable;
use gristmill_common::wire::WorkerAbout;
use gristmill_common::{Digest, JobId, Stage, WorkerId, limits};

use super::Scheduler;
use super::job::Job;

/// Why a worker cannot run tasks of a stage, whatever its load.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Obstacle {
    /// It does not have this native program.
    NoProgram(String),
    /// It runs no programs of this kind.
    NoKind(Kind),
    OtherExecutable,
    /// It may not read under this directory.
    NoRoot(String),
    /// It does not have this label.
    NoLabel(String),
    /// It has this much memory for a slot, in bytes; 0 where it did not say.
    TooLittleMemory(u64),
    /// It is too old to leave records out.
    NoSkips,
    /// It is too old to read the input's format.
    TooOld,
}

/// What a job's ready stage wants of a worker.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Demand {
    kind: Kind,
    /// The names of native programs: the step's, and those of the steps that are fused with it, of which one executable runs all.
    programs: Vec<String>,
    executable: Option<Digest>,
    labels: BTreeMap<String, String>,
    memory_bytes: u64,
    /// What a worker with one slot takes at most: one that said what it has is not asked for more.
    attempt_bytes: u64,
    roots: Vec<String>,
    leaves_out: bool,
    /// Workers of an earlier protocol cannot read the plan.
    protocol: u32,
}

/// What may change of a job's demand while it runs: its step, whether it reads the input, the executable.
pub(super) type Moment = (u16, bool, Option<Digest>);

/// What a worker has.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct Ability {
    kinds: Vec<Kind>,
    programs: Vec<String>,
    executable: Digest,
    labels: BTreeMap<String, String>,
    /// For each slot.
    memory_bytes: u64,
    roots: Vec<String>,
    leaves_out: bool,
    protocol: u32,
}

impl Scheduler {
    /// What keeps the worker from the job's ready stage, its load and the place of map outputs aside.
    pub(super) fn obstacle(&self, id: WorkerId, job: JobId) -> Option<Obstacle> {
        self.durable.shares.demand(job)?.obstacle(&self.soft.workers.get(&id)?.ability)
    }
}

impl Demand {
    /// Says what the demand of a job depends on now; `None` without a step to run.
    pub(super) fn moment(job: &Job) -> Option<Moment> {
        let (index, step) = job.current_step()?;
        let pinned = match job.spec.steps.get(usize::from(index))?.executable {
            Some(Executable::Any) => None,
            Some(Executable::Pinned(digest)) => Some(digest),
            // What is fused has one executable, pinned by the first that is granted.
            None => step.executable,
        };
        // Only the first step's maps read the input: everything later comes from workers and the store.
        let reads_input = index == 0 && step.ready_stage() == Stage::Map && !step.maps.is_won();
        Some((index, reads_input, pinned))
    }

    pub(super) fn of(job: &Job, (index, reads_input, executable): Moment) -> Option<Self> {
        let kind = job.spec.steps.get(usize::from(index))?.program().kind();
        let fused = job.steps().iter().skip(usize::from(index) + 1).take_while(|next| next.fused).count();
        let steps = job.spec.steps.iter().skip(usize::from(index)).take(1 + fused);
        let native =
            steps.filter_map(|step| if let Program::Native(name) = step.program() { Some(name) } else { None });
        let mut programs: Vec<String> = native.map(str::to_owned).collect();
        programs.dedup();
        let roots = job.plan.as_ref().filter(|_| reads_input).map(|plan| plan.roots.clone());
        Some(Self {
            kind,
            programs,
            executable,
            labels: job.spec.requires.labels.clone(),
            memory_bytes: job.spec.requires.memory_bytes,
            attempt_bytes: job.spec.attempt_bytes(usize::from(index)) + limits::WORKER_BYTES,
            roots: roots.unwrap_or_default(),
            leaves_out: job.may_skip() > 0,
            protocol: job.plan.as_ref().map_or(0, |plan| plan.protocol),
        })
    }

    /// What keeps a worker that has this from it.
    pub(super) fn obstacle(&self, ability: &Ability) -> Option<Obstacle> {
        if self.leaves_out && !ability.leaves_out {
            return Some(Obstacle::NoSkips);
        }
        if ability.protocol < self.protocol {
            return Some(Obstacle::TooOld);
        }
        match self.kind {
            Kind::Native => {
                if let Some(lacking) = self.programs.iter().find(|program| !ability.programs.contains(program)) {
                    return Some(Obstacle::NoProgram(lacking.clone()));
                }
            }
            kind if ability.kinds.contains(&kind) => {}
            kind => return Some(Obstacle::NoKind(kind)),
        }
        if self.executable.is_some_and(|pinned| pinned != ability.executable) {
            return Some(Obstacle::OtherExecutable);
        }
        if let Some((name, value)) = self.labels.iter().find(|(name, value)| ability.labels.get(*name) != Some(*value))
        {
            return Some(Obstacle::NoLabel(format!("{name}={value}")));
        }
        let is_bounded = ability.memory_bytes > 0;
        if self.memory_bytes > ability.memory_bytes || is_bounded && self.attempt_bytes > ability.memory_bytes {
            return Some(Obstacle::TooLittleMemory(ability.memory_bytes));
        }
        let is_covered = |needed: &&String| ability.roots.iter().any(|root| covers(root, needed));
        self.roots.iter().find(|needed| !is_covered(needed)).cloned().map(Obstacle::NoRoot)
    }
}

impl Ability {
    pub(super) fn of(about: &WorkerAbout, protocol: u32) -> Self {
        Self {
            kinds: about.kinds.clone(),
            programs: about.programs.clone(),
            executable: about.executable,
            labels: about.labels.clone(),
            memory_bytes: memory_of_slot(about),
            roots: about.roots.clone(),
            leaves_out: protocol >= limits::PROTOCOL_THAT_SKIPS,
            protocol,
        }
    }

    /// Whether it is what a worker says of itself.
    pub(super) fn is_of(&self, about: &WorkerAbout, protocol: u32) -> bool {
        let Self { kinds, programs, executable, labels, memory_bytes, roots, leaves_out, protocol: known } = self;
        (kinds, programs, executable, labels, roots)
            == (&about.kinds, &about.programs, &about.executable, &about.labels, &about.roots)
            && (*memory_bytes, *leaves_out, *known)
                == (memory_of_slot(about), protocol >= limits::PROTOCOL_THAT_SKIPS, protocol)
    }
}

/// A worker's memory for each of its slots, in bytes.
fn memory_of_slot(about: &WorkerAbout) -> u64 {
    about.memory_bytes / u64::from(about.slots.max(1))
}

fn covers(root: &str, needed: &str) -> bool {
    let root = root.trim_end_matches('/');
    needed.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
