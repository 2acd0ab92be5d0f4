//! The inbox of a coordinator's store: where a worker of the same host lays finished parts instead of sending them.
//!
//! As in decision 0004 no path travels. A coordinator keeps its data in a directory `coordinator` in or beside the directory of
//! the workers that share its files (so the default directories, `run` and `dev`), and both sides make the name from job, task
//! and fence. A worker that finds such a directory lays its file there and says so; a coordinator that does not find it in its own
//! inbox refuses, and the worker sends the file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::StorageError;

/// An inbox.
#[derive(Clone, Debug)]
pub struct Inbox(PathBuf);

impl Inbox {
    /// Names the inbox of the store in this directory.
    #[must_use]
    pub fn of_store(directory: &Path) -> Self {
        Self(directory.join("inbox"))
    }

    /// Finds the inbox of a coordinator that keeps its data in or beside this directory of workers' state.
    #[must_use]
    pub fn near(state_dir: &Path) -> Option<Self> {
        let near = [Some(state_dir), state_dir.parent()].into_iter().flatten();
        near.map(|directory| Self::of_store(&directory.join("coordinator").join("store")))
            .find(|inbox| inbox.0.is_dir())
    }

    /// Makes it, empty.
    ///
    /// # Errors
    /// If what was in it cannot be deleted, or it cannot be made.
    pub fn make_empty(&self) -> Result<(), StorageError> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StorageError::io("sweep", &self.0, error));
            }
            _ => {}
        }
        fs::create_dir_all(&self.0).map_err(|error| StorageError::io("create", &self.0, error))
    }

    /// Gives a file a second name here, under which it can be taken.
    ///
    /// # Errors
    /// If the inbox is on another file system, gone, or not this user's.
    pub fn lay(&self, file: &Path, name: &str) -> io::Result<()> {
        let place = self.0.join(name);
        match fs::hard_link(file, &place) {
            // Of an earlier try of the same attempt.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&place)?;
                fs::hard_link(file, &place)
            }
            laid => laid,
        }
    }

    /// Takes back what was laid, if it is still there.
    pub fn withdraw(&self, name: &str) {
        // What stays is swept with its job, or when the coordinator starts.
        let _ = fs::remove_file(self.0.join(name));
    }

    /// Returns where the file of this name is, if it is there: a file and no link, of so many bytes.
    #[must_use]
    pub fn find(&self, name: &str, bytes: u64) -> Option<PathBuf> {
        let path = self.0.join(name);
        let metadata = path.symlink_metadata().ok()?;
        (metadata.is_file() && metadata.len() == bytes).then_some(path)
    }

    /// Deletes all whose name begins so.
    ///
    /// # Errors
    /// If they cannot be listed or deleted.
    pub fn sweep(&self, prefix: &str) -> Result<(), StorageError> {
        let failed = |error| StorageError::io("sweep", &self.0, error);
        for entry in fs::read_dir(&self.0).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)) {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_laid_is_found_by_its_name_and_length_alone() {
        let home = tempfile::tempdir().expect("a directory");
        let state = home.path().join("worker");
        assert!(Inbox::near(&state).is_none());
        let inbox = Inbox::of_store(&home.path().join("coordinator/store"));
        inbox.make_empty().expect("made");
        let near = Inbox::near(&state).expect("found");
        assert!(Inbox::near(home.path()).is_some());
        let file = home.path().join("part");
        fs::write(&file, "text").expect("written");
        near.lay(&file, "j-s0-r1-a7").expect("laid");
        near.lay(&file, "j-s0-r1-a7").expect("laid again");
        assert!(inbox.find("j-s0-r1-a7", 4).is_some() && inbox.find("j-s0-r1-a7", 5).is_none());
        assert!(inbox.find("j-s0-r1-a8", 4).is_none());
        std::os::unix::fs::symlink(&file, home.path().join("coordinator/store/inbox/link")).expect("linked");
        assert!(inbox.find("link", 4).is_none(), "a link is nobody's part");
        inbox.sweep("j-").expect("swept");
        assert!(inbox.find("j-s0-r1-a7", 4).is_none() && file.exists());
        near.lay(&file, "k-s0-r1-a7").expect("laid");
        near.withdraw("k-s0-r1-a7");
        assert!(inbox.find("k-s0-r1-a7", 4).is_none());
    }
}
