//! The job spec: what a user submits, as JSON. Unknown fields are refused, every error names its place.
//!
//! ```json
//! { "name": "count", "inputs": ["store://uploads/books/*.txt"], "steps": [{ "native": "word-count", "partitions": 2 }] }
//! ```

mod check;
mod input;
mod memory;
mod output;
mod step;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::input::{Generated, Input, Split, Tagged};
pub use self::output::OutputSpec;
pub use self::step::{Executable, JOIN, LEFT, RIGHT, SORT, StepSpec, TOP_K};
use crate::absent::{is_default, is_yes, yes};
use crate::format::InputFormat;
use crate::limits;
use crate::problem::Problem;

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
