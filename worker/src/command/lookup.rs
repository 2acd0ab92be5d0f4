//! Finds the file of a program: a relative one in the working directory, then in PATH.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use gristmill_common::Reason;

/// Returns the program's file. One in the working directory is made executable if it can be.
pub(super) fn find(name: &str, directory: &Path, path: &str) -> Result<PathBuf, Reason> {
    let given = Path::new(name);
    let near = directory.join(given);
    if near.is_file() {
        // A file of the system is as it is.
        if given.is_relative() {
            make_executable(&near);
        }
        return Ok(near);
    }
    let missing =
        |hint: &str| Err(Reason::UserError { message: format!("there is no program `{name}` {hint}"), at: None });
    if given.is_absolute() {
        return missing("on this worker");
    }
    if name.contains('/') {
        return missing("in the working directory; send it along as a file of the job");
    }
    let found = path.split(':').filter(|place| !place.is_empty()).map(|place| Path::new(place).join(name));
    let found = found.into_iter().find(|file| file.is_file() && is_executable(file));
    found.map_or_else(|| missing("in the working directory or in PATH"), Ok)
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|found| found.permissions().mode() & 0o111 != 0)
}

/// A link to a bundle is the cache's: what cannot be changed is left, and the start says what is wrong.
fn make_executable(file: &Path) {
    let Ok(found) = fs::symlink_metadata(file) else { return };
    let mode = found.permissions().mode();
    if found.is_file() && mode & 0o111 == 0 {
        let _ = fs::set_permissions(file, fs::Permissions::from_mode(mode | 0o755));
    }
}
