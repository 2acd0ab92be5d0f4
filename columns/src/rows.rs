//! The rows of a row group, as text.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use gristmill_common::limits;
use parquet::basic::PageType;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::{ColumnReader, get_column_reader};

use crate::Fetch;
use crate::decoded::Decoded;
use crate::error::{Error, damaged, decoded};
use crate::footer::{Footer, Group, place};
use crate::pages::Pages;
use crate::schema::Column;
use crate::text;

/// Rows decoded at a time.
const ROWS: usize = 1_024;

/// How a row is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// A JSON object.
    Json,
    /// Fields with tabs between, `\N` for none.
    Tsv,
}

/// A row that was met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its number in the file, from 0.
    pub number: u64,
    /// Why it cannot be written, and was not.
    pub bad: Option<String>,
}

/// The rows of a row group that are left.
pub struct Rows {
    columns: Vec<Values>,
    form: Form,
    /// Number of the next row.
    number: u64,
    end: u64,
    /// Rows that are decoded.
    held: usize,
    group: usize,
}

/// The values of a column.
struct Values {
    column: Column,
    /// Its name as JSON has it, and a colon.
    key: Vec<u8>,
    pages: Pages,
    reader: ColumnReader,
    queue: Queue,
    /// Values of the page that is being decoded that are left.
    left: usize,
    is_optional: bool,
    /// 1 for each row that has a value.
    levels: Vec<i16>,
    decoded: Decoded,
    /// The next row and the next value of those that are decoded.
    at: (usize, usize),
}

/// Pages that were read and are to be decoded: the decoder asks for pages, and is asked for no more than it was given.
#[derive(Clone, Default)]
struct Queue(Arc<Mutex<VecDeque<Page>>>);

impl Queue {
    fn push(&self, page: Page) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(page);
    }
}

impl Iterator for Queue {
    type Item = parquet::errors::Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Queue {
    fn get_next_page(&mut self) -> parquet::errors::Result<Option<Page>> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front())
    }

    fn peek_next_page(&mut self) -> parquet::errors::Result<Option<PageMetadata>> {
        Ok(None)
    }

    fn skip_next_page(&mut self) -> parquet::errors::Result<()> {
        self.get_next_page().map(drop)
    }
}

impl Rows {
    /// Begins with the first row of a group.
    ///
    /// # Errors
    /// If the group has not these columns.
    pub fn open(footer: &Footer, group: usize, columns: &[Column], form: Form) -> Result<Self, Error> {
        let Some(Group { first_row, rows, .. }) = footer.groups().get(group).copied() else {
            return damaged(footer.offset(), format!("there is no row group {group}"));
        };
        let window = (limits::PARQUET_WINDOWS_BYTES / columns.len().max(1) as u64)
            .clamp(limits::PARQUET_WINDOW_MIN_BYTES, limits::PARQUET_WINDOW_BYTES);
        let columns = columns.iter().map(|column| Values::open(footer, group, column, window));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { columns, form, number: first_row, end: first_row.saturating_add(rows), held: 0, group })
    }

    /// Appends the next row, without what ends it; `None` behind the last one.
    ///
    /// # Errors
    /// What is wrong with the file, or what `fetch` failed with.
    pub fn next(&mut self, fetch: &mut Fetch<'_>, out: &mut Vec<u8>) -> Result<Option<Row>, Error> {
        if self.number >= self.end {
            return Ok(None);
        }
        if self.held == 0 {
            let wanted = usize::try_from(self.end - self.number).unwrap_or(ROWS).min(ROWS);
            for values in &mut self.columns {
                values.decode(wanted, self.group, fetch)?;
            }
            self.held = wanted;
        }
        let row = Row { number: self.number, bad: self.write(out) };
        self.number += 1;
        self.held -= 1;
        Ok(Some(row))
    }

    /// Appends the row; returns why that cannot be.
    fn write(&mut self, out: &mut Vec<u8>) -> Option<String> {
        let (start, form) = (out.len(), self.form);
        let mut bad = None;
        if form == Form::Json {
            out.push(b'{');
        }
        for (index, values) in self.columns.iter_mut().enumerate() {
            if index > 0 {
                out.push(if form == Form::Json { b',' } else { b'\t' });
            }
            if form == Form::Json {
                out.extend_from_slice(&values.key);
            }
            if let Err(why) = values.write(form, out) {
                bad.get_or_insert_with(|| format!("column `{}`: {why}", values.column.name));
            }
        }
        if form == Form::Json {
            out.push(b'}');
        }
        if bad.is_some() {
            out.truncate(start);
        }
        bad
    }
}

impl Values {
    fn open(footer: &Footer, group: usize, column: &Column, window: u64) -> Result<Self, Error> {
        let at = footer.offset();
        let missing = || format!("row group {group} has no column `{}`", column.name);
        let Some(chunk) = footer.chunk(group, column) else { return damaged(at, missing()) };
        let Some((start, length)) = place(chunk) else { return damaged(at, missing()) };
        let pages = Pages::new(chunk.compression(), start, start + length, window);
        let queue = Queue::default();
        let descriptor = chunk.column_descr_ptr();
        let is_optional = descriptor.max_def_level() > 0;
        let reader = get_column_reader(descriptor, Box::new(queue.clone()));
        let decoded = Decoded::of(&reader);
        let mut key = Vec::new();
        text::push_json(&column.name, &mut key);
        key.push(b':');
        let column = column.clone();
        Ok(Self { column, key, pages, reader, queue, left: 0, is_optional, levels: Vec::new(), decoded, at: (0, 0) })
    }

    /// Decodes so many rows.
    fn decode(&mut self, rows: usize, group: usize, fetch: &mut Fetch<'_>) -> Result<(), Error> {
        self.levels.clear();
        self.decoded.clear();
        self.at = (0, 0);
        let mut have = 0;
        while have < rows {
            let at = self.pages.offset();
            let what = format!("column `{}` of row group {group}", self.column.name);
            if self.left == 0 && !self.next_page(fetch)? {
                return damaged(at, format!("{what} has fewer values than the group has rows"));
            }
            let wanted = self.left.min(rows - have);
            let Self { reader, levels, decoded: values, .. } = self;
            let read = decoded(at, &what, || values.read(reader, wanted, levels))?;
            if read != wanted {
                return damaged(at, format!("{what} has a page with fewer values than it says"));
            }
            have += read;
            self.left -= read;
        }
        let present = self.levels.iter().filter(|level| **level > 0).count();
        if self.is_optional && (self.levels.len() != rows || present != self.decoded.len()) {
            return damaged(
                self.pages.offset(),
                format!("column `{}` has other values than it says", self.column.name),
            );
        }
        Ok(())
    }

    /// Reads up to the next page with values.
    fn next_page(&mut self, fetch: &mut Fetch<'_>) -> Result<bool, Error> {
        while self.left == 0 {
            let Some(page) = self.pages.next(fetch)? else { return Ok(false) };
            if page.page_type() == PageType::DICTIONARY_PAGE {
                self.queue.push(page);
            } else if page.num_values() > 0 {
                self.left = page.num_values() as usize;
                self.queue.push(page);
            }
        }
        Ok(true)
    }

    /// Appends the next value.
    fn write(&mut self, form: Form, out: &mut Vec<u8>) -> Result<(), String> {
        let (row, value) = self.at;
        self.at.0 += 1;
        if self.is_optional && self.levels.get(row) != Some(&1) {
            out.extend_from_slice(if form == Form::Json { b"null" } else { b"\\N" });
            return Ok(());
        }
        self.at.1 += 1;
        let Ok(kind) = &self.column.kind else { return Err("it cannot be read".to_owned()) };
        self.decoded.write(*kind, value, form, out)
    }
}
