//! Finished parts on their way to where the user wants them: given a second name where that is possible, else copied.
//!
//! Every byte is held against the checksum that was made before it was first written: of a part that is copied while it is
//! copied, of one that gets a second name before it gets it. Copies pass through memory and not through `copy_file_range`: the
//! bytes that are checked are the bytes that are written.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use gristmill_common::wire::Location;
use gristmill_runs::{Checksum, RunError};
use gristmill_storage::{Staged, StorageError};

use super::CommitError;
use crate::render::{Finished, PartSource};
use crate::store::Store;

impl CommitError {
    /// Says that a part cannot be read, or that what it is written to cannot be written.
    fn of_part(part: &PartSource, error: RunError) -> Self {
        match error {
            // A disk that cannot give back what it was given has lost it.
            RunError::Io(error) if error.raw_os_error() == Some(BAD_DISK) => {
                Self::Lost { index: part.index, why: format!("the disk cannot read it: {error}") }
            }
            RunError::Io(error) => Self::Retry(StorageError::io("copy", part.name.as_ref(), error)),
            error => Self::Lost { index: part.index, why: error.to_string() },
        }
    }
}

/// `EIO`.
const BAD_DISK: i32 = 5;

/// Makes the finished part the file of this name, durable but for the name. `staging` is a name beside it.
pub(super) fn place(part: &PartSource, store: &Store, staging: &Path, path: &Path) -> Result<Checksum, CommitError> {
    let whole = expected(part);
    if path.symlink_metadata().is_ok() {
        if verify(path, whole).is_ok() {
            return Ok(whole);
        }
        fs::remove_file(path).map_err(|error| StorageError::io("replace", path, error))?;
    }
    match part.finished(store)? {
        Finished::Nothing => write(part, &[][..], staging, path)?,
        Finished::Here(bytes) => write(part, bytes.as_slice(), staging, path)?,
        Finished::Stored(stored, file) => {
            if !link(&file, &stored, staging, path)? {
                write(part, &file, staging, path)?;
            } else if let Err(error) = verify(path, whole) {
                // The part is made again; this one must not be found here then.
                fs::remove_file(path).map_err(|error| StorageError::io("delete", path, error))?;
                return Err(CommitError::of_part(part, error));
            }
        }
    }
    Ok(whole)
}

fn expected(part: &PartSource) -> Checksum {
    if part.output.at == Location::Nothing { Checksum::default() } else { part.checksum() }
}

/// Reads the file, compares it with the checksum, and makes what it holds durable.
fn verify(path: &Path, whole: Checksum) -> Result<(), RunError> {
    if !path.symlink_metadata()?.is_file() {
        return Err(io::Error::other("it is no file").into());
    }
    let file = File::open(path)?;
    whole.check(&file, |_| Ok(()))?;
    Ok(file.sync_all()?)
}

/// Gives the stored file a second name; `false` where that is not possible: on another disk, or on one without such names.
fn link(file: &File, stored: &Path, staging: &Path, path: &Path) -> Result<bool, StorageError> {
    match fs::remove_file(staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(StorageError::io("replace", staging, error));
        }
        _ => {}
    }
    // Under a name that a later try clears away, until it is known which file it is.
    if fs::hard_link(stored, staging).is_err() || !is_named(file, staging) {
        return Ok(false);
    }
    fs::rename(staging, path).map_err(|error| StorageError::io("rename to", path, error))?;
    Ok(true)
}

/// Says whether the file has this name.
fn is_named(file: &File, path: &Path) -> bool {
    let (Ok(file), Ok(named)) = (file.metadata(), path.symlink_metadata()) else { return false };
    (file.dev(), file.ino()) == (named.dev(), named.ino())
}

/// Copies what is read, if it is the part.
fn write(part: &PartSource, from: impl io::Read, staging: &Path, path: &Path) -> Result<(), CommitError> {
    let mut staged = Staged::create(staging)?;
    let copied = expected(part).check(from, |bytes| Ok(staged.write_all(bytes)?));
    copied.map_err(|error| CommitError::of_part(part, error))?;
    staged.sync()?;
    Ok(staged.rename(path)?)
}

/// Copies the finished part into a file, from this offset on.
pub(super) fn copy_into(file: &File, offset: u64, part: &PartSource, store: &Store) -> Result<Checksum, CommitError> {
    let mut at = offset;
    let mut each = |bytes: &[u8]| -> Result<(), RunError> {
        file.write_all_at(bytes, at)?;
        at += bytes.len() as u64;
        Ok(())
    };
    let whole = expected(part);
    let copied = match part.finished(store)? {
        Finished::Nothing => return Ok(Checksum::default()),
        Finished::Here(bytes) => whole.check(bytes.as_slice(), &mut each),
        Finished::Stored(_, stored) => whole.check(&stored, &mut each),
    };
    copied.map_err(|error| CommitError::of_part(part, error))?;
    Ok(whole)
}
