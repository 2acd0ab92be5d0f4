//! Makes a finished job's output visible under its final name: all of it or nothing, however often it is tried.
//!
//! Every step can be repeated after a crash at any point and ends in the same files: what exists with the same length
//! and checksum is done. A commit never fails a job. A lost part is made again; what it cannot do now (a full disk, a name that
//! somebody took) is told, and done when it is tried again.
//!
//! What is atomic: a new output appears by one rename. An overwritten file is replaced by one rename. An overwritten
//! directory is moved aside first, so for a moment, or until the commit is run again after a crash in that moment, its
//! name is free; it never shows a mixture.

mod each;
mod files;
mod finished;
pub mod manifest;
mod stored;
pub(crate) mod target;

use gristmill_common::api::{OutputView, SkippedView};
use gristmill_common::wire::Output;
use gristmill_common::{Fence, JobId, JobSpec, Stage};
use gristmill_storage::{Roots, StorageError};

use self::manifest::Manifest;
use crate::render::{PartSource, RenderError};
use crate::store::{Store, StoreError, blocking};

/// Why a commit is not done yet. It stays to be done.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A won part is gone or damaged.
    #[error("part-{index:05} is lost: {why}; its task runs again, and then the commit goes on")]
    Lost {
        /// Index of the part.
        index: u32,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody has to make way first.
    #[error("the output cannot get its name: {why}")]
    Blocked {
        /// What is in the way, and what to do about it.
        why: String,
    },
    /// The disk or the system refused; it may work when tried again.
    #[error(transparent)]
    Retry(#[from] StorageError),
}

impl From<RenderError> for CommitError {
    fn from(error: RenderError) -> Self {
        match error {
            RenderError::Part { index, why } => Self::Lost { index, why },
            RenderError::Storage(error) => Self::Retry(error),
        }
    }
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Storage(error) => Self::Retry(error),
            error => Self::Blocked { why: error.to_string() },
        }
    }
}

/// Says what a step of a commit is about to do. Production goes on; a test stops there as a crash would.
type Steps<'a> = &'a mut (dyn FnMut(&'static str) -> Result<(), CommitError> + Send);

/// Makes the output of a job visible, or finds that it is.
///
/// `parts` are the won outputs of the last step in order, with their index and winning attempt; `skipped` are the records
/// that they lack.
///
/// # Errors
/// [`CommitError`]: try again.
pub async fn commit(
    job: JobId,
    spec: &JobSpec,
    parts: Vec<(u32, Fence, Output)>,
    skipped: Vec<SkippedView>,
    store: &Store,
    roots: &Roots,
) -> Result<OutputView, CommitError> {
    let (spec, store, roots) = (spec.clone(), store.clone(), roots.clone());
    blocking(move || run(job, &spec, parts, skipped, &store, &roots, &mut |_| Ok(()))).await
}

fn run(
    job: JobId,
    spec: &JobSpec,
    parts: Vec<(u32, Fence, Output)>,
    skipped: Vec<SkippedView>,
    store: &Store,
    roots: &Roots,
    steps: Steps<'_>,
) -> Result<OutputView, CommitError> {
    let step = u16::try_from(spec.steps.len().saturating_sub(1)).unwrap_or(u16::MAX);
    let sorted = spec.steps.last().is_none_or(|step| step.reduces() > 0);
    let stage = if sorted { Stage::Reduce } else { Stage::Map };
    let source = |(index, fence, output)| PartSource::new(job, step, stage, index, fence, output);
    let ordered = !sorted || parts.len() == 1 || spec.steps.last().is_some_and(|step| step.order.is_some());
    let ending = spec.output.ending();
    let output = Finished { job, sorted, ordered, parts: parts.into_iter().map(source).collect(), skipped, ending };
    match &spec.output.url {
        None => stored::commit(&output, store, steps),
        Some(url) => {
            let resolved = target::Target::resolve(url, job, store, roots);
            let target = resolved.map_err(|error| CommitError::Blocked { why: error.to_string() })?;
            let target =
                files::FileOutput { output: &output, store, target: &target, overwrite: spec.output.overwrite };
            let manifest = if target.target.is_directory { target.directory(steps)? } else { target.file(steps)? };
            let (bytes, records) = (manifest.bytes(), manifest.records());
            Ok(OutputView { url: url.clone(), bytes, records, parts: manifest.parts.len() as u32 })
        }
    }
}

/// Takes away what an unfinished commit of a job that ended otherwise left beside its output. An output that it had moved
/// aside gets its name back, unless somebody has taken it meanwhile.
///
/// # Errors
/// If something cannot be moved or deleted; calling it again goes on where it stopped.
pub async fn abandon(job: JobId, spec: &JobSpec, store: &Store, roots: &Roots) -> Result<(), StorageError> {
    let Some(url) = spec.output.url.clone() else { return Ok(()) };
    let (store, roots) = (store.clone(), roots.clone());
    blocking(move || target::Target::resolve(&url, job, &store, &roots)?.abandon()).await
}

/// Deletes the outputs of a committed job that its result does not need: all of them when the result is in files.
///
/// # Errors
/// If they cannot be deleted; calling it again goes on where it stopped.
pub async fn sweep(job: JobId, store: &Store) -> Result<(), StoreError> {
    let store = store.clone();
    blocking(move || {
        let kept = match Manifest::blobs_of_store(&store, job) {
            Ok(blobs) => blobs,
            Err(StoreError::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        store.keep_outputs_only(job, &kept)
    })
    .await
}

/// What a job made.
struct Finished {
    job: JobId,
    /// Whether each part is in the order of its keys.
    sorted: bool,
    /// Whether the parts are the output one after the other: of a map-only step, of a sort, and where there is but one.
    ordered: bool,
    parts: Vec<PartSource>,
    /// Records that it lacks.
    skipped: Vec<SkippedView>,
    /// What the names of parts end in.
    ending: String,
}

impl Finished {
    /// Returns the name of a part's file in a directory.
    fn name_of(&self, part: &PartSource) -> String {
        manifest::part_name(part.index) + &self.ending
    }
}

#[cfg(test)]
mod tests;
