//! The working directory of the commands of one executor: an attempt finds it with nothing in it but a place for temporary
//! files, and nothing of an attempt is left when it is over.
//!
//! To make two directories and to remove them takes a disk longer than a short program runs; to see that nobody put anything
//! into them does not. So they stay for the next attempt, unless the last one touched them.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Name of the directory for temporary files in it.
pub(super) const TMP: &str = "tmp";

/// A working directory, of one attempt at a time.
pub(crate) struct Workplace {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The two directories as they were made.
    made: Option<[Nature; 2]>,
    /// Nobody works in them, and nothing is in them.
    is_ready: bool,
    /// Of what could not be removed.
    left: u64,
}

/// What a program could change about a directory and still leave it empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Nature {
    device: u64,
    inode: u64,
    mode: u32,
    owner: (u32, u32),
}

impl Workplace {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, state: Mutex::default() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it ready for an attempt.
    pub(super) fn enter(&self) -> io::Result<()> {
        let mut state = self.state();
        if std::mem::take(&mut state.is_ready) {
            return Ok(());
        }
        if let Err(error) = remove(&self.path) {
            // It goes with the executor's own directory, if that can be removed.
            state.left += 1;
            let aside = self.path.with_extension(state.left.to_string());
            tracing::warn!(path = %self.path.display(), %error, "cannot remove what an attempt left in its working directory");
            fs::rename(&self.path, aside)?;
        }
        fs::create_dir_all(self.path.join(TMP))?;
        state.made = Some(self.natures()?);
        Ok(())
    }

    /// Removes what the attempt left in it.
    pub(super) fn leave(&self) {
        let mut state = self.state();
        state.is_ready = self.is_as(state.made).unwrap_or(false);
        if !state.is_ready {
            // What cannot be removed now is tried again before the next attempt.
            let _ = remove(&self.path);
        }
    }

    fn is_as(&self, made: Option<[Nature; 2]>) -> io::Result<bool> {
        let mut entries = fs::read_dir(&self.path)?;
        let has_tmp = entries.next().transpose()?.is_some_and(|entry| entry.file_name() == TMP);
        let is_empty = has_tmp && entries.next().is_none() && fs::read_dir(self.path.join(TMP))?.next().is_none();
        Ok(is_empty && Some(self.natures()?) == made)
    }

    fn natures(&self) -> io::Result<[Nature; 2]> {
        let nature = |path: &Path| fs::symlink_metadata(path).map(|found| Nature::of(&found));
        Ok([nature(&self.path)?, nature(&self.path.join(TMP))?])
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a directory and all in it, if it is there; directories that were closed by who made them, too.
fn remove(path: &Path) -> io::Result<()> {
    let removed = fs::remove_dir_all(path).or_else(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            open_up(path);
            fs::remove_dir_all(path)
        }
        _ => Err(error),
    });
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Nobody else works in it any more, so that what is a directory now is one still when it is listed.
fn open_up(path: &Path) {
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let _ = fs::set_permissions(&path, Permissions::from_mode(0o700));
        let entries = fs::read_dir(&path).into_iter().flatten().flatten();
        let directories = entries.filter(|entry| entry.file_type().is_ok_and(|found| found.is_dir()));
        open.extend(directories.map(|entry| entry.path()));
    }
}

impl Nature {
    fn of(found: &Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino(), mode: found.mode(), owner: (found.uid(), found.gid()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does something in the directory and says whether the next attempt finds the same one.
    fn stays(act: impl FnOnce(&Path)) -> bool {
        let home = tempfile::tempdir().expect("a directory");
        let place = Workplace::new(home.path().join("work"));
        place.enter().expect("entered");
        act(place.path());
        place.leave();
        let stayed = place.state().is_ready;
        assert!(stayed || !place.path().exists(), "nothing is left");
        place.enter().expect("entered again");
        let names = |path: &Path| fs::read_dir(path).expect("listed").flatten().map(|entry| entry.file_name());
        assert_eq!(names(place.path()).collect::<Vec<_>>(), [TMP]);
        assert_eq!(names(&place.path().join(TMP)).count(), 0);
        assert_eq!(fs::metadata(place.path()).expect("there").mode() & 0o700, 0o700);
        stayed
    }

    fn mode(mode: u32) -> Permissions {
        Permissions::from_mode(mode)
    }

    #[test]
    fn a_directory_stays_only_when_nothing_is_left_in_it() {
        assert!(stays(|_| ()), "nobody touched it");
        assert!(stays(|work| {
            fs::write(work.join("a"), "a").expect("written");
            fs::remove_file(work.join("a")).expect("removed");
        }));
        assert!(!stays(|work| fs::write(work.join("a"), "a").expect("written")));
        assert!(!stays(|work| fs::write(work.join(".a"), "a").expect("written")));
        assert!(!stays(|work| fs::write(work.join("tmp/a"), "a").expect("written")));
        assert!(!stays(|work| fs::remove_dir(work.join(TMP)).expect("removed")));
        assert!(!stays(|work| fs::remove_dir_all(work).expect("removed")));
        assert!(!stays(|work| fs::set_permissions(work, mode(0o777)).expect("changed")));
        assert!(!stays(|work| fs::set_permissions(work.join(TMP), mode(0o777)).expect("changed")));
        assert!(!stays(|work| {
            fs::remove_dir(work.join(TMP)).expect("removed");
            std::os::unix::fs::symlink("/", work.join(TMP)).expect("linked");
        }));
    }

    #[test]
    fn closed_directories_go_too() {
        assert!(!stays(|work| {
            fs::create_dir_all(work.join("a/b")).expect("made");
            fs::write(work.join("a/b/c"), "c").expect("written");
            fs::set_permissions(work.join("a/b"), mode(0)).expect("changed");
            fs::set_permissions(work.join("a"), mode(0)).expect("changed");
            fs::set_permissions(work, mode(0)).expect("changed");
        }));
    }

    #[test]
    fn an_attempt_that_never_left_leaves_nothing_to_the_next() {
        let home = tempfile::tempdir().expect("a directory");
        let place = Workplace::new(home.path().join("work"));
        place.enter().expect("entered");
        fs::write(place.path().join("a"), "a").expect("written");
        place.enter().expect("entered again");
        assert!(!place.path().join("a").exists());
    }
}
