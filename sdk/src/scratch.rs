//! The temporary directory of a cluster in one process. It goes with the process; of one that was killed the next one removes it.
//!
//! A locked file in it says that its owner lives. The lock is taken before the file has its name, and what has no such file is left
//! alone, so that a directory is never removed under a process that is there.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// What the names of the directories begin with.
const PREFIX: &str = "gristmill-";
/// The file whose lock is held.
const LOCK: &str = "in-use";

/// A temporary directory that is in use.
pub(crate) struct Scratch {
    directory: TempDir,
    /// Let go of behind the directory.
    _lock: File,
}

impl Scratch {
    /// Makes a directory, and begins to remove those of processes that are gone.
    pub(crate) fn new(parent: &Path) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        let unnamed = directory.path().join(format!(".{LOCK}"));
        let lock = File::create_new(&unnamed)?;
        lock.try_lock()?;
        fs::rename(&unnamed, directory.path().join(LOCK))?;
        let (parent, own) = (parent.to_path_buf(), directory.path().metadata()?.uid());
        // They may be large: nobody waits.
        std::thread::Builder::new().name("leftovers".to_owned()).spawn(move || remove_left(&parent, own))?;
        Ok(Self { directory, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Removes directories of this user whose owner is gone.
fn remove_left(parent: &Path, own: u32) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        // Not of what a link leads to.
        let is_ours = |metadata: fs::Metadata| metadata.is_dir() && metadata.uid() == own;
        if is_named
            && entry.path().symlink_metadata().is_ok_and(is_ours)
            && let Some(lock) = locked(&entry.path())
        {
            remove(&entry.path());
            drop(lock);
        }
    }
}

/// Takes the lock of a directory that has one and whose owner is gone.
fn locked(directory: &Path) -> Option<File> {
    let path = directory.join(LOCK);
    path.symlink_metadata().ok().filter(fs::Metadata::is_file)?;
    let lock = File::open(path).ok()?;
    lock.try_lock().ok()?;
    Some(lock)
}

/// Removes a directory, the lock last: where it ends in the middle, the next process goes on.
fn remove(directory: &Path) {
    let others: Vec<PathBuf> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name() != LOCK)
        .map(|entry| entry.path())
        .collect();
    for path in others {
        let is_directory = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        let removed = if is_directory { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        if let Err(error) = removed {
            tracing::debug!(path = %path.display(), %error, "what a killed process left stays");
            return;
        }
    }
    let _ = fs::remove_dir_all(directory);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(parent: &Path, name: &str, has_lock: bool) -> PathBuf {
        let path = parent.join(name);
        fs::create_dir_all(path.join("worker/scratch")).expect("made");
        fs::write(path.join("worker/scratch/spill"), "x").expect("written");
        if has_lock {
            fs::write(path.join(LOCK), "").expect("written");
        }
        path
    }

    #[test]
    fn what_killed_processes_left_is_removed_and_nothing_else() {
        let home = tempfile::tempdir().expect("a directory");
        let parent = home.path();
        let dead = left(parent, "gristmill-dead", true);
        let kept = [
            left(parent, "gristmill-no-lock", false),
            left(parent, "other-dead", true),
            left(parent, "elsewhere", true),
            left(parent, "gristmill-alive", true),
        ];
        std::os::unix::fs::symlink("elsewhere", parent.join("gristmill-link")).expect("linked");
        fs::write(parent.join("gristmill-file"), "").expect("written");
        let alive = File::open(kept[3].join(LOCK)).expect("opened");
        alive.try_lock().expect("locked");
        let own = parent.metadata().expect("is there").uid();
        remove_left(parent, own + 1);
        assert!(dead.is_dir(), "another user's");
        let scratch = Scratch::new(parent).expect("made");
        // By the thread that the new one started, which may take a moment.
        let is_gone = (0..1_000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            !dead.exists()
        });
        assert!(is_gone);
        remove_left(parent, own);
        for path in kept {
            assert!(path.join("worker/scratch/spill").is_file(), "{}", path.display());
        }
        assert!(parent.join("gristmill-file").is_file() && scratch.path().join(LOCK).is_file());
        let path = scratch.path().to_path_buf();
        drop(scratch);
        assert!(!path.exists());
    }
}
