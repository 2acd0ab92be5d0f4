//! Finds one partition of every map output of a step: inside the table itself, in a file of this host, with the worker that
//! made it where both serve each other, or in the store.
//!
//! Files are opened twice: once to check them and to find the section, and again when the merge comes to it, so that ten
//! thousand maps do not need ten thousand descriptors. Sections that are fetched arrive while they are merged. Blocks are
//! verified where they are read, so what is damaged here is noticed before user code.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gristmill_common::wire::{FetchRequest, Location, OutputRef, OutputsAnswer, output_name};
use gristmill_common::{Fence, GrantName, Reason, Stage, TaskName, WorkerId, limits};
use gristmill_runs::{RunError, RunFile};

use super::arrivals::{Arrivals, Transfers};
use super::coordinator::{Coordinator, worker_failure};
use super::fetch::{Fetch, Peers, Source};
use crate::data::unreadable_output;
use crate::program::{ReadFailed, Section};
use crate::state_dir;

/// The step and the stage whose outputs are read.
pub(super) type Feeding = (u16, Stage);

/// Finds sections for one executor.
pub(crate) struct Sections<'a> {
    pub(crate) feeding: Feeding,
    pub(crate) coordinator: &'a Coordinator,
    pub(crate) state_dir: &'a Path,
    pub(crate) scratch: &'a Path,
    /// Where workers of this host have their places; `None` for ones of other hosts.
    pub(crate) holders: &'a mut BTreeMap<WorkerId, Option<PathBuf>>,
    /// Connections to workers that serve outputs.
    pub(crate) peers: &'a mut Peers,
}

impl Sections<'_> {
    /// Returns the partition's section of every output that has one, and the transfers that some of them come by.
    pub(crate) fn all(
        &mut self,
        token: &str,
        grant: &GrantName,
        partition: u32,
        table: &OutputsAnswer,
    ) -> Result<(Vec<Section>, Option<Transfers>), Reason> {
        let mut sections = Vec::new();
        let mut stored = Vec::new();
        let mut served: BTreeMap<WorkerId, Vec<&OutputRef>> = BTreeMap::new();
        for output in &table.outputs {
            self.coordinator.tick();
            if let Some(text) = output.at.iter().find_map(inline) {
                sections.extend(self.inside(output, text, partition)?);
            } else if let Some(path) = self.file_of(grant, output) {
                match from_file(&path, output, partition) {
                    Ok(section) => sections.extend(section),
                    Err(_) if is_stored(output) => stored.push((output.map, output.fence)),
                    Err(error) => {
                        return Err(unreadable_output(made_by(self.feeding, output.map), output.fence, &error));
                    }
                }
            } else if let Some(holder) = output.at.iter().find_map(|at| serving(at, table)) {
                served.entry(holder).or_default().push(output);
            } else if is_stored(output) {
                stored.push((output.map, output.fence));
            } else {
                return Err(self.unreachable(output));
            }
        }
        let mut arrivals = Arrivals::new(self.coordinator, self.scratch);
        for (holder, outputs) in served {
            for outputs in outputs.chunks(limits::OUTPUTS_PER_FETCH) {
                let names: Vec<_> = outputs.iter().map(|output| (output.map, output.fence)).collect();
                match self.served(&mut arrivals, (holder, table), partition, &names)? {
                    Some(found) => sections.extend(found),
                    // What is also in the store is fetched from there; the rest has to be relayed first.
                    None => match outputs.iter().find(|output| !is_stored(output)) {
                        Some(output) => return Err(self.unreachable(output)),
                        None => stored.extend(names),
                    },
                }
            }
        }
        for outputs in stored.chunks(limits::OUTPUTS_PER_FETCH) {
            let fetch = self.fetch(Source::store(self.coordinator, token), partition, outputs);
            let opened = self.coordinator.wait(fetch.open());
            let (answer, lengths) = opened.map_err(|error| worker_failure("fetch map outputs", &error))?;
            fetch.check(&lengths)?;
            sections.extend(arrivals.take(fetch, answer, lengths)?);
        }
        Ok((sections, arrivals.start()?))
    }

    fn fetch(&self, source: Source, partition: u32, outputs: &[(u32, Fence)]) -> Fetch {
        let request = FetchRequest { partition, outputs: outputs.to_vec(), from: Some(0) };
        Fetch { feeding: self.feeding, request, source }
    }

    /// Fetches from the worker that holds the outputs; `None` when they cannot be had from there.
    fn served(
        &mut self,
        arrivals: &mut Arrivals<'_>,
        (worker, table): (WorkerId, &OutputsAnswer),
        partition: u32,
        outputs: &[(u32, Fence)],
    ) -> Result<Option<Vec<Section>>, Reason> {
        let Some(holder) = table.holders.get(&worker) else { return Ok(None) };
        let opened = self.peers.source(worker, holder).map_err(Into::into).and_then(|source| {
            let fetch = self.fetch(source, partition, outputs);
            self.coordinator.wait(fetch.open()).map(|opened| (fetch, opened))
        });
        match opened {
            Ok((fetch, (answer, lengths))) => {
                fetch.check(&lengths)?;
                arrivals.take(fetch, answer, lengths).map(Some)
            }
            Err(error) => {
                let url = &holder.url;
                tracing::warn!(url, %error, "cannot fetch from a worker; its outputs come by way of the coordinator");
                Ok(None)
            }
        }
    }

    /// Returns the file of an output on this host.
    fn file_of(&mut self, grant: &GrantName, output: &OutputRef) -> Option<PathBuf> {
        output.at.iter().find_map(|at| {
            let Location::Worker(worker) = at else { return None };
            let state_dir = self.state_dir;
            let holder = self.holders.entry(*worker).or_insert_with(|| state_dir::holder(state_dir, *worker));
            let (step, stage) = self.feeding;
            let name = output_name(grant.job, step, stage, output.map, output.fence);
            Some(holder.as_ref()?.join("outputs").join(name))
        })
    }

    fn unreachable(&self, output: &OutputRef) -> Reason {
        Reason::Unreachable { map: made_by(self.feeding, output.map), fence: output.fence }
    }

    fn inside(&self, output: &OutputRef, text: &str, partition: u32) -> Result<Option<Section>, Reason> {
        let bad = |error: &dyn std::fmt::Display| lost(made_by(self.feeding, output.map), output.fence, error);
        let content = STANDARD.decode(text).map_err(|error| bad(&error))?;
        let run = RunFile::from_bytes(content).map_err(|error| bad(&error))?;
        check_fence(&run, output).map_err(|error| bad(&error))?;
        let bytes = run.section_bytes(partition);
        let (map, fence, len) = (output.map, output.fence, bytes.len());
        Ok((len > 0).then(|| Section { map, fence, len, bytes: Box::new(bytes) }))
    }
}

pub(super) fn made_by((step, stage): Feeding, index: u32) -> TaskName {
    TaskName { step, stage, index }
}

fn is_stored(output: &OutputRef) -> bool {
    output.at.contains(&Location::Store)
}

/// The worker that serves the output from here.
fn serving(at: &Location, table: &OutputsAnswer) -> Option<WorkerId> {
    let Location::Worker(worker) = at else { return None };
    table.holders.contains_key(worker).then_some(*worker)
}

fn inline(at: &Location) -> Option<&str> {
    if let Location::Inline(text) = at { Some(text) } else { None }
}

pub(super) fn lost(map: TaskName, fence: Fence, error: &dyn std::fmt::Display) -> Reason {
    let message = gristmill_common::reason::bounded(error.to_string());
    Reason::LostOutput { map, fence, message }
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
pub(super) struct LazyFile {
    path: PathBuf,
    /// A scratch file: that it cannot be read is no map's fault.
    own: bool,
    at: u64,
    left: u64,
    file: Option<File>,
}

impl LazyFile {
    /// A range of a scratch file.
    pub(super) fn scratch(path: &Path, at: u64, bytes: u64) -> Self {
        Self { path: path.to_owned(), own: true, at, left: bytes, file: None }
    }

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
