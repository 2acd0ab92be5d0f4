//! What a worker must have to run a stage, whatever its load: the program, its build, the directories of the input, labels
//! and memory. `grant` passes over workers with an obstacle, `explain` says which one and what to do.

use gristmill_common::program::{Kind, Program};
use gristmill_common::spec::Executable;
use gristmill_common::wire::WorkerAbout;
use gristmill_common::{JobId, Stage, WorkerId, limits};

use super::Scheduler;
use super::job::{Job, Step};

/// Why a worker cannot run tasks of a stage, whatever its load.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Obstacle {
    NoProgram,
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
}

impl Scheduler {
    /// What keeps the worker from the job's ready stage, its load and the place of map outputs aside.
    pub(super) fn obstacle(&self, id: WorkerId, job: JobId) -> Option<Obstacle> {
        let job = self.durable.jobs.get(&job)?;
        let (index, step) = job.current_step()?;
        let worker = self.soft.workers.get(&id)?;
        if job.may_skip() > 0 && worker.protocol < limits::PROTOCOL_THAT_SKIPS {
            return Some(Obstacle::NoSkips);
        }
        obstacle(&worker.about, job, index, step)
    }
}

/// Says what keeps a worker from a step's ready stage.
fn obstacle(about: &WorkerAbout, job: &Job, index: u16, step: &Step) -> Option<Obstacle> {
    let spec = job.spec.steps.get(usize::from(index))?;
    match spec.program() {
        Program::Native(name) if about.programs.iter().any(|program| program == name) => {}
        Program::Native(_) => return Some(Obstacle::NoProgram),
        other if about.kinds.contains(&other.kind()) => {}
        other => return Some(Obstacle::NoKind(other.kind())),
    }
    let pinned = match spec.executable {
        Some(Executable::Any) => None,
        Some(Executable::Pinned(digest)) => Some(digest),
        None => step.executable,
    };
    if pinned.is_some_and(|pinned| pinned != about.executable) {
        return Some(Obstacle::OtherExecutable);
    }
    let requires = &job.spec.requires;
    if let Some((name, value)) = requires.labels.iter().find(|(name, value)| about.labels.get(*name) != Some(*value)) {
        return Some(Obstacle::NoLabel(format!("{name}={value}")));
    }
    let memory = memory_of_slot(about);
    if requires.memory_bytes > memory {
        return Some(Obstacle::TooLittleMemory(memory));
    }
    // Only the first step's maps read the input: everything later comes from workers and the store.
    if index > 0 || step.ready_stage() != Stage::Map || step.maps.is_won() {
        return None;
    }
    let roots = job.plan.as_ref().map(|plan| plan.roots.as_slice()).unwrap_or_default();
    roots.iter().find(|needed| !about.roots.iter().any(|root| covers(root, needed))).cloned().map(Obstacle::NoRoot)
}

/// A worker's memory for each of its slots, in bytes.
fn memory_of_slot(about: &WorkerAbout) -> u64 {
    about.memory_bytes / u64::from(about.slots.max(1))
}

fn covers(root: &str, needed: &str) -> bool {
    let root = root.trim_end_matches('/');
    needed.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
