//! Creates output files when their first record comes, so that an attempt without records leaves no file.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use gristmill_columns::{OutputFile, RowError, push_line};
use gristmill_common::plan::{PartForm, PlannedStep, Written};
use gristmill_common::reason::bounded;
use gristmill_common::{Fence, Reason};
use gristmill_runs::{FileWriter, PartWriter, RunError, RunFile, RunHeader, RunSummary, RunWriter};
use xxhash_rust::xxh3::xxh3_64;

use super::failure;
use crate::skip::Skips;

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
    block_bytes: usize,
    writer: Option<RunWriter<BufWriter<File>>>,
}

impl RunOutput {
    pub(super) fn new(path: PathBuf, header: RunHeader, block_bytes: usize) -> Self {
        Self { path, header, block_bytes, writer: None }
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
        let writer = RunWriter::with_block_bytes(create(&self.path)?, self.header, self.block_bytes);
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
    written: Option<Box<Written>>,
    writer: Option<Part>,
    /// What the line becomes that is being written to a run.
    line: Vec<u8>,
    /// Lines that were written.
    lines: u64,
    /// Bad records may be left out, and so may the one that a line was made of.
    takes_bad: bool,
}

#[expect(clippy::large_enum_variant, reason = "there is one of it, used for each record")]
enum Part {
    Run(PartWriter<BufWriter<File>>),
    /// With the number of records so far.
    File(FileWriter<File>, u64),
    /// Packed, or of a format of its own.
    Made(Box<OutputFile<FileWriter<File>>>, u64),
}

impl Part {
    #[inline]
    fn push(&mut self, key: &[u8], text: &[u8]) -> Result<(), RunError> {
        match self {
            Self::Run(writer) => writer.push(key, text),
            Self::Made(..) => Ok(()),
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
            Self::Made(..) => Ok(()),
            Self::File(writer, records) => {
                *records += 1;
                Ok(writer.push(text)?)
            }
        }
    }

    fn finish(self) -> Result<RunSummary, RunError> {
        match self {
            Self::Run(writer) => writer.finish(),
            Self::File(..) | Self::Made(..) => {
                let (writer, records) = match self {
                    Self::Made(file, records) => (file.finish()?, records),
                    Self::File(writer, records) => (writer, records),
                    Self::Run(_) => return Ok(RunSummary::default()),
                };
                let (checksum, _) = writer.finish()?;
                let bytes = checksum.bytes();
                Ok(RunSummary { records, bytes, digest: checksum.crc(), text_bytes: bytes })
            }
        }
    }
}

impl PartOutput {
    pub(super) fn new(path: &Path, fence: Fence, step: &PlannedStep, skips: &Skips) -> Self {
        let (path, form, written) = (path.to_path_buf(), step.part_form, step.written.clone());
        Self { path, fence, form, written, writer: None, line: Vec::new(), lines: 0, takes_bad: skips.takes_bad() }
    }

    #[inline]
    pub(super) fn push(&mut self, key: &[u8], text: &[u8]) -> Result<(), Reason> {
        if self.writer.is_none() {
            self.open()?;
        }
        if self.written.is_some() {
            return self.push_made(Some(key), text);
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
        if self.written.is_some() {
            return self.push_made(None, text);
        }
        match &mut self.writer {
            Some(writer) => writer.push_unkeyed(text).map_err(|error| failure::own_file(&self.path, &error)),
            None => Ok(()),
        }
    }

    /// Appends a record, which may be several lines, as the format of the output has it.
    fn push_made(&mut self, key: Option<&[u8]>, text: &[u8]) -> Result<(), Reason> {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        for line in text.split(|byte| *byte == b'\n') {
            self.lines += 1;
            let made = match (&mut self.writer, &self.written) {
                (Some(Part::Made(file, records)), _) => {
                    *records += 1;
                    file.push(line)
                }
                (Some(part), Some(written)) => {
                    self.line.clear();
                    push_line(&written.format, line, &mut self.line).map_err(RowError::Row).and_then(|()| {
                        let pushed = match key {
                            Some(key) => part.push(key, &self.line),
                            None => part.push_unkeyed(&self.line),
                        };
                        pushed.map_err(|error| RowError::Io(io::Error::other(error)))
                    })
                }
                _ => Ok(()),
            };
            match made {
                Ok(()) => {}
                Err(RowError::Row(why)) => return Err(self.misfit(&why)),
                Err(error) => return Err(failure::worker(format!("{}: {error}", self.path.display()))),
            }
        }
        Ok(())
    }

    /// A line that is no row of the output: the program's failure, and of no use to try again.
    fn misfit(&self, why: &str) -> Reason {
        let message = bounded(format!("line {} of the output does not fit its columns: {why}", self.lines));
        if self.takes_bad {
            return Reason::UserError { message, at: None };
        }
        Reason::BadRecord { message, at: None }
    }

    #[cold]
    fn open(&mut self) -> Result<(), Reason> {
        if self.form == PartForm::File
            && let Some(written) = &self.written
        {
            let to = FileWriter::new(open_new(&self.path)?);
            let file = OutputFile::new(to, &written.format, written.compression);
            let file = file.map_err(|error| failure::worker(format!("{}: {error}", self.path.display())))?;
            self.writer = Some(Part::Made(Box::new(file), 0));
            return Ok(());
        }
        let part = match self.form {
            PartForm::Run => PartWriter::new(create(&self.path)?, self.fence, true).map(Part::Run),
            PartForm::File => Ok(Part::File(FileWriter::new(open_new(&self.path)?), 0)),
        };
        self.writer = Some(part.map_err(|error| failure::own_file(&self.path, &error))?);
        Ok(())
    }

    /// Ends the file; a default summary when there is none.
    pub(super) fn finish(&mut self) -> Result<RunSummary, Reason> {
        // What reads an archive or a table does not take an empty file for one.
        let is_file = self.form == PartForm::File && self.written.as_ref().is_some_and(|made| made.is_never_empty());
        if is_file && self.writer.is_none() {
            self.open()?;
        }
        let Some(writer) = self.writer.take() else { return Ok(RunSummary::default()) };
        writer.finish().map_err(|error| failure::own_file(&self.path, &error))
    }
}
