//! Logs of attempts: `store/logs/JOB/NUMBER-s0-m12-a4711`, with `.failed` at the end for attempts that failed.
//!
//! Numbers rise within a job, so that a reader can ask for what came after. A log that is sent twice is there twice, and the
//! later one counts. Logs are not fsynced: they help people, no decision is made by them. A job's share is bounded.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use gristmill_common::wire::output_name_in;
use gristmill_common::{Fence, GrantName, JobId, TaskName, limits};
use gristmill_storage::StorageError;

use super::{Store, StoreError, lock};

/// What is kept of jobs whose logs were looked at.
#[derive(Debug, Default)]
pub(super) struct Shares(HashMap<JobId, Share>);

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    /// Number of the last log.
    last: u64,
    logs: u64,
    bytes: u64,
}

/// A log that is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogName {
    /// Rises in the order in which logs came.
    pub number: u64,
    /// The task.
    pub task: TaskName,
    /// The attempt.
    pub fence: Fence,
    /// Whether the attempt failed.
    pub failed: bool,
}

impl LogName {
    fn parse(name: &str) -> Option<Self> {
        let (number, rest) = name.split_once('-')?;
        let (rest, failed) = rest.strip_suffix(".failed").map_or((rest, false), |rest| (rest, true));
        let (task, fence) = rest.rsplit_once("-a")?;
        let (step, task) = task.split_once('-')?;
        let mut name: TaskName = task.parse().ok()?;
        name.step = step.strip_prefix('s')?.parse().ok()?;
        Some(Self { number: number.parse().ok()?, task: name, fence: Fence(fence.parse().ok()?), failed })
    }

    fn file(&self) -> String {
        let TaskName { step, stage, index } = self.task;
        let end = if self.failed { ".failed" } else { "" };
        format!("{:010}-s{step}-{}{index}-{}{end}", self.number, stage.letter(), self.fence)
    }
}

impl Store {
    /// Keeps the log of an attempt. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Quota`] past the job's share, [`StorageError::Full`] at the reserve.
    pub fn put_log(&self, grant: &GrantName, index: u32, failed: bool, log: &[u8]) -> Result<(), StoreError> {
        let (Some(what), Some(fence)) = (output_name_in(grant, index), grant.fence_of(index)) else {
            return Err(StoreError::BadName { name: format!("task {index} of another grant") });
        };
        self.0.room.check(&what)?;
        let mut staged = self.stage()?;
        staged.write_all(log).map_err(|error| StorageError::io("write", staged.path(), error))?;
        let directory = self.log_directory(grant.job);
        let mut shares = lock(&self.0.logs);
        let share = self.share_of(&mut shares, grant.job)?;
        if share.logs >= limits::JOB_LOGS || share.bytes + log.len() as u64 > limits::JOB_LOGS_BYTES {
            let why = format!("{} logs of {} bytes are kept of its job already", share.logs, share.bytes);
            return Err(StoreError::Quota { what, why });
        }
        let name = LogName { number: share.last + 1, task: grant.task(index), fence, failed };
        fs::create_dir_all(&directory).map_err(|error| StorageError::io("create", &directory, error))?;
        staged.rename(&directory.join(name.file()))?;
        *share = Share { last: name.number, logs: share.logs + 1, bytes: share.bytes + log.len() as u64 };
        Ok(())
    }

    /// Lists the logs of a job, of each attempt the last one, in the order in which they came. Blocks.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub fn logs(&self, job: JobId) -> Result<Vec<LogName>, StoreError> {
        let mut names = self.log_files(job)?.into_iter().map(|(name, _)| (name.fence, name)).collect::<Vec<_>>();
        names.sort_by_key(|(_, name)| name.number);
        let last: HashMap<Fence, u64> = names.iter().map(|(fence, name)| (*fence, name.number)).collect();
        names.retain(|(fence, name)| last.get(fence) == Some(&name.number));
        Ok(names.into_iter().map(|(_, name)| name).collect())
    }

    /// Reads a log. Blocks.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn log(&self, job: JobId, name: &LogName) -> Result<Vec<u8>, StoreError> {
        let path = self.log_directory(job).join(name.file());
        fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::NotFound { what: format!("log of {}", name.task) },
            _ => StorageError::io("read", &path, error).into(),
        })
    }

    pub(super) fn drop_logs(&self, job: JobId) -> Result<(), StoreError> {
        let directory = self.log_directory(job);
        let mut shares = lock(&self.0.logs);
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StorageError::io("delete", &directory, error).into());
            }
            _ => {}
        }
        shares.0.remove(&job);
        Ok(())
    }

    fn share_of<'a>(&self, shares: &'a mut Shares, job: JobId) -> Result<&'a mut Share, StoreError> {
        let vacant = match shares.0.entry(job) {
            Entry::Occupied(known) => return Ok(known.into_mut()),
            Entry::Vacant(vacant) => vacant,
        };
        let mut share = Share::default();
        for (name, bytes) in self.log_files(job)? {
            share = Share { last: share.last.max(name.number), logs: share.logs + 1, bytes: share.bytes + bytes };
        }
        Ok(vacant.insert(share))
    }

    fn log_files(&self, job: JobId) -> Result<Vec<(LogName, u64)>, StoreError> {
        let directory = self.log_directory(job);
        let failed = |error| StoreError::Storage(StorageError::io("list", &directory, error));
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_str().and_then(LogName::parse);
            let bytes = entry.metadata().map_or(0, |facts| facts.len());
            files.extend(name.map(|name| (name, bytes)));
        }
        Ok(files)
    }

    fn log_directory(&self, job: JobId) -> PathBuf {
        self.0.directory.join("logs").join(job.to_string())
    }
}

#[cfg(test)]
mod tests {
    use gristmill_common::{Generation, Stage, TaskRange};

    use super::*;

    fn grant(job: u128, first_fence: u64) -> GrantName {
        GrantName {
            job: JobId(uuid::Uuid::from_u128(job)),
            step: 2,
            stage: Stage::Reduce,
            tasks: TaskRange { first: 10, count: 3 },
            first_fence: Fence(first_fence),
            generation: Generation(0),
        }
    }

    #[test]
    fn logs_keep_their_order_and_the_later_of_two_counts() {
        let home = tempfile::tempdir().expect("a directory");
        let store = Store::open(home.path()).expect("a store");
        let job = grant(7, 0).job;
        for (fence, index, failed, text) in [(100, 11, true, "one"), (200, 10, false, "two"), (100, 11, true, "three")]
        {
            store.put_log(&grant(7, fence), index, failed, text.as_bytes()).expect("kept");
        }
        assert!(store.put_log(&grant(7, 1), 13, false, b"x").is_err(), "not a task of the grant");
        let names = store.logs(job).expect("listed");
        let seen: Vec<_> =
            names.iter().map(|name| (name.number, name.task.to_string(), name.fence.0, name.failed)).collect();
        assert_eq!(seen, [(2, "s2.r10".to_owned(), 200, false), (3, "s2.r11".to_owned(), 101, true)]);
        assert_eq!(store.log(job, &names[1]).expect("read"), b"three");
        drop(store);
        let store = Store::open(home.path()).expect("opens again");
        store.put_log(&grant(7, 300), 10, false, b"four").expect("kept");
        assert_eq!(store.logs(job).expect("listed").last().map(|name| name.number), Some(4));
        store.drop_logs(job).expect("dropped");
        assert_eq!(store.logs(job).expect("listed"), []);
    }

    #[test]
    fn a_jobs_share_is_bounded() {
        let home = tempfile::tempdir().expect("a directory");
        let store = Store::open(home.path()).expect("a store");
        let share = Share { last: 9, logs: 9, bytes: limits::JOB_LOGS_BYTES - 2 };
        lock(&store.0.logs).0.insert(grant(7, 0).job, share);
        store.put_log(&grant(7, 1), 10, false, b"12").expect("fits");
        let error = store.put_log(&grant(7, 1), 11, false, b"1").expect_err("full");
        assert!(matches!(error, StoreError::Quota { .. }), "{error}");
        store.put_log(&grant(8, 1), 11, false, b"1").expect("another job has its own share");
    }
}
