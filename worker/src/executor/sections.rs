//! Finds one partition of every map output of a step: inside the table itself, in a file of this host, or in the store.
//!
//! Files are opened twice: once to check them and to find the section, and again when the merge comes to it, so that ten
//! thousand maps do not need ten thousand descriptors. Sections from the store go to one scratch file a request; memory
//! is bounded by a chunk. Blocks are verified where they are read, so what is damaged here is noticed before user code.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BytesMut};
use gristmill_client::{Backoff, ClientError, Download};
use gristmill_common::wire::{FetchRequest, Location, OutputRef, output_name};
use gristmill_common::{Fence, GrantName, Reason, Stage, TaskName, WorkerId, limits};
use gristmill_runs::{RunError, RunFile};

use super::coordinator::{CONTINUATIONS, Coordinator, worker_failure};
use crate::data::unreadable_output;
use crate::program::{ReadFailed, Section};
use crate::state_dir;

/// Length in the answer to a fetch that says that an output is not there.
const NOT_THERE: u64 = u64::MAX;

/// Finds sections for one executor.
pub(crate) struct Sections<'a> {
    pub(crate) coordinator: &'a Coordinator,
    pub(crate) state_dir: &'a Path,
    pub(crate) scratch: &'a Path,
    /// Where workers of this host have their places; `None` for ones of other hosts.
    pub(crate) holders: &'a mut BTreeMap<WorkerId, Option<PathBuf>>,
}

impl Sections<'_> {
    /// Returns the partition's section of every output that has one.
    pub(crate) fn all(
        &mut self,
        token: &str,
        grant: &GrantName,
        partition: u32,
        outputs: &[OutputRef],
    ) -> Result<Vec<Section>, Reason> {
        let mut sections = Vec::new();
        let mut stored = Vec::new();
        for output in outputs {
            self.coordinator.tick();
            if let Some(text) = output.at.iter().find_map(inline) {
                sections.extend(from_inline(grant, output, text, partition)?);
            } else if let Some(path) = self.file_of(grant, output) {
                match from_file(&path, output, partition) {
                    Ok(section) => sections.extend(section),
                    Err(_) if output.at.contains(&Location::Store) => stored.push((output.map, output.fence)),
                    Err(error) => {
                        return Err(unreadable_output(map_name(grant, output.map), output.fence, &error));
                    }
                }
            } else if output.at.contains(&Location::Store) {
                stored.push((output.map, output.fence));
            } else {
                let map = map_name(grant, output.map);
                return Err(Reason::Unreachable { map, fence: output.fence });
            }
        }
        for (number, outputs) in stored.chunks(limits::OUTPUTS_PER_FETCH).enumerate() {
            let path = self.scratch.join(format!("fetched-{number}"));
            sections.extend(self.fetch(token, grant, partition, outputs, &path)?);
        }
        Ok(sections)
    }

    /// Returns the file of an output on this host.
    fn file_of(&mut self, grant: &GrantName, output: &OutputRef) -> Option<PathBuf> {
        output.at.iter().find_map(|at| {
            let Location::Worker(worker) = at else { return None };
            let state_dir = self.state_dir;
            let holder = self.holders.entry(*worker).or_insert_with(|| state_dir::holder(state_dir, *worker));
            let name = output_name(grant.job, grant.step, Stage::Map, output.map, output.fence);
            Some(holder.as_ref()?.join("outputs").join(name))
        })
    }

    /// Fetches one partition of outputs into a scratch file. A transfer that breaks off begins anew.
    fn fetch(
        &self,
        token: &str,
        grant: &GrantName,
        partition: u32,
        outputs: &[(u32, Fence)],
        path: &Path,
    ) -> Result<Vec<Section>, Reason> {
        let mut backoff = Backoff::default();
        loop {
            match self.fetch_once(token, grant, partition, outputs, path) {
                Ok(sections) => return Ok(sections),
                Err(FetchError::Failed(reason)) => return Err(reason),
                Err(FetchError::Broke(error)) if error.is_transient() && backoff.tries() < CONTINUATIONS => {
                    tracing::warn!(%error, "a fetch of map outputs broke off; fetching again");
                    self.coordinator.pause(&mut backoff);
                }
                Err(FetchError::Broke(error)) => return Err(worker_failure("fetch map outputs", &error)),
            }
        }
    }

    fn fetch_once(
        &self,
        token: &str,
        grant: &GrantName,
        partition: u32,
        outputs: &[(u32, Fence)],
        path: &Path,
    ) -> Result<Vec<Section>, FetchError> {
        let request = FetchRequest { partition, outputs: outputs.to_vec() };
        let mut body = self.coordinator.call("fetch map outputs", |client| {
            let (token, request) = (token.to_owned(), request.clone());
            async move { client.fetch(&token, &request).await }
        })?;
        let mut file = File::create(path).map_err(|error| worker_failure("write fetched map outputs", &error))?;
        let mut frames = Frames { coordinator: self.coordinator, body: &mut body, ahead: BytesMut::new() };
        let mut sections = Vec::with_capacity(outputs.len());
        let mut at = 0;
        for &(map, fence) in outputs {
            let len = frames.length()?;
            if len == NOT_THERE {
                return Err(lost(grant, (map, fence), &"the coordinator's store does not have it").into());
            }
            frames.copy(len, &mut file)?;
            if len > 0 {
                let bytes = Box::new(LazyFile { path: path.to_owned(), own: true, at, left: len, file: None });
                sections.push(Section { map, fence, len, bytes });
            }
            at += len;
        }
        Ok(sections)
    }
}

fn inline(at: &Location) -> Option<&str> {
    if let Location::Inline(text) = at { Some(text) } else { None }
}

fn map_name(grant: &GrantName, map: u32) -> TaskName {
    TaskName { step: grant.step, stage: Stage::Map, index: map }
}

fn lost(grant: &GrantName, (map, fence): (u32, Fence), error: &dyn std::fmt::Display) -> Reason {
    let message = gristmill_common::reason::bounded(error.to_string());
    Reason::LostOutput { map: map_name(grant, map), fence, message }
}

fn from_inline(grant: &GrantName, output: &OutputRef, text: &str, partition: u32) -> Result<Option<Section>, Reason> {
    let bad = |error: &dyn std::fmt::Display| lost(grant, (output.map, output.fence), error);
    let content = STANDARD.decode(text).map_err(|error| bad(&error))?;
    let run = RunFile::from_bytes(content).map_err(|error| bad(&error))?;
    check_fence(&run, output).map_err(|error| bad(&error))?;
    let bytes = run.section_bytes(partition);
    let (map, fence, len) = (output.map, output.fence, bytes.len());
    Ok((len > 0).then(|| Section { map, fence, len, bytes: Box::new(bytes) }))
}

/// Same host or not is proven here: the file opens and its fence is the one that was won.
fn from_file(path: &Path, output: &OutputRef, partition: u32) -> Result<Option<Section>, RunError> {
    let run = RunFile::open(File::open(path)?)?;
    check_fence(&run, output)?;
    let range = run.section(partition);
    let (map, fence, len) = (output.map, output.fence, range.end - range.start);
    let bytes = LazyFile { path: path.to_owned(), own: false, at: range.start, left: len, file: None };
    Ok((len > 0).then(|| Section { map, fence, len, bytes: Box::new(bytes) }))
}

fn check_fence(run: &RunFile, output: &OutputRef) -> Result<(), RunError> {
    if run.fence() == output.fence {
        return Ok(());
    }
    let text = format!("it is of attempt {}, not {}", run.fence(), output.fence);
    Err(RunError::Io(io::Error::new(io::ErrorKind::InvalidData, text)))
}

/// A range of a file that is open only while it is read.
struct LazyFile {
    path: PathBuf,
    /// A scratch file: that it cannot be read is no map's fault.
    own: bool,
    at: u64,
    left: u64,
    file: Option<File>,
}

impl LazyFile {
    fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            self.file = None;
            return Ok(0);
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut file = File::open(&self.path)?;
                file.seek(SeekFrom::Start(self.at))?;
                none.insert(file)
            }
        };
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = file.read(&mut buffer[..wanted])?;
        self.at += read as u64;
        self.left -= read as u64;
        if self.left == 0 {
            self.file = None;
        }
        Ok(read)
    }
}

impl Read for LazyFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_some(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ if self.own => ReadFailed(worker_failure("read fetched map outputs", &error)).into(),
            _ => error,
        })
    }
}

/// Why a fetch brought nothing.
enum FetchError {
    /// The transfer broke off.
    Broke(ClientError),
    /// It would end so again.
    Failed(Reason),
}

impl From<Reason> for FetchError {
    fn from(reason: Reason) -> Self {
        Self::Failed(reason)
    }
}

/// The answer to a fetch: lengths and that many bytes, in turns.
struct Frames<'a> {
    coordinator: &'a Coordinator,
    body: &'a mut Download,
    ahead: BytesMut,
}

impl Frames<'_> {
    fn more(&mut self) -> Result<(), FetchError> {
        let chunk = self.coordinator.chunk(self.body).map_err(FetchError::Broke)?;
        if chunk.is_empty() {
            return Err(worker_failure("fetch map outputs", &"the answer ends early").into());
        }
        self.ahead.extend_from_slice(&chunk);
        Ok(())
    }

    fn length(&mut self) -> Result<u64, FetchError> {
        while self.ahead.len() < 8 {
            self.more()?;
        }
        Ok(self.ahead.get_u64_le())
    }

    fn copy(&mut self, mut left: u64, to: &mut File) -> Result<(), FetchError> {
        while left > 0 {
            if self.ahead.is_empty() {
                self.more()?;
            }
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.ahead.len());
            let written = to.write_all(&self.ahead.split_to(here));
            written.map_err(|error| worker_failure("write fetched map outputs", &error))?;
            left -= here as u64;
        }
        Ok(())
    }
}
