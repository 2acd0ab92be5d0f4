//! A won part, wherever it is, opened and held against what was reported of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gristmill_common::wire::{Location, Output, output_name};
use gristmill_common::{Code, Fence, JobId, Problem, Stage};
use gristmill_runs::{RunError, RunFile, verify_run};
use gristmill_storage::StorageError;

use crate::store::{Store, StoreError};

/// A part: the output of one task of a stage nobody shuffles.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartSource {
    /// Index of the part.
    pub index: u32,
    /// The attempt that won it.
    pub fence: Fence,
    /// Its name in the store.
    pub name: String,
    /// What was reported of it.
    pub output: Output,
}

/// Why text cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A part is gone, damaged, or not what was reported.
    #[error("part-{index:05} cannot be read: {why}")]
    Part {
        /// Index of the part.
        index: u32,
        /// What is wrong with it.
        why: String,
    },
    /// What is needed beside the parts failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl RenderError {
    pub(super) fn run(index: u32, error: &RunError) -> Self {
        Self::Part { index, why: error.to_string() }
    }

    /// Returns the problem with which an API answers this error.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match self {
            Self::Part { .. } => Problem::new(Code::Internal, self.to_string()),
            Self::Storage(error) => error.problem(),
        }
    }
}

impl PartSource {
    /// Names part `index` of a step, won by this attempt.
    #[must_use]
    pub fn new(job: JobId, step: u16, stage: Stage, index: u32, fence: Fence, output: Output) -> Self {
        Self { index, fence, name: output_name(job, step, stage, index, fence), output }
    }

    /// Opens it; `None` if it has no records. Blocks.
    ///
    /// # Errors
    /// [`RenderError::Part`] if it is gone or is not what was reported.
    pub fn open(&self, store: &Store) -> Result<Option<RunFile>, RenderError> {
        let bad = |why: String| RenderError::Part { index: self.index, why };
        let run = match &self.output.at {
            Location::Nothing if self.output.records == 0 && self.output.text_bytes == 0 => return Ok(None),
            Location::Nothing => return Err(bad("records were reported, but no place where they are".to_owned())),
            Location::Inline(text) => {
                let bytes = STANDARD.decode(text).map_err(|error| bad(format!("its report is damaged: {error}")))?;
                RunFile::from_bytes(bytes).map_err(|error| RenderError::run(self.index, &error))?
            }
            Location::Store => store.open_output(&self.name).map_err(|error| match error {
                // The system refused; the part may well be there.
                StoreError::Storage(error) => RenderError::Storage(error),
                error => bad(error.to_string()),
            })?,
            Location::Worker(worker) => {
                return Err(bad(format!("it was left on worker {worker} and never sent to the store")));
            }
        };
        self.check(&run).map_err(bad)?;
        Ok(Some(run))
    }

    /// Reads every block of it. Blocks.
    ///
    /// # Errors
    /// As [`PartSource::open`].
    pub fn verify(&self, store: &Store) -> Result<(), RenderError> {
        if let Some(run) = self.open(store)? {
            verify_run(&run).map_err(|error| RenderError::run(self.index, &error))?;
        }
        Ok(())
    }

    fn check(&self, run: &RunFile) -> Result<(), String> {
        if run.fence() != self.fence || !run.is_part() {
            return Err(format!("it is a run of attempt {} and not the part of {}", run.fence(), self.fence));
        }
        let summary = run.summary();
        let found = (summary.records, summary.text_bytes, Some(summary.digest));
        let digest = u64::from_str_radix(&self.output.digest, 16).ok();
        let reported = (self.output.records, self.output.text_bytes, digest);
        if found != reported {
            return Err(format!("it is not what was reported: {summary:?}, reported {:?}", self.output));
        }
        Ok(())
    }
}
