//! The life of one task, read from the journal: what each entry meant for it, in order.

use gristmill_common::wire::Location;
use gristmill_common::{Fence, TaskName, TaskRange};

use super::entry::{Entry, Loss, WallMs};

/// Tells the story of a task from its job's entries (number, time, entry).
pub fn story(entries: impl Iterator<Item = (u64, WallMs, Entry)>, task: TaskName) -> Vec<String> {
    let mut attempts: Vec<Fence> = Vec::new();
    let mut lines = Vec::new();
    for (seq, at, entry) in entries {
        if let Some(text) = line(&entry, task, &mut attempts) {
            lines.push(format!("{seq} {at} {text}"));
        }
    }
    lines
}

fn fence_in(task: TaskName, place: (u16, gristmill_common::Stage), tasks: TaskRange, first: Fence) -> Option<Fence> {
    let is_same = (task.step, task.stage) == place && tasks.contains(task.index);
    is_same.then(|| first.plus(u64::from(task.index - tasks.first)))
}

fn line(entry: &Entry, task: TaskName, attempts: &mut Vec<Fence>) -> Option<String> {
    match entry {
        Entry::Granted { worker, step, stage, tasks, first_fence, backup, .. } => {
            let fence = fence_in(task, (*step, *stage), *tasks, *first_fence)?;
            attempts.push(fence);
            let why = if *backup { ", a backup of the attempt that runs" } else { "" };
            Some(format!("granted to worker {worker} as {fence}{why}"))
        }
        Entry::Won { worker, step, stage, tasks, first_fence, done, .. } => {
            let fence = fence_in(task, (*step, *stage), *tasks, *first_fence)?;
            let at = match &done.output.at {
                Location::Nothing => "no output",
                Location::Inline(_) => "output in the report",
                Location::Worker(_) => "output on the worker",
                Location::Store => "output in the store",
            };
            Some(format!("won by {fence} of worker {worker}: {} records, {at}", done.output.records))
        }
        Entry::Failed { worker, step, stage, task: index, fence, reason, .. } => {
            let own = (task.step, task.stage, task.index) == (*step, *stage, *index);
            own.then(|| format!("{fence} failed on worker {worker}: {reason}"))
        }
        Entry::Lost { worker, fences, why, .. } => {
            let lost = attempts.iter().find(|fence| fences.iter().any(|range| range.contains(**fence)))?;
            let why = match why {
                Loss::LeaseExpired => "its lease ended",
                Loss::WorkerDied => "the worker died",
                Loss::NotStarted => "the worker died before it began it",
                Loss::NotHeld => "the worker does not have it",
                Loss::Returned => "the worker gave it back",
            };
            Some(format!("{lost} lost by worker {worker}: {why}"))
        }
        Entry::Adopted { worker, fences, .. } => {
            let kept = attempts.iter().find(|fence| fences.iter().any(|range| range.contains(**fence)))?;
            Some(format!("{kept} goes on at worker {worker} under a new coordinator"))
        }
        Entry::OutputStored { step, map, fence, .. } => {
            is_map(task, *step, *map).then(|| format!("output of {fence} is in the store too"))
        }
        Entry::OutputUnshared { step, map, fence, .. } => {
            is_map(task, *step, *map).then(|| format!("output of {fence} cannot be opened by others of its host"))
        }
        Entry::TaskReopened { step, stage, tasks, why, .. } => {
            let own = (task.step, task.stage) == (*step, *stage) && tasks.contains(task.index);
            own.then(|| format!("opened again: {why}"))
        }
        Entry::RecordSkipped { step, stage, task: index, skipped, .. } => {
            let own = (task.step, task.stage, task.index) == (*step, *stage, *index);
            own.then(|| format!("record {} is left out from now on: {}", skipped.at, skipped.why))
        }
        Entry::OutputDiffered { step, stage, task: index, .. } => {
            let own = (task.step, task.stage, task.index) == (*step, *stage, *index);
            own.then(|| "its output is not what it was before".to_owned())
        }
        Entry::RolledBack { why, .. } => Some(format!("what was made of it is void: {why}")),
        Entry::TaskGivenUp { task: given_up, failure, .. } => {
            (task == *given_up).then(|| format!("given up: {}", failure.message))
        }
        Entry::JobFailed { failure, .. } => Some(format!("job failed: {}", failure.message)),
        Entry::JobCancelled { .. } => Some("job cancelled".to_owned()),
        Entry::EpochStarted { epoch } => Some(format!("coordinator epoch {} began", epoch.counter)),
        Entry::JobSubmitted { .. } => Some("job submitted".to_owned()),
        Entry::JobPlanned { .. } => Some("job planned".to_owned()),
        Entry::CommitStarted { .. } => Some("commit began".to_owned()),
        Entry::JobSucceeded { .. } => Some("job succeeded".to_owned()),
        Entry::JobCompacted { .. } => Some("what happened was compacted: only how the job ended is kept".to_owned()),
        Entry::JobRetried { .. } => Some("job retried: what was won stays won".to_owned()),
        Entry::JobExpired { .. } => Some("what the job had is given up".to_owned()),
        Entry::ProgramPinned { .. } | Entry::JobRemoved { .. } => None,
    }
}

fn is_map(task: TaskName, step: u16, map: u32) -> bool {
    (task.step, task.stage, task.index) == (step, gristmill_common::Stage::Map, map)
}
