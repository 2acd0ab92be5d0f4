//! Outputs that come out differently when their task runs again: the program is not deterministic, and what was made of
//! the first output does not fit the second.
//!
//! The rules, by the job's policy. `rollback`: whatever was made of the stage's outputs is void, the step's reduces and all
//! of later steps, and is made again of one generation. `fail`: the same, and if anything of that had won the job fails; it
//! is void all the same, since a retry must not mix either. `accept`: the job goes on with a mixture. Under the first two, attempts
//! that may have read the first output cannot win any more even when none has won yet. A digest is of the logical records, so that nothing but another result makes a difference.

use gristmill_common::reason::bounded;
use gristmill_common::spec::OnNondeterminism;
use gristmill_common::wire::Done;
use gristmill_common::{Fence, GrantName, JobId, Reason, Stage, TaskName, TaskRange};

use super::Scheduler;
use super::durable::Durable;
use super::entry::Entry;
use super::job::{Job, Step};

impl Scheduler {
    /// A task of the range that was lost and made again with another output than before.
    pub(super) fn differing(&self, granted: &GrantName, tasks: TaskRange, done: &Done) -> Option<TaskName> {
        let step = self.durable.jobs.get(&granted.job)?.step(granted.step)?;
        let mut former = step.tasks(granted.stage).former.range(tasks.first..tasks.end());
        former.find(|(_, digest)| **digest != done.output.digest).map(|(&task, _)| granted.task(task))
    }

    /// Says what has to be done about such an output, before it wins. True when it ends the job.
    pub(super) fn note_differing(&mut self, granted: &GrantName, task: TaskName) -> bool {
        let GrantName { job, step, stage, .. } = *granted;
        let Some(found) = self.durable.jobs.get(&job) else { return false };
        let policy = found.spec.on_nondeterminism;
        let is_used = users(found.steps(), step, stage).any(|(at, stage)| at.tasks(stage).won_count() > 0);
        self.record(Entry::OutputDiffered { job, step, stage, task: task.index });
        if policy == OnNondeterminism::Accept {
            return false;
        }
        let why = bounded(format!("the output of {task} was made again and is another one"));
        self.record(Entry::RolledBack { job, step, stage, below: Fence(self.soft.next_fence), why });
        self.soft.fresh.insert(job);
        is_used && policy == OnNondeterminism::Fail
    }

    pub(super) fn fail_differing(&mut self, granted: &GrantName, task: TaskName) {
        let message = format!(
            "the output of {task} was lost and made again, and is not what it was before: the program is not deterministic, \
             and parts of both would not fit together; keep times, random numbers and the order of hash maps out of \
             what it emits, or choose another `on_nondeterminism`"
        );
        let reason = Reason::UserError { message: message.clone(), at: None };
        self.fail_task(granted, task, &reason, message);
    }
}

/// The stages that read outputs of this one, directly or not.
fn users(steps: &[Step], step: u16, stage: Stage) -> impl Iterator<Item = (&Step, Stage)> {
    let later = steps.iter().skip(usize::from(step) + 1).flat_map(|at| [(at, Stage::Map), (at, Stage::Reduce)]);
    let own = steps.get(usize::from(step)).filter(|_| stage == Stage::Map).map(|at| (at, Stage::Reduce));
    own.into_iter().chain(later)
}

impl Durable {
    /// Makes void what was made of the outputs of a stage.
    pub(super) fn roll_back(&mut self, job: JobId, step: u16, stage: Stage, below: Fence) {
        let steps = self.jobs.get(&job).map_or(0, |job| job.steps().len());
        for index in usize::from(step)..steps {
            let Ok(index) = u16::try_from(index) else { break };
            let is_later = index > step;
            for void in [Stage::Map, Stage::Reduce] {
                if is_later || (stage == Stage::Map && void == Stage::Reduce) {
                    self.stop(job, index, void, TaskRange { first: 0, count: u32::MAX });
                    if let Some(at) = self.step_mut(job, index) {
                        at.void(void, below);
                    }
                }
            }
            if let Some(at) = self.step_mut(job, index).filter(|_| is_later) {
                at.floor = at.floor.max(below);
                at.generation.0 = at.generation.0.saturating_add(1);
            }
        }
    }
}

impl Job {
    /// Says whether everything that an attempt of this stage reads was won at some time, as far as the journal knows. If not,
    /// the attempt read what the journal has lost.
    pub(super) fn inputs_were_won(&self, step: u16, stage: Stage) -> bool {
        let at = self.feeding(step, stage).and_then(|(from, made)| Some(self.step(from)?.tasks(made)));
        at.is_none_or(|tasks| {
            let open = (tasks.count - tasks.won_count()) as usize;
            // All that is open has been won before.
            open == 0
                || (tasks.former.len() >= open
                    && tasks.former.keys().filter(|t| tasks.win(**t).is_none()).count() == open)
        })
    }

    /// A task wins for the first time as far as the journal knows. If an earlier coordinator knew of another win of it, that
    /// was lost with the journal's tail, and so were the grants that depended on it: whatever those attempts read, it cannot
    /// be told from this output by its digest, so they do not win.
    pub(super) fn outdate(&mut self, step: u16, stage: Stage, tasks: TaskRange, epoch_floor: Fence) {
        let steps = self.steps_mut();
        let Some(at) = steps.get_mut(usize::from(step)) else { return };
        if at.tasks(stage).former.range(tasks.first..tasks.end()).count() == tasks.count as usize {
            return;
        }
        if stage != at.last_stage() {
            at.reduces.floor = at.reduces.floor.max(epoch_floor);
        } else if let Some(next) = steps.get_mut(usize::from(step) + 1) {
            let readers = if next.fused { &mut next.reduces } else { &mut next.maps };
            readers.floor = readers.floor.max(epoch_floor);
        }
    }
}

impl Step {
    /// Opens all won tasks of a stage again; nothing older can win them.
    fn void(&mut self, stage: Stage, below: Fence) {
        let count = self.tasks(stage).count;
        let won = self.tasks(stage).won_within(TaskRange { first: 0, count });
        for task in won.iter().flat_map(|(start, end)| start..end).filter_map(|task| u32::try_from(task).ok()) {
            if let Some(win) = self.tasks_mut(stage).unwin(task) {
                self.unhold(&win);
                self.tasks_mut(stage).below.insert(task, below);
            }
        }
        let tasks = self.tasks_mut(stage);
        // What was made before is void, and need not come out the same.
        tasks.former.clear();
        tasks.floor = tasks.floor.max(below);
    }
}
