//! A worker's own place on disk: `<state>/workers/<n>`, claimed by a lock that ends with the process.
//!
//! Its id lives there and outlasts the process, so a new process that claims a dead one's place is the same worker and
//! announces its outputs again. Nothing outside the claimed place is ever written or swept; other workers of the host only
//! read from it (`outputs/`).
//!
//! ```text
//! <state>/workers/0/lock         held while the process lives
//!                   id           the worker's uuid
//!                   incarnation  how often the place was claimed
//!                   outbox       reports that are not acknowledged
//!                   outputs/JOB/s0-m12-a4711
//!                   scratch/     of running attempts; emptied at every claim
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use gristmill_common::wire::output_name_in;
use gristmill_common::{GrantName, JobId, WorkerId};
use uuid::Uuid;

/// Workers that one state directory has place for.
const PLACES: u32 = 4_096;

/// A claimed place.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    number: u32,
    id: WorkerId,
    incarnation: u64,
    /// Released by the system when the process ends, however it ends.
    _lock: File,
}

/// Says why no place could be claimed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The system refused.
    #[error("cannot {action} `{}`: {source}; is --state-dir on a disk that can be written?", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of the place does not say what it should.
    #[error("`{}` is damaged; delete its directory if its outputs are not needed", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Every place is taken.
    #[error("all {PLACES} places under `{}` are taken by running workers", path.display())]
    Crowded {
        /// The directory.
        path: PathBuf,
    },
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StateError + 'a {
    move |source| StateError::Io { action, path: path.to_owned(), source }
}

impl StateDir {
    /// Claims the first place under `state` that no living process holds. `fresh` is the id of a place that never had one.
    ///
    /// # Errors
    /// [`StateError`].
    pub(crate) fn claim(state: &Path, fresh: Uuid) -> Result<Self, StateError> {
        let workers = state.join("workers");
        create_private(&workers)?;
        for number in 0..PLACES {
            let path = workers.join(number.to_string());
            create_private(&path)?;
            let lock_path = path.join("lock");
            let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
            let lock = lock.map_err(failed("open", &lock_path))?;
            match lock.try_lock() {
                Ok(()) => return Self::take(path, number, lock, fresh),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(failed("lock", &lock_path)(error)),
            }
        }
        Err(StateError::Crowded { path: workers })
    }

    fn take(path: PathBuf, number: u32, lock: File, fresh: Uuid) -> Result<Self, StateError> {
        let id = match read_number(&path.join("id"), |text| text.parse().ok())? {
            Some(id) => id,
            None => {
                write_durably(&path, "id", &fresh.to_string())?;
                WorkerId(fresh)
            }
        };
        let before: u64 = read_number(&path.join("incarnation"), |text| text.parse().ok())?.unwrap_or(0);
        let incarnation = before + 1;
        // Durable before the first poll: of two sessions the higher one is the living one, also after a power loss.
        write_durably(&path, "incarnation", &incarnation.to_string())?;
        let dir = Self { path, number, id, incarnation, _lock: lock };
        let scratch = dir.scratch();
        match fs::remove_dir_all(&scratch) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("empty", &scratch)(error)),
            _ => create_private(&scratch)?,
        }
        create_private(&dir.outputs())?;
        Ok(dir)
    }

    /// Returns its directory.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its number among the places of the host.
    #[must_use]
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Returns the worker's id.
    #[must_use]
    pub(crate) fn id(&self) -> WorkerId {
        self.id
    }

    /// Returns how often the place was claimed, this time included.
    #[must_use]
    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Returns the directory of map outputs.
    #[must_use]
    pub(crate) fn outputs(&self) -> PathBuf {
        self.path.join("outputs")
    }

    /// Returns the directory of files that no attempt needs after its end.
    #[must_use]
    pub(crate) fn scratch(&self) -> PathBuf {
        self.path.join("scratch")
    }

    /// Returns where the outbox is.
    #[must_use]
    pub(crate) fn outbox(&self) -> PathBuf {
        self.path.join("outbox")
    }

    /// Returns where the output of a task of a grant is.
    #[must_use]
    pub(crate) fn output(&self, grant: &GrantName, index: u32) -> Option<PathBuf> {
        Some(self.outputs().join(output_name_in(grant, index)?))
    }

    /// Returns the jobs of which there are outputs.
    #[must_use]
    pub(crate) fn held_jobs(&self) -> Vec<JobId> {
        let entries = fs::read_dir(self.outputs()).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// Returns the directory of the outputs of a job that is over.
    #[must_use]
    pub(crate) fn job_outputs(&self, job: JobId) -> PathBuf {
        self.outputs().join(job.to_string())
    }
}

/// Finds the directory of a worker of this host; `None` if it has no place under this state directory.
#[must_use]
pub(crate) fn holder(state: &Path, worker: WorkerId) -> Option<PathBuf> {
    let places = fs::read_dir(state.join("workers")).ok()?;
    let mut paths = places.flatten().map(|entry| entry.path());
    paths.find(|path| fs::read_to_string(path.join("id")).is_ok_and(|text| text.trim().parse() == Ok(worker)))
}

/// Names what workers that can read each other's files have in common: this boot of the machine, and the directory under
/// which their places are, so that two containers with directories of their own are told apart.
///
/// # Errors
/// When the directory cannot be looked at.
pub(crate) fn host_identity(state: &Path) -> io::Result<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let place = fs::metadata(state.join("workers"))?;
    Ok(format!("{}/{}:{}", boot.trim(), place.dev(), place.ino()))
}

fn create_private(path: &Path) -> Result<(), StateError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create", path))
}

fn read_number<T>(path: &Path, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, StateError> {
    match fs::read_to_string(path) {
        Ok(text) => parse(text.trim()).map(Some).ok_or_else(|| StateError::Damaged { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

fn write_durably(directory: &Path, name: &str, text: &str) -> Result<(), StateError> {
    let (staged, target) = (directory.join(format!("{name}.new")), directory.join(name));
    let write = || -> io::Result<()> {
        let mut file = File::create(&staged)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&staged, &target)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(failed("write", &target))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uuid(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    #[test]
    fn a_place_is_taken_once_and_its_next_holder_is_the_same_worker() {
        let state = tempfile::tempdir().expect("a directory");
        let first = StateDir::claim(state.path(), uuid(1)).expect("claims");
        let second = StateDir::claim(state.path(), uuid(2)).expect("claims");
        assert_eq!((first.number(), second.number()), (0, 1));
        assert_eq!((first.id().0, first.incarnation()), (uuid(1), 1));
        fs::create_dir(first.job_outputs(JobId(uuid(7)))).expect("an output");
        fs::write(first.scratch().join("leftover"), "x").expect("a leftover");
        drop(first);
        let third = StateDir::claim(state.path(), uuid(3)).expect("claims");
        assert_eq!((third.number(), third.id().0, third.incarnation()), (0, uuid(1), 2));
        assert_eq!(third.held_jobs(), [JobId(uuid(7))]);
        assert_eq!(fs::read_dir(third.scratch()).expect("is there").count(), 0);
        assert_eq!(holder(state.path(), second.id()).as_deref(), Some(second.path()));
        assert_eq!(holder(state.path(), WorkerId(uuid(9))), None);
    }

    #[test]
    fn workers_that_start_at_once_get_places_of_their_own() {
        let state = tempfile::tempdir().expect("a directory");
        let path = state.path();
        let claimed: Vec<StateDir> = std::thread::scope(|scope| {
            let claims: Vec<_> =
                (0..8).map(|n| scope.spawn(move || StateDir::claim(path, uuid(n)).expect("claims"))).collect();
            claims.into_iter().map(|claim| claim.join().expect("no panic")).collect()
        });
        let mut numbers: Vec<u32> = claimed.iter().map(StateDir::number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn a_damaged_counter_is_not_taken_for_a_new_place() {
        let state = tempfile::tempdir().expect("a directory");
        let place = state.path().join("workers/0");
        fs::create_dir_all(&place).expect("a place");
        fs::write(place.join("incarnation"), "many").expect("damage");
        assert!(matches!(StateDir::claim(state.path(), uuid(1)), Err(StateError::Damaged { .. })));
    }
}
