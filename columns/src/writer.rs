//! Rows of text as a Parquet file. The same rows are the same bytes.

use std::io::{self, Write};
use std::sync::Arc;

use gristmill_common::limits;
use gristmill_common::output::{ColumnKind, OutputColumn, OutputCompression};
use parquet::basic::{Compression, GzipLevel, LogicalType, Repetition, Type as Physical, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

/// Level of gzip, of old the usual one.
const GZIP_LEVEL: u32 = 6;
/// Level of Zstandard, its own default.
const ZSTD_LEVEL: i32 = 3;

/// A field of a row, of the kind of its column.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Field<'f> {
    /// Text.
    String(&'f str),
    /// A number.
    Int64(i64),
    /// A number.
    Double(f64),
}

/// Writes rows.
pub(crate) struct TableWriter<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: Vec<Held>,
    rows: u64,
    bytes: u64,
}

/// The values of a column that are not written yet.
enum Held {
    Strings(Vec<ByteArray>),
    Ints(Vec<i64>),
    Doubles(Vec<f64>),
}

impl<W: Write + Send> TableWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn new(to: W, columns: &[OutputColumn], compression: OutputCompression) -> io::Result<Self> {
        let fields = columns.iter().map(leaf).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let schema = Type::group_type_builder("schema").with_fields(fields).build().map_err(failed)?;
        let properties = WriterProperties::builder()
            .set_created_by("gristmill".to_owned())
            .set_compression(packed(compression)?)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .build();
        let writer = SerializedFileWriter::new(to, Arc::new(schema), Arc::new(properties)).map_err(failed)?;
        let held = columns.iter().map(|column| match column.kind {
            ColumnKind::String => Held::Strings(Vec::new()),
            ColumnKind::Int64 => Held::Ints(Vec::new()),
            ColumnKind::Double => Held::Doubles(Vec::new()),
        });
        Ok(Self { writer, columns: held.collect(), rows: 0, bytes: 0 })
    }

    /// Appends a row, with a field for each column.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn push(&mut self, row: &[Field<'_>]) -> io::Result<()> {
        for (held, field) in self.columns.iter_mut().zip(row) {
            self.bytes += match (held, field) {
                (Held::Strings(values), Field::String(text)) => {
                    values.push(ByteArray::from(text.as_bytes().to_vec()));
                    text.len() as u64 + 4
                }
                (Held::Ints(values), Field::Int64(value)) => {
                    values.push(*value);
                    8
                }
                (Held::Doubles(values), Field::Double(value)) => {
                    values.push(*value);
                    8
                }
                _ => return Err(io::Error::other("a field is not of its column's kind")),
            };
        }
        self.rows += 1;
        if self.bytes >= limits::ROW_GROUP_BYTES || self.rows >= limits::ROW_GROUP_ROWS {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes a row group.
    fn flush(&mut self) -> io::Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = self.writer.next_row_group().map_err(failed)?;
        for held in &mut self.columns {
            let Some(mut column) = group.next_column().map_err(failed)? else { break };
            match held {
                Held::Strings(values) => write::<ByteArrayType>(&mut column, values)?,
                Held::Ints(values) => write::<Int64Type>(&mut column, values)?,
                Held::Doubles(values) => write::<DoubleType>(&mut column, values)?,
            }
            column.close().map_err(failed)?;
        }
        group.close().map_err(failed)?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        self.writer.into_inner().map_err(failed)
    }
}

fn write<T: DataType>(
    column: &mut parquet::file::writer::SerializedColumnWriter<'_>,
    values: &mut Vec<T::T>,
) -> io::Result<()> {
    column.typed::<T>().write_batch(values, None, None).map_err(failed)?;
    values.clear();
    Ok(())
}

fn leaf(column: &OutputColumn) -> Result<Arc<Type>, ParquetError> {
    let (physical, logical) = match column.kind {
        ColumnKind::String => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        ColumnKind::Int64 => (Physical::INT64, None),
        ColumnKind::Double => (Physical::DOUBLE, None),
    };
    let leaf = Type::primitive_type_builder(&column.name, physical).with_logical_type(logical);
    leaf.with_repetition(Repetition::REQUIRED).build().map(Arc::new)
}

fn packed(compression: OutputCompression) -> io::Result<Compression> {
    Ok(match compression {
        OutputCompression::None => Compression::UNCOMPRESSED,
        OutputCompression::Gzip => Compression::GZIP(GzipLevel::try_new(GZIP_LEVEL).map_err(failed)?),
        OutputCompression::Zstd => Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).map_err(failed)?),
        OutputCompression::Lz4 => Compression::LZ4_RAW,
        OutputCompression::Bzip2 => return Err(io::Error::other("pages are not packed with bzip2")),
    })
}

fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(other) => io::Error::other(other),
        },
        other => io::Error::other(other),
    }
}
