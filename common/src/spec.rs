//! The job spec: what a user submits, as JSON. Unknown fields are refused, every error names its place.
//!
//! ```json
//! { "name": "count", "inputs": ["store://uploads/books/*.txt"], "steps": [{ "native": "word-count", "partitions": 2 }] }
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::format::InputFormat;
use crate::limits;
use crate::order::{SortKey, TotalOrder};
use crate::output::{OutputCompression, OutputFormat};
use crate::problem::Problem;
use crate::program::{Command, InputForm, Program, Wasm};

/// What to compute, from what, and where the result goes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// A name for people, 1 to 200 characters, none of them control characters.
    pub name: String,
    /// What the first step reads, in this order.
    pub inputs: Vec<Input>,
    /// What input files hold.
    #[serde(default, skip_serializing_if = "is_default")]
    pub input_format: InputFormat,
    /// How inputs are cut into splits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub split: Split,
    /// The chain of steps, at least one.
    pub steps: Vec<StepSpec>,
    /// Where the result goes; the coordinator's store by default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub output: OutputSpec,
    /// Higher runs first; jobs of one priority share the workers. -1000 to 1000.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i32,
    /// Failures of user code that one task may have before the job fails.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// An attempt without a sign of progress for this long is ended.
    #[serde(default = "default_progress_timeout_ms")]
    pub progress_timeout_ms: u64,
    /// Logical bytes of records sorted at a time; shapes where combiners run, so it is part of the plan.
    #[serde(default = "default_sort_budget_bytes")]
    pub sort_budget_bytes: u64,
    /// What becomes of a record that user code fails at again and again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_bad_record: OnBadRecord,
    /// What becomes of the other tasks when one has failed for good.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_failed_task: OnFailedTask,
    /// What becomes of a job whose map made something else when it ran again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_nondeterminism: OnNondeterminism,
    /// Whether slow attempts near the end of a stage get a rival.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub backups: bool,
    /// Whose job it is: users of one priority share the workers fairly. A word for sharing, not for rights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Most tasks of the job that run at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u32>,
    /// What a worker must have.
    #[serde(default, skip_serializing_if = "is_default")]
    pub requires: Requires,
}

/// What becomes of a record that user code fails at again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBadRecord {
    /// The job fails.
    #[default]
    Fail,
    /// The record is left out and listed, up to this many of the job.
    Skip(u64),
}

/// What becomes of the other tasks when one has failed for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailedTask {
    /// They are not run: the job fails at once.
    #[default]
    Fail,
    /// The other tasks of its stage run, and then the job fails with a list of what failed.
    Continue,
}

/// What becomes of a job whose map made something else when it ran again, after a reduce used what it made first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnNondeterminism {
    /// The job fails.
    #[default]
    Fail,
    /// The step's reduces run again.
    Rollback,
    /// The job goes on with a mixture.
    Accept,
}

/// What a worker must have to run a job's tasks.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Requires {
    /// Labels (`worker --label NAME=VALUE`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Memory for each slot, in bytes.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_bytes: u64,
}

/// One input of the first step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Input {
    /// A URL (`file:///…`, `store://…`), which may be a file, a directory or a glob.
    Url(String),
    /// A URL with a tag.
    Tagged(Tagged),
    /// Records made of nothing: record `i` is the decimal text of `i`.
    Generated(Generated),
}

/// An input by whose tag programs tell where a record is from. A split has files of one tag only.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tagged {
    /// As an input without a tag.
    pub url: String,
    /// What programs are told: 1 to 128 bytes, none of them control characters.
    pub tag: String,
}

impl Input {
    /// Makes the input of a URL, with a tag if there is one.
    #[must_use]
    pub fn of(url: String, tag: Option<&str>) -> Self {
        match tag {
            None => Self::Url(url),
            Some(tag) => Self::Tagged(Tagged { url, tag: tag.to_owned() }),
        }
    }

    /// Returns the URL and the tag; `None` when there are no files.
    #[must_use]
    pub fn url(&self) -> Option<(&str, Option<&str>)> {
        match self {
            Self::Url(url) => Some((url, None)),
            Self::Tagged(Tagged { url, tag }) => Some((url, Some(tag))),
            Self::Generated(_) => None,
        }
    }
}

/// A count of records to generate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    /// How many records, numbered from 0.
    pub generate: u64,
}

/// How inputs are cut.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Target bytes of a split of files; chosen from the input's size when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Records of a split of a generated input; all in 16 splits when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// Lines of a split of files: one task for every so many lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u64>,
}

/// One map stage and, unless map-only, one reduce stage.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    /// Name of a program compiled into the workers, such as `word-count`. One of `native`, `command` and `wasm` is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<String>,
    /// Executables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Box<Command>>,
    /// WebAssembly modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wasm: Option<Box<Wasm>>,
    /// Arguments for a native program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Which executable may run it: a SHA-256, or `any`. Absent: the first worker that is granted a task pins its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<Executable>,
    /// Reduce tasks; 4 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// Whether the program's combiner is used, if it has one.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub combine: bool,
    /// Whether the step has a reduce stage; without one each map's output is a part, unsorted.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub reduce: bool,
    /// The order of all records, for the ready-made `sort`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Box<TotalOrder>>,
    /// Whether its maps may run in the reduce tasks of the step before, where the plan finds that they can.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub fuse: bool,
}

/// The ready-made program that takes an order.
pub const SORT: &str = "sort";

/// The ready-made program that reads two inputs, told apart by their tags.
pub const JOIN: &str = "join";
/// The tag of what is left in a join.
pub const LEFT: &str = "left";
/// The tag of what is right in a join.
pub const RIGHT: &str = "right";

/// Which builds of a program may run it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Executable {
    /// Only the one with this hash.
    Pinned(Digest),
    /// Every one that announces the name; outputs are only as equal as the builds.
    Any,
}

impl Serialize for Executable {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Pinned(digest) => serializer.collect_str(digest),
            Self::Any => serializer.serialize_str("any"),
        }
    }
}

impl<'de> Deserialize<'de> for Executable {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "any" {
            return Ok(Self::Any);
        }
        text.parse().map(Self::Pinned).map_err(|_| serde::de::Error::custom("`any` or 64 hex digits are expected"))
    }
}

/// Where the result goes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// `file:///…/` or `store://…/` for a directory of parts, without the slash for one file merged by key; absent for the
    /// coordinator's store under the job's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether an output that exists is replaced.
    #[serde(default, skip_serializing_if = "is_default")]
    pub overwrite: bool,
    /// What the lines of the program become.
    #[serde(default, skip_serializing_if = "is_default")]
    pub format: OutputFormat,
    /// How the files are packed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compression: OutputCompression,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_yes(value: &bool) -> bool {
    *value
}

fn default_attempts() -> u32 {
    limits::ATTEMPTS
}

fn default_progress_timeout_ms() -> u64 {
    limits::PROGRESS_TIMEOUT_MS
}

fn default_sort_budget_bytes() -> u64 {
    limits::SORT_BUDGET_BYTES
}

impl JobSpec {
    /// Returns the memory that an attempt of a step takes at most, beside what user code takes, in bytes; 0 for no such step.
    ///
    /// It follows from the sort budget, which is the plan's and the same everywhere: a worker with less memory runs fewer
    /// attempts at a time, and never makes other bytes.
    #[must_use]
    pub fn attempt_bytes(&self, step: usize) -> u64 {
        let Some(at) = self.steps.get(step) else { return 0 };
        let next = self.steps.get(step + 1).filter(|next| next.fuse && at.reduce);
        // A reduce that runs the next step's maps too merges while they sort.
        let fused = next.map_or(0, |next| next.memory_percent() + limits::MERGE_MEMORY_PERCENT);
        self.sort_budget_bytes / 100 * at.memory_percent().max(fused) + limits::ATTEMPT_BYTES
    }

    /// Returns how many attempts of any step fit into this much memory of a worker at a time, and the least memory for one.
    #[must_use]
    pub fn slots_in(&self, memory_bytes: u64) -> (u64, u64) {
        let attempt = (0..self.steps.len()).map(|step| self.attempt_bytes(step)).max().unwrap_or(limits::ATTEMPT_BYTES);
        (memory_bytes.saturating_sub(limits::WORKER_BYTES) / attempt, attempt + limits::WORKER_BYTES)
    }

    /// Makes a spec with the defaults that absent fields have.
    #[must_use]
    pub fn new(name: impl Into<String>, inputs: Vec<Input>, steps: Vec<StepSpec>) -> Self {
        Self {
            name: name.into(),
            inputs,
            input_format: InputFormat::default(),
            split: Split::default(),
            steps,
            output: OutputSpec::default(),
            priority: 0,
            attempts: limits::ATTEMPTS,
            progress_timeout_ms: limits::PROGRESS_TIMEOUT_MS,
            sort_budget_bytes: limits::SORT_BUDGET_BYTES,
            on_bad_record: OnBadRecord::Fail,
            on_failed_task: OnFailedTask::Fail,
            on_nondeterminism: OnNondeterminism::Fail,
            backups: true,
            user: None,
            max_running: None,
            requires: Requires::default(),
        }
    }

    /// Reads and checks a spec.
    ///
    /// # Errors
    /// An `invalid` or `unsupported` problem whose pointer names the wrong place.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let spec: Self = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let pointer = pointer(error.path());
            Problem::at(pointer, explain(&error.into_inner().to_string()))
        })?;
        reader.end().map_err(|error| Problem::at("", format!("text after the end of the spec: {error}")))?;
        spec.check()?;
        Ok(spec)
    }

    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// An `invalid` problem whose pointer names the first wrong place.
    pub fn check(&self) -> Result<(), Problem> {
        check_name(&self.name)?;
        check_inputs(&self.inputs)?;
        self.input_format.check()?;
        if self.steps.is_empty() || self.steps.len() > limits::STEPS_PER_JOB {
            let detail = format!("1 to {} steps are allowed, here are {}", limits::STEPS_PER_JOB, self.steps.len());
            return Err(Problem::at("/steps", detail));
        }
        for (index, step) in self.steps.iter().enumerate() {
            step.check(&format!("/steps/{index}"))?;
            if step.order.is_some() && index > 0 {
                let detail = "only a first step is sorted: its split points are sampled from the job's inputs; sort the \
                              output in a job of its own";
                return Err(Problem::at(format!("/steps/{index}/order"), detail));
            }
        }
        self.check_format()?;
        self.check_order()?;
        self.check_join()?;
        between("/split/bytes", self.split.bytes, limits::SPLIT_FLOOR_BYTES, 1 << 40)?;
        between("/split/records", self.split.records, 1, u64::MAX)?;
        between("/split/lines", self.split.lines, 1, u64::MAX)?;
        if self.split.lines.is_some() && self.split.bytes.is_some() {
            return Err(Problem::at("/split/lines", "inputs are cut by `bytes` or by `lines`, not both"));
        }
        between("/priority", Some(i64::from(self.priority)), -1000, 1000)?;
        between("/attempts", Some(self.attempts), 1, limits::ATTEMPTS_MAX)?;
        between("/progress_timeout_ms", Some(self.progress_timeout_ms), 100, 7 * 24 * 3_600_000)?;
        let (least, most) = (limits::SORT_BUDGET_MIN_BYTES, limits::SORT_BUDGET_MAX_BYTES);
        between("/sort_budget_bytes", Some(self.sort_budget_bytes), least, most)?;
        self.check_faults()?;
        self.check_shares()?;
        self.output.check()
    }

    /// Refuses what does not go with the format of the input.
    fn check_format(&self) -> Result<(), Problem> {
        if self.input_format.is_plain_lines() {
            return Ok(());
        }
        let word = self.input_format.word();
        if matches!(self.inputs.as_slice(), [Input::Generated(_)]) {
            return Err(Problem::at("/input_format", "a generated input has no files, and so no format"));
        }
        if self.split.lines.is_some() && !self.input_format.is_of_lines() {
            return Err(Problem::at("/split/lines", format!("`{word}` is not cut by lines; use `bytes`, or nothing")));
        }
        let (streaming, has_mapper) = match self.steps.first().map(StepSpec::program) {
            Some(Program::Command(command)) => (&command.streaming, command.mapper.is_some()),
            Some(Program::Wasm(wasm)) => (&wasm.streaming, wasm.mapper.is_some()),
            Some(Program::Native(_)) | None => return Ok(()),
        };
        if streaming.input != InputForm::Line {
            return Err(Problem::at(
                "/input_format",
                format!("`streaming.input` is for lines: `{word}` says it itself"),
            ));
        }
        if self.input_format.is_binary() && !has_mapper {
            return Err(Problem::at(
                "/steps/0",
                format!("without a mapper lines pass, and `{word}` has none: name one"),
            ));
        }
        Ok(())
    }

    /// Refuses an order that the records of the format do not have.
    fn check_order(&self) -> Result<(), Problem> {
        let Some(order) = self.steps.first().and_then(|step| step.order.as_deref()) else { return Ok(()) };
        let (format, word) = (&self.input_format, self.input_format.word());
        let refuse = |at: &str, detail: String| Err(Problem::at(format!("/steps/0/order{at}"), detail));
        match &order.key {
            _ if matches!(format, InputFormat::WholeFile(_)) => {
                refuse("", "each file is one record of `whole_file`: there is nothing to sort in it".to_owned())
            }
            _ if matches!(format, InputFormat::Parquet(_)) => refuse(
                "",
                "a sort of `parquet` is not built: write its rows as JSON lines first, and sort these".to_owned(),
            ),
            SortKey::Columns(_) if !format.is_json() => {
                let hint = "`ndjson` and rows of `csv` that are given as JSON have columns; use `fields`";
                refuse("/key/columns", format!("records of `{word}` have no columns here: {hint}"))
            }
            SortKey::Fields { .. } if format.is_json() => {
                let hint = "use `columns`, as in {\"columns\": [{\"number\": 2, \"numeric\": true}]}";
                refuse("/key/fields", format!("records of `{word}` are JSON and have no separator: {hint}"))
            }
            SortKey::Record | SortKey::Bytes(_) | SortKey::Fields { .. } | SortKey::Columns(_) => Ok(()),
        }
    }

    /// Refuses a join that has not both sides, or no fields: it would succeed with a result that is silently wrong.
    fn check_join(&self) -> Result<(), Problem> {
        let is_join = |step: &StepSpec| step.native.as_deref() == Some(JOIN);
        if let Some(later) = self.steps.iter().skip(1).position(is_join) {
            let at = format!("/steps/{}", later + 1);
            return Err(Problem::at(at, "only a first step is a join: what a step makes has no tag; join its output"));
        }
        if !self.steps.first().is_some_and(is_join) {
            return Ok(());
        }
        if self.input_format.is_json() || self.input_format.is_binary() {
            let word = self.input_format.word();
            let hint = "rows of `csv` and `parquet` have some with `\"rows\": \"tsv\"` (--rows tsv)";
            return Err(Problem::at("/input_format", format!("a join reads fields of lines, not `{word}`: {hint}")));
        }
        let tags: Vec<_> = self.inputs.iter().map(|input| input.url().and_then(|(_, tag)| tag)).collect();
        let stray = tags.iter().position(|tag| !matches!(*tag, Some(LEFT | RIGHT)));
        if let Some(index) = stray {
            let detail =
                format!("a join reads inputs tagged `{LEFT}` and `{RIGHT}`: {{\"url\": …, \"tag\": \"{LEFT}\"}}");
            return Err(Problem::at(format!("/inputs/{index}"), detail));
        }
        match [LEFT, RIGHT].into_iter().find(|side| !tags.contains(&Some(side))) {
            Some(side) => Err(Problem::at("/inputs", format!("no input of the join is tagged `{side}`"))),
            None => Ok(()),
        }
    }

    /// Refuses what the types can say and nothing does yet.
    fn check_faults(&self) -> Result<(), Problem> {
        if let OnBadRecord::Skip(most) = self.on_bad_record {
            between("/on_bad_record/skip", Some(most), 1, limits::SKIPS_MAX)?;
            if self.attempts < limits::ATTEMPTS_TO_SKIP {
                let (least, here) = (limits::ATTEMPTS_TO_SKIP, self.attempts);
                let detail = format!("to find and skip a bad record takes {least} attempts, {here} are allowed");
                return Err(Problem::at("/attempts", detail));
            }
        }
        Ok(())
    }

    fn check_shares(&self) -> Result<(), Problem> {
        if let Some(user) = &self.user {
            check_word(user, "/user", "a user")?;
        }
        between("/max_running", self.max_running, 1, u32::MAX)?;
        let labels = &self.requires.labels;
        if labels.len() > limits::LABELS {
            let detail = format!("{} labels are allowed, here are {}", limits::LABELS, labels.len());
            return Err(Problem::at("/requires/labels", detail));
        }
        labels.iter().try_for_each(|(name, value)| {
            check_word(name, "/requires/labels", "a label's name")?;
            check_word(value, "/requires/labels", "a label's value")
        })
    }
}

impl StepSpec {
    /// Returns the memory of an attempt in hundredths of the sort budget: most where a table of combined records may double.
    fn memory_percent(&self) -> u64 {
        let has_combiner = match self.program() {
            Program::Command(command) => command.combiner.is_some(),
            Program::Wasm(wasm) => wasm.combiner.is_some(),
            // Only the program knows; that of a join is known here.
            Program::Native(name) => name != JOIN,
        };
        match (self.reduce, self.order.is_none() && self.combine && has_combiner) {
            (false, _) => 0,
            (true, false) => limits::SORT_MEMORY_PERCENT,
            (true, true) => limits::TABLE_MEMORY_PERCENT,
        }
    }

    /// Makes a step of this native program with the defaults that absent fields have.
    #[must_use]
    pub fn native(name: impl Into<String>) -> Self {
        Self { native: Some(name.into()), ..Self::bare() }
    }

    /// Makes a step of these executables with the defaults that absent fields have.
    #[must_use]
    pub fn command(command: Command) -> Self {
        Self { command: Some(Box::new(command)), ..Self::bare() }
    }

    /// Makes a step of these modules with the defaults that absent fields have.
    #[must_use]
    pub fn wasm(wasm: Wasm) -> Self {
        Self { wasm: Some(Box::new(wasm)), ..Self::bare() }
    }

    fn bare() -> Self {
        Self {
            native: None,
            command: None,
            wasm: None,
            args: Vec::new(),
            executable: None,
            partitions: None,
            combine: true,
            reduce: true,
            order: None,
            fuse: true,
        }
    }

    /// Returns the program; of a step that was not checked and has none, a native one without a name.
    #[must_use]
    pub fn program(&self) -> Program<'_> {
        match (&self.native, &self.command, &self.wasm) {
            (_, Some(command), _) => Program::Command(command),
            (_, None, Some(wasm)) => Program::Wasm(wasm),
            (native, None, None) => Program::Native(native.as_deref().unwrap_or_default()),
        }
    }

    /// Returns the number of reduce tasks, 0 for a map-only step.
    #[must_use]
    pub fn reduces(&self) -> u32 {
        if self.reduce { self.partitions.unwrap_or(limits::DEFAULT_PARTITIONS) } else { 0 }
    }

    fn check(&self, at: &str) -> Result<(), Problem> {
        let kinds = [self.native.is_some(), self.command.is_some(), self.wasm.is_some()];
        if kinds.iter().filter(|is_there| **is_there).count() != 1 {
            return Err(Problem::at(at, "a step has one program: `native`, `command` or `wasm`"));
        }
        match self.program() {
            Program::Native(name) => check_native(name, at)?,
            Program::Command(command) => command.check(&format!("{at}/command"))?,
            Program::Wasm(wasm) => wasm.check(&format!("{at}/wasm"))?,
        }
        if self.native.is_none() && (!self.args.is_empty() || self.executable.is_some()) {
            return Err(Problem::at(at, "`args` and `executable` are for native programs"));
        }
        between(&format!("{at}/partitions"), self.partitions, 1, limits::PARTITIONS)?;
        if let Some(order) = &self.order {
            order.check(&format!("{at}/order"))?;
            if self.native.as_deref() != Some(SORT) || !self.reduce {
                let detail = "an order is for the ready-made `sort`, with its reduce stage";
                return Err(Problem::at(format!("{at}/order"), detail));
            }
        }
        if !self.reduce && self.partitions.is_some() {
            return Err(Problem::at(format!("{at}/partitions"), "a step without a reduce stage has no partitions"));
        }
        Ok(())
    }
}

impl OutputSpec {
    /// Returns what the names of part files end in.
    #[must_use]
    pub fn ending(&self) -> String {
        match &self.format {
            OutputFormat::Text(_) => self.compression.ending().to_owned(),
            OutputFormat::Ndjson(_) => format!(".ndjson{}", self.compression.ending()),
            OutputFormat::Csv(_) => format!(".csv{}", self.compression.ending()),
            // Its pages are packed, and it is not.
            OutputFormat::Parquet(_) => ".parquet".to_owned(),
        }
    }

    fn check(&self) -> Result<(), Problem> {
        self.format.check()?;
        if self.compression == OutputCompression::Bzip2 && matches!(self.format, OutputFormat::Parquet(_)) {
            return Err(Problem::at(
                "/output/compression",
                "pages of Parquet are packed with zstd, gzip, lz4 or not at all",
            ));
        }
        let Some(url) = &self.url else {
            if self.overwrite {
                return Err(Problem::at(
                    "/output/overwrite",
                    "there is nothing to overwrite in the coordinator's store",
                ));
            }
            return Ok(());
        };
        let store = url.strip_prefix("store://");
        if url.starts_with("file:///") || store.is_some_and(|path| !path.trim_matches('/').is_empty()) {
            return Ok(());
        }
        let detail =
            format!("`{url}`: outputs can be file:/// or store:// URLs, or left out for the coordinator's store");
        Err(not_built("/output/url", url, detail))
    }
}

fn check_native(name: &str, at: &str) -> Result<(), Problem> {
    let named = !name.is_empty() && name.len() <= 200;
    if !named || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        let detail = "a program's name is 1 to 200 of the characters A-Z a-z 0-9 - _ .";
        return Err(Problem::at(format!("{at}/native"), detail));
    }
    Ok(())
}

/// Checks a user, a label or a tag.
fn check_word(word: &str, at: &str, what: &str) -> Result<(), Problem> {
    if word.is_empty() || word.len() > limits::LABEL_BYTES || word.chars().any(char::is_control) {
        let most = limits::LABEL_BYTES;
        return Err(Problem::at(at, format!("{what} is 1 to {most} bytes, none of them control characters")));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), Problem> {
    let length = name.chars().count();
    if length == 0 || length > 200 || name.chars().any(char::is_control) {
        return Err(Problem::at("/name", "a name is 1 to 200 characters, none of them control characters"));
    }
    Ok(())
}

fn check_inputs(inputs: &[Input]) -> Result<(), Problem> {
    if inputs.is_empty() {
        return Err(Problem::at("/inputs", "at least one input is needed"));
    }
    let generated = inputs.iter().filter(|input| matches!(input, Input::Generated(_))).count();
    if generated > 0 && inputs.len() > 1 {
        return Err(Problem::at("/inputs", "a generated input stands alone"));
    }
    for (index, input) in inputs.iter().enumerate() {
        let at = format!("/inputs/{index}");
        match input {
            Input::Generated(Generated { generate: 0 }) => {
                return Err(Problem::at(format!("{at}/generate"), "at least one record is needed"));
            }
            Input::Generated(_) => {}
            Input::Url(url) => check_input_url(url, &at)?,
            Input::Tagged(Tagged { url, tag }) => {
                check_input_url(url, &format!("{at}/url"))?;
                check_word(tag, &format!("{at}/tag"), "a tag")?;
            }
        }
    }
    Ok(())
}

fn check_input_url(url: &str, at: &str) -> Result<(), Problem> {
    if url.starts_with("file:///") || url.starts_with("store://") {
        return Ok(());
    }
    Err(not_built(at, url, format!("`{url}`: inputs can be file:/// or store:// URLs")))
}

/// Schemes that the design names but this version does not build are `unsupported`, others are `invalid`.
fn not_built(at: &str, url: &str, detail: String) -> Problem {
    let planned = ["s3://", "gs://", "az://", "http://", "https://"];
    if planned.iter().any(|scheme| url.starts_with(scheme)) {
        let mut problem = Problem::new(crate::Code::Unsupported, format!("{detail}; this scheme is not built yet"));
        problem.pointer = Some(at.to_owned());
        return problem;
    }
    Problem::at(at, detail)
}

fn between<T: PartialOrd + std::fmt::Display>(at: &str, value: Option<T>, least: T, most: T) -> Result<(), Problem> {
    match value {
        Some(value) if value < least || value > most => {
            Err(Problem::at(at, format!("{value} is not allowed: {least} to {most} is")))
        }
        _ => Ok(()),
    }
}

fn explain(message: &str) -> String {
    let expected = "a URL, {\"url\": URL, \"tag\": TAG} or {\"generate\": N} is expected";
    message.replace("data did not match any variant of untagged enum Input", expected)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |mut pointer, segment| {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => pointer.push_str(&format!("/{}", key.replace('~', "~0").replace('/', "~1"))),
            Segment::Enum { variant } => pointer.push_str(&format!("/{variant}")),
            Segment::Unknown => {}
        }
        pointer
    })
}

#[cfg(test)]
mod tests;
