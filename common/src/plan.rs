//! The plan: everything that shapes the bytes of a job's result, fixed before the first task and never changed.
//!
//! It depends on the input and the spec alone, never on workers. The coordinator keeps it as an immutable blob and
//! journals its digest and counts ([`PlanSummary`]); workers fetch its head once per job and slices of its splits.

use serde::{Deserialize, Serialize};

use crate::absent::is_default;
use crate::digest::Digest;
use crate::format::InputFormat;
use crate::ids::Stage;
use crate::limits;
use crate::order::PlannedOrder;
use crate::output::{OutputCompression, OutputFormat};
use crate::program::{Command, Program, Wasm};

/// A job's plan, as its blob holds it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Version of this format: 1.
    pub version: u32,
    /// What all tasks share.
    pub head: PlanHead,
    /// The splits of the first step.
    pub splits: Splits,
}

/// The part of a plan that every task needs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanHead {
    /// The input files, in input order; splits name them by index.
    pub files: Vec<PinnedFile>,
    /// The steps.
    pub steps: Vec<PlannedStep>,
    /// An attempt without progress for this long is ended, in milliseconds.
    pub progress_timeout_ms: u64,
}

impl PlanHead {
    /// Returns the step whose maps the reduces of this one run too.
    #[must_use]
    pub fn fused_with(&self, step: u16) -> Option<&PlannedStep> {
        self.steps.get(usize::from(step) + 1).filter(|next| next.fused)
    }
}

/// An input file as it was when the job was planned.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedFile {
    /// Its URL, percent-encoded: `file:///…` or `store://…`.
    pub url: String,
    /// Its size in bytes; never read beyond, so that a file that only grew is the same input.
    pub bytes: u64,
    /// Modification time or entity tag: what [`crate::Reason::InputChanged`] compares.
    pub version: String,
    /// How its bytes are packed.
    #[serde(default)]
    pub compression: Compression,
    /// The tag of the input that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// How a file's bytes are packed, known by its first bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// As they are: can be cut at line starts.
    #[default]
    None,
    /// gzip, perhaps of several members.
    Gzip,
    /// bzip2, perhaps of several streams.
    Bzip2,
    /// Zstandard, perhaps of several frames.
    Zstd,
    /// Zstandard as pzstd writes it: the size of each frame stands before it, but not how much the frame holds.
    Pzstd,
    /// LZ4 frames.
    Lz4,
}

impl Compression {
    /// Returns the word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Zstd | Self::Pzstd => "zstd",
            Self::Lz4 => "lz4",
        }
    }
}

/// One step of a plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedStep {
    /// Name of a native program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<String>,
    /// Executables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Box<Command>>,
    /// WebAssembly modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wasm: Option<Box<Wasm>>,
    /// Arguments of a native program.
    pub args: Vec<String>,
    /// Map tasks: the splits of the first step, the parts of the step before for later ones; none of a fused step.
    pub maps: u32,
    /// Reduce tasks; 0 for a map-only step.
    pub reduces: u32,
    /// Whether the program's combiner is used.
    pub combine: bool,
    /// Logical bytes of records that a map sorts at a time.
    pub sort_budget_bytes: u64,
    /// Runs merged at a time.
    pub fan_in: u32,
    /// The order of all records, of a sort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Box<PlannedOrder>>,
    /// What the files hold that the step reads: the first one's; lines for later steps.
    #[serde(default, skip_serializing_if = "is_default")]
    pub input_format: InputFormat,
    /// As what its parts are written.
    #[serde(default, skip_serializing_if = "is_default")]
    pub part_form: PartForm,
    /// What the lines of its parts become, of a last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Box<Written>>,
    /// Whether the reduces of the step before run its maps too: what they leave are map outputs of this step, not parts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fused: bool,
}

/// Returns the step and the stage whose outputs the reduces of a step read.
#[must_use]
pub fn feeding(step: u16, fused: bool) -> (u16, Stage) {
    if fused { (step.saturating_sub(1), Stage::Reduce) } else { (step, Stage::Map) }
}

/// What lines become, when that is not lines.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// What each line becomes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub format: OutputFormat,
    /// How files are packed; of finished files only.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compression: OutputCompression,
}

impl Written {
    /// Says whether a file of no rows has something in it all the same.
    #[must_use]
    pub fn is_never_empty(&self) -> bool {
        self.has_frame() || self.compression != OutputCompression::None
    }

    /// Says whether a file has something before or around its rows, so that two of them joined are none.
    #[must_use]
    pub fn has_frame(&self) -> bool {
        matches!(self.format, OutputFormat::Parquet(_)) || !self.format.header().is_empty()
    }
}

/// As what the parts of a step are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartForm {
    /// Runs whose values are text, which can be merged by key and are rendered when somebody reads them.
    #[default]
    Run,
    /// Finished files: the bytes that the user gets, and nothing around them (decision 0014). Parts of a last step only.
    File,
}

impl PlannedStep {
    /// Makes a step of this native program and nothing else: what is planned of a spec that leaves out the rest, or what a
    /// test begins with.
    #[must_use]
    pub fn native(name: impl Into<String>, maps: u32, reduces: u32) -> Self {
        Self {
            native: Some(name.into()),
            command: None,
            wasm: None,
            args: Vec::new(),
            maps,
            reduces,
            combine: true,
            sort_budget_bytes: limits::SORT_BUDGET_BYTES,
            fan_in: limits::FAN_IN,
            order: None,
            input_format: InputFormat::default(),
            part_form: PartForm::Run,
            written: None,
            fused: false,
        }
    }

    /// Returns the program.
    #[must_use]
    pub fn program(&self) -> Program<'_> {
        Program::of(self.native.as_deref(), self.command.as_deref(), self.wasm.as_deref())
    }

    /// Returns the size of the blocks of the step's runs. A merge holds two of each run that it reads, and in all at most half
    /// of the sort budget. Where blocks end does not shape what runs hold.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        let share = self.sort_budget_bytes / 4 / u64::from(self.fan_in.max(1));
        usize::try_from(share).unwrap_or(usize::MAX).clamp(limits::BLOCK_MIN_BYTES, limits::BLOCK_BYTES)
    }

    /// Returns the number of tasks of a stage.
    #[must_use]
    pub fn tasks(&self, stage: Stage) -> u32 {
        match stage {
            Stage::Map => self.maps,
            Stage::Reduce => self.reduces,
        }
    }

    /// Returns the number of parts the step makes.
    #[must_use]
    pub fn parts(&self) -> u32 {
        if self.reduces == 0 { self.maps } else { self.reduces }
    }
}

/// The splits of the first step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Splits {
    /// Ranges of files, a list for each map task.
    Files(Vec<Vec<Piece>>),
    /// `records` generated records, `each` to a split.
    Generated {
        /// Records in all.
        records: u64,
        /// Records of a split; the last may have fewer.
        each: u64,
    },
}

/// A byte range of one file. Records that start in it are read, also beyond its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// Index into [`PlanHead::files`].
    pub file: u32,
    /// First byte.
    pub start: u64,
    /// Byte after the last one.
    pub end: u64,
    /// Where it is in the file unpacked, of a packed file that is cut: `start` and `end` are then edges of its blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpacked: Option<Unpacked>,
}

impl Piece {
    /// Makes a range of a file that is not cut inside a block.
    #[must_use]
    pub fn new(file: u32, start: u64, end: u64) -> Self {
        Self { file, start, end, unpacked: None }
    }
}

/// A range of a packed file, unpacked. Records whose delimiter before them begins in it are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unpacked {
    /// Offset of its first byte.
    pub start: u64,
    /// Offset behind its last byte; `None` at the file's end, and where only unpacking tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
}

/// The input of one map task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SplitInput {
    /// Ranges of the plan's files.
    Files(Vec<Piece>),
    /// Generated records `first .. first + count`.
    Generated {
        /// Number of the first.
        first: u64,
        /// How many.
        count: u64,
    },
    /// Part `part` of the step before, read from the coordinator.
    Part {
        /// Index of the part.
        part: u32,
    },
}

impl Splits {
    /// Returns how many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        match self {
            Self::Files(splits) => splits.len() as u64,
            Self::Generated { records, each } => records.div_ceil((*each).max(1)),
        }
    }
}

impl Plan {
    /// Version of the format written here.
    pub const VERSION: u32 = 1;

    /// Returns the input of a map task, `None` if there is no such task.
    #[must_use]
    pub fn split(&self, step: u16, index: u32) -> Option<SplitInput> {
        let shape = self.head.steps.get(usize::from(step))?;
        if index >= shape.maps {
            return None;
        }
        if step > 0 {
            return Some(SplitInput::Part { part: index });
        }
        match &self.splits {
            Splits::Files(splits) => splits.get(index as usize).cloned().map(SplitInput::Files),
            Splits::Generated { records, each } => {
                let first = u64::from(index) * each;
                Some(SplitInput::Generated { first, count: (*each).min(records.checked_sub(first)?) })
            }
        }
    }

    /// Writes the blob.
    #[must_use]
    pub fn to_blob(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Returns what the journal keeps of a plan.
    #[must_use]
    pub fn summary(&self, blob: &[u8], roots: Vec<String>) -> PlanSummary {
        PlanSummary {
            digest: Digest::of(blob),
            shapes: self.head.steps.iter().map(StepShape::of).collect(),
            input_files: self.head.files.len() as u64,
            input_bytes: self.head.files.iter().map(|file| file.bytes).sum(),
            roots,
            protocol: self.protocol(),
        }
    }

    /// Returns the first version of the exchange whose workers can run it.
    fn protocol(&self) -> u32 {
        let is_pzstd = |file: &PinnedFile| file.compression == Compression::Pzstd;
        let is_cut = match &self.splits {
            Splits::Files(splits) => splits.iter().flatten().any(|piece| piece.unpacked.is_some()),
            Splits::Generated { .. } => false,
        };
        let is_parquet = self.head.steps.iter().any(|step| matches!(step.input_format, InputFormat::Parquet(_)));
        if is_cut || is_parquet || self.head.files.iter().any(is_pzstd) {
            return limits::PROTOCOL_THAT_READS_BLOCKS;
        }
        let is_newer = |file: &PinnedFile| !matches!(file.compression, Compression::None | Compression::Gzip);
        if self.head.files.iter().any(|file| file.tag.is_some()) {
            return limits::PROTOCOL_THAT_READS_TAGS;
        }
        let sorts = |step: &PlannedStep| step.order.is_some() && !step.input_format.is_plain_lines();
        if self.head.steps.iter().any(sorts) {
            return limits::PROTOCOL_THAT_SORTS_FORMATS;
        }
        if self.head.steps.iter().any(|step| step.fused) {
            return limits::PROTOCOL_THAT_FUSES;
        }
        let has_format = self.head.steps.iter().any(|step| step.input_format != InputFormat::default());
        if self.head.steps.iter().any(|step| step.written.is_some()) {
            return limits::PROTOCOL_THAT_WRITES_FORMATS;
        }
        if self.head.steps.iter().any(|step| step.part_form == PartForm::File) {
            return limits::PROTOCOL_THAT_FINISHES_PARTS;
        }
        if has_format || self.head.files.iter().any(is_newer) { limits::PROTOCOL_THAT_READS_FORMATS } else { 0 }
    }
}

/// What the journal keeps of a plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanSummary {
    /// Digest of the blob.
    pub digest: Digest,
    /// Tasks of each step.
    pub shapes: Vec<StepShape>,
    /// Input files.
    pub input_files: u64,
    /// Their bytes, as stored.
    pub input_bytes: u64,
    /// Directories under which a worker must be allowed to read, as absolute paths; empty when the inputs are in the store.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<String>,
    /// Workers of an earlier protocol cannot read the plan; 0 when all can.
    #[serde(default, skip_serializing_if = "is_default")]
    pub protocol: u32,
}

impl PlanSummary {
    /// Returns all tasks of the plan.
    #[must_use]
    pub fn tasks(&self) -> u64 {
        self.shapes.iter().map(|shape| u64::from(shape.maps) + u64::from(shape.reduces)).sum()
    }

    /// Says whether the counts keep the limits of a job.
    #[must_use]
    pub fn within_limits(&self) -> bool {
        self.tasks() <= limits::TASKS_PER_JOB && self.shapes.iter().all(|shape| shape.reduces <= limits::PARTITIONS)
    }
}

/// How many tasks a step has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepShape {
    /// Map tasks.
    pub maps: u32,
    /// Reduce tasks; 0 for a map-only step.
    pub reduces: u32,
    /// Whether the reduces of the step before run its maps too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fused: bool,
}

impl StepShape {
    fn of(step: &PlannedStep) -> Self {
        Self { maps: step.maps, reduces: step.reduces, fused: step.fused }
    }

    /// Says whether a step of this shape may follow one of the other.
    #[must_use]
    pub fn follows(self, before: Self) -> bool {
        let parts = if before.reduces == 0 { before.maps } else { before.reduces };
        if self.fused { self.maps == 0 && self.reduces > 0 && before.reduces > 0 } else { self.maps == parts }
    }
}
