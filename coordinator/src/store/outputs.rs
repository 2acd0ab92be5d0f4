//! Map outputs and parts in the store, under the names that `output_name` makes, and the manifest that completes them.
//!
//! A name comes from a peer's token and is still checked here. A blob that is sent is verified whole before it gets its name;
//! one that was laid into the inbox went no way on which it could be damaged, and is verified by the commit. Parts are fsynced,
//! relayed map outputs are not: their checksums find a loss, and the map runs again.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use gristmill_common::wire::placed_name;
use gristmill_common::{Fence, JobId, Stage};
use gristmill_runs::{Checksum, RunFile, RunSummary, verify_run};
use gristmill_storage::{Staged, StorageError, sync_directory};
use tokio::io::AsyncWriteExt as _;

use super::{LOOK_EVERY_BYTES, SUCCESS, Store, StoreError, blocking, lock};

/// A name that `output_name` made, taken apart.
struct OutputName<'a> {
    job: JobId,
    file: &'a str,
    fence: Fence,
}

impl OutputName<'_> {
    /// Whether a reduce wrote it: a part, or map outputs of the next step, which live nowhere else.
    fn is_of_reduce(&self) -> bool {
        let task = self.file.split('-').nth(1);
        task.is_some_and(|task| task.starts_with(Stage::Reduce.letter()))
    }
}

fn parse(name: &str) -> Result<OutputName<'_>, StoreError> {
    let parsed = || {
        let (job, file) = name.split_once('/')?;
        let (task, fence) = file.rsplit_once("-a")?;
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let (step, task) = task.split_once('-')?;
        let id: JobId = job.parse().ok()?;
        let spelled = id.to_string() == job && plain(step) && plain(task) && plain(fence);
        spelled.then_some(OutputName { job: id, file, fence: Fence(fence.parse().ok()?) })
    };
    parsed().ok_or_else(|| StoreError::BadName { name: name.to_owned() })
}

/// Bytes counted against a job while they are received; taken off again unless they are kept.
struct Reservation<'a> {
    store: &'a Store,
    job: JobId,
    bytes: u64,
}

impl Reservation<'_> {
    fn grow(&mut self, name: &str, bytes: u64) -> Result<(), StoreError> {
        let used = lock(&self.store.0.usage).add(self.job, bytes);
        self.bytes += bytes;
        self.store.0.room.check_quota(name, used)
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        lock(&self.store.0.usage).subtract(self.job, self.bytes);
    }
}

/// Manifests are written and read through a buffer of this size: they may have a million parts.
const MANIFEST_BUFFER_BYTES: usize = 256 << 10;

impl Store {
    /// Receives a run file, verifies all of it and gives it its name; durable when it is a part, or what a reduce leaves that runs
    /// the next step's map too.
    ///
    /// Writing the same attempt's output again replaces it by an equal one.
    ///
    /// # Errors
    /// [`StoreError::Quota`] past the job's share, [`StorageError::Full`] at the reserve, [`StoreError::Damaged`] for bytes
    /// that are no run of this attempt, [`StorageError::Broken`] when the body fails; nothing appears then.
    pub async fn put_output<S, E>(&self, name: &str, body: S) -> Result<RunSummary, StoreError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
        E: std::fmt::Display + Send,
    {
        let (staged, reservation) = self.stage_output(name, body).await?;
        let (store, name, received) = (self.clone(), name.to_owned(), reservation.bytes);
        blocking(move || store.keep_run(&name, staged, received)).await
    }

    /// Receives a finished part, verifies it and gives it its name, durably.
    ///
    /// # Errors
    /// As [`Self::put_output`].
    pub async fn put_finished<S, E>(&self, name: &str, file: Checksum, body: S) -> Result<(), StoreError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
        E: std::fmt::Display + Send,
    {
        let (staged, reservation) = self.stage_output(name, body).await?;
        let (store, name, received) = (self.clone(), name.to_owned(), reservation.bytes);
        blocking(move || {
            let from = File::open(staged.path()).map_err(|error| StorageError::io("read", staged.path(), error))?;
            file.check(from, |_| Ok(())).map_err(|error| StoreError::run(&name, error))?;
            store.keep(&parse(&name)?, staged, received, true)
        })
        .await
    }

    /// Takes a finished part of so many bytes out of the inbox and gives it its name, durably. The commit verifies it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if no such file is there; then as [`Self::put_output`].
    pub async fn take_laid(&self, name: &str, bytes: u64) -> Result<(), StoreError> {
        let parsed = parse(name)?;
        self.0.room.check(name)?;
        let mut reservation = Reservation { store: self, job: parsed.job, bytes: 0 };
        reservation.grow(name, bytes)?;
        let (store, name) = (self.clone(), name.to_owned());
        blocking(move || {
            let found = store.0.inbox.find(&placed_name(&name), bytes);
            let found = found
                .ok_or_else(|| StoreError::NotFound { what: format!("part {name} of {bytes} bytes in its inbox") })?;
            store.keep(&parse(&name)?, Staged::open(found)?, bytes, true)
        })
        .await
    }

    async fn stage_output<S, E>(&self, name: &str, body: S) -> Result<(Staged, Reservation<'_>), StoreError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
        E: std::fmt::Display + Send,
    {
        let job = parse(name)?.job;
        self.0.room.check(name)?;
        let staged = {
            let store = self.clone();
            blocking(move || store.stage()).await?
        };
        let mut reservation = Reservation { store: self, job, bytes: 0 };
        self.receive(name, body, &staged, &mut reservation).await?;
        Ok((staged, reservation))
    }

    async fn receive<S, E>(
        &self,
        name: &str,
        mut body: S,
        staged: &Staged,
        reservation: &mut Reservation<'_>,
    ) -> Result<(), StoreError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
        E: std::fmt::Display + Send,
    {
        let failed = |error| StoreError::Storage(StorageError::io("write", staged.path(), error));
        let mut file = tokio::fs::File::from_std(staged.try_clone().map_err(failed)?);
        let mut since_look = 0;
        while let Some(chunk) = body.next().await {
            let chunk =
                chunk.map_err(|error| StorageError::Broken { what: name.to_owned(), why: error.to_string() })?;
            reservation.grow(name, chunk.len() as u64)?;
            since_look += chunk.len() as u64;
            if since_look >= LOOK_EVERY_BYTES {
                since_look = 0;
                self.0.room.check(name)?;
            }
            file.write_all(&chunk).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)
    }

    /// Verifies a received run and gives it its name.
    fn keep_run(&self, name: &str, staged: Staged, received: u64) -> Result<RunSummary, StoreError> {
        let parsed = parse(name)?;
        let file = staged.try_clone().map_err(|error| StorageError::io("read", staged.path(), error))?;
        let run = RunFile::open(file).map_err(|error| StoreError::run(name, error))?;
        let (header, summary) = verify_run(&run).map_err(|error| StoreError::run(name, error))?;
        if header.fence != parsed.fence {
            let why = format!("attempt {} wrote it", header.fence);
            return Err(StoreError::Damaged { what: name.to_owned(), why });
        }
        self.keep(&parsed, staged, received, run.is_part() || parsed.is_of_reduce())?;
        Ok(summary)
    }

    /// Gives a file its name; durably if it is a part.
    fn keep(&self, name: &OutputName<'_>, staged: Staged, received: u64, is_part: bool) -> Result<(), StoreError> {
        let path = self.output_path(name);
        self.make_job_directory(name.job)?;
        let replaced = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        if is_part && self.0.room.is_durable() {
            staged.publish(&path)?;
        } else {
            staged.rename(&path)?;
        }
        // The caller's reservation goes when it returns; these bytes stay.
        let mut usage = lock(&self.0.usage);
        usage.add(name.job, received);
        usage.subtract(name.job, replaced);
        Ok(())
    }

    /// Opens a finished part; what it holds is not verified. Blocks.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Damaged`].
    pub(crate) fn open_file(&self, name: &str, bytes: u64) -> Result<(PathBuf, File), StoreError> {
        let path = self.output_path(&parse(name)?);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NotFound { what: format!("output {name}") });
            }
            Err(error) => return Err(StorageError::io("open", &path, error).into()),
        };
        let found = file.metadata().map_err(|error| StorageError::io("read", &path, error))?.len();
        if found != bytes {
            let why = format!("it has {found} bytes, {bytes} were written");
            return Err(StoreError::Damaged { what: name.to_owned(), why });
        }
        Ok((path, file))
    }

    /// Opens an output: checks its index and its attempt, not its blocks, which are checked as they are read. Blocks.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Damaged`].
    pub fn open_output(&self, name: &str) -> Result<RunFile, StoreError> {
        let parsed = parse(name)?;
        let path = self.output_path(&parsed);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NotFound { what: format!("output {name}") });
            }
            Err(error) => return Err(StorageError::io("open", &path, error).into()),
        };
        let run = RunFile::open(file).map_err(|error| StoreError::run(name, error))?;
        if run.fence() != parsed.fence {
            let why = format!("attempt {} wrote it", run.fence());
            return Err(StoreError::Damaged { what: name.to_owned(), why });
        }
        Ok(run)
    }

    /// Deletes a job's outputs except these, once its result no longer needs them. Blocks.
    ///
    /// # Errors
    /// If they cannot be listed or deleted.
    pub(crate) fn keep_outputs_only(&self, job: JobId, keep: &[String]) -> Result<(), StoreError> {
        let directory = self.job_directory(job);
        let failed = |error| StorageError::io("delete in", &directory, error);
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error).into()),
        };
        let keep: HashSet<_> = keep.iter().filter_map(|name| name.rsplit('/').next()).chain([SUCCESS]).collect();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            if !entry.file_name().to_str().is_some_and(|name| keep.contains(name)) {
                let bytes = entry.metadata().map_err(failed)?.len();
                fs::remove_file(entry.path()).map_err(failed)?;
                lock(&self.0.usage).subtract(job, bytes);
            }
        }
        Ok(())
    }

    /// Writes the manifest of a job's output, durably. Blocks.
    pub(crate) fn put_manifest(
        &self,
        job: JobId,
        write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        self.make_job_directory(job)?;
        let mut staged = self.stage()?;
        let mut file = io::BufWriter::with_capacity(MANIFEST_BUFFER_BYTES, &mut staged);
        let written = write(&mut file).and_then(|()| file.write_all(b"\n")).and_then(|()| file.flush());
        drop(file);
        written.map_err(|error| StorageError::io("write", staged.path(), error))?;
        Ok(staged.publish(&self.job_directory(job).join(SUCCESS))?)
    }

    /// Opens the manifest of a job's output, to be read from its beginning. Blocks.
    pub(crate) fn open_manifest(&self, job: JobId) -> Result<io::BufReader<File>, StoreError> {
        let path = self.job_directory(job).join(SUCCESS);
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::NotFound { what: format!("output of job {job}") })
            }
            opened => {
                let file = opened.map_err(|error| StorageError::io("open", &path, error))?;
                Ok(io::BufReader::with_capacity(MANIFEST_BUFFER_BYTES, file))
            }
        }
    }

    pub(super) fn drop_outputs(&self, job: JobId) -> Result<(), StoreError> {
        self.0.inbox.sweep(&placed_name(&format!("{job}/")))?;
        // Moved first: what is half deleted must not look like an output.
        let (directory, gone) = (self.job_directory(job), self.temporary());
        match fs::rename(&directory, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StorageError::io("delete", &directory, error).into()),
            Ok(()) => fs::remove_dir_all(&gone).map_err(|error| StorageError::io("delete", &gone, error))?,
        }
        lock(&self.0.usage).forget(job);
        Ok(())
    }

    fn make_job_directory(&self, job: JobId) -> Result<(), StoreError> {
        let path = self.job_directory(job);
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(StorageError::io("create", &path, error).into()),
            Ok(()) => Ok(sync_directory(&self.0.directory.join("outputs"))?),
        }
    }

    fn job_directory(&self, job: JobId) -> PathBuf {
        self.0.directory.join("outputs").join(job.to_string())
    }

    fn output_path(&self, name: &OutputName<'_>) -> PathBuf {
        self.job_directory(name.job).join(name.file)
    }
}
