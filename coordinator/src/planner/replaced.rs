//! Refuses an output that is among the inputs: with `overwrite` a job would read what the last one wrote, beside what it is to read,
//! and replace it. Leaving it out by itself was rejected: an input would be smaller than what was named.

use gristmill_common::plan::PinnedFile;
use gristmill_common::{JobId, JobSpec, Problem};
use gristmill_storage::{Location, Roots, StorageError};

use super::misplaced;
use crate::commit::target::Target;
use crate::store::{Store, blocking};

/// Checks that no pinned file is of the output that is there.
///
/// # Errors
/// A problem that names the output and the file.
pub(super) async fn check(
    job: JobId,
    spec: &JobSpec,
    files: &[PinnedFile],
    store: &Store,
    roots: &Roots,
) -> Result<(), Problem> {
    // Where nothing may be replaced, nothing is there: that was checked before.
    let Some(url) = spec.output.url.clone().filter(|_| spec.output.overwrite) else { return Ok(()) };
    let (files, store, roots) = (files.to_vec(), store.clone(), roots.clone());
    let look = move || {
        let target = Target::resolve(&url, job, &store, &roots)?;
        if target.path.symlink_metadata().is_err() {
            return Ok(None);
        }
        let found = files.iter().find(|file| is_of(&target, file, &store));
        Ok::<_, StorageError>(found.map(|file| (target.name, file.url.clone())))
    };
    let hint = "write the output elsewhere, or name the inputs so that it is not among them";
    match blocking(look).await.map_err(|error| misplaced(&error, "/output/url".to_owned()))? {
        Some((output, file)) => Err(Problem::at(
            "/output/url",
            format!("`{output}` would be read as an input ({file}) and then be replaced by the result: {hint}"),
        )),
        None => Ok(()),
    }
}

/// Says whether a file is the output, or lies in it, by its name or where its links lead.
fn is_of(target: &Target, file: &PinnedFile, store: &Store) -> bool {
    let path = match Location::parse_store(&file.url) {
        Ok(path) => Some(store.files().place(&path)),
        Err(_) => Location::parse_file(&file.url).ok(),
    };
    let Some(path) = path else { return false };
    let real = path.canonicalize().ok();
    real.iter().chain([&path]).any(|path| path.starts_with(&target.path))
}
