//! The coordinator's blobs: plans, relayed map outputs, parts, manifests and users' files, under `<data>/store`.
//!
//! ```text
//! store/plans/JOB.json      plans, immutable, fsynced before they are acknowledged
//! store/outputs/JOB/NAME    map outputs (not fsynced: a checksum finds the loss, the map runs again) and parts (fsynced)
//! store/inbox/JOB-NAME      parts that workers of this host lay there instead of sending them, swept at every start
//! store/outputs/JOB/_SUCCESS  manifest of a job whose output stays here
//! store/bundles/SHA256      bundles of programs
//! store/logs/JOB/NAME       logs of attempts (not fsynced)
//! store/files/…             users' files, store://…
//! store/commits/JOB         an output that goes among the users' files, until it gets its name there by one rename
//! store/tmp/N               what is being written, swept at every start
//! ```
//!
//! Nothing appears under its name before it is whole and verified. Never touched by the driver: what blocks runs on
//! threads that may block.

mod bundles;
mod error;
#[cfg(test)]
pub(crate) mod fixture;
mod logs;
mod outputs;
mod plans;
mod room;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use gristmill_common::{JobId, limits};
use gristmill_storage::{Inbox, ObjectFacts, Objects, Staged, StorageError, StorePath, sync_directory};

pub use self::error::StoreError;
pub use self::logs::LogName;
use self::logs::Shares;
use self::plans::PlanCache;
pub use self::room::StoreLimits;
use self::room::{Room, Usage};

/// The coordinator's blobs. Clones share one store.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    files: Objects,
    inbox: Inbox,
    room: Room,
    usage: Mutex<Usage>,
    plans: Mutex<PlanCache>,
    logs: Mutex<Shares>,
    /// Held while a bundle is touched or swept.
    bundles: Mutex<()>,
    next_temporary: AtomicU64,
    /// Jobs that had blobs when the store was opened, until they were compared with the journal.
    found: Mutex<Vec<JobId>>,
}

/// Name of the manifest of an output: the last file to appear.
pub const SUCCESS: &str = "_SUCCESS";
/// Bytes of an upload between two looks at the free space.
const LOOK_EVERY_BYTES: u64 = 16 << 20;

impl Store {
    /// Opens the store in the data directory, which this process must own, and sweeps what a crash left half written.
    ///
    /// # Errors
    /// If its directories cannot be made or read.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(data_dir, StoreLimits::default())
    }

    /// As [`Self::open`], with other limits.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(data_dir: &Path, limits: StoreLimits) -> Result<Self, StoreError> {
        let directory = data_dir.join("store");
        let temporary = directory.join("tmp");
        match fs::remove_dir_all(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StorageError::io("sweep", &temporary, error).into());
            }
            _ => {}
        }
        for name in ["plans", "outputs", "bundles", "logs", "files", "commits", "tmp"] {
            let path = directory.join(name);
            fs::create_dir_all(&path).map_err(|error| StorageError::io("create", &path, error))?;
        }
        let inbox = Inbox::of_store(&directory);
        inbox.make_empty()?;
        sync_directory(&directory)?;
        sync_directory(data_dir)?;
        let files = directory.join("files");
        sweep_uploads(&files).map_err(|error| StorageError::io("sweep", &files, error))?;
        let outputs = directory.join("outputs");
        let usage = Usage::measure(&outputs).map_err(|error| StorageError::io("list", &outputs, error))?;
        let found = jobs_in(&directory)?;
        Ok(Self(Arc::new(Inner {
            found: Mutex::new(found),
            files: Objects::local(&files)?,
            inbox,
            room: Room::new(&directory, limits),
            directory,
            usage: Mutex::new(usage),
            plans: Mutex::new(PlanCache::default()),
            logs: Mutex::new(Shares::default()),
            bundles: Mutex::new(()),
            next_temporary: AtomicU64::new(0),
        })))
    }

    /// Returns users' files, to look up, read, list and delete; [`Self::put_file`] writes them.
    #[must_use]
    pub fn files(&self) -> &Objects {
        &self.0.files
    }

    /// Writes a user's file; replaces one of the same path.
    ///
    /// # Errors
    /// [`StorageError::Full`] past the limit of one file or the reserve, [`StorageError::Broken`] when the body fails;
    /// nothing appears then.
    pub async fn put_file<S, E>(&self, path: &StorePath, body: S) -> Result<ObjectFacts, StoreError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
        E: std::fmt::Display + Send,
    {
        self.0.room.check(&path.url())?;
        let mut since_look = 0;
        let watched = body.map(|chunk| {
            let chunk = chunk.map_err(|error| StorageError::Broken { what: path.url(), why: error.to_string() })?;
            since_look += chunk.len() as u64;
            if since_look >= LOOK_EVERY_BYTES {
                since_look = 0;
                self.0.room.check(&path.url())?;
            }
            Ok(chunk)
        });
        self.0.files.put(path, watched, limits::UPLOAD_BYTES).await?;
        Ok(self.0.files.head(path).await?)
    }

    /// Refuses when the disk's reserve is reached; `what` is what would be written.
    pub(crate) fn check_room(&self, what: &str) -> Result<(), StorageError> {
        self.0.room.check(what)
    }

    /// Returns where outputs are written that go among the users' files; the job that commits owns its names there.
    pub(crate) fn commits(&self) -> PathBuf {
        self.0.directory.join("commits")
    }

    /// Returns the directory of the users' files.
    pub(crate) fn files_directory(&self) -> PathBuf {
        self.0.directory.join("files")
    }

    /// Deletes everything of a job: plan, map outputs, parts, manifest and logs.
    ///
    /// # Errors
    /// If something cannot be deleted; calling it again goes on where it stopped.
    pub async fn drop_job(&self, job: JobId) -> Result<(), StoreError> {
        let store = self.clone();
        blocking(move || store.drop_all(job)).await
    }

    /// Deletes what a commit wrote that will not be finished: its job lost a part and then failed.
    fn drop_commit(&self, job: JobId) -> Result<(), StoreError> {
        let path = self.commits().join(job.to_string());
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StorageError::io("delete", &path, error).into())
            }
            _ => Ok(()),
        }
    }

    /// Deletes everything of jobs that `is_known` does not know: what a crash between an upload and a removal left.
    ///
    /// Only jobs that had blobs when the store was opened are looked at, so that one accepted since is safe.
    ///
    /// # Errors
    /// If something cannot be deleted.
    pub async fn drop_unknown_jobs(&self, is_known: impl Fn(JobId) -> bool + Send + 'static) -> Result<(), StoreError> {
        let store = self.clone();
        blocking(move || {
            let found = std::mem::take(&mut *lock(&store.0.found));
            for job in found.into_iter().filter(|job| !is_known(*job)) {
                store.drop_all(job)?;
            }
            Ok(())
        })
        .await
    }

    fn drop_all(&self, job: JobId) -> Result<(), StoreError> {
        self.drop_outputs(job)?;
        self.drop_commit(job)?;
        self.drop_logs(job)?;
        self.drop_plan(job)
    }

    /// Returns the bytes of map outputs and parts kept for a job.
    #[must_use]
    pub fn usage(&self, job: JobId) -> u64 {
        lock(&self.0.usage).of(job)
    }

    /// Starts a file under a temporary name of this store.
    pub(crate) fn stage(&self) -> Result<Staged, StoreError> {
        Ok(Staged::create(self.temporary())?)
    }

    fn temporary(&self) -> PathBuf {
        let number = self.0.next_temporary.fetch_add(1, Ordering::Relaxed);
        self.0.directory.join("tmp").join(number.to_string())
    }
}

/// Runs what blocks on a thread that may block; a panic there is an error here.
pub(crate) async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StorageError> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        let source = io::Error::other(error);
        Err(StorageError::Io { action: "finish", what: "work in the background".to_owned(), source }.into())
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is behind these locks is counts and a cache: usable whatever a panicking holder did.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Lists the jobs that have blobs.
fn jobs_in(directory: &Path) -> Result<Vec<JobId>, StorageError> {
    let mut jobs = Vec::new();
    for name in ["plans", "outputs", "logs"] {
        let directory = directory.join(name);
        let failed = |error| StorageError::io("list", &directory, error);
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let file = entry.map_err(failed)?.file_name();
            jobs.extend(Path::new(&file).file_stem().and_then(|stem| stem.to_str()?.parse::<JobId>().ok()));
        }
    }
    jobs.sort_unstable();
    jobs.dedup();
    Ok(jobs)
}

/// Deletes uploads that a crash interrupted: `object_store` writes them as `NAME#NUMBER`, and encodes `#` in names.
fn sweep_uploads(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sweep_uploads(&entry.path())?;
        } else if entry.file_name().to_string_lossy().contains('#') {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
