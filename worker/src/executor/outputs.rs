//! Where the output of an attempt goes: into its report when it is small and one of few, else into the worker's directory
//! or the store.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use gristmill_client::Body;
use gristmill_common::wire::{Location, Output, output_name_in};
use gristmill_common::{GrantName, JobId, Reason, WorkerId, limits};
use gristmill_runs::RunSummary;
use tokio::io::AsyncReadExt;

use super::coordinator::{Coordinator, worker_failure};

/// Bytes sent to the store at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Places outputs for one executor.
pub(crate) struct Outputs {
    pub(crate) worker: WorkerId,
    pub(crate) directory: PathBuf,
    /// Jobs whose directory is known to exist.
    pub(crate) jobs: BTreeSet<JobId>,
}

/// A finished run file and what it is.
pub(crate) struct Made<'a> {
    pub(crate) token: &'a str,
    pub(crate) grant: &'a GrantName,
    pub(crate) index: u32,
    pub(crate) is_part: bool,
    /// How many tasks its stage has.
    pub(crate) tasks: u32,
    pub(crate) path: &'a Path,
    pub(crate) summary: RunSummary,
}

impl Outputs {
    /// Moves the file to where others find it, and describes it.
    pub(crate) fn place(&mut self, coordinator: &Coordinator, made: &Made<'_>) -> Result<Output, Reason> {
        let RunSummary { records, bytes, digest, text_bytes } = made.summary;
        let at = if bytes == 0 {
            Location::Nothing
        } else if bytes <= limits::INLINE_OUTPUT_BYTES as u64 && made.tasks <= limits::INLINE_TASKS {
            let content = fs::read(made.path).and_then(|content| fs::remove_file(made.path).map(|()| content));
            Location::Inline(STANDARD.encode(content.map_err(|error| worker_failure("read back an output", &error))?))
        } else if made.is_part {
            send(coordinator, made)?;
            let _ = fs::remove_file(made.path);
            Location::Store
        } else {
            self.keep(made).map_err(|error| worker_failure("keep an output", &error))?;
            Location::Worker(self.worker)
        };
        Ok(Output { records, bytes, text_bytes, digest: format!("{digest:016x}"), at })
    }

    fn keep(&mut self, made: &Made<'_>) -> io::Result<()> {
        let name = output_name_in(made.grant, made.index).ok_or_else(|| io::Error::other("not a task of its grant"))?;
        let target = self.directory.join(name);
        let job = self.directory.join(made.grant.job.to_string());
        if self.jobs.insert(made.grant.job) {
            fs::create_dir_all(&job)?;
        }
        match fs::rename(made.path, &target) {
            // The job was thought to be over, and its directory was swept.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&job)?;
                fs::rename(made.path, &target)
            }
            result => result,
        }
    }
}

/// Puts a part into the store. The coordinator verifies it, and writing it again changes nothing.
fn send(coordinator: &Coordinator, made: &Made<'_>) -> Result<(), Reason> {
    let (index, bytes) = (made.index, made.summary.bytes);
    let path = Arc::new(made.path.to_owned());
    let sent = coordinator.call("put a part into the store", |client| {
        let (path, token) = (Arc::clone(&path), made.token.to_owned());
        // A body that is shorter than was said breaks off as one to a coordinator that is away does, and would be tried
        // again for as long.
        let whole = is_whole(&path, bytes);
        let body = file_body(&path, coordinator.sign_of_life());
        async move {
            match whole {
                Ok(()) => client.put_output(&token, index, body, bytes).await.map(Ok),
                Err(error) => Ok(Err(error)),
            }
        }
    })?;
    sent.map_err(|error| worker_failure("read back a part", &error))
}

/// Fails unless the file has as many bytes as were written.
fn is_whole(path: &Path, bytes: u64) -> io::Result<()> {
    let found = fs::metadata(path)?.len();
    let why =
        || io::Error::other(format!("{} has {found} bytes, {bytes} were written: somebody changed it", path.display()));
    (found == bytes).then_some(()).ok_or_else(why)
}

/// Streams a file; one that cannot be read breaks the request off. `moved` is called for each chunk.
pub(crate) fn file_body(path: &Path, moved: impl Fn() + Send + Sync + 'static) -> Body {
    let opened = fs::File::open(path);
    Body::wrap_stream(stream::try_unfold(None, move |state: Option<tokio::fs::File>| {
        moved();
        let first = match (&state, &opened) {
            (Some(_), _) => Ok(None),
            (None, Ok(file)) => file.try_clone().map(Some),
            (None, Err(error)) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        async move {
            let mut file = match (state, first?) {
                (Some(file), _) => file,
                (None, Some(file)) => tokio::fs::File::from_std(file),
                (None, None) => return Ok(None),
            };
            let mut chunk = bytes::BytesMut::with_capacity(CHUNK_BYTES);
            let read = file.read_buf(&mut chunk).await?;
            Ok::<_, io::Error>((read > 0).then(|| (chunk.freeze(), Some(file))))
        }
    }))
}
