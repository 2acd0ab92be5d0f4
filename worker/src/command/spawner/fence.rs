//! The rules of a sandbox, made once and kept while they name what is there.
//!
//! A rule holds for the directory that was opened, not for its name. To open and add some fifty of them takes longer than to
//! start a program; to look whether the few that may change are still the same does not. A directory that is kept open keeps
//! its number, so that another one that got its name later has another number.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::sandbox::Sandbox;

/// The rules for the programs of one sandbox.
pub(super) struct Fence {
    sandbox: Sandbox,
    made: Option<Made>,
}

struct Made {
    work: PathBuf,
    seen: Vec<Seen>,
    /// Absent where the kernel has no Landlock.
    rules: Option<OwnedFd>,
}

/// What was there when the rules were made.
struct Seen {
    path: PathBuf,
    /// Kept open, or not there.
    opened: Option<(File, (u64, u64))>,
}

impl Fence {
    pub(super) fn new(sandbox: Sandbox) -> Self {
        Self { sandbox, made: None }
    }

    /// Returns the rules for a program that works in this directory.
    pub(super) fn rules(&mut self, work: &Path) -> io::Result<Option<BorrowedFd<'_>>> {
        self.made = self.made.take().filter(|made| made.work == work && made.seen.iter().all(Seen::is_there));
        let made = match self.made.take() {
            Some(made) => made,
            // What changes from now on is seen at the next look.
            None => {
                let seen = self.sandbox.changing().chain([work]).map(Seen::now).collect();
                let rules = self.sandbox.rules(work).map_err(io::Error::other)?;
                Made { work: work.to_owned(), seen, rules: rules.into() }
            }
        };
        let made = self.made.insert(made);
        Ok(made.rules.as_ref().map(AsFd::as_fd))
    }
}

impl Seen {
    fn now(path: &Path) -> Self {
        let flags = rustix::fs::OFlags::PATH.bits().cast_signed();
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(path).and_then(|file| {
            let found = file.metadata()?;
            Ok((file, (found.dev(), found.ino())))
        });
        Self { path: path.to_owned(), opened: opened.ok() }
    }

    fn is_there(&self) -> bool {
        let found = std::fs::metadata(&self.path).ok().map(|found| (found.dev(), found.ino()));
        found == self.opened.as_ref().map(|(_, number)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_made_again_when_another_directory_has_the_name() {
        let home = tempfile::tempdir().expect("a directory");
        let (work, later) = (home.path().join("work"), home.path().join("later"));
        std::fs::create_dir(&work).expect("made");
        let mut fence = Fence::new(Sandbox::new(Path::new("/elsewhere"), std::slice::from_ref(&later), &[]));
        let mut made = |work: &Path| fence.rules(work).expect("rules").map(|_| ()).is_some();
        let _ = made(&work);
        let seen = |fence: &Fence| {
            let made = fence.made.as_ref().expect("made");
            made.seen.iter().map(|seen| seen.opened.as_ref().map(|opened| opened.1)).collect::<Vec<_>>()
        };
        let first = seen(&fence);
        let _ = fence.rules(&work).expect("rules");
        assert_eq!(seen(&fence), first, "nothing changed");
        std::fs::remove_dir(&work).expect("removed");
        std::fs::create_dir(&work).expect("made");
        std::fs::create_dir(&later).expect("made");
        assert!(fence.made.as_ref().is_some_and(|made| !made.seen.iter().all(Seen::is_there)));
        let _ = fence.rules(&work).expect("rules");
        let second = seen(&fence);
        assert_ne!(second.last(), first.last(), "a directory that is kept open keeps its number");
        assert!(second.iter().flatten().count() > first.iter().flatten().count());
    }
}
