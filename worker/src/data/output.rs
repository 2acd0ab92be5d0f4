//! Creates output files when their first record comes, so that an attempt without records leaves no file.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use gristmill_common::plan::PartForm;
use gristmill_common::{Fence, Reason};
use gristmill_runs::{FileWriter, PartWriter, RunError, RunFile, RunHeader, RunSummary, RunWriter};
use xxhash_rust::xxh3::xxh3_64;

use super::failure;

/// Blocks larger than this go to the file directly; small ones are gathered.
const BUFFER_BYTES: usize = 64 << 10;

fn create(path: &Path) -> Result<BufWriter<File>, Reason> {
    Ok(BufWriter::with_capacity(BUFFER_BYTES, open_new(path)?))
}

fn open_new(path: &Path) -> Result<File, Reason> {
    File::create(path).map_err(|error| failure::worker(format!("{}: {error}", path.display())))
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

/// A part, in the form that the plan says.
pub(super) struct PartOutput {
    path: PathBuf,
    fence: Fence,
    form: PartForm,
    writer: Option<Part>,
}

#[expect(clippy::large_enum_variant, reason = "there is one of it, used for each record")]
enum Part {
    Run(PartWriter<BufWriter<File>>),
    /// With the number of records so far.
    File(FileWriter<File>, u64),
}

impl Part {
    #[inline]
    fn push(&mut self, key: &[u8], text: &[u8]) -> Result<(), RunError> {
        match self {
            Self::Run(writer) => writer.push(key, text),
            Self::File(writer, records) => {
                *records += 1;
                Ok(writer.push(text)?)
            }
        }
    }

    #[inline]
    fn push_unkeyed(&mut self, text: &[u8]) -> Result<(), RunError> {
        match self {
            Self::Run(writer) => writer.push_unkeyed(text),
            Self::File(writer, records) => {
                *records += 1;
                Ok(writer.push(text)?)
            }
        }
    }

    fn finish(self) -> Result<RunSummary, RunError> {
        match self {
            Self::Run(writer) => writer.finish(),
            Self::File(writer, records) => {
                let (checksum, _) = writer.finish()?;
                let bytes = checksum.bytes();
                Ok(RunSummary { records, bytes, digest: checksum.crc(), text_bytes: bytes })
            }
        }
    }
}

impl PartOutput {
    pub(super) fn new(path: PathBuf, fence: Fence, form: PartForm) -> Self {
        Self { path, fence, form, writer: None }
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

    /// Appends the text of a record to a part that is never merged by key.
    #[inline]
    pub(super) fn push_unkeyed(&mut self, text: &[u8]) -> Result<(), Reason> {
        if self.writer.is_none() {
            self.open()?;
        }
        match &mut self.writer {
            Some(writer) => writer.push_unkeyed(text).map_err(|error| failure::own_file(&self.path, &error)),
            None => Ok(()),
        }
    }

    #[cold]
    fn open(&mut self) -> Result<(), Reason> {
        let part = match self.form {
            PartForm::Run => PartWriter::new(create(&self.path)?, self.fence, true).map(Part::Run),
            PartForm::File => Ok(Part::File(FileWriter::new(open_new(&self.path)?), 0)),
        };
        self.writer = Some(part.map_err(|error| failure::own_file(&self.path, &error))?);
        Ok(())
    }

    /// Ends the file; a default summary when there is none.
    pub(super) fn finish(&mut self) -> Result<RunSummary, Reason> {
        let Some(writer) = self.writer.take() else { return Ok(RunSummary::default()) };
        writer.finish().map_err(|error| failure::own_file(&self.path, &error))
    }
}
