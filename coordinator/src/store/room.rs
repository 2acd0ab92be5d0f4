//! How much the store may hold: a share for each job, and a reserve of free space that the journal relies on.
//!
//! Relays and uploads stop at the reserve, so that the disk is never full for the journal (a 507 is a pause, a journal
//! that cannot write is an outage).

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use gristmill_common::{JobId, limits};
use gristmill_storage::StorageError;

use super::StoreError;

/// What the store may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreLimits {
    /// Bytes of map outputs and parts of one job (`--relay-quota`).
    pub quota_bytes: u64,
    /// Free bytes of the disk below which nothing is taken.
    pub reserve_bytes: u64,
    /// Whether parts are made durable when they come: not where a loss of power ends the whole cluster with its journal.
    pub is_durable: bool,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self { quota_bytes: limits::RELAY_QUOTA_BYTES, reserve_bytes: limits::STORE_RESERVE_BYTES, is_durable: true }
    }
}

/// Knows the disk.
#[derive(Debug)]
pub(super) struct Room {
    directory: PathBuf,
    limits: StoreLimits,
}

impl Room {
    pub(super) fn new(directory: &Path, limits: StoreLimits) -> Self {
        Self { directory: directory.to_owned(), limits }
    }

    /// Says whether parts are made durable when they come.
    pub(super) fn is_durable(&self) -> bool {
        self.limits.is_durable
    }

    /// Refuses when the reserve is reached.
    pub(super) fn check(&self, what: &str) -> Result<(), StorageError> {
        let room = rustix::fs::statvfs(&self.directory)
            .map_err(|error| StorageError::io("measure", &self.directory, error.into()))?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if free >= self.limits.reserve_bytes {
            return Ok(());
        }
        let (reserve, disk) = (self.limits.reserve_bytes, self.directory.display());
        let why = format!("{free} bytes are free at {disk} and {reserve} are kept for the journal; free some space");
        Err(StorageError::Full { what: what.to_owned(), why })
    }

    /// Refuses when a job's share would be passed.
    pub(super) fn check_quota(&self, what: &str, used: u64) -> Result<(), StoreError> {
        let quota = self.limits.quota_bytes;
        if used <= quota {
            return Ok(());
        }
        let why = format!("one job may keep {quota} bytes of outputs in the store; `--relay-quota` raises it");
        Err(StoreError::Quota { what: what.to_owned(), why })
    }
}

/// Bytes kept for each job, those being received included.
#[derive(Debug, Default)]
pub(super) struct Usage(HashMap<JobId, u64>);

impl Usage {
    pub(super) fn measure(outputs: &Path) -> io::Result<Self> {
        let mut usage = Self::default();
        for entry in fs::read_dir(outputs)? {
            let entry = entry?;
            let Some(job) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            for file in fs::read_dir(entry.path())? {
                usage.add(job, file?.metadata()?.len());
            }
        }
        Ok(usage)
    }

    pub(super) fn of(&self, job: JobId) -> u64 {
        self.0.get(&job).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, job: JobId, bytes: u64) -> u64 {
        let used = self.0.entry(job).or_default();
        *used = used.saturating_add(bytes);
        *used
    }

    pub(super) fn subtract(&mut self, job: JobId, bytes: u64) {
        if let Some(used) = self.0.get_mut(&job) {
            *used = used.saturating_sub(bytes);
            if *used == 0 {
                self.0.remove(&job);
            }
        }
    }

    pub(super) fn forget(&mut self, job: JobId) {
        self.0.remove(&job);
    }
}
