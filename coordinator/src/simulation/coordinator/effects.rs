//! What durable entries bring about: the planner's result, and the committer's.

use gristmill_common::api::{JobState, OutputView};
use gristmill_common::plan::{PlanSummary, StepShape};
use gristmill_common::spec::OnNondeterminism;
use gristmill_common::wire::{Location, output_name};
use gristmill_common::{Digest, JobId, Stage};

use super::To;
use crate::scheduler::{Command, Entry};
use crate::simulation::work::{NOTHING, sequential, value_of};
use crate::simulation::world::World;

impl World {
    /// The planner's result: another one after every crash, as if the input had changed meanwhile.
    pub(crate) fn on_planned(&mut self, job: JobId) -> Result<(), String> {
        let Some(plan) = self.plan_of(job) else { return Ok(()) };
        let mut maps = plan.maps;
        let shape = |(&reduces, &fused): (&u32, &bool)| {
            let shape = StepShape { maps: if fused { 0 } else { maps }, reduces, fused };
            maps = if reduces == 0 { maps } else { reduces };
            shape
        };
        let summary = PlanSummary {
            digest: Digest::of(format!("{job} {}", self.coordinator.life).as_bytes()),
            shapes: plan.reduces.iter().zip(&plan.fused).map(shape).collect(),
            input_files: 1,
            input_bytes: 1,
            roots: Vec::new(),
            protocol: 0,
        };
        self.command(Command::FinishPlan { job, result: Ok(summary) }, To::Nobody)
    }

    /// The commit: compares every part with the sequential run.
    pub(crate) fn on_committed(&mut self, job: JobId) -> Result<(), String> {
        let Some(plan) = self.plan_of(job) else { return Ok(()) };
        let Some(scheduler) = self.coordinator.scheduler.as_ref() else { return Ok(()) };
        if scheduler.state(job) != Some(JobState::Committing) {
            return Ok(());
        }
        let parts = scheduler.parts(job).ok_or("a committing job has no parts")?;
        let digest = scheduler.plan_summary(job).ok_or("a committing job has no plan")?.digest;
        let stage = if plan.reduces.last() == Some(&0) { Stage::Map } else { Stage::Reduce };
        let step = u16::try_from(plan.reduces.len() - 1).unwrap();
        let mut values = Vec::new();
        for (index, fence, output) in parts {
            values.push(match output.at {
                Location::Nothing => NOTHING,
                Location::Inline(text) => value_of(&text),
                Location::Store => match self.store.get(&output_name(job, step, stage, index, fence)) {
                    Some(value) => *value,
                    None => {
                        self.seen("commit went back");
                        let why = "not in the store".to_owned();
                        let lost = Command::LoseParts { job, step, parts: vec![(index, fence)], why };
                        return self.command(lost, To::Nobody);
                    }
                },
                Location::Worker(worker) => return Err(format!("part {index} of {job} is on worker {worker}")),
            });
        }
        let first = plan.strays.and_then(|_| self.made_by_first(job, plan.strays_late));
        if plan.strays == Some(OnNondeterminism::Accept) {
            self.seen("mixture accepted");
            return self.finish_commit(job, values.len());
        }
        let expected = sequential(&plan, digest, first);
        if values != expected {
            return Err(format!("{job} commits {values:?}, the sequential run makes {expected:?}"));
        }
        self.finish_commit(job, values.len())
    }

    fn finish_commit(&mut self, job: JobId, parts: usize) -> Result<(), String> {
        let parts = u32::try_from(parts).unwrap();
        let output = OutputView { url: String::new(), bytes: 0, records: u64::from(parts), parts };
        self.command(Command::FinishCommit { job, output }, To::Nobody)
    }

    /// What won the first map last, or the first reduce that runs the map of the next step: all that is committed must have been
    /// made of it.
    fn made_by_first(&self, job: JobId, is_late: bool) -> Option<(u16, u64)> {
        let here = &self.coordinator;
        let (straying, step) = if is_late { (Stage::Reduce, 1) } else { (Stage::Map, 0) };
        let made = here.journal.iter().chain(&here.pending).rev().find_map(|entry| match entry {
            Entry::Won { job: of, step: 0, stage, tasks, done, .. }
                if (*of, *stage) == (job, straying) && tasks.contains(0) =>
            {
                Some(match &done.output.at {
                    Location::Nothing => NOTHING,
                    Location::Inline(text) => value_of(text),
                    _ => u64::from_str_radix(&done.output.digest, 16).unwrap(),
                })
            }
            _ => None,
        });
        made.map(|made| (step, made))
    }
}
