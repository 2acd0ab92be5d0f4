//! A won part, wherever it is, opened and held against what was reported of it.

use std::fs::File;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gristmill_common::plan::PartForm;
use gristmill_common::wire::{Location, Output, output_name};
use gristmill_common::{Code, Fence, JobId, Problem, Stage};
use gristmill_runs::{Checksum, RunError, RunFile, verify_run};
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

/// The bytes of a finished part, not verified.
pub(crate) enum Finished {
    /// None: the attempt made no record.
    Nothing,
    /// They came in the report.
    Here(Vec<u8>),
    /// They are in the store.
    Stored(PathBuf, File),
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
            _ if self.output.form == PartForm::File => return Err(bad("it is a file, and no run".to_owned())),
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

    /// Says whether it is a finished file, or nothing, which can be both.
    pub(crate) fn is_finished(&self) -> bool {
        self.output.form == PartForm::File || self.output.at == Location::Nothing
    }

    /// Returns length and checksum of a finished part, as reported.
    pub(crate) fn checksum(&self) -> Checksum {
        // What cannot be read as a checksum is the checksum of nothing that was written.
        u64::from_str_radix(&self.output.digest, 16)
            .map_or(Checksum::new(0, u64::MAX), |crc| Checksum::new(crc, self.output.bytes))
    }

    /// Opens a finished part, without a look at what it holds. Blocks.
    ///
    /// # Errors
    /// [`RenderError::Part`] if it is gone or has another length.
    pub(crate) fn finished(&self, store: &Store) -> Result<Finished, RenderError> {
        let bad = |why: String| RenderError::Part { index: self.index, why };
        match &self.output.at {
            Location::Nothing if self.output.records == 0 && self.output.text_bytes == 0 => Ok(Finished::Nothing),
            Location::Inline(text) => {
                let bytes = STANDARD.decode(text).map_err(|error| bad(format!("its report is damaged: {error}")))?;
                Ok(Finished::Here(bytes))
            }
            Location::Store => match store.open_file(&self.name, self.output.bytes) {
                Ok((path, file)) => Ok(Finished::Stored(path, file)),
                Err(StoreError::Storage(error)) => Err(RenderError::Storage(error)),
                Err(error) => Err(bad(error.to_string())),
            },
            Location::Nothing | Location::Worker(_) => {
                Err(bad("a part was reported, but no place where it is".to_owned()))
            }
        }
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
