//! A job as the journal knows it: its life, its steps, and who holds their outputs.
//!
//! Plain state and questions about it; only [`super::durable`] changes it, in `apply`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use gristmill_common::api::{JobFailure, JobState, OutputView, SkippedView, StageView};
use gristmill_common::plan::{PlanSummary, feeding};
use gristmill_common::wire::Done;
use gristmill_common::{Digest, Fence, Generation, JobId, JobSpec, Stage, WorkerId, limits};

use super::durable::Rank;
use super::entry::WallMs;
use super::range_set::RangeSet;
use super::spread::Reads;
use super::tasks::{Tasks, Win};

/// A job.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Job {
    pub(crate) spec: Arc<JobSpec>,
    pub(crate) number: u64,
    pub(crate) submitted_at: WallMs,
    pub(crate) key: Option<String>,
    pub(crate) plan: Option<Arc<PlanSummary>>,
    pub(crate) counters: BTreeMap<String, i64>,
    /// Records that attempts were told to leave out so far.
    pub(crate) skips_decided: u64,
    /// Tasks that made something else when they ran again.
    pub(crate) differing: u64,
    /// Once it is over: how many records its result lacks, and the first of them.
    pub(crate) skipped: (u64, Vec<SkippedView>),
    /// The steps of a job that ended without a result, as long as it can be retried.
    pub(crate) kept: Vec<Step>,
    pub(crate) life: Life,
}

/// Where a job is in its life, with what it needs there.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Life {
    Planning,
    Running(Vec<Step>),
    Committing(Vec<Step>),
    Succeeded { at: WallMs, output: OutputView, stages: Vec<StageView> },
    Failed { at: WallMs, failure: JobFailure, stages: Vec<StageView> },
    Cancelled { at: WallMs, stages: Vec<StageView> },
}

/// One step of a job.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Step {
    /// The executable that the first grant pinned.
    pub(crate) executable: Option<Digest>,
    /// Attempts below were granted before the plan or the executable was durable: they may have had another one.
    pub(crate) floor: Fence,
    pub(crate) generation: Generation,
    pub(crate) maps: Tasks,
    /// No tasks for a map-only step.
    pub(crate) reduces: Tasks,
    /// What each reduce read.
    pub(crate) reads: Reads,
    /// Won map outputs that only one worker has.
    pub(crate) holders: BTreeMap<WorkerId, Holder>,
    /// Why the first task was given up.
    pub(crate) given_up: Option<JobFailure>,
    /// The reduces of the step before run its maps too: it has no map tasks, and reads what those leave.
    pub(crate) fused: bool,
}

/// The map outputs that only this worker has.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Holder {
    pub(crate) maps: RangeSet,
    /// Those that another worker of the same host could not open.
    pub(crate) unshared: RangeSet,
}

impl Step {
    pub(crate) fn tasks(&self, stage: Stage) -> &Tasks {
        match stage {
            Stage::Map => &self.maps,
            Stage::Reduce => &self.reduces,
        }
    }

    pub(super) fn tasks_mut(&mut self, stage: Stage) -> &mut Tasks {
        match stage {
            Stage::Map => &mut self.maps,
            Stage::Reduce => &mut self.reduces,
        }
    }

    /// The stage whose outputs are the step's parts.
    pub(crate) fn last_stage(&self) -> Stage {
        if self.reduces.count == 0 { Stage::Map } else { Stage::Reduce }
    }

    /// Whether every part is won; reopened maps do not matter any more then.
    pub(crate) fn is_done(&self) -> bool {
        self.tasks(self.last_stage()).is_won()
    }

    /// The stage whose tasks may be granted while the step is the job's current one.
    pub(crate) fn ready_stage(&self) -> Stage {
        if self.maps.is_won() { self.last_stage() } else { Stage::Map }
    }

    /// Forgets what went wrong with its tasks; only that older failures do not count again.
    pub(super) fn forgive(&mut self) {
        self.given_up = None;
        self.maps.forgive();
        self.reduces.forgive();
    }

    pub(super) fn hold(&mut self, win: &Win) {
        if self.reduces.count > 0
            && let Some(worker) = win.sole_holder()
        {
            self.holders.entry(worker).or_default().maps.insert_tasks(win.tasks);
        }
    }

    pub(super) fn unhold(&mut self, win: &Win) {
        if let Some(worker) = win.sole_holder()
            && let Some(holder) = self.holders.get_mut(&worker)
        {
            holder.maps.remove_tasks(win.tasks);
            holder.unshared.remove_tasks(win.tasks);
            if holder.maps.is_empty() {
                self.holders.remove(&worker);
            }
        }
    }
}

impl Job {
    pub(crate) fn state(&self) -> JobState {
        match self.life {
            Life::Planning => JobState::Planning,
            Life::Running(_) => JobState::Running,
            Life::Committing(_) => JobState::Committing,
            Life::Succeeded { .. } => JobState::Succeeded,
            Life::Failed { .. } => JobState::Failed,
            Life::Cancelled { .. } => JobState::Cancelled,
        }
    }

    /// The steps while there are any tasks.
    pub(crate) fn steps(&self) -> &[Step] {
        match &self.life {
            Life::Running(steps) | Life::Committing(steps) => steps,
            Life::Planning | Life::Succeeded { .. } | Life::Failed { .. } | Life::Cancelled { .. } => &[],
        }
    }

    /// The steps while anything is kept of them, also of a job that can be retried.
    pub(crate) fn known_steps(&self) -> &[Step] {
        if self.kept.is_empty() { self.steps() } else { &self.kept }
    }

    pub(super) fn steps_mut(&mut self) -> &mut [Step] {
        match &mut self.life {
            Life::Running(steps) | Life::Committing(steps) => steps,
            Life::Planning | Life::Succeeded { .. } | Life::Failed { .. } | Life::Cancelled { .. } => &mut [],
        }
    }

    /// The step whose tasks may be granted: the one after the last that is done. `None` when none is left.
    pub(crate) fn current_step(&self) -> Option<(u16, &Step)> {
        let steps = self.steps();
        let next = steps.iter().rposition(Step::is_done).map_or(0, |done| done + 1);
        Some((u16::try_from(next).ok()?, steps.get(next)?))
    }

    /// Attempts that run, of all steps.
    pub(crate) fn running_count(&self) -> u64 {
        let running = |step: &Step| u64::from(step.maps.running_count()) + u64::from(step.reduces.running_count());
        self.steps().iter().map(running).sum::<u64>() + self.rival_count()
    }

    /// Second attempts that run, of all steps.
    pub(crate) fn rival_count(&self) -> u64 {
        self.steps().iter().map(|step| (step.maps.rivals().len() + step.reduces.rivals().len()) as u64).sum()
    }

    /// Open tasks of the ready stage, as far as the job's cap leaves room for them.
    pub(crate) fn grantable(&self) -> u64 {
        let open = self.current_step().map_or(0, |(_, step)| step.tasks(step.ready_stage()).open.len());
        open.min(self.room_under_cap())
    }

    /// How many more tasks may run.
    pub(crate) fn room_under_cap(&self) -> u64 {
        self.spec.max_running.map_or(u64::MAX, |most| u64::from(most).saturating_sub(self.running_count()))
    }

    pub(crate) fn step(&self, step: u16) -> Option<&Step> {
        self.steps().get(usize::from(step))
    }

    /// The tasks whose outputs those of a stage read; `None` for the first maps, which read the input.
    pub(crate) fn feeding(&self, step: u16, stage: Stage) -> Option<(u16, Stage)> {
        match stage {
            Stage::Map => {
                let before = step.checked_sub(1)?;
                Some((before, self.kept_step(before)?.last_stage()))
            }
            Stage::Reduce => Some(feeding(step, self.kept_step(step)?.fused)),
        }
    }

    /// The step whose maps run in the tasks of this stage too.
    pub(crate) fn fused_into(&self, step: u16, stage: Stage) -> Option<u16> {
        let next = step.checked_add(1).filter(|_| stage == Stage::Reduce)?;
        self.kept_step(next)?.fused.then_some(next)
    }

    /// The step for those who only look at it: also of a job that is over and is kept for a retry.
    pub(crate) fn kept_step(&self, step: u16) -> Option<&Step> {
        self.step(step).or_else(|| self.kept.get(usize::from(step)))
    }

    pub(super) fn rank(&self, job: JobId) -> Rank {
        Rank { priority: Reverse(self.spec.priority), number: self.number, job }
    }

    pub(super) fn count(&mut self, done: &Done, times: u64) {
        let times = i64::try_from(times).unwrap_or(i64::MAX);
        for (name, n) in &done.counters {
            if let Some(sum) = self.counters.get_mut(name) {
                *sum = sum.saturating_add(n.saturating_mul(times));
            } else if self.counters.len() < limits::COUNTERS {
                self.counters.insert(name.clone(), n.saturating_mul(times));
            }
        }
    }
}
