//! The coordinator's directory: its lock, its journal, its secrets and its store, for its user alone.
//!
//! One process owns it at a time; the lock is the kernel's, so a killed process leaves none behind. Secrets are made at
//! the first start and kept; they are never printed from here.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use gristmill_common::TokenSecret;
use gristmill_common::digest::{hex, unhex};
use gristmill_listen::write_private;
use rustix::fs::FlockOperation;

use crate::fresh;

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another coordinator runs on it.
    #[error(
        "the data directory {path} is in use by another coordinator (process {holder}): \
         stop it, or give this one another --data-dir"
    )]
    InUse {
        /// The directory.
        path: String,
        /// Its process.
        holder: String,
    },
    /// A secret file does not hold what it should.
    #[error("{path} does not hold 64 hex digits: restore it, or delete it to have a new one made")]
    NotASecret {
        /// The file.
        path: String,
    },
    /// It cannot be made, read or written.
    #[error("cannot use {path}: {error}")]
    Io {
        /// What was touched.
        path: String,
        /// What the operating system said.
        error: io::Error,
    },
}

/// A directory that this process owns until it drops it.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    // Held for its lock.
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is not there, and locks it.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] when another process has it, [`DataDirError::Io`] when it cannot be made.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let make = || -> io::Result<PathBuf> {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            // One that was there may be open to others; the tokens in it are not for them.
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
            path.canonicalize()
        };
        let path = make().map_err(|error| io_error(path, error))?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Returns where it is, as an absolute path without links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the token of this name, made at its first use: 64 hex digits.
    ///
    /// # Errors
    /// When its file cannot be read or written, or holds something else.
    pub fn token(&self, name: &str) -> Result<String, DataDirError> {
        Ok(hex(&self.secret(&format!("{name}.token"))?))
    }

    /// Returns the key under which grants are signed, made at its first use.
    ///
    /// # Errors
    /// As [`DataDir::token`].
    pub fn grant_key(&self) -> Result<TokenSecret, DataDirError> {
        self.secret("grant.key").map(TokenSecret::new)
    }

    fn secret(&self, file: &str) -> Result<[u8; 32], DataDirError> {
        let path = self.path.join(file);
        match fs::read_to_string(&path) {
            Ok(text) => unhex(text.trim()).ok_or_else(|| DataDirError::NotASecret { path: path.display().to_string() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret = fresh::secret();
                write_private(&path, format!("{}\n", hex(&secret)).as_bytes())
                    .map_err(|error| io_error(&path, error))?;
                Ok(secret)
            }
            Err(error) => Err(io_error(&path, error)),
        }
    }
}

fn lock(directory: &Path) -> Result<File, DataDirError> {
    let path = directory.join("lock");
    let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = open().map_err(|error| io_error(&path, error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim().to_owned();
            return Err(DataDirError::InUse { path: directory.display().to_string(), holder });
        }
        Err(error) => return Err(io_error(&path, error.into())),
    }
    let mut note = || -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    note().map_err(|error| io_error(&path, error))?;
    Ok(file)
}

fn io_error(path: &Path, error: io::Error) -> DataDirError {
    DataDirError::Io { path: path.display().to_string(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_kept_and_for_one_user() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("data");
        let first = DataDir::open(&path).expect("opens").token("client").expect("made");
        assert_eq!(first.len(), 64);
        let again = DataDir::open(&path).expect("opens again");
        assert_eq!(again.token("client").expect("kept"), first);
        assert_ne!(again.token("worker").expect("made"), first);
        for (name, mode) in [("client.token", 0o600), (".", 0o700)] {
            let found = fs::metadata(path.join(name)).expect(name).permissions().mode();
            assert_eq!(found & 0o777, mode, "{name}");
        }
    }

    #[test]
    fn a_second_owner_is_refused_and_told_who_the_first_is() {
        let home = tempfile::tempdir().expect("a directory");
        let first = DataDir::open(home.path()).expect("opens");
        let error = DataDir::open(home.path()).expect_err("in use").to_string();
        assert!(error.contains(&std::process::id().to_string()) && error.contains("--data-dir"), "{error}");
        drop(first);
        DataDir::open(home.path()).expect("free again");
    }

    #[test]
    fn a_damaged_secret_is_named_and_not_replaced() {
        let home = tempfile::tempdir().expect("a directory");
        let directory = DataDir::open(home.path()).expect("opens");
        fs::write(home.path().join("worker.token"), "short").expect("writes");
        let error = directory.token("worker").expect_err("damaged").to_string();
        assert!(error.contains("worker.token"), "{error}");
    }
}
