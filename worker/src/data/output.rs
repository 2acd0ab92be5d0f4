//! Creates output files when their first record comes, so that an attempt without records leaves no file.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use gristmill_common::{Fence, Reason};
use gristmill_runs::{PartWriter, RunError, RunFile, RunHeader, RunSummary, RunWriter};
use xxhash_rust::xxh3::xxh3_64;

use super::failure;

/// Blocks larger than this go to the file directly; small ones are gathered.
const BUFFER_BYTES: usize = 64 << 10;

fn create(path: &PathBuf) -> Result<BufWriter<File>, Reason> {
    let file = File::create(path).map_err(|error| failure::worker(format!("{}: {error}", path.display())))?;
    Ok(BufWriter::with_capacity(BUFFER_BYTES, file))
}

/// What stands for the fence in the header of an attempt's `number`-th run of its own: never a fence, and another one for
/// each run, so that none is taken for another one or for an output when a disk gives back the wrong file.
pub(super) fn own_mark(fence: Fence, number: u64) -> Fence {
    let mut name = [0; 16];
    name[..8].copy_from_slice(&fence.0.to_le_bytes());
    name[8..].copy_from_slice(&number.to_le_bytes());
    Fence(xxh3_64(&name) | 1 << 63)
}

/// Opens a run that must have this mark.
pub(super) fn open_own(path: &Path, mark: Fence) -> Result<RunFile, RunError> {
    let run = File::open(path).map_err(RunError::from).and_then(RunFile::open)?;
    if run.fence() == mark {
        return Ok(run);
    }
    Err(RunError::Corrupt { what: "another run is in its place".to_owned(), offset: 0 })
}

/// A map output or a spill.
pub(super) struct RunOutput {
    path: PathBuf,
    header: RunHeader,
    writer: Option<RunWriter<BufWriter<File>>>,
}

impl RunOutput {
    pub(super) fn new(path: PathBuf, fence: Fence, partitions: u32) -> Self {
        Self { path, header: RunHeader { fence, partitions, compress: true }, writer: None }
    }

    #[inline]
    pub(super) fn push(&mut self, partition: u32, key: &[u8], value: &[u8]) -> Result<(), Reason> {
        if self.writer.is_none() {
            self.open()?;
        }
        match &mut self.writer {
            Some(writer) => writer.push(partition, key, value).map_err(|error| failure::own_file(&self.path, &error)),
            None => Ok(()),
        }
    }

    /// As [`Self::push`] for a record as `encode` wrote it.
    #[inline]
    pub(super) fn push_encoded(&mut self, partition: u32, record: &[u8]) -> Result<(), Reason> {
        if self.writer.is_none() {
            self.open()?;
        }
        match &mut self.writer {
            Some(writer) => {
                writer.push_encoded(partition, record).map_err(|error| failure::own_file(&self.path, &error))
            }
            None => Ok(()),
        }
    }

    #[cold]
    fn open(&mut self) -> Result<(), Reason> {
        let writer = RunWriter::new(create(&self.path)?, self.header);
        self.writer = Some(writer.map_err(|error| failure::own_file(&self.path, &error))?);
        Ok(())
    }

    /// Ends the file; a default summary when there is none.
    pub(super) fn finish(&mut self) -> Result<RunSummary, Reason> {
        let Some(writer) = self.writer.take() else { return Ok(RunSummary::default()) };
        writer.finish().map_err(|error| failure::own_file(&self.path, &error))
    }
}

/// A part.
pub(super) struct PartOutput {
    path: PathBuf,
    fence: Fence,
    writer: Option<PartWriter<BufWriter<File>>>,
}

impl PartOutput {
    pub(super) fn new(path: PathBuf, fence: Fence) -> Self {
        Self { path, fence, writer: None }
    }

    #[inline]
    pub(super) fn push(&mut self, key: &[u8], text: &[u8]) -> Result<(), Reason> {
        if self.writer.is_none() {
            self.open()?;
        }
        match &mut self.writer {
            Some(writer) => writer.push(key, text).map_err(|error| failure::own_file(&self.path, &error)),
            None => Ok(()),
        }
    }

    /// Appends a record of a part that is never merged by key: its text in two pieces.
    #[inline]
    pub(super) fn push_unkeyed(&mut self, head: &[u8], tail: &[u8]) -> Result<(), Reason> {
        if self.writer.is_none() {
            self.open()?;
        }
        match &mut self.writer {
            Some(writer) => writer.push_unkeyed(head, tail).map_err(|error| failure::own_file(&self.path, &error)),
            None => Ok(()),
        }
    }

    #[cold]
    fn open(&mut self) -> Result<(), Reason> {
        let writer = PartWriter::new(create(&self.path)?, self.fence, true);
        self.writer = Some(writer.map_err(|error| failure::own_file(&self.path, &error))?);
        Ok(())
    }

    /// Ends the file; a default summary when there is none.
    pub(super) fn finish(&mut self) -> Result<RunSummary, Reason> {
        let Some(writer) = self.writer.take() else { return Ok(RunSummary::default()) };
        writer.finish().map_err(|error| failure::own_file(&self.path, &error))
    }
}
