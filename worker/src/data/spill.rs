//! Spills of a map attempt: runs in its scratch directory, merged in passes of the plan's fan-in.
//!
//! Runs are merged in the order they were written, neighbours with neighbours, so that equal keys keep their order and
//! combiners see the same groups on every worker.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gristmill_common::plan::PlannedStep;
use gristmill_common::{Fence, Reason};
use gristmill_runs::{Merge, RunHeader, RunSummary, Source};

use super::failure;
use super::fold::{FoldError, Groups};
use super::function::Accumulate;
use super::output::{RunOutput, open_own, own_mark};
use super::partition::Partitioner;
use crate::position::Position;
use crate::program::MapTask;

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
    block_bytes: usize,
    packs: bool,
    pub(super) fan_in: usize,
    pub(super) position: Arc<Position>,
    pub(super) cancel: Arc<AtomicBool>,
}

impl Layout {
    pub(super) fn of(task: &MapTask<'_>) -> Self {
        let layout = Self::new(task.step, task.fence, task.output, task.scratch);
        Self { packs: task.packs, ..layout }
    }

    pub(super) fn new(step: &PlannedStep, fence: Fence, output: &Path, scratch: &Path) -> Self {
        Self {
            output: output.to_path_buf(),
            scratch: scratch.to_path_buf(),
            fence,
            partitions: step.reduces.max(1),
            partitioner: Partitioner::Hash,
            budget_bytes: step.sort_budget_bytes,
            block_bytes: step.block_bytes(),
            packs: true,
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
        let header = RunHeader { fence: self.fence, partitions: self.partitions, compress: self.packs };
        RunOutput::new(self.output.clone(), header, self.block_bytes)
    }

    /// A run that is read again here, and soon.
    fn own_run(&self, path: &Path, mark: Fence) -> RunOutput {
        let header = RunHeader { fence: mark, partitions: self.partitions, compress: false };
        RunOutput::new(path.to_path_buf(), header, self.block_bytes)
    }
}

/// A spill, and what its header says.
type Spill = (PathBuf, Fence);

/// The spills so far, in order.
pub(super) struct Spills {
    layout: Layout,
    runs: Vec<Spill>,
    made: u64,
    /// Bytes of all runs that were written beside the output.
    spilled_bytes: u64,
}

impl Spills {
    pub(super) fn new(layout: Layout) -> Self {
        Self { layout, runs: Vec::new(), made: 0, spilled_bytes: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(super) fn spilled_bytes(&self) -> u64 {
        self.spilled_bytes
    }

    fn next(&mut self) -> Spill {
        self.made += 1;
        let path = self.layout.scratch.join(format!("spill-{}", self.made));
        (path, own_mark(self.layout.fence, self.made))
    }

    /// Writes one more run through the function.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut RunOutput) -> Result<(), Reason>) -> Result<(), Reason> {
        let (path, mark) = self.next();
        let mut run = self.layout.own_run(&path, mark);
        write(&mut run)?;
        let summary = run.finish()?;
        self.spilled_bytes += summary.bytes;
        if summary.records > 0 {
            self.runs.push((path, mark));
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
                let (path, mark) = self.next();
                let mut merged = self.layout.own_run(&path, mark);
                self.merge_runs(group, combiner, &mut merged)?;
                self.spilled_bytes += merged.finish()?.bytes;
                self.runs.push((path, mark));
            }
        }
        let mut output = self.layout.final_run();
        let runs = std::mem::take(&mut self.runs);
        self.merge_runs(&runs, combiner, &mut output)?;
        output.finish()
    }

    fn merge_runs<C: Accumulate>(
        &self,
        spills: &[Spill],
        combiner: Option<&C>,
        output: &mut RunOutput,
    ) -> Result<(), Reason> {
        let mut runs = Vec::with_capacity(spills.len());
        for (path, mark) in spills {
            runs.push(open_own(path, *mark).map_err(|error| failure::own_file(path, &error))?);
        }
        for partition in 0..self.layout.partitions {
            let filled = runs.iter().filter(|run| run.records_in(partition) > 0);
            let merge = Merge::new(filled.map(|run| run.reader(partition)).collect());
            self.merge_partition(partition, merge, combiner, output)?;
        }
        for (path, _) in spills {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::NoCombiner;
    use crate::data::tests::step;

    fn two_spills(scratch: &Path) -> Spills {
        let mut spills = Spills::new(Layout::new(&step(1), Fence(7), &scratch.join("output"), scratch));
        for key in [b"a", b"b"] {
            spills.add(|run| run.push(0, key, b"1")).expect("writes");
        }
        spills
    }

    #[test]
    fn a_spill_or_an_output_in_the_place_of_a_spill_is_found() {
        let home = tempfile::tempdir().expect("a directory");
        let merged = two_spills(home.path()).merge::<NoCombiner>(None).expect("merges");
        assert_eq!(merged.records, 2);
        for other in ["spill-1", "output"] {
            let mut spills = two_spills(home.path());
            fs::copy(home.path().join(other), home.path().join("spill-2")).expect("copies");
            let reason = spills.merge::<NoCombiner>(None).expect_err("it is another file").to_string();
            assert!(reason.contains("another run is in its place"), "{reason}");
        }
    }
}
