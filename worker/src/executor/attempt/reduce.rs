//! The attempts of reduce tasks, and of maps of the next step that run in them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use gristmill_common::plan::{PlannedStep, feeding};
use gristmill_common::program::Kind;
use gristmill_common::wire::OutputsAnswer;
use gristmill_common::{GrantName, Reason, Stage, TaskName};

use super::batch::Batch;
use super::{Attempts, Setback, Turn, is_to_narrow};
use crate::command::Trace;
use crate::executor::guard::guarded;
use crate::executor::sections::Sections;
use crate::executor::worker_failure;
use crate::program::{Feed, MapInput, MapTask, Program, ReduceTask, TaskDone};
use crate::skip::{Skips, narrowed};

/// Name of the next step's own directory for spills, in the one of the attempt.
const NEXT: &str = "next";

/// The next step, whose maps run in the reduces of this one.
struct NextStep<'a> {
    step: &'a PlannedStep,
    program: Arc<dyn Program>,
    /// A directory of its own for spills.
    scratch: PathBuf,
}

impl Attempts<'_> {
    /// A section that is damaged or out of reach is looked for once more before its map has to run again: within a generation,
    /// outputs are relayed, and the table that is remembered does not know it.
    pub(super) fn reduce(
        &mut self,
        turn: &Turn<'_>,
        table: &OutputsAnswer,
        skips: &Skips,
    ) -> Result<TaskDone, Setback> {
        let reason = match self.reduce_once(turn, table, skips) {
            Ok(done) => return Ok(done),
            Err(reason @ (Reason::LostOutput { .. } | Reason::Unreachable { .. })) => reason,
            Err(reason) if is_to_narrow(skips, &reason) => {
                let reason = narrowed(skips, reason, |skips| {
                    self.clean();
                    self.reduce_once(turn, table, skips)
                });
                return Err(reason.into());
            }
            Err(reason) => return Err(reason.into()),
        };
        tracing::warn!(%reason, "looking for the map output once more");
        self.clean();
        self.answers.forget_table();
        let table = self.table(&turn.batch.token, &turn.batch.grant)?;
        Ok(self.reduce_once(turn, &table, skips)?)
    }

    fn reduce_once(&mut self, turn: &Turn<'_>, table: &OutputsAnswer, skips: &Skips) -> Result<TaskDone, Reason> {
        let Turn { program, batch, step, task, fence } = *turn;
        let next = self.next_of(batch)?;
        let mut finder = Sections {
            feeding: feeding(batch.grant.step, step.fused),
            coordinator: &self.coordinator,
            state_dir: &self.state_dir,
            scratch: &self.spills,
            holders: &mut self.holders,
            peers: &mut self.peers,
        };
        let (sections, transfers) = finder.all(&batch.token, &batch.grant, task, table)?;
        let bytes_in = sections.iter().map(|section| section.len).sum();
        let reduce = ReduceTask {
            job: batch.grant.job,
            name: batch.grant.task(task),
            fence,
            step,
            sections,
            output: &self.made,
            next: None,
            scratch: &self.spills,
            position: Arc::clone(&self.position),
            log: self.log.clone(),
            cancel: Arc::clone(&self.cancel),
            skips,
        };
        let run = || {
            let next = next.map(|next| self.start_next(&next, turn, skips)).transpose()?;
            program.reduce(&step.args, ReduceTask { next, ..reduce })
        };
        let done = guarded(run).unwrap_or_else(|message| Err(self.panicked(message, None)))?;
        drop(transfers);
        Ok(TaskDone { bytes_in, ..done })
    }

    /// What runs the maps of the next step, if they are fused with this one.
    fn next_of<'b>(&self, batch: &'b Batch) -> Result<Option<NextStep<'b>>, Reason> {
        // Who only writes down what the reducer reads prints nothing that could be mapped.
        let is_recording = self.trace.as_ref().is_some_and(|trace| trace.records);
        let Some(step) = batch.plan.head.fused_with(batch.grant.step).filter(|_| !is_recording) else {
            return Ok(None);
        };
        let scratch = self.spills.join(NEXT);
        fs::create_dir_all(&scratch).map_err(|error| worker_failure("make a scratch directory", &error))?;
        let trace = self.trace.as_ref().filter(|_| step.program().kind() == Kind::Command);
        let trace = trace.map(Trace::of_next).transpose()?;
        let program = self.loader.load_next(step, &batch.token, trace)?;
        Ok(Some(NextStep { step, program, scratch }))
    }

    fn start_next(&self, next: &NextStep<'_>, turn: &Turn<'_>, skips: &Skips) -> Result<Box<dyn Feed>, Reason> {
        let GrantName { job, step, .. } = turn.batch.grant;
        let map = MapTask {
            job,
            name: TaskName { step: step.saturating_add(1), stage: Stage::Map, index: turn.task },
            fence: turn.fence,
            step: next.step,
            input: MapInput::Fed { part: turn.task },
            output: &self.made,
            scratch: &next.scratch,
            packs: self.packs,
            position: Arc::clone(&self.position),
            log: self.log.clone(),
            cancel: Arc::clone(&self.cancel),
            skips,
        };
        next.program.map_fed(&next.step.args, map)
    }
}
