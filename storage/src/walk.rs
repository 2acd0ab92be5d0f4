//! Lists the files that a `file://` pattern names: a file, a directory with all beneath it, or a glob.
//!
//! Symbolic links are followed as long as they stay under the roots. What cannot be taken (a dangling link, a loop, a
//! link out of the roots, a pipe) is an error and not left out: a silently smaller input is a wrong result.

use std::fs::{self, DirEntry};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::error::StorageError;
use crate::pattern::{Pattern, Places};
use crate::roots::Roots;
use crate::url::path_of;

/// Lists the named files, sorted by the bytes of their paths, at most `limit`. Blocks: never on an async thread.
///
/// # Errors
/// If something named cannot be listed or may not be touched, or there are more files than `limit`.
pub fn list_files(pattern: &Pattern, roots: &Roots, limit: usize) -> Result<Vec<PathBuf>, StorageError> {
    let base = path_of(pattern);
    let real = roots.resolve(&base)?;
    let is_directory = real.metadata().map_err(|error| StorageError::io("open", &base, error))?.is_dir();
    if pattern.is_literal() && !is_directory {
        if pattern.is_directory() {
            let path = base.display().to_string();
            return Err(StorageError::Denied { path, why: "is a file: leave out the slash at its end".to_owned() });
        }
        return Ok(vec![base]);
    }
    let mut walk = Walk { pattern, roots, limit, found: Vec::new(), pending: Vec::new() };
    if is_directory {
        walk.pending.push(Directory { shown: base, real, places: pattern.after_prefix(), links: Vec::new() });
    }
    while let Some(directory) = walk.pending.pop() {
        walk.visit(&directory)?;
    }
    let mut found = walk.found;
    found.sort_unstable_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    Ok(found)
}

struct Walk<'a> {
    pattern: &'a Pattern,
    roots: &'a Roots,
    limit: usize,
    found: Vec<PathBuf>,
    pending: Vec<Directory>,
}

struct Directory {
    /// The path by which it was reached.
    shown: PathBuf,
    /// The same with links resolved.
    real: PathBuf,
    /// How far the pattern is matched.
    places: Places,
    /// Real directories in which a link was taken on the way here: to find loops.
    links: Vec<PathBuf>,
}

impl Walk<'_> {
    fn visit(&mut self, directory: &Directory) -> Result<(), StorageError> {
        let failed = |error| StorageError::io("list", &directory.shown, error);
        for entry in fs::read_dir(&directory.real).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let places = self.pattern.enter(&directory.places, entry.file_name().as_bytes());
            if !places.is_empty() {
                self.enter(directory, &entry, places)?;
            }
        }
        Ok(())
    }

    fn enter(&mut self, directory: &Directory, entry: &DirEntry, places: Places) -> Result<(), StorageError> {
        let shown = directory.shown.join(entry.file_name());
        let failed = |error| StorageError::io("open", &shown, error);
        let mut kind = entry.file_type().map_err(failed)?;
        let mut real = directory.real.join(entry.file_name());
        let mut links = directory.links.clone();
        if kind.is_symlink() {
            real = real.canonicalize().map_err(failed)?;
            kind = real.metadata().map_err(failed)?.file_type();
            links.push(directory.real.clone());
        }
        self.roots.check_real(&shown, &real)?;
        if kind.is_dir() {
            if links.len() > directory.links.len() && links.iter().any(|link| link.starts_with(&real)) {
                return Err(refused(&shown, "is a symbolic link that leads back to where it is: a loop"));
            }
            self.pending.push(Directory { shown, real, places, links });
        } else if self.pattern.takes_file(&directory.places, &places) {
            if !kind.is_file() {
                return Err(refused(&shown, "is not a regular file: no input"));
            }
            if self.found.len() == self.limit {
                return Err(StorageError::TooMany { limit: self.limit });
            }
            self.found.push(shown);
        }
        Ok(())
    }
}

fn refused(path: &Path, why: &str) -> StorageError {
    StorageError::Denied { path: path.display().to_string(), why: why.to_owned() }
}
