//! Runs one reduce attempt: merges the sections of its partition, groups by key, and gives each group to the reducer.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gristmill_common::plan::feeding;
use gristmill_common::{Fence, Place, Reason, Stage, TaskName};
use gristmill_runs::{Merge, RunError, RunHeader, SectionReader, Source};

use super::failure;
use super::fed::Destination;
use super::fold::{FoldError, Groups};
use super::function::{Accumulate, Group, NoCombiner, ReduceFunction};
use super::lines::Lines;
use super::output::{RunOutput, open_own, own_mark};
use crate::position::{Position, Spot};
use crate::program::{ReduceTask, Section, TaskDone};
use crate::skip::Skips;

type Reader = SectionReader<Box<dyn Read + Send>>;

/// Where a source of the merge comes from, so that damage is charged to the right map.
#[derive(Clone, Copy)]
enum Origin {
    Map(u32, Fence),
    Pass,
}

struct Input {
    reader: Reader,
    origin: Origin,
}

/// Runs a reduce attempt.
///
/// # Errors
/// Why the attempt failed.
pub fn reduce<R: ReduceFunction, C: Accumulate>(
    mut task: ReduceTask<'_>,
    reducer: &mut R,
    combiner: Option<&C>,
) -> Result<TaskDone, Reason> {
    let (combined, to) = (task.step.combine, Destination::of(&mut task));
    let (stage, inputs) = Passes::begin(task);
    let inputs = stage.merge_down(inputs, combiner.filter(|_| combined))?;
    let lines = Lines::new(to, Arc::clone(&stage.position));
    stage.run(inputs, reducer, combiner, combined, lines)
}

/// Runs a reduce attempt of a sort: the records become the part as they are, in order. `joined`: the text of a record is its
/// key and its value, else its value. `unique`: only the first record of a key is kept.
///
/// # Errors
/// Why the attempt failed.
pub fn reduce_sorted(mut task: ReduceTask<'_>, joined: bool, unique: bool) -> Result<TaskDone, Reason> {
    let to = Destination::of(&mut task);
    let (stage, inputs) = Passes::begin(task);
    let inputs = stage.merge_down::<NoCombiner>(inputs, None)?;
    stage.copy(inputs, to, joined, unique)
}

/// How often a copy shows that it is alive and looks whether it is still wanted, in records.
const CHECK_RECORDS: u64 = 4_096;

struct Passes<'a> {
    name: TaskName,
    /// Whose outputs are read.
    feeding: (u16, Stage),
    fence: Fence,
    scratch: &'a Path,
    fan_in: usize,
    block_bytes: usize,
    position: Arc<Position>,
    cancel: Arc<AtomicBool>,
    skips: &'a Skips,
}

impl<'a> Passes<'a> {
    /// Begins the attempt; returns the merge's inputs too.
    fn begin(task: ReduceTask<'a>) -> (Self, Vec<Input>) {
        let total = task.sections.iter().map(|section| section.len).sum();
        task.position.begin(task.fence, total);
        let spot = if task.skips.is_rough() { Spot::Nowhere } else { Spot::Partition(task.name.index) };
        task.position.enter(spot, 0);
        let stage = Self {
            name: task.name,
            feeding: feeding(task.name.step, task.step.fused),
            fence: task.fence,
            scratch: task.scratch,
            fan_in: (task.step.fan_in as usize).max(2),
            block_bytes: task.step.block_bytes(),
            position: task.position,
            cancel: task.cancel,
            skips: task.skips,
        };
        let inputs = stage.inputs(task.sections);
        (stage, inputs)
    }

    /// Copies the merged records as text.
    fn copy(&self, inputs: Vec<Input>, mut to: Destination, joined: bool, unique: bool) -> Result<TaskDone, Reason> {
        let (readers, origins): (Vec<_>, Vec<_>) = inputs.into_iter().map(|input| (input.reader, input.origin)).unzip();
        let mut merge = Merge::new(readers);
        let (mut records, mut last) = (0_u64, None::<Vec<u8>>);
        while merge.advance().map_err(|error| self.source_failed(&error, merge.source_index(), &origins))? {
            if records.is_multiple_of(CHECK_RECORDS) {
                self.position.at(records);
                self.position.tick();
                if self.cancel.load(Ordering::Relaxed) {
                    return Err(failure::cancelled());
                }
            }
            records += 1;
            if unique {
                let key = merge.key();
                if last.as_deref() == Some(key) {
                    continue;
                }
                let last = last.get_or_insert_default();
                last.clear();
                last.extend_from_slice(key);
            }
            to.push_unkeyed(if joined { merge.joined() } else { merge.value() })?;
        }
        let mut done = TaskDone { records_in: records, ..TaskDone::default() };
        done.summary = to.finish(&mut done.counters)?;
        Ok(done)
    }

    fn inputs(&self, mut sections: Vec<Section>) -> Vec<Input> {
        sections.sort_by_key(|section| section.map);
        let wrap = |section: Section| Input {
            reader: SectionReader::new(section.bytes, section.len).expecting(section.fence, self.name.index),
            origin: Origin::Map(section.map, section.fence),
        };
        sections.into_iter().map(wrap).collect()
    }

    /// Merges neighbours until at most `fan_in` sources are left.
    fn merge_down<C: Accumulate>(&self, mut inputs: Vec<Input>, combiner: Option<&C>) -> Result<Vec<Input>, Reason> {
        let mut pass = 0_u32;
        while inputs.len() > self.fan_in {
            pass += 1;
            let mut merged = Vec::with_capacity(inputs.len().div_ceil(self.fan_in));
            let mut rest = inputs.into_iter().peekable();
            while rest.peek().is_some() {
                let group: Vec<Input> = rest.by_ref().take(self.fan_in).collect();
                let path = self.scratch.join(format!("merge-{pass}-{}", merged.len()));
                let mark = own_mark(self.fence, u64::from(pass) << 32 | merged.len() as u64);
                merged.extend(self.merge_group(group, combiner, &path, mark)?);
            }
            inputs = merged;
        }
        Ok(inputs)
    }

    fn merge_group<C: Accumulate>(
        &self,
        mut group: Vec<Input>,
        combiner: Option<&C>,
        path: &Path,
        mark: Fence,
    ) -> Result<Option<Input>, Reason> {
        if group.len() == 1 {
            return Ok(group.pop());
        }
        let header = RunHeader { fence: mark, partitions: 1, compress: false };
        let mut output = RunOutput::new(path.to_path_buf(), header, self.block_bytes);
        let (readers, origins): (Vec<_>, Vec<_>) = group.into_iter().map(|input| (input.reader, input.origin)).unzip();
        let mut groups = Groups::new(Merge::new(readers), Arc::clone(&self.position));
        let (mut key, mut value) = (Vec::new(), Vec::new());
        while self.next_group(&mut groups, &origins)? {
            if let Some(combiner) = combiner {
                let acc = groups.fold(combiner).map_err(|error| self.fold_failed(error, &groups, &origins))?;
                value.clear();
                combiner.store(&acc, &mut value);
                output.push(0, groups.key(), &value)?;
                continue;
            }
            groups.copy_key(&mut key);
            while let Some(value) = groups.next_value() {
                output.push(0, &key, value)?;
            }
        }
        if output.finish()?.records == 0 {
            return Ok(None);
        }
        let bytes = open_own(path, mark).map_err(|error| failure::own_file(path, &error))?.section_bytes(0);
        // Unlinked while open: nothing is left behind, whatever happens.
        std::fs::remove_file(path).map_err(|error| failure::worker(format!("{}: {error}", path.display())))?;
        let length = bytes.len();
        let bytes: Box<dyn Read + Send> = Box::new(bytes);
        let reader = SectionReader::new(bytes, length).expecting(mark, 0);
        Ok(Some(Input { reader, origin: Origin::Pass }))
    }

    fn run<R: ReduceFunction, C: Accumulate>(
        &self,
        inputs: Vec<Input>,
        reducer: &mut R,
        combiner: Option<&C>,
        combined: bool,
        mut lines: Lines,
    ) -> Result<TaskDone, Reason> {
        let (readers, origins): (Vec<_>, Vec<_>) = inputs.into_iter().map(|input| (input.reader, input.origin)).unzip();
        let mut groups = Groups::new(Merge::new(readers), Arc::clone(&self.position)).by(R::GROUP);
        let mut one = OneValue::default();
        let mut key = Vec::new();
        let name = self.place().file;
        while self.next_group(&mut groups, &origins)? {
            if self.skips.is_careful() && self.skips.leaves_out(&name, self.position.offset()) {
                continue;
            }
            lines.set_key(groups.key());
            let reduced = if let Some(combiner) = combiner {
                let acc = if combined { groups.fold(combiner) } else { groups.add_all(combiner) };
                let acc = acc.map_err(|error| self.fold_failed(error, &groups, &origins))?;
                one.set(|out| combiner.finish(acc, out));
                reducer.reduce(groups.key(), &mut one, &mut lines)
            } else {
                groups.copy_key(&mut key);
                let reduced = reducer.reduce(&key, &mut groups, &mut lines);
                // A reducer that saw too few values must not be blamed for what it made of them.
                let read = groups.check();
                read.map_err(|error| self.source_failed(&error, groups.source().source_index(), &origins))?;
                reduced
            };
            reduced.map_err(|error| failure::user(&error, Some(self.place())))?;
            lines.check()?;
        }
        if self.skips.is_careful() {
            // What fails from here on is no group's fault.
            self.position.enter(Spot::Nowhere, 0);
        }
        let at = (!self.skips.is_careful()).then(|| self.place());
        reducer.finish(&mut lines).map_err(|error| failure::user(&error, at))?;
        let (summary, counters) = lines.finish()?;
        Ok(TaskDone { summary, records_in: groups.records(), bytes_in: 0, counters })
    }

    fn next_group<S: Source>(&self, groups: &mut Groups<Merge<S>>, origins: &[Origin]) -> Result<bool, Reason> {
        let more = groups.next_group();
        let more = more.map_err(|error| self.source_failed(&error, groups.source().source_index(), origins))?;
        self.position.at(groups.records().saturating_sub(1));
        if self.cancel.load(Ordering::Relaxed) {
            return Err(failure::cancelled());
        }
        Ok(more)
    }

    fn place(&self) -> Place {
        Place { file: format!("partition {}", self.name.index), offset: self.position.offset() }
    }

    fn fold_failed<S: Source>(&self, error: FoldError, groups: &Groups<Merge<S>>, origins: &[Origin]) -> Reason {
        match error {
            FoldError::Source(error) => self.source_failed(&error, groups.source().source_index(), origins),
            FoldError::Value(error) => failure::user(&error, Some(self.place())),
        }
    }

    /// A section is its map's; a pass's own run is the worker's.
    fn source_failed(&self, error: &RunError, source: usize, origins: &[Origin]) -> Reason {
        match origins.get(source) {
            Some(&Origin::Map(map, fence)) => {
                let (step, stage) = self.feeding;
                let map = TaskName { step, stage, index: map };
                failure::map_output(map, fence, error)
            }
            Some(Origin::Pass) | None => failure::own_file(self.scratch, error),
        }
    }
}

/// The group of a combined key: one value.
#[derive(Default)]
struct OneValue {
    bytes: Vec<u8>,
    given: bool,
}

impl OneValue {
    fn set(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.clear();
        write(&mut self.bytes);
        self.given = false;
    }
}

impl Group for OneValue {
    fn next_value(&mut self) -> Option<&[u8]> {
        if std::mem::replace(&mut self.given, true) {
            return None;
        }
        Some(&self.bytes)
    }
}
