//! The end of a Parquet file: its columns, and where its row groups are.

use gristmill_common::limits;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};

use crate::error::{Error, damaged, decoded};
use crate::schema::{Column, columns_of};
use crate::thrift;

/// Bytes at the end of a file that say how long its footer is.
pub const TAIL_BYTES: usize = 8;
/// What a file begins and ends with.
const MAGIC: &[u8; 4] = b"PAR1";

/// Returns the bytes of the footer, without the tail, from the tail.
///
/// # Errors
/// If the file is no Parquet file.
pub fn footer_bytes(tail: &[u8], file_bytes: u64) -> Result<usize, Error> {
    let at = file_bytes.saturating_sub(TAIL_BYTES as u64);
    let Some(([a, b, c, d], magic)) = tail.split_first_chunk().filter(|(_, magic)| magic.len() == MAGIC.len()) else {
        return damaged(at, "it is too short for a Parquet file");
    };
    if magic == b"PARE" {
        return Err(Error::Unsupported("it is encrypted, which is not built".to_owned()));
    }
    if magic != MAGIC {
        return damaged(at, "it does not end as a Parquet file does");
    }
    let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
    if length > limits::PARQUET_FOOTER_BYTES {
        let most = limits::PARQUET_FOOTER_BYTES;
        return damaged(at, format!("its footer says that it has {length} bytes: {most} are allowed"));
    }
    if length as u64 + MAGIC.len() as u64 > at {
        return damaged(at, format!("its footer says that it has {length} bytes, more than the file"));
    }
    Ok(length)
}

/// What a footer says.
pub struct Footer {
    meta: ParquetMetaData,
    columns: Vec<Column>,
    groups: Vec<Group>,
    /// Offset of the footer: no page is behind it.
    at: u64,
}

/// A row group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Group {
    /// Offset of its first page.
    pub start: u64,
    /// Number of its first row in the file.
    pub first_row: u64,
    /// How many it has.
    pub rows: u64,
}

impl Footer {
    /// Reads a footer, without the tail, of a file of so many bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8], file_bytes: u64) -> Result<Self, Error> {
        let at = file_bytes.saturating_sub((TAIL_BYTES + bytes.len()) as u64);
        if let Err(error) = thrift::check(bytes) {
            return damaged(at, format!("its footer is damaged: {error}"));
        }
        let meta = decoded(at, "its footer", || ParquetMetaDataReader::decode_metadata(bytes))?;
        let columns = columns_of(meta.file_metadata().schema_descr());
        let mut groups = Vec::with_capacity(meta.num_row_groups());
        let mut first_row = 0_u64;
        for (index, group) in meta.row_groups().iter().enumerate() {
            let Some((start, rows)) = checked(group, columns.len(), at) else {
                return damaged(at, format!("its footer has impossible sizes or places for row group {index}"));
            };
            groups.push(Group { start, first_row, rows });
            first_row = first_row.saturating_add(rows);
        }
        if !groups.is_sorted_by_key(|group| group.start) {
            return damaged(at, "its footer has row groups that are not in the order of the file");
        }
        Ok(Self { meta, columns, groups, at })
    }

    /// Returns the columns, all or those of these names in their order.
    ///
    /// # Errors
    /// If there is no such column, or one that cannot be read.
    pub fn select(&self, names: &[String]) -> Result<Vec<Column>, Error> {
        let find = |name: &String| {
            let found = self.columns.iter().find(|column| column.name == *name);
            found.cloned().ok_or_else(|| {
                let known: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).take(50).collect();
                Error::Columns(format!("it has no column `{name}`; it has {}", known.join(", ")))
            })
        };
        let selected = if names.is_empty() {
            self.columns.clone()
        } else {
            names.iter().map(find).collect::<Result<Vec<_>, _>>()?
        };
        for column in &selected {
            if let Err(why) = &column.kind {
                return Err(Error::Unsupported(format!(
                    "its column `{}` {why}; select others with `columns` (--input-columns)",
                    column.name
                )));
            }
        }
        Ok(selected)
    }

    /// The row groups, in the order of the file.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    pub(crate) fn chunk(&self, group: usize, column: &Column) -> Option<&ColumnChunkMetaData> {
        self.meta.row_groups().get(group)?.columns().get(column.leaf)
    }
}

/// The place and the rows of a group, if its pages are in the file.
fn checked(group: &RowGroupMetaData, leaves: usize, end: u64) -> Option<(u64, u64)> {
    let rows = u64::try_from(group.num_rows()).ok()?;
    let mut start = end;
    for chunk in group.columns() {
        let (from, length) = place(chunk)?;
        if from.checked_add(length)? > end || chunk.file_path().is_some() || chunk.num_values() < 0 {
            return None;
        }
        start = start.min(from);
    }
    (group.columns().len() >= leaves && start >= MAGIC.len() as u64).then_some((start, rows))
}

/// Offset and bytes of a column's pages.
pub(crate) fn place(chunk: &ColumnChunkMetaData) -> Option<(u64, u64)> {
    let data = u64::try_from(chunk.data_page_offset()).ok()?;
    // Some writers say 0 where there is no dictionary.
    let dictionary = chunk.dictionary_page_offset().and_then(|at| u64::try_from(at).ok()).filter(|at| *at > 0);
    let start = dictionary.map_or(data, |at| at.min(data));
    Some((start, u64::try_from(chunk.compressed_size()).ok()?))
}

impl Footer {
    /// Offset behind the last page.
    pub(crate) fn offset(&self) -> u64 {
        self.at
    }
}
