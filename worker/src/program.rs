//! What a worker runs: programs by name, and the tasks they are given.
//!
//! A program is called once per attempt, not once per record: it hands its typed functions to [`crate::data`], which
//! reads, sorts, spills and merges. Nothing here knows the coordinator; inputs and sections come as readers.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gristmill_common::plan::{PinnedFile, PlannedStep, Unpacked};
use gristmill_common::{Fence, JobId, Reason, TaskName};
use gristmill_runs::RunSummary;

use crate::log::AttemptLog;
use crate::position::Position;
use crate::skip::Skips;

/// User code: compiled in, or what runs a step's executables or modules.
pub trait Program: Send + Sync {
    /// Checks the arguments of a step, before any task of it runs.
    ///
    /// # Errors
    /// A sentence for the user that says what is wrong with them.
    fn check(&self, args: &[String]) -> Result<(), String>;

    /// Runs one map attempt. May panic in user code; `task.position` then names the record.
    ///
    /// # Errors
    /// Why the attempt failed.
    fn map(&self, args: &[String], task: MapTask<'_>) -> Result<TaskDone, Reason>;

    /// Runs one reduce attempt. May panic in user code; `task.position` then names the record.
    ///
    /// # Errors
    /// Why the attempt failed.
    fn reduce(&self, args: &[String], task: ReduceTask<'_>) -> Result<TaskDone, Reason>;

    /// Starts a map attempt whose input is [`MapInput::Fed`]: the reduce of the step before, in the same task, gives it its lines.
    ///
    /// # Errors
    /// Why the attempt failed.
    fn map_fed(&self, args: &[String], task: MapTask<'_>) -> Result<Box<dyn Feed>, Reason>;
}

/// A map attempt that is given its input.
pub trait Feed {
    /// Maps lines, each with its line feed.
    ///
    /// # Errors
    /// Why the attempt failed.
    fn feed(&mut self, lines: &[u8]) -> Result<(), Reason>;

    /// Ends the attempt behind the last line: its output is where its task said.
    ///
    /// # Errors
    /// Why the attempt failed.
    fn finish(self: Box<Self>) -> Result<TaskDone, Reason>;
}

/// The programs that are compiled in, by name.
#[derive(Clone, Default)]
pub struct Programs(BTreeMap<String, Arc<dyn Program>>);

impl Programs {
    /// Adds a program; one of the same name is replaced.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, program: Arc<dyn Program>) -> Self {
        self.0.insert(name.into(), program);
        self
    }

    /// Adds all programs of the other registry; ones of the same name are replaced.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Returns the program of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<dyn Program>> {
        self.0.get(name)
    }

    /// Returns all names, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

/// Opens input files, wherever they are.
pub trait Inputs: Sync {
    /// Opens a file of the plan at this byte, and checks that it is the one that was planned.
    ///
    /// # Errors
    /// [`Reason::InputChanged`] or [`Reason::InputUnreadable`].
    fn open(&self, file: &PinnedFile, from: u64) -> Result<Box<dyn Read + Send>, Reason>;

    /// Checks again, after the last byte was read, that the file is the one that was planned.
    ///
    /// # Errors
    /// [`Reason::InputChanged`].
    fn recheck(&self, file: &PinnedFile) -> Result<(), Reason> {
        let _ = file;
        Ok(())
    }
}

/// A range of a file of the plan. Lines that start in it are read.
#[derive(Clone, Debug)]
pub struct InputPiece<'a> {
    /// Index of the file in the plan; what [`crate::position::Spot::File`] names.
    pub index: u32,
    /// The file.
    pub file: &'a PinnedFile,
    /// First byte.
    pub start: u64,
    /// Byte after the last one.
    pub end: u64,
    /// Where it is in the file unpacked, of a packed file that is cut.
    pub unpacked: Option<Unpacked>,
}

impl InputPiece<'_> {
    /// Offset of what is read first, in the file unpacked.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.unpacked.map_or(self.start, |unpacked| unpacked.start)
    }
}

/// What a map attempt reads.
pub enum MapInput<'a> {
    /// Ranges of files.
    Pieces {
        /// The ranges, in order.
        pieces: Vec<InputPiece<'a>>,
        /// Opens their files.
        inputs: &'a dyn Inputs,
    },
    /// The decimal numbers `first .. first + count`.
    Generated {
        /// The first number.
        first: u64,
        /// How many.
        count: u64,
    },
    /// The text of a part of the step before.
    Part {
        /// Index of the part.
        part: u32,
        /// Its text; an error while reading it is the worker's, and the attempt is tried again.
        text: Box<dyn Read + Send + 'a>,
    },
    /// The lines of a reduce of the step before, which runs in the same task and gives them.
    Fed {
        /// Index of the part that they would be.
        part: u32,
    },
}

/// The variable that tells commands and modules the tag of what they map.
pub(crate) const TAG_VARIABLE: &str = "gristmill_input_tag";

impl<'a> MapInput<'a> {
    /// Returns the tag of the input, which all ranges of a task have.
    #[must_use]
    pub fn tag(&self) -> Option<&'a str> {
        match self {
            Self::Pieces { pieces, .. } => pieces.first().and_then(|piece| piece.file.tag.as_deref()),
            Self::Generated { .. } | Self::Part { .. } | Self::Fed { .. } => None,
        }
    }
}

/// One map attempt.
pub struct MapTask<'a> {
    /// The job.
    pub job: JobId,
    /// The task.
    pub name: TaskName,
    /// The attempt.
    pub fence: Fence,
    /// The step.
    pub step: &'a PlannedStep,
    /// What to read.
    pub input: MapInput<'a>,
    /// The file to create: a map output, or a part when the step is map-only. Not created when there are no records.
    pub output: &'a Path,
    /// A directory of the attempt's own for spills. Emptied by the caller, also after a crash.
    pub scratch: &'a Path,
    /// Whether the blocks of a map output are packed, which does not shape what it holds.
    pub packs: bool,
    /// Where the attempt says what it reads.
    pub position: Arc<Position>,
    /// The attempt's own log, which users read with `job logs`.
    pub log: AttemptLog,
    /// Set when the result is no longer wanted; the attempt then ends soon, with [`Reason::Worker`].
    pub cancel: Arc<AtomicBool>,
    /// Records of the task that failed before: what is to be left out.
    pub skips: &'a Skips,
}

/// One partition of one map output.
pub struct Section {
    /// The map task.
    pub map: u32,
    /// The attempt that wrote it.
    pub fence: Fence,
    /// Bytes of the section.
    pub len: u64,
    /// The section.
    pub bytes: Box<dyn Read + Send>,
}

/// One reduce attempt; its task's index is the partition.
pub struct ReduceTask<'a> {
    /// The job.
    pub job: JobId,
    /// The task.
    pub name: TaskName,
    /// The attempt.
    pub fence: Fence,
    /// The step.
    pub step: &'a PlannedStep,
    /// The partition's section of every map output that has one. Any order: they are merged by map index.
    pub sections: Vec<Section>,
    /// The part to create. Not created when there are no records.
    pub output: &'a Path,
    /// The next step's map, if it is fused with this step: gets the lines in place of a part.
    pub next: Option<Box<dyn Feed>>,
    /// A directory of the attempt's own for merge passes. Emptied by the caller, also after a crash.
    pub scratch: &'a Path,
    /// Where the attempt says what it reads.
    pub position: Arc<Position>,
    /// The attempt's own log, which users read with `job logs`.
    pub log: AttemptLog,
    /// Set when the result is no longer wanted; the attempt then ends soon, with [`Reason::Worker`].
    pub cancel: Arc<AtomicBool>,
    /// Records of the task that failed before: what is to be left out.
    pub skips: &'a Skips,
}

/// What a successful attempt made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TaskDone {
    /// The file at `output`; no bytes when there is none.
    pub summary: RunSummary,
    /// Records read.
    pub records_in: u64,
    /// Bytes of the sections of a reduce; whoever gave them adds them up.
    pub bytes_in: u64,
    /// Counters of user code.
    pub counters: BTreeMap<String, i64>,
}

/// An error that keeps its reason: a reader that returns it inside an [`std::io::Error`], or user code that returns it,
/// decides what the attempt ends as. Any other error of reading an input file is [`Reason::InputUnreadable`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReadFailed(pub Reason);

impl From<ReadFailed> for std::io::Error {
    fn from(failed: ReadFailed) -> Self {
        Self::other(failed)
    }
}
