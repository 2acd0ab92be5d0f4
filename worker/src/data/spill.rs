//! Spills of a map attempt: runs in its scratch directory, merged in passes of the plan's fan-in.
//!
//! Runs are merged in the order they were written, neighbours with neighbours, so that equal keys keep their order and
//! combiners see the same groups on every worker.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gristmill_common::plan::PlannedStep;
use gristmill_common::{Fence, Reason};
use gristmill_runs::{Merge, RunFile, RunSummary, Source};

use super::failure;
use super::fold::{FoldError, Groups};
use super::function::Accumulate;
use super::output::RunOutput;
use super::partition::Partitioner;
use crate::position::Position;

/// How often a merge shows that it is alive and looks whether it is still wanted, in records.
const CHECK_RECORDS: u64 = 4_096;

/// What the files of a map attempt have in common.
#[derive(Clone)]
pub(super) struct Layout {
    pub(super) output: PathBuf,
    pub(super) scratch: PathBuf,
    pub(super) fence: Fence,
    pub(super) partitions: u32,
    pub(super) partitioner: Partitioner,
    pub(super) budget_bytes: u64,
    pub(super) fan_in: usize,
    pub(super) position: Arc<Position>,
    pub(super) cancel: Arc<AtomicBool>,
}

impl Layout {
    pub(super) fn new(step: &PlannedStep, fence: Fence, output: &Path, scratch: &Path) -> Self {
        Self {
            output: output.to_path_buf(),
            scratch: scratch.to_path_buf(),
            fence,
            partitions: step.reduces.max(1),
            partitioner: Partitioner::Hash,
            budget_bytes: step.sort_budget_bytes,
            fan_in: (step.fan_in as usize).max(2),
            position: Arc::new(Position::in_memory()),
            cancel: Arc::new(AtomicBool::new(false)),
        }
    }

    pub(super) fn watched(mut self, position: &Arc<Position>, cancel: &Arc<AtomicBool>) -> Self {
        self.position = Arc::clone(position);
        self.cancel = Arc::clone(cancel);
        self
    }

    pub(super) fn partitioned(mut self, partitioner: Partitioner) -> Self {
        self.partitioner = partitioner;
        self
    }

    pub(super) fn final_run(&self) -> RunOutput {
        RunOutput::new(self.output.clone(), self.fence, self.partitions)
    }
}

/// The spills so far, in order.
pub(super) struct Spills {
    layout: Layout,
    runs: Vec<PathBuf>,
    made: u64,
}

impl Spills {
    pub(super) fn new(layout: Layout) -> Self {
        Self { layout, runs: Vec::new(), made: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    fn next_path(&mut self) -> PathBuf {
        self.made += 1;
        self.layout.scratch.join(format!("spill-{}", self.made))
    }

    /// Writes one more run through the function.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut RunOutput) -> Result<(), Reason>) -> Result<(), Reason> {
        let path = self.next_path();
        let mut run = RunOutput::new(path.clone(), self.layout.fence, self.layout.partitions);
        write(&mut run)?;
        if run.finish()?.records > 0 {
            self.runs.push(path);
        }
        Ok(())
    }

    /// Merges all runs into the map output.
    pub(super) fn merge<C: Accumulate>(&mut self, combiner: Option<&C>) -> Result<RunSummary, Reason> {
        while self.runs.len() > self.layout.fan_in {
            let runs = std::mem::take(&mut self.runs);
            for group in runs.chunks(self.layout.fan_in) {
                if let [one] = group {
                    self.runs.push(one.clone());
                    continue;
                }
                let path = self.next_path();
                let mut merged = RunOutput::new(path.clone(), self.layout.fence, self.layout.partitions);
                self.merge_runs(group, combiner, &mut merged)?;
                merged.finish()?;
                self.runs.push(path);
            }
        }
        let mut output = self.layout.final_run();
        let runs = std::mem::take(&mut self.runs);
        self.merge_runs(&runs, combiner, &mut output)?;
        output.finish()
    }

    fn merge_runs<C: Accumulate>(
        &self,
        paths: &[PathBuf],
        combiner: Option<&C>,
        output: &mut RunOutput,
    ) -> Result<(), Reason> {
        let mut runs = Vec::with_capacity(paths.len());
        for path in paths {
            let run = File::open(path).map_err(Into::into).and_then(RunFile::open);
            runs.push(run.map_err(|error| failure::own_file(path, &error))?);
        }
        for partition in 0..self.layout.partitions {
            let filled = runs.iter().filter(|run| run.records_in(partition) > 0);
            let merge = Merge::new(filled.map(|run| run.reader(partition)).collect());
            self.merge_partition(partition, merge, combiner, output)?;
        }
        for path in paths {
            fs::remove_file(path).map_err(|error| failure::worker(format!("{}: {error}", path.display())))?;
        }
        Ok(())
    }

    fn merge_partition<S: Source, C: Accumulate>(
        &self,
        partition: u32,
        mut merge: Merge<S>,
        combiner: Option<&C>,
        output: &mut RunOutput,
    ) -> Result<(), Reason> {
        let bad = |error: &gristmill_runs::RunError| failure::own_file(&self.layout.scratch, error);
        let mut seen = 0_u64;
        let Some(combiner) = combiner else {
            while merge.advance().map_err(|error| bad(&error))? {
                output.push(partition, merge.key(), merge.value())?;
                seen += 1;
                self.watch(seen)?;
            }
            return Ok(());
        };
        let mut groups = Groups::new(merge, Arc::clone(&self.layout.position));
        let mut value = Vec::new();
        while groups.next_group().map_err(|error| bad(&error))? {
            let acc = groups.fold(combiner).map_err(|error| match error {
                FoldError::Source(error) => bad(&error),
                FoldError::Value(error) => failure::user(&error, None),
            })?;
            value.clear();
            combiner.store(&acc, &mut value);
            output.push(partition, groups.key(), &value)?;
            seen += 1;
            self.watch(seen)?;
        }
        Ok(())
    }

    fn watch(&self, seen: u64) -> Result<(), Reason> {
        if seen.is_multiple_of(CHECK_RECORDS) {
            self.layout.position.tick();
            if self.layout.cancel.load(Ordering::Relaxed) {
                return Err(failure::cancelled());
            }
        }
        Ok(())
    }
}
