//! Rows of Parquet files as records.
//!
//! A row group belongs to the range in which it begins. The offset of a row is its number in the file: nothing else is the same
//! for all of its columns. A row that cannot be written is a bad record; a page that cannot be read fails the attempt.

use gristmill_columns::{Column, Error, Footer, Form, Rows, TAIL_BYTES, footer_bytes};
use gristmill_common::format::{self, Parquet};
use gristmill_common::plan::{Compression, PinnedFile};
use gristmill_common::reason::bounded;
use gristmill_common::{Place, Reason};

use super::blocks::{BUFFER_BYTES, BlockError};
use super::input;
use super::records::Batch;
use crate::program::{InputPiece, Inputs};
use crate::skip::Skips;

/// The rows of a range of a file.
pub(super) struct ParquetRows<'a> {
    file: &'a PinnedFile,
    inputs: &'a dyn Inputs,
    skips: &'a Skips,
    footer: Footer,
    columns: Vec<Column>,
    form: Form,
    /// The row groups that are left.
    groups: std::ops::Range<usize>,
    rows: Option<Rows>,
    first_row: u64,
    batch: Batch,
}

/// Opens a range; `None` if no row group begins in it.
///
/// # Errors
/// Why the file cannot be read.
pub(super) fn open<'a>(
    format: &Parquet,
    piece: &InputPiece<'a>,
    inputs: &'a dyn Inputs,
    skips: &'a Skips,
) -> Result<Option<ParquetRows<'a>>, Reason> {
    let file = piece.file;
    let failed = |error| explain(file, error);
    if file.compression != Compression::None {
        return Err(failed(Error::Unsupported("a Parquet file is packed inside; unpack it".to_owned())));
    }
    let tail = file.bytes.saturating_sub(TAIL_BYTES as u64);
    let read = |start: u64, end: u64| input::read_range(file, inputs, start, (end - start) as usize).map_err(Error::Io);
    let length = read(tail, file.bytes).and_then(|bytes| footer_bytes(&bytes, file.bytes)).map_err(failed)?;
    let bytes = read(tail.saturating_sub(length as u64), tail).map_err(failed)?;
    let footer = Footer::parse(&bytes, file.bytes).map_err(failed)?;
    let columns = footer.select(&format.columns).map_err(failed)?;
    let behind = |at: u64| footer.groups().partition_point(|group| group.start < at);
    let groups = behind(piece.start)..if piece.end >= file.bytes { footer.groups().len() } else { behind(piece.end) };
    let Some(first) = footer.groups().get(groups.start).filter(|_| !groups.is_empty()) else { return Ok(None) };
    let form = match format.rows {
        format::Rows::Ndjson => Form::Json,
        format::Rows::Tsv => Form::Tsv,
    };
    let (first_row, batch) = (first.first_row, Batch::default());
    Ok(Some(ParquetRows { file, inputs, skips, footer, columns, form, groups, rows: None, first_row, batch }))
}

impl ParquetRows<'_> {
    /// Number of the first row.
    pub(super) fn first_row(&self) -> u64 {
        self.first_row
    }

    /// Returns the next rows, `None` behind the last one.
    ///
    /// # Errors
    /// Why the file cannot be read, or what a bad row is if none may be left out.
    pub(super) fn next_batch(&mut self) -> Result<Option<&Batch>, Reason> {
        self.batch.bytes.clear();
        self.batch.records.clear();
        let (file, inputs) = (self.file, self.inputs);
        let mut fetch = |at, length| input::read_range(file, inputs, at, length);
        while self.batch.bytes.len() < BUFFER_BYTES {
            let rows = match &mut self.rows {
                Some(rows) => rows,
                None => {
                    let Some(group) = self.groups.next() else { break };
                    let rows = Rows::open(&self.footer, group, &self.columns, self.form);
                    self.rows.insert(rows.map_err(|error| explain(file, error))?)
                }
            };
            let start = self.batch.bytes.len();
            let row = rows.next(&mut fetch, &mut self.batch.bytes).map_err(|error| explain(file, error))?;
            match row {
                None => self.rows = None,
                Some(row) => match row.bad {
                    Some(why) => self.skips.bad(&file.url, row.number, &why)?,
                    None => {
                        self.batch.records.push((row.number, start..self.batch.bytes.len()));
                        self.batch.bytes.push(b'\n');
                    }
                },
            }
        }
        Ok(if self.batch.records.is_empty() { None } else { Some(&self.batch) })
    }
}

fn explain(file: &PinnedFile, error: Error) -> Reason {
    let at = |offset| Some(Place { file: file.url.clone(), offset });
    match error {
        Error::Io(error) => input::explain(file, BlockError::Io(error, 0)),
        Error::Damaged { at: offset, why } => {
            Reason::InputUnreadable { message: bounded(format!("{}: {why}", file.url)), at: at(offset) }
        }
        other => Reason::InputUnreadable { message: bounded(format!("{}: {other}", file.url)), at: at(0) },
    }
}
