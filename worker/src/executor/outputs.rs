//! Where the output of an attempt goes: into its report when it is small and one of few, else into the worker's directory
//! or the store. A finished part is laid into the inbox of a store on the same host; everything else is sent there.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use gristmill_client::Body;
use gristmill_common::plan::PartForm;
use gristmill_common::wire::{Location, Output, PutOutput, output_name_in, placed_name};
use gristmill_common::{Code, GrantName, JobId, Reason, WorkerId, limits};
use gristmill_runs::RunSummary;
use gristmill_storage::Inbox;
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
    /// Where finished parts are laid, if the store seems to be on this host.
    pub(crate) inbox: Option<Inbox>,
}

/// A file that an attempt made and what it is.
pub(crate) struct Made<'a> {
    pub(crate) token: &'a str,
    pub(crate) grant: &'a GrantName,
    pub(crate) index: u32,
    /// Whether it goes to the store when it is too large for its report: a part, or what maps of the next step made.
    pub(crate) is_kept: bool,
    /// What kind of file it is.
    pub(crate) form: PartForm,
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
        } else if made.is_kept {
            if made.form == PartForm::Run || !self.lay(coordinator, made)? {
                send(coordinator, made)?;
            }
            let _ = fs::remove_file(made.path);
            Location::Store
        } else {
            self.keep(made).map_err(|error| worker_failure("keep an output", &error))?;
            Location::Worker(self.worker)
        };
        Ok(Output { records, bytes, text_bytes, digest: format!("{digest:016x}"), at, form: made.form })
    }

    /// Lays a finished part into the inbox of the store; `false` when that is not possible.
    fn lay(&mut self, coordinator: &Coordinator, made: &Made<'_>) -> Result<bool, Reason> {
        let (Some(inbox), Some(name)) = (&self.inbox, output_name_in(made.grant, made.index)) else { return Ok(false) };
        let name = placed_name(&name);
        if inbox.lay(made.path, &name).is_err() {
            // Of another user, or on another disk: it will be so for the next part too.
            self.inbox = None;
            return Ok(false);
        }
        let about = PutOutput { bytes: Some(made.summary.bytes), checksum: None, placed: true };
        let placed = coordinator.try_call(|client| {
            let (token, about) = (made.token.to_owned(), about.clone());
            async move { client.put_output(&token, made.index, &about, "", 0).await }
        });
        match placed {
            Ok(()) => Ok(true),
            Err(error) => {
                inbox.withdraw(&name);
                if error.code() == Some(Code::NotFound) {
                    // It is the inbox of another coordinator, or an answer was lost.
                    return Ok(false);
                }
                Err(worker_failure("put a part into the store", &error))
            }
        }
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
    let about = match made.form {
        PartForm::Run => PutOutput::default(),
        PartForm::File => {
            PutOutput { bytes: Some(bytes), checksum: Some(format!("{:016x}", made.summary.digest)), placed: false }
        }
    };
    let sent = coordinator.call("put a part into the store", |client| {
        let (path, token) = (Arc::clone(&path), made.token.to_owned());
        // A body that is shorter than was said breaks off as one to a coordinator that is away does, and would be tried
        // again for as long.
        let whole = is_whole(&path, bytes);
        let body = file_body(&path, coordinator.sign_of_life());
        let about = about.clone();
        async move {
            match whole {
                Ok(()) => client.put_output(&token, index, &about, body, bytes).await.map(Ok),
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
