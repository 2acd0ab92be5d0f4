//! Files that appear whole or not at all: written under a temporary name, fsynced, renamed, and the directory fsynced.
//!
//! Both names are on one file system. What is dropped before [`Staged::publish`] leaves nothing behind; what a crash
//! leaves is swept by whoever owns the directory of temporary names.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::StorageError;

/// A file that is being written under a temporary name.
#[derive(Debug)]
pub struct Staged {
    file: Option<File>,
    temporary: PathBuf,
}

impl Staged {
    /// Creates the temporary file, replacing what a crash left under that name.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn create(temporary: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let temporary = temporary.into();
        // The name may be a link that someone planted: it is removed, never followed.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StorageError::io("replace", &temporary, error));
            }
            _ => {}
        }
        let opened = OpenOptions::new().read(true).write(true).create_new(true).open(&temporary);
        let file = opened.map_err(|error| StorageError::io("create", &temporary, error))?;
        Ok(Self { file: Some(file), temporary })
    }

    /// Takes over a file that somebody else wrote under a temporary name.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(temporary: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let temporary = temporary.into();
        let file = File::open(&temporary).map_err(|error| StorageError::io("open", &temporary, error))?;
        Ok(Self { file: Some(file), temporary })
    }

    /// Returns the temporary name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Opens the same file once more, to write to it from elsewhere.
    ///
    /// # Errors
    /// If the system is out of descriptors.
    pub fn try_clone(&self) -> io::Result<File> {
        self.file()?.try_clone()
    }

    /// Writes everything to the disk.
    ///
    /// # Errors
    /// If the disk refuses; the file must then not be published.
    pub fn sync(&self) -> Result<(), StorageError> {
        let synced = self.file().and_then(File::sync_all);
        synced.map_err(|error| StorageError::io("sync", &self.temporary, error))
    }

    /// Gives it its name, replacing what has that name. Durable when `sync` was called before and the directory is
    /// synced after ([`Self::publish`] does all three).
    ///
    /// # Errors
    /// If it cannot be renamed; nothing is left of it then.
    pub fn rename(mut self, target: &Path) -> Result<(), StorageError> {
        fs::rename(&self.temporary, target).map_err(|error| StorageError::io("rename to", target, error))?;
        self.file = None;
        Ok(())
    }

    /// As [`Self::rename`], but for a name that must be free.
    ///
    /// # Errors
    /// [`StorageError::Exists`] if the name is taken; nothing is left of it then.
    pub fn rename_new(mut self, target: &Path) -> Result<(), StorageError> {
        rename_new(&self.temporary, target)?;
        self.file = None;
        Ok(())
    }

    /// Makes it durable under its name, replacing what has that name.
    ///
    /// # Errors
    /// If any step of it fails. After a failed sync of the directory the file has its name but may lose it.
    pub fn publish(self, target: &Path) -> Result<(), StorageError> {
        self.sync()?;
        self.rename(target)?;
        sync_directory(target.parent().unwrap_or(target))
    }

    fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Best effort: a leftover has a temporary name and is swept.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Makes the names in a directory durable.
///
/// # Errors
/// If the disk refuses.
pub fn sync_directory(directory: &Path) -> Result<(), StorageError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| StorageError::io("sync", directory, error))
}

/// Renames a file or directory to a name that must be free.
///
/// Atomic on Linux; where the file system cannot do that, a name that appears between the check and the rename is
/// replaced if it is a file or an empty directory.
///
/// # Errors
/// [`StorageError::Exists`] if the name is taken.
pub fn rename_new(from: &Path, to: &Path) -> Result<(), StorageError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::DirectoryNotEmpty => StorageError::Exists { what: to.display().to_string(), advice: "" },
        _ => StorageError::io("rename to", to, error),
    };
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags};
        use rustix::io::Errno;
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            renamed => return renamed.map_err(|error| failed(error.into())),
        }
    }
    if to.symlink_metadata().is_ok() {
        return Err(StorageError::Exists { what: to.display().to_string(), advice: "" });
    }
    fs::rename(from, to).map_err(failed)
}
