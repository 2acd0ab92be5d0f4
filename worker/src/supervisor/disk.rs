//! The disk under the worker's state: below a reserve nothing more is begun, so that what runs can end.
//!
//! A disk that fills faster than it is looked at fails attempts as [`gristmill_common::Reason::Worker`], which costs the job
//! nothing: they go elsewhere.

use std::path::PathBuf;

/// How often the disk is looked at, in milliseconds.
const LOOK_EVERY_MS: u64 = 1_000;

/// The disk.
pub(super) struct Disk {
    path: PathBuf,
    reserve_bytes: u64,
    next_ms: u64,
    is_full: bool,
}

impl Disk {
    pub(super) fn new(path: PathBuf, reserve_bytes: u64) -> Self {
        Self { path, reserve_bytes, next_ms: 0, is_full: false }
    }

    /// Looks whether there is room, if it is time to: `None` when it is not, else why there is none.
    pub(super) fn look(&mut self, now_ms: u64) -> Option<Option<String>> {
        if now_ms < self.next_ms {
            return None;
        }
        self.next_ms = now_ms + LOOK_EVERY_MS;
        // A disk that cannot be measured is left to show what it can do.
        let disk = rustix::fs::statvfs(&self.path).ok()?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let was_full = std::mem::replace(&mut self.is_full, free < self.reserve_bytes);
        let path = self.path.display();
        if !was_full && self.is_full {
            let reserve = self.reserve_bytes;
            tracing::error!(%path, free, reserve, "the disk is nearly full: no more work is taken until there is room");
        } else if was_full && !self.is_full {
            tracing::info!(%path, free, "the disk has room again");
        }
        let why = || format!("{free} bytes are free at {path}, {} are kept (`--disk-reserve`)", self.reserve_bytes);
        Some(self.is_full.then(why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_kept_and_looked_at_once_a_second() {
        let here = tempfile::tempdir().expect("a directory");
        let mut never = Disk::new(here.path().to_owned(), u64::MAX);
        assert!(never.look(0).flatten().is_some_and(|why| why.contains("--disk-reserve")));
        assert_eq!(never.look(LOOK_EVERY_MS - 1), None);
        never.reserve_bytes = 0;
        assert_eq!(never.look(LOOK_EVERY_MS), Some(None));
        assert_eq!(Disk::new("/no/such/place".into(), u64::MAX).look(0), None);
    }
}
