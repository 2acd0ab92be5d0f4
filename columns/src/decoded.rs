//! Values of a column as the decoder gives them, and as they are written.

use parquet::column::reader::ColumnReader;
use parquet::data_type::{ByteArray, FixedLenByteArray, Int96};

use crate::rows::Form;
use crate::schema::Kind;
use crate::text;

/// Decoded values.
pub(crate) enum Decoded {
    Bools(Vec<bool>),
    Ints(Vec<i32>),
    Longs(Vec<i64>),
    OldStamps(Vec<Int96>),
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
    Bytes(Vec<ByteArray>),
    Fixed(Vec<FixedLenByteArray>),
}

impl Decoded {
    /// Makes room for the values of a column.
    pub(crate) fn of(reader: &ColumnReader) -> Self {
        match reader {
            ColumnReader::BoolColumnReader(_) => Self::Bools(Vec::new()),
            ColumnReader::Int32ColumnReader(_) => Self::Ints(Vec::new()),
            ColumnReader::Int64ColumnReader(_) => Self::Longs(Vec::new()),
            ColumnReader::Int96ColumnReader(_) => Self::OldStamps(Vec::new()),
            ColumnReader::FloatColumnReader(_) => Self::Floats(Vec::new()),
            ColumnReader::DoubleColumnReader(_) => Self::Doubles(Vec::new()),
            ColumnReader::ByteArrayColumnReader(_) => Self::Bytes(Vec::new()),
            ColumnReader::FixedLenByteArrayColumnReader(_) => Self::Fixed(Vec::new()),
        }
    }

    pub(crate) fn clear(&mut self) {
        match self {
            Self::Bools(values) => values.clear(),
            Self::Ints(values) => values.clear(),
            Self::Longs(values) => values.clear(),
            Self::OldStamps(values) => values.clear(),
            Self::Floats(values) => values.clear(),
            Self::Doubles(values) => values.clear(),
            Self::Bytes(values) => values.clear(),
            Self::Fixed(values) => values.clear(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Bools(values) => values.len(),
            Self::Ints(values) => values.len(),
            Self::Longs(values) => values.len(),
            Self::OldStamps(values) => values.len(),
            Self::Floats(values) => values.len(),
            Self::Doubles(values) => values.len(),
            Self::Bytes(values) => values.len(),
            Self::Fixed(values) => values.len(),
        }
    }

    /// Decodes up to so many rows; returns how many.
    pub(crate) fn read(
        &mut self,
        reader: &mut ColumnReader,
        rows: usize,
        levels: &mut Vec<i16>,
    ) -> parquet::errors::Result<usize> {
        let levels = Some(levels);
        let (read, _, _) = match (self, reader) {
            (Self::Bools(out), ColumnReader::BoolColumnReader(from)) => from.read_records(rows, levels, None, out)?,
            (Self::Ints(out), ColumnReader::Int32ColumnReader(from)) => from.read_records(rows, levels, None, out)?,
            (Self::Longs(out), ColumnReader::Int64ColumnReader(from)) => from.read_records(rows, levels, None, out)?,
            (Self::OldStamps(out), ColumnReader::Int96ColumnReader(from)) => {
                from.read_records(rows, levels, None, out)?
            }
            (Self::Floats(out), ColumnReader::FloatColumnReader(from)) => from.read_records(rows, levels, None, out)?,
            (Self::Doubles(out), ColumnReader::DoubleColumnReader(from)) => {
                from.read_records(rows, levels, None, out)?
            }
            (Self::Bytes(out), ColumnReader::ByteArrayColumnReader(from)) => {
                from.read_records(rows, levels, None, out)?
            }
            (Self::Fixed(out), ColumnReader::FixedLenByteArrayColumnReader(from)) => {
                from.read_records(rows, levels, None, out)?
            }
            _ => return Ok(0),
        };
        Ok(read)
    }

    pub(crate) fn write(&self, kind: Kind, index: usize, form: Form, out: &mut Vec<u8>) -> Result<(), String> {
        let missing = || "it has fewer values than it says".to_owned();
        match self {
            Self::Bools(values) => {
                let value = values.get(index).ok_or_else(missing)?;
                out.extend_from_slice(if *value { b"true" } else { b"false" });
                Ok(())
            }
            Self::Ints(values) => {
                let value = *values.get(index).ok_or_else(missing)?;
                let unsigned = u64::from(value as u32);
                text::push_int(kind, i64::from(value), unsigned, form, out)
            }
            Self::Longs(values) => {
                let value = *values.get(index).ok_or_else(missing)?;
                text::push_int(kind, value, value as u64, form, out)
            }
            Self::OldStamps(values) => {
                let [low, high, day] = *values.get(index).ok_or_else(missing)?.data() else { return Err(missing()) };
                text::push_old_stamp(u64::from(low) | u64::from(high) << 32, day, form, out)
            }
            Self::Floats(values) => {
                let value = *values.get(index).ok_or_else(missing)?;
                text::push_float(f64::from(value), &value, form, out)
            }
            Self::Doubles(values) => {
                let value = *values.get(index).ok_or_else(missing)?;
                text::push_float(value, &value, form, out)
            }
            Self::Bytes(values) => {
                let value = values.get(index).ok_or_else(missing)?;
                text::push_bytes(kind, value.data(), form, out)
            }
            Self::Fixed(values) => {
                let value = values.get(index).ok_or_else(missing)?;
                text::push_bytes(kind, value.data(), form, out)
            }
        }
    }
}
