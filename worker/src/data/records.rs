//! Records of every format but plain lines: cut out of files, checked, and written as user code is given them.
//!
//! A record belongs to the range in which it starts. What is not of the format is a bad record: it ends the attempt, or is
//! left out and listed when the job asks for that; which ones are bad depends on the file alone. Records come in batches:
//! a call for each batch, none for each record.

use std::ops::Range;

use gristmill_common::csv::{Parsed, Parser, push_json};
use gristmill_common::format::{Csv, InputFormat, Rows};
use gristmill_common::plan::{Compression, PinnedFile};
use gristmill_common::{Place, Reason, limits};
use memchr::memchr;
use memchr::memmem::Finder;
use serde::de::IgnoredAny;

use super::blocks::{BUFFER_BYTES, BlockError, End};
use super::input::{self, Opened};
use super::window::Window;
use crate::program::{InputPiece, Inputs};
use crate::skip::Skips;

/// Some records, one after the other.
#[derive(Default)]
pub(super) struct Batch {
    /// Their bytes as user code is given them, each with what ends it.
    pub(super) bytes: Vec<u8>,
    /// Offset in the file, and bytes without what ends them.
    pub(super) records: Vec<(u64, Range<usize>)>,
}

/// The records of a range of a file.
pub(super) struct Records<'a> {
    file: &'a PinnedFile,
    skips: &'a Skips,
    window: Window,
    /// Records that start here or behind are not of the range.
    end: End,
    cut: Cut,
    /// What ends records in a batch.
    terminator: &'static [u8],
    batch: Batch,
    /// The range is some blocks of a packed file.
    is_cut: bool,
}

/// How records are found, and what becomes of them.
enum Cut {
    Lines { finder: Box<Finder<'static>>, shape: Shape },
    Fixed(usize),
    Whole,
    Csv { parser: Parser, first: FirstRow, rows: Rows },
}

enum Shape {
    AsIs,
    KeyValue(Box<Finder<'static>>),
    Ndjson,
}

/// What the first row of a file says of all.
struct FirstRow {
    /// Names in quotes, if it names the fields.
    names: Option<Vec<String>>,
    fields: usize,
    /// Bytes of the file before the first row of data.
    bytes: u64,
}

/// A piece of the window.
enum Found {
    Record { length: usize, end: usize },
    Bad { end: usize, why: String },
    End,
}

/// Opens a range; `None` if nothing of it is read here.
///
/// # Errors
/// Why the file cannot be read.
pub(super) fn open<'a>(
    format: &InputFormat,
    piece: &InputPiece<'a>,
    inputs: &dyn Inputs,
    skips: &'a Skips,
    is_raw: bool,
) -> Result<Option<Records<'a>>, Reason> {
    let behind = match format {
        InputFormat::Lines(lines) => lines.delimiter.len() as u64,
        InputFormat::Fixed(fixed) => return open_fixed(fixed.bytes, piece, inputs, skips, is_raw),
        // Rows of Parquet have a reader of their own.
        InputFormat::WholeFile(_) | InputFormat::Parquet(_) => 0,
        InputFormat::KeyValue(_) | InputFormat::Ndjson(_) | InputFormat::Csv(_) => 1,
    };
    let Some(Opened { bytes: from, offset, start, end }) = input::bytes_of(piece, inputs, behind)? else {
        return Ok(None);
    };
    let cut = match format {
        InputFormat::Lines(lines) => lines_of(&lines.delimiter, Shape::AsIs),
        InputFormat::KeyValue(format) => lines_of("\n", Shape::KeyValue(finder(&format.separator))),
        InputFormat::Ndjson(_) => lines_of("\n", Shape::Ndjson),
        InputFormat::WholeFile(_) | InputFormat::Fixed(_) | InputFormat::Parquet(_) => Cut::Whole,
        InputFormat::Csv(csv) => {
            Cut::Csv { parser: Parser::new(csv), first: first_row(csv, piece, inputs)?, rows: csv.rows }
        }
    };
    let mut records = records(piece, skips, Window::new(from, offset), end, cut, is_raw && format.is_binary());
    let skipped = records.skip_to(start);
    skipped.map_err(|error| input::explain(piece.file, error))?;
    Ok(Some(records))
}

fn open_fixed<'a>(
    bytes: u64,
    piece: &InputPiece<'a>,
    inputs: &dyn Inputs,
    skips: &'a Skips,
    is_raw: bool,
) -> Result<Option<Records<'a>>, Reason> {
    let first = piece.offset().div_ceil(bytes).saturating_mul(bytes);
    let is_plain = piece.file.compression == Compression::None;
    if is_plain && first >= piece.end {
        return Ok(None);
    }
    let aligned = InputPiece { start: if is_plain { first } else { piece.start }, ..piece.clone() };
    let Some(Opened { bytes: from, offset, end, .. }) = input::bytes_of(&aligned, inputs, 0)? else { return Ok(None) };
    let cut = Cut::Fixed(usize::try_from(bytes).unwrap_or(usize::MAX));
    let mut records = records(piece, skips, Window::new(from, offset), end, cut, is_raw);
    records.skip_bytes(first - offset).map_err(|error| input::explain(piece.file, error))?;
    Ok(Some(records))
}

fn records<'a>(
    piece: &InputPiece<'a>,
    skips: &'a Skips,
    window: Window,
    end: End,
    cut: Cut,
    is_raw: bool,
) -> Records<'a> {
    let terminator: &[u8] = if is_raw { b"" } else { b"\n" };
    let is_cut = piece.unpacked.is_some();
    Records { file: piece.file, skips, window, end, cut, terminator, batch: Batch::default(), is_cut }
}

fn finder(text: &str) -> Box<Finder<'static>> {
    Box::new(Finder::new(text.as_bytes()).into_owned())
}

fn lines_of(delimiter: &str, shape: Shape) -> Cut {
    Cut::Lines { finder: finder(delimiter), shape }
}

/// Reads the first row of a file: the names of the fields, or how many there are.
fn first_row(csv: &Csv, piece: &InputPiece<'_>, inputs: &dyn Inputs) -> Result<FirstRow, Reason> {
    let start = InputPiece { start: 0, unpacked: None, ..piece.clone() };
    let failed = |error| input::explain(piece.file, error);
    let Some(Opened { bytes: from, .. }) = input::bytes_of(&start, inputs, 0)? else {
        return Ok(FirstRow { names: None, fields: 0, bytes: 0 });
    };
    let (mut window, mut parser) = (Window::new(from, 0), Parser::new(csv));
    window.more().map_err(failed)?;
    let mark = if window.held().starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    window.take(mark);
    let mut before = mark as u64;
    loop {
        match parser.parse(window.held(), window.is_at_end()) {
            Parsed::Row(length) if parser.count() == 0 => {
                window.take(length);
                before += length as u64;
            }
            Parsed::Row(length) if csv.header => {
                let names: Result<Vec<String>, _> = parser.fields(window.held()).map(String::from_utf8).collect();
                let names = names.map_err(|_| bad_at(piece.file, 0, "the header is not UTF-8"))?;
                let names = quoted(&names, piece.file)?;
                return Ok(FirstRow { fields: names.len(), names: Some(names), bytes: before + length as u64 });
            }
            Parsed::Row(_) => return Ok(FirstRow { names: None, fields: parser.count(), bytes: before }),
            Parsed::Bad(_, why) if csv.header => return Err(bad_at(piece.file, 0, &format!("the header: {why}"))),
            Parsed::Bad(length, _) => {
                window.take(length);
            }
            Parsed::Open if window.is_at_end() => return Ok(FirstRow { names: None, fields: 0, bytes: before }),
            Parsed::Open if window.held().len() > limits::LINE_BYTES => {
                return Err(bad_at(piece.file, before, "the first row is too long"));
            }
            Parsed::Open => window.more().map_err(failed)?,
        }
    }
}

/// Makes strings of JSON of the names in a header.
fn quoted(names: &[String], file: &PinnedFile) -> Result<Vec<String>, Reason> {
    if let Some(twice) = twice(names) {
        return Err(bad_at(file, 0, &format!("the header names `{twice}` twice")));
    }
    let quote = |name: &String| {
        let mut out = Vec::new();
        push_json(name, &mut out);
        String::from_utf8(out).unwrap_or_default()
    };
    Ok(names.iter().map(quote).collect())
}

fn twice(names: &[String]) -> Option<&String> {
    let mut seen = std::collections::BTreeSet::new();
    names.iter().find(|name| !seen.insert(*name))
}

fn bad_at(file: &PinnedFile, offset: u64, why: &str) -> Reason {
    Reason::BadRecord { message: why.to_owned(), at: Some(Place { file: file.url.clone(), offset }) }
}

impl Records<'_> {
    /// Goes to the first record that starts at this offset or behind it.
    fn skip_to(&mut self, start: u64) -> Result<(), BlockError> {
        let first = match &self.cut {
            Cut::Csv { first, .. } => first.bytes,
            Cut::Lines { .. } | Cut::Fixed(_) | Cut::Whole => 0,
        };
        if start == 0 {
            while self.window.held().len() < usize::try_from(first).unwrap_or(usize::MAX) && !self.window.is_at_end() {
                self.window.more()?;
            }
            self.window.take(usize::try_from(first).unwrap_or(usize::MAX).min(self.window.held().len()));
            return Ok(());
        }
        match &self.cut {
            Cut::Lines { finder, .. } => {
                let finder = finder.clone();
                self.skip_past(&finder)?;
            }
            Cut::Csv { .. } => self.skip_past(&Finder::new(b"\n"))?,
            Cut::Fixed(_) | Cut::Whole => {}
        }
        // The header and what is before it are longer than the ranges before this one.
        while self.window.offset() < first && !self.window.is_at_end() {
            self.skip_past(&Finder::new(b"\n"))?;
        }
        Ok(())
    }

    /// Drops the end of a record that the range before reads.
    fn skip_bytes(&mut self, bytes: u64) -> Result<(), BlockError> {
        let until = self.window.offset() + bytes;
        while self.window.offset() < until && !self.window.is_at_end() {
            if self.window.held().is_empty() {
                self.window.more()?;
            }
            let left = usize::try_from(until - self.window.offset()).unwrap_or(usize::MAX);
            self.window.take(left.min(self.window.held().len()));
        }
        Ok(())
    }

    /// Drops bytes up to the end of the delimiter. They may be any number.
    fn skip_past(&mut self, delimiter: &Finder<'_>) -> Result<(), BlockError> {
        loop {
            let held = self.window.held();
            if let Some(at) = delimiter.find(held) {
                self.window.take(at + delimiter.needle().len());
                return Ok(());
            }
            let kept = if self.window.is_at_end() { 0 } else { held.len().min(delimiter.needle().len() - 1) };
            self.window.take(held.len() - kept);
            if self.window.is_at_end() {
                return Ok(());
            }
            self.window.more()?;
        }
    }

    /// Returns the next records, `None` behind the last one.
    ///
    /// # Errors
    /// Why the file cannot be read, or what a bad record is if none may be left out.
    pub(super) fn next_batch(&mut self) -> Result<Option<&Batch>, Reason> {
        self.batch.bytes.clear();
        self.batch.records.clear();
        while self.batch.bytes.len() < BUFFER_BYTES && self.window.offset() < self.end.get() {
            match self.find().map_err(|error| input::explain(self.file, error))? {
                Found::End => break,
                Found::Record { length, end } => {
                    self.push(length)?;
                    self.window.take(end);
                }
                Found::Bad { end, why } => {
                    self.skips.bad(&self.file.url, self.window.offset(), &why)?;
                    self.window.take(end);
                }
            }
        }
        if !self.batch.records.is_empty() {
            return Ok(Some(&self.batch));
        }
        if self.is_cut && self.window.held().is_empty() && !self.window.is_at_end() {
            // Whether a block begins where the range ends is seen by reading on.
            self.window.more().map_err(|error| input::explain(self.file, error))?;
        }
        Ok(None)
    }

    /// Finds what is at the beginning of the window, of which as much is read as is needed.
    fn find(&mut self) -> Result<Found, BlockError> {
        loop {
            let (held, at_end) = (self.window.held(), self.window.is_at_end());
            if held.is_empty() && at_end {
                return Ok(Found::End);
            }
            if let Some(found) = look(&mut self.cut, held, at_end) {
                return Ok(found);
            }
            if held.len() > limits::LINE_BYTES {
                self.leave_out_long()?;
                if self.window.offset() >= self.end.get() {
                    return Ok(Found::End);
                }
            } else {
                self.window.more()?;
            }
        }
    }

    /// Drops a record that is too long: to its end, or to the next line feed where only it knows its end.
    fn leave_out_long(&mut self) -> Result<(), BlockError> {
        let offset = self.window.offset();
        if !self.skips.takes_bad() {
            return Err(BlockError::TooLong(offset));
        }
        let noted = self.skips.bad(&self.file.url, offset, &format!("it is longer than {} bytes", limits::LINE_BYTES));
        noted.map_err(|reason| BlockError::Io(crate::program::ReadFailed(reason).into(), offset))?;
        match &self.cut {
            Cut::Lines { finder, .. } => {
                let finder = finder.clone();
                self.skip_past(&finder)?;
            }
            Cut::Csv { .. } => {
                self.window.take(limits::LINE_BYTES);
                self.skip_past(&Finder::new(b"\n"))?;
            }
            Cut::Fixed(_) | Cut::Whole => {
                while !self.window.is_at_end() {
                    self.window.take(self.window.held().len());
                    self.window.more()?;
                }
                self.window.take(self.window.held().len());
            }
        }
        Ok(())
    }

    /// Puts the record into the batch as user code is given it, if it is of the format.
    fn push(&mut self, length: usize) -> Result<(), Reason> {
        let record = &self.window.held()[..length];
        let out = &mut self.batch.bytes;
        let start = out.len();
        let written = match &mut self.cut {
            Cut::Fixed(_) | Cut::Whole => {
                out.extend_from_slice(record);
                Ok(true)
            }
            Cut::Lines { shape, .. } => shape.write(record, out),
            Cut::Csv { parser, first, rows } => write_row(parser, first, *rows, record, out),
        };
        match written {
            Ok(true) => {
                self.batch.records.push((self.window.offset(), start..out.len()));
                out.extend_from_slice(self.terminator);
                Ok(())
            }
            Ok(false) => {
                out.truncate(start);
                Ok(())
            }
            Err(why) => {
                out.truncate(start);
                self.skips.bad(&self.file.url, self.window.offset(), &why)
            }
        }
    }
}

/// Looks for a record at the beginning of what is held; `None` if it does not end there.
fn look(cut: &mut Cut, held: &[u8], at_end: bool) -> Option<Found> {
    match cut {
        Cut::Lines { finder, .. } => match finder.find(held) {
            Some(at) if at <= limits::LINE_BYTES => Some(Found::Record { length: at, end: at + finder.needle().len() }),
            None if at_end && held.len() <= limits::LINE_BYTES => {
                Some(Found::Record { length: held.len(), end: held.len() })
            }
            Some(_) | None => None,
        },
        Cut::Fixed(bytes) if held.len() >= *bytes => Some(Found::Record { length: *bytes, end: *bytes }),
        Cut::Fixed(bytes) if at_end => {
            let why = format!("the last record has {} of {bytes} bytes", held.len());
            Some(Found::Bad { end: held.len(), why })
        }
        Cut::Whole if at_end && held.len() <= limits::LINE_BYTES => {
            Some(Found::Record { length: held.len(), end: held.len() })
        }
        Cut::Fixed(_) | Cut::Whole => None,
        Cut::Csv { parser, .. } => match parser.parse(held, at_end) {
            Parsed::Row(length) => Some(Found::Record { length, end: length }),
            Parsed::Bad(end, why) => Some(Found::Bad { end, why: why.to_owned() }),
            Parsed::Open => None,
        },
    }
}

/// Appends a row; false for an empty line.
fn write_row(parser: &Parser, first: &FirstRow, rows: Rows, row: &[u8], out: &mut Vec<u8>) -> Result<bool, String> {
    if parser.count() == 0 {
        return Ok(false);
    }
    if parser.count() != first.fields {
        let whose = if first.names.is_some() { "the header" } else { "the first row" };
        return Err(format!("the row has {} fields, {whose} has {}", parser.count(), first.fields));
    }
    parser.write(row, first.names.as_deref(), rows, out)?;
    Ok(true)
}

impl Shape {
    /// Appends a line; false if it is none.
    fn write(&self, line: &[u8], out: &mut Vec<u8>) -> Result<bool, String> {
        match self {
            Self::AsIs => out.extend_from_slice(line),
            Self::KeyValue(separator) => {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                let key = separator.find(line).unwrap_or(line.len());
                out.extend_from_slice(&line[..key]);
                out.push(b'\t');
                out.extend_from_slice(line.get(key + separator.needle().len()..).unwrap_or_default());
            }
            Self::Ndjson => {
                let line = line.trim_ascii();
                if line.is_empty() {
                    return Ok(false);
                }
                let text = std::str::from_utf8(line).map_err(|error| format!("not UTF-8: {error}"))?;
                serde_json::from_str::<IgnoredAny>(text).map_err(|error| format!("not JSON: {error}"))?;
                debug_assert!(memchr(b'\n', line).is_none());
                out.extend_from_slice(line);
            }
        }
        Ok(true)
    }
}
